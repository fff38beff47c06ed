r"""Stochastic modified equations in one dimension: the order in the step size to which an SDE follows a step of SGD.

.. math:: d\theta = -L'dt + \sqrt{\eta V}\,dW, \qquad d\theta = -\Big(L + \frac\eta4L'^2\Big)'dt + \sqrt{\eta V}\,dW

with :math:`V(\theta)` the variance of the batch gradient. Mean and mean square of the displacement in the time
:math:`\eta` are compared with those of a step: the first SDE errs in the mean at the order :math:`\eta^2`, the second
in both at the order :math:`\eta^3`, which makes it of weak order 2. Source: Li, Tai and E 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from .modified_equations import DIGITS, SMALL, eta, lie_series

LI = "Li, Tai and E 2017"
ROUTE = "enumerated batches and the matrix exponential of the SDE's moments at eta = 1e-15, in 60 digits"
GRADIENT, CURVATURE = sp.symbols("g a", real=True)
NOISE = sp.symbols("V V_1 V_2", real=True)  # noise variance and its derivatives at the start
QUADRATICS = (
    "one dimension, quadratic samples",
    "mean gradient g, mean Hessian a at the start",
    "independent batches",
    "same start",
)


def _sde_moment(power: int, second_order: bool) -> Any:
    """E[(theta - start)^power] of the SDE after a time eta, up to eta^3."""
    x = sp.Symbol("x")
    slope_at = GRADIENT + CURVATURE * x
    drift = -slope_at - (eta / 2 * CURVATURE * slope_at if second_order else 0)
    variance = NOISE[0] + NOISE[1] * x + NOISE[2] * x**2 / 2

    return lie_series(x**power, [drift], [x], variance=eta * variance)


def _step_moment(power: int) -> Any:
    """The same of a step of SGD."""
    return -eta * GRADIENT if power == 1 else eta**2 * (GRADIENT**2 + NOISE[0])


def _weak_error(rng: np.random.Generator, power: int, second_order: bool, order: int) -> tuple[Any, float]:
    """(g, a, V, V', V'') of random quadratics, and (SGD - SDE) / eta^order by enumeration and an exponential."""
    import mpmath

    curvatures, centres = rng.uniform(0.3, 2.0, 4), rng.normal(size=4)  # at the start the gradient is h_i c_i
    with mpmath.workdps(DIGITS):
        step = mpmath.mpf(SMALL)
        h = [mpmath.mpf(float(value)) for value in curvatures]
        f = [value * mpmath.mpf(float(centre)) for value, centre in zip(h, centres, strict=True)]
        pairs = [((h[i] + h[j]) / 2, (f[i] + f[j]) / 2) for i in range(4) for j in range(i)]
        a, g = sum(h) / 4, sum(f) / 4
        bends = [p - a for p, _ in pairs]
        pulls = [p - g for _, p in pairs]
        v0 = sum(p * p for p in pulls) / 6
        v1 = 2 * sum(p * b for p, b in zip(pulls, bends, strict=True)) / 6
        v2 = 2 * sum(b * b for b in bends) / 6
        shrink = 1 + step * a / 2 if second_order else mpmath.mpf(1)
        # moments (1, E x, E x^2) of the linear SDE
        rates = mpmath.matrix(
            [
                [0, 0, 0],
                [-g * shrink, -a * shrink, 0],
                [step * v0, step * v1 - 2 * g * shrink, step * v2 / 2 - 2 * a * shrink],
            ]
        )
        moment = mpmath.expm(rates * step)[power, 0]
        taken = sum((-step * p) ** power for _, p in pairs) / 6
        return tuple(float(value) for value in (g, a, v0, v1, v2)), float((taken - moment) / step**order)


def sde_mean_error() -> ClosedForm:
    difference = sp.expand(_step_moment(1) - _sde_moment(1, second_order=False))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, truth = _weak_error(rng, 1, False, 2)
        return formula(*values[:2]), truth

    return ClosedForm(
        name="sde_mean_error",
        title="Weak error of the first-order SDE in a step",
        statement="The SDE without the correction of the drift misses the mean of a step of SGD at second order.",
        quantity="lim E[step of SGD - SDE] / eta^2",
        quantity_latex=r"\lim_{\eta\to0}\frac{1}{\eta^2}\left(E\theta_{SGD} - E\theta(\eta)\right)",
        expression=proven(difference.coeff(eta, 2), -CURVATURE * GRADIENT / 2),
        arguments=(GRADIENT, CURVATURE),
        assumptions=QUADRATICS,
        reference=LI,
        route=ROUTE,
        compare=compare,
    )


def modified_sde_mean_error() -> ClosedForm:
    difference = sp.expand(_step_moment(1) - _sde_moment(1, second_order=True))
    proven(sp.Matrix([difference.coeff(eta, 1), difference.coeff(eta, 2)]), sp.zeros(2, 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, truth = _weak_error(rng, 1, True, 3)
        return formula(*values[:2]), truth

    return ClosedForm(
        name="modified_sde_mean_error",
        title="Weak error of the second-order SDE in a step: the mean",
        statement="With the drift of L + (eta/4) L'^2 the mean of a step of SGD is right to second order.",
        quantity="lim E[step of SGD - SDE] / eta^3",
        quantity_latex=r"\lim_{\eta\to0}\frac{1}{\eta^3}\left(E\theta_{SGD} - E\theta(\eta)\right)",
        expression=proven(difference.coeff(eta, 3), -(CURVATURE**2) * GRADIENT / 3),
        arguments=(GRADIENT, CURVATURE),
        assumptions=QUADRATICS,
        reference="this project, after " + LI,
        route=ROUTE,
        compare=compare,
    )


def modified_sde_square_error() -> ClosedForm:
    difference = sp.expand(_step_moment(2) - _sde_moment(2, second_order=True))
    proven(sp.Matrix([difference.coeff(eta, 1), difference.coeff(eta, 2)]), sp.zeros(2, 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, truth = _weak_error(rng, 2, True, 3)
        return formula(*values[:4]), truth

    return ClosedForm(
        name="modified_sde_square_error",
        title="Weak error of the second-order SDE in a step: the square",
        statement="With that drift the mean squared displacement of a step of SGD is right to second order too.",
        quantity="lim (E[(step of SGD)^2] - E[(SDE)^2]) / eta^3",
        quantity_latex=r"\lim_{\eta\to0}\frac{1}{\eta^3}\left(E\Delta_{SGD}^2 - E\Delta(\eta)^2\right)",
        expression=proven(difference.coeff(eta, 3), CURVATURE * NOISE[0] + GRADIENT * NOISE[1] / 2),
        arguments=(GRADIENT, CURVATURE, *NOISE[:2]),
        assumptions=(*QUADRATICS, "V is the variance of the batch gradient at the start, V_1 its derivative"),
        reference="this project, after " + LI,
        route=ROUTE,
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    sde_mean_error,
    modified_sde_mean_error,
    modified_sde_square_error,
)
