"""The trace of the full-batch Hessian, exact."""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from .base import Metric, Snapshots
from .hessians import dense_hessians


def traces(snapshots: Snapshots) -> FloatArray:
    out = np.empty(snapshots.shape)
    for r in range(out.shape[0]):  # one replica at a time bounds the memory
        part = Snapshots(
            snapshots.model, snapshots.theta[r : r + 1], snapshots.replicas[r : r + 1], snapshots.steps, (), "", 0
        )
        out[r] = np.trace(dense_hessians(part), axis1=2, axis2=3)[0]
    return out


TRACE_HESSIAN = Metric("trace_hessian", "trace of the full-batch Hessian", "curvature", traces)
