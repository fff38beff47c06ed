r"""Largest eigenvalues of the mean Hessians of the built-in losses, where they have a closed form.

Where the residuals vanish the Hessian of a product of factors has rank one in every feature; elsewhere two factors give
a 2 x 2 block. Losses with a scalar that multiplies all features have blocks if the data are whitened,
:math:`\hat H = hI`. The blocks come from the definitions; nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp

from ...models import (
    DiagonalNetwork,
    GatedQuadratic,
    LeastSquares,
    LinearNetwork,
    Quadratics,
    ScalarProduct,
    SharpeningLeastSquares,
)
from ..closed_form import ClosedForm, proven
from .mean_hessians import (
    SAMPLES,
    Case,
    calculus_of,
    h,
    larger,
    line,
    mean_hessian,
    orthogonal,
    q,
    rank_one,
    sharpness_form,
    whitened,
)

u, v, a, s = sp.symbols("u v a s", real=True)
kappa = sp.Symbol("kappa", real=True)
norm, dot = sp.symbols("w c", real=True)  # |u|^2 and |h a v + q|


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
        name, "Sharpness of least squares with two features", "It is that of the second moment of the data everywhere.",
        expression, (h1, h2, h3), ("two features", "h_jk is the mean of x_ij x_ik"), draw,
    )  # fmt: skip


def least_squares_orthogonal_sharpness(name: str) -> ClosedForm:
    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        return LeastSquares(inputs, rng.normal(size=SAMPLES)), rng.normal(size=3), (curvatures,)

    return sharpness_form(
        name, "Sharpness of least squares on orthogonal data", "The largest mean square of a feature.",
        proven(line("least_squares")[0], h), (h,), ("orthogonal data, X'X/n = diag(h), or one feature",), draw,
    )  # fmt: skip


def product_block_sharpness(name: str) -> ClosedForm:
    """w = u v: one feature, or orthogonal data."""
    scalar = name.startswith("scalar")
    radius = (h * (u**2 - v**2) / 2) ** 2 + (h * u * v + q) ** 2
    expression = larger(line("scalar_product" if scalar else "diagonal_network"), h * (u**2 + v**2) / 2, radius)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng, 1 if scalar else 3)
        targets, theta = rng.normal(size=SAMPLES), rng.normal(size=2 * len(curvatures))
        model = ScalarProduct(inputs[:, 0], targets) if scalar else DiagonalNetwork(inputs, targets)
        slopes = model.residuals(theta) @ inputs / SAMPLES
        return model, theta, (*np.split(theta, 2), curvatures, slopes)

    return sharpness_form(
        name, "Sharpness of f(x) = u v x" if scalar else "Sharpness of w = u v on orthogonal data",
        "The largest over the features of the larger eigenvalue of a 2 x 2 block.", expression, (u, v, h, q),
        ("one feature" if scalar else "orthogonal data, X'X/n = diag(h)", "q = X'r/n"), draw,
    )  # fmt: skip


def difference_block_sharpness(name: str) -> ClosedForm:
    """w = u^2 - v^2 on orthogonal data."""
    radius = (2 * h * (u**2 - v**2) + 2 * q) ** 2 + 16 * h**2 * u**2 * v**2
    expression = larger(line("difference_network"), 2 * h * (u**2 + v**2), radius)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        model, theta = DiagonalNetwork(inputs, rng.normal(size=SAMPLES), form="difference"), rng.normal(size=6)
        return model, theta, (*np.split(theta, 2), curvatures, model.residuals(theta) @ inputs / SAMPLES)

    return sharpness_form(
        name, "Sharpness of w = u^2 - v^2 on orthogonal data",
        "The largest over the features of the larger eigenvalue of a 2 x 2 block.", expression, (u, v, h, q),
        ("orthogonal data, X'X/n = diag(h)", "q = X'r/n"), draw,
    )  # fmt: skip


def factors_block_sharpness(name: str) -> ClosedForm:
    """Any number of factors, at interpolation: derived for the number that the loss has."""
    prefix, depth = ("fourfold_product", 4) if name.startswith("fourfold") else ("cubic_network", 3)
    factors = sp.symbols(f"u1:{depth + 1}", real=True)
    shown = h * sum(sp.prod(factors) ** 2 / f**2 for f in factors)
    expression = rank_one(line(prefix, sp.S.Zero), shown)

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng, 1 if depth == 4 else 3)
        layers = rng.normal(size=(depth, len(curvatures)))
        targets = inputs @ layers.prod(axis=0)
        model = ScalarProduct(inputs[:, 0], targets, 4) if depth == 4 else DiagonalNetwork(inputs, targets, 3)
        return model, layers.ravel(), (*layers, curvatures)

    return sharpness_form(
        name, f"Sharpness of a product of {depth} factors at interpolation",
        "Each factor adds the square of what multiplies it.", expression, (*factors, h),
        ("interpolation", "one feature" if depth == 4 else "orthogonal data, X'X/n = diag(h)"), draw,
    )  # fmt: skip


def power_block_sharpness(name: str) -> ClosedForm:
    """w = u^D - v^D with the depth as a symbol."""
    p, r = sp.symbols("u v", positive=True)
    depth = sp.Symbol("D", real=True)
    matrix = line("power_network", sp.S.Zero).xreplace({u: p, v: r})
    expression = rank_one(matrix, h * depth**2 * (p ** (2 * depth - 2) + r ** (2 * depth - 2)))

    def draw(rng: np.random.Generator) -> Case:
        inputs, curvatures = orthogonal(rng)
        power, theta = int(rng.integers(2, 6)), rng.uniform(0.4, 1.3, 6)
        first, second = np.split(theta, 2)
        model = DiagonalNetwork(inputs, inputs @ (first**power - second**power), power, "difference")
        return model, theta, (first, second, curvatures, float(power))

    return sharpness_form(
        name, "Sharpness of w = u^D - v^D at interpolation", "Each feature has one curved direction.", expression,
        (p, r, h, depth), ("interpolation", "orthogonal data, X'X/n = diag(h)", "u, v > 0", "D at least 2"), draw,
    )  # fmt: skip


def linear_network_sharpness(name: str) -> ClosedForm:
    """Whitened data; the block is the larger eigenvalue as it contains a^2 h."""
    v1, v2 = sp.IndexedBase("v", real=True)[0], sp.IndexedBase("v", real=True)[1]
    q1, q2 = sp.symbols("q_1 q_2", real=True)
    square, cross = v1**2 + v2**2, (h * a * v1 + q1) ** 2 + (h * a * v2 + q2) ** 2
    derived = whitened(
        "linear_network", (q1, q2), h * (a**2 + square) / 2, (h * (a**2 - square) / 2) ** 2 + cross, h * a**2
    )
    shown = h * (a**2 + norm) / 2 + sp.sqrt((h * (a**2 - norm) / 2) ** 2 + dot**2)
    expression = proven(derived, shown, [(norm, square), (dot, sp.sqrt(cross))])

    def draw(rng: np.random.Generator) -> Case:
        inputs, theta = np.linalg.qr(rng.normal(size=(SAMPLES, 3)))[0], rng.normal(size=4)
        model = LinearNetwork(inputs, rng.normal(size=SAMPLES))
        cross = theta[3] * theta[:3] / SAMPLES + model.residuals(theta) @ inputs / SAMPLES
        return model, theta, (theta[3], theta[:3] @ theta[:3], 1 / SAMPLES, np.linalg.norm(cross))

    return sharpness_form(
        name, "Sharpness of f(x) = a v . x on whitened data", "The larger eigenvalue of a 2 x 2 block.", expression,
        (a, norm, h, dot), ("whitened data, X'X/n = h I", "w = |v|^2", "c = |h a v + q| with q = X'r/n"), draw,
    )  # fmt: skip


def sharpening_least_squares_sharpness(name: str) -> ClosedForm:
    u1, u2 = sp.IndexedBase("u", real=True)[0], sp.IndexedBase("u", real=True)[1]
    square = u1**2 + u2**2
    # X'y = 0 makes q the part of the residual that is the prediction: q = h v u
    derived = whitened(
        "sharpening_least_squares", (h * v * u1, h * v * u2), h * (v**2 + square) / 2,
        (h * (v**2 - square) / 2) ** 2 + 4 * h**2 * v**2 * square, h * v**2,
    )  # fmt: skip
    shown = h * ((v**2 + norm) / 2 + sp.sqrt(((v**2 - norm) / 2) ** 2 + 4 * v**2 * norm))
    expression = proven(derived, shown, [(norm, square)])

    def draw(rng: np.random.Generator) -> Case:
        basis, theta = np.linalg.qr(rng.normal(size=(SAMPLES, SAMPLES)))[0], rng.normal(size=4)
        model = SharpeningLeastSquares(basis[:, :3], basis[:, 3], 0.3)  # y is orthogonal to the inputs
        return model, theta, (theta[3], theta[:3] @ theta[:3], 1 / SAMPLES)

    return sharpness_form(
        name, "Sharpness of PSL on whitened data", "The larger eigenvalue of a 2 x 2 block.", expression, (v, norm, h),
        ("whitened data, X'X/n = h I", "X'y = 0", "w = |u|^2"), draw,
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
