r"""True of one step of SGD on per-sample quadratics: what Batch Sharpness and GNI do say, exactly.

With :math:`\theta_B^+ = \theta - \eta g_B` a batch's own gradient becomes :math:`(I - \eta H_B)g_B`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import FloatArray
from ..claim import Claim
from ..point import Point
from . import regions
from .rounding import (
    batch_conditions,
    curvature_size,
    full_gradient_is_clear,
    gradient_sizes,
    gradient_square,
    gradients_are_clear,
    location_sizes,
    mean_condition,
    mean_gradient_condition,
    ratio_scale,
    square_condition,
)

QUADRATIC = "Per-sample quadratics, Hessians of any sign, any parameters, any sampling scheme."
INTERPOLATING = "Positive semi-definite quadratics that share a minimum; x is the error, not in every kernel."
CLEAR = "Some batch has a gradient; batches without one are left out of means of ratios."
PAPER = "Theorem 1 of Andreyev and Beneventano 2024, with explicit constants"


def stepped(point: Point) -> FloatArray:
    """theta after a step on each batch, shape (m, d)."""
    return point.theta - point.eta * point.batches().gradients


def growths(point: Point) -> tuple[FloatArray, FloatArray]:
    """|g_B|^2 after and before a step on the same batch, each of shape (m,)."""
    table = point.batches()
    after = np.array([w @ point.model.sample_gradients(x) for w, x in zip(table.weights, stepped(point), strict=True)])
    return np.sum(after**2, axis=1), np.sum(table.gradients**2, axis=1)


def amplification(point: Point) -> float:
    """(1 + eta |H|)^2, what a step may multiply squares by."""
    return (1 + 2 * point.eta * curvature_size(point)) ** 2


def growth_of_ratios(point: Point) -> tuple[Any, ...]:
    after, before = growths(point)
    alive = batch_conditions(point) > 0
    growth = np.average(after[alive] / before[alive], weights=point.batches().probability[alive])
    bound = (1 - point.eta * point.batch_sharpness_mean_ratio) ** 2
    return bound, float(growth), amplification(point) * mean_condition(point)


def ratio_of_growths(point: Point) -> tuple[Any, ...]:
    table = point.batches()
    after, before = (float(table.mean(squares)) for squares in growths(point))
    if before == 0:
        return np.nan, np.nan, 0.0
    bound = (1 - point.eta * point.batch_sharpness) ** 2
    return bound, after / before, amplification(point) * square_condition(point)


def loss_scale(point: Point) -> float:
    """The largest term of a loss before or after a step."""
    norms = np.linalg.norm(point.hessians, axis=(1, 2))
    largest = max(np.max(norms * location_sizes(point) ** 2), np.max(abs(point.model.sample_losses(point.theta))))
    return amplification(point) * float(largest)


def same_batch_change(point: Point) -> float:
    """E[L_B(theta_B+) - L_B(theta)] by enumeration."""
    table, before = point.batches(), point.model.sample_losses(point.theta)
    after = [w @ (point.model.sample_losses(x) - before) for w, x in zip(table.weights, stepped(point), strict=True)]
    return float(table.mean(np.array(after)))


def full_change(point: Point) -> float:
    """E[L(theta_B+)] - L(theta) by enumeration."""
    before = point.model.sample_losses(point.theta)
    after = np.array([np.mean(point.model.sample_losses(x) - before) for x in stepped(point)])
    return float(point.batches().mean(after))


def same_batch_identity(point: Point) -> tuple[Any, ...]:
    right = -point.eta * gradient_square(point) * (1 - point.eta * point.batch_sharpness / 2)
    return same_batch_change(point), right, loss_scale(point)


def full_identity(point: Point) -> tuple[Any, ...]:
    square = float(point.mean_gradient @ point.mean_gradient)
    right = -point.eta * square * (1 - point.eta * point.gni / 2)
    interaction = point.eta**2 * abs(point.gni) * square * mean_gradient_condition(point)
    return full_change(point), right, loss_scale(point) + interaction


def twice_loss(point: Point) -> float:
    """x'Hbar x of the error x = theta."""
    return float(point.theta @ point.mean_hessian @ point.theta)


def loss_is_clear(point: Point) -> bool:
    return twice_loss(point) > 1e-9 * curvature_size(point) * float(point.theta @ point.theta)


def square_over_loss(point: Point) -> tuple[Any, ...]:
    left = gradient_square(point) / twice_loss(point)
    size = curvature_size(point) * float(point.theta @ point.theta)
    return left, point.batch_sharpness, ratio_scale(point) + left * size / twice_loss(point)


def distance_change(point: Point) -> tuple[Any, ...]:
    square = float(point.theta @ point.theta)
    change = float(point.batches().mean(np.sum(stepped(point) ** 2, axis=1))) - square
    right = -point.eta * twice_loss(point) * (2 - point.eta * point.batch_sharpness)
    amplified = amplification(point) * square * (1 + square_condition(point))
    return change, right, amplified


def distance_change_identity(point: Point) -> tuple[Any, ...]:
    """The change of |x|^2 by enumeration, and from E|g_B|^2."""
    change, _, scale = distance_change(point)
    return change, -2 * point.eta * twice_loss(point) + point.eta**2 * gradient_square(point), scale


def step_sharpness(point: Point) -> tuple[Any, ...]:
    table, x = point.batches(), point.theta
    g, h = table.gradients, table.hessians
    losses = np.einsum("i,mij,j->m", x, h, x)
    alive = losses > 1e-9 * curvature_size(point) * float(x @ x)
    g, h, losses = g[alive], h[alive], losses[alive]
    squares = np.sum(g**2, axis=1)
    size = curvature_size(point) * (1 + float(np.max(gradient_sizes(point))) / np.sqrt(squares))
    return (
        squares / losses,
        np.einsum("mi,mij,mj->m", g, h, g) / squares,
        size * curvature_size(point) * (float(x @ x) / losses),
    )


