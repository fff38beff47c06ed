"""True of curvatures along batch gradients at any point of any smooth loss, or of least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..claim import Claim
from ..draws import points
from ..point import Point
from . import regions
from .rounding import (
    batch_conditions,
    curvature_size,
    full_gradient_is_clear,
    gradient_square,
    gradients_are_clear,
    interaction_scale,
    mean_condition,
    no_gradient_vanishes,
    ratio_scale,
)

ANY = "Any smooth loss, any parameters, any sampling scheme."
CLEAR = "Some batch has a gradient; batches without one are left out of means of ratios."
SOME = "Some sample has a gradient."


def extreme_curvatures(point: Point) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of any batch's Hessian, over batches with a gradient."""
    table = point.batches()
    values = np.linalg.eigvalsh(table.hessians[table.gradients.any(axis=1)])
    return float(values.min()), float(values.max())


def mean_ratio_scale(point: Point) -> float:
    return curvature_size(point) * mean_condition(point)


def both_interactions(point: Point) -> tuple[Any, ...]:
    square = float(point.mean_gradient @ point.mean_gradient)
    return point.gni * square, point.ias * gradient_square(point), interaction_scale(point) * square


def mean_ratio_below_largest_eigenvalues(point: Point) -> tuple[Any, ...]:
    table, alive = point.batches(), batch_conditions(point) > 0
    tops = np.linalg.eigvalsh(table.hessians[alive])[:, -1]
    right = float(np.average(tops, weights=table.probability[alive]))
    return point.batch_sharpness_mean_ratio, right, mean_ratio_scale(point)


def falls(quantity: str) -> Any:
    """Sides: the quantity with one more sample in the batch, and as it is."""

    def sides(point: Point) -> tuple[Any, ...]:
        more = regions.one_more_sample(point)
        return getattr(more, quantity), getattr(point, quantity), curvature_size(point)

    return sides


def squares_of_batches(point: Point) -> tuple[Any, ...]:
    more = regions.one_more_sample(point)
    return gradient_square(more), gradient_square(point), float(np.mean(np.sum(point.gradients**2, axis=1)))


def full_batch(point: Point) -> tuple[Any, ...]:
    g, h = point.mean_gradient, point.mean_hessian
    ratios = (point.batch_sharpness_mean_ratio, point.batch_sharpness, point.ias, point.gni)
    return np.array(ratios), float(g @ h @ g / (g @ g)), ratio_scale(point)


