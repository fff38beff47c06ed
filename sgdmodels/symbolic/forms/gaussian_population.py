r"""SGD on least squares with Gaussian data: expectations over samples, and the exact mean-square edge.

Rows :math:`a \sim N(0, H)`, targets with independent noise :math:`\epsilon` of variance :math:`\sigma^2`, and
x the error of the parameters; a sample has

.. math:: r = a^\top x - \epsilon, \qquad l = \tfrac12r^2, \qquad g = ra, \qquad H_i = aa^\top.

In the eigenbasis of H the entries of a are independent with
:math:`\mathbb{E}\,a_k^{2m} = (2m-1)!!\,\lambda_k^m` (Isserlis), so that all expectations over batches of b
fresh samples are polynomials in

.. math:: t_k = \mathrm{tr}\,H^k, \qquad q_k = x^\top H^kx, \qquad L_2 = x^\top Hx + \sigma^2 = 2\,\mathbb{E}\,l.

They are proven here for three eigenvalues. Source: Isserlis 1918.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import crossing, spectral_radius
from .high_dimension import criterion_of, d, spectral_sum
from .high_dimension import lam as eigenvalues
from .sums import proven_for_sizes

eta, b, sigma = sp.symbols("eta b sigma", positive=True)
lam = sp.symbols("lambda1:4", positive=True)
error = sp.symbols("x1:4", real=True)
row, eps = sp.symbols("a1:4", real=True), sp.Symbol("eps", real=True)
t1, t2, L2, q2, q3 = sp.symbols("t_1 t_2 L_2 q_2 q_3", real=True)
HESSIAN = sp.diag(*lam)
GAUSSIAN = "least squares, rows a ~ N(0, H), targets with independent noise of variance sigma^2, fresh batches of b"
NAMES = "t_k = tr H^k, q_k = x'H^k x with the error x, L_2 = x'H x + sigma^2"


def gaussian_mean(expression: Any) -> Any:
    """E over the row and the noise of a polynomial in them."""
    total = 0
    for powers, value in sp.Poly(sp.expand(expression), *row, eps).terms():
        if not any(power % 2 for power in powers):
            for power, variance in zip(powers, (*lam, sigma**2), strict=True):
                value *= sp.factorial2(power - 1) * variance ** (power // 2)
            total += value
    return sp.expand(total)


def sample() -> tuple[Any, Any, Any]:
    """(g, a, r) of one sample, symbolic."""
    a, x = sp.Matrix(row), sp.Matrix(error)
    residual = a.dot(x) - eps
    return residual * a, a, residual


def mean_gradient() -> Any:
    return sample()[0].applyfunc(gaussian_mean)


def traces() -> list[tuple[Any, Any]]:
    """The named traces, in three eigenvalues."""
    x = sp.Matrix(error)

    def q(power: int) -> Any:
        return (x.T * HESSIAN**power * x)[0]

    return [(t1, HESSIAN.trace()), (t2, (HESSIAN**2).trace()), (L2, q(1) + sigma**2), (q2, q(2)), (q3, q(3))]


def batch_product(weight: Any) -> Any:
    """E[g_B' W g_B] for a fixed matrix W: pairs of the same sample, and of different ones."""
    g, mean = sample()[0], mean_gradient()
    return (gaussian_mean((g.T * weight * g)[0]) + (b - 1) * (mean.T * weight * mean)[0]) / b


class Quadrature:
    """Every batch of quadrature nodes, in two dimensions: an enumeration that is exact for the polynomials here."""

    def __init__(self, values: FloatArray, noise: float, size: int) -> None:
        nodes, weights = np.polynomial.hermite_e.hermegauss(4)  # exact up to degree 7
        grid = np.stack(np.meshgrid(nodes, nodes, [-1.0, 1.0], indexing="ij"), axis=-1).reshape(-1, 3)
        chance = np.einsum("i,j,k->ijk", weights, weights, [0.5, 0.5]).ravel() / weights.sum() ** 2
        index = np.stack(np.meshgrid(*[np.arange(len(grid))] * size, indexing="ij"), axis=-1).reshape(-1, size)
        self.rows: FloatArray = grid[index][:, :, :2] * np.sqrt(values)  # (batches, b, 2)
        self.noise: FloatArray = noise * grid[index][:, :, 2]
        self.chance: FloatArray = chance[index].prod(axis=1)

    def gradients(self, x: FloatArray) -> FloatArray:
        residuals = self.rows @ x - self.noise
        return np.einsum("kb,kbi->ki", residuals, self.rows) / residuals.shape[1]

    def hessians(self) -> FloatArray:
        return np.einsum("kbi,kbj->kij", self.rows, self.rows) / self.rows.shape[1]


def trace_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    derived: Any,
    shown: Any,
    truth: Callable[[FloatArray, FloatArray, FloatArray, FloatArray], float],
) -> ClosedForm:
    """A closed form in traces; truth(chances, batch gradients, batch Hessians, H) is its value."""
    arguments = tuple(symbol for symbol in (b, L2, t1, t2, q2, q3) if shown.has(symbol))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, x, noise, size = rng.uniform(0.3, 2, 2), rng.normal(size=2), rng.uniform(0, 1), int(rng.integers(1, 4))
        nodes = Quadrature(values, noise, size)
        numbers = {b: size, t1: values.sum(), t2: (values**2).sum(), L2: values @ x**2 + noise**2}
        numbers |= {q2: values**2 @ x**2, q3: values**3 @ x**2}
        reached = truth(nodes.chance, nodes.gradients(x), nodes.hessians(), np.diag(values))
        return formula(*(numbers[argument] for argument in arguments)), reached

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=proven(derived, shown, traces()),
        arguments=arguments,
        assumptions=(GAUSSIAN, NAMES),
        reference="Isserlis 1918",
        route="all batches of Gauss-Hermite nodes in two dimensions",
        compare=compare,
    )