CATAPULT_E = Claim(
    "(1 - eta BS_E)^2 <= E[|g_B+|^2 / |g_B|^2]",
    "Beyond Batch Sharpness (mean of ratios) 2/eta, a batch's own gradient grows on average by a step on it.",
    growth_of_ratios,
    regions.quadratics_with_steps,
    kind="one-step",
    defined=gradients_are_clear,
    formula=r"(1 - \eta\mathrm{BS}_E)^2 \le E_B\big[\|\nabla L_B(\theta_B^+)\|^2 / \|g_B\|^2\big]",
    assumptions=(QUADRATIC, CLEAR),
    proof="|(I - eta H)g| >= |g'(I - eta H)g| / |g| (Cauchy-Schwarz), then Jensen over batches.",
    reference="B-Thm (i), I13; " + PAPER,
)
CATAPULT_R = Claim(
    "(1 - eta BS_R)^2 <= E|g_B+|^2 / E|g_B|^2",
    "Beyond Batch Sharpness (ratio of means) 2/eta, the mean square of batch gradients grows by steps on themselves.",
    ratio_of_growths,
    regions.quadratics_with_steps,
    kind="one-step",
    formula=r"(1 - \eta\mathrm{BS}_R)^2 \le E_B\|\nabla L_B(\theta_B^+)\|^2 / E_B\|g_B\|^2",
    assumptions=(QUADRATIC, "Some batch has a gradient."),
    proof="|(I - eta H)g| >= |g'(I - eta H)g| / |g|, then Cauchy-Schwarz over batches.",
    reference="B-Thm (ii), I13; " + PAPER,
)
SAME_BATCH = Claim(
    "E[L_B(theta_B+) - L_B(theta)] = -eta E|g_B|^2 (1 - eta BS_R / 2)",
    "Batch Sharpness (ratio of means) 2/eta is exactly where a step stops lowering the loss of its own batch.",
    same_batch_identity,
    regions.quadratics_with_steps,
    kind="one-step",
    relation="==",
    formula=r"E_B[L_B(\theta_B^+) - L_B(\theta)] = -\eta E\|g_B\|^2(1 - \tfrac{\eta}{2}\mathrm{BS}_R)",
    assumptions=(QUADRATIC, "Some batch has a gradient."),
    proof="Taylor's formula is exact: -eta |g_B|^2 + (eta^2 / 2) g_B'H_B g_B.",
    reference="B-Thm (iii)",
)
FULL_LOSS = Claim(
    "E[L(theta_B+)] - L(theta) = -eta |gbar|^2 (1 - eta GNI / 2)",
    "Gradient-noise interaction 2/eta is exactly where a step stops lowering the full loss on average.",
    full_identity,
    regions.quadratics_with_steps,
    kind="one-step",
    defined=full_gradient_is_clear,
    relation="==",
    formula=r"E_B[L(\theta_B^+)] - L(\theta) = -\eta\|\bar g\|^2(1 - \tfrac{\eta}{2}\mathrm{GNI})",
    assumptions=(QUADRATIC, "The full gradient is not zero."),
    proof="Taylor's formula is exact, and E[g_B] is the full gradient.",
    reference="I14",
)
LOSS_RATIO = Claim(
    "E|g_B|^2 / x'Hx <= BS_R",
    "Near an interpolating minimum Batch Sharpness (ratio of means) is at least the square of gradients over the loss.",
    square_over_loss,
    regions.interpolating,
    defined=loss_is_clear,
    formula=r"E\|g_B\|^2 / (x^T\bar Hx) \le \mathrm{BS}_R",
    assumptions=(INTERPOLATING, "Any sampling scheme."),
    proof="|H_B x|^4 <= (x'H_B x)(x'H_B^3 x) batch by batch, then Cauchy-Schwarz over batches.",
    reference="I15",
)
DISTANCE = Claim(
    "E|x+|^2 - |x|^2 <= -eta x'Hx (2 - eta BS_R)",
    "Where Batch Sharpness (ratio of means) is below 2/eta, a step brings SGD closer to an interpolating minimum.",
    distance_change,
    regions.interpolating_with_steps,
    kind="one-step",
    formula=r"E\|x^+\|^2 - \|x\|^2 \le -\eta\,x^T\bar Hx\,(2 - \eta\mathrm{BS}_R)",
    assumptions=(INTERPOLATING, "Any sampling scheme."),
    proof="E|x+|^2 = |x|^2 - 2 eta x'Hx + eta^2 E|g_B|^2, and E|g_B|^2 <= BS_R x'Hx.",
    reference="I15",
)
STEP = Claim(
    "|g_B|^2 / x'H_B x <= s_B",
    "Near an interpolating minimum the curvature along a batch's gradient is at least its square over twice its loss.",
    step_sharpness,
    regions.interpolating,
    defined=loss_is_clear,
    formula=r"\|g_B\|^2 / (x^TH_Bx) \le g_B^TH_Bg_B / \|g_B\|^2",
    assumptions=(INTERPOLATING, "Any batch whose loss is not zero."),
    proof="(x'H^2x)^2 <= (x'Hx)(x'H^3x): moments of the spectral measure are log-convex.",
    reference="I16",
)
CLAIMS: tuple[Claim[Point], ...] = (
    CATAPULT_E, CATAPULT_R, SAME_BATCH, FULL_LOSS, LOSS_RATIO, DISTANCE, STEP,
)  # fmt: skip