IAS = Claim(
    "IAS <= lambda_max",
    "Interaction-aware sharpness is at most the sharpness of the full loss.",
    lambda point: (point.ias, point.lambda_max, ratio_scale(point)),
    points,
    formula=r"\frac{E[g_B^T \bar H g_B]}{E\|g_B\|^2} \le \lambda_{\max}(\bar H)",
    assumptions=(ANY, SOME),
    proof="It is an average of Rayleigh quotients of the mean Hessian.",
    reference="I7; Lee and Jang 2023",
)
GNI = Claim(
    "GNI |gbar|^2 = IAS E|g_B|^2",
    "Gradient-noise interaction and interaction-aware sharpness have the same numerator.",
    both_interactions,
    points,
    defined=full_gradient_is_clear,
    relation="==",
    formula=r"\mathrm{GNI}\,\|\bar g\|^2 = \mathrm{IAS}\,E\|g_B\|^2",
    assumptions=(ANY, "The full gradient is not zero."),
    proof="Both sides are E[g_B' Hbar g_B].",
    reference="I8",
)
GNI_ABOVE_IAS = Claim(
    "IAS <= GNI",
    "Where interaction-aware sharpness is not negative, gradient-noise interaction is at least as large.",
    lambda point: (point.ias, point.gni, interaction_scale(point)),
    points,
    defined=lambda point: bool(point.ias >= 0 and full_gradient_is_clear(point)),
    formula=r"\mathrm{IAS} \ge 0 \;\Rightarrow\; \mathrm{GNI} \ge \mathrm{IAS}",
    assumptions=(ANY, "IAS >= 0.", "The full gradient is not zero."),
    proof="Same numerator, and E|g_B|^2 >= |gbar|^2.",
    reference="I8",
)
MEAN_RATIO_ABOVE = Claim(
    "BS_E <= E[lambda_max(H_B) | g_B != 0]",
    "Batch Sharpness (mean of ratios) is at most the mean top eigenvalue of the batches that have a gradient.",
    mean_ratio_below_largest_eigenvalues,
    points,
    defined=gradients_are_clear,
    formula=r"E_B\Big[\frac{g_B^T H_B g_B}{\|g_B\|^2}\Big] \le E_B[\lambda_{\max}(H_B) \mid g_B \ne 0]",
    assumptions=(ANY, CLEAR),
    proof="A Rayleigh quotient is at most the top eigenvalue, batch by batch.",
    reference="I9",
)
RATIO_WITHIN = Claim(
    "min lambda(H_B) <= BS_R <= max lambda(H_B)",
    "Batch Sharpness (ratio of means) lies between the extreme eigenvalues of the Hessians of batches with a gradient.",
    lambda point: (
        np.array([extreme_curvatures(point)[0], point.batch_sharpness]),
        np.array([point.batch_sharpness, extreme_curvatures(point)[1]]),
        ratio_scale(point),
    ),
    points,
    defined=gradients_are_clear,
    formula=r"\min_B \lambda_{\min}(H_B) \le \frac{E[g_B^T H_B g_B]}{E\|g_B\|^2} \le \max_B \lambda_{\max}(H_B)",
    assumptions=(ANY, CLEAR),
    proof="It is an average of Rayleigh quotients with weights |g_B|^2.",
    reference="I9, I25",
)
MEAN_RATIO_WITHIN = Claim(
    "min lambda(H_B) <= BS_E <= max lambda(H_B)",
    "Batch Sharpness (mean of ratios) lies between the extreme eigenvalues of the Hessians of batches with a gradient.",
    lambda point: (
        np.array([extreme_curvatures(point)[0], point.batch_sharpness_mean_ratio]),
        np.array([point.batch_sharpness_mean_ratio, extreme_curvatures(point)[1]]),
        mean_ratio_scale(point),
    ),
    points,
    defined=gradients_are_clear,
    formula=r"\min_B \lambda_{\min}(H_B) \le E_B[g_B^T H_B g_B/\|g_B\|^2] \le \max_B \lambda_{\max}(H_B)",
    assumptions=(ANY, CLEAR),
    proof="It is an average of Rayleigh quotients.",
    reference="I25",
)
MINIBATCH_ABOVE = Claim(
    "lambda_max <= E lambda_max(H_B)",
    "The mean top eigenvalue of batch Hessians is at least that of the full Hessian.",
    lambda point: (point.lambda_max, point.minibatch_lambda_max, curvature_size(point)),
    points,
    formula=r"\lambda_{\max}(\bar H) \le E_B[\lambda_{\max}(H_B)]",
    assumptions=(ANY,),
    proof="The largest eigenvalue is convex (Jensen), and E[H_B] is the mean Hessian.",
    reference="I10; Andreyev and Beneventano 2024, first version",
)
MINIBATCH_DECREASES = Claim(
    "E lambda_max(H_B) falls with b",
    "The mean top eigenvalue of batch Hessians does not increase with the batch size.",
    falls("minibatch_lambda_max"),
    points,
    defined=regions.not_full_batch,
    formula=r"E[\lambda_{\max}(H_{B'})] \le E[\lambda_{\max}(H_B)], \quad |B'| = |B| + 1",
    assumptions=(ANY,),
    proof="H_B' is a conditional mean of H_B: leave one draw out at random (Bernoulli: thin the batch); then Jensen.",
    reference="I10; Hoeffding 1963",
)
SQUARE_DECREASES = Claim(
    "E|g_B|^2 falls with b",
    "The mean square of batch gradients does not increase with the batch size.",
    squares_of_batches,
    points,
    defined=regions.not_full_batch,
    formula=r"E\|g_{B'}\|^2 \le E\|g_B\|^2, \quad |B'| = |B| + 1",
    assumptions=(ANY,),
    proof="E|g_B|^2 = |gbar|^2 + c2 tr(Sigma), and c2 falls with b.",
    reference="I11",
)
FULL_BATCH = Claim(
    "b = n: BS_E = BS_R = IAS = GNI",
    "At the full batch all four ratios are the Rayleigh quotient of the Hessian along the gradient.",
    full_batch,
    regions.full_batches,
    defined=full_gradient_is_clear,
    relation="==",
    formula=r"b = n:\quad \mathrm{BS} = \mathrm{IAS} = \mathrm{GNI} = \bar g^T\bar H\bar g / \|\bar g\|^2",
    assumptions=("Any smooth loss, any parameters with a gradient.", "Batches without replacement, of all samples."),
    proof="There is one batch.",
    reference="I12",
)
TRACE = Claim(
    "least squares, b = 1: BS_E = trace",
    "On least squares, single samples have a Batch Sharpness (mean of ratios) of the trace of the Hessian everywhere.",
    lambda point: (point.batch_sharpness_mean_ratio, float(np.trace(point.mean_hessian)), mean_ratio_scale(point)),
    regions.single_samples,
    defined=no_gradient_vanishes,
    relation="==",
    formula=r"b = 1:\quad E_B[g_B^T H_B g_B/\|g_B\|^2] = \mathrm{tr}\,\bar H = \tfrac1n\textstyle\sum\|a_i\|^2",
    assumptions=("Least squares.", "Batches of one sample.", "No sample's gradient vanishes: r_i != 0 and a_i != 0."),
    proof="A sample's gradient is along a_i, where its Hessian a_i a_i' has the curvature |a_i|^2.",
    reference="I17",
)
ONE_DIMENSION = Claim(
    "d = 1: BS_E = lambda_max",
    "In one dimension Batch Sharpness (mean of ratios) is the second derivative of the full loss.",
    lambda point: (point.batch_sharpness_mean_ratio, point.lambda_max, mean_ratio_scale(point)),
    lambda: points(regions.any_quadratic(dim=1), sampling=regions.FIXED_SIZE),
    defined=no_gradient_vanishes,
    relation="==",
    formula=r"d = 1:\quad E_B[g_B H_B g_B/g_B^2] = \bar H",
    assumptions=("One parameter.", "No batch's gradient vanishes.", "Batches of a fixed size."),
    proof="The ratio is H_B, of either sign.",
    reference="I18",
)
CLAIMS: tuple[Claim[Point], ...] = (
    IAS, GNI, GNI_ABOVE_IAS, MEAN_RATIO_ABOVE, RATIO_WITHIN, MEAN_RATIO_WITHIN, MINIBATCH_ABOVE, MINIBATCH_DECREASES,
    SQUARE_DECREASES, FULL_BATCH, TRACE, ONE_DIMENSION,
)  # fmt: skip
