r"""Curvature of the smallest losses with an edge of stability: scalar products and one tanh unit.

.. math:: L = \tfrac12(xy - 1)^2, \qquad L = \tfrac14(1 - x^2y^2)^2, \qquad
          l_i = \tfrac12\big(w_2\tanh(w_1x_i) - y_i\big)^2

The first, in the parameters x and y, has minima of every sharpness, and gradient descent leaps below the edge; on the
second it converges to the edge itself. The third, in the parameters :math:`w_1, w_2`, sharpens along :math:`w_1 = 0`
while it fits noise. Source: Zhu et al. 2023 for the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import ScalarProduct
from ..closed_form import ClosedForm, Formula, proven
from .blocks import eigenvalue_pair

x, y = sp.symbols("x y", real=True)
eta = sp.Symbol("eta", positive=True)
FINITE = "eigenvalues of a Hessian differentiated numerically in 40 digits"


def _numerical_hessian(loss: Callable[..., Any], point: Any) -> Any:
    """Hessian of a function of two numbers by finite differences in 40 digits."""
    import mpmath

    with mpmath.workdps(40):
        second = {orders: float(mpmath.diff(loss, tuple(point), orders)) for orders in ((2, 0), (1, 1), (0, 2))}
    return np.array([[second[2, 0], second[1, 1]], [second[1, 1], second[0, 2]]])


def hyperbola_curvature() -> ClosedForm:
    hessian = sp.hessian((x * y - 1) ** 2 / 2, (x, y))
    expression = eigenvalue_pair(hessian, (x**2 + y**2) / 2, ((x**2 - y**2) / 2) ** 2 + (2 * x * y - 1) ** 2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        point = rng.normal(size=2)
        return formula(*point).ravel(), np.linalg.eigvalsh(_numerical_hessian(lambda a, b: (a * b - 1) ** 2 / 2, point))

    return ClosedForm(
        name="hyperbola_curvature",
        title="Curvature of (xy - 1)^2 / 2",
        statement="Both eigenvalues of the Hessian of the scalar factorisation, anywhere in the plane.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=expression,
        arguments=(x, y),
        assumptions=(),
        reference="folklore",
        route=FINITE,
        compare=compare,
    )


def hyperbola_sharpness() -> ClosedForm:
    hessian = sp.hessian((x * y - 1) ** 2 / 2, (x, y)).subs(y, 1 / x)
    proven(hessian.det(), sp.Integer(0))
    expression = x**2 + y**2
    proven(sp.trace(hessian), expression.subs(y, 1 / x))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        point = rng.uniform(0.3, 3.0)
        return formula(point, 1 / point), np.linalg.eigvalsh(
            ScalarProduct([1.0], [1.0]).sample_hessians([point, 1 / point])[0]
        )[1]

    return ClosedForm(
        name="hyperbola_sharpness",
        title="Sharpness of (xy - 1)^2 / 2 at its minima",
        statement="The sharpness grows with the distance from the balanced minimum x = y, without bound.",
        quantity="lambda_max",
        quantity_latex=r"\lambda_{\max}",
        expression=expression,
        arguments=(x, y),
        assumptions=("xy = 1",),
        reference="folklore",
        route="eigenvalues of the Hessian of the product of two scalars",
        compare=compare,
    )


def quartic_curvature() -> ClosedForm:
    square = sp.Symbol("p", real=True)  # x^2 y^2
    hessian = sp.hessian((1 - x**2 * y**2) ** 2 / 4, (x, y))
    center = (3 * square - 1) * (x**2 + y**2) / 2
    spread = ((3 * square - 1) * (x**2 - y**2) / 2) ** 2 + 4 * square * (2 * square - 1) ** 2
    named = {square: x**2 * y**2}
    pair = eigenvalue_pair(hessian, center.subs(named), spread.subs(named))
    shown = sp.Matrix([center - sp.sqrt(spread), center + sp.sqrt(spread)])
    proven(pair, shown.subs(named))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        point = rng.normal(size=2)
        hessian = _numerical_hessian(lambda a, b: (1 - a**2 * b**2) ** 2 / 4, point)
        return formula(*point).ravel(), np.linalg.eigvalsh(hessian)

    return ClosedForm(
        name="quartic_curvature",
        title="Curvature of (1 - x^2 y^2)^2 / 4",
        statement="Both eigenvalues of the Hessian, anywhere in the plane.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=shown,
        where=((square, x**2 * y**2),),
        arguments=(x, y),
        assumptions=(),
        reference="this project (model: Zhu et al. 2023)",
        route=FINITE,
        compare=compare,
    )


def quartic_sharpness() -> ClosedForm:
    hessian = sp.hessian((1 - x**2 * y**2) ** 2 / 4, (x, y))
    at_minima = hessian.subs(y, 1 / x)
    proven(at_minima.det(), sp.Integer(0))
    expression = 2 * (x**2 + y**2)
    proven(sp.trace(at_minima), expression.subs(y, 1 / x))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        point = rng.uniform(0.4, 2.5)
        hessian = _numerical_hessian(lambda a, b: (1 - a**2 * b**2) ** 2 / 4, (point, 1 / point))
        return formula(point, 1 / point), np.linalg.eigvalsh(hessian)[1]

    return ClosedForm(
        name="quartic_sharpness",
        title="Sharpness of (1 - x^2 y^2)^2 / 4 at its minima",
        statement="Twice that of (xy - 1)^2 / 2 at the same point.",
        quantity="lambda_max",
        quantity_latex=r"\lambda_{\max}",
        expression=expression,
        arguments=(x, y),
        assumptions=("xy = 1",),
        reference="Zhu et al. 2023",
        route=FINITE,
        compare=compare,
    )


def quartic_edge() -> ClosedForm:
    total = sp.Symbol("s", positive=True)  # x^2 + y^2
    proven(quartic_sharpness().expression, 2 * total, [(x, sp.sqrt(total - y**2))])
    at_edge = sp.solve(2 * total - 2 / eta, total)[0]
    gap = proven((x**2 + y**2) ** 2 - (x**2 - y**2) ** 2, 4 * x**2 * y**2).subs(y, 1 / x)
    expression = sp.sqrt(proven(at_edge**2 - gap, eta**-2 - 4))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        rate = rng.uniform(0.05, 0.45)
        scalars = ScalarProduct([1.0], [1.0], depth=4)  # (x, x, y, y): the same network, with weights x^2 y^2

        def excess(point: float) -> float:
            quarter = scalars.sample_hessians([point, point, 1 / point, 1 / point])[0]
            return float(np.linalg.eigvalsh(quarter)[-1] - 2 / rate)

        root = brentq(excess, 1.0, 30.0, xtol=1e-14)
        return formula(rate), root**2 - root**-2

    return ClosedForm(
        name="quartic_edge",
        title="Minimum at the edge of stability of (1 - x^2 y^2)^2 / 4",
        statement="The minimum with sharpness 2 / eta, near which gradient descent from the sharp side ends.",
        quantity="x^2 - y^2",
        quantity_latex=r"x^2 - y^2",
        expression=expression,
        arguments=(eta,),
        assumptions=("xy = 1, x >= y > 0", "eta < 1/2"),
        reference="Zhu et al. 2023",
        route="bisection of the sharpness of a product of four scalars along (x, x, 1/x, 1/x)",
        compare=compare,
        tolerance=1e-9,
    )


def tanh_sample_hessian() -> ClosedForm:
    w1, w2 = sp.symbols("w_1 w_2", real=True)
    t, r = sp.symbols("t r", real=True)  # t = tanh(w1 x), r = w2 t - y
    derived = sp.hessian((w2 * sp.tanh(w1 * x) - y) ** 2 / 2, (w1, w2))
    derived = derived.subs(sp.tanh(w1 * x), t).subs(y, w2 * t - r)
    slope = sp.Matrix([w2 * x * (1 - t**2), t])
    bend = sp.Matrix([[-2 * w2 * x**2 * t * (1 - t**2), x * (1 - t**2)], [x * (1 - t**2), 0]])
    expression = proven(derived, slope * slope.T + r * bend)
    values = ((r, w2 * t - y), (t, sp.tanh(w1 * x)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        import mpmath

        first, second, data, label = rng.normal(size=4)
        truth = _numerical_hessian(lambda a, b: (b * mpmath.tanh(a * data) - label) ** 2 / 2, (first, second))
        return formula(first, second, data, label), truth

    return ClosedForm(
        name="tanh_sample_hessian",
        title="Hessian of one tanh unit on one sample",
        statement="A Gauss-Newton part of rank one, and the residual times the curvature of the unit.",
        quantity="H_i",
        quantity_latex="H_i",
        expression=expression,
        where=values,
        arguments=(w1, w2, x, y),
        assumptions=("l_i = (w_2 tanh(w_1 x) - y)^2 / 2 for a sample with input x and label y",),
        reference="this project",
        route="Hessian differentiated numerically in 40 digits",
        compare=compare,
    )


def tanh_sharpness() -> ClosedForm:
    w2 = sp.Symbol("w_2", real=True)
    square, cross = sp.symbols("h m", real=True)  # mean x^2, mean x y
    # averaging the sample Hessian over the data is linear: x^2 -> h, x y -> m
    w1 = sp.Symbol("w_1", real=True)
    sample = sp.hessian((w2 * sp.tanh(w1 * x) - y) ** 2 / 2, (w1, w2)).subs(w1, 0)
    hessian = sample.applyfunc(lambda entry: sp.expand(entry).subs(x * y, cross).subs(x**2, square))
    pair = eigenvalue_pair(hessian, w2**2 * square / 2, (w2**2 * square / 2) ** 2 + cross**2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        import mpmath

        data, labels, second = rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2.0)

        def loss(a: Any, b: Any) -> Any:
            return sum((b * mpmath.tanh(a * s) - t) ** 2 for s, t in zip(data, labels, strict=True)) / 12

        top = np.linalg.eigvalsh(_numerical_hessian(loss, (0.0, second)))[1]
        return formula(second, (data**2).mean(), (data * labels).mean()), top

    return ClosedForm(
        name="tanh_sharpness",
        title="Sharpness of one tanh unit on the line w_1 = 0",
        statement="It is w_2^2 mean(x^2) exactly when inputs and labels are uncorrelated, and more otherwise.",
        quantity="lambda_max",
        quantity_latex=r"\lambda_{\max}",
        expression=pair[1],
        arguments=(w2, square, cross),
        assumptions=(
            "l_i = (w_2 tanh(w_1 x_i) - y_i)^2 / 2",
            "w_1 = 0",
            "h is the mean of x_i^2, m that of x_i y_i",
        ),
        reference="this project",
        route=FINITE,
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    hyperbola_curvature,
    hyperbola_sharpness,
    quartic_curvature,
    quartic_sharpness,
    quartic_edge,
    tanh_sample_hessian,
    tanh_sharpness,
)
