"""Where runs stand, in a file: exact to the bit, written whole or not at all, read without running it."""

from __future__ import annotations

import json
import os
import reprlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidArgument
from .kernels.step_loop import CHECK_EVERY

if TYPE_CHECKING:
    from .simulate import Run

FORMAT = 1  # of the file; a change that older versions would misread raises it
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Border:
    """Where runs stand after `step` steps and `done` records: for each, what its replicas carry and what its metrics
    keep from chunk to chunk, as copies that later steps do not touch.
    """

    step: int
    done: int
    carried: tuple[Arrays, ...]
    warm: tuple[Arrays, ...]

    def put_into(self, runs: Sequence[Run]) -> None:
        """Let the replicas of the runs stand here."""
        for run, arrays in zip(runs, self.carried, strict=True):
            for name, values in arrays.items():
                getattr(run, name)[...] = values


def save(path: Path, runs: Sequence[Run], border: Border, identity: dict[str, Any]) -> None:
    """Write a border and the records up to it; the file that was there is replaced at the end."""
    arrays: Arrays = {
        "format": np.array(FORMAT), "identity": np.array(json.dumps(identity)),
        "step": np.array(border.step), "done": np.array(border.done),
    }  # fmt: skip
    for k, run in enumerate(runs):
        arrays |= {f"{k}/carried/{name}": values for name, values in border.carried[k].items()}
        arrays |= {f"{k}/warm/{name}": values for name, values in border.warm[k].items()}
        arrays |= {f"{k}/results/{name}": values[:, : border.done] for name, values in run.results.items()}
    half = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        with half.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes an array for allow_pickle
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stored:
    """What a file holds: a border of runs of that identity, and the records of each up to it."""

    path: Path
    identity: dict[str, Any]
    border: Border
    results: tuple[Arrays, ...]

    def check_fits(self, runs: Sequence[Run]) -> None:
        """Raise InvalidArgument if these arrays cannot be those of the runs."""
        border = self.border
        taken = border.step - runs[0].first_step
        due = taken // runs[0].record_every + 1 if taken else min(border.done, 1)  # the first may not be made yet
        if len(runs) != len(border.carried) or taken < 0 or taken % CHECK_EVERY or border.done != due:
            raise damaged(self.path, f"its {border.done} records do not fit its step {border.step}")
        for run, arrays, warm, results in zip(runs, border.carried, border.warm, self.results, strict=True):
            for name in run.carried:
                place, value = getattr(run, name), arrays.get(name)
                if value is None or (value.shape, value.dtype) != (place.shape, place.dtype):
                    raise damaged(self.path, f"its {name} does not fit")
            for name, value in results.items():
                if value.ndim < 2 or value.shape[:2] != (len(run.replicas), border.done) or value.dtype != np.float64:
                    raise damaged(self.path, f"its records of {name} do not fit")
            if set(arrays) != set(run.carried) or any(value.ndim == 0 for value in warm.values()):
                raise damaged(self.path, "its state does not fit")

    def put_into(self, runs: Sequence[Run]) -> None:
        """Let the runs stand where the file says, with the records made so far."""
        self.border.put_into(runs)
        for run, results in zip(runs, self.results, strict=True):
            for name, values in results.items():
                run.results[name] = np.full((len(run.replicas), len(run.recorded), *values.shape[2:]), np.nan)
                run.results[name][:, : self.border.done] = values


def load(path: Path) -> Stored:
    """Read a file that `save` wrote; raises InvalidArgument if it is none, or a newer one than this version knows."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (PermissionError, IsADirectoryError) as problem:
        raise InvalidArgument(
            f"checkpoint {path} cannot be opened ({problem.strerror}); give the path of a file"
        ) from problem
    except Exception as problem:  # a damaged archive may raise anything
        raise damaged(path, "it is no .npz file" if "pickle" in str(problem) else str(problem)) from problem
    try:
        number = int(arrays.pop("format"))
        if number <= FORMAT:
            return _sorted_out(path, arrays)
    except Exception as problem:  # as may one of another program
        raise damaged(path, f"{type(problem).__name__}: {problem}") from problem
    raise InvalidArgument(
        f"checkpoint {path} has format {number} of a newer sgdmodels; this version reads up to format {FORMAT}: "
        "update sgdmodels, or give another file"
    )


def _sorted_out(path: Path, arrays: Arrays) -> Stored:
    step, done, identity = int(arrays.pop("step")), int(arrays.pop("done")), json.loads(str(arrays.pop("identity")))
    runs = 1 + max(int(name.split("/", 1)[0]) for name in arrays)
    kinds: dict[str, list[Arrays]] = {kind: [{} for _ in range(runs)] for kind in ("carried", "warm", "results")}
    for name, values in arrays.items():
        k, kind, rest = name.split("/", 2)
        kinds[kind][int(k)][rest] = values
    border = Border(step, done, tuple(kinds["carried"]), tuple(kinds["warm"]))
    return Stored(path, dict(identity), border, tuple(kinds["results"]))


def damaged(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"checkpoint {path} is damaged, or no file that sgdmodels wrote: it cannot be read as the state of a run "
        f"({why}); remove it to start anew, or give another"
    )


def difference(stored: Any, wanted: Any, where: str = "") -> str:
    """The first place in which two identities differ, in words."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        inside = f"{where}." if where else ""
        for key in [*wanted, *stored]:
            if key not in stored or key not in wanted:
                return f"its {inside}{key} is {shown(stored, key)}, here {shown(wanted, key)}"
            if stored[key] != wanted[key]:
                return difference(stored[key], wanted[key], f"{inside}{key}")
    if isinstance(stored, list) and isinstance(wanted, list) and len(stored) == len(wanted):
        for k, (one, other) in enumerate(zip(stored, wanted, strict=True)):
            if one != other:
                return difference(one, other, f"{where}[{k}]")
    return f"its {where or 'identity'} is {reprlib.repr(stored)}, here {reprlib.repr(wanted)}"


def shown(identity: dict[str, Any], key: str) -> str:
    return reprlib.repr(identity[key]) if key in identity else "not there"
