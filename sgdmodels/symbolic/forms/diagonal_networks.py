r"""Curvature of diagonal linear networks: linear prediction with weights w that are products of the parameters,

.. math:: l_i = \tfrac12r_i^2, \quad r_i = x_i^\top w - y_i, \qquad
          w_j = u_jv_j, \quad w_j = u_j^D - v_j^D \quad\text{or}\quad w_j = u_{1j}\cdots u_{Dj}.

Let X have the rows :math:`x_i^\top`, and let

.. math:: q = \nabla_wL = \tfrac1nX^\top r, \qquad \hat H = \tfrac1nX^\top X, \qquad
          J = \frac{\partial w}{\partial\theta}.

The Hessian is :math:`J^\top\hat HJ` plus q times the second derivatives of w. On orthogonal data,
:math:`\hat H = \mathrm{diag}(h)`, it falls into one small block for each coordinate; the formulas below are those of
one coordinate, with its index left out, and :math:`\lambda_{\max}` is the largest of their values over all coordinates.
Where the residuals vanish the non-zero spectrum of the Hessian is that of the tangent kernel
:math:`\frac1nXJJ^\top X^\top`. A batch has the same formulas with its own q. Sources of the model: Woodworth et al.
2020; Even, Pesme, Gunasekar and Flammarion 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import DiagonalNetwork
from ..closed_form import ClosedForm, Formula, proven
from .blocks import eigenvalue_pair

h, n, d, b = sp.symbols("h n d b", positive=True)
depth = sp.Symbol("D", integer=True, positive=True)
q = sp.Symbol("q", real=True)
u, v = sp.symbols("u v", real=True)
x, factors, other, slope = sp.IndexedBase("X"), sp.IndexedBase("u"), sp.IndexedBase("v"), sp.IndexedBase("q")
sample, feature = sp.symbols("i j", integer=True)
REFERENCE = "this project (model: Woodworth et al. 2020; Even, Pesme, Gunasekar and Flammarion 2023)"
SQUARED = "l_i = (x_i'w - y_i)^2 / 2"
ORTHOGONAL = "orthogonal data, X'X/n = diag(h)"
ROUTE = "eigenvalues of the mean of the per-sample Hessians of a network on orthogonal data"


def _orthogonal(rng: np.random.Generator, features: int = 3) -> tuple[Any, Any]:
    """Inputs (n, d) with X'X / n = diag(curvatures), and the curvatures."""
    basis = np.linalg.qr(rng.normal(size=(features + 2, features)))[0]
    curvatures = rng.uniform(0.3, 2.0, features)
    return basis * np.sqrt((features + 2) * curvatures), curvatures


def _spectrum(network: DiagonalNetwork, theta: Any) -> Any:
    return np.linalg.eigvalsh(network.sample_hessians(theta).mean(axis=0))


def _block(weight: Any, theta: tuple[Any, ...]) -> Any:
    """Hessian of one coordinate, h (w(theta) - w*)^2 / 2, with the unknown w* put in by its slope q."""
    target = sp.Symbol("w_star")
    hessian = sp.hessian(h * (weight - target) ** 2 / 2, theta)
    return hessian.subs(target, weight - q / h)


def product_curvature() -> ClosedForm:
    expression = eigenvalue_pair(
        _block(u * v, (u, v)), h * (u**2 + v**2) / 2, (h * (u**2 - v**2) / 2) ** 2 + (h * u * v + q) ** 2
    )

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, curvatures = _orthogonal(rng)
        network = DiagonalNetwork(inputs, rng.normal(size=len(inputs)))
        theta = rng.normal(size=6)
        slopes = network.residuals(theta) @ inputs / len(inputs)
        return np.sort(np.ravel(formula(theta[:3], theta[3:], curvatures, slopes))), _spectrum(network, theta)

    return ClosedForm(
        name="product_curvature",
        title="Curvature of the network w = u v",
        statement="On orthogonal data every coordinate contributes two eigenvalues to the Hessian of w = u v.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=expression,
        arguments=(u, v, h, q),
        assumptions=(SQUARED, ORTHOGONAL, "one coordinate, q the derivative of L by its weight"),
        reference=REFERENCE,
        route=ROUTE,
        compare=compare,
    )


