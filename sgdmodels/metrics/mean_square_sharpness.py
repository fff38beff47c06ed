"""The mean-square sharpness S_ms of the frozen quadratic model at each snapshot (`sgdmodels.theory`).

Off a minimum the per-sample Hessians act as multiplicative noise also in nearly flat directions, where S_ms is then far
above lambda_max: correct for the frozen model, and a reason to read it near interpolation only. NaN where the mean
Hessian has no positive eigenvalue. Costs O(n d^3) an iteration, O(n d^2) for least squares.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument, NotConverged
from ..theory.frozen import frozen_hessians
from ..theory.mean_square import mean_square_sharpness
from .base import Metric, Snapshots


def frozen_mean_square_sharpness(snapshots: Snapshots) -> FloatArray:
    out = np.full((*snapshots.shape, len(snapshots.batch_sizes)), np.nan)
    for r, q in np.argwhere(snapshots.alive):
        hessians = frozen_hessians(snapshots.model, snapshots.theta[r, q])
        for j, b in enumerate(snapshots.batch_sizes):
            with suppress(InvalidArgument, NotConverged):
                out[r, q, j] = mean_square_sharpness(hessians, b, snapshots.sampling)
    return out


MEAN_SQUARE_SHARPNESS = Metric(
    "mean_square_sharpness", "mean-square sharpness S_ms", "curvature", frozen_mean_square_sharpness,
    per_batch_size=True,
)  # fmt: skip
