r"""Derivatives by central differences with an error of their own: Ridders' extrapolation to step zero.

.. math:: D_{k,0} = \frac{f(\theta + h_ke_j) - f(\theta - h_ke_j)}{2h_k}, \quad h_k = 2^{-k}h_0, \qquad
          D_{k,m} = \frac{4^mD_{k,m-1} - D_{k-1,m-1}}{4^m - 1}

The entry of the triangle that changed least on the way to it is the derivative, and that change its error: too long a
step shows as truncation, too short a step as rounding. h_0 is halved until the function is finite at both ends.
Source: Ridders 1982.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument

HALVINGS = 10
FIRST_STEP = 0.1  # in units of max(1, |theta_j|)
SHRINKINGS = 30  # of it, where the function is not finite on both sides


def jacobian(function: Callable[[FloatArray], FloatArray], theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivatives of `function` at theta (d,) and their errors, each of shape (*function(theta).shape, d).

    The error is infinite where the function is not finite, or raises InvalidArgument, however close to theta.

    >>> value, error = jacobian(lambda theta: theta**3, np.array([2.0]))
    >>> bool(abs(value[0, 0] - 12.0) <= 10 * error[0, 0] < 1e-8)
    True
    """
    columns = [_along(function, theta, j) for j in range(len(theta))]
    return np.stack([value for value, _ in columns], axis=-1), np.stack([error for _, error in columns], axis=-1)


def _along(
    function: Callable[[FloatArray], FloatArray], theta: FloatArray, coordinate: int
) -> tuple[FloatArray, FloatArray]:
    """The derivative with respect to one coordinate, entry by entry, and its error."""
    best = np.zeros_like(np.asarray(function(theta)))
    smallest = np.full_like(best, np.inf)
    first = _first_step(function, theta, coordinate)
    row: list[FloatArray] = []
    for k in range(HALVINGS if first else 0):
        high, low, length = _ends(function, theta, coordinate, first * 0.5**k)
        rounding = np.finfo(float).eps * (np.abs(high) + np.abs(low)) / length
        previous, row = row, [(high - low) / length]
        for m, older in enumerate(previous, start=1):
            row.append(row[-1] + (row[-1] - older) / (4.0**m - 1))
            change = np.maximum(np.abs(row[m] - row[m - 1]), np.abs(row[m] - older)) + rounding
            better = change < smallest
            best, smallest = np.where(better, row[m], best), np.where(better, change, smallest)
    return best, smallest


def _first_step(function: Callable[[FloatArray], FloatArray], theta: FloatArray, coordinate: int) -> float:
    """The longest step at whose ends the function is finite; zero if there is none."""
    first = FIRST_STEP * max(1.0, abs(float(theta[coordinate])))
    for k in range(SHRINKINGS):
        try:
            high, low, _ = _ends(function, theta, coordinate, first * 0.5**k)
        except InvalidArgument:  # outside of where the loss is defined
            continue
        if np.isfinite(high).all() and np.isfinite(low).all():
            return first * 0.5**k
    return 0.0


def _ends(
    function: Callable[[FloatArray], FloatArray], theta: FloatArray, coordinate: int, step: float
) -> tuple[FloatArray, FloatArray, float]:
    """The function a step ahead, a step behind, and how far they are apart."""
    ahead, behind = theta.copy(), theta.copy()
    ahead[coordinate] += step
    behind[coordinate] -= step
    with np.errstate(all="ignore"):
        high, low = function(ahead), function(behind)
    return high, low, float(ahead[coordinate] - behind[coordinate])
