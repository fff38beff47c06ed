r"""The exact law of a batch's curvature in one dimension, :math:`h_B = \frac1b\sum_{i\in B}h_i`.

Equal samples are drawn together: the number of them in a batch is hypergeometric without replacement, binomial with
replacement and for Bernoulli batches. Batches of equal sums and sizes are merged as they arise, so data of two
different values cost little for a thousand samples. Source: elementary sampling theory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arguments import FloatArray
from ..errors import InvalidArgument

Counts = NDArray[np.intp]
MOST_OUTCOMES = 1_000_000


def curvature_law(curvatures: FloatArray, batch_size: int, sampling: str) -> tuple[FloatArray, FloatArray]:
    """The values of h_B, ascending, and their probabilities; "epoch" as "without_replacement".

    Raises InvalidArgument beyond a million outcomes.

    >>> values, weights = curvature_law(np.array([1.0, 3.0]), 2, "with_replacement")
    >>> values.tolist(), weights.round(12).tolist()
    ([1.0, 2.0, 3.0], [0.25, 0.5, 0.25])
    """
    n, b = len(curvatures), batch_size
    distinct, counts = np.unique(curvatures, return_counts=True)
    used, sums, weights = np.zeros(1, dtype=np.intp), np.zeros(1), np.ones(1)
    rest = n
    for value, count in zip(distinct, counts.tolist(), strict=True):
        rest -= count
        sizes, row = np.unique(used, return_inverse=True)
        table = draw_table(b - sizes, count, rest, n, b, sampling)
        old, taken = np.nonzero(table[row] > 0)
        if len(old) > MOST_OUTCOMES:
            raise InvalidArgument(
                f"batch_size {b} of {n} samples with {len(distinct)} different curvatures has more than "
                f"{MOST_OUTCOMES:,} outcomes to enumerate; moments p = 2 and 4 have closed forms for every n, and "
                "lyapunov_exponents simulates p = 0"
            )
        weights = weights[old] * table[row[old], taken]
        size = used[old] + (taken if sampling != "bernoulli" else 0)
        used, sums, weights = merged(size, sums[old] + taken * value, weights)
    _, values, weights = merged(np.zeros_like(used), sums / b, weights)
    return values, weights / weights.sum()


def draw_table(left: Counts, count: int, rest: int, n: int, b: int, sampling: str) -> FloatArray:
    """P(k of `count` equal samples are drawn | `left` draws and `rest` other samples to come), at [left, k]."""
    from scipy.stats import binom, hypergeom

    if sampling == "bernoulli":  # what was drawn before does not matter
        return np.broadcast_to(binom.pmf(np.arange(count + 1), count, b / n), (len(left), count + 1))
    repeated = sampling == "with_replacement"
    k = np.arange((b if repeated else min(count, b)) + 1)
    if rest == 0:  # the last ones fill the batch
        return (k == left[:, None]).astype(np.float64)
    if repeated:
        return np.asarray(binom.pmf(k, left[:, None], count / (count + rest)))
    return np.asarray(hypergeom.pmf(k, count + rest, count, left[:, None]))


def merged(used: Counts, sums: FloatArray, weights: FloatArray) -> tuple[Counts, FloatArray, FloatArray]:
    """The outcomes sorted, those of equal size and equal sum made one."""
    order = np.lexsort((sums, used))
    used, sums, weights = used[order], sums[order], weights[order]
    new = np.append(True, (np.diff(used) != 0) | (np.diff(sums) != 0))
    return used[new], sums[new], np.add.reduceat(weights, np.flatnonzero(new))
