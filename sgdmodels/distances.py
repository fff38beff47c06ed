r"""How far apart two samples of final states are: in law, in an observable, and path by path.

Three questions, three answers. Are two dynamics different in law? `energy_test`, `wasserstein_test`. By how much does
an observable differ on average? `weak_error`. How far apart are paths driven by the same noise? `strong_distance`.

A diverged replica is a NaN row. Such rows are dropped, in paired functions together with their partner, and results
are NaN when fewer than two are left. What is compared is then the law *given survival*: compare the diverged
fractions too. Tests and unpaired intervals assume independent samples; replicas that share their noise are pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, array_with_gaps, integer, real
from .errors import InvalidArgument


@dataclass(frozen=True)
class Estimate:
    """A number with an interval, all three in the units of the quantity; NaN where there were too few data."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(np.nan, np.nan, np.nan)


def _rows(name: str, value: ArrayLike) -> FloatArray:
    """A sample as (size, dimension); a vector is a sample of numbers. Gaps are kept."""
    try:
        vector = np.ndim(value) == 1
    except ValueError:  # a ragged list
        vector = False
    rows = array_with_gaps(name, value, ("size",) if vector else ("size", "dimension"))
    return rows[:, None] if vector else rows


def _complete(rows: FloatArray) -> FloatArray:
    """The rows without a NaN."""
    return rows[~np.isnan(rows).any(axis=1)]


def _two_samples(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray] | None:
    """Complete rows of both samples, or None if one of them has fewer than two."""
    a, b = _rows("x", x), _rows("y", y)
    if a.shape[1] != b.shape[1]:
        raise InvalidArgument(f"y must have the dimension of x, {a.shape[1]}, got {b.shape[1]}")
    a, b = _complete(a), _complete(b)
    return (a, b) if min(len(a), len(b)) >= 2 else None


def _two_vectors(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray] | None:
    """`_two_samples` of numbers."""
    pair = _two_samples(array_with_gaps("x", x, ("size",)), array_with_gaps("y", y, ("size",)))
    return None if pair is None else (pair[0][:, 0], pair[1][:, 0])


