"""False: what one sharpness below 2/eta is taken to say of stability. Each with the smallest counterexample found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...models import DiagonalNetwork, LeastSquares, LinearNetwork, Quadratics
from ...theory import max_step_size
from ..claim import Claim
from ..draws import points
from ..point import Point
from . import regions
from .models_of_sgd import network_step
from .one_step import full_change, loss_is_clear, stepped, twice_loss
from .rounding import curvature_size, gradients_are_clear, well_conditioned
from .stability import geometric_growth

INTERPOLATING = "Positive semi-definite quadratics that share a minimum."
CERTAIN = 1 - 1e-6  # so far below 2/eta, rounding does not decide


def below_edge(sharpness: str) -> Callable[[Point], bool]:
    """Whether step_size times the sharpness is below 2, at a point where all of them exist."""

    def below(point: Point) -> bool:
        if not (well_conditioned(point) and loss_is_clear(point) and gradients_are_clear(point)):
            return False
        return bool(point.eta * getattr(point, sharpness) < 2 * CERTAIN)

    return below


def about_edge_of(sharpness: str, dim: int | None = None) -> Callable[[], SearchStrategy[Point]]:
    """Interpolating quadratics with step sizes about 2 over the sharpness: violations are where it decides."""
    return lambda: regions.interpolating_about(lambda point: getattr(point, sharpness), dim)


def edge_of(sharpness: str) -> Callable[[Point], tuple[Any, ...]]:
    """Sides: the sharpness, and 2 / step_size."""
    return lambda point: (getattr(point, sharpness), 2 / point.eta)


def loss_after_step(point: Point) -> tuple[Any, ...]:
    """Sides: the expected full loss after a step and before it."""
    before = twice_loss(point) / 2
    return before + full_change(point), before


def distance_after_step(point: Point) -> tuple[Any, ...]:
    """Sides: E|x+|^2 and |x|^2."""
    return float(point.batches().mean(np.sum(stepped(point) ** 2, axis=1))), float(point.theta @ point.theta)


def second_trace(point: Point) -> tuple[Any, ...]:
    hessians = point.batches().hessians
    squares = point.batches().mean(np.einsum("mij,mij->m", hessians, hessians))
    return float(squares) / float(np.trace(point.mean_hessian)), point.mean_square_sharpness


def has_trace(point: Point) -> bool:
    return well_conditioned(point) and float(np.trace(point.mean_hessian)) > 1e-6 * curvature_size(point)


def sharpest_batch(point: Point) -> tuple[Any, ...]:
    return point.mean_square_sharpness, float(np.linalg.eigvalsh(point.batches().hessians)[:, -1].max())


def geometric_is_stable(point: Point) -> bool:
    return well_conditioned(point) and geometric_growth(point)[0] < CERTAIN


def shuffled() -> SearchStrategy[Point]:
    """Interpolating quadratics of one parameter, single samples in epochs."""
    return points(regions.at_origin(1), batch_sizes=st.just(1), sampling=st.just("epoch"))


def epoch_at_edge(point: Point) -> tuple[Any, ...]:
    """Sides: growth of x^2 over an epoch at the mean-square edge of independent batches, and 1."""
    edge = max_step_size(point.hessians, point.batch_size, "without_replacement")
    return float(np.prod((1 - edge * point.hessians[:, 0, 0]) ** 2)), 1.0


def signed_mirror(point: Point) -> tuple[Any, ...]:
    u, v, new_u, new_v, force, _ = network_step(point)
    left = np.arcsinh(2 * new_u * new_v / (new_u**2 - new_v**2))
    return left, np.arcsinh(2 * u * v / (u**2 - v**2)) + np.log(abs((1 - force) / (1 + force)))


def is_unbalanced(point: Point) -> bool:
    u, v, new_u, new_v, force, size = network_step(point)
    least = 1e-3 * size**2
    balances = np.minimum(abs(u**2 - v**2), abs(new_u**2 - new_v**2).min(axis=0))
    return bool((balances > least).all() and (abs(1 - force**2) > 1e-3).all())


def single_samples() -> SearchStrategy[Point]:
    """Positive semi-definite quadratics, batches of one sample without replacement."""
    return regions.semi_definite().map(lambda point: replace(point, batch_size=1, sampling="without_replacement"))


def mean_stable(point: Point) -> bool:
    return well_conditioned(point) and point.eta * point.lambda_max < 2 * CERTAIN


SECOND_TRACE = Claim(
    "tr E[H_B^2] / tr Hbar <= S_ms, any sign",
    "The identity bounds S_ms from below whatever the signs of the Hessians.",
    second_trace,
    regions.independent_batches,
    kind="mean-square",
    defined=has_trace,
    formula=r"\mathrm{tr}\,E[H_B^2] / \mathrm{tr}\,\bar H \le S_{ms}",
    assumptions=(
        "Symmetric Hessians of any sign whose mean has a positive trace; directions of positive mean curvature.",
    ),
    reference="I2 without its assumption of semi-definite Hessians",
    counterexample=Point(LinearNetwork([[1.0]], [1.0]), [0.0, 1.0], batch_size=1),
)
SHARPEST_BATCH = Claim(
    "S_ms <= max lambda_max(H_B), any sign",
    "S_ms is at most the sharpness of the sharpest batch.",
    sharpest_batch,
    regions.independent_batches,
    kind="mean-square",
    defined=well_conditioned,
    formula=r"S_{ms} \le \max_B \lambda_{\max}(H_B)",
    assumptions=(
        "Symmetric Hessians of any sign whose mean has a positive eigenvalue; directions of positive mean curvature.",
    ),
    reference="I3 without its assumption of semi-definite Hessians",
    counterexample=Point(Quadratics([[[-1.0]], [[3.0]]], [[0.0], [0.0]]), [0.0], batch_size=1),
)
SHARPEST_SAMPLE = Claim(
    "b = 1: max lambda_max(H_i) <= S_ms",
    "The sharpest sample alone decides the edge of single samples.",
    lambda point: sharpest_batch(point)[::-1],
    single_samples,
    kind="mean-square",
    defined=well_conditioned,
    formula=r"\max_i \lambda_{\max}(H_i) \le S_{ms}(1)",
    assumptions=("Positive semi-definite quadratics.", "Batches of one sample."),
    counterexample=Point(LeastSquares([[1.0], [2.0]], [0.0, 0.0]), [0.0], batch_size=1),
)
RATIO_CERTIFIES = Claim(
    "BS_R < 2/eta implies S_ms <= 2/eta",
    "Batch Sharpness (ratio of means) below 2/eta certifies mean-square stability.",
    edge_of("mean_square_sharpness"),
    about_edge_of("batch_sharpness"),
    kind="mean-square",
    defined=below_edge("batch_sharpness"),
    formula=r"\mathrm{BS}_R(x) < 2/\eta \;\Rightarrow\; S_{ms} \le 2/\eta",
    assumptions=(INTERPOLATING, "Any error x: on the critical mode it is true."),
    counterexample=Point(LeastSquares([[0.0, 2.0], [1.0, 0.0]], [0.0, 0.0]), [1.0, 0.0], batch_size=1, step_size=1.0),
)
STABLE_KEEPS_RATIO = Claim(
    "S_ms < 2/eta implies BS_R <= 2/eta",
    "Batch Sharpness (ratio of means) stays below 2/eta while SGD is mean-square stable.",
    edge_of("batch_sharpness"),
    about_edge_of("mean_square_sharpness"),
    kind="mean-square",
    defined=below_edge("mean_square_sharpness"),
    formula=r"S_{ms} < 2/\eta \;\Rightarrow\; \mathrm{BS}_R(x) \le 2/\eta",
    assumptions=(INTERPOLATING, "Any error x."),
    counterexample=Point(LeastSquares([[1.0], [2.0]], [0.0, 0.0]), [1.0], batch_size=1, step_size=0.575),
)
RATIO_LOWERS_LOSS = Claim(
    "BS_R < 2/eta implies E L(theta+) <= L(theta)",
    "Where Batch Sharpness (ratio of means) is below 2/eta, a step lowers the full loss on average.",
    loss_after_step,
    about_edge_of("batch_sharpness"),
    kind="one-step",
    defined=below_edge("batch_sharpness"),
    formula=r"\mathrm{BS}_R(x) < 2/\eta \;\Rightarrow\; E[L(x_B^+)] \le L(x)",
    assumptions=(INTERPOLATING, "Any error x. It lowers the loss of the step's own batch, and |x|^2."),
    counterexample=Point(LeastSquares([[0.0, 1.0], [1.0, -1.0]], [0.0, 0.0]), [2.0, 1.0], batch_size=1, step_size=0.5),
)
STABLE_LOWERS_LOSS = Claim(
    "S_ms < 2/eta implies E L(theta+) <= L(theta)",
    "Where SGD is mean-square stable, every step lowers the full loss on average.",
    loss_after_step,
    about_edge_of("mean_square_sharpness"),
    kind="one-step",
    defined=below_edge("mean_square_sharpness"),
    formula=r"S_{ms} < 2/\eta \;\Rightarrow\; E[L(x_B^+)] \le L(x)",
    assumptions=(INTERPOLATING, "Any error x: in the long run it is true."),
    counterexample=Point(LeastSquares([[1.0, 0.0], [1.0, 1.0]], [0.0, 0.0]), [0.0, 1.0], batch_size=1, step_size=1.0),
)
STABLE_CONTRACTS = Claim(
    "S_ms < 2/eta implies E|x+|^2 <= |x|^2",
    "Where SGD is mean-square stable, every step brings it closer to the minimum on average.",
    distance_after_step,
    about_edge_of("mean_square_sharpness"),
    kind="one-step",
    defined=below_edge("mean_square_sharpness"),
    formula=r"S_{ms} < 2/\eta \;\Rightarrow\; E\|x_B^+\|^2 \le \|x\|^2",
    assumptions=(INTERPOLATING, "Any error x: in the long run it is true."),
    counterexample=Point(LeastSquares([[2.0, 0.0], [2.0, 2.0]], [0.0, 0.0]), [0.0, 1.0], batch_size=1, step_size=0.275),
)
MEAN_RATIO_CONTRACTS = Claim(
    "BS_E < 2/eta implies E|x+|^2 <= |x|^2",
    "Where Batch Sharpness (mean of ratios) is below 2/eta, a step brings SGD closer to the minimum on average.",
    distance_after_step,
    about_edge_of("batch_sharpness_mean_ratio"),
    kind="one-step",
    defined=below_edge("batch_sharpness_mean_ratio"),
    formula=r"\mathrm{BS}_E(x) < 2/\eta \;\Rightarrow\; E\|x_B^+\|^2 \le \|x\|^2",
    assumptions=(INTERPOLATING, "Any error x. With the ratio of means it is true."),
    counterexample=Point(LeastSquares([[1.0], [3.0]], [0.0, 0.0]), [1.0], batch_size=1, step_size=0.3),
)
MEAN_CERTIFIES = Claim(
    "lambda_max < 2/eta implies S_ms <= 2/eta",
    "Stability in the mean implies mean-square stability.",
    edge_of("mean_square_sharpness"),
    about_edge_of("lambda_max"),
    kind="mean",
    defined=mean_stable,
    formula=r"\lambda_{\max}(\bar H) < 2/\eta \;\Rightarrow\; S_{ms} \le 2/\eta",
    assumptions=(INTERPOLATING,),
    counterexample=Point(LeastSquares([[0.0], [1.0]], [0.0, 0.0]), [1.0], batch_size=1, step_size=3.0),
)
ALMOST_SURE_CERTIFIES = Claim(
    "E log|1 - eta h_B| < 0 implies S_ms <= 2/eta",
    "Almost-sure stability implies mean-square stability.",
    edge_of("mean_square_sharpness"),
    about_edge_of("mean_square_sharpness", 1),
    kind="almost sure",
    defined=geometric_is_stable,
    formula=r"E\log|1 - \eta h_B| < 0 \;\Rightarrow\; S_{ms} \le 2/\eta",
    assumptions=(INTERPOLATING, "One parameter."),
    counterexample=Point(LeastSquares([[1.0], [2.0]], [0.0, 0.0]), [1.0], batch_size=1, step_size=0.8),
)
EPOCHS = Claim(
    "epochs of shuffled samples have the edge of independent batches",
    "At the mean-square edge of independent batches, an epoch of shuffled samples leaves x^2 as it is.",
    epoch_at_edge,
    shuffled,
    kind="mean-square",
    relation="==",
    defined=well_conditioned,
    formula=r"\eta S_{ms} = 2 \;\Rightarrow\; \textstyle\prod_i(1 - \eta h_i)^2 = 1",
    assumptions=(INTERPOLATING, "One parameter, batches of one sample."),
    reference="C1.10",
    counterexample=Point(LeastSquares([[1.0], [2.0]], [0.0, 0.0]), [0.0], batch_size=1, sampling="epoch"),
)
SIGNED_MIRROR = Claim(
    "arcsinh(2w+/c+) = arcsinh(2w/c) + log|(1 - eta q)/(1 + eta q)|",
    "SGD on a diagonal linear network is additive in the mirror coordinate, whatever the sign of the imbalance.",
    signed_mirror,
    regions.two_layer_networks,
    kind="one-step",
    relation="==",
    defined=is_unbalanced,
    formula=r"\mathrm{arcsinh}(2w^+/c^+) = \mathrm{arcsinh}(2w/c) + \log|(1 - \eta q)/(1 + \eta q)|",
    assumptions=("Predictor w . x with w = u v and squared error, any batch.", "c and c+ are not zero."),
    reference="I20 as it was first stated: it needs |c|",
    counterexample=Point(DiagonalNetwork([[1.0]], [1.0]), [0.0, 1.0], batch_size=1, step_size=0.5),
)
CLAIMS: tuple[Claim[Point], ...] = (
    SECOND_TRACE, SHARPEST_BATCH, SHARPEST_SAMPLE, RATIO_CERTIFIES, STABLE_KEEPS_RATIO, RATIO_LOWERS_LOSS,
    STABLE_LOWERS_LOSS, STABLE_CONTRACTS, MEAN_RATIO_CONTRACTS, MEAN_CERTIFIES, ALMOST_SURE_CERTIFIES, EPOCHS,
    SIGNED_MIRROR,
)  # fmt: skip
