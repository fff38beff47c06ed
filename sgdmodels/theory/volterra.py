r"""SGD on high-dimensional least squares: the Volterra recursion, and three edges that come from it.

In the eigenbasis of the Hessian, with :math:`p_i = E[x_i^2]` of the error x and targets with noise :math:`\sigma^2`,

.. math:: p_i^+ = (1-\eta\lambda_i)^2p_i + \tfrac{\eta^2}{b}\lambda_i\Big(\textstyle\sum_j\lambda_jp_j + \sigma^2\Big),
          \qquad L = \tfrac12\Big(\textstyle\sum_j\lambda_jp_j + \sigma^2\Big).

Gaussian data obey it with :math:`\tfrac{\eta^2}{b}\lambda_i^2p_i` more on the right, which vanishes relative to the
rest as the dimension grows at fixed eta tr H / b. Setting the growth factor to 1 gives the edges

.. math:: \sum_i\frac{\eta\lambda_i}{b(2-\eta\lambda_i)} = 1, \qquad
          \sum_i\frac{\eta\lambda_i}{2b-\eta(b+1)\lambda_i} = 1, \qquad \frac{\eta\,\mathrm{tr}H}{2b} = 1

of the recursion, of Gaussian data (exact in every dimension) and of homogenised SGD, a diffusion in continuous time.
Source: Paquette et al. 2021; Agarwala and Pennington 2024; Isserlis' theorem for the Gaussian one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, real
from ..errors import InvalidArgument


def volterra_loss(
    squares: ArrayLike,
    eigenvalues: ArrayLike,
    step_size: float,
    batch_size: int,
    steps: int,
    noise_variance: float = 0.0,
) -> FloatArray:
    """The expected population loss at steps 0..steps, shape (steps+1,), for l_i = (a_i'theta - y_i)^2 / 2.

    `squares` (d,): E[x_i^2] at the start in the eigenbasis of the Hessian; `eigenvalues` (d,), not negative;
    `noise_variance` of the targets. Batches are fresh (independent samples). Divergence is not an error: it is data.
    Raises InvalidArgument.

    >>> volterra_loss([1.0], [1.0], step_size=0.5, batch_size=1, steps=2).tolist()  # factor 0.25 + 0.25
    [0.5, 0.25, 0.125]
    """
    values = checked_spectrum(eigenvalues)
    p = checked_squares(squares, values)
    eta, b = real("step_size", step_size), integer("batch_size", batch_size, 1)
    shrink, source = (1 - eta * values) ** 2, (eta**2 / b) * values
    return losses_of(p, values, shrink, source, integer("steps", steps, 0), real("noise_variance", noise_variance))


def checked_squares(squares: ArrayLike, values: FloatArray) -> FloatArray:
    """Second moments (d,), none negative."""
    p = float_array("squares", squares, values.shape)
    if p.min() < 0:
        raise InvalidArgument(f"squares must not be negative, got {p.min():.6g}; pass E[x_i^2]")
    return p


def losses_of(
    p: FloatArray, values: FloatArray, shrink: FloatArray, source: FloatArray, steps: int, noise: float
) -> FloatArray:
    """The losses of the recursion p <- shrink p + source (2 loss), inf once they overflow."""
    twice = np.empty(steps + 1)
    with np.errstate(over="ignore"):
        for t in range(steps + 1):
            twice[t] = values @ p + noise
            if not np.isfinite(twice[t]):
                twice[t:] = np.inf  # and not the nan of 0 * inf
                break
            p = shrink * p + source * twice[t]
    return twice / 2


def volterra_criterion(eigenvalues: ArrayLike, step_size: float, batch_size: int) -> float:
    """K = sum eta lambda_i / (b (2 - eta lambda_i)): the Volterra recursion converges iff K < 1.

    inf where eta lambda_1 >= 2, at which single modes diverge. Raises InvalidArgument.

    >>> volterra_criterion([1.0, 1.0], step_size=1.0, batch_size=4)
    0.5
    """
    values = checked_spectrum(eigenvalues)
    eta, b = real("step_size", step_size), integer("batch_size", batch_size, 1)
    if eta * values.max() >= 2:
        return math.inf
    return float((eta * values / (2 - eta * values)).sum() / b)


def volterra_max_step_size(eigenvalues: ArrayLike, batch_size: int) -> float:
    """The step size at which the criterion K of the Volterra recursion is 1. Raises InvalidArgument.

    >>> round(volterra_max_step_size([1.0, 1.0], batch_size=2), 12)  # 2 eta / (2 (2 - eta)) = 1
    1.0
    """
    b = integer("batch_size", batch_size, 1)
    return edge(checked_spectrum(eigenvalues), b, b)


def gaussian_max_step_size(eigenvalues: ArrayLike, batch_size: int) -> float:
    r"""The exact mean-square edge of least squares on Gaussian data with fresh batches, in every dimension.

    The root in (0, 2b / ((b+1) lambda_1)) of :math:`\sum_i\eta\lambda_i/(2b-\eta(b+1)\lambda_i) = 1`; `eigenvalues`
    (d,) of the population Hessian. Raises InvalidArgument.

    >>> round(gaussian_max_step_size([1.0], batch_size=1), 12)  # E[a^2] / E[a^4] * 2
    0.666666666667
    """
    b = integer("batch_size", batch_size, 1)
    return edge(checked_spectrum(eigenvalues), b, b + 1)


def homogenized_max_step_size(eigenvalues: ArrayLike, batch_size: int) -> float:
    """The edge 2b / tr H of homogenised SGD, dX = -grad L dt + sqrt(2 eta L H / b) dW. Raises InvalidArgument.

    >>> homogenized_max_step_size([1.0, 3.0], batch_size=4)
    2.0
    """
    return 2 * integer("batch_size", batch_size, 1) / float(checked_spectrum(eigenvalues).sum())


def checked_spectrum(eigenvalues: ArrayLike) -> FloatArray:
    """`eigenvalues` (d,), none negative, not all zero."""
    values = float_array("eigenvalues", eigenvalues, ("d",))
    if values.min() < 0 or values.max() == 0:
        raise InvalidArgument(
            f"eigenvalues must not be negative, and one must be positive, got {values.min():.6g}..{values.max():.6g}"
        )
    return values


def edge(values: FloatArray, batch_size: int, self_part: int) -> float:
    """The root of sum eta v / (2b - eta c v) = 1 below the pole of the largest v, c = `self_part`."""
    from scipy.optimize import brentq

    # With s the fraction of the way to the pole, the equation is f(s) = c; one term alone bounds it from
    # below, all terms at the size of the largest from above.
    ratio = values / values.max()
    low, high = self_part / (self_part + ratio.size), self_part / (self_part + 1)

    def excess(s: float) -> float:
        return float((s * ratio / (1 - s * ratio)).sum()) / self_part - 1

    s = high
    if excess(low) < 0 < excess(high):  # else they coincide, up to rounding, with the root
        s = brentq(excess, low, high, xtol=1e-300, rtol=4 * np.finfo(np.float64).eps)
    elif excess(low) >= 0:
        s = low
    return float(s * 2 * batch_size / (self_part * values.max()))