def gaussian_gradient_covariance() -> ClosedForm:
    """An entry with two different indices, and one with the same index twice."""
    g = sample()[0]
    lj, lk, xj, xk = sp.symbols("lambda_j lambda_k x_j x_k")
    same = sp.Symbol("delta_jk")
    shown = 2 * lj * lk * xj * xk + same * lj * L2
    for j, k in ((0, 0), (0, 1)):
        entry = shown.subs({lj: lam[j], lk: lam[k], xj: error[j], xk: error[k], same: int(j == k)})
        proven(gaussian_mean(g[j] * g[k]), entry, traces())

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, x, noise = rng.uniform(0.3, 2, 2), rng.normal(size=2), rng.uniform(0, 1)
        nodes = Quadrature(values, noise, 1)
        g = nodes.gradients(x)
        closed = formula(values[:, None], values, x[:, None], x, np.eye(2), values @ x**2 + noise**2)
        return closed, np.einsum("k,ki,kj->ij", nodes.chance, g, g)

    return ClosedForm(
        name="gaussian_gradient_covariance",
        title="Second moment of the gradient of Gaussian least squares",
        statement="E[g g'] = 2 H x x' H + L_2 H: a part of rank one along the mean gradient, and noise shaped like the "
        "Hessian that is proportional to the loss, of which L_2 is twice the mean.",
        quantity="E[g_j g_k]",
        quantity_latex=r"\mathbb{E}\,g_jg_k",
        expression=shown,
        arguments=(lj, lk, xj, xk, same, L2),
        assumptions=(GAUSSIAN, "one sample, in the eigenbasis of H; delta_jk = 1 if j = k and else 0", NAMES),
        reference="Isserlis 1918",
        route="Gauss-Hermite quadrature in two dimensions",
        compare=compare,
    )


def gaussian_gradient_square() -> ClosedForm:
    return trace_form(
        "gaussian_gradient_square",
        "Mean square of the batch gradient of Gaussian least squares",
        "The squared full gradient q_2, and the variance of a sample, q_2 + L_2 t_1, over the batch size; L_2 is "
        "twice the loss.",
        ("E|g_B|^2", r"\mathbb{E}\,|g_B|^2"),
        batch_product(sp.eye(3)),
        (1 + 1 / b) * q2 + L2 * t1 / b,
        lambda p, g, h, mean: float(p @ (g**2).sum(axis=1)),
    )


def gaussian_interaction() -> ClosedForm:
    return trace_form(
        "gaussian_interaction",
        "Full-loss curvature along batch gradients of Gaussian least squares",
        "Over the mean square of the batch gradient this is IAS, and over q_2 it is GNI.",
        ("E[g_B' H g_B]", r"\mathbb{E}\,g_B^\top Hg_B"),
        batch_product(HESSIAN),
        (1 + 1 / b) * q3 + L2 * t2 / b,
        lambda p, g, h, mean: float(np.einsum("k,ki,ij,kj->", p, g, mean, g)),
    )


