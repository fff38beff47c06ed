"""The norm of the full-batch gradient."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, void

from ..arguments import FloatArray
from ..kernels.holes import add_gradient, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS, VECTOR
from .base import Metric, Snapshots


def gradient_norms(theta, samples, index, weight, inputs, targets, constants, second_moment, work, out):
    """Template: |grad L| at each row of theta."""
    g = work[MODEL_ROWS, : theta.shape[1]]
    for p in range(theta.shape[0]):
        for k in range(g.shape[0]):
            g[k] = 0.0
        add_gradient(
            split(theta[p], inputs, constants), index, weight, samples, 1.0,
            inputs, targets, constants, work, split(g, inputs, constants),
        )  # fmt: skip
        total = 0.0
        for k in range(g.shape[0]):
            total += g[k] * g[k]
        out[p] = np.sqrt(total)


def full_gradient_norm(snapshots: Snapshots) -> FloatArray:
    model = snapshots.model
    out = np.empty(snapshots.shape)
    signature = void(MATRIX, int64, int32[::1], VECTOR, *DATA, MATRIX, VECTOR)
    kernel = snapshots.kernel(gradient_norms, signature, "split", "add_gradient")
    theta = snapshots.theta.reshape(-1, model.dim)
    kernel(theta, model.samples, *snapshots.uniform, *model.data, snapshots.work, out.ravel())
    return out


GRADIENT_NORM = Metric("gradient_norm", "norm of the full-batch gradient", "1", full_gradient_norm)
