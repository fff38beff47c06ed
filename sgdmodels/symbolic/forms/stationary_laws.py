r"""Where SGD comes to rest on quadratics: stationary variances in one dimension, and GNI = 2/eta in every dimension.

In one dimension with the batch gradient :math:`hx - \xi`, :math:`\mathbb{E}\xi = 0` at the minimum, SGD, its
stochastic modified equation and the Ornstein-Uhlenbeck model are

.. math:: x^+ = x - \eta(hx - \xi), \qquad dx = -ax\,dt + \sqrt{\eta\,\mathrm{Var}(hx - \xi)}\,dW, \qquad
          dx = -ax\,dt + \sqrt\eta\,\sigma\,dW,

with a the mean of h, :math:`s^2` its variance, :math:`\sigma^2` that of :math:`\xi`. Both moments of x obey a closed
linear system, whose fixed point is the stationary law. The identity for the gradient-noise interaction (GNI) needs no
fixed point: an expected loss that is stationary gives

.. math:: 0 = \mathbb{E}[L(x^+) - L(x)]
          = -\eta\,\mathbb{E}|\bar g|^2 + \tfrac{\eta^2}{2}\mathbb{E}\,g_B^\top\bar Hg_B,

and for the diffusion Ito's formula gives the same with the noise part of the last term only. Sources: Mandt, Hoffman
and Blei 2017; Li, Tai and E 2017; Andreyev and Beneventano 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ...sampling import noise_coefficients
from ...theory.sde_moments import sde_stationary_moment
from ...theory.second_moment import second_moment_system
from ...theory.stationary import stationary_moment
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means
from .one_dimension import INDEPENDENT, a, eta, s

sigma = sp.Symbol("sigma", positive=True)
NOISE = "one dimension; batch gradient h x - xi, h of mean a and variance s^2, xi of mean 0 and variance sigma^2"
VARIANCE = ("Var x", r"\operatorname{Var}x")


def stationary_variance_of(step_square: Any, step_mean: Any, first: Any, second: Any) -> Any:
    """Var x at the fixed point of E[x+] = step_mean, E[x+^2] = step_square, linear in first = E x, second = E x^2."""
    (solution,) = sp.linsolve([step_mean - first, step_square - second], [first, second])
    return sp.cancel(solution[1] - solution[0] ** 2)


def variance_form(
    name: str,
    title: str,
    statement: str,
    derived: Any,
    shown: Any,
    assumptions: tuple[str, ...],
    reference: str,
    route: str,
    truth: Callable[[FloatArray, FloatArray, float, float], float],
) -> ClosedForm:
    """A stationary variance; truth(batch hessians, batch noises, probability of each, eta) is its value."""
    arguments = (eta, a, s, sigma) if shown.has(s) else (eta, a, sigma)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        h = rng.uniform(0.2, 3.0, size=5)
        xi = rng.normal(size=5)
        (hb, p), (xb, _) = batch_means(h, 2), batch_means(xi - xi.mean(), 2)
        step = float(rng.uniform(0.2, 0.8)) * 2 * hb.mean() / (p @ hb**2)
        mean, spread, noise = hb.mean(), np.sqrt(p @ (hb - hb.mean()) ** 2), np.sqrt(p @ xb**2)
        numbers = {eta: step, a: mean, s: spread, sigma: noise}
        return formula(*(numbers[argument] for argument in arguments)), truth(hb, xb, p[0], step)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=VARIANCE[0],
        quantity_latex=VARIANCE[1],
        expression=proven(derived, shown),
        arguments=arguments,
        assumptions=(NOISE, *assumptions),
        reference=reference,
        route=route,
        compare=compare,
    )


def stationary_variance() -> ClosedForm:
    """h and xi may be correlated: the covariance multiplies E x, which is zero."""
    first, second, covariance = sp.symbols("mu q kappa", real=True)
    square = (
        (1 - 2 * eta * a + eta**2 * (a**2 + s**2)) * second
        + 2 * eta * (0 - eta * covariance) * first  # E[(1 - eta h) xi] = -eta Cov(h, xi)
        + eta**2 * sigma**2
    )

    def truth(h: FloatArray, xi: FloatArray, p: float, step: float) -> float:
        shrink, push = 1 - step * h, step * xi
        system = p * np.array([[shrink.sum(), 0.0], [2 * (shrink @ push), shrink @ shrink]])
        source = p * np.array([push.sum(), push @ push])
        mean, square = np.linalg.solve(np.eye(2) - system, source)
        return float(square - mean**2)

    return variance_form(
        "stationary_variance",
        "Stationary variance of SGD in one dimension",
        "The variance around the minimum blows up at the mean-square edge, and a correlation of Hessian and gradient "
        "noise does not matter.",
        stationary_variance_of(square, (1 - eta * a) * first, first, second),
        eta * sigma**2 / (2 * a - eta * (a**2 + s**2)),
        (INDEPENDENT, "eta below the mean-square edge"),
        "Mandt, Hoffman and Blei 2017 for s = 0",
        "fixed point of the first two moments, averaged over all batches",
        truth,
    )


def sde_stationary_variance() -> ClosedForm:
    first, second, covariance = sp.symbols("mu q kappa", real=True)
    rate = -2 * a * second + eta * (s**2 * second - 2 * covariance * first + sigma**2)

    def truth(h: FloatArray, xi: FloatArray, p: float, step: float) -> float:
        # The stationary density solves (D v)' = -a x v with 2D = eta Var(h x - xi), a Pearson law. In the angle of
        # x = centre + floor tan(angle), with 2D = eta s^2 ((x - centre)^2 + floor^2), the factors 1/D and dx cancel.
        mean = p * h.sum()
        square, covariance = p * ((h - mean) ** 2).sum(), p * (h - mean) @ xi
        centre = covariance / square
        floor = np.sqrt(p * (xi @ xi) / square - centre**2)
        angles, weights = np.polynomial.legendre.leggauss(400)
        angles *= np.pi / 2
        power = 2 * mean / (step * square)
        log = power * (np.log(np.cos(angles)) - centre / floor * angles)
        density = weights * np.exp(log - log.max())
        x = centre + floor * np.tan(angles)
        average = density @ x / density.sum()
        return float(density @ (x - average) ** 2 / density.sum())

    return variance_form(
        "sde_stationary_variance",
        "Stationary variance of the stochastic modified equation",
        "The diffusion misses the term in a^2 of SGD, so its variance is too small.",
        stationary_variance_of(second + rate, (1 - a) * first, first, second),
        eta * sigma**2 / (2 * a - eta * s**2),
        ("dx = -a x dt + sqrt(eta Var(h x - xi)) dW", "eta below 2a/s^2"),
        "Li, Tai and E 2017",
        "quadrature of the stationary density of the Fokker-Planck equation",
        truth,
    )


def ou_stationary_variance() -> ClosedForm:
    first, second = sp.symbols("mu q", real=True)
    rate = -2 * a * second + eta * sigma**2

    def truth(h: FloatArray, xi: FloatArray, p: float, step: float) -> float:
        from scipy.integrate import quad

        mean = p * h.sum()
        return float(quad(lambda t: step * p * (xi @ xi) * np.exp(-2 * mean * t), 0, 20 / mean, epsrel=1e-13)[0])

    return variance_form(
        "ou_stationary_variance",
        "Stationary variance of the Ornstein-Uhlenbeck model",
        "With noise frozen at the minimum the variance is proportional to the step size, at every step size.",
        stationary_variance_of(second + rate, (1 - a) * first, first, second),
        eta * sigma**2 / (2 * a),
        ("dx = -a x dt + sqrt(eta) sigma dW",),
        "Mandt, Hoffman and Blei 2017",
        "integral of the noise damped since it entered",
        truth,
    )


def quadratic() -> tuple[Any, Any, Any]:
    """A full loss with two parameters: Hbar, the parameters x, and the loss, all symbolic."""
    h = sp.Matrix(2, 2, sp.symbols("H11 H12 H12 H22"))
    x = sp.Matrix(sp.symbols("x1:3"))
    return h, x, (x.T * h * x)[0] / 2


def gni_at_stationarity() -> ClosedForm:
    """The change of L in a step, once the part linear in the noise has averaged out, is zero on average."""
    h, x, loss = quadratic()
    noise = sp.Matrix(sp.symbols("z1:3"))
    g = h * x + noise
    change = loss.subs(list(zip(x, x - eta * g, strict=True)), simultaneous=True) - loss + eta * (h * x).dot(noise)
    balance = proven(change, -eta * (h * x).dot(h * x) + eta**2 / 2 * (g.T * h * g)[0])
    mean_square, interaction = sp.symbols("G A", positive=True)
    averaged = balance.subs((h * x).dot(h * x), mean_square).subs((g.T * h * g)[0], interaction)
    (ratio,) = sp.solve(averaged, interaction)
    return stationarity_form(
        "gni_at_stationarity",
        "Gradient-noise interaction of SGD at stationarity",
        "At the stationary law of SGD on quadratics GNI is 2/eta for every stable step size: it certifies oscillation "
        "and says nothing about stability.",
        sp.cancel(ratio / mean_square),
        2 / eta,
        (),
        "Andreyev and Beneventano 2024",
    )


def sde_gni_at_stationarity() -> ClosedForm:
    """By Ito's formula the mean loss is stationary if the noise balances the drift; the drift is not squared."""
    h, x, loss = quadratic()
    covariance = sp.Matrix(2, 2, sp.symbols("C11 C12 C12 C22"))
    gradient = sp.Matrix([loss]).jacobian(x)
    rate = -gradient.dot(gradient) + (eta * covariance * sp.hessian(loss, x)).trace() / 2
    balance = proven(rate, -(h * x).dot(h * x) + eta / 2 * (covariance * h).trace())
    rayleigh, mean_square, noise = sp.symbols("R G N", positive=True)
    averaged = balance.subs((h * x).dot(h * x), mean_square).subs((covariance * h).trace(), noise)
    (noise_part,) = sp.solve(averaged, noise)
    return stationarity_form(
        "sde_gni_at_stationarity",
        "Gradient-noise interaction of the diffusion at stationarity",
        "The diffusion has a larger GNI than SGD, by the Rayleigh quotient of the Hessian along the mean gradient.",
        sp.cancel((rayleigh * mean_square + noise_part) / mean_square),
        2 / eta + rayleigh,
        (rayleigh,),
        "Li, Tai and E 2017 for the equation",
    )