def product_sharpness() -> ClosedForm:
    pair = product_curvature().expression.subs(q, 0)
    # the radius is a perfect square at q = 0, its root the half-sum again, so that one eigenvalue vanishes
    radius = proven(((pair[1] - pair[0]) / 2) ** 2, (h * (u**2 + v**2) / 2) ** 2)
    expression = proven((pair[0] + pair[1]) / 2 + sp.sqrt(radius), h * (u**2 + v**2))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, curvatures = _orthogonal(rng)
        theta = rng.normal(size=6)
        network = DiagonalNetwork(inputs, inputs @ (theta[:3] * theta[3:]))
        return np.sort(formula(theta[:3], theta[3:], curvatures)), _spectrum(network, theta)[3:]

    return ClosedForm(
        name="product_sharpness",
        title="Sharpness of w = u v at an interpolating point",
        statement="Where the data are fitted each coordinate has one curved direction, the other one is flat.",
        quantity="lambda",
        quantity_latex=r"\lambda",
        expression=expression,
        arguments=(u, v, h),
        assumptions=(SQUARED, ORTHOGONAL, "interpolation", "one coordinate; lambda_max is the largest over all"),
        reference=REFERENCE,
        route=ROUTE,
        compare=compare,
    )


def difference_curvature() -> ClosedForm:
    a, c, m = sp.symbols("A C M", real=True)
    p, r = sp.symbols("u v", positive=True)
    derived = _block(p**depth - r**depth, (p, r))
    curved_u = h * depth**2 * p ** (2 * depth - 2) + depth * (depth - 1) * p ** (depth - 2) * q
    curved_v = h * depth**2 * r ** (2 * depth - 2) - depth * (depth - 1) * r ** (depth - 2) * q
    mixed = -h * depth**2 * p ** (depth - 1) * r ** (depth - 1)
    block = proven(derived, sp.Matrix([[curved_u, mixed], [mixed, curved_v]]))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, curvatures = _orthogonal(rng)
        power = int(rng.integers(2, 5))
        network = DiagonalNetwork(inputs, rng.normal(size=len(inputs)), depth=power, form="difference")
        theta = rng.uniform(0.4, 1.3, 6)
        slopes = network.residuals(theta) @ inputs / len(inputs)
        values = formula(theta[:3], theta[3:], curvatures, slopes, float(power))
        return np.sort(np.ravel(values)), _spectrum(network, theta)

    return ClosedForm(
        name="difference_curvature",
        title="Curvature of the network w = u^D - v^D",
        statement="On orthogonal data every coordinate of w = u^D - v^D contributes the eigenvalues of a 2 x 2 block.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=eigenvalue_pair(sp.Matrix([[a, m], [m, c]]), (a + c) / 2, ((a - c) / 2) ** 2 + m**2),
        where=((a, block[0, 0]), (c, block[1, 1]), (m, block[0, 1])),
        arguments=(p, r, h, q, depth),
        assumptions=(
            SQUARED,
            ORTHOGONAL,
            "one coordinate, q the derivative of L by its weight",
            "u, v > 0, D at least 2",
        ),
        reference=REFERENCE,
        route=ROUTE,
        compare=compare,
    )


