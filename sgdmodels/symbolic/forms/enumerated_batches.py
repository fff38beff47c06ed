"""Every batch with its probability, and the step size at which a growth factor reaches 1: the slow, independent routes.

No sampling coefficient is used here: expectations over batches are plain sums over all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ...arguments import FloatArray

WITHOUT, WITH, BERNOULLI = "without_replacement", "with_replacement", "bernoulli"


def all_batches(n: int, b: int, scheme: str = WITHOUT) -> tuple[FloatArray, FloatArray]:
    """(weights, probabilities) of every batch: row k of weights (batches, n) times the samples is its mean.

    >>> all_batches(2, 1)[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if scheme == BERNOULLI:
        counts = np.array(list(itertools.product((0, 1), repeat=n)), dtype=np.float64)
        taken = counts.sum(axis=1)
        return counts / b, (b / n) ** taken * (1 - b / n) ** (n - taken)
    draws = itertools.product(range(n), repeat=b) if scheme == WITH else itertools.combinations(range(n), b)
    counts = np.array([np.bincount(batch, minlength=n) for batch in draws], dtype=np.float64)
    return counts / b, np.full(len(counts), 1 / len(counts))


def batch_means(values: FloatArray, b: int, scheme: str = WITHOUT) -> tuple[FloatArray, FloatArray]:
    """The means of `values` (n, ...) over every batch, shape (batches, ...), and the probabilities."""
    weights, probabilities = all_batches(len(values), b, scheme)
    return np.tensordot(weights, values, axes=1), probabilities


def square_map(matrices: FloatArray, probabilities: FloatArray) -> FloatArray:
    """E[A kron A] of random matrices (batches, d, d): the map vec E[zz'] goes through in a step z+ = A z."""
    d = matrices.shape[1]
    return np.einsum("k,kij,klm->iljm", probabilities, matrices, matrices).reshape(d * d, d * d)


def spectral_radius(matrix: FloatArray) -> float:
    """The largest modulus of an eigenvalue."""
    return float(abs(np.linalg.eigvals(matrix)).max())


def crossing(growth: Callable[[float], float], start: float) -> float:
    """The first argument above `start` at which `growth` passes 1 upwards, for growth(start) < 1.

    >>> round(crossing(lambda eta: (1 - eta) ** 2, 0.01), 9)
    2.0
    """
    from scipy.optimize import brentq

    low = start
    while growth(1.02 * low) < 1:
        low *= 1.02
    return float(brentq(lambda eta: growth(eta) - 1, low, 1.02 * low, xtol=1e-300, rtol=1e-14))
