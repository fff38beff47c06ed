r"""The hyperbolic entropy of diagonal linear networks, and what gradient flow conserves in deeper ones.

.. math:: l_i = \tfrac12(x_i^\top w - y_i)^2, \qquad w_j = u_jv_j, \qquad q = \nabla_wL, \qquad c = |u^2 - v^2|

All formulas are for each coordinate, with its index left out. The entropy and the mirror map are

.. math:: \psi_c(w) = w\,\mathrm{arcsinh}\frac{2w}{c} - \tfrac12\sqrt{4w^2 + c^2} + \tfrac c2, \qquad
          \psi_c'(w) = \mathrm{arcsinh}\frac{2w}{c}.

Gradient flow on (u, v) is mirror flow, :math:`\frac{d}{dt}\psi_c'(w) = -2q`, since :math:`\dot w = -(u^2 + v^2)q` and
:math:`u^2 + v^2 = \sqrt{4w^2 + c^2}`. Deeper networks are :math:`w = u_1\cdots u_D` and :math:`w = u^D - v^D`. Sources:
Woodworth et al. 2020; Ghai, Hazan and Singer 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import DiagonalNetwork
from ..closed_form import ClosedForm, Formula, proven

w, time, q = sp.symbols("w t q", real=True)
c, u, v, u0, v0 = sp.symbols("c u v u_0 v_0", positive=True)
depth = sp.Symbol("D", integer=True, positive=True)
ENTROPY = "Woodworth et al. 2020; Ghai, Hazan and Singer 2020"
FLOW = "integration of gradient flow on a network by a Runge-Kutta method of order 8"


def _flow(network: DiagonalNetwork, theta: Any) -> Any:
    """Parameters after gradient flow for a time of 0.5."""
    from scipy.integrate import solve_ivp

    def velocity(_: float, point: Any) -> Any:
        return -network.sample_gradients(point).mean(axis=0)

    return solve_ivp(velocity, (0.0, 0.5), theta, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]


def hyperbolic_entropy() -> ClosedForm:
    position = sp.Symbol("s", positive=True)
    shown = w * sp.asinh(2 * w / c) - sp.sqrt(4 * w**2 + c**2) / 2 + c / 2
    derived = sp.integrate(sp.asinh(2 * position / c), (position, 0, w))
    proven(sp.diff(derived, w), sp.diff(shown, w))
    proven(derived.subs(w, 0), shown.subs(w, 0))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.integrate import quad

        point, imbalance = rng.normal(), rng.uniform(0.2, 2.0)
        return formula(point, imbalance), quad(lambda s: np.arcsinh(2 * s / imbalance), 0, point, epsabs=1e-13)[0]

    return ClosedForm(
        name="hyperbolic_entropy",
        title="Hyperbolic entropy",
        statement="The potential whose gradient is the mirror map: like |w| log(1/c) for small imbalance c, like "
        "w^2 / c for large c.",
        quantity="psi_c(w)",
        quantity_latex=r"\psi_c(w)",
        expression=shown,
        arguments=(w, c),
        assumptions=("c = |u^2 - v^2| > 0", "one coordinate; the potential is the sum over coordinates"),
        reference=ENTROPY,
        route="quadrature of the mirror map",
        compare=compare,
    )


def mirror_metric() -> ClosedForm:
    weight, imbalance = u * v, u**2 - v**2
    proven(4 * weight**2 + imbalance**2, (u**2 + v**2) ** 2)
    hessian = sp.diff(hyperbolic_entropy().expression, w, 2)
    total = sp.Symbol("a", positive=True)  # u^2 + v^2
    expression = proven(sp.simplify(hessian).subs(c, sp.sqrt(total**2 - 4 * w**2)), 2 / total).subs(total, u**2 + v**2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        p, m = rng.uniform(0.2, 2.0, 2)
        mirror = np.arcsinh(2 * (p * m + 1e-30j) / abs(p**2 - m**2))  # complex step
        return formula(p, m), mirror.imag / 1e-30

    return ClosedForm(
        name="mirror_metric",
        title="Metric of the mirror flow",
        statement="The inverse metric is half of J J' = u^2 + v^2, so gradient flow on (u, v) is mirror flow on w.",
        quantity="psi_c''(w)",
        quantity_latex=r"\psi_c''(w)",
        expression=expression,
        arguments=(u, v),
        assumptions=("w = u v, c = |u^2 - v^2| > 0",),
        reference=ENTROPY,
        route="complex-step derivative of the mirror map",
        compare=compare,
    )


def mirror_flow() -> ClosedForm:
    velocity = sp.Matrix([-v * q, -u * q])
    inside = 2 * u * v / (u**2 - v**2)
    moving = sp.diff(inside, u) * velocity[0] + sp.diff(inside, v) * velocity[1]
    # arcsinh'(z) = 1/sqrt(1 + z^2), and 1 + z^2 is a square
    proven(1 + inside**2, ((u**2 + v**2) / (u**2 - v**2)) ** 2)
    expression = proven(moving * (u**2 - v**2) / (u**2 + v**2), -2 * q)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        network, p, m = DiagonalNetwork(rng.normal(size=(4, 3)), rng.normal(size=4)), *rng.uniform(0.2, 2.0, (2, 3))
        p += m  # u > v
        theta = np.concatenate([p, m])
        slopes = network.residuals(theta) @ network.inputs / 4
        moved = theta - 1e-30j * np.concatenate([m * slopes, p * slopes])  # complex step along the flow
        mirror = np.arcsinh(2 * moved[:3] * moved[3:] / (moved[:3] ** 2 - moved[3:] ** 2))
        return formula(slopes), mirror.imag / 1e-30

    return ClosedForm(
        name="mirror_flow",
        title="Gradient flow as mirror flow",
        statement="Along gradient flow on w = u v the mirror map moves by minus twice the slope, so it stays in the "
        "span of the data.",
        quantity="d/dt arcsinh(2 w / c)",
        quantity_latex=r"\frac{d}{dt}\,\mathrm{arcsinh}\frac{2w}{c}",
        expression=expression,
        arguments=(q,),
        assumptions=("w = u v, c = u^2 - v^2 > 0", "q is the gradient with respect to w"),
        reference=ENTROPY,
        route="complex-step derivative of the mirror map along the flow",
        compare=compare,
    )


def layer_balance() -> ClosedForm:
    layers = sp.symbols("u_1:4", real=True)
    velocities = [-sp.diff(sp.prod(layers), layer) * q for layer in layers]
    change = sum(
        sp.diff(layers[0] ** 2 - layers[1] ** 2, layer) * s for layer, s in zip(layers, velocities, strict=True)
    )
    proven(change, sp.Integer(0))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        network = DiagonalNetwork(rng.normal(size=(4, 3)), rng.normal(size=4), depth=3)
        theta = rng.uniform(0.5, 1.5, 9)
        end = _flow(network, theta)
        return formula(theta[:3], theta[3:6]), end[:3] ** 2 - end[3:6] ** 2

    return ClosedForm(
        name="layer_balance",
        title="Balance of two layers under gradient flow",
        statement="In a product of any number of factors gradient flow keeps the difference of their squares.",
        quantity="u_k(t)^2 - u_l(t)^2",
        quantity_latex=r"u_k(t)^2 - u_l(t)^2",
        expression=u0**2 - v0**2,
        arguments=(u0, v0),
        assumptions=("w = u_1 ... u_D", "u_0 and v_0 are the values of u_k and u_l at time 0", "gradient flow"),
        reference=ENTROPY,
        route=FLOW,
        compare=compare,
    )


def difference_velocities(power: Any) -> dict[Any, Any]:
    """u' and v' under gradient flow on w = u^power - v^power, by the slope q."""
    return {factor: -sp.diff(u**power - v**power, factor) * q for factor in (u, v)}


def difference_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    expression: Any,
    arguments: tuple[Any, ...],
    powers: tuple[int, ...],
    kept: Callable[[Any, Any, int], Any],
) -> ClosedForm:
    """What gradient flow keeps in w = u^D - v^D; kept(u, v, D) is its value, by which the network's end is read."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        power = int(rng.choice(powers))
        network = DiagonalNetwork(rng.normal(size=(4, 3)), rng.normal(size=4), depth=power, form="difference")
        theta = rng.uniform(0.5, 1.0, 6)
        end = _flow(network, theta)
        numbers = [float(power)] if depth in arguments else []
        return formula(theta[:3], theta[3:], *numbers), kept(end[:3], end[3:], power)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=arguments,
        assumptions=("u, v > 0; u_0, v_0 their values at time 0", "gradient flow")
        + (("D at least 3",) if depth in arguments else ()),
        reference="Woodworth et al. 2020",
        route=FLOW,
        compare=compare,
    )


