r"""Mean-square edges in one dimension: SGD and SVAG.

The batch Hessian h has mean a and variance :math:`s^2`; x is the error from an interpolating minimum. A step of SGD and
what it does to second moments are

.. math:: x^+ = (1 - \eta h)x, \qquad
          \frac{\mathbb{E}(x^+)^2}{\mathbb{E}x^2} = \mathbb{E}(1-\eta h)^2 = 1 - 2\eta a + \eta^2(a^2 + s^2).

SVAG takes :math:`\ell` micro-steps of size :math:`\eta/\ell` in place of a step, each on two independent batches of
Hessians :math:`h_1, h_2`:

.. math:: x^+ = \Big(1 - \frac\eta\ell\Big(\frac{1+\sqrt{2\ell-1}}2\,h_1 + \frac{1-\sqrt{2\ell-1}}2\,h_2\Big)\Big)x,

with the mean of a batch and :math:`\ell` times its variance. Sources: Wu, Ma and E 2018; Mulayoff and Michaeli 2024;
Li, Malladi and Arora 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means, crossing

eta, a, s = sp.symbols("eta a s", positive=True)
h1, h2 = sp.symbols("h_1 h_2", positive=True)
BATCH_HESSIAN = "one dimension; the batch Hessian has mean a > 0 and variance s^2"
INTERPOLATION = "interpolating minimum"
INDEPENDENT = "batches independent from step to step"
EDGE = ("eta_max", r"\eta_{\max}")


def averaged(polynomial: Any, *noises: Any, mean: Any = a) -> Any:
    """E of a polynomial of degree two in each of several independent variables of mean `mean` and variance s^2.

    The mean 0 stands for a standard normal variable, of variance 1.
    """
    for noise in noises:
        second = mean**2 + s**2 if mean != 0 else 1
        moments = (1, mean, second)
        terms = sp.Poly(sp.expand(polynomial), noise).terms()
        polynomial = sum(value * moments[power] for (power,), value in terms)
    return sp.expand(polynomial)


def edge_of(growth: Any) -> Any:
    """The step size at which the growth of E[x^2] in a step (growth - 1 is eta times affine in eta) is 1."""
    (edge,) = sp.solve(sp.cancel((growth - 1) / eta), eta)
    return edge


def edge_form(
    name: str,
    title: str,
    statement: str,
    derived: Any,
    shown: Any,
    route: str,
    truth: Callable[[FloatArray, FloatArray, int], float],
    assumptions: tuple[str, ...],
    reference: str,
    extra: tuple[Any, ...] = (),
    wide: bool = False,
    quantity: tuple[str, str] = EDGE,
) -> ClosedForm:
    """An edge in a and s (and an integer); truth(hessians of all batches, probabilities, integer) is its value.

    wide: only batch Hessians that vary more than their mean, s > a.
    """

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        h = rng.exponential(size=5) ** (3 if wide else 1)
        batches, p = batch_means(h, 1 if wide else 2)
        mean = p @ batches
        spread = np.sqrt(p @ (batches - mean) ** 2)
        if wide and spread < 1.2 * mean:
            return compare(formula, rng)
        integer = int(rng.integers(2, 7))
        return formula(mean, spread, *([integer] if extra else [])), truth(batches, p, integer)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=proven(derived, shown),
        arguments=(a, s, *extra),
        assumptions=(BATCH_HESSIAN, *assumptions),
        reference=reference,
        route=route,
        compare=compare,
        tolerance=1e-9,
    )


def sgd_edge() -> ClosedForm:
    h = sp.Symbol("h")
    return edge_form(
        "sgd_edge",
        "Mean-square edge of SGD in one dimension",
        "Below this step size the second moment decays; the noise brings the edge below 2/a, that of gradient descent.",
        edge_of(averaged((1 - eta * h) ** 2, h)),
        2 * a / (a**2 + s**2),
        "where E(1 - eta h)^2 over all batches is 1",
        lambda h, p, _: crossing(lambda eta: float(p @ (1 - eta * h) ** 2), 1e-2 / h.max()),
        (INTERPOLATION, INDEPENDENT),
        "Wu, Ma and E 2018",
    )


def sharpness_in_one_dimension() -> ClosedForm:
    h = sp.Symbol("h")
    return edge_form(
        "sharpness_in_one_dimension",
        "Mean-square sharpness in one dimension",
        "SGD is mean-square stable if and only if eta times this is below 2: curvature plus noise over curvature.",
        2 / edge_of(averaged((1 - eta * h) ** 2, h)),
        a + s**2 / a,
        "2 over the step size where E(1 - eta h)^2 over all batches is 1",
        lambda h, p, _: 2 / crossing(lambda eta: float(p @ (1 - eta * h) ** 2), 1e-2 / h.max()),
        (INTERPOLATION, INDEPENDENT),
        "Mulayoff and Michaeli 2024",
        quantity=("S_ms", r"S_{\mathrm{ms}}"),
    )


def svag_edge() -> ClosedForm:
    ell = sp.Symbol("ell", positive=True)
    root = sp.sqrt(2 * ell - 1)
    micro = 1 - eta / ell * ((1 + root) / 2 * h1 + (1 - root) / 2 * h2)

    def truth(h: FloatArray, p: FloatArray, steps: int) -> float:
        first, second = (1 + np.sqrt(2 * steps - 1)) / 2, (1 - np.sqrt(2 * steps - 1)) / 2
        pairs = first * h[:, None] + second * h[None, :]
        return crossing(lambda eta: float(p @ (1 - eta / steps * pairs) ** 2 @ p), 1e-2 / h.max())

    return edge_form(
        "svag_edge",
        "Mean-square edge of SVAG",
        "SVAG interpolates between SGD (ell = 1) and its diffusion (ell to infinity): the part of the edge that comes "
        "from the step size shrinks as 1/ell, the part from the noise stays.",
        edge_of(averaged(micro**2, h1, h2)),
        2 * a / (a**2 / ell + s**2),
        "where the mean square of a micro-step over all pairs of batches is 1",
        truth,
        (INTERPOLATION, "two independent batches in a micro-step of size eta/ell", "ell >= 1"),
        "this project (method: Li, Malladi and Arora 2021)",
        (ell,),
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    sgd_edge,
    sharpness_in_one_dimension,
    svag_edge,
)
