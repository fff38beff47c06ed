"""Means over batches of a statistic that has no closed form: all batches where they are few, else a random sample.

Random batches come from the measurement stream, keyed by seed, replica and step: never those a run trains on,
and the same however the run is cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arguments import FloatArray
from ..kernels.batches import LAWS
from ..kernels.draw import draw_weights
from ..kernels.random import MEASUREMENT
from .base import Snapshots

ENUMERATE_UP_TO = 4096  # batches, of LARGEST_TABLE samples in all
LARGEST_TABLE = 2**20


@dataclass(frozen=True)
class Batches:
    """Batches as weighted sums of samples; `probability` is None for a random sample of batches."""

    index: np.ndarray
    weight: FloatArray
    count: np.ndarray
    probability: FloatArray | None


@lru_cache(maxsize=256)
def number_of_batches(samples: int, batch_size: int, sampling: str) -> int:
    """How many distinct batches there are (multisets, with replacement)."""
    if sampling == "with_replacement":
        return math.comb(samples + batch_size - 1, batch_size)
    if sampling == "bernoulli":
        return 2**samples
    return math.comb(samples, batch_size)


@lru_cache(maxsize=8)
def all_batches(samples: int, batch_size: int, sampling: str) -> Batches:
    """Every batch with its probability."""
    everyone = range(samples)
    chances = None
    if sampling == "with_replacement":
        lists = list(itertools.combinations_with_replacement(everyone, batch_size))
        repeats = [math.prod(math.factorial(batch.count(i)) for i in set(batch)) for batch in lists]
        chances = [math.factorial(batch_size) / r / float(samples) ** batch_size for r in repeats]
    elif sampling == "bernoulli":
        lists = [batch for size in range(samples + 1) for batch in itertools.combinations(everyone, size)]
        q = batch_size / samples
        chances = [q ** len(batch) * (1 - q) ** (samples - len(batch)) for batch in lists]
    else:
        lists = list(itertools.combinations(everyone, batch_size))
    width = max(map(len, lists))
    index = np.zeros((len(lists), width), dtype=np.int32)
    for row, batch in zip(index, lists, strict=True):
        row[: len(batch)] = batch
    count = np.array([len(batch) for batch in lists], dtype=np.int64)
    probability = np.full(len(lists), 1 / len(lists)) if chances is None else np.array(chances)
    return Batches(index, np.full(index.shape, 1 / batch_size), count, probability)


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
