"""Where a training run stands, in a file: exact to the bit, written whole or not at all, read without running it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...dataset import data_sha256
from ...errors import InvalidArgument
from ...simulate import Run
from ...version import __version__

ARRAYS = ("theta", "memory", "diverged_at")
State = dict[str, Any]


def identity(runs: Sequence[Run]) -> str:
    """All that decides the numbers of these runs, as JSON; the losses at the start stand for code and buffers."""
    probe: Any = runs[0].model
    parts = [
        {
            "dynamics": run.dynamics.describe(), "steps": run.steps, "record_every": run.record_every,
            "replicas": run.replicas.tolist(), "batch_sizes": list(run.batch_sizes), "seed": run.seed,
            "metrics": [metric.name for metric in run.metrics], "sampling": run.sampling,
            "keep_params": run.keep_params, "init": run.init_sha256,
        }
        for run in runs
    ]  # fmt: skip
    losses = np.ascontiguousarray(probe.sample_losses(runs[0].init[0]))
    return json.dumps({
        "sgdmodels_version": __version__, "network": probe.describe(), "data": data_sha256(probe),
        "accuracy": asdict(probe.accuracy), "losses_at_init": hashlib.sha256(losses.tobytes()).hexdigest(),
        "runs": parts,
    })  # fmt: skip


def state_of(runs: Sequence[Run], warm: Sequence[dict[str, Any]], step: int, done: int) -> State:
    """The state after `step` steps and `done` records, as copies that later steps do not touch."""
    arrays: State = {"step": np.array(step), "done": np.array(done)}
    for k, (run, starts) in enumerate(zip(runs, warm, strict=True)):
        arrays |= {f"{k}/{name}": getattr(run, name).copy() for name in ARRAYS}
        arrays |= {f"{k}/warm/{name}": torch.as_tensor(value).cpu().numpy().copy() for name, value in starts.items()}
    return arrays


def save(path: Path, runs: Sequence[Run], state: State) -> None:
    """Write a state and the records up to it; the file that was there is replaced at the end."""
    done = int(state["done"])
    arrays = {**state, "identity": np.array(identity(runs))}
    for k, run in enumerate(runs):
        arrays |= {f"{k}/results/{name}": values[:, :done] for name, values in run.results.items()}
    half = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with half.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def load(path: Path, runs: Sequence[Run], warm: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Put the state of the file back into the runs; returns its step and number of records.

    Raises InvalidArgument if the file is no such state, or that of another run.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        step, done, stored = int(arrays.pop("step")), int(arrays.pop("done")), json.loads(str(arrays.pop("identity")))
    except Exception as problem:  # a damaged archive may raise anything
        raise InvalidArgument(
            f"checkpoint {path} cannot be read as the state of a run ({problem}); remove it to start anew"
        ) from problem
    wanted = json.loads(identity(runs))
    if stored != wanted:
        raise InvalidArgument(
            f"checkpoint {path} belongs to another run ({difference(stored, wanted)}); give this run another "
            "checkpoint, or remove that one"
        )
    for k, run in enumerate(runs):
        for name in ARRAYS:
            value, place = arrays.pop(f"{k}/{name}", None), getattr(run, name)
            if value is None or value.shape != place.shape:
                raise InvalidArgument(f"checkpoint {path} is damaged: its {name} does not fit; remove it to start anew")
            place[...] = value
    for name, value in arrays.items():
        k, kind, rest = name.split("/", 2)
        run = runs[int(k)]
        if kind == "results":
            run.results[rest] = np.full((len(run.replicas), len(run.recorded), *value.shape[2:]), np.nan)
            run.results[rest][:, :done] = value
        else:
            warm[int(k)][rest] = value
    return step, done


def difference(stored: Any, wanted: Any, where: str = "identity") -> str:
    """The first place in which two identities differ, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict) and stored.keys() == wanted.keys():
        for key in stored:
            if stored[key] != wanted[key]:
                return difference(stored[key], wanted[key], key if where == "identity" else f"{where}.{key}")
    if isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for k, (one, other) in enumerate(zip(stored, wanted, strict=True)):
            if one != other:
                return difference(one, other, f"{where}[{k}]")
    return f"its {where} is {stored!r}, here {wanted!r}"
