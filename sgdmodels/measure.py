"""Metrics at given parameters: the same functions that `simulate` records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, float_array, integer, one_of
from .dataset import point_dataset
from .errors import InvalidArgument
from .metrics import METRICS, Metric, Snapshots
from .models import Model
from .sampling import SCHEMES

if TYPE_CHECKING:
    import xarray as xr

RESERVED = ("params", "diverged_at", "replica", "step", "step_size", "batch_size", "training_batch_size", "parameter")


def measure(
    model: Model,
    theta: ArrayLike | xr.DataArray,
    batch_size: int | Sequence[int] = 1,
    *,
    sampling: str = "without_replacement",
    metrics: Sequence[str | Metric] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Metrics of `model` at `theta`: all of them, or those named.

    theta: a vector (d,), or a stored run's ``run.params`` with dims (replica, step, parameter). Metrics that
    depend on the batch size get a dim batch_size. Where a metric draws random batches, `seed` fixes them and
    ``NAME_standard_error`` says how far off the mean may be. On large problems name the metrics: minibatch_lambda_max
    needs dense eigenvalues of many batches, mean_square_sharpness O(n d^3) an iteration.

    Raises InvalidArgument naming the argument.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares([[1.0, 0.0], [0.0, 3.0]], [1.0, 1.0])
    >>> point = measure(model, np.zeros(2), batch_size=[1, 2], metrics=("batch_sharpness",))
    >>> point.batch_sharpness.values.tolist()  # b = 1: (1 + 81) / (1 + 9)
    [8.2, 4.1]
    """
    checked_model(model)
    chosen = checked_metrics([m.name for m in METRICS] if metrics is None else metrics)
    sizes = checked_batch_sizes(model, batch_size)
    one_of("sampling", sampling, SCHEMES)
    integer("seed", seed, 0, 2**64 - 1)
    stack, replicas, steps = _stack(model, theta)
    points = Snapshots(model, stack, replicas, steps, sizes, sampling, seed)
    return point_dataset(points, chosen, dict(evaluate(chosen, points)), theta)


def evaluate(metrics: Sequence[Metric], points: Snapshots) -> Iterator[tuple[str, FloatArray]]:
    """(variable name, values) of every metric and what comes with it; NaN wherever a value is not finite."""
    for metric in metrics:
        with np.errstate(all="ignore"):  # a step size past the edge overflows on its way out: data, not a warning
            values = points.model.measured(metric, points)
        if isinstance(values, tuple):
            values = {"": values[0], "standard_error": values[1]}
        for suffix, array in values.items() if isinstance(values, Mapping) else (("", values),):
            name = f"{metric.name}_{suffix}" if suffix else metric.name
            checked = np.array(array, dtype=np.float64)
            shape = (*points.shape, len(points.batch_sizes)) if metric.per_batch_size else points.shape
            if checked.shape != shape:
                raise InvalidArgument(
                    f"metric {metric.name!r} must give an array of shape {shape} (replica, step"
                    f"{', batch_size' if metric.per_batch_size else ''}), got {checked.shape}"
                )
            checked[~np.isfinite(checked)] = np.nan
            checked[~points.alive] = np.nan
            yield name, checked


def checked_model(model: Any) -> Model:
    """`model` if it is a loss."""
    if not isinstance(model, Model):
        raise InvalidArgument(f"model must be a loss such as sm.models.LeastSquares(...), got {model!r}")
    return model


def checked_metrics(metrics: Any) -> tuple[Metric, ...]:
    """Names and Metric objects as Metric objects."""
    known = {metric.name: metric for metric in METRICS}
    if isinstance(metrics, str | Metric):
        metrics = (metrics,)
    if not isinstance(metrics, Iterable):
        raise InvalidArgument(f"metrics must be names such as ('loss', 'lambda_max'), got {metrics!r}")
    chosen = tuple(m if isinstance(m, Metric) else known[one_of("metrics", m, known)] for m in metrics)
    names = [m.name for m in chosen]
    taken = sorted({name for name in names if name in RESERVED or names.count(name) > 1})
    if taken:
        raise InvalidArgument(f"metrics must have distinct names other than {', '.join(RESERVED)}, got {taken}")
    return chosen


def checked_batch_sizes(model: Model, batch_size: Any) -> tuple[int, ...]:
    """One or several batch sizes in 1..n, distinct."""
    single = np.ndim(batch_size) == 0 and not isinstance(batch_size, set | frozenset | Iterator)
    sizes = [batch_size] if single else list(batch_size)
    why = "(the number of samples)"
    checked = tuple(integer("batch_size", b, 1, model.samples, why) for b in sizes)
    if not checked or len(set(checked)) != len(checked):
        raise InvalidArgument(f"batch_size must be one or more distinct sizes, got {sizes}")
    return checked


def _stack(model: Model, theta: Any) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """theta as (replica, step, parameter) with the ids of both."""
    if hasattr(theta, "dims"):
        if theta.dims != ("replica", "step", "parameter") or theta.sizes["parameter"] != model.dim:
            raise InvalidArgument(
                f"theta must have dims (replica, step, parameter={model.dim}), got {dict(theta.sizes)}; pass run.params"
            )
        if theta.dtype != np.float64:
            raise InvalidArgument(f"theta must be float64, got {theta.dtype}; pass theta.astype(float)")
        return np.ascontiguousarray(theta.values), theta.replica.values, theta.step.values
    point = float_array("theta", theta, (model.dim,))
    model.check_point(point)
    return point[None, None, :].copy(), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
