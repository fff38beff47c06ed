r"""The maps of momentum methods in one dimension: a step, and what it does to second moments.

.. math:: v^+ = \beta v + hx,\qquad x^+ = x - \eta v^+\ \text{(heavy ball)},\quad
          x^+ = x - \eta(hx + \beta v^+)\ \text{(Nesterov)}

in the convention of PyTorch, with a batch Hessian h of mean a and variance s^2. The map M of (E x^2, E xv, E v^2)
preserves the cone of second moments, so its spectral radius is an eigenvalue, and stability is lost exactly where
det(I - M) = 0 for the first time. Without noise the 2 x 2 step matrix is stable iff |trace| < 1 + det < 2 (Jury).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means, crossing, spectral_radius, square_map

eta, beta, a, s, h = sp.symbols("eta beta a s h", positive=True)
x, v, sigma = sp.symbols("x v sigma", real=True)
INDEPENDENT = "batches independent from step to step"
HESSIAN = "one dimension; the batch Hessian has mean a > 0 and variance s^2"
INTERPOLATION = "interpolating minimum"
MOMENTUM = "0 <= beta < 1"
HEAVY_BALL, NESTEROV = "heavy ball", "Nesterov"


def step(method: str, gradient: Any) -> tuple[Any, Any]:
    """(x+, v+) of a step."""
    buffer = beta * v + gradient
    return x - eta * (buffer if method == HEAVY_BALL else gradient + beta * buffer), buffer


def mean_over_h(expression: Any) -> Any:
    """E over the batch Hessian of a polynomial of degree two in h."""
    moments = (1, a, a**2 + s**2)
    return sum(value * moments[power] for (power,), value in sp.Poly(sp.expand(expression), h).terms())


def moment_matrix(method: str) -> Any:
    """The 3 x 3 map of (E x^2, E xv, E v^2) in a step."""
    after, buffer = step(method, h * x)
    rows = []
    for product in (after**2, after * buffer, buffer**2):
        polynomial = sp.Poly(mean_over_h(product), x, v)
        rows.append([polynomial.coeff_monomial(monomial) for monomial in (x**2, x * v, v**2)])
    return sp.Matrix(rows)


def stability_determinant(method: str) -> Any:
    """det(I - M): positive where second moments are stable."""
    return sp.factor((sp.eye(3) - moment_matrix(method)).det())


def deterministic_edge(method: str) -> Any:
    """The curvature at which -trace = 1 + det for the step matrix with s = 0, whose |det| is below 1 up to there."""
    matrix = sp.Matrix(step(method, a * x)).jacobian([x, v])
    (edge,) = sp.solve(sp.expand(1 + matrix.det() + matrix.trace()), a)
    return sp.factor(edge)


def step_matrices(method: str, hessians: FloatArray, step_size: float, momentum: float) -> FloatArray:
    """The matrices of (x, v) -> (x+, v+) for all batch Hessians, (batches, 2, 2), in the scale v / step_size."""
    curvature, ones = step_size * hessians, np.ones_like(hessians)
    buffer = np.stack([curvature, momentum * ones], axis=1)
    direct = np.stack([curvature, 0 * ones], axis=1)
    move = buffer if method == HEAVY_BALL else direct + momentum * buffer
    return np.stack([np.array([1.0, 0.0]) - move, buffer], axis=1)


def radius(method: str, hessians: FloatArray, chances: FloatArray, step_size: float, momentum: float) -> float:
    """The growth factor of second moments."""
    return spectral_radius(square_map(step_matrices(method, hessians, step_size, momentum), chances))


def random_batches(rng: np.random.Generator) -> tuple[FloatArray, FloatArray, float, float, float]:
    """(batch Hessians, probabilities, their mean, their standard deviation, beta)."""
    batches, chances = batch_means(rng.exponential(size=5), int(rng.integers(1, 4)))
    mean = float(chances @ batches)
    return batches, chances, mean, float(np.sqrt(chances @ (batches - mean) ** 2)), float(rng.uniform(0.05, 0.95))


def determinant_form(name: str, method: str, shown: Any) -> ClosedForm:
    """det(I - M), factored."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        batches, chances, mean, spread, momentum = random_batches(rng)
        step_size = float(rng.uniform(0.1, 2.0)) / mean
        matrices = step_matrices(method, batches, step_size, momentum)
        half = np.sqrt(0.5)
        symmetric = np.array([[1, 0, 0, 0], [0, half, half, 0], [0, 0, 0, 1]])
        truth = np.linalg.det(np.eye(3) - symmetric @ square_map(matrices, chances) @ symmetric.T)
        return formula(step_size, momentum, mean, spread), truth

    return ClosedForm(
        name=name,
        title=f"Stability determinant of {method} SGD",
        statement="Second moments are stable below the first step size where this vanishes, where the moment map has "
        "the eigenvalue 1.",
        quantity="det(I - M)",
        quantity_latex=r"\det(I - M)",
        expression=proven(stability_determinant(method), shown),
        arguments=(eta, beta, a, s),
        assumptions=(
            HESSIAN,
            INTERPOLATION,
            MOMENTUM,
            "M maps (E x^2, E xv, E v^2) to their values after a step",
            INDEPENDENT,
        ),
        reference="this project",
        route="determinant of the moment map over all batches",
        compare=compare,
        tolerance=1e-9,
    )


