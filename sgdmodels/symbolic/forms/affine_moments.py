r"""Second moments with additive noise on quadratics, and lower bounds for the mean-square sharpness.

For losses without a common minimum the batch gradient in one dimension is :math:`hx - \xi`, and a step is

.. math:: x^+ = (1 - \eta h)x + \eta\xi, \qquad \mathbb{E}x^+ = (1 - \eta a)\,\mathbb{E}x + \eta m,

with h of mean a and variance :math:`s^2`, :math:`\xi` of mean m and variance :math:`\sigma^2`: mean and second moment
obey one linear system together. If all samples have the Hessian H and batch gradients have the covariance
:math:`\Sigma`, the stationary covariance S of the parameters solves

.. math:: S = (I-\eta H)\,S\,(I-\eta H) + \eta^2\Sigma

entry by entry. The bounds for the mean-square sharpness are Rayleigh quotients

.. math:: S_{\mathrm{ms}} \ge \frac{\langle X, D(X)\rangle}{\langle X, C(X)\rangle}, \qquad
          C(X) = \tfrac12(\bar HX + X\bar H), \quad D(X) = \mathbb{E}[H_BXH_B],

at the projection on the top eigenvector and at the identity. Sources: Mandt, Hoffman and Blei 2017 for covariances;
Mulayoff and Michaeli 2024 for C and D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means
from .sampling_moments import b, c2_without_replacement, n
from .second_moments import INTERPOLATION, MOMENTS, eta, kronecker_pencil, lam1, lam2, p, pencil_matrices, q, r

a, s, sigma = sp.symbols("a s sigma", positive=True)
kappa = sp.Symbol("kappa", real=True)
c2 = sp.Symbol("c_2", nonnegative=True)
m, mean, square = sp.symbols("m mu q", real=True)
NEXT = ("E[x+^2]", r"\mathbb{E}[(x^+)^2]")
AFFINE = (
    "one dimension, batch gradient h x - xi; mu = E[x], q = E[x^2]",
    "h of mean a and variance s^2, xi of mean m and variance sigma^2, Cov(h, xi) = kappa",
)
RECURSION_ARGUMENTS = (eta, a, s, m, sigma, kappa, mean, square)


def random_affine(rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, tuple[float, ...]]:
    """(probabilities, h and xi of every batch, atoms of a law of x, what the recursion takes, the step size first)."""
    hs, xis, size = rng.exponential(size=5), rng.normal(size=5), float(rng.uniform(0.1, 1))
    (hb, chances), (xb, _) = batch_means(hs, 2), batch_means(xis, 2)
    errors = rng.normal(size=7)
    spread = float(np.cov(hb, xb, bias=True)[0, 1])
    laws = hb.mean(), hb.std(), xb.mean(), xb.std(), spread, errors.mean(), (errors**2).mean()
    return chances, hb, xb, errors, (size, *(float(law) for law in laws))


def affine_second_moment() -> ClosedForm:
    """Square x+ = (1 - eta h) x + eta xi and average, with E[h xi] = kappa + a m and E[xi^2] = sigma^2 + m^2."""
    x, h, xi = sp.symbols("x h xi")
    noise = {(0, 0): 1, (1, 0): a, (2, 0): a**2 + s**2, (0, 1): m, (1, 1): kappa + a * m, (0, 2): sigma**2 + m**2}
    errors = (1, mean, square)
    terms = sp.Poly(sp.expand(((1 - eta * h) * x + eta * xi) ** 2), h, xi, x).terms()
    derived = sum(value * noise[i, j] * errors[k] for (i, j, k), value in terms)
    shrink = 1 - eta * a
    shown = (
        (shrink**2 + eta**2 * s**2) * square + 2 * eta * (m * shrink - eta * kappa) * mean + eta**2 * (sigma**2 + m**2)
    )

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        chances, hb, xb, errors, numbers = random_affine(rng)
        truth = chances @ ((1 - numbers[0] * hb[:, None]) * errors + numbers[0] * xb[:, None]) ** 2
        return formula(*numbers), truth.mean()

    return ClosedForm(
        name="affine_second_moment",
        title="Second-moment recursion of SGD in one dimension",
        statement="Noise of the Hessian, noise of the gradient and their covariance enter the next second moment, "
        "together with the mean, which goes by mu+ = (1 - eta a) mu + eta m.",
        quantity=NEXT[0],
        quantity_latex=NEXT[1],
        expression=proven(derived, shown),
        arguments=RECURSION_ARGUMENTS,
        assumptions=(
            *AFFINE,
            "batch independent of x",
        ),
        reference="Mandt, Hoffman and Blei 2017 for s = 0",
        route="the step of every batch from every atom of a random law",
        compare=compare,
    )


def noisy_gd_second_moment() -> ClosedForm:
    """Average over the Gaussian noise the square of the mean step plus noise of variance Var(h x - xi) at x."""
    x, normal, size = sp.symbols("x z v")  # size: the standard deviation of the batch gradient at x
    step = x - eta * (a * x - m) - eta * size * normal
    of_normal = {0: 1, 1: 0, 2: 1}
    averaged = sum(value * of_normal[k] for (k,), value in sp.Poly(sp.expand(step**2), normal).terms())
    noisy = sp.expand(averaged).subs(size**2, s**2 * x**2 - 2 * kappa * x + sigma**2)
    derived = sum(value * (1, mean, square)[k] for (k,), value in sp.Poly(sp.expand(noisy), x).terms())

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        chances, hb, xb, errors, numbers = random_affine(rng)
        gradients = hb[:, None] * errors - xb[:, None]
        full = chances @ gradients
        spread = np.sqrt(chances @ (gradients - full) ** 2)
        nodes, weights = np.polynomial.hermite_e.hermegauss(4)
        after = errors - numbers[0] * (full + spread * nodes[:, None])
        return formula(*numbers), (weights / weights.sum() @ after**2).mean()

    return ClosedForm(
        name="noisy_gd_second_moment",
        title="Second-moment recursion of noisy gradient descent in one dimension",
        statement="Gradient descent with Gaussian noise of the variance of the batch gradient at every x has the "
        "recursion of SGD, term by term: the same mean-square edge, stationary variance and GNI. They differ from the "
        "third moment on.",
        quantity=NEXT[0],
        quantity_latex=NEXT[1],
        expression=proven(derived, affine_second_moment().expression),
        arguments=RECURSION_ARGUMENTS,
        assumptions=(
            *AFFINE,
            "x+ = x - eta (a x - m + v(x) z) with z standard normal and v(x)^2 the variance of h x - xi at x",
        ),
        reference="this project",
        route="steps from every atom of a random law, with the noise of all batches at it, by Gauss-Hermite quadrature",
        compare=compare,
    )


def stationary_covariance() -> ClosedForm:
    """The fixed point in the eigenbasis of H, for two eigenvalues; each entry has its own equation."""
    unknown, noise = sp.Matrix(2, 2, sp.symbols("S11 S12 S12 S22")), sp.Matrix(2, 2, sp.symbols("v11 v12 v12 v22"))
    step = sp.eye(2) - eta * sp.diag(lam1, lam2)
    equations = list(step * unknown * step + eta**2 * noise - unknown)
    (solution,) = sp.linsolve(equations[:2] + equations[3:], [unknown[0, 0], unknown[0, 1], unknown[1, 1]])
    lj, lk, entry = sp.Symbol("lambda_j", positive=True), sp.Symbol("lambda_k", positive=True), sp.Symbol("sigma_jk")
    shown = eta * entry / (lj + lk - eta * lj * lk)
    for derived, (j, k) in zip(solution, ((lam1, lam1), (lam1, lam2), (lam2, lam2)), strict=True):
        value = noise[0 if j == lam1 else 1, 0 if k == lam1 else 1]
        proven(derived, shown.subs({lj: j, lk: k, entry: value}))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        from scipy.linalg import solve_discrete_lyapunov

        values = rng.uniform(0.2, 2, size=3)
        basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        factor, size = rng.normal(size=(3, 5)), float(rng.uniform(0.1, 0.9))
        spread = factor @ factor.T
        move = np.eye(3) - size * basis @ np.diag(values) @ basis.T
        truth = basis.T @ solve_discrete_lyapunov(move, size**2 * spread) @ basis
        return formula(size, values[:, None], values[None, :], basis.T @ spread @ basis), truth

    return ClosedForm(
        name="stationary_covariance",
        title="Stationary covariance of SGD with a common Hessian",
        statement="In the eigenbasis of the Hessian the stationary covariance follows from the gradient noise entry by "
        "entry; without the product of eigenvalues it is that of the diffusion.",
        quantity="S_jk",
        quantity_latex="S_{jk}",
        expression=shown,
        arguments=(eta, lj, lk, entry),
        assumptions=(
            "quadratic losses with one Hessian, of eigenvalues lambda_j, 0 < eta lambda_j < 2; independent batches",
            "sigma_jk are entries of the covariance of batch gradients in its eigenbasis",
        ),
        reference="Mandt, Hoffman and Blei 2017; Liu, Ziyin and Ueda 2021",
        route="numerical solution of the discrete Lyapunov equation",
        compare=compare,
    )


def rayleigh_quotient(mode: Any) -> Any:
    """<X, D(X)> / <X, C(X)> at X = ((x, y), (y, z)) given as (x, y, z), with moments of batches of c2."""
    d, c = pencil_matrices()
    metric = sp.diag(1, 2, 1)  # <X, Y> = x x' + 2 y y' + z z'
    vector = sp.Matrix(mode)
    quotient = (vector.T * metric * d * vector)[0] / (vector.T * metric * c * vector)[0]
    means = {p: lam1, q: 0, r: lam2}
    return quotient.subs(
        {moment: monomial.subs(means) * (1 - c2) + c2 * moment for monomial, moment in MOMENTS.items()},
        simultaneous=True,
    )


def bound_form(
    name: str,
    title: str,
    statement: str,
    expression: Any,
    arguments: tuple[Any, ...],
    assumption: str,
    instance: Callable[[FloatArray], tuple[tuple[float, ...], FloatArray]],
) -> ClosedForm:
    """A lower bound for S_ms; instance(hessians): the arguments after n and b, and the matrix X."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        factor = rng.normal(size=(5, 3, 3))
        hessians = factor @ factor.transpose(0, 2, 1)
        batch = int(rng.integers(1, 4))
        numbers, mode = instance(hessians)
        d, c = kronecker_pencil(*batch_means(hessians, batch))
        vector = mode.ravel()
        return formula(5, batch, *numbers), (vector @ d @ vector) / (vector @ c @ vector)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity="S_ms lower bound",
        quantity_latex=r"S_{\mathrm{ms}} \ge \underline S, \quad \underline S",
        expression=expression,
        arguments=(n, b, *arguments),
        assumptions=(INTERPOLATION, "batches drawn without replacement", assumption),
        reference="this project (pencil: Mulayoff and Michaeli 2024)",
        route="Rayleigh quotient of the Kronecker pencil over all batches, in three dimensions",
        compare=compare,
        where=((c2, c2_without_replacement().expression),),
    )


