r"""Largest eigenvalues of the mean Hessians of the built-in losses, where they have a closed form.

Where the residuals vanish the Hessian of a product of factors has rank one in every feature; elsewhere two factors give
a 2 x 2 block. The blocks come from the definitions; nothing else is needed. Whitened data are in
`loss_whitened`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import (
    DiagonalNetwork,
    GatedQuadratic,
    LeastSquares,
    Quadratics,
    ScalarProduct,
    SharpeningLeastSquares,
)
from ..closed_form import ClosedForm, proven
from .loss_whitened import linear_network_sharpness, sharpening_least_squares_sharpness
from .mean_hessians import (
    SAMPLES,
    Case,
    calculus_of,
    h,
    larger,
    line,
    mean_hessian,
    of_feature,
    orthogonal,
    q,
    rank_one,
    sharpness_form,
)

u, v, a, s = sp.symbols("u v a s", real=True)
kappa = sp.Symbol("kappa", real=True)
ORTHOGONAL = "orthogonal data, X'X/n = diag(h)"
MAXIMUM = "Every feature has a block of its own, and the largest of their top eigenvalues counts."


def least_squares_sharpness(name: str) -> ClosedForm:
    h1, h2, h3 = sp.symbols("h_11 h_12 h_22", real=True)
    matrix = mean_hessian(calculus_of("least_squares"), sp.Matrix([[h1, h2], [h2, h3]]), sp.zeros(2, 1))
    expression = larger(matrix, (h1 + h3) / 2, ((h1 - h3) / 2) ** 2 + h2**2)

    def draw(rng: np.random.Generator) -> Case:
        inputs = rng.normal(size=(SAMPLES, 2))
        second = inputs.T @ inputs / SAMPLES
        model = LeastSquares(inputs, rng.normal(size=SAMPLES))
        return model, rng.normal(size=2), (second[0, 0], second[0, 1], second[1, 1])

    return sharpness_form(
        name, "Sharpness of least squares with two features",
        "The same at all parameters: that of the second moment of the data.",
        expression, (h1, h2, h3), ("two features", "h_jk is the mean of x_ij x_ik"), draw,
    )  # fmt: skip


def least_squares_orthogonal_sharpness(name: str) -> ClosedForm:
    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        return LeastSquares(inputs, rng.normal(size=SAMPLES)), rng.normal(size=3), (curvatures,)

    expression, arrays = of_feature(proven(line("least_squares")[0], h), h)
    return sharpness_form(
        name, "Sharpness of least squares on orthogonal data", "The largest mean square of a feature.",
        expression, arrays, (ORTHOGONAL,), draw,
    )  # fmt: skip


def product_block_sharpness(name: str) -> ClosedForm:
    """w = u v: one feature, or orthogonal data."""
    scalar = name.startswith("scalar")
    radius = (h * (u**2 - v**2) / 2) ** 2 + (h * u * v + q) ** 2
    expression = larger(line("scalar_product" if scalar else "diagonal_network"), h * (u**2 + v**2) / 2, radius)
    arguments: tuple[Any, ...] = (u, v, h, q)
    if not scalar:
        expression, arguments = of_feature(expression, *arguments)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng, 1 if scalar else 3)
        targets, theta = rng.normal(size=SAMPLES), rng.normal(size=2 * len(curvatures))
        model = ScalarProduct(inputs[:, 0], targets) if scalar else DiagonalNetwork(inputs, targets)
        values = (*np.split(theta, 2), curvatures, model.residuals(theta) @ inputs / SAMPLES)
        return model, theta, tuple(float(value[0]) for value in values) if scalar else values

    return sharpness_form(
        name, "Sharpness of f(x) = u v x" if scalar else "Sharpness of w = u v on orthogonal data",
        "The larger eigenvalue of the 2 x 2 Hessian." if scalar else MAXIMUM, expression, arguments,
        ("h is the mean of x_i^2, q that of r_i x_i",) if scalar else (ORTHOGONAL, "q = X'r/n"), draw,
    )  # fmt: skip


def difference_block_sharpness(name: str) -> ClosedForm:
    """w = u^2 - v^2 on orthogonal data."""
    radius = (2 * h * (u**2 - v**2) + 2 * q) ** 2 + 16 * h**2 * u**2 * v**2
    expression, arrays = of_feature(larger(line("difference_network"), 2 * h * (u**2 + v**2), radius), u, v, h, q)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        model, theta = DiagonalNetwork(inputs, rng.normal(size=SAMPLES), form="difference"), rng.normal(size=6)
        return model, theta, (*np.split(theta, 2), curvatures, model.residuals(theta) @ inputs / SAMPLES)

    return sharpness_form(
        name, "Sharpness of w = u^2 - v^2 on orthogonal data",
        MAXIMUM, expression, arrays, (ORTHOGONAL, "q = X'r/n"), draw,
    )  # fmt: skip


def factors_block_sharpness(name: str) -> ClosedForm:
    """Any number of factors, at interpolation: derived for the number that the loss has."""
    prefix, depth = ("fourfold_product", 4) if name.startswith("fourfold") else ("cubic_network", 3)
    factors = sp.symbols(f"u1:{depth + 1}", real=True)
    shown = h * sum(sp.prod(factors) ** 2 / f**2 for f in factors)
    expression = rank_one(line(prefix, sp.S.Zero), shown)
    arguments = (*factors, h)
    if depth == 3:
        expression, arguments = of_feature(expression, *arguments)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng, 1 if depth == 4 else 3)
        layers = rng.normal(size=(depth, len(curvatures)))
        targets = inputs @ layers.prod(axis=0)
        model = ScalarProduct(inputs[:, 0], targets, 4) if depth == 4 else DiagonalNetwork(inputs, targets, 3)
        return model, layers.ravel(), (*layers.ravel(), curvatures[0]) if depth == 4 else (*layers, curvatures)

    return sharpness_form(
        name, f"Sharpness of a product of {depth} factors at interpolation",
        "Each factor adds the square of what multiplies it.", expression, arguments,
        ("interpolation", "h is the mean of x_i^2" if depth == 4 else ORTHOGONAL), draw,
    )  # fmt: skip


def power_block_sharpness(name: str) -> ClosedForm:
    """w = u^D - v^D with the depth as a symbol."""
    p, r = sp.symbols("u v", positive=True)
    depth = sp.Symbol("D", real=True)
    matrix = line("power_network", sp.S.Zero).xreplace({u: p, v: r})
    derived = rank_one(matrix, h * depth**2 * (p ** (2 * depth - 2) + r ** (2 * depth - 2)))
    expression, arrays = of_feature(derived, p, r, h)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        power, theta = int(rng.integers(2, 6)), rng.uniform(0.4, 1.3, 6)
        first, second = np.split(theta, 2)
        model = DiagonalNetwork(inputs, inputs @ (first**power - second**power), power, "difference")
        return model, theta, (first, second, curvatures, float(power))

    return sharpness_form(
        name, "Sharpness of w = u^D - v^D at interpolation", "Each feature has one curved direction.", expression,
        (*arrays, depth), ("interpolation", ORTHOGONAL, "u, v > 0", "D at least 2"), draw,
    )  # fmt: skip


def sharpening_least_squares_rest_sharpness(name: str) -> ClosedForm:
    top, low = sp.symbols("lambda_1 lambda_2", positive=True)
    matrix = mean_hessian(calculus_of("sharpening_least_squares"), sp.diag(top, low), sp.zeros(2, 1))
    resting = matrix.xreplace({sp.IndexedBase("u", real=True)[k]: sp.S.Zero for k in (0, 1)})
    proven(resting, sp.diag(v**2 * top, v**2 * low, 0))

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        scale = rng.normal()
        targets = rng.normal(size=SAMPLES)
        targets -= inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
        return SharpeningLeastSquares(inputs, targets, 0.3), np.array([0, 0, 0, scale]), (scale, curvatures.max())

    return sharpness_form(
        name, "Sharpness of PSL at u = 0", "That of the data times v^2, which the drift raises.",
        proven(resting[0, 0], v**2 * top), (v, top), ("X'y = 0", "lambda_1 is the largest eigenvalue of X'X/n"), draw,
    )  # fmt: skip


def gated_quadratic_sharpness(name: str) -> ClosedForm:
    expression = larger(line("gated_quadratic"), (h * s + kappa) / 2, ((h * s - kappa) / 2) ** 2 + q**2)

    def draw(rng: np.random.Generator) -> Case:
        a_, e, theta = rng.normal(size=(SAMPLES, 1)), rng.normal(size=SAMPLES), rng.uniform(0.2, 2.0, 2)
        model = GatedQuadratic(a_, e, float(theta[0]), 2.0)
        slope = (a_[:, 0] * theta[0] - e) @ a_[:, 0] / SAMPLES
        return model, theta, (theta[1], theta[0], np.mean(a_**2), slope)

    return sharpness_form(
        name, "Sharpness of the gated quadratic with one direction", "The larger eigenvalue of a 2 x 2 matrix.",
        expression, (s, kappa, h, q), ("one feature", "h is the mean of a_i^2, q that of rho_i a_i"), draw,
    )  # fmt: skip


def gated_quadratic_rest_sharpness(name: str) -> ClosedForm:
    top, low = sp.symbols("lambda_1 lambda_2", positive=True)
    matrix = mean_hessian(calculus_of("gated_quadratic"), sp.diag(top, low), sp.zeros(2, 1))
    proven(matrix, sp.diag(s * top, s * low, kappa))

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        targets = rng.normal(size=SAMPLES)
        point = np.linalg.lstsq(inputs, targets, rcond=None)[0]
        stiffness, scale = rng.uniform(0.1, 3.0, 2)
        model = GatedQuadratic(inputs, targets, stiffness, 2.0)
        return model, np.append(point, scale), (scale, stiffness, curvatures.max())

    return sharpness_form(
        name, "Sharpness of the gated quadratic at rest", "That of the data times s, or the stiffness of the gate.",
        sp.Max(matrix[0, 0], matrix[2, 2]), (s, kappa, top),
        ("the mean of rho_i a_i is zero", "s > 0", "lambda_1 is the largest eigenvalue of the mean of a_i a_i'"), draw,
    )  # fmt: skip


def quadratics_sharpness(name: str) -> ClosedForm:
    h1, h2, h3 = sp.symbols("h_11 h_12 h_22", real=True)
    expression = larger(sp.Matrix([[h1, h2], [h2, h3]]), (h1 + h3) / 2, ((h1 - h3) / 2) ** 2 + h2**2)

    def draw(rng: np.random.Generator) -> Case:
        matrices = rng.normal(size=(SAMPLES, 2, 2))
        matrices = matrices + matrices.transpose(0, 2, 1)
        mean = matrices.mean(axis=0)
        model = Quadratics(matrices, rng.normal(size=(SAMPLES, 2)))
        return model, rng.normal(size=2), (mean[0, 0], mean[0, 1], mean[1, 1])

    return sharpness_form(
        name, "Sharpness of quadratics in two dimensions", "The larger eigenvalue of the mean Hessian everywhere.",
        expression, (h1, h2, h3), ("two dimensions", "h_jk are the entries of the mean Hessian"), draw,
    )  # fmt: skip


SHARPNESS: dict[str, dict[str, Callable[[str], ClosedForm]]] = {
    "least_squares": {
        "least_squares_orthogonal_sharpness": least_squares_orthogonal_sharpness,
        "least_squares_sharpness": least_squares_sharpness,
    },
    "diagonal_network": {
        "diagonal_network_sharpness": product_block_sharpness,
        "cubic_network_sharpness": factors_block_sharpness,
        "difference_network_sharpness": difference_block_sharpness,
        "power_network_sharpness": power_block_sharpness,
    },
    "scalar_product": {
        "scalar_product_sharpness": product_block_sharpness,
        "fourfold_product_sharpness": factors_block_sharpness,
    },
    "linear_network": {"linear_network_sharpness": linear_network_sharpness},
    "sharpening_least_squares": {
        "sharpening_least_squares_sharpness": sharpening_least_squares_sharpness,
        "sharpening_least_squares_rest_sharpness": sharpening_least_squares_rest_sharpness,
    },
    "gated_quadratic": {
        "gated_quadratic_sharpness": gated_quadratic_sharpness,
        "gated_quadratic_rest_sharpness": gated_quadratic_rest_sharpness,
    },
    "quadratics": {"quadratics_sharpness": quadratics_sharpness},
}
