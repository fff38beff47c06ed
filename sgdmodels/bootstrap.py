"""Intervals of statistics of correlated series: a moving-block bootstrap over replicas and records.

Replicas are drawn with replacement, and blocks of (evenly spaced) records within each. Done naively the two stages
count the noise within replicas twice, blocks lose a share of it, and percentiles know nothing of few replicas or few
blocks. `error_interval` corrects each; the tests measure what is covered. Sources: Kuensch, Ann. Stat. 17 (1989);
Davison and Hinkley, Bootstrap Methods and Their Application (1997), sections 3.8 and 8.2.3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, array_with_gaps, integer, real
from .errors import InvalidArgument

BLOCK_STEPS, BLOCK_TIMES = 100, 5  # shortest block, in steps and in autocorrelation times: 1/10 of the variance lost
DRAWS, SHARE = 1000, 2**22  # of the bootstrap, and numbers resampled at a time

Statistic = Callable[..., FloatArray]  # numpy.median or numpy.sum, over the last axis


def complete_series(values: FloatArray, least: int) -> list[FloatArray]:
    """Per replica of (replica, quantity, records), its records without a NaN, (quantity, n), n at least `least`."""
    kept = [rows[:, ~np.isnan(rows).any(axis=0)] for rows in values]
    for replica, rows in enumerate(kept):
        if rows.shape[1] < least:
            given = f"got {rows.shape[1]} in replica {replica}"
            raise InvalidArgument(f"replicas must have {least} records or more that are not NaN, {given}; leave it out")
    return kept


def _autocorrelation_time(series: list[FloatArray]) -> float:
    """`autocorrelation_time` of series of any lengths."""
    length = min(map(len, series))
    covariance = np.zeros(length)
    for values in series:
        spectrum = np.fft.rfft(values - values.mean(), 2 * len(values))
        covariance += np.fft.irfft(np.abs(spectrum) ** 2)[:length] / len(values)
    if length < 2 or covariance[0] <= 1e-28 * sum(float((v**2).mean()) for v in series):  # constant but for rounding
        return 1.0
    pairs = (covariance / covariance[0])[: length // 2 * 2].reshape(-1, 2).sum(axis=1)
    return float(max(2 * np.minimum.accumulate(np.maximum(pairs, 0.0)).sum() - 1, 1 / length))


def autocorrelation_time(values: ArrayLike) -> float:
    r"""Integrated autocorrelation time :math:`\tau = 1 + 2\sum_{k\ge1}\rho_k` in records, of (T,) or (replica, T).

    Replicas share one autocovariance, about the mean of each; NaN records are dropped. The sum ends by Geyer's
    monotone sequence, right also for period two (tau < 1); 1 for a constant. InvalidArgument for a replica of NaN.
    Source: Geyer, Stat. Sci. 7 (1992).

    >>> autocorrelation_time([1.0, -1.0] * 50) < 0.1
    True
    """
    shape = ("records",) if np.asarray(values).ndim == 1 else ("replica", "records")
    rows = np.atleast_2d(array_with_gaps("values", values, shape))
    return _autocorrelation_time([kept[0] for kept in complete_series(rows[:, None], 1)])


def _resample(series: FloatArray, block: int, draws: int, statistic: Statistic, rng: np.random.Generator) -> FloatArray:
    """`statistic` (quantity, draws) of series of the same length put together from random blocks of (quantity, n)."""
    length = series.shape[1]
    starts = rng.integers(length - block + 1, size=(draws, -(-length // block), 1))
    shares = np.array_split(starts, -(-draws * length // SHARE))
    indices = ((some + np.arange(block)).reshape(len(some), -1)[:, :length] for some in shares)
    return np.concatenate([statistic(series[:, index], axis=-1) for index in indices], axis=1)


def error_interval(
    series: list[FloatArray], statistic: Statistic, steps: FloatArray, level: float, draws: int, seed: int
) -> tuple[FloatArray, int]:
    """Ends of the interval of the error of sum(statistic of row 0) / sum(statistic of row 1), and the block length.

    Without row 1, a mean over replicas. Row 0, with k blocks and R replicas: variance within times k/(k-1); spread
    between shrunk to what noise within leaves unexplained; quantiles of t with R(k-1) and R-1 degrees of freedom.
    """
    from scipy import stats

    tails = np.array([-1, 1]) * real("level", level, 0, 1, open_low=True) / 2 + 0.5
    draws, rng = integer("draws", draws, 2), np.random.default_rng(integer("seed", seed, 0))
    count, lengths = len(series), np.array([rows.shape[1] for rows in series])
    spacing, time = np.median(np.diff(steps)), _autocorrelation_time([rows[0] for rows in series])
    wanted = max(BLOCK_STEPS / spacing, BLOCK_TIMES * time)
    blocks = np.minimum(int(np.ceil(wanted)), lengths // 3)

    pool = np.stack([_resample(s, int(b), draws, statistic, rng) for s, b in zip(series, blocks, strict=True)])
    wider = stats.t.ppf(tails[1], [(lengths / blocks - 1).sum(), max(1, count - 1)]) / stats.norm.ppf(tails[1])
    within = pool[:, 0] - pool[:, 0].mean(axis=1, keepdims=True)
    within *= wider[0] * np.sqrt(lengths / (lengths - blocks))[:, None]
    centre = np.array([statistic(rows[0]) for rows in series])
    centre -= centre.mean()
    total = (centre**2).sum() / max(1, count - 1)
    if total > 0:
        unexplained = max(0.0, 1 - (within**2).mean() / total) * count / (count - 1)
        centre *= wider[1] * np.sqrt(unexplained)

    who, which = rng.integers(count, size=(draws, count)), rng.integers(draws, size=(draws, count))
    error = (centre[who] + within[who, which]).sum(axis=1)
    scale = pool[who, 1, which].sum(axis=1) if pool.shape[1] > 1 else np.full(draws, float(count))
    known = scale.min() > 0 or scale.max() < 0  # otherwise the denominator may be zero
    return np.quantile(error / scale, tails) if known else np.array([-np.inf, np.inf]), int(blocks.max())
