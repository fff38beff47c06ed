r"""Mean-square edges of least squares in high dimension: the Volterra recursion and homogenised SGD.

Let :math:`\lambda_1, \dots, \lambda_d` be the eigenvalues of the Hessian H of the population, x the error of the
parameters, and :math:`p_i = \mathbb{E}\,x_i^2` its second moments along the eigenvectors. With Gaussian rows and
batches of b fresh samples SGD obeys, at interpolation and up to a term that is small if no direction dominates,

.. math:: p_i^+ = (1-\eta\lambda_i)^2p_i + \tfrac{\eta^2}{b}\lambda_i\textstyle\sum_j\lambda_jp_j,

and homogenised SGD, :math:`dX = -\nabla L\,dt + \sqrt{(\eta/b)\,2L\,H}\,dW` with :math:`L = \tfrac12X^\top HX`, obeys

.. math:: \dot p_i = -2\lambda_ip_i + \tfrac{\eta}{b}\lambda_i\textstyle\sum_j\lambda_jp_j.

Both are a diagonal matrix plus one of rank one, so the matrix determinant lemma turns the edge into one scalar
equation, K = 1; it is proven here for two and three eigenvalues. Sources: Paquette et al. 2021; Agarwala and Pennington
2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula
from .enumerated_batches import crossing, spectral_radius
from .sums import proven_for_sizes

eta, b = sp.symbols("eta b", positive=True)
lam = sp.IndexedBase("lambda", positive=True)
i, d = sp.symbols("i d", integer=True, positive=True)
RECURSION = (
    "least squares with Gaussian rows, at interpolation; lambda_i are the eigenvalues of the mean Hessian",
    "independent batches of b fresh samples",
    "many directions, none dominant: the exact Gaussian recursion has one more term, (eta lambda_i)^2 p_i / b",
)


def spectral_sum(term: Callable[[Any], Any]) -> Any:
    """The sum of a term over the eigenvalues lambda[0], ..., lambda[d-1]."""
    return sp.Sum(term(lam[i]), (i, 0, d - 1))


def criterion_of(loss_of_mode: Callable[[Any], Any], gain: Any) -> Callable[[list[Any]], Any]:
    """1 - det(R) / det(D) of R = D - gain lambda lambda', D = diag(loss of a mode): R is singular where it is 1."""

    def criterion(values: list[Any]) -> Any:
        column = sp.Matrix(values)
        diagonal = sp.diag(*(loss_of_mode(value) for value in values))
        return sp.cancel(1 - (diagonal - gain * column * column.T).det() / diagonal.det())

    return criterion


def criterion_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    criterion: Callable[[list[Any]], Any],
    shown: Any,
    assumptions: tuple[str, ...],
    route: str,
    growth: Callable[[FloatArray, int, float], float],
    reference: str,
) -> ClosedForm:
    """A criterion that is 1 at the edge; growth(eigenvalues, b, eta) is the numerical growth factor of p."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        values = rng.uniform(0.2, 2.0, size=int(rng.integers(3, 9)))
        batch = int(rng.integers(1, 9))
        step = crossing(lambda eta: growth(values, batch, eta), 0.01 / values.sum())
        return formula(step, batch, values, len(values)), 1.0

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=proven_for_sizes(criterion, shown, lam, d),
        arguments=(eta, b, lam, d),
        assumptions=assumptions,
        reference=reference,
        route=route,
        compare=compare,
        tolerance=1e-9,
    )


def volterra_edge() -> ClosedForm:
    def growth(values: FloatArray, batch: int, step: float) -> float:
        return spectral_radius(np.diag((1 - step * values) ** 2) + step**2 / batch * np.outer(values, values))

    return criterion_form(
        "volterra_edge",
        "Edge of high-dimensional least squares",
        "SGD is stable if and only if this sum is below 1 (and eta lambda_max below 2): all directions together feed "
        "noise into each.",
        ("K(eta)", r"K(\eta)"),
        criterion_of(lambda value: 1 - (1 - eta * value) ** 2, eta**2 / b),
        spectral_sum(lambda value: eta * value / (b * (2 - eta * value))),
        (*RECURSION, "the edge is where K is 1"),
        "K is 1 where the spectral radius of the recursion is",
        growth,
        "Paquette et al. 2021; Agarwala and Pennington 2024",
    )


def homogenized_edge() -> ClosedForm:
    def growth(values: FloatArray, batch: int, step: float) -> float:
        rate = step / batch * np.outer(values, values) - 2 * np.diag(values)
        return 1.0 + float(np.linalg.eigvalsh(rate)[-1])

    return criterion_form(
        "homogenized_edge",
        "Edge of homogenised SGD",
        "The continuous-time limit has an edge of noise only, where this sum is 1, at eta tr H = 2b: the factor "
        "2 - eta lambda of the recursion has become 2.",
        ("K(eta)", r"K(\eta)"),
        criterion_of(lambda value: 2 * value, eta / b),
        spectral_sum(lambda value: eta * value / (2 * b)),
        ("dX = -grad L dt + sqrt(2 eta L H / b) dW with L = X'HX/2", "the edge is where K is 1"),
        "1 where the growth rate of the second moments is zero",
        growth,
        "Paquette et al. 2021",
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (volterra_edge, homogenized_edge)
