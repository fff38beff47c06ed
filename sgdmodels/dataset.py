"""Results as labelled arrays: dims, units and long names, and what made them."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
import scipy

from .arguments import FloatArray
from .metrics import Metric, Snapshots
from .models import Model
from .specs.runs import run_attributes
from .version import __version__

if TYPE_CHECKING:
    import xarray as xr

    from .simulate import Run

DIMS = ("replica", "step", "batch_size")
# What may stand beside a metric: what it is, and its units where they are not the metric's.
BESIDE = {
    "standard_error": ("standard error", ""),
    "low": ("lower end of the 95 % interval", ""),
    "high": ("upper end of the 95 % interval", ""),
    "samples": ("number of samples, batches or probes behind the value", "1"),
    "residual": ("relative residual", "1"),
    "converged": ("whether the residual is below the tolerance (1) or not (0),", "1"),
    "products": ("products with a Hessian spent on", "1"),
    "rank": ("dimension of the subspace behind", "1"),
    "increase": ("relative increase at the last enlargement of the subspace behind", "1"),
}


DIVERGED_AT = {
    "long_name": "step at which the parameters left the ball |theta| <= 1e6 max(1, |init|) for good; "
    "NaN if they did not",
    "units": "step",
}

_digests: WeakKeyDictionary[Model, str] = WeakKeyDictionary()  # data of a model never change


def data_sha256(model: Model) -> str:
    """The identity of a model's data."""
    if model not in _digests:
        digest = hashlib.sha256()
        for array in model.data:
            digest.update(np.ascontiguousarray(array).tobytes())
        _digests[model] = digest.hexdigest()
    return _digests[model]


def provenance(model: Model) -> dict[str, Any]:
    """Versions, machine, time and the loss, as values that any file format can hold."""
    return {
        "model": json.dumps(model.describe()),
        "data_sha256": data_sha256(model),
        "sgdmodels_version": __version__,
        "python_version": platform.python_version(),
        "numpy_version": np.__version__,
        "numba_version": numba.__version__,
        "scipy_version": scipy.__version__,
        "platform": platform.platform(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def labels(metrics: Sequence[Metric], name: str) -> dict[str, str]:
    """long_name and units of a variable."""
    for metric in metrics:
        if name == metric.name:
            return {"long_name": metric.long_name, "units": metric.units}
        for suffix, (about, units) in BESIDE.items():
            if name == f"{metric.name}_{suffix}":
                return {"long_name": f"{about} of {metric.long_name}", "units": units or metric.units}
    return {"long_name": name, "units": "1"}


def record_dataset(run: Run, done: int, interrupted: bool, seconds: float) -> xr.Dataset:
    """The first `done` records of a run."""
    import xarray as xr

    steps = run.recorded[:done]
    variables: dict[str, Any] = {}
    for name, values in run.results.items():
        dims = ("replica", "step", "parameter") if name == "params" else DIMS[: values.ndim]
        variables[name] = (dims, values[:, :done], labels(run.metrics, name))
    reached = steps[-1] if done else -1
    diverged = np.where((run.diverged_at >= 0) & (run.diverged_at <= reached), run.diverged_at, np.nan)
    variables["diverged_at"] = ("replica", diverged, DIVERGED_AT)
    stretch = np.maximum(np.searchsorted(run.plan.starts, steps, side="right") - 1, 0)
    coordinates = {
        "replica": ("replica", run.replicas, {"long_name": "replica"}),
        "step": ("step", steps, {"long_name": "step", "units": "SGD steps"}),
        "step_size": ("step", run.plan.step_sizes[stretch], {"long_name": "step size in force", "units": "1"}),
        "training_batch_size": ("step", run.plan.batch_sizes[stretch], {"long_name": "batch size of the dynamics"}),
        "batch_size": ("batch_size", list(run.batch_sizes), {"long_name": "batch size of the metric"}),
    }
    attributes = {
        **provenance(run.model),
        "dynamics": json.dumps(run.dynamics.describe()),
        "metrics": json.dumps([metric.name for metric in run.metrics]),
        "init_sha256": run.init_sha256,
        "sampling": run.sampling,
        "seed": str(run.seed),  # a 64-bit unsigned integer fits no netCDF attribute
        "steps": run.steps,
        "record_every": run.record_every,
        "threads": run.threads,
        "interrupted": int(interrupted),
        "wall_time_s": seconds,
        **run_attributes(run, data_sha256(run.model)),
    }
    return xr.Dataset(variables, coordinates, attributes)


def point_dataset(
    points: Snapshots, metrics: Sequence[Metric], values: dict[str, FloatArray], theta: Any
) -> xr.Dataset:
    """Metrics at a point, or along a stored run."""
    import xarray as xr

    attributes = {**provenance(points.model), "sampling": points.sampling, "seed": str(points.seed)}
    coordinates: dict[str, Any] = {"batch_size": ("batch_size", list(points.batch_sizes))}
    variables = {}
    along_run = hasattr(theta, "dims")
    if along_run:
        coordinates.update(replica=("replica", points.replicas), step=("step", points.steps))
    for name, array in values.items():
        shown, dims = (array, DIMS[: array.ndim]) if along_run else (array[0, 0], DIMS[2 : array.ndim])
        variables[name] = (dims, shown, labels(metrics, name))
    return xr.Dataset(variables, coordinates, attributes)