def difference_sharpness() -> ClosedForm:
    p, r = sp.symbols("u v", positive=True)
    block = _block(p**depth - r**depth, (p, r)).subs(q, 0)
    proven(block.det(), sp.Integer(0))  # rank one: the trace is the only eigenvalue
    expression = proven(sp.trace(block), h * depth**2 * (p ** (2 * depth - 2) + r ** (2 * depth - 2)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, curvatures = _orthogonal(rng)
        power = int(rng.integers(2, 6))
        theta = rng.uniform(0.4, 1.3, 6)
        targets = inputs @ (theta[:3] ** power - theta[3:] ** power)
        network = DiagonalNetwork(inputs, targets, depth=power, form="difference")
        return np.sort(formula(theta[:3], theta[3:], curvatures, float(power))), _spectrum(network, theta)[3:]

    return ClosedForm(
        name="difference_sharpness",
        title="Sharpness of w = u^D - v^D at an interpolating point",
        statement="Where the data are fitted each coordinate has one curved direction, with this curvature.",
        quantity="lambda",
        quantity_latex=r"\lambda",
        expression=expression,
        arguments=(p, r, h, depth),
        assumptions=(
            SQUARED,
            ORTHOGONAL,
            "interpolation",
            "u, v > 0, D at least 2",
            "one coordinate; lambda_max is the largest over all",
        ),
        reference=REFERENCE,
        route=ROUTE,
        compare=compare,
    )


def factors_sharpness() -> ClosedForm:
    k = sp.Symbol("k", integer=True)
    w, eigenvalue = sp.symbols("w lambda")
    shown = h * sp.Sum((w / factors[k]) ** 2, (k, 0, depth - 1))
    for layers in (2, 3, 4):
        theta = sp.symbols(f"u_0:{layers}")
        hessian = _block(sp.prod(theta), theta).subs(q, 0)
        plain = {factors[layer]: theta[layer] for layer in range(layers)}
        top = shown.subs(depth, layers).doit().subs(plain).subs(w, sp.prod(theta))
        proven(hessian.charpoly(eigenvalue).as_expr(), eigenvalue ** (layers - 1) * (eigenvalue - top))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, curvatures = _orthogonal(rng)
        layers = int(rng.integers(2, 6))
        theta = rng.uniform(0.5, 1.5, (layers, 3)) * rng.choice([-1, 1], (layers, 3))
        weights = theta.prod(axis=0)
        network = DiagonalNetwork(inputs, inputs @ weights, depth=layers)
        values = [formula(theta[:, j], weights[j], curvatures[j], layers) for j in range(3)]
        return np.sort(values), _spectrum(network, theta.ravel())[-3:]

    return ClosedForm(
        name="factors_sharpness",
        title="Sharpness of a product of D factors at an interpolating point",
        statement="Each coordinate has one curved direction; the smallest factor contributes most to its curvature.",
        quantity="lambda",
        quantity_latex=r"\lambda",
        expression=shown,
        arguments=(factors, w, h, depth),
        assumptions=(
            SQUARED,
            ORTHOGONAL,
            "interpolation",
            "one coordinate, w the product of its factors u_k, not 0; lambda_max is the largest over all",
        ),
        reference=REFERENCE,
        route=ROUTE,
        compare=compare,
    )


def tangent_kernel() -> ClosedForm:
    row, column = sp.symbols("i k", integer=True)
    entry = sp.Sum(
        x[row, feature] * (factors[feature] ** 2 + other[feature] ** 2) * x[column, feature], (feature, 0, d - 1)
    )
    kernel = sp.Matrix(2, 2, lambda i, k: (entry / n).subs({row: i, column: k, n: 2, d: 2}).doit())
    theta, data = sp.symbols("u_0 u_1 v_0 v_1"), sp.symbols("x_0:4")  # plain symbols: faster than indexed ones
    y, eigenvalue = sp.symbols("y_0 y_1"), sp.Symbol("lambda")
    outputs = [sum(data[2 * i + j] * theta[j] * theta[2 + j] for j in (0, 1)) for i in (0, 1)]
    plain = {x[i, j]: data[2 * i + j] for i in (0, 1) for j in (0, 1)}
    plain |= {factors[j]: theta[j] for j in (0, 1)} | {other[j]: theta[2 + j] for j in (0, 1)}
    loss = sum((f - t) ** 2 for f, t in zip(outputs, y, strict=True)) / 4
    hessian = sp.hessian(loss, theta).subs(dict(zip(y, outputs, strict=True)))
    of_kernel = eigenvalue**2 * kernel.subs(plain).charpoly(eigenvalue).as_expr()
    proven(hessian.charpoly(eigenvalue).as_expr(), of_kernel)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, theta = rng.normal(size=(3, 4)), rng.normal(size=8)
        network = DiagonalNetwork(inputs, inputs @ (theta[:4] * theta[4:]))
        matrix = [[formula(inputs, theta[:4], theta[4:], i, k, 3, 4) for k in range(3)] for i in range(3)]
        return np.linalg.eigvalsh(matrix), _spectrum(network, theta)[-3:]

    return ClosedForm(
        name="tangent_kernel",
        title="Tangent kernel of the network w = u v",
        statement="Where the data are fitted, this matrix and the Hessian have the same non-zero eigenvalues.",
        quantity="(X J J' X' / n)[i,k]",
        quantity_latex=r"\tfrac1n(XJJ^\top X^\top)_{ik}",
        expression=entry / n,
        arguments=(x, factors, other, row, column, n, d),
        assumptions=(SQUARED, "interpolation, any data", "rows and columns i, k: samples; J is the Jacobian of w"),
        reference=REFERENCE,
        route="eigenvalues of the mean of the per-sample Hessians at an interpolating point",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    product_curvature,
    product_sharpness,
    difference_curvature,
    difference_sharpness,
    factors_sharpness,
    tangent_kernel,
)
