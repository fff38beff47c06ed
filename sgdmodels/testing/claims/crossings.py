r"""True of what happens exactly where a sharpness crosses 2/eta, and beyond: corollaries of the claims about one step.

Signs are compared where the change that is predicted is larger than rounding, and step sizes are drawn about 2 over
the sharpness itself, down to a thousandth on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..claim import Claim
from ..draws import points, step_sizes
from ..point import Point
from . import regions
from .one_step import (
    CLEAR,
    INTERPOLATING,
    PAPER,
    QUADRATIC,
    distance_change_identity,
    full_identity,
    growth_of_ratios,
    loss_is_clear,
    ratio_of_growths,
    same_batch_identity,
    square_over_loss,
)
from .rounding import full_gradient_is_clear, gradients_are_clear

ROUNDING = 1e-9  # of the scale of a change: a predicted change below it has no sign
Sharpness = Callable[[Point], float]
Identity = Callable[[Point], tuple[Any, ...]]
Case = tuple[Point, float]


def batch_sharpness(point: Point) -> float:
    return point.batch_sharpness


def batch_sharpness_mean_ratio(point: Point) -> float:
    return point.batch_sharpness_mean_ratio


def gni(point: Point) -> float:
    return point.gni if full_gradient_is_clear(point) else np.nan


def square_ratio(point: Point) -> float:
    """E|g_B|^2 / x'Hx."""
    return float(square_over_loss(point)[0]) if loss_is_clear(point) else np.nan


def signs(change: Identity, sharpness: Sharpness) -> Identity:
    """Sides: the signs of the change, by enumeration, and of the sharpness minus 2 / step_size."""
    return lambda point: (np.sign(change(point)[0]), np.sign(sharpness(point) - 2 / point.eta))


def is_predicted(change: Identity, sharpness: Sharpness) -> Callable[[Point], bool]:
    """Whether the change that the identity predicts is larger than rounding."""

    def predicted(point: Point) -> bool:
        if not np.isfinite(sharpness(point)):
            return False
        _, right, scale = change(point)
        return bool(abs(right) > ROUNDING * scale)

    return predicted


@st.composite
def beyond(draw: st.DrawFn, sharpness: Sharpness) -> Case:
    """Per-sample quadratics of any sign, and eps, with a step size from 1 to 3 times (2 + eps) over the sharpness."""
    point = draw(points(regions.any_quadratic()))
    at = sharpness(point)
    assume(0 < at < np.inf)
    excess = draw(st.sampled_from((0.5, 0.01, 0.1, 1.0, 4.0)))
    step_size = draw(step_sizes((2 + excess) / at, 1.0, 3.0))
    return Point(point.model, point.theta, point.batch_size, point.sampling, step_size), excess


def growth_at_least(growth: Identity) -> Callable[[Case], tuple[Any, ...]]:
    """Sides: (1 + eps)^2, and the growth."""

    def sides(case: Case) -> tuple[Any, ...]:
        point, excess = case
        _, grown, scale = growth(point)
        return (1 + excess) ** 2, grown, scale

    return sides


def beyond_ratio() -> SearchStrategy[Case]:
    return beyond(batch_sharpness)


def beyond_mean_ratio() -> SearchStrategy[Case]:
    return beyond(batch_sharpness_mean_ratio)


