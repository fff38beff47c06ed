r"""Mean-square edges of models with Gaussian noise, in one dimension: diffusions and noisy gradient descent.

All keep the mean a and the variance :math:`s^2` of the batch Hessian but not the step size, and so they put the edge
elsewhere. The models are, with the loss :math:`L = \tfrac12ax^2` and :math:`\xi \sim N(0, 1)` fresh in every step,

.. math:: dx = -ax\,dt + \sqrt\eta\,sx\,dW, \qquad dx = -\big(L + \tfrac\eta4L'^2\big)'dt + \sqrt\eta\,sx\,dW, \qquad
          x^+ = x - \eta(a + s\xi)x

(the modified equations of order 1 and 2, and noisy gradient descent), and m Euler-Maruyama substeps of the first,

.. math:: x^+ = \Big(1 - \frac\eta m\,a + \frac{\eta}{\sqrt m}\,s\xi\Big)x.

For :math:`dx = \mu(x)\,dt + \sigma(x)\,dW` Ito's formula gives
:math:`\frac{d}{dt}\mathbb{E}x^2 = \mathbb{E}[2x\mu(x) + \sigma(x)^2]`; for an iteration the square of a step is
averaged. Sources of the models: Li, Tai and E 2017; Li, Malladi and Arora 2021; Wu, Ma and E 2018.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm
from .enumerated_batches import crossing
from .one_dimension import INTERPOLATION, a, averaged, edge_form, edge_of, eta, s


def diffusion_rate(drift: Any, diffusion: Any, x: Any) -> Any:
    """d/dt E[x^2] / E[x^2] of a linear diffusion, by Ito's formula."""
    return sp.cancel((2 * x * drift + diffusion**2) / x**2)


def gaussian_growth(step: Callable[[FloatArray], FloatArray]) -> float:
    """E[step(xi)^2] over a standard normal xi, by Gauss-Hermite quadrature."""
    nodes, weights = quadrature()
    return float(weights @ step(nodes) ** 2)


@functools.cache
def quadrature() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for expectations over a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return nodes, weights / weights.sum()


def mean_and_spread(h: FloatArray, p: FloatArray) -> tuple[float, float]:
    mean = float(p @ h)
    return mean, float(np.sqrt(p @ (h - mean) ** 2))


def sde_edge() -> ClosedForm:
    x = sp.Symbol("x")

    def truth(h: FloatArray, p: FloatArray, _: int) -> float:
        mean, spread = mean_and_spread(h, p)
        time = 0.1 / mean

        def growth(eta: float) -> float:
            def solution(normal: FloatArray) -> FloatArray:  # of geometric Brownian motion
                noise = np.sqrt(eta * time) * spread * normal
                return np.exp(-mean * time - eta * spread**2 * time / 2 + noise)

            return gaussian_growth(solution)

        return crossing(growth, 1e-2 / h.max())

    return edge_form(
        "sde_edge",
        "Mean-square edge of the stochastic modified equation",
        "The diffusion becomes unstable by its noise alone: without noise it has no edge, whatever the curvature.",
        edge_of(1 + eta * diffusion_rate(-a * x, sp.sqrt(eta) * s * x, x)),
        2 * a / s**2,
        "where the mean square of the exact solution, by quadrature, does not change in time",
        truth,
        (INTERPOLATION, "dx = -a x dt + sqrt(eta) s x dW, the modified equation of order 1"),
        "this project (method: Li, Tai and E 2017)",
    )


def second_order_sde_edge() -> ClosedForm:
    x = sp.Symbol("x")
    loss = a * x**2 / 2
    modified = loss + eta / 4 * sp.diff(loss, x) ** 2

    def truth(h: FloatArray, p: FloatArray, _: int) -> float:
        mean, spread = mean_and_spread(h, p)
        time = 0.1 / mean

        def growth(eta: float) -> float:
            def solution(normal: FloatArray) -> FloatArray:
                decay = mean + eta * mean**2 / 2 + eta * spread**2 / 2
                return np.exp(-decay * time + np.sqrt(eta * time) * spread * normal)

            return gaussian_growth(solution)

        return crossing(growth, 1e-2 / h.max())

    return edge_form(
        "second_order_sde_edge",
        "Mean-square edge of the second-order modified equation",
        "The correction of order 2 moves the edge away from that of SGD: up to s = a the equation is stable at "
        "every step size, and for s > a below this one.",
        edge_of(1 + eta * diffusion_rate(-sp.diff(modified, x), sp.sqrt(eta) * s * x, x)),
        2 * a / (s**2 - a**2),
        "where the mean square of the exact solution, by quadrature, does not change in time",
        truth,
        (INTERPOLATION, "s > a", "dx = -(L + eta L'^2/4)' dt + sqrt(eta) s x dW, the modified equation of order 2"),
        "this project (method: Li, Tai and E 2017)",
        wide=True,
    )


def noisy_gd_edge() -> ClosedForm:
    xi = sp.Symbol("xi")

    def truth(h: FloatArray, p: FloatArray, _: int) -> float:
        mean, spread = mean_and_spread(h, p)
        return crossing(lambda eta: gaussian_growth(lambda xi: 1 - eta * (mean + spread * xi)), 1e-2 / h.max())

    return edge_form(
        "noisy_gd_edge",
        "Mean-square edge of noisy gradient descent",
        "Gradient descent with Gaussian noise of the covariance of SGD has the edge of SGD.",
        edge_of(averaged((1 - eta * (a + s * xi)) ** 2, xi, mean=0)),
        2 * a / (a**2 + s**2),
        "where the mean square of a step, by Gauss-Hermite quadrature, is 1",
        truth,
        (INTERPOLATION, "x+ = x - eta (a x + s x xi) with xi standard normal"),
        "this project (method: Wu, Ma and E 2018)",
    )


def euler_maruyama_edge() -> ClosedForm:
    m = sp.Symbol("m", positive=True)
    xi = sp.Symbol("xi")
    substep = 1 - eta / m * a + sp.sqrt(eta * eta / m) * s * xi

    def truth(h: FloatArray, p: FloatArray, steps: int) -> float:
        mean, spread = mean_and_spread(h, p)

        def growth(eta: float) -> float:
            size = eta / steps
            return gaussian_growth(lambda xi: 1 - size * mean + np.sqrt(eta * size) * spread * xi)

        return crossing(growth, 1e-2 / h.max())

    return edge_form(
        "euler_maruyama_edge",
        "Mean-square edge of the integrated modified equation",
        "Integrated with m Euler-Maruyama substeps in a step of SGD, the diffusion has the edge of SVAG(m): for m = 1 "
        "it is noisy gradient descent.",
        edge_of(averaged(substep**2, xi, mean=0)),
        2 * a / (a**2 / m + s**2),
        "where the mean square of a substep, by Gauss-Hermite quadrature, is 1",
        truth,
        (INTERPOLATION, "substeps of size eta/m of dx = -a x dt + sqrt(eta) s x dW"),
        "this project (method: Li, Malladi and Arora 2021)",
        (m,),
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    sde_edge,
    second_order_sde_edge,
    noisy_gd_edge,
    euler_maruyama_edge,
)
