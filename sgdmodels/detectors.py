r"""What happened in a run: entry into EoSS, plateaus with intervals, catapults, slopes, disagreements.

Intervals are those of `sgdmodels.bootstrap`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, array_with_gaps, float_array, real
from .bootstrap import DRAWS, complete_series, error_interval
from .distances import Estimate
from .errors import InvalidArgument

ENTRY, WINDOW = 0.9, (2, 5)  # eta BS / 2 that counts as entry; share of the steps since then that are the window
FLAT, POINTS = 0.05, 500  # drift over a window that is no plateau; records in a slope, whose cost is quadratic
SPIKE, BACK, BEFORE, AFTER, DIVERGED = 3.0, 1.5, 500, 2000, 1e6  # of a catapult: ratios of losses, and steps


@dataclass(frozen=True)
class Plateau(Estimate):
    """Level of a dimensionless series with its interval, drift over the window, and records per bootstrap block."""

    slope_times_window: float
    exists: bool
    block: int


def _steps(steps: ArrayLike, least: int = 1) -> FloatArray:
    """Increasing steps of at least `least` records as floats; integers are welcome."""
    given = np.asarray(steps)
    array = float_array("steps", given.astype(np.float64) if given.dtype.kind in "iu" else steps, ("records",))
    if len(array) < least or (np.diff(array) <= 0).any():
        raise InvalidArgument(f"steps must be {least} or more and increase, got {array}; record more often, or sort")
    return array


def entered_at(steps: ArrayLike, scaled_batch_sharpness: ArrayLike) -> int | None:
    r"""The first recorded step with :math:`\eta BS/2 > 0.9`, or None if there is none: EoSS was not entered.

    Both (records,); NaN does not exceed. One noisy record is enough: average BS over enough batches.

    >>> entered_at([0, 10, 20], [0.5, 0.95, 0.8])
    10
    """
    at = _steps(steps)
    above = array_with_gaps("scaled_batch_sharpness", scaled_batch_sharpness, at.shape) > ENTRY
    return int(at[above.argmax()]) if above.any() else None


def eoss_window(steps: ArrayLike, scaled_batch_sharpness: ArrayLike) -> int | None:
    r"""Index of the first record in the last 40 % of the steps since `entered_at`, or None if EoSS was not entered.

    >>> eoss_window([0, 10, 20, 30, 40, 50, 60], [0.5, 0.95, 0.8, 1.0, 1.1, 1.0, 1.0])  # entered at 10, 20 of 50 left
    4
    """
    entry = entered_at(steps, scaled_batch_sharpness)
    if entry is None:
        return None
    at = _steps(steps)
    return int((WINDOW[1] * (at[-1] - at) <= WINDOW[0] * (at[-1] - entry)).argmax())  # integers: no rounding


def plateau(steps: ArrayLike, values: ArrayLike, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Plateau:
    r"""Level of a dimensionless quantity inside a window, `values` (replica, T), and whether it is one.

    .. math:: \text{value} = \tfrac1R\sum_r \mathrm{median}_t\, x_r(t), \qquad
        \text{exists} \iff |\text{Theil-Sen slope}|\cdot\text{window length} < 0.05

    NaN records are dropped; InvalidArgument if a replica keeps fewer than 3. Blocks are 100 steps and 5 autocorrelation
    times or longer, at most a third of the series. The slope is that of the mean of replicas, each about its median.

    >>> level = plateau(range(0, 1000, 10), [[0.9, 1.1] * 50] * 4)
    >>> level.value, level.exists, level.block
    (1.0, True, 10)
    """
    at = _steps(steps, 3)
    rows = array_with_gaps("values", values, ("replica", len(at)))
    series = complete_series(rows[:, None], 3)
    medians = np.array([np.median(kept) for kept in series])
    some = ~np.isnan(rows).all(axis=0)
    drift = slope(at[some], np.nanmean((rows - medians[:, None])[:, some], axis=0)) * float(at[-1] - at[0])
    error, block = error_interval(series, np.median, at, level, draws, seed)
    low, high = medians.mean() + np.array([min(error[0], 0.0), max(error[1], 0.0)])  # blocks may have another median
    return Plateau(float(medians.mean()), float(low), float(high), drift, abs(drift) < FLAT, block)


def ratio_of_time_averages(
    numerator: ArrayLike, denominator: ArrayLike, steps: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Estimate:
    r"""Sum of the numerator over replicas and records, by that of the denominator, both (replica, T), with interval.

    For GNI, IAS and BS_R, whose ratio at one step has no mean where the gradient may vanish. Records with a NaN in
    either are dropped. The bootstrap is that of `plateau`; the interval is infinite if the denominator may be zero,
    and InvalidArgument is raised if it is.

    >>> ratio_of_time_averages([[2.0, 4.0, 6.0]], [[1.0, 2.0, 3.0]], [0, 1, 2])
    Estimate(value=2.0, low=2.0, high=2.0)
    """
    at = _steps(steps, 3)
    both = [array_with_gaps("numerator", numerator, ("replica", len(at)))]
    both.append(array_with_gaps("denominator", denominator, both[0].shape))
    series = complete_series(np.stack(both, axis=1), 3)
    upper, lower = np.sum([rows.sum(axis=1) for rows in series], axis=0)
    if lower == 0:
        raise InvalidArgument("denominator must not sum to zero; the ratio has no value")
    value = float(upper / lower)
    residuals = [np.stack([up - value * down, down]) for up, down in series]  # N*/D* - N/D = (N* - (N/D) D*) / D*
    (low, high), _ = error_interval(residuals, np.sum, at, level, DRAWS, seed)
    return Estimate(value, value + float(low), value + float(high))


def catapults(steps: ArrayLike, loss: ArrayLike) -> list[int]:
    r"""Onsets of the catapults of one series of nonnegative losses (T,), as steps.

    At an onset L is above 3 times the median of the previous 500 steps (so none is found in the first 500: put the loss
    before an intervention in front); within 2000 steps it is back below 1.5 times that median, where the event ends.
    What is not back is no catapult, and those 2000 steps are passed over; nor is divergence (not finite, or above 1e6
    times both first loss and median). Stationary noise of heavy tails passes 3 times its median too: compare with a
    control. InvalidArgument for records more than 500 steps apart and for negative losses.

    >>> catapults(range(0, 2000, 10), [1.0] * 100 + [2.0, 5.0, 9.0, 2.0] + [1.0] * 96)
    [1010]
    """
    at = _steps(steps)
    if (apart := np.diff(at).max(initial=0.0)) > BEFORE:
        raise InvalidArgument(f"steps must be at most {BEFORE} apart, got {apart:g}; record more often")
    finite = np.isfinite(given := np.asarray(loss, dtype=np.float64))
    array = array_with_gaps("loss", np.where(finite, given, np.nan), at.shape)
    array = array[: np.argmin([*finite, False])]  # up to the first that is not finite
    if (array < 0).any():
        raise InvalidArgument(f"loss must be nonnegative, got {array.min():g}; subtract its infimum")
    onsets: list[int] = []
    window: list[float] = []  # sorted losses of the previous steps
    oldest, resume = 0, at[0] + BEFORE
    for now, value in enumerate(array.tolist()):
        while at[oldest] < at[now] - BEFORE:
            del window[bisect_left(window, array[oldest])]
            oldest += 1
        middle = (window[(len(window) - 1) // 2] + window[len(window) // 2]) / 2 if window else np.inf
        if at[now] >= resume and value > SPIKE * middle:
            after = array[now + 1 : np.searchsorted(at, at[now] + AFTER, side="right")]
            resume = np.nextafter(at[now] + AFTER, np.inf)
            if len(back := np.flatnonzero(after < BACK * middle)):
                resume = at[now + 1 + back[0]]
                if max(value, after[: back[0]].max(initial=0.0)) <= DIVERGED * max(array[0], middle):
                    onsets.append(int(at[now]))
        insort(window, value)
    return onsets


def spike_ratio(loss: ArrayLike, control: ArrayLike) -> FloatArray:
    """Largest loss of each replica of a branch, over the median of those of its control; (replica,) each.

    Above 3 is a spike. NaN (diverged) counts as infinite. InvalidArgument if that median is not positive and finite.

    >>> spike_ratio([1.0, 8.0, float("nan")], [1.0, 2.0, 4.0])
    array([0.5, 4. , inf])
    """
    peaks, base = (np.nan_to_num(np.asarray(a, float), nan=np.inf, posinf=np.inf) for a in (loss, control))
    if peaks.ndim != 1 or base.ndim != 1 or not base.size or not 0 < np.median(base) < np.inf:
        raise InvalidArgument(f"loss and control must be (replica,), control of positive finite median, got {base}")
    return peaks / np.median(base)


def slope(steps: ArrayLike, values: ArrayLike) -> float:
    """Theil-Sen slope per step of (T,), from at most 500 records; NaN records are dropped.

    InvalidArgument if fewer than two are left. Source: Sen, J. Am. Stat. Assoc. 63 (1968).

    >>> slope([0, 1, 2, 3, 4], [1.0, 3.0, 100.0, 7.0, 9.0])
    2.0
    """
    from scipy import stats

    at = _steps(steps)
    y = array_with_gaps("values", values, at.shape)
    kept = np.flatnonzero(~np.isnan(y))
    if len(kept) < 2:
        raise InvalidArgument(f"values must have at least 2 records that are not NaN, got {len(kept)}")
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), POINTS)).round().astype(np.int64)]
    return float(stats.theilslopes(y[kept], at[kept]).slope)


def log_log_slope(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Least-squares slope of log y on log x, (points,) each, with its t-interval; dimensionless.

    Gaps BS - lambda_max go over c2(b). InvalidArgument for fewer than 3 points or a number <= 0 (c2(n), a gap may be).

    >>> round(log_log_slope([1.0, 2.0, 4.0, 8.0], [3.0, 6.0, 12.0, 24.0]).value, 12)
    1.0
    """
    from scipy import stats

    a = float_array("x", x, ("points",))
    b = float_array("y", y, a.shape)
    if min(a.min(), b.min()) <= 0 or len(a) < 3 or a.min() == a.max():
        raise InvalidArgument(f"x and y must be positive at 3 points or more, x not all equal, got x = {a}, y = {b}")
    fit = stats.linregress(np.log(a), np.log(b))
    reach = stats.t.ppf((1 + real("level", level, 0, 1, open_low=True)) / 2, len(a) - 2) * fit.stderr
    return Estimate(float(fit.slope), float(fit.slope - reach), float(fit.slope + reach))


def disagreement(values: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
    """(names below 1, names above 1) if there are both, else (); NaN and 1 itself are on no side.

    >>> disagreement({"BS_E": 0.9, "BS_R": 1.1, "S_ms": 0.8}), disagreement({"BS_E": 1.1, "BS_R": 1.2})
    ((('BS_E', 'S_ms'), ('BS_R',)), ())
    """
    below = tuple(name for name, value in values.items() if value < 1)
    above = tuple(name for name, value in values.items() if value > 1)
    return (below, above) if below and above else ()
