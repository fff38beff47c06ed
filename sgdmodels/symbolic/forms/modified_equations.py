r"""Modified flows: which flow a step of gradient descent or an epoch of SGD follows, to which order in the step size.

.. math:: \dot\theta = -\nabla\Big(L + \frac\eta4|\nabla L|^2\Big), \qquad
          \dot\theta = -\nabla\Big(L + \frac{\eta}{4K}\sum_{k=1}^K|\nabla L_k|^2\Big)

The first is compared with a step of gradient descent after the time :math:`\eta`, the second with an epoch of K batches
with losses :math:`L_k` in random order after the time :math:`K\eta`, by Lie series; the formulas below are the first
terms in which they differ, or the last in which they agree. Sources: Barrett and Dherin 2021; Smith et al. 2021.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven

eta = sp.Symbol("eta", positive=True)
slope, bend, third, fourth = sp.symbols("g h t f", real=True)  # derivatives of the loss at the start
DIGITS, SMALL = 60, "1e-15"  # a step so small that the next order of the difference is lost in double precision
FLOW = "a step and the flow at a step size of 1e-15, in 60 digits"
BARRETT, SMITH = "Barrett and Dherin 2021", "Smith et al. 2021"


def lie_series(
    quantity: Any, drift: Sequence[Any], variables: Sequence[Any], time: Any = eta, variance: Any = 0, order: int = 3
) -> Any:
    """E[quantity] from the origin after `time` (proportional to eta) of a flow or SDE, up to eta^order."""
    term, *fields = (sp.Poly(part, eta, *variables) for part in (quantity, *drift))
    lowered = 2 if variance else 1
    diffusion = sp.Poly(sp.sympify(variance) / 2, eta, *variables)
    total: Any = 0
    for k in range(order + 1):
        # time^k is taken already, and each application to come lowers the degree by `lowered` at most
        left = order - k
        kept = {p: value for p, value in term.terms() if p[0] <= left and sum(p[1:]) <= lowered * left}
        term = sp.Poly(kept or 0, eta, *variables)
        at_origin = sum(value * eta ** powers[0] for powers, value in kept.items() if not any(powers[1:]))
        total += at_origin * time**k / sp.factorial(k)
        moved = sp.Poly(0, eta, *variables)
        for field, z in zip(fields, variables, strict=True):
            moved += field * term.diff(z) + diffusion * term.diff(z, z)
        term = moved
    return sp.expand(total)


def _runge_kutta(field: Callable[[Any], Any], start: Any, step: Any) -> Any:
    """A step of order 4, whose error of order step^5 is far below what is compared."""
    k1 = field(start)
    k2 = field(start + k1 * step / 2)
    k3 = field(start + k2 * step / 2)
    k4 = field(start + k3 * step)
    return start + (k1 + 2 * k2 + 2 * k3 + k4) * step / 6


def _one_dimension(regularised: bool) -> Any:
    """Displacement by the flow, on a loss given by its derivatives at the start."""
    x = sp.Symbol("x")
    loss = slope * x + bend * x**2 / 2 + third * x**3 / 6 + fourth * x**4 / 24
    modified = loss + (eta / 4) * sp.diff(loss, x) ** 2 if regularised else loss
    return lie_series(x, [-sp.diff(modified, x)], [x])


def _exponential_loss(rng: np.random.Generator, dimension: int) -> tuple[Any, Any]:
    """The derivatives of a sum of three exponentials of linear functions, as a function of order and point."""
    directions, sizes = rng.normal(size=(3, dimension)), rng.uniform(0.5, 1.5, 3)

    def derivative(order: int, point: Any) -> Any:
        import mpmath

        total: Any = 0
        for direction, size in zip(directions, sizes, strict=True):
            exact = np.array([mpmath.mpf(float(entry)) for entry in direction])
            tensor: Any = float(size) * mpmath.exp(exact @ point)
            for _ in range(order):
                tensor = np.multiply.outer(tensor, exact)
            total = total + tensor
        return total

    return derivative, rng.normal(size=dimension)


def _flow_difference(derivative: Any, start: Any, regularised: bool, order: int) -> Any:
    """(step of GD - flow) / eta^order, in high precision."""
    import mpmath

    with mpmath.workdps(DIGITS):
        step = mpmath.mpf(SMALL)
        point = np.array([mpmath.mpf(float(entry)) for entry in start])

        def field(z: Any) -> Any:
            gradient = derivative(1, z)
            return -gradient - (step / 2) * (derivative(2, z) @ gradient) if regularised else -gradient

        difference = point - step * derivative(1, point) - _runge_kutta(field, point, step)
        return np.array([float(entry) for entry in difference / step**order])


def gradient_flow_error() -> ClosedForm:
    derived = (-eta * slope - _one_dimension(regularised=False)).expand().coeff(eta, 2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        derivative, start = _exponential_loss(rng, 1)
        values = (float(derivative(order, start).item()) for order in (1, 2))
        return np.atleast_1d(formula(*values)), _flow_difference(derivative, start, False, 2)

    return ClosedForm(
        name="gradient_flow_error",
        title="Error of gradient flow in a step",
        statement="Gradient flow misses a step of GD at second order, by half the gradient of |L'|^2 / 2.",
        quantity="lim (step of GD - gradient flow) / eta^2",
        quantity_latex=r"\lim_{\eta\to0}\frac{\theta_{GD} - \theta(\eta)}{\eta^2}",
        expression=proven(derived, -slope * bend / 2),
        arguments=(slope, bend),
        assumptions=("one dimension", "loss with derivatives L' = g, L'' = h at the start", "same start"),
        reference=BARRETT,
        route=FLOW,
        compare=compare,
    )


def modified_flow_error() -> ClosedForm:
    difference = (-eta * slope - _one_dimension(regularised=True)).expand()
    proven(sp.Matrix([difference.coeff(eta, 1), difference.coeff(eta, 2)]), sp.zeros(2, 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        derivative, start = _exponential_loss(rng, 1)
        values = (float(derivative(order, start).item()) for order in (1, 2, 3))
        return np.atleast_1d(formula(*values)), _flow_difference(derivative, start, True, 3)

    return ClosedForm(
        name="modified_flow_error",
        title="Error of the modified flow in a step",
        statement="The flow on L + (eta/4) L'^2 follows a step of GD to second order; this is what it misses next.",
        quantity="lim (step of GD - modified flow) / eta^3",
        quantity_latex=r"\lim_{\eta\to0}\frac{\theta_{GD} - \tilde\theta(\eta)}{\eta^3}",
        expression=proven(difference.coeff(eta, 3), -slope * bend**2 / 3 - slope**2 * third / 12),
        arguments=(slope, bend, third),
        assumptions=("one dimension", "loss with derivatives L' = g, L'' = h, L''' = t at the start", "same start"),
        reference="this project, after " + BARRETT,
        route=FLOW,
        compare=compare,
    )


def modified_flow_error_vector() -> ClosedForm:
    g, h, t = sp.IndexedBase("g"), sp.IndexedBase("H"), sp.IndexedBase("T")
    j, k, l = sp.symbols("j k l", integer=True)  # noqa: E741
    d = sp.Symbol("d", integer=True, positive=True)
    ends = [(k, 0, d - 1), (l, 0, d - 1)]
    shown = -sp.Sum(h[j, k] * h[k, l] * g[l], *ends) / 3 - sp.Sum(t[j, k, l] * g[k] * g[l], *ends) / 12
    # two dimensions, in coordinates that diagonalise the Hessian: the sums are invariant under rotations
    theta, axes = sp.symbols("theta_0 theta_1"), range(2)
    slopes, bends, cubes = sp.symbols("g_0:2"), sp.symbols("h_0:2"), sp.symbols("t_0:4")
    loss = sum(slopes[i] * theta[i] + bends[i] * theta[i] ** 2 / 2 for i in axes)
    loss += sum(cubes[sum(i)] * sp.prod(theta[a] for a in i) for i in itertools.product(axes, repeat=3)) / 6
    modified = loss + eta / 4 * sum(sp.diff(loss, z) ** 2 for z in theta)
    drift = [-sp.diff(modified, z) for z in theta]
    values = {g[i]: slopes[i] for i in axes} | {h[i, o]: bends[i] * int(i == o) for i in axes for o in axes}
    values |= {t[i]: cubes[sum(i)] for i in itertools.product(axes, repeat=3)}
    for i in axes:
        difference = sp.expand(-eta * slopes[i] - lie_series(theta[i], drift, theta))
        proven(sp.Matrix([difference.coeff(eta, 1), difference.coeff(eta, 2)]), sp.zeros(2, 1))
        proven(difference.coeff(eta, 3), shown.subs({d: 2, j: i}).doit().subs(values))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        derivative, start = _exponential_loss(rng, 3)
        tensors = [np.asarray(derivative(order, start), dtype=float) for order in (1, 2, 3)]
        return [formula(i, *tensors, 3) for i in range(3)], _flow_difference(derivative, start, True, 3)

    return ClosedForm(
        name="modified_flow_error_vector",
        title="Error of the modified flow in a step, in several dimensions",
        statement="-(H^2 g / 3 + T[g, g] / 12): the flow on L + (eta/4) |grad L|^2 follows a step to second order.",
        quantity="lim (step of GD - modified flow)[j] / eta^3",
        quantity_latex=r"\lim_{\eta\to0}\frac{(\theta_{GD} - \tilde\theta(\eta))_j}{\eta^3}",
        expression=shown,
        arguments=(j, g, h, t, d),
        assumptions=(
            "smooth loss with gradient g, Hessian H and third derivatives T at the start; d parameters, j one of them",
            "theta_GD and the flow after the time eta have the same start",
        ),
        reference="this project, after " + BARRETT,
        route=FLOW,
        compare=compare,
    )


def reshuffled_epoch() -> ClosedForm:
    g, h = sp.IndexedBase("g"), sp.IndexedBase("H")
    j, k, l = sp.symbols("j k l", integer=True)  # noqa: E741
    count, d = sp.symbols("K d", integer=True, positive=True)
    batches, parts = (k, 0, count - 1), (l, 0, d - 1)
    full = sp.Sum(sp.Sum(h[k, j, l], batches) * sp.Sum(g[k, l], batches), parts)
    shown = (full - sp.Sum(h[k, j, l] * g[k, l], batches, parts)) / 2
    # three batches, two parameters; the first two orders see no derivative beyond the Hessian
    theta, small, axes = sp.symbols("theta_0 theta_1"), range(3), range(2)
    slopes, bends = sp.symbols("g_0:6"), sp.symbols("h_0:9")
    pulls = [[slopes[2 * b + i] + sum(bends[3 * b + i + j] * theta[j] for j in axes) for i in axes] for b in small]
    mean: Any = sp.zeros(2, 1)
    for order in itertools.permutations(small):
        first, second = [sp.Integer(0)] * 2, [sp.Integer(0)] * 2  # coefficients of eta and eta^2 in the position
        for batch in order:
            at = dict(zip(theta, first, strict=True))
            second = [second[i] - pulls[batch][i].subs(at) + slopes[2 * batch + i] for i in axes]
            first = [first[i] - slopes[2 * batch + i] for i in axes]
        mean += sp.Matrix(second) / 6
    potential = [slopes[2 * b] * theta[0] + slopes[2 * b + 1] * theta[1] for b in small]
    quadratic = [sum(bends[3 * b + i + j] * theta[i] * theta[j] for i in axes for j in axes) / 2 for b in small]
    loss = (sum(potential) + sum(quadratic)) / 3
    modified = loss + eta / 12 * sum(pull**2 for batch in pulls for pull in batch)
    drift = [-sp.diff(modified, z) for z in theta]
    flow = sp.Matrix([lie_series(z, drift, theta, 3 * eta, order=2).coeff(eta, 2) for z in theta])
    values = {g[b, i]: slopes[2 * b + i] for b in small for i in axes}
    values |= {h[b, i, j]: bends[3 * b + i + j] for b in small for i in axes for j in axes}
    closed = sp.Matrix([shown.subs({count: 3, d: 2, j: i}).doit().subs(values) for i in axes])
    proven(mean, closed)
    proven(flow, closed)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        import mpmath

        losses = [_exponential_loss(rng, 2)[0] for _ in range(3)]
        start = rng.normal(size=2)
        slopes, bends = (np.array([f(order, start) for f in losses], dtype=float) for order in (1, 2))
        with mpmath.workdps(DIGITS):
            step, point = mpmath.mpf(SMALL), np.array([mpmath.mpf(float(entry)) for entry in start])

            def field(z: Any) -> Any:
                return -sum(f(1, z) + step / 2 * (f(2, z) @ f(1, z)) for f in losses) / 3

            ends = []
            for order in itertools.permutations(losses):
                moving = point
                for f in order:
                    moving = moving - step * f(1, moving)
                ends.append(moving)
            first = point - step * sum(f(1, point) for f in losses)
            routes = [sum(ends) / 6, _runge_kutta(field, point, 3 * step)]
            truth = [[float(value) for value in (route - first) / step**2] for route in routes]
        values = [formula(i, slopes, bends, 3, 2) for i in range(2)]
        return [values, values], truth

    return ClosedForm(
        name="reshuffled_epoch",
        title="Mean of an epoch in random order, and its flow",
        statement="The second-order part of an epoch of SGD averaged over the order of its batches; that of the flow "
        "on L + (eta/4K) sum_k |grad L_k|^2 is the same, so the two agree up to eta^3.",
        quantity="lim (E[epoch of SGD] - start + eta Sum_k g_k)[j] / eta^2",
        quantity_latex=r"\lim_{\eta\to0}\frac{(\mathbb{E}\theta_K - \theta_0 + \eta\sum_kg_k)_j}{\eta^2}",
        expression=shown,
        arguments=(j, g, h, count, d),
        assumptions=(
            "K batches with gradients g_k and Hessians H_k at the start theta_0, theta_K after one step on each",
            "every order equally likely; d parameters, j one of them",
        ),
        reference=SMITH,
        route="all orders of three batches, and the flow, at a step size of 1e-15 in 60 digits",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    gradient_flow_error,
    modified_flow_error,
    modified_flow_error_vector,
    reshuffled_epoch,
)
