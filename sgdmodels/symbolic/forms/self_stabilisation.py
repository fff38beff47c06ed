r"""The cubic model of the edge of stability with noise: what stationarity says exactly.

.. math:: x^+ = -(1 + \eta y + \eta s\zeta)\,x - \eta\sigma\xi, \qquad
          y^+ = y + \eta\Big(\alpha - \frac\beta2x^2\Big)

x is the displacement along the top eigenvector, y the excess of the sharpness over :math:`2/\eta`, :math:`\alpha` the
rate of progressive sharpening, :math:`\beta` the strength with which the oscillation lowers the sharpness;
:math:`\zeta, \xi` are independent noises of the batch curvature and of the batch gradient, with mean 0 and variance 1,
drawn anew in every step, of sizes s and :math:`\sigma`. If the means of y, :math:`x^2`, :math:`y^2` and :math:`yx^2`
stand still, four linear relations between moments

.. math:: \mu_{ij} = \mathbb{E}\,x^iy^j, \qquad V = \mathrm{Var}(x^2)

hold exactly; nothing is assumed of the law beyond its moments. They determine no moment by themselves: all moments
depend on the step size too. Without noise there is no stationary law. Sources: Damian, Nichani and Lee 2023 (the
model); Liao et al. 2026 (the additive noise).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven

eta, alpha, beta, sigma, s = sp.symbols("eta alpha beta sigma s", positive=True)
x, y = sp.symbols("x y", real=True)
variance = sp.Symbol("V", positive=True)  # Var(x^2)
mean_y, spread = sp.symbols("mu_01 mu_22", real=True)
HIGHER = ((0, 1), (2, 1), (2, 3), (4, 1), (4, 2))
TESTS = (y, x**2, y**2, y * x**2)
ZETA, XI = sp.symbols("zeta xi")
LAW = (
    "the law of (x, y) is stationary, with the moments that appear; sigma > 0 or s > 0",
    "noises independent, with mean 0 and variance 1",
)
MEANING = "mu_ij is E[x^i y^j], V the variance of x^2"
DAMIAN, LIAO = "Damian, Nichani and Lee 2023", "Liao et al. 2026"
ROUTE = "random signed measures under which a step leaves the means of {} as they are (Gauss-Hermite noise)"


def moment_symbol(i: int, j: int) -> Any:
    return sp.Symbol(f"mu_{i}{j}", real=True) if i or j else sp.Integer(1)


def stationarity(test: Any) -> Any:
    """E[f(x+, y+)] - E[f(x, y)] in moments, which stationarity makes zero."""
    step = {x: -(1 + eta * y + eta * s * ZETA) * x - eta * sigma * XI, y: y + eta * (alpha - beta * x**2 / 2)}
    noisy = sp.Poly(sp.expand(test.subs(step, simultaneous=True)), ZETA, XI)
    of_noise = {(0, 0): 1, (1, 0): 0, (0, 1): 0, (2, 0): 1, (0, 2): 1, (1, 1): 0}
    change = sum(value * of_noise[powers] for powers, value in noisy.terms()) - test
    return sum(value * moment_symbol(*powers) for powers, value in sp.Poly(sp.expand(change), x, y).terms())


def _solved(tests: tuple[Any, ...], unknowns: tuple[Any, ...]) -> dict[Any, Any]:
    """`unknowns` by the other moments, with E[x^4] written by the variance of x^2 and the mean that y fixes."""
    of_square = {moment_symbol(4, 0): variance + moment_symbol(2, 0) ** 2}
    square = sp.solve(stationarity(y), moment_symbol(2, 0))[0]
    equations = [stationarity(test).subs(of_square).subs(moment_symbol(2, 0), square) for test in tests]
    (solution,) = sp.linsolve(equations, unknowns)
    return dict(zip(unknowns, solution, strict=True))


def _stationary(
    rng: np.random.Generator, tests: tuple[Any, ...]
) -> tuple[dict[str, float], Callable[[int, int], float]]:
    """Random parameters, and the moments of a measure on 40 points under which a step keeps the means of `tests`."""
    values = dict(zip(("eta", "alpha", "beta", "sigma", "s"), rng.uniform(0.2, 1.0, 5), strict=True))
    rate, rise, restore, additive, multiplicative = values.values()
    points, excess = rng.normal(size=40) * np.sqrt(2 * rise / restore), rng.normal(size=40)
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    functions = [sp.lambdify((x, y), test) for test in tests]
    moved = np.zeros((len(tests), 40))
    for (z, p), (e, r) in itertools.product(zip(nodes, weights, strict=True), repeat=2):
        after = -(1 + rate * excess + rate * multiplicative * z) * points - rate * additive * e
        change = [f(after, excess + rate * (rise - restore * points**2 / 2)) - f(points, excess) for f in functions]
        moved += p * r / weights.sum() ** 2 * np.array(change)
    conditions = np.vstack([moved, np.ones(40)])
    even = np.full(40, 1 / 40)
    wanted = np.append(np.zeros(len(tests)), 1.0)
    measure = even + np.linalg.lstsq(conditions, wanted - conditions @ even, rcond=None)[0]
    return values, lambda i, j: float(measure @ (points**i * excess**j))


def _squares(moment: Callable[[int, int], float]) -> float:
    return moment(4, 0) - moment(2, 0) ** 2


def displacement() -> ClosedForm:
    expression = proven(sp.solve(stationarity(y), moment_symbol(2, 0))[0], 2 * alpha / beta)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, moment = _stationary(rng, TESTS[:1])
        return formula(values["alpha"], values["beta"]), moment(2, 0)

    return ClosedForm(
        name="displacement",
        title="Mean squared displacement at the edge",
        statement="The sharpness stands still only if the oscillation has exactly this size, whatever the noise.",
        quantity="E[x^2]",
        quantity_latex="E[x^2]",
        expression=expression,
        arguments=(alpha, beta),
        assumptions=LAW,
        reference=DAMIAN,
        route=ROUTE.format("y"),
        compare=compare,
        tolerance=1e-9,
    )


def weighted_excess() -> ClosedForm:
    weighted = _solved((x**2,), (moment_symbol(2, 1),))[moment_symbol(2, 1)] * beta / (2 * alpha)
    shown = -eta * s**2 / 2 - eta * beta * sigma**2 / (4 * alpha) - eta * beta * spread / (4 * alpha)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, moment = _stationary(rng, TESTS[:2])
        return formula(*values.values(), moment(2, 2)), moment(2, 1) / moment(2, 0)

    return ClosedForm(
        name="weighted_excess",
        title="Excess of the sharpness weighted by the displacement",
        statement="Gradient noise, curvature noise and the movement of the sharpness itself each lower it.",
        quantity="E[y x^2] / E[x^2]",
        quantity_latex=r"\frac{E[yx^2]}{E[x^2]}",
        expression=proven(weighted, shown),
        arguments=(eta, alpha, beta, sigma, s, spread),
        assumptions=(*LAW, MEANING),
        reference="this project, after " + LIAO,
        route=ROUTE.format("y and x^2"),
        compare=compare,
        tolerance=1e-9,
    )


def mean_excess() -> ClosedForm:
    derived = _solved((x**2, y**2), (moment_symbol(2, 1), mean_y))[mean_y]
    noise = -eta * s**2 / 2 - eta * beta * sigma**2 / (4 * alpha)
    shown = noise - eta * beta * spread / (4 * alpha) - eta * beta**2 * variance / (8 * alpha)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, moment = _stationary(rng, TESTS[:3])
        return formula(*values.values(), moment(2, 2), _squares(moment)), moment(0, 1)

    return ClosedForm(
        name="mean_excess",
        title="Mean excess of the sharpness",
        statement="The plain mean lies below the weighted one by the fluctuation of the displacement.",
        quantity="E[y]",
        quantity_latex="E[y]",
        expression=proven(derived, shown),
        arguments=(eta, alpha, beta, sigma, s, spread, variance),
        assumptions=(*LAW, MEANING),
        reference="this project",
        route=ROUTE.format("y, x^2 and y^2"),
        compare=compare,
        tolerance=1e-9,
    )


def sharpness_fluctuation() -> ClosedForm:
    derived = _solved((y * x**2,), (spread,))[spread]
    fraction = sp.cancel(derived * (8 + 4 * alpha * eta**2)) / 8
    rest = sp.expand(sp.cancel((fraction - beta * variance / 4) / eta))
    remainder = sp.Symbol("R", real=True)
    shown = (beta * variance / 4 + eta * remainder) / (1 + alpha * eta**2 / 2)
    proven(derived, shown.subs(remainder, rest))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, moment = _stationary(rng, TESTS)
        return formula(*values.values(), _squares(moment), *(moment(*orders) for orders in HIGHER)), moment(2, 2)

    return ClosedForm(
        name="sharpness_fluctuation",
        title="Fluctuation of the sharpness",
        statement="An exact relation between moments of the stationary law: the mean of y^2 x^2 is beta Var(x^2) / 4 "
        "and a remainder with the factor eta, whose moments depend on eta too.",
        quantity="E[y^2 x^2]",
        quantity_latex="E[y^2x^2]",
        expression=shown,
        where=((remainder, rest),),
        arguments=(eta, alpha, beta, sigma, s, variance, *(moment_symbol(*orders) for orders in HIGHER)),
        assumptions=(*LAW, MEANING),
        reference="this project",
        route=ROUTE.format("y, x^2, y^2 and y x^2"),
        compare=compare,
        tolerance=1e-9,
    )


def mean_excess_small_steps() -> ClosedForm:
    fluctuation = sharpness_fluctuation()
    remainder = sp.Symbol("R", real=True)
    rest = sp.together((fluctuation.full_expression - beta * variance / 4) / eta)
    leading = -eta * (s**2 / 2 + beta * sigma**2 / (4 * alpha) + 3 * beta**2 * variance / (16 * alpha))
    shown = leading - eta**2 * beta * remainder / (4 * alpha)
    proven(mean_excess().expression.subs(spread, fluctuation.full_expression), shown.subs(remainder, rest))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, moment = _stationary(rng, TESTS)
        return formula(*values.values(), _squares(moment), *(moment(*orders) for orders in HIGHER)), moment(0, 1)

    return ClosedForm(
        name="mean_excess_small_steps",
        title="Mean excess of the sharpness by the fluctuation of the displacement",
        statement="An exact relation between moments of the stationary law: two noise terms, one from the fluctuation "
        "of x^2, and a remainder with the factor eta^2, whose moments depend on eta too.",
        quantity="E[y]",
        quantity_latex="E[y]",
        expression=shown,
        where=((remainder, sp.factor(rest)),),
        arguments=fluctuation.arguments,
        assumptions=(*LAW, MEANING),
        reference="this project, after " + LIAO,
        route=ROUTE.format("y, x^2, y^2 and y x^2"),
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    displacement,
    weighted_excess,
    mean_excess,
    sharpness_fluctuation,
    mean_excess_small_steps,
)
