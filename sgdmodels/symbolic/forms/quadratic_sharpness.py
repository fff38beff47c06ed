r"""Batch Sharpness next to the mean-square edge of quadratics.

In one dimension, where all losses have one common minimum, a batch of Hessian h has the gradient hx, and so

.. math:: \mathrm{BS} = \frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}
          = \frac{\mathbb{E}\,h^3}{\mathbb{E}\,h^2}, \qquad S_{\mathrm{ms}} = \frac{\mathbb{E}\,h^2}{\mathbb{E}\,h}.

For least squares,

.. math:: l_i = \tfrac12r_i^2, \qquad r_i = a_i^\top x - y_i, \qquad g_i = r_ia_i, \qquad H_i = a_ia_i^\top,

with batches of one sample the ratio :math:`g_i^\top H_ig_i/|g_i|^2 = |a_i|^2` does not know the parameters. Sources:
Andreyev and Beneventano 2024 for Batch Sharpness, Mulayoff and Michaeli 2024 for the mean-square sharpness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means
from .second_moments import enumerated_sharpness
from .sums import proven_for_sizes

radius = sp.Symbol("R", positive=True)
h = sp.IndexedBase("h", positive=True)
A, residuals = sp.IndexedBase("a", real=True), sp.IndexedBase("r", real=True)
i, j, k = sp.symbols("i j k", integer=True, nonnegative=True)
n, d = sp.symbols("n d", integer=True, positive=True)
ROWS = "least squares with rows a_i, none of them zero"
SINGLE = "batches of one sample"


def mean_power(power: int) -> Any:
    """E[h^power] over n equally likely batch Hessians."""
    return sp.Sum(h[i] ** power, (i, 0, n - 1)) / n


def mean(values: list[Any]) -> Any:
    """E over equally likely batches."""
    return sum(values) / len(values)


def hessian_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    expression: Any,
    truth: Callable[[FloatArray], float],
) -> ClosedForm:
    """A closed form in the batch Hessians h[0], ..., h[n-1] of one dimension."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        batches, _ = batch_means(rng.exponential(size=5), int(rng.integers(1, 4)))
        return formula(batches, len(batches)), truth(batches)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=(h, n),
        assumptions=(
            "one dimension, interpolating minimum of quadratics",
            "n equally likely batches of Hessians h > 0",
        ),
        reference="this project",
        route="gradients g = h x of all batches at a random error x, and the Kronecker pencil",
        compare=compare,
    )


def measured_sharpness(batches: FloatArray) -> float:
    """E[g h g] / E[g^2] with g = h x at some error x."""
    g = batches * 0.7
    return float((g * batches * g).mean() / (g * g).mean())


def sharpness_at_interpolation() -> ClosedForm:
    x = sp.Symbol("x", positive=True)

    def derived(values: list[Any]) -> Any:
        return mean([(value * x) * value * (value * x) for value in values]) / mean(
            [(value * x) ** 2 for value in values]
        )

    return hessian_form(
        "sharpness_at_interpolation",
        "Batch Sharpness at interpolation, in one dimension",
        "Where all losses have one common minimum, Batch Sharpness is a ratio of moments of the batch Hessian, the "
        "same at every error.",
        ("BS", r"\mathrm{BS}"),
        proven_for_sizes(derived, mean_power(3) / mean_power(2), h, n),
        measured_sharpness,
    )


def sharpness_above_edge() -> ClosedForm:
    """E[h^3] / E[h^2] - E[h^2] / E[h], the two fractions brought together."""

    def derived(values: list[Any]) -> Any:
        first, second, third = (mean([value**power for value in values]) for power in (1, 2, 3))
        return third / second - second / first

    pairs = sp.Sum(sp.Sum(h[i] * h[j] * (h[i] - h[j]) ** 2, (i, 0, n - 1)), (j, 0, n - 1)) / n**2
    return hessian_form(
        "sharpness_above_edge",
        "Batch Sharpness exceeds the mean-square sharpness",
        "The difference is a sum of squares: in one dimension Batch Sharpness reaches 2/eta no later than SGD becomes "
        "unstable, and at the same time only if all batches have the same Hessian.",
        ("BS - S_ms", r"\mathrm{BS} - S_{\mathrm{ms}}"),
        proven_for_sizes(derived, pairs / (2 * mean_power(2) * mean_power(1)), h, n),
        lambda batches: (
            measured_sharpness(batches)
            - enumerated_sharpness(batches[:, None, None], np.full(len(batches), 1 / len(batches)))
        ),
    )