def top_direction_bound() -> ClosedForm:
    variance = sp.Symbol("V", nonnegative=True)

    def instance(hessians: FloatArray) -> tuple[tuple[float, ...], FloatArray]:
        values, vectors = np.linalg.eigh(hessians.mean(axis=0))
        top = vectors[:, -1]
        return (values[-1], float(np.var(np.einsum("i,nij,j->n", top, hessians, top)))), np.outer(top, top)

    return bound_form(
        "top_direction_bound",
        "Noise along the sharpest direction",
        "Noise of the curvature along the top eigenvector alone pushes the mean-square sharpness above lambda_max.",
        proven(rayleigh_quotient((1, 0, 0)), lam1 + c2 * variance / lam1, [(MOMENTS[p**2], variance + lam1**2)]),
        (lam1, variance),
        "V is the variance over samples of v'H_i v, v the top eigenvector (of lambda_1) of the mean Hessian",
        instance,
    )


def trace_bound() -> ClosedForm:
    t1, t2, mean_square = sp.symbols("t_1 t_2 m_2", positive=True)
    samples = MOMENTS[p**2] + 2 * MOMENTS[q**2] + MOMENTS[r**2]
    names = [(mean_square, samples), (t2, lam1**2 + lam2**2), (t1, lam1 + lam2)]

    def instance(hessians: FloatArray) -> tuple[tuple[float, ...], FloatArray]:
        mean = hessians.mean(axis=0)
        numbers = np.trace(mean), float((mean**2).sum()), float((hessians**2).sum()) / len(hessians)
        return numbers, np.eye(len(mean))

    return bound_form(
        "trace_bound",
        "Trace bound for the mean-square sharpness",
        "Noise in all directions adds up: the mean-square sharpness is at least tr E[H_B^2] / tr Hbar, however flat "
        "each direction is.",
        proven(rayleigh_quotient((1, 0, 1)), (t2 + c2 * (mean_square - t2)) / t1, names),
        (t1, t2, mean_square),
        "t_1 = tr Hbar, t_2 = tr Hbar^2, m_2 is the mean over samples of tr H_i^2",
        instance,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    affine_second_moment,
    noisy_gd_second_moment,
    stationary_covariance,
    top_direction_bound,
    trace_bound,
)
