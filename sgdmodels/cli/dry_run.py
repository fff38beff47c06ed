"""What a sweep would compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..sweeps.card import CARD, check_place
from ..sweeps.store import Store
from .outputs import console

if TYPE_CHECKING:
    from ..sweeps import Grid


def planned(grid: Grid, store: Path) -> dict[str, Any]:
    """The grid in numbers, and how much of it is there. Raises StoreConflict or StoreError; writes nothing."""
    there: set[str] = set()
    if (store / CARD).exists():
        there = Store.create(store, grid).finished()  # which then only compares
    else:
        check_place(store)
    finished = sum(cell.name in there for cell in grid.cells())
    steps = grid.steps * len(grid.replicas)
    return {
        "command": "sweep --dry-run", "store": store, "identity": grid.identity, "cells": len(grid),
        "finished": finished, "to_compute": len(grid) - finished, "step_size": grid.step_size,
        "batch_size": grid.batch_size, "dynamics": list(grid.dynamics), "seed": grid.seed,
        "replicas": grid.replicas, "steps": grid.steps, "record_every": grid.record_every,
        "metrics": [metric.name for metric in grid.metrics], "steps_to_run": (len(grid) - finished) * steps,
    }  # fmt: skip


def show_plan(found: dict[str, Any]) -> None:
    """The plan in the terminal."""
    from rich.table import Table

    table = Table("axis", "values", title=f"{found['cells']} cells of {found['steps']} steps")
    for axis in ("step_size", "batch_size", "dynamics", "seed", "replicas", "metrics"):
        values = found[axis]
        table.add_row(axis, ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values))
    out = console()
    out.print(table)
    out.print(
        f"{found['finished']} cells are in {found['store']}, {found['to_compute']} to compute: "
        f"{found['steps_to_run']:.3g} steps. Nothing was written.",
    )  # fmt: skip