def _pairs(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Rows that are complete in both samples, or None if fewer than two are."""
    if x.shape != y.shape:
        raise InvalidArgument(f"paired samples must have one shape, got {x.shape} and {y.shape}")
    both = ~np.isnan(np.concatenate([x, y], axis=1)).any(axis=1)
    return (x[both], y[both]) if both.sum() >= 2 else None


def _labels(m: int, n: int, permutations: int, seed: int) -> FloatArray:
    """Weights 1/m of x and -1/n of y in the pooled sample: the true ones first, then `permutations` shuffles."""
    count = integer("permutations", permutations, 1)
    rng = np.random.default_rng(integer("seed", seed, 0))
    true = np.concatenate([np.full(m, 1 / m), np.full(n, -1 / n)])
    return np.vstack([true, rng.permuted(np.tile(true, (count, 1)), axis=1)])


def _p_value(distances: FloatArray) -> tuple[float, float]:
    """(observed distance, p) from the distances of `_labels`."""
    observed = distances[0]
    exceeding = int((distances >= observed - 1e-10 * distances.max()).sum())  # itself, and ties that rounding broke
    return float(observed), exceeding / len(distances)


def _energy(labels: FloatArray, distance: FloatArray) -> FloatArray:
    """-w'Dw per row w of labels: the energy distance, because each half of w sums to one."""
    return np.maximum(-((labels @ distance) * labels).sum(axis=1), 0.0)


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    r"""Energy distance of samples (m, d) and (n, d), or (m,) and (n,); zero iff they are equal in law.

    .. math:: 2E|X-Y| - E|X-X'| - E|Y-Y'| \ge 0

    with means over all pairs, equal ones included (V-statistic), in the units of the samples. It is the *square* of
    ``scipy.stats.energy_distance``. NaN if fewer than two rows of a sample are complete. Takes (m + n)^2 numbers of
    memory. Source: Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013).

    >>> energy_distance([0.0, 0.0], [3.0, 3.0])
    6.0
    """
    from scipy.spatial.distance import cdist

    pair = _two_samples(x, y)
    if pair is None:
        return float("nan")
    a, b = pair
    return max(0.0, float(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()))


def energy_test(x: ArrayLike, y: ArrayLike, *, permutations: int = 999, seed: int = 0) -> tuple[float, float]:
    r"""(energy distance, p-value) of the hypothesis that two independent samples have one law.

    .. math:: p = \frac{1 + \#\{\text{permuted} \ge \text{observed}\}}{1 + \text{permutations}}

    which rejects with probability at most alpha at any sample size. NaN, NaN if fewer than two rows of a sample are
    complete. Source: Szekely and Rizzo (2013); Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), 39.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((40, 3))
    >>> energy_test(x, x + 2.0)[1]
    0.001
    """
    from scipy.spatial.distance import cdist

    pair = _two_samples(x, y)
    if pair is None:
        return float("nan"), float("nan")
    pooled = np.concatenate(pair)
    return _p_value(_energy(_labels(len(pair[0]), len(pair[1]), permutations, seed), cdist(pooled, pooled)))


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    r"""Wasserstein-1 distance :math:`\int|F_x - F_y|` of two samples of numbers, in their units.

    NaN if fewer than two numbers of a sample are not NaN. Source: Vallender, Theory Probab. Appl. 18 (1974).

    >>> wasserstein([0.0, 1.0], [2.0, 5.0])
    3.0
    """
    from scipy import stats

    pair = _two_vectors(x, y)
    return float("nan") if pair is None else float(stats.wasserstein_distance(*pair))


def wasserstein_test(x: ArrayLike, y: ArrayLike, *, permutations: int = 999, seed: int = 0) -> tuple[float, float]:
    """(Wasserstein-1 distance, p-value) of the hypothesis that two independent samples of numbers have one law.

    The p-value is that of `energy_test`, and so are errors and NaN.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal(40)
    >>> wasserstein_test(x, x + 2.0)[1]
    0.001
    """
    pair = _two_vectors(x, y)
    if pair is None:
        return float("nan"), float("nan")
    pooled = np.concatenate(pair)
    order = np.argsort(pooled)
    labels = _labels(len(pair[0]), len(pair[1]), permutations, seed)[:, order]
    difference = np.abs(np.cumsum(labels, axis=1)[:, :-1])  # |F_x - F_y| between neighbours
    return _p_value(difference @ np.diff(pooled[order]))


def weak_error(x: ArrayLike, y: ArrayLike, *, paired: bool = False, level: float = 0.95) -> Estimate:
    r"""mean(y) - mean(x) of an observable with its t-interval, in the units of the observable.

    Unpaired: Welch's interval. `paired`: the interval of the mean of :math:`y_i - x_i`, much narrower when the two
    replicas i share their noise. InvalidArgument if paired samples differ in size.
    Source: Welch, Biometrika 34 (1947).

    >>> estimate = weak_error([0.0, 1.0, 2.0], [1.1, 2.0, 2.9], paired=True)
    >>> round(estimate.value, 3), round(estimate.low, 3), round(estimate.high, 3)
    (1.0, 0.752, 1.248)
    """
    from scipy import stats

    tail = (1 + real("level", level, 0, 1, open_low=True)) / 2
    a, b = array_with_gaps("x", x, ("size",)), array_with_gaps("y", y, ("size",))
    pair = _pairs(a[:, None], b[:, None]) if paired else _two_vectors(a, b)
    if pair is None:
        return UNKNOWN
    a, b = pair[0].ravel(), pair[1].ravel()
    value = float(b.mean() - a.mean())
    if paired:
        square, freedom = (b - a).var(ddof=1) / len(a), len(a) - 1.0
    else:
        parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
        square = parts.sum()
        freedom = square**2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum() if square > 0 else 1.0
    reach = float(stats.t.ppf(tail, freedom) * np.sqrt(square))
    return Estimate(value, value - reach, value + reach)


def strong_distance(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Estimate:
    r"""Root mean square distance of paired states (replica, d), with its interval, in the units of the states.

    .. math:: S = \sqrt{\tfrac1R\sum_i |x_i-y_i|^2}, \qquad \text{interval } S\exp\Big(\pm t_{R-1}\,
        \frac{\mathrm{sd}(|x_i-y_i|^2)}{2\sqrt R\,S^2}\Big)

    The delta method for log S: S is positive and its error is relative, so the interval stays positive and does not
    depend on units, and it undercovers less than a percentile bootstrap when squares are skewed.
    InvalidArgument if shapes differ; NaN if fewer than two pairs are complete.
    Source: Kloeden and Platen, Numerical Solution of SDEs (1992), sections 9.3 and 9.6.

    >>> strong_distance([[0.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [4.0, 5.0]])
    Estimate(value=5.0, low=5.0, high=5.0)
    """
    from scipy import stats

    tail = (1 + real("level", level, 0, 1, open_low=True)) / 2
    pair = _pairs(_rows("x", x), _rows("y", y))
    if pair is None:
        return UNKNOWN
    square = ((pair[0] - pair[1]) ** 2).sum(axis=1)
    mean = square.mean()
    if mean == 0:
        return Estimate(0.0, 0.0, 0.0)
    value = float(np.sqrt(mean))
    error = square.std(ddof=1) / np.sqrt(len(square)) / (2 * mean)
    factor = float(np.exp(stats.t.ppf(tail, len(square) - 1) * error))
    return Estimate(value, value / factor, value * factor)