def single_sample_sharpness() -> ClosedForm:
    """g = r a and H = a a' for each sample: the residual r cancels."""
    row, residual = sp.Matrix(sp.symbols("a1:4", real=True)), sp.Symbol("r", nonzero=True)
    g = residual * row
    proven(sp.cancel((g.T * row * row.T * g)[0] / g.dot(g)), row.dot(row))
    shown = sp.Sum(sp.Sum(A[i, k] ** 2, (k, 0, d - 1)), (i, 0, n - 1)) / n  # the mean over samples of what is proven

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rows, errors = rng.normal(size=(6, 4)), rng.normal(size=6)
        gradients, hessians = errors[:, None] * rows, rows[:, :, None] * rows[:, None, :]
        ratios = np.einsum("ni,nij,nj->n", gradients, hessians, gradients) / (gradients**2).sum(axis=1)
        return formula(rows, 6, 4), ratios.mean()

    return ClosedForm(
        name="single_sample_sharpness",
        title="Batch Sharpness of least squares at batch size one",
        statement="As an expectation of ratios Batch Sharpness is the trace of the Hessian, wherever the parameters "
        "are.",
        quantity="E[g_B' H_B g_B / |g_B|^2] = tr Hbar",
        quantity_latex=r"\mathbb{E}\,\frac{g_B^\top H_Bg_B}{|g_B|^2} = \mathrm{tr}\,\bar H",
        expression=shown,
        arguments=(A, n, d),
        assumptions=(ROWS, SINGLE, "no residual is zero"),
        reference="this project",
        route="mean of the ratios of all samples at random residuals",
        compare=compare,
    )


def single_sample_ratio() -> ClosedForm:
    row, residual = sp.Matrix(sp.symbols("a1:4", real=True)), sp.Symbol("r", real=True)
    g = residual * row
    proven((g.T * row * row.T * g)[0], residual**2 * row.dot(row) ** 2)
    proven(g.dot(g), residual**2 * row.dot(row))
    norm = sp.Sum(A[i, k] ** 2, (k, 0, d - 1))
    top, bottom = (sp.Sum(residuals[i] ** 2 * norm**power, (i, 0, n - 1)) for power in (2, 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rows, errors = rng.normal(size=(6, 4)), rng.normal(size=6)
        gradients, hessians = errors[:, None] * rows, rows[:, :, None] * rows[:, None, :]
        truth = np.einsum("ni,nij,nj->", gradients, hessians, gradients) / (gradients**2).sum()
        return formula(rows, errors, 6, 4), truth

    return ClosedForm(
        name="single_sample_ratio",
        title="Batch Sharpness of least squares at batch size one, as a ratio of expectations",
        statement="As a ratio of expectations Batch Sharpness is a mean of the squared norms of the rows, each with "
        "the weight of its squared gradient: samples of large residuals count most.",
        quantity="E[g_B' H_B g_B] / E|g_B|^2",
        quantity_latex=r"\frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}",
        expression=top / bottom,
        arguments=(A, residuals, n, d),
        assumptions=(ROWS, SINGLE, "r_i are the residuals, not all of them zero"),
        reference="this project",
        route="gradients and Hessians of all samples at random residuals",
        compare=compare,
    )


def equal_norm_edge() -> ClosedForm:
    """tr D(X) = R tr(Hbar X) = R tr C(X) for every X; on the critical mode D(X) = S_ms C(X), and its trace is positive.

    The identity is linear in the law of the sample, so that it is enough to prove it for one.
    """
    angle = sp.Symbol("phi", real=True)
    row = sp.sqrt(radius) * sp.Matrix([sp.cos(angle), sp.sin(angle)])
    mode = sp.Matrix(2, 2, sp.symbols("X11 X12 X12 X22"))
    hessian = row * row.T
    numerator, denominator = (hessian * mode * hessian).trace(), (hessian * mode + mode * hessian).trace() / 2

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        size, dimension = float(rng.uniform(0.5, 3)), int(rng.integers(2, 4))
        rows = rng.normal(size=(6, dimension))
        rows *= np.sqrt(size) / np.linalg.norm(rows, axis=1)[:, None]
        return formula(size), enumerated_sharpness(rows[:, :, None] * rows[:, None, :], np.full(6, 1 / 6))

    return ClosedForm(
        name="equal_norm_edge",
        title="The family in which Batch Sharpness is the edge",
        statement="With single samples of one common norm both the mean-square sharpness and Batch Sharpness are the "
        "trace of the Hessian: here BS = 2/eta is the edge of stability itself.",
        quantity="S_ms = BS = tr Hbar",
        quantity_latex=r"S_{\mathrm{ms}} = \mathrm{BS} = \mathrm{tr}\,\bar H",
        expression=proven(sp.simplify(numerator / denominator), radius),
        arguments=(radius,),
        assumptions=(
            "least squares with |a_i|^2 = R for all samples",
            SINGLE,
            "interpolation for S_ms; not all residuals are zero for BS",
        ),
        reference="this project",
        route="largest generalised eigenvalue of the Kronecker pencil over all samples",
        compare=compare,
        tolerance=1e-9,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    sharpness_at_interpolation,
    sharpness_above_edge,
    single_sample_sharpness,
    single_sample_ratio,
    equal_norm_edge,
)
