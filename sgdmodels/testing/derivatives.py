r"""Derivatives by central differences with an error of their own: Ridders' extrapolation to step zero.

.. math:: D_{k,0} = \frac{f(\theta + h_ke_j) - f(\theta - h_ke_j)}{2h_k}, \quad h_k = 2^{-k}h_0, \qquad
          D_{k,m} = \frac{4^mD_{k,m-1} - D_{k-1,m-1}}{4^m - 1}

The entry of the triangle that changed least on the way to it is the derivative, and that change its error: too long a
step shows as truncation, too short a step as rounding. Source: Ridders 1982.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray

HALVINGS = 10
FIRST_STEP = 0.1  # in units of max(1, |theta_j|)


def jacobian(function: Callable[[FloatArray], FloatArray], theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivatives of `function` at theta (d,) and their errors, each of shape (*function(theta).shape, d).

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
    first = FIRST_STEP * max(1.0, abs(float(theta[coordinate])))
    best: FloatArray = np.zeros(())
    smallest: FloatArray = np.full((), np.inf)
    row: list[FloatArray] = []
    for k in range(HALVINGS):
        ahead, behind = theta.copy(), theta.copy()
        ahead[coordinate] += first * 0.5**k
        behind[coordinate] -= first * 0.5**k
        length = float(ahead[coordinate] - behind[coordinate])
        high, low = function(ahead), function(behind)
        rounding = np.finfo(float).eps * (np.abs(high) + np.abs(low)) / length
        previous, row = row, [(high - low) / length]
        for m, older in enumerate(previous, start=1):
            row.append(row[-1] + (row[-1] - older) / (4.0**m - 1))
            change = np.maximum(np.abs(row[m] - row[m - 1]), np.abs(row[m] - older)) + rounding
            better = change < smallest
            best, smallest = np.where(better, row[m], best), np.where(better, change, smallest)
    return best, smallest
