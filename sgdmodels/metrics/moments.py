r"""Six per-sample moments that hold Batch Sharpness, IAS and GNI for every batch size and sampling scheme at once.

.. math:: T_1 = \tfrac1n\sum g_i^TH_ig_i,\ T_2 = \tfrac1n\sum \bar g^TH_ig_i,\ T_3 = \tfrac1n\sum g_i^T\bar Hg_i,\
          T_4 = \bar g^T\bar H\bar g,\ S_1 = \tfrac1n\sum|g_i|^2,\ S_2 = |\bar g|^2

n products with the mean Hessian dominate the cost: O(n d^2) at most, O(n d) where a loss's structure allows it; no
sample's Hessian is ever formed. With c2, c3 of `sgdmodels.sampling` the batch expectations are

.. math:: E|g_B|^2 = S_2 + c_2(S_1 - S_2), \qquad E[g_B^T\bar Hg_B] = T_4 + c_2(T_3 - T_4)
.. math:: E[g_B^TH_Bg_B] = T_4 + c_2[(T_3 - T_4) + 2(T_2 - T_4)] + c_3[T_1 - T_3 - 2T_2 + 2T_4]

and for Bernoulli batches the same with raw moments. Exact for any smooth loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64, void

from ..arguments import FloatArray
from ..kernels.holes import add_gradient, add_hvp, add_mean_hvp, begin_mean, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS, VECTOR
from ..sampling import noise_coefficients
from .base import Snapshots

T1, T2, T3, T4, S1, S2 = range(6)
MOMENTS = void(MATRIX, int64, int32[::1], VECTOR, *DATA, MATRIX, MATRIX)


def moments(theta, samples, index, weight, inputs, targets, constants, second_moment, work, out):
    """Template: the six moments of each row of theta."""
    size = theta.shape[1]
    g, mean = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size]
    curved, product = work[MODEL_ROWS + 2, :size], work[MODEL_ROWS + 3, :size]
    one = work[MODEL_ROWS + 4, :1]
    one[0] = 1.0
    for p in range(theta.shape[0]):
        check = 0.0
        for k in range(size):
            check += theta[p, k]
        if not np.isfinite(check):
            out[p, :] = np.nan
            continue
        parts = split(theta[p], inputs, constants)
        g_parts = split(g, inputs, constants)
        mean_parts = split(mean, inputs, constants)
        curved_parts = split(curved, inputs, constants)
        product_parts = split(product, inputs, constants)
        for k in range(size):
            mean[k] = 0.0
            product[k] = 0.0
        add_gradient(parts, index, weight, samples, 1.0, inputs, targets, constants, work, mean_parts)
        begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
        add_mean_hvp(parts, mean_parts, samples, inputs, targets, constants, second_moment, work, product_parts)
        t1, t2, t3, t4, s1, s2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(size):
            t4 += mean[k] * product[k]
            s2 += mean[k] * mean[k]
        for i in range(samples):
            for k in range(size):
                g[k] = 0.0
                curved[k] = 0.0
                product[k] = 0.0
            this = index[i : i + 1]
            add_gradient(parts, this, one, 1, 1.0, inputs, targets, constants, work, g_parts)
            add_hvp(parts, g_parts, this, one, 1, 1.0, inputs, targets, constants, work, curved_parts)
            add_mean_hvp(parts, g_parts, samples, inputs, targets, constants, second_moment, work, product_parts)
            for k in range(size):
                t1 += g[k] * curved[k]
                t2 += mean[k] * curved[k]
                t3 += g[k] * product[k]
                s1 += g[k] * g[k]
        out[p, 0] = t1 / samples
        out[p, 1] = t2 / samples
        out[p, 2] = t3 / samples
        out[p, 3] = t4
        out[p, 4] = s1 / samples
        out[p, 5] = s2


def sample_moments(snapshots: Snapshots) -> FloatArray:
    """(T1, T2, T3, T4, S1, S2) of every snapshot, shape (replica, step, 6)."""
    model = snapshots.model
    kernel = snapshots.kernel(moments, MOMENTS, "split", "add_gradient", "add_hvp", "begin_mean", "add_mean_hvp")
    out = np.empty((*snapshots.shape, 6))
    index, weight = snapshots.uniform
    kernel(
        snapshots.theta.reshape(-1, model.dim), model.samples, index, weight, *model.data, snapshots.work,
        out.reshape(-1, 6),
    )  # fmt: skip
    return out


class BatchExpectations(NamedTuple):
    """E|g_B|^2, E[g_B' H_B g_B] and E[g_B' Hbar g_B], each of shape (replica, step, batch_size)."""

    gradient: FloatArray
    curvature: FloatArray
    interaction: FloatArray


def batch_expectations(snapshots: Snapshots) -> BatchExpectations:
    """The three batch expectations at every requested batch size, exactly, from the six moments."""
    m = [snapshots.moments[..., q, None] for q in range(6)]
    coefficients = [noise_coefficients(snapshots.model.samples, b, snapshots.sampling) for b in snapshots.batch_sizes]
    c2 = np.array([c.c2 for c in coefficients])
    c3 = np.array([c.c3 for c in coefficients])
    if snapshots.sampling == "bernoulli":
        return BatchExpectations(m[S2] + c2 * m[S1], m[T4] + c2 * (m[T3] + 2 * m[T2]) + c3 * m[T1], m[T4] + c2 * m[T3])
    return BatchExpectations(
        m[S2] + c2 * (m[S1] - m[S2]),
        m[T4] + c2 * (m[T3] + 2 * m[T2] - 3 * m[T4]) + c3 * (m[T1] - m[T3] - 2 * m[T2] + 2 * m[T4]),
        m[T4] + c2 * (m[T3] - m[T4]),
    )
