r"""What Batch Sharpness says on quadratics: about the next loss, and next to the mean-square edge.

.. math:: L_B(x - \eta g_B) - L_B(x) = -\eta|g_B|^2 + \tfrac{\eta^2}{2}g_B^TH_Bg_B, \qquad
          L(x - \eta g_B) - L(x) = -\eta\bar g^Tg_B + \tfrac{\eta^2}{2}g_B^T\bar Hg_B

exactly, so Batch Sharpness (a ratio of expectations) is 2/eta where the batch loss stays the same on average, and GNI
where the full loss does. Least squares with batches of one sample, :math:`g_i = r_ia_i`, :math:`H_i = a_ia_i^T`, is the
case in which Batch Sharpness knows nothing of the parameters. Source: Andreyev and Beneventano 2024 for the quantities.
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

eta, radius = sp.symbols("eta R", positive=True)
h, A = sp.IndexedBase("h", positive=True), sp.IndexedBase("a", real=True)
i, j, k = sp.symbols("i j k", integer=True, nonnegative=True)
n, d = sp.symbols("n d", integer=True, positive=True)
PAPER = "Andreyev and Beneventano 2024"


def mean_power(power: int) -> Any:
    """E[h^power] over n equally likely batch Hessians."""
    return sp.Sum(h[i] ** power, (i, 0, n - 1)) / n


def proven_sum(derived: Any, shown: Any) -> Any:
    """`shown`, once found equal to `derived` for two, three and four batches."""
    for count in (2, 3, 4):
        numbers = [(h[m], sp.Symbol(f"h{m}", positive=True)) for m in range(count)]
        proven(derived.subs(n, count).doit().subs(numbers), shown.subs(n, count).doit().subs(numbers))
    return shown


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
    derived = sp.Sum((h[i] * x) * h[i] * (h[i] * x), (i, 0, n - 1)) / sp.Sum((h[i] * x) ** 2, (i, 0, n - 1))
    return hessian_form(
        "sharpness_at_interpolation",
        "Batch Sharpness at interpolation, in one dimension",
        "Where all losses have one common minimum, Batch Sharpness is a ratio of moments of the batch Hessian, the "
        "same at every error.",
        ("BS", r"\mathrm{BS}"),
        proven_sum(derived, mean_power(3) / mean_power(2)),
        measured_sharpness,
    )


def sharpness_above_edge() -> ClosedForm:
    """E[h^3] / E[h^2] - E[h^2] / E[h], the two fractions brought together."""
    derived = mean_power(3) / mean_power(2) - mean_power(2) / mean_power(1)
    pairs = sp.Sum(sp.Sum(h[i] * h[j] * (h[i] - h[j]) ** 2, (i, 0, n - 1)), (j, 0, n - 1)) / n**2
    return hessian_form(
        "sharpness_above_edge",
        "Batch Sharpness exceeds the mean-square sharpness",
        "The difference is a sum of squares: in one dimension Batch Sharpness reaches 2/eta no later than SGD becomes "
        "unstable, and at the same time only if all batches have the same Hessian.",
        ("BS - S_ms", r"\mathrm{BS} - S_{\mathrm{ms}}"),
        proven_sum(derived, pairs / (2 * mean_power(2) * mean_power(1))),
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
        statement="As an expectation of ratios it is the trace of the Hessian wherever the parameters are.",
        quantity="E[g_B' H_B g_B / |g_B|^2] = tr Hbar",
        quantity_latex=r"\mathbb{E}\,\frac{g_B^\top H_Bg_B}{|g_B|^2} = \mathrm{tr}\,\bar H",
        expression=shown,
        arguments=(A, n, d),
        assumptions=("least squares with rows a_i", "batches of one sample", "no residual is zero"),
        reference="this project",
        route="mean of the ratios of all samples at random residuals",
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
            "batches of one sample",
            "interpolation for S_ms",
        ),
        reference="this project",
        route="largest generalised eigenvalue of the Kronecker pencil over all samples",
        compare=compare,
        tolerance=1e-9,
    )


def loss_change_form(name: str, title: str, statement: str, same: bool) -> ClosedForm:
    """The expected loss change of a step: of the batch loss itself, or of the full loss."""
    hessian = sp.Matrix(2, 2, sp.symbols("H11 H12 H12 H22"))
    x, centre, noise = (sp.Matrix(sp.symbols(f"{letter}1:3")) for letter in "xcz")

    def loss(at: Any) -> Any:
        return ((at - centre).T * hessian * (at - centre))[0] / 2

    gradient = hessian * (x - centre)
    step = gradient if same else gradient + noise
    change = loss(x - eta * step) - loss(x)
    change = change if same else change + eta * gradient.dot(noise)  # E[noise] = 0
    square, curvature = gradient.dot(gradient), (step.T * hessian * step)[0]
    proven(change, -eta * square + eta**2 / 2 * curvature)
    mean_square, sharpness = sp.symbols("G S", positive=True)  # E of `square`, and E of `curvature` over it
    derived = -eta * mean_square + eta**2 / 2 * sharpness * mean_square
    shown = -eta * mean_square * (1 - eta * sharpness / 2)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        factor = rng.normal(size=(5, 3, 3))
        hs, cs, at = factor @ factor.transpose(0, 2, 1), rng.normal(size=(5, 3)), rng.normal(size=3)
        size = float(rng.uniform(0.05, 0.5))
        gb, p = batch_means(np.einsum("nij,nj->ni", hs, at - cs), 2)
        hb, _ = batch_means(hs, 2)
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
        expression=proven(derived, shown),
        arguments=(eta, mean_square, sharpness),
        assumptions=("quadratic losses, fixed parameters", batch if same else whole),
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


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    batch_loss_change,
    full_loss_change,
    sharpness_at_interpolation,
    sharpness_above_edge,
    single_sample_sharpness,
    equal_norm_edge,
)