def gaussian_curvature() -> ClosedForm:
    """The three samples of g_i' H_j g_k are one, two (in three ways) or three different ones."""
    g, a, residual = sample()
    mean = mean_gradient()
    one = gaussian_mean(residual**2 * a.dot(a) ** 2)
    outer = gaussian_mean((g.T * HESSIAN * g)[0])
    neighbours = (mean.T * (a * a.dot(a) * residual).applyfunc(gaussian_mean))[0]
    derived = one + (b - 1) * (outer + 2 * neighbours) + (b - 1) * (b - 2) * (mean.T * HESSIAN * mean)[0]
    same = L2 * (t1**2 + 2 * t2) + 4 * t1 * q2 + 8 * q3
    pairs = 2 * q3 + L2 * t2 + 2 * (t1 * q2 + 2 * q3)
    return trace_form(
        "gaussian_curvature",
        "Batch curvature along the batch gradient of Gaussian least squares",
        "Over the mean square of the batch gradient it is Batch Sharpness; in high dimension the term L_2 t_1^2 "
        "dominates at b = 1.",
        ("E[g_B' H_B g_B]", r"\mathbb{E}\,g_B^\top H_Bg_B"),
        derived / b**2,
        (same + (b - 1) * pairs + (b - 1) * (b - 2) * q3) / b**2,
        lambda p, g, h, mean: float(np.einsum("k,ki,kij,kj->", p, g, h, g)),
    )


def gaussian_moment_map() -> ClosedForm:
    """E of (x_1 - eta g_1)^2, with E[g_B g_B'] from pairs of samples as in `batch_product`."""
    first = sp.Matrix([1, 0, 0])
    derived = error[0] ** 2 - 2 * eta * error[0] * mean_gradient()[0] + eta**2 * batch_product(first * first.T)
    value, square = sp.symbols("lambda_i p_i", positive=True)
    shown = (1 - 2 * eta * value + eta**2 * (1 + 1 / b) * value**2) * square + eta**2 * value * L2 / b
    names = [(value, lam[0]), (square, error[0] ** 2), *traces()]

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, x, noise, size = rng.uniform(0.3, 2, 2), rng.normal(size=2), rng.uniform(0, 1), int(rng.integers(1, 4))
        nodes, step = Quadrature(values, noise, size), float(rng.uniform(0.1, 1))
        after = x - step * nodes.gradients(x)
        return formula(step, size, values, x**2, values @ x**2 + noise**2), nodes.chance @ after**2

    return ClosedForm(
        name="gaussian_moment_map",
        title="Second-moment recursion of Gaussian least squares",
        statement="Second moments along the eigenvectors of H close on themselves: each decays and is fed by L_2, "
        "twice the loss.",
        quantity="p_i+",
        quantity_latex="p_i^+",
        expression=proven(derived, shown, names),
        arguments=(eta, b, value, square, L2),
        assumptions=(GAUSSIAN, "p_i = E[x_i^2] in the eigenbasis of H, L_2 = sum_j lambda_j p_j + sigma^2"),
        reference="Isserlis 1918; Paquette et al. 2021",
        route="the step of every batch of Gauss-Hermite nodes in two dimensions",
        compare=compare,
    )


def gaussian_edge() -> ClosedForm:
    """I minus the recursion is diagonal minus rank one: the determinant lemma, for two and three eigenvalues."""
    criterion = criterion_of(lambda value: 2 * eta * value - eta**2 * (1 + 1 / b) * value**2, eta**2 / b)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values, size = rng.uniform(0.3, 2, 2), int(rng.integers(1, 3))
        nodes = Quadrature(values, 0.0, size)
        hessians = nodes.hessians()
        fourth = np.einsum("k,kij,klm->iljm", nodes.chance, hessians, hessians).reshape(4, 4)
        mean = np.diag(values)
        drift = np.kron(mean, np.eye(2)) + np.kron(np.eye(2), mean)

        def growth(step: float) -> float:
            return spectral_radius(np.eye(4) - step * drift + step**2 * fourth)

        step = crossing(growth, 0.01 / values.sum())
        return formula(step, size, values, 2), 1.0

    return ClosedForm(
        name="gaussian_edge",
        title="Exact edge of Gaussian least squares",
        statement="SGD on Gaussian data is mean-square stable up to the step size at which this sum is 1, exactly and "
        "in every dimension; high dimension forgets the 1 in b + 1.",
        quantity="K(eta)",
        quantity_latex=r"K(\eta)",
        expression=proven_for_sizes(
            criterion, spectral_sum(lambda value: eta * value / (2 * b - eta * (b + 1) * value)), eigenvalues, d
        ),
        arguments=(eta, b, eigenvalues, d),
        assumptions=(GAUSSIAN, "eta below 2b / ((b + 1) lambda_max)", "the edge is where K is 1"),
        reference="this project",
        route="K is 1 where the spectral radius of the moment map, by Gauss-Hermite quadrature, is",
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    gaussian_gradient_covariance,
    gaussian_gradient_square,
    gaussian_interaction,
    gaussian_curvature,
    gaussian_moment_map,
    gaussian_edge,
)
