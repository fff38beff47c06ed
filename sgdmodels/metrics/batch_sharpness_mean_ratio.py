r"""Batch Sharpness as a mean of ratios.

.. math:: \mathrm{BS}_E(\theta) = E_B\!\left[\frac{g_B^T H_B g_B}{|g_B|^2}\right]

It has no closed form in the per-sample moments (but for b = n, and b = 1 where it is a mean of n ratios). Exact by
enumeration up to
4096 batches, else a Monte Carlo mean over 1000 batches with its standard error in
``batch_sharpness_mean_ratio_standard_error``. Batches without a gradient are left out.
Source: Andreyev and Beneventano 2024, Definition 3 of the main text.
"""

from __future__ import annotations

import numpy as np
from numba import int32, int64, void

from ..arguments import FloatArray
from ..batches import Batches
from ..kernels.holes import add_gradient, add_hvp, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS, VECTOR
from .base import Metric, Snapshots
from .batch_average import batch_average

DRAWS = 1000
SIGNATURE = void(VECTOR, int32[:, ::1], MATRIX, int64[::1], *DATA, MATRIX, VECTOR)


def curvatures(theta, index, weight, count, inputs, targets, constants, second_moment, work, out):
    """Template: g'Hg / |g|^2 of each batch, NaN where its gradient vanishes."""
    g, curved = work[MODEL_ROWS, : theta.shape[0]], work[MODEL_ROWS + 1, : theta.shape[0]]
    parts = split(theta, inputs, constants)
    g_parts, curved_parts = split(g, inputs, constants), split(curved, inputs, constants)
    for m in range(index.shape[0]):
        for k in range(g.shape[0]):
            g[k] = 0.0
            curved[k] = 0.0
        add_gradient(parts, index[m], weight[m], count[m], 1.0, inputs, targets, constants, work, g_parts)
        add_hvp(parts, g_parts, index[m], weight[m], count[m], 1.0, inputs, targets, constants, work, curved_parts)
        top, bottom = 0.0, 0.0
        for k in range(g.shape[0]):
            top += g[k] * curved[k]
            bottom += g[k] * g[k]
        out[m] = top / bottom if bottom > 0.0 else np.nan


def mean_of_ratios(snapshots: Snapshots) -> tuple[FloatArray, FloatArray]:
    kernel = snapshots.kernel(curvatures, SIGNATURE, "split", "add_gradient", "add_hvp")

    def statistic(theta: FloatArray, batches: Batches) -> FloatArray:
        out = np.empty(len(batches.index))
        kernel(theta, batches.index, batches.weight, batches.count, *snapshots.model.data, snapshots.work, out)
        return out

    return batch_average(snapshots, statistic, DRAWS)


BATCH_SHARPNESS_MEAN_RATIO = Metric(
    "batch_sharpness_mean_ratio", "Batch Sharpness E[g'Hg / |g|^2]", "curvature", mean_of_ratios, per_batch_size=True
)
