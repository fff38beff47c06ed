"""What makes a run this run: all that decides its numbers, so that a file of another is never taken up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .dataset import data_sha256
from .errors import InvalidArgument
from .run_file import difference
from .version import __version__

if TYPE_CHECKING:
    from .simulate import Run

FEW = 64  # samples whose losses at the start stand for the code of a loss
CLOSE = 1e-5  # of the largest of them: another machine, or another number of threads, rounds in another way


def identity(runs: Sequence[Run]) -> dict[str, Any]:
    """All that decides the numbers of these runs, as plain JSON values."""
    model = runs[0].model
    parts = [
        {
            "dynamics": run.dynamics.describe(), "seed": run.seed, "replicas": run.replicas.tolist(),
            "init": run.init_sha256, "record_every": run.record_every, "batch_sizes": list(run.batch_sizes),
            "metrics": [metric.name for metric in run.metrics],
            "functions": [_origin(metric.evaluate) for metric in run.metrics], "sampling": run.sampling,
            "keep_params": run.keep_params, "first_step": run.first_step, "steps": run.steps,
        }
        for run in runs
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        losses = np.asarray(model.sample_losses(runs[0].init[0]), dtype=np.float64)[:FEW]
    own = {} if model.worker is None else model.worker.identity(model)  # type: ignore[attr-defined]
    whole = {
        "sgdmodels_version": __version__, "model": model.describe(), "data": data_sha256(model), **own,
        **(parts[0] if len(parts) == 1 else {"runs": parts}), "losses_at_init": np.nan_to_num(losses).tolist(),
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain


def _origin(function: Any) -> str:
    """Where a function comes from: two metrics of one name may be two metrics."""
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"


def check_same(path: Path, stored: dict[str, Any], wanted: dict[str, Any], *, any_length: bool) -> None:
    """Raise InvalidArgument that names the first difference; with `any_length` the number of steps may be one."""
    one, other = _comparable(stored, any_length), _comparable(wanted, any_length)
    if one != other:
        what = difference(one, other)
    elif not _close(stored.get("losses_at_init"), wanted["losses_at_init"]):
        what = "its losses at init are others: the code of the loss, or what it computes with, has changed"
    else:
        return
    length = ".steps " in what or what.startswith("its steps ")
    advice = "pass it as resume= to go on to another number of steps, " if length else ""
    raise InvalidArgument(
        f"checkpoint {path} belongs to another run ({what}); {advice}give this run another file, or remove that one"
    )


def _comparable(whole: dict[str, Any], any_length: bool) -> dict[str, Any]:
    """What must be equal, without the losses, which need only be close."""
    left_out = {"losses_at_init", "steps"} if any_length else {"losses_at_init"}
    kept = {key: value for key, value in whole.items() if key not in left_out}
    if "runs" in kept:
        kept["runs"] = [{k: v for k, v in run.items() if k not in left_out} for run in kept["runs"]]
    return kept


def _close(stored: Any, wanted: list[float]) -> bool:
    one, other = np.asarray(stored, dtype=np.float64), np.asarray(wanted)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=CLOSE * np.abs(other).max()))
