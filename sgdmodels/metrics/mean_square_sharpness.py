"""The mean-square sharpness S_ms of the frozen quadratic model at each snapshot (`sgdmodels.theory`)."""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from ..theory.mean_square import mean_square_sharpness
from .base import Metric, Snapshots


def frozen_mean_square_sharpness(snapshots: Snapshots) -> FloatArray:
    out = np.full((*snapshots.shape, len(snapshots.batch_sizes)), np.nan)
    for r, q in np.argwhere(snapshots.alive):
        hessians = snapshots.model.sample_hessians(snapshots.theta[r, q])
        for j, b in enumerate(snapshots.batch_sizes):
            out[r, q, j] = mean_square_sharpness(hessians, b, snapshots.sampling)
    return out


MEAN_SQUARE_SHARPNESS = Metric(
    "mean_square_sharpness", "mean-square sharpness S_ms", "curvature", frozen_mean_square_sharpness,
    per_batch_size=True,
)  # fmt: skip