def stationarity_form(
    name: str, title: str, statement: str, derived: Any, shown: Any, extra: tuple[Any, ...], reference: str
) -> ClosedForm:
    """GNI at stationarity; `extra` is the Rayleigh quotient of the diffusion."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        factor = rng.normal(size=(5, 2, 2))
        system = second_moment_system(factor @ factor.transpose(0, 2, 1), rng.normal(size=(5, 2)))
        step = float(rng.uniform(0.01, 0.05))
        stationary = sde_stationary_moment if extra else stationary_moment
        moment = stationary(system, step, noise_coefficients(5, 2))
        batches, p = batch_means(system[:, :-1], 2)
        mean = system[:, :-1].mean(axis=0)
        hessian, square = mean[:, :-1], np.trace(mean @ moment @ mean.T)
        interaction = np.einsum("k,kij,jl,kml,mi->", p, batches, moment, batches, hessian)
        rayleigh = np.trace(hessian @ mean @ moment @ mean.T) / square
        return formula(step, *([rayleigh] if extra else [])), interaction / square

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity="E[g_B' Hbar g_B] / E|gbar|^2",
        quantity_latex=r"\frac{\mathbb{E}\,g_B^\top\bar Hg_B}{\mathbb{E}\,|\bar g|^2}",
        expression=proven(derived, shown),
        arguments=(eta, *extra),
        assumptions=(
            "quadratic losses in any dimension, not interpolating: gbar is not 0 throughout",
            "eta below the edge, so that there is a stationary law with second moments",
            "E over the stationary law and over batches",
        )
        + (("R = E[gbar' Hbar gbar] / E|gbar|^2",) if extra else ()),
        reference=reference,
        route="stationary second moments of random quadratics in two dimensions, and all batches",
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    stationary_variance,
    sde_stationary_variance,
    ou_stationary_variance,
    gni_at_stationarity,
    sde_gni_at_stationarity,
)
