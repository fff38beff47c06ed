"""Every metric on networks: those of `sgdmodels.METRICS` by the names they have there, and those that only networks
have.

Each gives, beside its value, the standard error and the number of samples behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..arguments import FloatArray
from ..measure import checked_metrics
from ..metrics import METRICS as LOSS_METRICS
from ..metrics import Metric, Snapshots
from .estimators.batch_estimates import MEAN_OF_RATIOS, RATIO_OF_MEANS, BatchEstimates
from .estimators.intervals import Estimate
from .objectives.objective import GAUSS_NEWTON, HESSIAN
from .point import Point

Numbers = Mapping[str, Any]  # suffix -> number, or array (batch_sizes,)


def points_of(snapshots: Snapshots, matrix: str) -> dict[tuple[int, int], Point]:
    """The finite snapshots as points, in the order of their steps, shared by all metrics of one matrix."""
    if matrix not in snapshots.shared:
        probe: Any = snapshots.model
        objective = probe.objective.with_matrix(matrix)
        found = {}
        for r, q in np.argwhere(snapshots.alive).tolist():
            replica = int(snapshots.replicas[r])
            theta = torch.from_numpy(snapshots.theta[r, q]).to(objective.device, objective.dtype)
            found[r, q] = Point(
                objective, theta, probe.accuracy, snapshots.batch_sizes, snapshots.sampling, snapshots.seed, replica,
                int(snapshots.steps[q]), snapshots.memory,
            )  # fmt: skip
        snapshots.shared[matrix] = found
    return snapshots.shared[matrix]


def over_points(compute: Callable[[Point], Numbers], matrix: str, per_batch_size: bool) -> Callable[[Snapshots], Any]:
    """The metric that `compute` gives point by point; NaN where the parameters are not finite."""

    def evaluate(snapshots: Snapshots) -> dict[str, FloatArray]:
        shape = (*snapshots.shape, len(snapshots.batch_sizes)) if per_batch_size else snapshots.shape
        arrays: dict[str, FloatArray] = {"": np.full(shape, np.nan)}
        for (r, q), point in points_of(snapshots, matrix).items():
            for suffix, numbers in compute(point).items():
                arrays.setdefault(suffix, np.full(shape, np.nan))[r, q] = numbers
        return arrays

    return evaluate


def exactly(value: float, samples: int) -> Numbers:
    """A number without sampling error."""
    return {"": value, "standard_error": 0.0, "samples": samples}


def estimated(estimate: Estimate, samples: Any) -> Numbers:
    """An estimate at every batch size with its interval."""
    return {
        "": estimate.value, "standard_error": estimate.standard_error, "low": estimate.low, "high": estimate.high,
        "samples": samples,
    }  # fmt: skip


def loss(point: Point) -> Numbers:
    return exactly(float(point.objective.loss(point.theta)), point.objective.samples)


def gradient_norm(point: Point) -> Numbers:
    gradient = point.objective.gradient(point.theta).double()
    return exactly(float(torch.linalg.vector_norm(gradient)), point.objective.samples)


def moment_samples(point: Point) -> int:
    return point.objective.samples if point.subset is None else len(point.subset)


def batch_sharpness(point: Point) -> Numbers:
    return estimated(point.ratios.batch_sharpness, moment_samples(point))


def ias(point: Point) -> Numbers:
    return estimated(point.ratios.ias, moment_samples(point))


def gni(point: Point) -> Numbers:
    return estimated(point.ratios.gni, moment_samples(point))


def from_batches(found: BatchEstimates) -> Numbers:
    return {
        "": found.value, "standard_error": found.standard_error, "low": found.low, "high": found.high,
        "samples": found.batches,
    }  # fmt: skip


def mean_ratio(point: Point) -> Numbers:
    return from_batches(point.by_batches(MEAN_OF_RATIOS))


def batch_sharpness_by_batches(point: Point) -> Numbers:
    return from_batches(point.by_batches(RATIO_OF_MEANS))


def lambda_max(point: Point) -> Numbers:
    found = point.eigenpairs
    index = point.curvature_samples
    value = float(found.values[0])
    return {
        "": value, "standard_error": point.sampling_error_of_lambda_max(),
        "samples": point.objective.samples if index is None else len(index),
        "residual": float(found.residuals[0]) / abs(value) if value else float(found.residuals[0]),
        "converged": float(found.converged[0]), "products": found.products,
    }  # fmt: skip


def trace_hessian(point: Point) -> Numbers:
    found = point.trace
    return {"": found.value, "standard_error": found.standard_error, "samples": found.probes}


def mean_square_sharpness(point: Point) -> Numbers:
    found = point.mean_square
    return {
        "": found.value, "standard_error": 0.0, "samples": point.objective.samples, "rank": found.rank,
        "increase": found.increase, "converged": found.converged,
    }  # fmt: skip


def minibatch_lambda_max(point: Point) -> Numbers:
    found = point.minibatch_lambda_max()
    names = {"": "value", "standard_error": "standard_error", "samples": "batches", "converged": "converged"}
    return {suffix: np.array([float(getattr(one, name)) for one in found]) for suffix, name in names.items()}


OF_A_POINT: dict[str, tuple[Callable[[Point], Numbers], bool]] = {
    "loss": (loss, False),
    "gradient_norm": (gradient_norm, False),
    "lambda_max": (lambda_max, False),
    "trace_hessian": (trace_hessian, False),
    "batch_sharpness": (batch_sharpness, True),
    "batch_sharpness_mean_ratio": (mean_ratio, True),
    "ias": (ias, True),
    "gni": (gni, True),
    "mean_square_sharpness": (mean_square_sharpness, True),
    "minibatch_lambda_max": (minibatch_lambda_max, True),
}
BUILT_IN = {name: over_points(compute, HESSIAN, per) for name, (compute, per) in OF_A_POINT.items()}
OF_CURVATURE = [name for name in OF_A_POINT if name not in ("loss", "gradient_norm")]


def gauss_newton(name: str) -> Metric:
    """The metric `name` with the Gauss-Newton matrix in place of the Hessian."""
    (original,) = (metric for metric in LOSS_METRICS if metric.name == name)
    compute, per_batch_size = OF_A_POINT[name]
    return Metric(
        f"gauss_newton_{name}", f"{original.long_name}, with the Gauss-Newton matrix", original.units,
        over_points(compute, GAUSS_NEWTON, per_batch_size), per_batch_size,
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    Metric(
        "batch_sharpness_by_batches", "Batch Sharpness E[g'Hg] / E|g|^2 by Monte Carlo over batches", "curvature",
        over_points(batch_sharpness_by_batches, HESSIAN, True), per_batch_size=True,
    ),
    *(gauss_newton(name) for name in OF_CURVATURE),
)  # fmt: skip


def network_metrics(metrics: str | Metric | Iterable[str | Metric]) -> tuple[Metric, ...]:
    """Names of this module's METRICS and of sgdmodels.METRICS, and Metric objects, as Metric objects."""
    own = {metric.name: metric for metric in METRICS}
    if isinstance(metrics, str | Metric) or not isinstance(metrics, Iterable):
        several: Sequence[Any] = [metrics]
    else:
        several = list(metrics)
    return checked_metrics([own.get(one, one) if isinstance(one, str) else one for one in several])
