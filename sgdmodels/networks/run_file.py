"""Where a training run stands, in a file: exact to the bit, written whole or not at all, read without running it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import data_sha256
from ..errors import InvalidArgument
from ..simulate import Run

ARRAYS = ("theta", "memory", "diverged_at")


def identity(runs: Sequence[Run]) -> str:
    """Everything that decides the numbers of these runs, as JSON."""
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
    return json.dumps({"network": probe.describe(), "data": data_sha256(probe), "runs": parts})


def save(path: Path, runs: Sequence[Run], warm: Sequence[dict[str, Any]], step: int, done: int) -> None:
    """Write the state after `step` steps and `done` records; the file that was there is replaced at the end."""
    arrays: dict[str, Any] = {"step": np.array(step), "done": np.array(done), "identity": np.array(identity(runs))}
    for k, (run, starts) in enumerate(zip(runs, warm, strict=True)):
        arrays |= {f"{k}/{name}": getattr(run, name) for name in ARRAYS}
        arrays |= {f"{k}/results/{name}": values[:, :done] for name, values in run.results.items()}
        arrays |= {f"{k}/warm/{name}": np.asarray(value) for name, value in starts.items()}
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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        step, done, stored = int(arrays.pop("step")), int(arrays.pop("done")), str(arrays.pop("identity"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        raise InvalidArgument(
            f"checkpoint {path} cannot be read as the state of a run: {problem}; remove it to start anew"
        ) from problem
    if stored != identity(runs):
        raise InvalidArgument(
            f"checkpoint {path} belongs to another run ({difference(json.loads(stored), json.loads(identity(runs)))}); "
            "give this run another checkpoint, or remove that one"
        )
    for name, value in arrays.items():
        k, kind, *rest = name.split("/", 2)
        run = runs[int(k)]
        if kind == "results":
            whole = np.full((len(run.replicas), len(run.recorded), *value.shape[2:]), np.nan)
            whole[:, :done] = value
            run.results[rest[0]] = whole
        elif kind == "warm":
            warm[int(k)][rest[0]] = value
        else:
            getattr(run, kind)[...] = value
    return step, done


def difference(stored: Any, wanted: Any, where: str = "") -> str:
    """The first place in which two identities differ, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict) and stored.keys() == wanted.keys():
        for key in stored:
            if stored[key] != wanted[key]:
                return difference(stored[key], wanted[key], f"{where}.{key}" if where else key)
    if isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for k, (one, other) in enumerate(zip(stored, wanted, strict=True)):
            if one != other:
                return difference(one, other, f"{where}[{k}]")
    return f"its {where} is {stored!r}, here {wanted!r}"
