"""Dense mean Hessians of snapshots, for the metrics that need all of one."""

from __future__ import annotations

import numpy as np
from numba import float64, int64, void

from ..arguments import FloatArray
from ..kernels.holes import add_mean_hvp, begin_mean, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS
from .base import Snapshots


def mean_hessians(theta, samples, inputs, targets, constants, second_moment, work, out):
    """Template: the mean Hessian at each row of theta, column by column."""
    size = theta.shape[1]
    unit = work[MODEL_ROWS, :size]
    unit_parts = split(unit, inputs, constants)
    for k in range(size):
        unit[k] = 0.0
    for p in range(theta.shape[0]):
        parts = split(theta[p], inputs, constants)
        begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
        for j in range(size):
            column = out[p, j]
            for k in range(size):
                column[k] = 0.0
            unit[j] = 1.0
            add_mean_hvp(
                parts, unit_parts, samples, inputs, targets, constants, second_moment, work,
                split(column, inputs, constants),
            )  # fmt: skip
            unit[j] = 0.0


def dense_hessians(snapshots: Snapshots) -> FloatArray:
    """Mean Hessians, shape (replica, step, d, d); NaN where a snapshot is not finite."""
    model = snapshots.model
    signature = void(MATRIX, int64, *DATA, MATRIX, float64[:, :, ::1])
    kernel = snapshots.kernel(mean_hessians, signature, "split", "begin_mean", "add_mean_hvp")
    out = np.empty((*snapshots.shape, model.dim, model.dim))
    theta = snapshots.theta.reshape(-1, model.dim)
    kernel(theta, model.samples, *model.data, snapshots.work, out.reshape(-1, model.dim, model.dim))
    return out


def largest_eigenvalues(hessians: FloatArray) -> FloatArray:
    """Largest eigenvalue of each of a stack of symmetric matrices, NaN where entries are not finite."""
    finite = np.isfinite(hessians).all(axis=(1, 2))
    values = np.full(len(hessians), np.nan)
    if finite.any():
        values[finite] = np.linalg.eigvalsh(hessians[finite])[:, -1]
    return values
