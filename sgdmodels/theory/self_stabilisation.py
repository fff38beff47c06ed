r"""The sharpness gap of SGD at the edge of stability: how far noise holds the top curvature below 2 / eta.

Near the edge, the displacement x along the top eigenvector and the excess y of the top curvature over 2 / eta move by

.. math:: x^+ = -(1 + \eta y + \eta s\zeta)x - \eta\sigma\xi, \qquad y^+ = y + \eta(\alpha - \tfrac\beta2x^2)

with independent zeta, xi of mean 0 and variance 1: alpha is the rate of progressive sharpening, beta the
self-stabilisation, sigma^2 the variance of the batch gradient and s^2 that of the batch curvature, both along the top
eigenvector. Stationarity of y, x^2 and y^2 gives, exactly, :math:`E[x^2] = 2\alpha/\beta` and

.. math:: -\frac{E[yx^2]}{E[x^2]} = \frac{\eta s^2}{2} + \frac{\eta\beta\sigma^2}{4\alpha}
          + \frac{\eta}{2}\frac{E[y^2x^2]}{E[x^2]}, \qquad
          E[y] = \frac{E[yx^2]}{E[x^2]} - \frac{\eta\beta^2}{8\alpha}\mathrm{Var}(x^2).

So the gaps below are averages weighted by x^2; the plain mean of y lies lower still, even without noise.
Source: Damian, Nichani and Lee 2023 (the model), Liao et al. 2026 (the additive term).
"""

from __future__ import annotations

import math

from ..arguments import real
from ..errors import InvalidArgument


def sharpness_gap(
    step_size: float,
    alpha: float,
    beta: float,
    gradient_noise_variance: float,
    hessian_noise_variance: float = 0.0,
) -> float:
    r"""The gap 2 / eta - S to first order: the multiplicative and the additive noise term.

    .. math:: \frac{\eta s^2}{2} + \frac{\eta\beta\sigma^2}{4\alpha}

    A lower bound of the x^2-weighted gap. Raises InvalidArgument.

    >>> sharpness_gap(0.5, alpha=1.0, beta=2.0, gradient_noise_variance=4.0, hessian_noise_variance=3.0)
    1.75
    """
    return relative_noise(step_size, alpha, beta, gradient_noise_variance, hessian_noise_variance) / (2 * step_size)


def sharpness_gap_root(
    step_size: float,
    alpha: float,
    beta: float,
    gradient_noise_variance: float,
    hessian_noise_variance: float = 0.0,
) -> float:
    r"""The gap 2 / eta - S for a curvature that stands still: the exact balance of growth and noise.

    .. math:: \frac{1 - \sqrt{1 - \eta^2(s^2 + \beta\sigma^2/2\alpha)}}{\eta}

    Raises InvalidArgument, also if no curvature balances the noise (a negative radicand).

    >>> sharpness_gap_root(0.5, alpha=1.0, beta=2.0, gradient_noise_variance=1.0, hessian_noise_variance=2.0)
    1.0
    """
    noise = relative_noise(step_size, alpha, beta, gradient_noise_variance, hessian_noise_variance)
    if noise > 1:
        raise InvalidArgument(
            f"eta^2 (s^2 + beta sigma^2 / (2 alpha)) must be at most 1, got {noise:.6g}: no curvature balances so much "
            "noise; lower step_size or the variances"
        )
    return noise / (1 + math.sqrt(1 - noise)) / step_size  # the formula without cancellation


def relative_noise(
    step_size: float, alpha: float, beta: float, gradient_noise_variance: float, hessian_noise_variance: float
) -> float:
    """eta^2 (s^2 + beta sigma^2 / (2 alpha)): the variance a step adds to x, relative to E[x^2]."""
    eta = real("step_size", step_size, open_low=True)
    rate, restoring = real("alpha", alpha, open_low=True), real("beta", beta, open_low=True)
    additive = real("gradient_noise_variance", gradient_noise_variance)
    multiplicative = real("hessian_noise_variance", hessian_noise_variance)
    return eta**2 * (multiplicative + restoring * additive / (2 * rate))
