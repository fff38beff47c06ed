r"""The mean over batches of the largest eigenvalue of the batch Hessian.

.. math:: E_B[\lambda_{\max}(H_B)] \ge \lambda_{\max}(\bar H)

Exact by enumeration up to 512 batches (an empty Bernoulli batch counts as 0), else a Monte Carlo mean over 100 batches
with its standard error in ``minibatch_lambda_max_standard_error``.
Source: Andreyev and Beneventano 2024, first version.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int32, int64, void

from ..arguments import FloatArray
from ..batches import Batches
from ..kernels.holes import add_hvp, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS, VECTOR
from .base import Metric, Snapshots
from .batch_average import batch_average
from .hessians import largest_eigenvalues

DRAWS = 100
ENUMERATE_UP_TO = 512  # a dense eigenproblem each
CHUNK = 256  # batch Hessians held at a time


def batch_hessians(theta, index, weight, count, inputs, targets, constants, second_moment, work, out):
    """Template: the Hessian of each batch, column by column."""
    size = theta.shape[0]
    unit = work[MODEL_ROWS, :size]
    parts, unit_parts = split(theta, inputs, constants), split(unit, inputs, constants)
    for k in range(size):
        unit[k] = 0.0
    for m in range(index.shape[0]):
        for j in range(size):
            column = out[m, j]
            for k in range(size):
                column[k] = 0.0
            unit[j] = 1.0
            add_hvp(
                parts, unit_parts, index[m], weight[m], count[m], 1.0, inputs, targets, constants, work,
                split(column, inputs, constants),
            )  # fmt: skip
            unit[j] = 0.0


SIGNATURE = void(VECTOR, int32[:, ::1], MATRIX, int64[::1], *DATA, MATRIX, float64[:, :, ::1])


def mean_largest_eigenvalue(snapshots: Snapshots) -> tuple[FloatArray, FloatArray]:
    kernel = snapshots.kernel(batch_hessians, SIGNATURE, "split", "add_hvp")
    model = snapshots.model

    def statistic(theta: FloatArray, batches: Batches) -> FloatArray:
        values = []
        for first in range(0, len(batches.index), CHUNK):
            part = slice(first, first + CHUNK)
            hessians = np.empty((len(batches.index[part]), model.dim, model.dim))
            kernel(
                theta, batches.index[part], batches.weight[part], batches.count[part], *model.data, snapshots.work,
                hessians,
            )  # fmt: skip
            values.append(largest_eigenvalues(hessians))
        return np.concatenate(values)

    return batch_average(snapshots, statistic, DRAWS, ENUMERATE_UP_TO)


MINIBATCH_LAMBDA_MAX = Metric(
    "minibatch_lambda_max", "mean largest eigenvalue of the batch Hessian", "curvature", mean_largest_eigenvalue,
    per_batch_size=True,
)  # fmt: skip
