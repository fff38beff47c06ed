r"""The gated quadratic: least squares whose curvature s is a parameter on a spring.

.. math:: l_i = \tfrac12s(a_i^\top x - e_i)^2 + \tfrac\kappa2(s - s^*)^2

in the parameters x and s, with the stiffness :math:`\kappa` and the target :math:`s^*`. Its curvature in one dimension,
where it rests without noise, and where SGD holds it in the limit of a soft spring: x has the stationary variance at the
present s, and the spring balances it. Source: this project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import GatedQuadratic
from ..closed_form import ClosedForm, Formula, proven
from .blocks import eigenvalue_pair
from .sharpening_plateaus import (
    SAMPLING,
    SLOW,
    c2,
    enumerated,
    enumerated_variance,
    eta,
    frozen_variance,
    h,
    instance,
    spread,
    tau,
)

LOSS = "l_i = s (a_i'x - e_i)^2 / 2 + kappa (s - s^*)^2 / 2"


def gate_curvature() -> ClosedForm:
    s, stiffness, x, a, e, target, q = sp.symbols("s kappa x a e s_star q", real=True)
    sample = sp.hessian(s * (a * x - e) ** 2 / 2 + stiffness * (s - target) ** 2 / 2, (x, s))
    # averaging over the data: a^2 -> h, (a x - e) a -> q
    mean = sample.applyfunc(lambda entry: sp.expand(entry.subs(e, a * x - q / a))).subs(a**2, h)
    expression = eigenvalue_pair(mean, (s * h + stiffness) / 2, ((s * h - stiffness) / 2) ** 2 + q**2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        directions, offsets = rng.normal(size=(5, 1)), rng.normal(size=5)
        stretch, theta = rng.uniform(0.1, 1.0), rng.uniform(0.5, 2.0, 2)
        model = GatedQuadratic(directions, offsets, stiffness=stretch, target=3.0)
        residual = directions[:, 0] * theta[0] - offsets
        values = formula(theta[1], stretch, (directions**2).mean(), (residual * directions[:, 0]).mean())
        return values.ravel(), np.linalg.eigvalsh(model.sample_hessians(theta).mean(axis=0))

    return ClosedForm(
        name="gate_curvature",
        title="Curvature of the gated quadratic",
        statement="The curvature s h of the quadratic and the stiffness kappa repel each other by the slope q.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=expression,
        arguments=(s, stiffness, h, q),
        assumptions=(LOSS, "one feature", "h is the mean of a_i^2, q that of (a_i x - e_i) a_i"),
        reference="this project",
        route="eigenvalues of the mean of the per-sample Hessians",
        compare=compare,
    )


def gate_rest() -> ClosedForm:
    s, stiffness, target, rest = sp.symbols("s kappa s_star r", real=True)
    force = sp.diff(s * rest / 2 + stiffness * (s - target) ** 2 / 2, s)
    expression = proven(sp.solve(force, s)[0], target - rest / (2 * stiffness))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        directions, offsets = rng.normal(size=(6, 2)), rng.normal(size=6)
        stretch, goal = rng.uniform(0.5, 1.0), rng.uniform(4.0, 6.0)
        model = GatedQuadratic(directions, offsets, stiffness=stretch, target=goal)
        theta = np.array([0.0, 0.0, goal])
        for _ in range(20):  # Newton
            gradient, hessian = model.sample_gradients(theta).mean(axis=0), model.sample_hessians(theta).mean(axis=0)
            theta = theta - np.linalg.solve(hessian, gradient)
        left = np.linalg.lstsq(directions, offsets, rcond=None)[1][0] / 6
        return formula(stretch, goal, left), theta[-1]

    return ClosedForm(
        name="gate_rest",
        title="Stationary point of the gated quadratic",
        statement="Without noise the curvature parameter rests below its target by what the least squares leave over.",
        quantity="s_rest",
        quantity_latex=r"s_{\mathrm{rest}}",
        expression=expression,
        arguments=(stiffness, target, rest),
        assumptions=(LOSS, "x at the least-squares solution", "r is the mean of its squared residuals"),
        reference="this project",
        route="Newton's method on the full loss",
        compare=compare,
    )


def gate_plateau() -> ClosedForm:
    rest, target, force, slope = sp.symbols("r s_star P B", real=True)
    s, stiffness = sp.symbols("s kappa", positive=True)
    second = h**2 + c2 * spread
    balance = 2 * stiffness * (target - s) - rest - h * frozen_variance()
    cleared = sp.expand(sp.cancel(balance * (2 * h - eta * s * second)))
    where = ((force, 2 * stiffness * target - rest), (slope, 4 * h * stiffness + eta * (second * force + h * c2 * tau)))
    lead, linear, constant = sp.Poly(cleared, s).all_coeffs()
    proven(-linear, where[1][1].subs(force, where[0][1]))
    proven(lead, 2 * stiffness * eta * second)
    proven(constant, 2 * h * where[0][1])
    root = (slope - sp.sqrt(slope**2 - 16 * h * stiffness * eta * second * force)) / (4 * stiffness * eta * second)
    proven(sp.expand(lead * root**2 - slope * root + 2 * h * force), sp.Integer(0))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.optimize import brentq

        inputs, labels, batches, (mean, variance, noise, coefficient) = instance(rng)
        h_b, m_b = enumerated(inputs, labels, batches)
        rate, spring, rest_level = 0.1, rng.uniform(0.05, 0.3), (labels**2).mean()
        edge = 2 * h_b.mean() / (rate * (h_b**2).mean())
        goal = edge * rng.uniform(0.8, 2.0) + rest_level / spring

        def excess(level: float) -> float:
            mean_square = rest_level + mean * enumerated_variance(level, rate, h_b, m_b)
            return spring * (goal - level) - mean_square / 2

        root = brentq(excess, 1e-4 * edge, edge * (1 - 1e-9), xtol=1e-13)
        return formula(rate, spring, goal, rest_level, mean, variance, noise, coefficient), root

    return ClosedForm(
        name="gate_plateau",
        title="Plateau of the gated quadratic",
        statement="Where the spring on the curvature s balances the oscillation of x, below the mean-square edge.",
        quantity="s_plateau",
        quantity_latex=r"s_{\mathrm{plateau}}",
        expression=root,
        where=(where[1], where[0]),
        arguments=(eta, stiffness, target, rest, h, spread, tau, c2),
        assumptions=(
            LOSS,
            "one dimension, the mean of a_i e_i is 0",
            SLOW,
            "2 kappa s^* > r, the mean of e_i^2",
            f"h and V are mean and variance of a_i^2, tau is the mean of a_i^2 e_i^2, {SAMPLING}",
        ),
        reference="this project",
        route="bisection of the drift with the stationary variance over all enumerated batches",
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    gate_curvature,
    gate_rest,
    gate_plateau,
)
