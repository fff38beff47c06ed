"""Means over batches of a statistic that has no closed form: all batches where they are few, else a random sample.

Random batches come from the measurement stream, keyed by seed, replica and step: never those a run trains on,
and the same however the run is cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray
from ..batches import Batches, all_batches, number_of_batches
from ..kernels.batches import LAWS
from ..kernels.draw import draw_weights
from ..kernels.random import MEASUREMENT
from .base import Snapshots

ENUMERATE_UP_TO = 4096  # batches, of LARGEST_TABLE samples in all
LARGEST_TABLE = 2**20


def random_batches(snapshots: Snapshots, replica: int, step: int, batch_size: int, draws: int) -> Batches:
    """`draws` independent batches for one snapshot."""
    n = snapshots.model.samples
    scheme = "without_replacement" if snapshots.sampling == "epoch" else snapshots.sampling
    width = n if scheme == "bernoulli" else batch_size
    index, weight, count = draw_weights(
        LAWS[scheme], width, n, batch_size, draws,
        first=step * draws, seed=snapshots.seed, replica=replica, stream=MEASUREMENT,
    )  # fmt: skip
    return Batches(index, weight, count, None)


def batch_average(
    snapshots: Snapshots,
    statistic: Callable[[FloatArray, Batches], FloatArray],
    draws: int,
    enumerate_up_to: int = ENUMERATE_UP_TO,
) -> tuple[FloatArray, FloatArray]:
    """Mean over batches of `statistic(theta, batches)` and its standard error, each (replica, step, batch_size).

    NaN values of the statistic (batches without a gradient) are left out. The standard error is that of the mean
    that is reported: zero where all batches were enumerated, else the sample deviation over sqrt(draws).
    """
    shape = (*snapshots.shape, len(snapshots.batch_sizes))
    value, error = np.full(shape, np.nan), np.full(shape, np.nan)
    n = snapshots.model.samples
    for r, q in np.argwhere(snapshots.alive):
        for j, b in enumerate(snapshots.batch_sizes):
            few = number_of_batches(n, b, snapshots.sampling)
            if few <= min(enumerate_up_to, LARGEST_TABLE // b):
                batches = all_batches(n, b, snapshots.sampling)
            else:
                replica, step = int(snapshots.replicas[r]), int(snapshots.steps[q])
                batches = random_batches(snapshots, replica, step, b, draws)
            values = statistic(snapshots.theta[r, q], batches)
            usable = np.isfinite(values)
            if batches.probability is not None:
                usable &= batches.probability > 0
            if not usable.any():
                continue
            if batches.probability is not None:
                value[r, q, j] = np.average(values[usable], weights=batches.probability[usable])
                error[r, q, j] = 0.0
            elif usable.sum() > 1:
                value[r, q, j] = values[usable].mean()
                error[r, q, j] = values[usable].std(ddof=1) / np.sqrt(usable.sum())
    return value, error
