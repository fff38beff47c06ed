r"""What Batch Sharpness says about one step of SGD on quadratics, exactly and for every step size.

.. math:: L_B(x - \eta g_B) - L_B(x) = -\eta|g_B|^2 + \tfrac{\eta^2}{2}g_B^\top H_Bg_B, \qquad
          L(x - \eta g_B) - L(x) = -\eta\bar g^\top g_B + \tfrac{\eta^2}{2}g_B^\top\bar Hg_B

Batch Sharpness (the ratio of the expectations of :math:`g_B^\top H_Bg_B` and :math:`|g_B|^2`) is therefore
:math:`2/\eta` where the batch loss stays the same on average, and GNI is :math:`2/\eta` where the full loss does. The
gradient of the same batch after the step is

.. math:: \nabla L_B(x - \eta g_B) = (I - \eta H_B)g_B,

so that by the Cauchy-Schwarz inequality it grows at least by the factor that Batch Sharpness says; the last two
formulas are this inequality with what is missing to an equality. The Hessians may have any sign. Source: Andreyev and
Beneventano 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import batch_means

eta = sp.Symbol("eta", positive=True)
sharpness = sp.Symbol("S", real=True)
PAPER = "Andreyev and Beneventano 2024"
FIXED = "quadratic losses, fixed parameters"


class Problem(NamedTuple):
    """Random quadratics (x - c_i)' H_i (x - c_i) / 2 with Hessians of any sign, and what all batches say at x."""

    hessians: FloatArray
    centres: FloatArray
    x: FloatArray
    batch_gradients: FloatArray
    batch_hessians: FloatArray
    chances: FloatArray
    step: float


def random_problem(rng: np.random.Generator) -> Problem:
    factor, centres, x = rng.normal(size=(5, 3, 3)), rng.normal(size=(5, 3)), rng.normal(size=3)
    hessians = factor + factor.transpose(0, 2, 1)
    gradients, p = batch_means(np.einsum("nij,nj->ni", hessians, x - centres), 2)
    return Problem(hessians, centres, x, gradients, batch_means(hessians, 2)[0], p, float(rng.uniform(0.05, 0.5)))


def quadratic() -> tuple[Any, Any, Any, Any]:
    """(loss, x, H, gradient) of one quadratic with two parameters, all symbolic."""
    hessian = sp.Matrix(2, 2, sp.symbols("H11 H12 H12 H22"))
    x, centre = (sp.Matrix(sp.symbols(f"{letter}1:3")) for letter in "xc")
    return ((x - centre).T * hessian * (x - centre))[0] / 2, x, hessian, hessian * (x - centre)


def moved(expression: Any, x: Any, by: Any) -> Any:
    """The expression at x + by."""
    return expression.subs(list(zip(x, x + by, strict=True)), simultaneous=True)


def loss_change_form(name: str, title: str, statement: str, same: bool) -> ClosedForm:
    """The expected loss change of a step: of the batch loss itself, or of the full loss."""
    loss, x, hessian, gradient = quadratic()
    noise = sp.Matrix(sp.symbols("z1:3"))
    step = gradient if same else gradient + noise
    change = moved(loss, x, -eta * step) - loss
    change = change if same else change + eta * gradient.dot(noise)  # E[noise] = 0
    proven(change, -eta * gradient.dot(gradient) + eta**2 / 2 * (step.T * hessian * step)[0])
    mean_square = sp.Symbol("G", positive=True)  # E of the square, and S that of the curvature over it
    derived = -eta * mean_square + eta**2 / 2 * sharpness * mean_square

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        hs, cs, at, gb, hb, p, size = random_problem(rng)
        mean, full = hs.mean(axis=0), gb.mean(axis=0)
        scale = p @ (gb**2).sum(axis=1) if same else full @ full
        curved = np.einsum("k,ki,kij,kj->", p, gb, hb if same else np.broadcast_to(mean, hb.shape), gb)

        def losses(points: FloatArray) -> FloatArray:  # of each batch at its point
            parts = points[:, None, :] - cs
            each: FloatArray = np.einsum("kni,nij,knj->kn", parts, hs, parts) / 2
            weights, _ = batch_means(np.eye(5), 2)
            return (each * weights).sum(axis=1) if same else each.mean(axis=1)

        start = np.broadcast_to(at, gb.shape)
        return formula(size, scale, curved / scale), p @ (losses(start - size * gb) - losses(start))

    batch = "S is Batch Sharpness E[g_B'H_B g_B] / G, G = E|g_B|^2"
    whole = "S is GNI = E[g_B'Hbar g_B] / G, G = |gbar|^2"
    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity="E[L_B(x - eta g_B) - L_B(x)]" if same else "E[L(x - eta g_B)] - L(x)",
        quantity_latex=r"\mathbb{E}[L_B(x - \eta g_B) - L_B(x)]" if same else r"\mathbb{E}\,L(x - \eta g_B) - L(x)",
        expression=proven(derived, -eta * mean_square * (1 - eta * sharpness / 2)),
        arguments=(eta, mean_square, sharpness),
        assumptions=(FIXED, batch if same else whole),
        reference=PAPER,
        route="losses before and after the step of every batch",
        compare=compare,
    )


def batch_loss_change() -> ClosedForm:
    return loss_change_form(
        "batch_loss_change",
        "Expected change of the batch loss in its own step",
        "The loss of the batch stays the same on average if and only if Batch Sharpness is 2/eta.",
        same=True,
    )