GROWTH_E = Claim(
    "BS_E >= (2 + eps)/eta implies E[|g_B+|^2 / |g_B|^2] >= (1 + eps)^2",
    "Where Batch Sharpness (mean of ratios) is at least (2 + eps)/eta, a batch's own gradient grows on average "
    "by (1 + eps)^2 in a step on it.",
    growth_at_least(growth_of_ratios),
    beyond_mean_ratio,
    kind="one-step",
    defined=lambda case: (
        gradients_are_clear(case[0]) and case[0].eta * case[0].batch_sharpness_mean_ratio >= 2 + case[1]
    ),
    formula=r"\mathrm{BS}_E \ge (2 + \varepsilon)/\eta \;\Rightarrow\; "
    r"E_B\big[\|\nabla L_B(\theta_B^+)\|^2 / \|g_B\|^2\big] \ge (1 + \varepsilon)^2",
    assumptions=(QUADRATIC, CLEAR, "eps >= 0."),
    proof="eta BS - 1 >= 1 + eps in the bound (1 - eta BS)^2.",
    reference="B-Thm (i); " + PAPER,
)
GROWTH_R = Claim(
    "BS_R >= (2 + eps)/eta implies E|g_B+|^2 / E|g_B|^2 >= (1 + eps)^2",
    "Where Batch Sharpness (ratio of means) is at least (2 + eps)/eta, the mean square of batch gradients grows "
    "by (1 + eps)^2 in steps on themselves.",
    growth_at_least(ratio_of_growths),
    beyond_ratio,
    kind="one-step",
    defined=lambda case: bool(
        case[0].batches().gradients.any() and case[0].eta * case[0].batch_sharpness >= 2 + case[1]
    ),
    formula=r"\mathrm{BS}_R \ge (2 + \varepsilon)/\eta \;\Rightarrow\; "
    r"E_B\|\nabla L_B(\theta_B^+)\|^2 / E_B\|g_B\|^2 \ge (1 + \varepsilon)^2",
    assumptions=(QUADRATIC, "Some batch has a gradient.", "eps >= 0."),
    proof="eta BS - 1 >= 1 + eps in the bound (1 - eta BS)^2.",
    reference="B-Thm (ii); " + PAPER,
)
SAME_BATCH_SIGN = Claim(
    "sign of E[L_B(theta_B+) - L_B(theta)] is that of BS_R - 2/eta",
    "Steps lower the loss of their own batches on average exactly while Batch Sharpness (ratio of means) is below "
    "2/eta.",
    signs(same_batch_identity, batch_sharpness),
    lambda: regions.quadratics_about(batch_sharpness),
    kind="one-step",
    relation="==",
    defined=is_predicted(same_batch_identity, batch_sharpness),
    formula=r"\mathrm{sign}\,E_B[L_B(\theta_B^+) - L_B(\theta)] = \mathrm{sign}(\mathrm{BS}_R - 2/\eta)",
    assumptions=(QUADRATIC, "Some batch has a gradient."),
    proof="The identity of the change.",
    reference="I14",
)
FULL_SIGN = Claim(
    "sign of E[L(theta_B+)] - L(theta) is that of GNI - 2/eta",
    "Steps lower the full loss on average exactly while gradient-noise interaction is below 2/eta.",
    signs(full_identity, gni),
    lambda: regions.quadratics_about(gni),
    kind="one-step",
    relation="==",
    defined=is_predicted(full_identity, gni),
    formula=r"\mathrm{sign}(E_B[L(\theta_B^+)] - L(\theta)) = \mathrm{sign}(\mathrm{GNI} - 2/\eta)",
    assumptions=(QUADRATIC, "The full gradient is not zero."),
    proof="The identity of the change.",
    reference="I14",
)
DISTANCE_SIGN = Claim(
    "sign of E|x+|^2 - |x|^2 is that of E|g_B|^2 / x'Hx - 2/eta",
    "Near an interpolating minimum a step brings SGD closer on average exactly while the mean square of batch "
    "gradients, over twice the loss, is below 2/eta.",
    signs(distance_change_identity, square_ratio),
    lambda: regions.interpolating_about(square_ratio),
    kind="one-step",
    relation="==",
    defined=is_predicted(distance_change_identity, square_ratio),
    formula=r"E\|x^+\|^2 < \|x\|^2 \;\Leftrightarrow\; E\|g_B\|^2 / (x^T\bar Hx) < 2/\eta",
    assumptions=(INTERPOLATING, "Any sampling scheme."),
    proof="E|x+|^2 - |x|^2 = -2 eta x'Hx + eta^2 E|g_B|^2.",
    reference="I15",
)
CLAIMS: tuple[Claim[Any], ...] = (GROWTH_E, GROWTH_R, SAME_BATCH_SIGN, FULL_SIGN, DISTANCE_SIGN)
