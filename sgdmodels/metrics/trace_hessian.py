"""The trace of the full-batch Hessian, exact, from d products with it."""

from __future__ import annotations

import numpy as np
from numba import int64, void

from ..arguments import FloatArray
from ..kernels.holes import add_mean_hvp, begin_mean, split
from ..kernels.signatures import DATA, MATRIX, MODEL_ROWS, VECTOR
from .base import Metric, Snapshots


def traces(theta, samples, inputs, targets, constants, second_moment, work, out):
    """Template: the trace of the mean Hessian at each row of theta."""
    size = theta.shape[1]
    unit, column = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size]
    unit_parts, column_parts = split(unit, inputs, constants), split(column, inputs, constants)
    for k in range(size):
        unit[k] = 0.0
    for p in range(theta.shape[0]):
        parts = split(theta[p], inputs, constants)
        begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
        total = 0.0
        for j in range(size):
            for k in range(size):
                column[k] = 0.0
            unit[j] = 1.0
            add_mean_hvp(parts, unit_parts, samples, inputs, targets, constants, second_moment, work, column_parts)
            unit[j] = 0.0
            total += column[j]
        out[p] = total


def exact_trace(snapshots: Snapshots) -> FloatArray:
    model = snapshots.model
    out = np.empty(snapshots.shape)
    signature = void(MATRIX, int64, *DATA, MATRIX, VECTOR)
    kernel = snapshots.kernel(traces, signature, "split", "begin_mean", "add_mean_hvp")
    kernel(snapshots.theta.reshape(-1, model.dim), model.samples, *model.data, snapshots.work, out.ravel())
    return out


TRACE_HESSIAN = Metric("trace_hessian", "trace of the full-batch Hessian", "curvature", exact_trace)