def edge_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    expression: Any,
    arguments: tuple[Any, ...],
    assumptions: tuple[str, ...],
    compare: Callable[[Formula, np.random.Generator], tuple[Any, Any]],
    route: str = "first step size where the spectral radius of the moment map over all batches is 1",
    reference: str = "this project",
) -> ClosedForm:
    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=arguments,
        assumptions=(HESSIAN, *assumptions, MOMENTUM, INDEPENDENT),
        reference=reference,
        route=route,
        compare=compare,
        tolerance=1e-8,
    )


def compare_edge(method: str) -> Callable[[Formula, np.random.Generator], tuple[Any, Any]]:
    """The largest stable step size against the first crossing of the enumerated spectral radius."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        batches, chances, mean, spread, momentum = random_batches(rng)
        start = 0.1 * (1 - momentum) * mean / float(chances @ batches**2)
        return formula(momentum, mean, spread), crossing(
            lambda size: radius(method, batches, chances, size, momentum), start
        )

    return compare


def compare_limit(method: str, noisy: bool) -> Callable[[Formula, np.random.Generator], tuple[Any, Any]]:
    """The critical sharpness at step size eta, for a steady batch Hessian or one that is almost all noise."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        size, momentum = float(rng.uniform(0.1, 2)), float(rng.uniform(0.05, 0.95))
        mean = 1e-3 * (1 - momentum) ** 2

        def deterministic(curvature: float) -> float:
            return radius(method, np.array([curvature / size]), np.array([1.0]), size, momentum)

        def sharpness(curvature: float) -> float:
            def growth(ratio: float) -> float:  # eta s^2 / a
                spread = np.sqrt(ratio * curvature)
                hessians = np.array([curvature - spread, curvature + spread]) / size
                return radius(method, hessians, np.array([0.5, 0.5]), size, momentum)

            return crossing(growth, 0.01 * (1 - momentum))

        if not noisy:
            return formula(size, momentum), crossing(deterministic, 0.01) / size
        # Two steps of Richardson's extrapolation to a = 0.
        fine, middle, coarse = sharpness(mean), sharpness(2 * mean), sharpness(4 * mean)
        return formula(size, momentum), (8 * fine - 6 * middle + coarse) / (3 * size)

    return compare


def limit_form(
    name: str, method: str, noisy: bool, derived: Any, shown: Any, statement: str, reference: str = "this project"
) -> ClosedForm:
    """An edge in units of curvature, for no noise or for nothing but noise."""
    sides = "noise-dominated" if noisy else "large-batch"
    form = edge_form(
        name,
        f"The {sides} edge of {method} SGD",
        statement,
        ("lim s^2/a", r"\lim_{a/s\to0} \frac{s^2}{a}") if noisy else ("lambda_max", r"\lambda_{\max}"),
        proven(derived, shown),
        (eta, beta),
        (INTERPOLATION, "the standard deviation s of the batch Hessian far above its mean a")
        if noisy
        else ("no batch noise, s = 0; lambda_max = a",),
        compare_limit(method, noisy),
        "where the spectral radius of the moment map is 1"
        + (", extrapolated to a mean of zero" if noisy else ", for a fixed Hessian"),
        reference,
    )
    return dataclasses.replace(form, tolerance=1e-6) if noisy else form


def noise_limit(method: str) -> Any:
    """s^2 / a at the edge as a goes to zero."""
    (variance,) = sp.solve(stability_determinant(method), s**2)
    return sp.cancel(variance / a).subs(a, 0)
