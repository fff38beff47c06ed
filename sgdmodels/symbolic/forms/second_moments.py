r"""Second moments of SGD on quadratics: the pencil (D, C) of the mean-square edge.

At an interpolating minimum a step on the error is :math:`x^+ = (I - \eta H_B)x`, so :math:`X = \mathbb{E}[xx^\top]`
goes to :math:`X - 2\eta\,C(X) + \eta^2D(X)` with

.. math:: C(X) = \tfrac12(\bar HX + X\bar H), \qquad D(X) = \mathbb{E}[H_BXH_B],

and SGD is mean-square stable if and only if :math:`\eta S_{\mathrm{ms}} < 2`, with the mean-square sharpness
:math:`S_{\mathrm{ms}}` the largest S for which :math:`\det(D - S\,C) = 0` on symmetric matrices. In two dimensions, in
the eigenbasis of the mean Hessian, these are 3 x 3 matrices of the second moments of the entries of

.. math:: H_B = \begin{pmatrix} p & q\\ q & r\end{pmatrix}, \qquad
          \mathbb{E}H_B = \begin{pmatrix} \lambda_1 & 0\\ 0 & \lambda_2\end{pmatrix}.

Source: Mulayoff and Michaeli 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means, square_map

eta = sp.Symbol("eta", positive=True)
lam1, lam2 = sp.symbols("lambda_1 lambda_2", positive=True)
p, q, r = sp.symbols("p q r", real=True)  # the entries h11, h12, h22 of a batch Hessian
S = sp.Symbol("S", real=True)
INTERPOLATION = "interpolating minimum of quadratics, independent batches"
MEAN_SQUARE = ("S_ms", r"S_{\mathrm{ms}}")
# E[p^i q^j r^k] for the degree-two monomials; arguments of the pencil in this order.
NAMES = {p**2: "m_pp", p * q: "m_pq", p * r: "m_pr", q**2: "m_qq", q * r: "m_qr", r**2: "m_rr"}
MOMENTS = {monomial: sp.Symbol(name, real=True) for monomial, name in NAMES.items()}


def expected(matrix: Any) -> Any:
    """E of a matrix whose entries are of degree two in p, q, r."""

    def entry(value: Any) -> Any:
        terms = sp.Poly(value, p, q, r).terms()
        return sum(c * MOMENTS[p**i * q**j * r**k] for (i, j, k), c in terms)

    return matrix.applyfunc(entry)


def on_symmetric(image: Callable[[Any], Any]) -> Any:
    """The 3 x 3 matrix of a linear map of symmetric matrices ((x, y), (y, z)), in the coordinates (x, y, z)."""
    x, y, z = sp.symbols("x y z")
    result = image(sp.Matrix([[x, y], [y, z]])).expand()
    return sp.Matrix([result[0, 0], result[0, 1], result[1, 1]]).jacobian([x, y, z])


def pencil_matrices() -> tuple[Any, Any]:
    """D and C as 3 x 3 matrices, in the eigenbasis of the mean Hessian."""
    h, mean = sp.Matrix([[p, q], [q, r]]), sp.diag(lam1, lam2)
    d = on_symmetric(lambda x: h * x * h)
    return expected(d), on_symmetric(lambda x: (mean * x + x * mean) / 2)


def random_hessians(rng: np.random.Generator) -> FloatArray:
    """Five positive definite Hessians (5, 2, 2) in the eigenbasis of their mean."""
    factor = rng.normal(size=(5, 2, 2))
    h = factor @ factor.transpose(0, 2, 1)
    basis = np.linalg.eigh(h.mean(axis=0))[1][:, ::-1]
    rotated: FloatArray = basis.T @ h @ basis
    return rotated


def kronecker_pencil(batches: FloatArray, chances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """D and C as d^2 x d^2 matrices, summed over the given batch Hessians."""
    size = batches.shape[1]
    mean = np.tensordot(chances, batches, axes=1)
    return square_map(batches, chances), (np.kron(mean, np.eye(size)) + np.kron(np.eye(size), mean)) / 2


def enumerated_sharpness(batches: FloatArray, chances: FloatArray) -> float:
    """The largest generalised eigenvalue of the Kronecker pencil."""
    from scipy.linalg import eigh

    d, c = kronecker_pencil(batches, chances)
    return float(eigh(d, c, eigvals_only=True)[-1])


def pencil_determinant() -> ClosedForm:
    """E[q] = 0 in the eigenbasis of the mean Hessian, and E[p], E[r] are its eigenvalues."""
    d, c = pencil_matrices()
    pp, pq, pr, qq, qr, rr = MOMENTS.values()
    first, second = pp - S * lam1, rr - S * lam2
    middle = pr + qq - S * (lam1 + lam2) / 2
    shown = first * second * middle + 4 * pq * qr * qq - 2 * pq**2 * second - 2 * qr**2 * first - qq**2 * middle

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        h, level = random_hessians(rng), rng.uniform(-1, 5)
        batches, chances = batch_means(h, 2)
        mean = h.mean(axis=0)
        entries = batches[:, 0, 0], batches[:, 0, 1], batches[:, 1, 1]
        moments = [chances @ (entries[i] * entries[j]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))]
        d4, c4 = kronecker_pencil(batches, chances)
        # An orthonormal basis of the symmetric matrices, flattened.
        half = np.sqrt(0.5)
        basis = np.array([[1, 0, 0, 0], [0, half, half, 0], [0, 0, 0, 1]])
        return formula(level, mean[0, 0], mean[1, 1], *moments), np.linalg.det(basis @ (d4 - level * c4) @ basis.T)

    return ClosedForm(
        name="pencil_determinant",
        title="Characteristic polynomial of the mean-square edge in two dimensions",
        statement="The mean-square sharpness is the largest root S of this cubic in the second moments of the batch "
        "Hessian.",
        quantity="det(D - S C)",
        quantity_latex=r"\det(D - S\,C)",
        expression=proven((d - S * c).det(), shown),
        arguments=(S, lam1, lam2, *MOMENTS.values()),
        assumptions=(
            INTERPOLATION,
            "two dimensions, in the eigenbasis of the mean Hessian",
            "m_pp = E[p^2], m_pq = E[pq], ... for a batch Hessian with the rows (p, q) and (q, r)",
        ),
        reference="Mulayoff and Michaeli 2024",
        route="determinant of the Kronecker pencil over all batches, on symmetric matrices",
        compare=compare,
    )


def sharpness_form(
    name: str,
    title: str,
    statement: str,
    expression: Any,
    arguments: tuple[Any, ...],
    assumption: str,
    instance: Callable[[np.random.Generator], tuple[tuple[float, ...], FloatArray]],
    quantity: tuple[str, str] = MEAN_SQUARE,
) -> ClosedForm:
    """S_ms in a solvable case; instance(rng): the arguments, and equally likely batch Hessians."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        numbers, batches = instance(rng)
        return formula(*numbers), enumerated_sharpness(batches, np.full(len(batches), 1 / len(batches)))

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=arguments,
        assumptions=(INTERPOLATION, "two dimensions", assumption),
        reference="Mulayoff and Michaeli 2024 for the edge; this project for the case",
        route="largest generalised eigenvalue of the Kronecker pencil over all batches",
        compare=compare,
        tolerance=1e-9,
    )