def full_loss_change() -> ClosedForm:
    return loss_change_form(
        "full_loss_change",
        "Expected change of the full loss in a step",
        "The full loss stays the same on average if and only if GNI is 2/eta.",
        same=False,
    )


def growth_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    expression: Any,
    arguments: tuple[Any, ...],
    definitions: tuple[str, ...],
    values: Callable[[Problem], tuple[tuple[float, ...], float]],
) -> ClosedForm:
    """Growth of the batch gradient; values(problem): the arguments after eta, and the growth after the steps."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        problem = random_problem(rng)
        numbers, truth = values(problem)
        return formula(problem.step, *numbers), truth

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=(eta, *arguments),
        assumptions=(FIXED, "g_B^+ is the gradient of the same batch at x - eta g_B", *definitions),
        reference="this project, after " + PAPER,
        route="gradients of every batch before and after its step, Hessians of any sign",
        compare=compare,
    )


def squares_after(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """|g_B|^2 of every batch before its step and after it, from the samples' gradients at the new points."""
    points = problem.x - problem.step * problem.batch_gradients
    samples = np.einsum("nij,knj->kni", problem.hessians, points[:, None, :] - problem.centres)
    weights, _ = batch_means(np.eye(5), 2)
    after = np.einsum("kn,kni->ki", weights, samples)
    return (problem.batch_gradients**2).sum(axis=1), (after**2).sum(axis=1)


def batch_gradient_growth() -> ClosedForm:
    loss, x, hessian, gradient = quadratic()
    after = sp.Matrix([moved(sp.diff(loss, entry), x, -eta * gradient) for entry in x])
    square, curvature = gradient.dot(gradient), (gradient.T * hessian * gradient)[0]
    rest = hessian * gradient - sharpness * gradient
    cross = 2 * eta * (1 - eta * sharpness) * (curvature - sharpness * square)  # zero on average, by what S is
    proven(after.dot(after) + cross, (1 - eta * sharpness) ** 2 * square + eta**2 * rest.dot(rest))
    spread = sp.Symbol("D", nonnegative=True)

    def values(problem: Problem) -> tuple[tuple[float, ...], float]:
        g, h, p = problem.batch_gradients, problem.batch_hessians, problem.chances
        before, after = squares_after(problem)
        curved = np.einsum("kij,kj->ki", h, g)
        ratio = float(p @ (g * curved).sum(axis=1) / (p @ before))
        return (ratio, float(p @ ((curved - ratio * g) ** 2).sum(axis=1) / (p @ before))), float(
            p @ after / (p @ before)
        )

    return growth_form(
        "batch_gradient_growth",
        "Growth of the batch gradient in its own step",
        "The mean square of the gradient of the same batch grows at least by (1 - eta S)^2, so it grows whenever Batch "
        "Sharpness exceeds 2/eta; what comes on top is zero if and only if every batch gradient is an eigenvector of "
        "its Hessian to the same eigenvalue.",
        ("E|g_B^+|^2 / E|g_B|^2", r"\frac{\mathbb{E}\,|g_B^+|^2}{\mathbb{E}\,|g_B|^2}"),
        (1 - eta * sharpness) ** 2 + eta**2 * spread,
        (sharpness, spread),
        (
            "S is Batch Sharpness, E[g_B'H_B g_B] / E|g_B|^2",
            "D = E|H_B g_B - S g_B|^2 / E|g_B|^2",
        ),
        values,
    )


def batch_gradient_growth_of_ratios() -> ClosedForm:
    own, spread, variance = sp.symbols("s_B D V", real=True)
    # |g'|^2 / |g|^2 of one batch, by the derivation above with the quotient s_B of that batch in place of S
    one = (1 - eta * own) ** 2 + eta**2 * spread
    powers = {2: variance + sharpness**2, 1: sharpness, 0: 1}
    derived = sum(value * powers[power] for (power,), value in sp.Poly(sp.expand(one), own).terms())

    def values(problem: Problem) -> tuple[tuple[float, ...], float]:
        g, h, p = problem.batch_gradients, problem.batch_hessians, problem.chances
        before, after = squares_after(problem)
        curved = np.einsum("kij,kj->ki", h, g)
        ratios = (g * curved).sum(axis=1) / before
        mean = float(p @ ratios)
        rest = ((curved - ratios[:, None] * g) ** 2).sum(axis=1) / before
        return (mean, float(p @ (ratios - mean) ** 2), float(p @ rest)), float(p @ (after / before))

    return growth_form(
        "batch_gradient_growth_of_ratios",
        "Mean growth of the batch gradient in its own step",
        "The same for Batch Sharpness as an expectation of ratios: the mean growth is at least (1 - eta S)^2, and the "
        "spread of the ratios over the batches adds to it.",
        ("E[|g_B^+|^2 / |g_B|^2]", r"\mathbb{E}\,\frac{|g_B^+|^2}{|g_B|^2}"),
        proven(derived, (1 - eta * sharpness) ** 2 + eta**2 * (variance + spread)),
        (sharpness, variance, spread),
        (
            "no batch gradient is zero",
            "S and V are mean and variance over batches of s_B = g_B'H_B g_B / |g_B|^2",
            "D = E[|H_B g_B - s_B g_B|^2 / |g_B|^2]",
        ),
        values,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    batch_loss_change,
    full_loss_change,
    batch_gradient_growth,
    batch_gradient_growth_of_ratios,
)
