"""The regions that the claims of this package are made for, as hypothesis strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...models import DiagonalNetwork, LeastSquares, Model, Quadratics
from ..data import datasets
from ..draws import points, sampling_schemes, step_sizes
from ..entries import arrays
from ..point import Point
from ..problems import POSITIVE, hessians, least_squares, quadratics
from .rounding import curvature_size, well_conditioned

INDEPENDENT = sampling_schemes(independent=True)
FIXED_SIZE = st.sampled_from(("without_replacement", "with_replacement", "epoch"))
OFF_MINIMUM = ("generic", "far")


def steps_about_two_over_curvature(point: Point) -> SearchStrategy[float]:
    """Step sizes about 2 over the largest curvature of a sample."""
    size = curvature_size(point)
    return step_sizes(2 / size if size > 0 else 1.0)


def with_steps() -> SearchStrategy[Point]:
    """Every loss, with a step size."""
    return points(step_sizes=steps_about_two_over_curvature)


def independent_batches() -> SearchStrategy[Point]:
    """Every loss, batches drawn independently of each other."""
    return points(sampling=INDEPENDENT)


def semi_definite() -> SearchStrategy[Point]:
    """Quadratics and least squares with positive semi-definite Hessians."""
    return points(st.one_of(least_squares(), quadratics()), sampling=INDEPENDENT)


def any_quadratic(**sizes: int) -> SearchStrategy[Model]:
    """Least squares and quadratics with Hessians of any sign."""
    return st.one_of(least_squares(features=sizes.get("dim")), quadratics(dim=sizes.get("dim"), definite=None))


def quadratics_with_steps() -> SearchStrategy[Point]:
    """Per-sample quadratics of any sign, with a step size."""
    return points(any_quadratic(), step_sizes=steps_about_two_over_curvature)


def at_origin(dim: int | None = None) -> SearchStrategy[Model]:
    """Interpolating positive semi-definite quadratics and least squares whose common minimum is the origin."""

    def centred(matrices: np.ndarray) -> Model:
        return Quadratics(matrices, np.zeros(matrices.shape[:2]))

    fitted = datasets(features=dim).map(lambda data: LeastSquares(data[0], np.zeros(len(data[0]))))
    return st.one_of(fitted, hessians(dim=dim).map(centred))


def interpolating(dim: int | None = None, sampling: SearchStrategy[str] | None = None) -> SearchStrategy[Point]:
    """Positive semi-definite quadratics that share their minimum, the origin; theta is the error x."""
    return points(at_origin(dim), OFF_MINIMUM, sampling=sampling)


def steps_about_two_over(sharpness: Callable[[Point], float]) -> Callable[[Point], SearchStrategy[float]]:
    """Step sizes about 2 over a sharpness of the point; where it is not positive, over the largest curvature."""

    def steps(point: Point) -> SearchStrategy[float]:
        edge = sharpness(point)
        return step_sizes(2 / edge) if 0 < edge < np.inf else steps_about_two_over_curvature(point)

    return steps


def quadratics_about(sharpness: Callable[[Point], float]) -> SearchStrategy[Point]:
    """Per-sample quadratics of any sign, with a step size about 2 over a sharpness of the point."""
    return points(any_quadratic(), step_sizes=steps_about_two_over(sharpness))


def interpolating_about(sharpness: Callable[[Point], float], dim: int | None = None) -> SearchStrategy[Point]:
    """The region `interpolating`, with a step size about 2 over a sharpness of the point."""
    return points(at_origin(dim), OFF_MINIMUM, step_sizes=steps_about_two_over(sharpness))


def interpolating_with_steps(dim: int | None = None) -> SearchStrategy[Point]:
    """The same with a step size."""
    return points(at_origin(dim), OFF_MINIMUM, step_sizes=steps_about_two_over_curvature)


@st.composite
def _stable(draw: st.DrawFn, models: SearchStrategy[Model], low: float, high: float) -> Point:
    point = draw(points(models, sampling=INDEPENDENT))
    assume(well_conditioned(point))
    return replace(point, step_size=draw(step_sizes(2 / point.mean_square_sharpness, low, high)))


def about_the_edge(dim: int | None = None) -> SearchStrategy[Point]:
    """Quadratics of any sign with a step size from a hundredth to three times the mean-square edge."""
    return _stable(any_quadratic() if dim is None else any_quadratic(dim=dim), 0.01, 3.0)


@st.composite
def _definite_on_average(draw: st.DrawFn) -> Quadratics:
    """Hessians of any sign, shifted until their mean is positive definite, each with a centre of its own."""
    matrices = draw(hessians(st.integers(2, 5), st.integers(1, 3), definite=None))
    shift = draw(POSITIVE) - min(0.0, float(np.linalg.eigvalsh(matrices.mean(axis=0))[0]))
    centers = draw(arrays(matrices.shape[:2]))
    centers[0, 0] += 1.0
    return Quadratics(matrices + shift * np.eye(matrices.shape[1]), centers)


def with_stationary_laws() -> SearchStrategy[Point]:
    """Quadratics of any sign with a positive definite mean, up to 0.95 times the mean-square edge."""
    return _stable(_definite_on_average(), 0.05, 0.95)


def two_layer_networks() -> SearchStrategy[Point]:
    """Diagonal linear networks w = u v, with a step size."""
    networks = datasets(features=st.integers(1, 3)).map(lambda data: DiagonalNetwork(*data))
    return points(networks, step_sizes=steps_about_two_over_curvature)


def single_samples() -> SearchStrategy[Point]:
    """Least squares with batches of one sample."""
    return points(least_squares(), batch_sizes=st.just(1), sampling=FIXED_SIZE)


def equal_norms() -> SearchStrategy[Point]:
    """The same with inputs of equal norms and samples drawn independently of each other."""
    schemes = st.sampled_from(("without_replacement", "with_replacement"))
    return points(least_squares(kinds=("equal_norms",)), batch_sizes=st.just(1), sampling=schemes)


def full_batches() -> SearchStrategy[Point]:
    """Every loss, the full batch."""
    schemes = st.sampled_from(("without_replacement", "epoch", "bernoulli"))
    return points(batch_sizes=lambda model: st.just(model.samples), sampling=schemes)


def not_full_batch(point: Point) -> bool:
    """Whether a batch has fewer samples than there are."""
    return point.batch_size < point.model.samples


def one_more_sample(point: Point) -> Point:
    """The same point with batches of one more sample."""
    return replace(point, batch_size=point.batch_size + 1)
