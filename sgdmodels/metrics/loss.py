"""The full-batch loss."""

from __future__ import annotations

import numpy as np
from numba import int64, void

from ..arguments import FloatArray
from ..kernels.holes import mean_loss, split
from ..kernels.signatures import DATA, MATRIX, VECTOR
from .base import Metric, Snapshots


def losses(theta, samples, inputs, targets, constants, second_moment, work, out):
    """Template: the mean loss of each row of theta."""
    for p in range(theta.shape[0]):
        out[p] = mean_loss(split(theta[p], inputs, constants), samples, inputs, targets, constants, work)


def full_loss(snapshots: Snapshots) -> FloatArray:
    model = snapshots.model
    out = np.empty(snapshots.shape)
    kernel = snapshots.kernel(losses, void(MATRIX, int64, *DATA, MATRIX, VECTOR), "split", "mean_loss")
    kernel(snapshots.theta.reshape(-1, model.dim), model.samples, *model.data, snapshots.work, out.ravel())
    return out


LOSS = Metric("loss", "full-batch loss L", "1", full_loss)
