"""Every batch of a sampling scheme with its probability, for expectations that are enumerated."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .arguments import FloatArray


@dataclass(frozen=True)
class Batches:
    """Batches as weighted sums of samples; `probability` is None for a random sample of batches.

    index (m, width) of the samples and their weight (m, width), of which the first `count` (m,) are meant.
    """

    index: np.ndarray
    weight: FloatArray
    count: np.ndarray
    probability: FloatArray | None


@lru_cache(maxsize=256)
def number_of_batches(samples: int, batch_size: int, sampling: str) -> int:
    """How many distinct batches there are (multisets, with replacement).

    >>> [number_of_batches(4, 2, scheme) for scheme in ("without_replacement", "with_replacement", "bernoulli")]
    [6, 10, 16]
    """
    if sampling == "with_replacement":
        return math.comb(samples + batch_size - 1, batch_size)
    if sampling == "bernoulli":
        return 2**samples
    return math.comb(samples, batch_size)


@lru_cache(maxsize=8)
def all_batches(samples: int, batch_size: int, sampling: str) -> Batches:
    """Every batch with its probability.

    >>> all_batches(2, 2, "with_replacement").probability.tolist()  # {1, 1}, {1, 2}, {2, 2}
    [0.25, 0.5, 0.25]
    """
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


def weight_table(batches: Batches, samples: int) -> FloatArray:
    """The weight of every sample in every batch, shape (m, samples): a batch's mean is table @ values.

    >>> weight_table(all_batches(2, 2, "with_replacement"), 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    table = np.zeros((len(batches.count), samples))
    for row, index, weight, count in zip(table, batches.index, batches.weight, batches.count, strict=True):
        np.add.at(row, index[:count], weight[:count])
    return table
