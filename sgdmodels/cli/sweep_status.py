"""How far a sweep is: cells that are there, cells that failed, seconds a cell, and who is at work."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from ..sweeps.cell import AXES
from ..sweeps.journal import entries
from ..sweeps.store import Store
from .outputs import as_word, console

SHOWN = 10  # failures in the terminal


def standing(path: Path, *, over: bool = False) -> dict[str, Any]:
    """The sweep at `path` as plain data; reads only. over: this process does no longer work on it.

    Raises StoreError and StoreConflict.
    """
    store = Store(path)
    axes = store.spec
    alone = [store.batchless[kind] for kind in range(len(axes["dynamics"]))]
    total = len(axes["step_size"]) * len(axes["seed"]) * sum(1 if one else len(axes["batch_size"]) for one in alone)
    finished = store.finished()
    seconds: list[float] = []
    failed: dict[str, dict[str, Any]] = {}
    at_work = []
    begun: dict[tuple[str, int], set[str]] = {}
    last: dict[tuple[str, int], str] = {}
    for line in entries(path):
        process, name, event = (line["host"], line["pid"]), str(line.get("cell")), line.get("event")
        last[process] = str(line.get("at", ""))
        if event == "started":
            begun.setdefault(process, set()).add(name)
            continue
        begun.get(process, set()).discard(name)
        if event == "finished":
            seconds.append(float(line.get("seconds", 0.0)))
        elif event == "failed" and last[process] > failed.get(name, {}).get("at", ""):
            failed[name] = {"why": line.get("why"), "at": last[process]}
    here = socket.gethostname(), os.getpid()
    for process, names in begun.items():
        working = names - finished
        if working and _may_live(*process) and not (over and process == here):
            host, pid = process
            at_work.append({"host": host, "pid": pid, "cells": len(working), "last_entry": last[process]})
    return {
        "command": "sweep --status", "store": path, "identity": store.identity, "cells": total,
        "finished": len(finished), "complete": len(finished) >= total,
        "failed": [{**_words(name, axes), **failed[name]} for name in sorted(failed.keys() - finished)],
        "mean_seconds": sum(seconds) / len(seconds) if seconds else None, "at_work": at_work,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """The standing in the terminal."""
    out = console()
    mean = found["mean_seconds"]
    speed = "" if mean is None else f"; {mean:.3g} s a cell on average"
    out.print(f"{found['finished']} of {found['cells']} cells are in {found['store']}{speed}.")
    if found["failed"]:
        out.print(f"{len(found['failed'])} failed:")
    for one in found["failed"][:SHOWN]:
        where = ", ".join(f"{axis} {one[axis]}" for axis in AXES if one[axis] is not None)
        out.print(f"  {where}: {one['why']}")
    if len(found["failed"]) > SHOWN:
        out.print(f"  and {len(found['failed']) - SHOWN} more (--json lists all)")
    for one in found["at_work"]:
        out.print(
            f"At work: {one['host']}, process {one['pid']}, on {one['cells']} cells; last entry {one['last_entry']}.",
        )
    if found["complete"]:
        out.print(f"Complete. sgdmodels report {as_word(found['store'])} draws it.")
    elif not found["at_work"] and "interrupted" not in found:
        out.print(f"Nobody is at work: sgdmodels sweep {as_word(found['store'])} goes on.")


def _may_live(host: str, pid: int) -> bool:
    """False for a process of this machine that is gone; of those of others nobody knows."""
    if host != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _words(name: str, axes: dict[str, Any]) -> dict[str, Any]:
    """Where a cell is on the axes of its grid."""
    row, size, kind, seed = name.split("-")
    return {
        "step_size": axes["step_size"][int(row)],
        "batch_size": None if size == "all" else axes["batch_size"][int(size)],
        "dynamics": axes["dynamics_order"][int(kind)],
        "seed": axes["seed"][int(seed)],
    }
