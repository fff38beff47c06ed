r"""Intervals of means and of ratios of means from independent units.

.. math:: \{\rho : (\bar u - \rho\bar v)^2 \le t^2\,(s_{uu} - 2\rho s_{uv} + \rho^2s_{vv})\}

is Fieller's interval of E u / E v, with s the (co)variances of the two means and t Student's quantile: exact for normal
units, while the delta method's symmetric interval forgets that the denominator is estimated too. Where the denominator
does not differ significantly from zero the set is not bounded; then the whole line is returned.
Source: Fieller, J. R. Stat. Soc. B 16 (1954).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...arguments import FloatArray, real
from ...errors import InvalidArgument

LEVEL = 0.95


class Estimate(NamedTuple):
    """A number (or an array of them), its standard error and an interval; the error is zero where it is exact."""

    value: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray


def student_quantile(degrees_of_freedom: float, level: float = LEVEL) -> float:
    """t with P(|T| <= t) = level; the normal one for infinitely many degrees of freedom.

    >>> round(student_quantile(1, 0.5), 12)  # Cauchy's quartiles
    1.0
    """
    from scipy.special import ndtri, stdtrit

    upper = 0.5 + 0.5 * real("level", level, 0.0, 1.0, open_low=True)
    return float(ndtri(upper) if np.isinf(degrees_of_freedom) else stdtrit(degrees_of_freedom, upper))


def ratio_estimate(
    numerator: ArrayLike, denominator: ArrayLike, covariance: FloatArray, degrees_of_freedom: float,
    level: float = LEVEL,
) -> Estimate:  # fmt: skip
    """Ratio of two estimates with `covariance` (..., 2, 2), its delta-method standard error and Fieller's interval.

    NaN where the denominator is not positive (a squared norm that is zero, or too uncertain to say); the interval is
    (-inf, inf) where the denominator is not significantly positive.

    >>> estimate = ratio_estimate(6.0, 2.0, np.zeros((2, 2)), 5)
    >>> [float(x) for x in estimate]
    [3.0, 0.0, 3.0, 3.0]
    """
    u, v = np.broadcast_arrays(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64))
    suu, suv, svv = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    square = student_quantile(degrees_of_freedom, level) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(v > 0, u / v, np.nan)
        error = np.sqrt(np.maximum(suu - 2 * value * suv + value**2 * svv, 0.0)) / v
        leading = v**2 - square * svv
        # in deviations from the value, so that a small error is not lost in the difference of large numbers
        centre = -square * (suv - value * svv) / leading
        half = np.sqrt(np.maximum(square * (v * error) ** 2 * leading + square**2 * (suv - value * svv) ** 2, 0.0))
        bounded = leading > 0
        low = np.where(bounded, value + centre - half / leading, -np.inf)
        high = np.where(bounded, value + centre + half / leading, np.inf)
    known = np.isfinite(value)
    return Estimate(value, np.where(known, error, np.nan), np.where(known, low, np.nan), np.where(known, high, np.nan))


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, level: float = LEVEL) -> Estimate:
    """E u / E v from independent pairs (u, v), each (units, ...): sum u / sum v with Fieller's t interval.

    Pairs may depend on each other only within a unit. Raises InvalidArgument for fewer than two units. If all
    denominators are equal this is `mean_interval` of the ratios.

    >>> estimate = ratio_interval([1.0, 3.0], [1.0, 1.0], level=0.5)  # 2 +- 1 at Cauchy's quartiles
    >>> [round(float(x), 12) for x in estimate]
    [2.0, 1.0, 1.0, 3.0]
    """
    u, v = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    units = checked_units(u)
    if u.shape != v.shape:
        raise InvalidArgument(f"numerators and denominators must come in pairs, got shapes {u.shape} and {v.shape}")
    deviations = np.stack([u - u.mean(axis=0), v - v.mean(axis=0)], axis=-1)
    covariance = np.einsum("u...a,u...b->...ab", deviations, deviations) / (units * (units - 1))
    return ratio_estimate(u.mean(axis=0), v.mean(axis=0), covariance, units - 1, level)


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of independent values (units, ...) with its standard error s / sqrt(units) and Student's t interval.

    >>> [round(float(x), 12) for x in mean_interval([1.0, 3.0], level=0.5)]
    [2.0, 1.0, 1.0, 3.0]
    """
    x = np.asarray(values, dtype=np.float64)
    units = checked_units(x)
    mean, error = x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(units)
    reach = student_quantile(units - 1, level) * error
    return Estimate(mean, error, mean - reach, mean + reach)


def checked_units(values: FloatArray) -> int:
    """The number of units, at least two: one has no spread."""
    if values.ndim == 0 or len(values) < 2:
        raise InvalidArgument(f"an interval needs at least 2 independent units, got shape {values.shape}; draw more")
    return len(values)
