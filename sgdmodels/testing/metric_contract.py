"""The contract of a metric: one number per snapshot and batch size, whatever else is measured along with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..dynamics import SGD
from ..errors import InvalidArgument
from ..measure import RESERVED, checked_batch_sizes, checked_model, evaluate, measure
from ..metrics import Metric, Snapshots
from ..models import Model
from ..simulate import simulate
from .example import example
from .failures import answered, equal, kept, require, same_bits

PARTS = ("value", "standard error")
ROUNDING = 1e-12  # relative to the largest value
ITERATIVE = 1e-7  # the same, of a metric that starts from its neighbour, by way of snapshots.memory


def check_metric(
    metric: Metric, model: Model | None = None, batch_sizes: Sequence[int] = (1, 2), seed: int = 0
) -> None:
    """Check the contract of a metric on a loss (default: a small diagonal network), at snapshots drawn with `seed`.

    Name and labels; shape (replica, step), with an axis of batch sizes if and only if it says so; a standard error of
    the same shape, if any; real numbers, finite at finite snapshots, and no trouble from snapshots that are not;
    snapshots and loss left alone; value and standard error of a snapshot and a batch size independent of the other
    snapshots and batch sizes (to rounding; up to 1e-7 for iterative metrics, which keep something in
    ``snapshots.memory``), and the same in `measure` and `simulate`. Raises AssertionError that says which property
    fails and the numbers; InvalidArgument for what is no metric or no loss, and for batch sizes that do not fit it.

    >>> import sgdmodels as sm
    >>> check_metric(sm.Metric("distance", "distance from 0", "1", lambda s: np.linalg.norm(s.theta, axis=2)))
    """
    if not isinstance(metric, Metric):
        raise InvalidArgument(
            f"metric must be a metric such as sm.Metric(name, long_name, units, evaluate), got {metric!r}"
        )
    loss = example()[0] if model is None else checked_model(model)
    sizes = checked_batch_sizes(loss, batch_sizes)
    _check_labels(metric)
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0.2, 0.6, (2, 4, loss.dim))
    theta[1, 1, 0], theta[1, 2] = np.nan, np.inf
    _check_values(metric, loss, theta, sizes, seed)
    _check_independence(metric, loss, theta, sizes, seed)
    _check_runs(metric, loss, rng.uniform(0.2, 0.6, loss.dim), list(sizes), seed)


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
    whole = _snapshots(model, np.where(np.isfinite(theta), theta, 0.5), (0, 0), sizes, seed)
    answered("finite snapshots", lambda: _values(metric, whole))
    values = answered(
        "snapshots that are not finite (a replica that diverged: the value there must be NaN, so evaluate the others "
        "only, snapshots.theta[snapshots.alive])",
        lambda: _values(metric, points),
    )
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
        require(array.dtype.kind in "fiub", f"{what} must be real numbers, got dtype {array.dtype}")
    alive = np.isfinite(theta).all(axis=2)
    for name, array in evaluate((metric,), points):
        at = np.isfinite(array).reshape(2, 4, -1)
        require(at[alive].all(), f"{name} must be finite at finite parameters, got {array[alive]}")
        require(not at[~alive].any(), f"{name} must be nan at parameters that are not finite, got {array[~alive]}")
    if len(values) == 2:
        require((values[1][alive] >= 0).all(), f"standard errors must not be negative, got {values[1][alive]}")


def _check_independence(metric: Metric, model: Model, theta: FloatArray, sizes: tuple[int, ...], seed: int) -> None:
    """What a snapshot or a batch size gives alone, or in another order, is what it gives among others."""
    points = _snapshots(model, theta, (0, 0), sizes, seed)
    together = _values(metric, points)
    slack = ITERATIVE if points.memory else ROUNDING
    alive = np.isfinite(theta).all(axis=2)
    scales = [slack * float(np.abs(array[alive]).max()) for array in together]
    for r, q in np.argwhere(alive):
        alone = _values(metric, _snapshots(model, theta[r : r + 1, q : q + 1], (r, q), sizes, seed))
        for what, one, many, scale in zip(PARTS, alone, together, scales, strict=False):
            where = f"for replica {r}, step {q}"
            equal(f"the {what} of a snapshot alone", one[0, 0], many[r, q], "that among others", scale, where)
    more = sizes if len(sizes) > 1 else (*sizes, 1 if sizes[0] > 1 else min(2, model.samples))
    for other in ((sizes[0],), more, more[::-1]):
        given = _values(metric, _snapshots(model, theta, (0, 0), other, seed))
        for j, k in ((j, other.index(b)) for j, b in enumerate(sizes) if b in other):
            for what, one, many, scale in zip(PARTS, given, together, scales, strict=False):
                here, there = (one[..., k], many[..., j]) if metric.per_batch_size else (one, many)
                subject = f"the {what} for batch_sizes={other}" + (f" at {sizes[j]}" if metric.per_batch_size else "")
                equal(subject, here[alive], there[alive], f"that for batch_sizes={sizes}", scale, "at all snapshots")


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
