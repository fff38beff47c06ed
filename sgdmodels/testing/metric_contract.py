"""The contract of a metric: one number per snapshot and batch size, whatever else is measured along with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..dynamics import SGD
from ..measure import RESERVED, evaluate, measure
from ..metrics import Metric, Snapshots
from ..models import Model
from ..simulate import simulate
from .example import example
from .failures import equal, kept, require, same_bits

ITERATIVE = 1e-7  # relative: an iterative metric that starts from its neighbour ends a little elsewhere


def check_metric(
    metric: Metric, model: Model | None = None, batch_sizes: Sequence[int] = (1, 2), seed: int = 0
) -> None:
    """Check the contract of a metric on a loss (default: a small diagonal network), at snapshots drawn with `seed`.

    Name and labels; shape (replica, step), with an axis of batch sizes if and only if it says so; a standard error of
    the same shape, if any; finite at finite snapshots, and no trouble from snapshots that are not; snapshots and loss
    left alone; the value of a snapshot independent of the other snapshots (up to 1e-7 for iterative metrics) and the
    same in `measure` and `simulate`. Raises AssertionError that says which property fails and the numbers.

    >>> import sgdmodels as sm
    >>> check_metric(sm.Metric("distance", "distance from 0", "1", lambda s: np.linalg.norm(s.theta, axis=2)))
    """
    loss = example()[0] if model is None else model
    _check_labels(metric)
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0.2, 0.6, (2, 4, loss.dim))
    theta[1, 1, 0], theta[1, 2] = np.nan, np.inf
    _check_values(metric, loss, theta, tuple(batch_sizes), seed)
    _check_runs(metric, loss, rng.uniform(0.2, 0.6, loss.dim), list(batch_sizes), seed)


def _check_labels(metric: Metric) -> None:
    require(
        isinstance(metric.name, str) and metric.name.isidentifier() and metric.name not in RESERVED,
        f"name must be an identifier other than {', '.join(RESERVED)}, got {metric.name!r}",
    )
    for name in ("long_name", "units"):
        value = getattr(metric, name)
        require(isinstance(value, str) and value.strip(), f"{name} must be text, got {value!r}")


def _snapshots(model: Model, theta: FloatArray, first: tuple[int, int], sizes: tuple[int, ...], seed: int) -> Snapshots:
    replicas, steps = (np.arange(start, start + size) for start, size in zip(first, theta.shape, strict=False))
    return Snapshots(model, np.ascontiguousarray(theta), replicas, steps, sizes, "without_replacement", seed)


def _values(metric: Metric, points: Snapshots) -> list[FloatArray]:
    """What the metric says, as it says it: value, and standard error if it has one."""
    with np.errstate(all="ignore"):
        given: Any = metric.evaluate(points)
    return [np.asarray(array) for array in (given if isinstance(given, tuple) else (given,))]


def _check_values(metric: Metric, model: Model, theta: FloatArray, sizes: tuple[int, ...], seed: int) -> None:
    points = _snapshots(model, theta, (0, 0), sizes, seed)
    before, data = theta.copy(), kept(model)
    values = _values(metric, points)
    same_bits("the snapshots", points.theta, before, "were modified by the metric")
    for name, array in kept(model).items():
        same_bits(f"the array {name} of the loss", array, data.get(name, array), "was modified by the metric")
    require(
        len(values) in (1, 2), f"evaluate must return values or (values, standard errors), got {len(values)} arrays"
    )
    shape = (2, 4, len(sizes)) if metric.per_batch_size else (2, 4)
    for what, array in zip(("values", "standard errors"), values, strict=False):
        says = f"per_batch_size={metric.per_batch_size}"
        require(array.shape == shape, f"{what} must have shape {shape} with {says}, got {array.shape}")
    alive = np.isfinite(theta).all(axis=2)
    for name, array in evaluate((metric,), points):
        at = np.isfinite(array).reshape(2, 4, -1)
        require(at[alive].all(), f"{name} must be finite at finite parameters, got {array[alive]}")
        require(not at[~alive].any(), f"{name} must be nan at parameters that are not finite, got {array[~alive]}")
    if len(values) == 2:
        require((values[1][alive] >= 0).all(), f"standard errors must not be negative, got {values[1][alive]}")
    for r, q in np.argwhere(alive):
        alone = _values(metric, _snapshots(model, theta[r : r + 1, q : q + 1], (r, q), sizes, seed))
        expected = values[0][r, q]
        slack = ITERATIVE * np.abs(expected).max()
        where = f"for replica {r}, step {q}"
        equal("the value of a snapshot alone", alone[0][0, 0], expected, "that among others", slack, where)


def _check_runs(metric: Metric, model: Model, init: FloatArray, sizes: list[int], seed: int) -> None:
    step = 0.1 / max(1.0, float(np.abs(model.sample_hessians(init)).max()))
    run = simulate(
        model, SGD(step, 1), 20, init, replicas=2, record_every=10, metrics=(metric,), batch_size=sizes, seed=seed,
        keep_params=True, progress=False,
    )  # fmt: skip
    stored = measure(model, run.params, sizes, metrics=(metric,), seed=seed)
    for name in (metric.name, f"{metric.name}_standard_error"):
        if name in run:
            same_bits(name, stored[name].values, run[name].values, "is not the same in measure and in simulate")