def sharpness_of_commuting_hessians() -> ClosedForm:
    """q = 0 makes D and C diagonal; the mixed entry is never the largest.

    E[pr]^2 <= E[p^2] E[r^2], and the geometric mean of the eigenvalues is below their arithmetic mean.
    """
    s1, s2 = sp.symbols("s_1 s_2", positive=True)
    d, c = pencil_matrices()
    pp, pq, pr, qq, qr, rr = MOMENTS.values()
    values = {pq: 0, qq: 0, qr: 0, pp: lam1**2 + s1**2, rr: lam2**2 + s2**2}
    ratios = (c.inv() * d).subs(values)
    first = proven(ratios[0, 0], lam1 + s1**2 / lam1)
    last = proven(ratios[2, 2], lam2 + s2**2 / lam2)
    proven(ratios, sp.diag(first, 2 * pr / (lam1 + lam2), last))

    def instance(rng: np.random.Generator) -> tuple[tuple[float, ...], FloatArray]:
        diagonals, _ = batch_means(rng.exponential(size=(5, 2)), 2)
        rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
        batches = np.einsum("ij,kj,lj->kil", rotation, diagonals, rotation)
        return (*diagonals.mean(axis=0), *diagonals.std(axis=0)), batches

    return sharpness_form(
        "sharpness_of_commuting_hessians",
        "Mean-square sharpness of commuting Hessians",
        "If all Hessians have the same eigenvectors, directions do not mix, and the worst one-dimensional edge counts.",
        sp.Max(first, last),
        (lam1, lam2, s1, s2),
        "the batch Hessians commute; eigenvalues have means lambda_k and variances s_k^2",
        instance,
    )


def sharpness_of_isotropic_hessians() -> ClosedForm:
    """Eigenvectors of H_B uniform on the circle: averages over the angle by integration."""
    mu1, mu2, angle = sp.symbols("mu_1 mu_2 phi", positive=True)
    turn = sp.Matrix([[sp.cos(angle), -sp.sin(angle)], [sp.sin(angle), sp.cos(angle)]])
    h = turn * sp.diag(mu1, mu2) * turn.T
    entries = dict(zip((p, q, r), (h[0, 0], h[0, 1], h[1, 1]), strict=True))
    values = {
        symbol: sp.integrate(sp.expand(monomial.subs(entries)), (angle, 0, 2 * sp.pi)) / (2 * sp.pi)
        for monomial, symbol in MOMENTS.items()
    }
    d, c = pencil_matrices()
    mean = (mu1 + mu2) / 2
    ratio = (c.inv() * d).subs({lam1: mean, lam2: mean}).subs(values)
    top, rest = (mu1**2 + mu2**2) / (mu1 + mu2), (mu1 + mu2) / 2
    proven((S * sp.eye(3) - ratio).det(), (S - top) * (S - rest) ** 2)  # top >= rest

    def instance(rng: np.random.Generator) -> tuple[tuple[float, ...], FloatArray]:
        eigenvalues = rng.exponential(size=2)
        angles = rng.uniform(0, np.pi) + np.pi * np.arange(5) / 5  # enough for moments of degree two
        u = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        v = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
        batches = eigenvalues[0] * np.einsum("ki,kj->kij", u, u) + eigenvalues[1] * np.einsum("ki,kj->kij", v, v)
        return tuple(eigenvalues), batches

    return sharpness_form(
        "sharpness_of_isotropic_hessians",
        "Mean-square sharpness of isotropic Hessians",
        "If sharp directions turn from batch to batch, the mean-square sharpness is tr E[H_B^2] / tr Hbar, for "
        "positive semidefinite Hessians up to twice lambda_max.",
        top,
        (mu1, mu2),
        "batch Hessians with eigenvalues mu_1, mu_2 >= 0, not both zero, and eigenvectors uniform on the circle",
        instance,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    pencil_determinant,
    sharpness_of_commuting_hessians,
    sharpness_of_isotropic_hessians,
)
