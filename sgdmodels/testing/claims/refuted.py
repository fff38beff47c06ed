"""False: what intuition says of curvatures along batch gradients. Each with the smallest counterexample found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...models import LeastSquares
from ..claim import Claim
from ..draws import points
from ..point import Point
from . import regions
from .rounding import gradients_are_clear, no_gradient_vanishes
from .transformations import replicated


def has_clear_ratios(point: Point) -> bool:
    """Whether no gradient vanishes with this batch size and with the next."""
    return regions.not_full_batch(point) and all(
        no_gradient_vanishes(at) for at in (point, regions.one_more_sample(point))
    )


def falls(quantity: str) -> Any:
    """Sides: the quantity with one more sample in the batch, and as it is."""

    def sides(point: Point) -> tuple[Any, ...]:
        return getattr(regions.one_more_sample(point), quantity), getattr(point, quantity)

    return sides


def fixed_size() -> SearchStrategy[Point]:
    return points(sampling=regions.FIXED_SIZE)


def without_replacement() -> SearchStrategy[Point]:
    return points(sampling=st.just("without_replacement"))


def duplicated(point: Point) -> Point:
    return replace(point, model=replicated(point.model, 2))


def single_samples() -> SearchStrategy[Point]:
    return regions.single_samples()


MEAN_RATIO_ABOVE_SHARPNESS = Claim(
    "lambda_max <= BS_E",
    "Batch Sharpness (mean of ratios) is never below the sharpness of the full loss.",
    lambda point: (point.lambda_max, point.batch_sharpness_mean_ratio),
    points,
    defined=no_gradient_vanishes,
    formula=r"\lambda_{\max}(\bar H) \le E_B[g_B^T H_B g_B / \|g_B\|^2]",
    assumptions=("Any smooth loss, any parameters, any sampling scheme.",),
    reference="an observation on trained networks, whose gradients align with sharp directions",
    counterexample=Point(LeastSquares([[0.0, 2.0], [1.0, 0.0]], [0.0, 1.0]), [0.0, 0.0], batch_size=2),
)
RATIO_ABOVE_SHARPNESS = Claim(
    "lambda_max <= BS_R",
    "Batch Sharpness (ratio of means) is never below the sharpness of the full loss.",
    lambda point: (point.lambda_max, point.batch_sharpness),
    points,
    defined=no_gradient_vanishes,
    formula=r"\lambda_{\max}(\bar H) \le E[g_B^T H_B g_B] / E\|g_B\|^2",
    assumptions=("Any smooth loss, any parameters, any sampling scheme.",),
    reference="an observation on trained networks, whose gradients align with sharp directions",
    counterexample=Point(LeastSquares([[2.0], [1.0]], [1.0, 3.0]), [0.0], batch_size=1),
)
RATIO_ABOVE_IAS = Claim(
    "IAS <= BS_R",
    "A batch is at least as sharp along its own gradient as the full loss is.",
    lambda point: (point.ias, point.batch_sharpness),
    regions.semi_definite,
    defined=no_gradient_vanishes,
    formula=r"E[g_B^T \bar H g_B] / E\|g_B\|^2 \le E[g_B^T H_B g_B] / E\|g_B\|^2",
    assumptions=("Positive semi-definite quadratics.", "Independent batches."),
    counterexample=Point(LeastSquares([[2.0], [1.0]], [1.0, 3.0]), [0.0], batch_size=1),
)
RATIO_ABOVE_MEAN_RATIO = Claim(
    "BS_E <= BS_R",
    "The ratio of means is at least the mean of ratios: steep gradients are along sharp directions.",
    lambda point: (point.batch_sharpness_mean_ratio, point.batch_sharpness),
    regions.semi_definite,
    defined=no_gradient_vanishes,
    formula=r"E[g_B^T H_B g_B / \|g_B\|^2] \le E[g_B^T H_B g_B] / E\|g_B\|^2",
    assumptions=("Positive semi-definite quadratics.", "Independent batches."),
    counterexample=Point(LeastSquares([[2.0], [1.0]], [1.0, 3.0]), [0.0], batch_size=1),
)
RATIO_FALLS = Claim(
    "BS_R falls with b",
    "Batch Sharpness (ratio of means) does not increase with the batch size.",
    falls("batch_sharpness"),
    regions.semi_definite,
    defined=has_clear_ratios,
    formula=r"\mathrm{BS}_R(b + 1) \le \mathrm{BS}_R(b)",
    assumptions=("Positive semi-definite quadratics.", "Independent batches."),
    counterexample=Point(LeastSquares([[2.0], [1.0]], [1.0, 3.0]), [0.0], batch_size=1),
)
MEAN_RATIO_FALLS = Claim(
    "BS_E falls with b",
    "Batch Sharpness (mean of ratios) does not increase with the batch size.",
    falls("batch_sharpness_mean_ratio"),
    regions.semi_definite,
    defined=has_clear_ratios,
    formula=r"\mathrm{BS}_E(b + 1) \le \mathrm{BS}_E(b)",
    assumptions=("Positive semi-definite quadratics.", "Independent batches."),
    counterexample=Point(LeastSquares([[0.0, 6.0], [1.0, 0.0], [1.0, 2.0]], [0.0, 1.0, 1.0]), [0.0, 0.0], batch_size=2),
)
IAS_FALLS = Claim(
    "IAS falls with b",
    "Interaction-aware sharpness does not increase with the batch size.",
    falls("ias"),
    regions.semi_definite,
    defined=has_clear_ratios,
    formula=r"\mathrm{IAS}(b + 1) \le \mathrm{IAS}(b)",
    assumptions=("Positive semi-definite quadratics.", "Independent batches."),
    counterexample=Point(LeastSquares([[0.0, 1.0], [1.0, 1.0]], [1.0, 1.0]), [0.0, 0.0], batch_size=1),
)
BELOW_MINIBATCH = Claim(
    "BS_E <= E lambda_max(H_B)",
    "Batch Sharpness (mean of ratios) is at most the mean top eigenvalue of all batch Hessians.",
    lambda point: (point.batch_sharpness_mean_ratio, point.minibatch_lambda_max),
    regions.semi_definite,
    defined=gradients_are_clear,
    formula=r"E_B[g_B^T H_B g_B / \|g_B\|^2] \le E_B[\lambda_{\max}(H_B)]",
    assumptions=("Positive semi-definite quadratics.", "Forgets that batches without a gradient have no ratio."),
    counterexample=Point(LeastSquares([[0.0], [1.0]], [0.0, 1.0]), [0.0], batch_size=1),
)
DUPLICATES = Claim(
    "without replacement: duplicates change no BS_R",
    "Taking every sample twice changes nothing, whichever way batches are drawn.",
    lambda point: (duplicated(point).batch_sharpness, point.batch_sharpness),
    without_replacement,
    relation="==",
    defined=gradients_are_clear,
    formula=r"(l_1, \dots, l_n) \to (l_1, l_1, \dots, l_n, l_n):\quad \mathrm{BS}_R \text{ unchanged}",
    assumptions=("Any built-in loss, any parameters.", "Batches without replacement."),
    counterexample=Point(LeastSquares([[0.0], [1.0]], [0.0, 1.0]), [0.0], batch_size=2),
)
TRACE_EVERYWHERE = Claim(
    "least squares, b = 1: BS_E = trace, everywhere",
    "Single samples of least squares have a Batch Sharpness of the trace even where some of them are fitted.",
    lambda point: (point.batch_sharpness_mean_ratio, float(np.trace(point.mean_hessian))),
    single_samples,
    relation="==",
    defined=gradients_are_clear,
    formula=r"b = 1:\quad E_B[g_B^T H_B g_B/\|g_B\|^2] = \mathrm{tr}\,\bar H",
    assumptions=("Least squares.", "Forgets that samples without a gradient have no ratio."),
    counterexample=Point(LeastSquares([[0.0], [1.0]], [0.0, 1.0]), [0.0], batch_size=1),
)
POSITIVE_IS_ENOUGH = Claim(
    "d = 1, H_B > 0: BS_E = lambda_max",
    "In one dimension positive second derivatives make Batch Sharpness (mean of ratios) that of the full loss.",
    lambda point: (point.batch_sharpness_mean_ratio, point.lambda_max),
    lambda: points(regions.any_quadratic(dim=1), sampling=regions.FIXED_SIZE),
    relation="==",
    defined=lambda point: bool((point.hessians > 0).all()) and gradients_are_clear(point),
    formula=r"d = 1,\ H_i > 0:\quad E_B[g_B H_B g_B/g_B^2] = \bar H",
    assumptions=("One parameter, positive second derivatives.", "Forgets that a batch's gradient may vanish."),
    reference="I18 as it was first stated",
    counterexample=Point(LeastSquares([[1.0], [2.0]], [0.0, 1.0]), [0.0], batch_size=1),
)
CLAIMS: tuple[Claim[Point], ...] = (
    MEAN_RATIO_ABOVE_SHARPNESS, RATIO_ABOVE_SHARPNESS, RATIO_ABOVE_IAS, RATIO_ABOVE_MEAN_RATIO, RATIO_FALLS,
    MEAN_RATIO_FALLS, IAS_FALLS, BELOW_MINIBATCH, DUPLICATES, TRACE_EVERYWHERE, POSITIVE_IS_ENOUGH,
)  # fmt: skip
