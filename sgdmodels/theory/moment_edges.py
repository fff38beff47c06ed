r"""Stability of every moment in one dimension: the growth of :math:`E|x|^p` under :math:`x^+ = (1 - \eta h_B)x`.

.. math:: r_p(\eta) = \big(E|1-\eta h_B|^p\big)^{1/p}, \qquad r_0 = \exp E\log|1-\eta h_B|, \qquad
          r_\infty = \max_B|1-\eta h_B|

p = 2 is mean-square stability, p = 0 stability of almost every run (the Lyapunov exponent is log r_0), p = inf that of
the worst run. r_p grows with p (Lyapunov's inequality), so edges fall. For p >= 1, :math:`E|1-\eta h|^p` is a mean of
convex functions of eta; it is 1 and falls at eta = 0, so it is 1 at one other step size only. For p < 1 it is concave
between the poles 1 / h_B and can cross 1 many times: the edge is the first crossing. p = 2 and 4 need only moments,

.. math:: E(1-\eta h)^4 = u^4 + 6u^2\eta^2\mu_2 - 4u\eta^3\mu_3 + \eta^4\mu_4, \qquad u = 1 - \eta\bar h.

Source: the Kesten-Goldie theory of random recursions; finite-population moments by counting, which tests enumerate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, one_of, real
from ..errors import InvalidArgument
from ..sampling import SCHEMES, noise_coefficients
from .batch_curvatures import curvature_law

ROUNDING = 4 * np.finfo(np.float64).eps
CLOSE = {"xtol": 1e-300, "rtol": ROUNDING}
BISECTIONS = 200
LOWEST = -745.0  # the log of the smallest float, in place of the one of 0 at a pole
SMALLEST_POWER = 1e-200  # a smaller one gives the same numbers as 0


@dataclass(frozen=True)
class BatchCurvature:
    """The curvature h_B of a batch of checked `curvatures`, in units of `scale`, their largest size."""

    curvatures: FloatArray
    batch_size: int
    sampling: str
    scale: float = 1.0

    @property
    def mean(self) -> float:
        return float(self.curvatures.mean())

    @cached_property
    def law(self) -> tuple[FloatArray, FloatArray]:
        """Values and probabilities, by enumeration."""
        return curvature_law(self.curvatures, self.batch_size, self.sampling)

    @cached_property
    def central(self) -> tuple[float, float, float]:
        """The second, third and fourth central moments of h_B."""
        h, b, n = self.curvatures, self.batch_size, len(self.curvatures)
        noise = noise_coefficients(n, b, self.sampling)
        x = h if noise.raw else h - h.mean()
        m2, m3, m4 = (float((x**k).mean()) for k in (2, 3, 4))
        second = noise.c2 * m2
        if noise.raw:  # independent terms: cumulants add
            q = b / n
            fourth = n * m4 * q * (1 - q) * (1 - 6 * q * (1 - q)) / b**4 + 3 * second**2
        elif self.sampling == "with_replacement":
            fourth = (m4 + 3 * (b - 1) * m2**2) / b**3
        else:
            fourth = subset_fourth_moment(n, b, m2, m4)
        return second, noise.c3 * m3, fourth

    def log_radius(self, step_size: float, p: float) -> float:
        """log r_p."""
        if p in (2, 4):
            unit = max(1.0, step_size)  # keeps powers of large step sizes in range
            u, eta = (1 - step_size * self.mean) / unit, step_size / unit
            second, third, fourth = self.central
            if p == 2:
                return math.log(unit) + 0.5 * log(u**2 + eta**2 * second)
            moment = u**4 + 6 * (u * eta) ** 2 * second - 4 * u * eta**3 * third + eta**4 * fourth
            return math.log(unit) + 0.25 * log(moment)
        values, weights = self.law
        logs = log_factors(values, step_size)
        if p == 0:
            return float(weights @ logs)
        top = float(logs.max())
        if p == math.inf or top == -math.inf:
            return top
        with np.errstate(over="ignore"):  # huge p: all but the largest are nothing
            return top + math.log1p(float(weights @ np.expm1(p * (logs - top)))) / p


def moment_radius(
    curvatures: ArrayLike, step_size: float, batch_size: int, p: float, sampling: str = "without_replacement"
) -> float:
    """Growth factor r_p = E[|1 - eta h_B|^p]^(1/p) of the p-th moment per step; stable iff below 1.

    `curvatures` (n,) of any sign with a positive mean; p >= 0, math.inf too. All but p = 2 and 4 enumerate the batches.
    ``"epoch"`` is exact for batch_size 1 and n (an epoch is then one product, whatever p) and for p = 0.

    inf beyond the largest float. Raises InvalidArgument for bad input, for more than a million batches, and for other
    epochs.

    >>> [round(moment_radius([1.0, 3.0], 0.5, 1, p), 12) for p in (1, 2, math.inf)]  # both factors are 1/2 in size
    [0.5, 0.5, 0.5]
    """
    batch, power = checked(curvatures, batch_size, p, sampling)
    step = batch.scale * real("step_size", step_size)
    if step == math.inf:
        return math.inf
    with np.errstate(over="ignore"):
        return float(np.exp(batch.log_radius(step, power)))


def moment_max_step_size(
    curvatures: ArrayLike, batch_size: int, p: float, sampling: str = "without_replacement"
) -> float:
    """The first step size at which E|x|^p stops shrinking: r_p = 1. The only one for p >= 1.

    Arguments and errors are those of `moment_radius`. 0 for p = inf if a batch has negative curvature.

    >>> round(moment_max_step_size([1.0, 3.0], 1, p=2), 12)  # 2 E[h] / E[h^2]
    0.8
    >>> round(moment_max_step_size([1.0, 3.0], 1, p=math.inf), 12)  # 2 / max h
    0.666666666667
    >>> round(moment_max_step_size([1.0, 3.0], 1, p=0), 12)  # (eta - 1)(3 eta - 1) = 1
    1.333333333333
    """
    batch, power = checked(curvatures, batch_size, p, sampling)
    if power == math.inf:
        values = batch.law[0]
        return 2 / float(values[-1]) / batch.scale if values[0] >= 0 else 0.0
    if power == 2:
        return 2 * batch.mean / (batch.mean**2 + batch.central[0]) / batch.scale
    if power >= 1:
        return convex_edge(batch, power) / batch.scale
    return first_crossing(*batch.law, power, convex_edge(batch, 1.0)) / batch.scale


def checked(curvatures: ArrayLike, batch_size: int, p: float, sampling: str) -> tuple[BatchCurvature, float]:
    """The batch curvature and p, in a scheme of independent steps that has the same moments."""
    h = float_array("curvatures", curvatures, ("samples",))
    n = len(h)
    b = integer("batch_size", batch_size, 1, n, "(the number of samples)")
    one_of("sampling", sampling, SCHEMES)
    power = math.inf if isinstance(p, float) and p == math.inf else real("p", p)
    power = 0.0 if power < SMALLEST_POWER else power
    scale = float(abs(h).max()) or 1.0
    h = h / scale
    if h.mean() <= ROUNDING:
        raise InvalidArgument(
            f"curvatures must have a positive mean, got {scale * h.mean():.3g}; there is no minimum to be stable at"
        )
    if sampling == "epoch":
        if 1 < b < n and power != 0:
            raise InvalidArgument(
                f"p={p!r} of shuffled epochs of batches of {b} out of {n} samples has no closed form here; use "
                "epoch_max_step_size for the mean square (p = 2), batch_size 1 or the full batch, or p=0"
            )
        power = 0.0 if b == 1 else power  # the product over an epoch does not depend on the order
        sampling = "without_replacement"
    return BatchCurvature(h, b, sampling, scale), power


def subset_fourth_moment(n: int, b: int, m2: float, m4: float) -> float:
    """E[(h_B - mean)^4] for subsets of b: sums over 1..4 different samples, by how likely b of n contain them."""
    p2, p4 = n * m2, n * m4
    distinct = (p4, 3 * p2**2 - 7 * p4, 6 * (2 * p4 - p2**2), 3 * p2**2 - 6 * p4)
    total, inclusion = 0.0, 1.0
    for k, sums in enumerate(distinct):
        inclusion *= (b - k) / (n - k) if k < b else 0.0
        total += inclusion * sums
    return max(total, 0.0) / b**4  # below 0 by rounding only


def convex_edge(batch: BatchCurvature, p: float) -> float:
    """The positive root of r_p = 1 for p >= 1; at most that of the mean curvature alone (Jensen)."""
    from scipy.optimize import brentq

    high = 2 / batch.mean
    if batch.log_radius(high, p) <= ROUNDING:  # no noise
        return high
    low = high / 2
    while batch.log_radius(low, p) >= 0:
        low /= 2
    return float(brentq(lambda eta: batch.log_radius(eta, p), low, high, **CLOSE))


def first_crossing(values: FloatArray, weights: FloatArray, p: float, low: float) -> float:
    """The first root above `low` of E (|1 - eta h|^p - 1) / p for p < 1, concave between the poles 1 / h."""
    from scipy.optimize import brentq

    def excess(eta: float) -> float:
        logs = np.maximum(log_factors(values, eta), LOWEST)
        return float(weights @ (np.expm1(p * logs) / p if p > 0 else logs))

    def slope(eta: float) -> float:
        logs = log_factors(values, eta)
        return float(weights @ (np.exp(p * logs) * -values / (1 - eta * values)))

    poles = np.sort(1 / values[values > 0])
    if excess(low) >= -ROUNDING:
        return low  # no noise: all edges are the same
    for high in poles[poles > low * (1 + ROUNDING)]:
        above = positive_point(excess, slope, low, float(high))
        if above is not None:
            return float(brentq(excess, low * (1 + ROUNDING), above, **CLOSE))
        low = float(high)
    high = 2 * low
    while excess(high) <= 0:
        high *= 2
    return float(brentq(excess, low * (1 + ROUNDING), high, **CLOSE))


def positive_point(
    excess: Callable[[float], float], slope: Callable[[float], float], low: float, high: float
) -> float | None:
    """Where a function, concave between `low` and `high`, is positive; None if it is not, which tangents prove."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            return None
        value = excess(middle)
        if value > 0:
            return middle
        steep = slope(middle)
        low, high = (middle, high) if steep > 0 else (low, middle)
        if value + abs(steep) * (high - low) <= 0:
            return None
    return None


def log_factors(values: FloatArray, step_size: float) -> FloatArray:
    """log |1 - eta h|, -inf where it is zero to rounding."""
    size = abs(1 - step_size * values)
    with np.errstate(divide="ignore"):
        return np.log(np.where(size <= ROUNDING * (1 + abs(step_size * values)), 0.0, size))


def log(value: float) -> float:
    """log, -inf at zero."""
    return math.log(value) if value > 0 else -math.inf