def difference_product_balance() -> ClosedForm:
    change = sum(sp.diff(u * v, factor) * speed for factor, speed in difference_velocities(2).items())
    proven(change, sp.Integer(0))
    return difference_form(
        "difference_product_balance",
        "What gradient flow keeps in w = u^2 - v^2",
        "Gradient flow keeps the product u v.",
        ("u(t) v(t)", r"u(t)\,v(t)"),
        u0 * v0,
        (u0, v0),
        (2,),
        lambda p, m, power: p * m,
    )


def difference_balance() -> ClosedForm:
    power = 2 - depth
    speeds = difference_velocities(depth)
    change = sum(sp.diff(u**power + v**power, factor) * speed for factor, speed in speeds.items())
    proven(sp.powsimp(sp.expand(change)), sp.Integer(0))
    return difference_form(
        "difference_balance",
        "What gradient flow keeps in w = u^D - v^D",
        "Gradient flow keeps the sum of the powers 2 - D of u and v.",
        ("u(t)^(2-D) + v(t)^(2-D)", r"u(t)^{2-D} + v(t)^{2-D}"),
        u0**power + v0**power,
        (u0, v0, depth),
        (3, 4),
        lambda p, m, order: p ** (2.0 - order) + m ** (2.0 - order),
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    hyperbolic_entropy,
    mirror_metric,
    mirror_flow,
    layer_balance,
    difference_product_balance,
    difference_balance,
)
