r"""The sharpness at the edge of stability if it stands still: the gap that noise opens, and the central flow.

In the cubic model

.. math:: x^+ = -(1 + \eta y + \eta s\zeta)\,x - \eta\sigma\xi, \qquad
          y^+ = y + \eta\Big(\alpha - \frac\beta2x^2\Big),

with independent :math:`\zeta, \xi` of mean 0 and variance 1, the sharpness is :math:`S = 2/\eta + y`. With y frozen at
minus the gap, growth and noise of x balance at one gap; to first order in the noise it is the sum of a term of the
batch curvature and one of the batch gradient. Without noise and linearised around :math:`y = 0`,
:math:`x^2 = 2\alpha/\beta`, the model spirals outwards. On a general loss L with the sharpness :math:`S(\theta)` the
central flow averages the oscillation out,

.. math:: \dot\theta = -\nabla\Big(L + \frac{\sigma^2}2S\Big),

with the variance :math:`\sigma^2` of the oscillation along the top eigenvector such that S stays at :math:`2/\eta`.
Sources: Damian, Nichani and Lee 2023; Cohen et al. 2024 (central flows); Liao et al. 2026.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from .self_stabilisation import (
    DAMIAN,
    LIAO,
    alpha,
    beta,
    displacement,
    eta,
    moment_symbol,
    s,
    sigma,
    spread,
    stationarity,
    x,
    y,
)


def gap_root() -> ClosedForm:
    # a sharpness that stands still at y = -gap: E[x^2] keeps its value 2 alpha / beta
    gap, noise = sp.symbols("g N", positive=True)
    balance = (
        stationarity(x**2).subs({moment_symbol(2, 1): -gap * moment_symbol(2, 0), spread: gap**2 * moment_symbol(2, 0)})
    ).subs(moment_symbol(2, 0), displacement().expression)
    relative = eta**2 * (s**2 + beta * sigma**2 / (2 * alpha))
    quadratic = (eta * gap) ** 2 - 2 * eta * gap + noise
    proven(balance * beta / (2 * alpha), quadratic.subs(noise, relative))
    shown = (1 - sp.sqrt(1 - noise)) / eta
    proven(quadratic.subs(gap, shown), sp.Integer(0))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        rate, rise, restore, additive, multiplicative = rng.uniform(0.2, 0.7, 5)

        def growth(level: float) -> float:
            square = 0.0
            for z, e in itertools.product((-1, 1), repeat=2):  # two-point noise of mean 0 and variance 1
                kept = 1 - rate * level + rate * multiplicative * z
                square += (kept * np.sqrt(2 * rise / restore) + rate * additive * e) ** 2 / 4
            return square - 2 * rise / restore

        values = (rate, rise, restore, additive, multiplicative)
        return formula(*values), brentq(growth, 0.0, 1 / rate, xtol=1e-14)

    return ClosedForm(
        name="gap_root",
        title="Gap of the sharpness below the edge, frozen",
        statement="The gap at which growth and noise balance if the sharpness does not move.",
        quantity="2 / eta - S",
        quantity_latex=r"\frac{2}{\eta} - S",
        expression=shown,
        where=((noise, relative),),
        arguments=(eta, alpha, beta, sigma, s),
        assumptions=("the cubic model with y frozen", "E[x^2] = 2 alpha / beta", "N <= 1"),
        reference="this project, after " + LIAO,
        route="bisection of the growth of E[x^2] over enumerated noise",
        compare=compare,
    )


def gap_first_order() -> ClosedForm:
    scale = sp.Symbol("epsilon", positive=True)
    scaled = gap_root().full_expression.subs({sigma: sigma * scale, s: s * scale}, simultaneous=True)
    derived = sp.series(scaled, scale, 0, 3).removeO().coeff(scale, 2)
    expression = proven(derived, eta * s**2 / 2 + eta * beta * sigma**2 / (4 * alpha))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        import mpmath

        values = rng.uniform(0.2, 0.7, 5)
        with mpmath.workdps(50):
            rate, rise, restore, additive, multiplicative = (mpmath.mpf(float(value)) for value in values)
            small = mpmath.mpf(10) ** -20  # scales both variances
            size = mpmath.sqrt(2 * rise / restore)

            def growth(level: Any) -> Any:
                square = mpmath.mpf(0)
                for z, e in itertools.product((-1, 1), repeat=2):  # two-point noise of mean 0 and variance 1
                    kept = 1 - rate * level + rate * mpmath.sqrt(small) * multiplicative * z
                    square += (kept * size + rate * mpmath.sqrt(small) * additive * e) ** 2 / 4
                return square / size**2 - 1

            root = mpmath.findroot(growth, (0, small))
            return formula(*values), float(root / small)

    return ClosedForm(
        name="gap_first_order",
        title="Gap of the sharpness below the edge, to first order in the noise",
        statement="Noise of the batch curvature and of the batch gradient open the gap independently of each other.",
        quantity="2 / eta - S",
        quantity_latex=r"\frac{2}{\eta} - S",
        expression=expression,
        arguments=(eta, alpha, beta, sigma, s),
        assumptions=("the cubic model with y frozen", "E[x^2] = 2 alpha / beta", "first order in sigma^2 and s^2"),
        reference="Liao et al. 2026 (the second term); this project",
        route="root of the growth of E[x^2] over enumerated noise of variance scaled by 1e-20, in 50 digits",
        compare=compare,
    )


def spiral() -> ClosedForm:
    start = sp.sqrt(2 * alpha / beta)
    step = sp.Matrix([-(1 + eta * y) * x, y + eta * (alpha - beta * x**2 / 2)])
    here = {x: start, y: 0}
    proven(step.subs(here), sp.Matrix([-start, 0]))  # flips sign: a fixed point of two steps
    jacobian = sp.Matrix([[-1, 0], [0, 1]]) * step.jacobian((x, y)).subs(here)  # with the flip undone
    proven(sp.trace(jacobian) ** 2 - 4 * jacobian.det(), -8 * alpha * eta**2)  # negative: a complex pair
    expression = sp.sqrt(proven(jacobian.det(), 1 + 2 * alpha * eta**2))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, rise, restore = rng.uniform(0.1, 1.0, 3)
        columns = []
        for shift in ((1e-30j, 0), (0, 1e-30j)):
            a, b = np.sqrt(2 * rise / restore) + shift[0], shift[1]
            for _ in range(2):
                a, b = -(1 + rate * b) * a, b + rate * (rise - restore * a**2 / 2)
            columns.append([np.imag(a) / 1e-30, np.imag(b) / 1e-30])
        return formula(rate, rise), np.sqrt(np.abs(np.linalg.eigvals(np.array(columns))).max())

    return ClosedForm(
        name="spiral",
        title="Growth around the fixed point without noise",
        statement="The oscillation at the edge is an unstable spiral: without noise the sharpness never comes to rest.",
        quantity="|multiplier| of a step",
        quantity_latex=r"|\mu|",
        expression=expression,
        arguments=(eta, alpha),
        assumptions=("the cubic model without noise", "linearised at y = 0, x^2 = 2 alpha / beta"),
        reference="this project, after " + DAMIAN,
        route="eigenvalues of the complex-step Jacobian of two steps",
        compare=compare,
    )


def central_flow() -> ClosedForm:
    """dS/dt = 0 along the flow, solved for sigma^2 in three dimensions."""
    pull, rise = sp.IndexedBase("g", real=True), sp.IndexedBase("S", real=True)
    j, d = sp.Symbol("j", integer=True), sp.Symbol("d", integer=True, positive=True)
    square = sp.Symbol("v", real=True)  # sigma^2

    def total(term: Any) -> Any:
        return sp.Sum(term, (j, 0, d - 1))

    shown = -2 * total(pull[j] * rise[j]) / total(rise[j] ** 2)
    gradient, slope = sp.Matrix(sp.symbols("g_0:3")), sp.Matrix(sp.symbols("s_0:3"))
    rate = slope.dot(-(gradient + square / 2 * slope))
    (kept,) = sp.solve(rate, square)
    values = {pull[k]: gradient[k] for k in range(3)} | {rise[k]: slope[k] for k in range(3)}
    proven(kept, shown.subs(d, 3).doit().subs(values))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        def sharpness(p: Any, q: Any) -> Any:  # the larger eigenvalue of the Hessian of (p q - 1)^2 / 2
            return (p**2 + q**2) / 2 + np.sqrt(((p**2 - q**2) / 2) ** 2 + (2 * p * q - 1) ** 2)

        p, q = rng.uniform(0.5, 2.0, 2)
        gradient = (p * q - 1) * np.array([q, p])
        slope = np.array([sharpness(p + 1e-30j, q).imag, sharpness(p, q + 1e-30j).imag]) / 1e-30

        def change(variance: float) -> float:
            velocity = -(gradient + variance / 2 * slope)
            return float(sharpness(p + 1e-30j * velocity[0], q + 1e-30j * velocity[1]).imag / 1e-30)

        return formula(gradient, slope, 2), brentq(change, -1e3, 1e3, xtol=1e-15, rtol=1e-14)

    return ClosedForm(
        name="central_flow",
        title="Variance of the oscillation in the central flow",
        statement="The oscillation that keeps the sharpness where it is: the force of progressive sharpening over the "
        "squared gradient of the sharpness. Where this is negative the sharpness falls by itself and leaves the edge.",
        quantity="sigma^2",
        quantity_latex=r"\sigma^2",
        expression=shown,
        arguments=(pull, rise, d),
        assumptions=(
            "flow along -(grad L + (sigma^2 / 2) grad S), S the sharpness, a simple eigenvalue at 2/eta",
            "g_j, S_j are the entries of grad L and of grad S, which is not 0",
        ),
        reference="Cohen et al. 2024",
        route="root of the complex-step rate of the largest eigenvalue along the flow of (x y - 1)^2 / 2",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    gap_root,
    gap_first_order,
    spiral,
    central_flow,
)
