r"""Progressively sharpening least squares (PSL): its curvature, and where SGD holds it.

.. math:: l_i = \tfrac12(v\,u^\top x_i - y_i)^2 - \alpha v, \qquad \sum_iy_ix_i = 0

in the parameters u (a vector) and v (a number), with a constant force :math:`\alpha` on v. At a fixed curvature
:math:`s = v^2` the vector :math:`x = vu` moves, in one dimension, by

.. math:: x^+ = x - \eta s(h_Bx - m_B),

with the batch means :math:`h_B` of :math:`x_i^2` and :math:`m_B` of :math:`x_iy_i`, so that its stationary variance is
explicit. The drift of v vanishes where that variance balances the force: a quadratic equation for v, exact in the
limit of a slow force, :math:`\alpha \to 0`. Source: this project.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import SharpeningLeastSquares
from ..closed_form import ClosedForm, Formula, proven

eta, h, c2, tau, alpha, v, s = sp.symbols("eta h c_2 tau alpha v s", positive=True)
spread = sp.Symbol("V", nonnegative=True)
LOSS = "l_i = (v u'x_i - y_i)^2 / 2 - alpha v"
SAMPLING = "c_2 is the second sampling coefficient of the batches"
MOMENTS = f"h and V are mean and variance of x_i^2, tau is the mean of x_i^2 y_i^2, {SAMPLING}"
SLOW = "the force is slow: x is stationary at the present curvature"


def instance(rng: np.random.Generator) -> tuple[Any, Any, list[list[int]], tuple[float, float, float, float]]:
    """Inputs and labels with x . y = 0, all batches without replacement, and (h, V, tau, c2)."""
    count = int(rng.integers(4, 7))
    inputs, labels = rng.normal(size=count), rng.normal(size=count)
    labels -= inputs * (inputs @ labels) / (inputs @ inputs)
    size = int(rng.integers(1, count))
    batches = [list(batch) for batch in itertools.combinations(range(count), size)]
    coefficient = (count - size) / (size * (count - 1))
    square = inputs**2
    return inputs, labels, batches, (square.mean(), square.var(), (square * labels**2).mean(), coefficient)


def enumerated(inputs: Any, labels: Any, batches: list[list[int]]) -> tuple[Any, Any]:
    """h_B and m_B of every batch."""
    square, cross = inputs**2, inputs * labels
    return np.array([square[batch].mean() for batch in batches]), np.array([cross[batch].mean() for batch in batches])


def enumerated_variance(curvature: float, rate: float, h_b: Any, m_b: Any) -> float:
    """Stationary E[x^2] of x+ = x - rate curvature (h_B x - m_B), all batches equally likely."""
    kept = ((1 - rate * curvature * h_b) ** 2).mean()
    return float(((rate * curvature * m_b) ** 2).mean() / (1 - kept))


def frozen_variance() -> Any:
    """Stationary E[x^2] at curvature s, from the squared step and the batch moments of h_B = h + delta and m_B."""
    x, delta, m, second = sp.symbols("x delta m S")
    correlation = sp.Symbol("nu")
    step = sp.Poly((x - eta * s * ((h + delta) * x - m)) ** 2, delta, m, x)
    moments = {(0, 0): 1, (2, 0): c2 * spread, (0, 2): c2 * tau, (1, 1): c2 * correlation, (1, 0): 0, (0, 1): 0}
    of_x = {0: 1, 1: 0, 2: second}  # the mean of x is 0, since that of m_B is
    after = sum(value * moments[powers[:2]] * of_x[powers[2]] for powers, value in step.terms())
    solution = sp.solve(sp.Eq(second, after), second)[0]
    return proven(solution, eta * s * c2 * tau / (2 * h - eta * s * (h**2 + c2 * spread)))


def psl_hessian() -> ClosedForm:
    u1, u2, h11, h12, h22 = sp.symbols("u_1 u_2 h_11 h_12 h_22", real=True)
    x1, x2, y = sp.symbols("x_1 x_2 y", real=True)
    sample = sp.hessian((v * (u1 * x1 + u2 * x2) - y) ** 2 / 2 - alpha * v, (u1, u2, v))
    # the mean over the data of a polynomial in x and y; X'y = 0
    means = {(2, 0, 0): h11, (1, 1, 0): h12, (0, 2, 0): h22, (1, 0, 1): 0, (0, 1, 1): 0, (0, 0, 0): 1}
    mean = sample.applyfunc(lambda e: sum(c * means[p] for p, c in sp.Poly(e, x1, x2, y).terms()))
    gram, u = sp.Matrix([[h11, h12], [h12, h22]]), sp.Matrix([u1, u2])
    pull = gram * u
    shown = sp.Matrix(
        [
            [v**2 * h11, v**2 * h12, 2 * v * pull[0]],
            [v**2 * h12, v**2 * h22, 2 * v * pull[1]],
            [2 * v * pull[0], 2 * v * pull[1], u.dot(pull)],
        ]
    )

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, labels = rng.normal(size=(5, 2)), rng.normal(size=5)
        labels -= inputs @ np.linalg.lstsq(inputs, labels, rcond=None)[0]
        theta, moment = rng.normal(size=3), inputs.T @ inputs / 5
        model = SharpeningLeastSquares(inputs, labels, 0.3)
        values = formula(theta[0], theta[1], theta[2], moment[0, 0], moment[0, 1], moment[1, 1])
        return values, model.sample_hessians(theta).mean(axis=0)

    return ClosedForm(
        name="psl_hessian",
        title="Hessian of progressively sharpening least squares",
        statement="The curvature in u is v^2 times that of the data, so a drift of v sharpens the loss.",
        quantity="H",
        quantity_latex=r"\bar H",
        expression=proven(mean, shown),
        arguments=(u1, u2, v, h11, h12, h22),
        assumptions=(LOSS, "two features", "X'y = 0", "h_jk are the entries of X'X/n"),
        reference="this project",
        route="mean of the per-sample Hessians",
        compare=compare,
    )


def psl_drift() -> ClosedForm:
    features = sp.symbols("s_0 s_1", real=True)  # u . x_i
    labels = sp.symbols("y_0 y_1", real=True)
    loss = sum((v * p - y) ** 2 / 2 - alpha * v for p, y in zip(features, labels, strict=True)) / 2
    square = sp.Symbol("w", positive=True)  # mean of (u . x)^2
    orthogonal = {labels[1]: -labels[0] * features[0] / features[1]}  # X'y = 0 along u
    derived = (-eta * sp.diff(loss, v)).subs(orthogonal)
    shown = eta * (alpha - v * square)
    proven(derived, shown.subs(square, (features[0] ** 2 + features[1] ** 2) / 2))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, labels = rng.normal(size=(5, 2)), rng.normal(size=5)
        labels -= inputs @ np.linalg.lstsq(inputs, labels, rcond=None)[0]
        force, rate, theta = rng.uniform(0.1, 1.0), 0.1, rng.uniform(0.5, 1.5, 3)
        model = SharpeningLeastSquares(inputs, labels, force)
        steps = [
            -rate * model.sample_gradients(theta)[list(batch)].mean(axis=0)[2]
            for batch in itertools.combinations(range(5), 2)
        ]
        return formula(rate, force, theta[2], ((inputs @ theta[:2]) ** 2).mean()), np.mean(steps)

    return ClosedForm(
        name="psl_drift",
        title="Mean drift of the curvature parameter in PSL",
        statement="The force alpha raises v, and the oscillation of u pushes it back.",
        quantity="E[v_next - v]",
        quantity_latex="E[v^+ - v]",
        expression=shown,
        arguments=(eta, alpha, v, square),
        assumptions=(LOSS, "X'y = 0", "w is the mean of (u'x_i)^2"),
        reference="this project",
        route="enumeration of all batches of a step",
        compare=compare,
    )


def psl_variance() -> ClosedForm:
    # u = x / v turns the step of u at fixed v into the frozen step at curvature v^2
    at_square = frozen_variance().subs(s, v**2) / v**2
    expression = proven(at_square, eta * c2 * tau / (2 * h - eta * v**2 * (h**2 + c2 * spread)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, labels, batches, (mean, variance, noise, coefficient) = instance(rng)
        rate, level = 0.05, rng.uniform(0.5, 1.5)
        gradient = SharpeningLeastSquares(inputs[:, None], labels, 0.0).sample_gradients
        at_zero, at_one = (gradient([u, level])[:, 0] for u in (0.0, 1.0))
        slopes = np.array([(at_one - at_zero)[batch].mean() for batch in batches])
        offsets = np.array([at_zero[batch].mean() for batch in batches])
        truth = rate**2 * (offsets**2).mean() / (1 - ((1 - rate * slopes) ** 2).mean())
        return formula(rate, level, mean, variance, noise, coefficient), truth

    return ClosedForm(
        name="psl_variance",
        title="Stationary variance of u in PSL at fixed v",
        statement="Label noise keeps u moving; the variance diverges at the mean-square edge of the frozen problem.",
        quantity="E[u^2]",
        quantity_latex="E[u^2]",
        expression=expression,
        arguments=(eta, v, h, spread, tau, c2),
        assumptions=(LOSS, "one dimension, x . y = 0", "v fixed, below its ceiling", MOMENTS),
        reference="this project",
        route="fixed point of the second moment over all enumerated batches",
        compare=compare,
    )


def psl_ceiling() -> ClosedForm:
    pole = sp.solve(sp.denom(sp.together(psl_variance().expression)), v**2)[0]
    expression = proven(pole, 2 * h / (eta * (h**2 + c2 * spread)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        inputs, labels, batches, (mean, variance, _, coefficient) = instance(rng)
        h_b, _ = enumerated(inputs, labels, batches)
        root = brentq(lambda z: ((1 - 0.1 * z * h_b) ** 2).mean() - 1, 1e-3 / mean, 1e3 / mean, xtol=1e-13, rtol=1e-14)
        return formula(0.1, mean, variance, coefficient), root

    return ClosedForm(
        name="psl_ceiling",
        title="Ceiling of the curvature parameter in PSL",
        statement="Sharpening stops below the mean-square edge, S_ms v^2 = 2 / eta with S_ms = h + c_2 V / h.",
        quantity="sup v^2",
        quantity_latex=r"\sup v^2",
        expression=expression,
        arguments=(eta, h, spread, c2),
        assumptions=(LOSS, "one dimension, x . y = 0", "h and V are mean and variance of x_i^2", SAMPLING),
        reference="this project",
        route="bisection of the growth of the second moment over all enumerated batches",
        compare=compare,
        tolerance=1e-9,
    )


def psl_plateau() -> ClosedForm:
    sharpness = sp.Symbol("S", positive=True)  # of the data, mean-square: h + c2 V / h
    value = h + c2 * spread / h
    denominator = 2 * h - eta * v**2 * (h**2 + c2 * spread)
    cleared = sp.cancel((v * h * psl_variance().expression - alpha) * denominator) / h
    balance = sp.cancel(sp.expand(cleared).subs(spread, (sharpness - h) * h / c2))
    shown_balance = alpha * eta * sharpness * v**2 + eta * c2 * tau * v - 2 * alpha
    equation = sp.Poly(proven(balance, shown_balance), v)
    lead, linear, constant = equation.all_coeffs()
    root = (-linear + sp.sqrt(linear**2 - 4 * lead * constant)) / (2 * lead)  # the positive root
    noise = eta * c2 * tau
    shown = (sp.sqrt(noise**2 + 8 * alpha**2 * eta * sharpness) - noise) / (2 * alpha * eta * sharpness)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        inputs, labels, batches, (mean, variance, noise, coefficient) = instance(rng)
        h_b, m_b = enumerated(inputs, labels, batches)
        rate, force = 0.1, rng.uniform(0.02, 0.2)
        edge = np.sqrt(2 * h_b.mean() / (rate * (h_b**2).mean()))

        def excess(level: float) -> float:
            return level * mean * enumerated_variance(level**2, rate, h_b, m_b) / level**2 - force

        root = brentq(excess, 1e-4 * edge, edge * (1 - 1e-9), xtol=1e-14)
        return formula(rate, force, mean, variance, noise, coefficient), root

    return ClosedForm(
        name="psl_plateau",
        title="Plateau of the curvature parameter in PSL",
        statement="Where the drift of v vanishes: at the edge for weak label noise, below it when the noise is strong.",
        quantity="v",
        quantity_latex=r"v_\star",
        expression=proven(root, shown),
        where=((sharpness, value),),
        arguments=(eta, alpha, h, spread, tau, c2),
        assumptions=(LOSS, "one dimension, x . y = 0", SLOW, MOMENTS),
        reference="this project",
        route="bisection of the drift with the stationary variance over all enumerated batches",
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    psl_hessian,
    psl_drift,
    psl_variance,
    psl_ceiling,
    psl_plateau,
)
