"""Batch sizes, sampling schemes, step sizes about an edge, and whole points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..arguments import integer, real
from ..errors import InvalidArgument
from ..models import Model
from ..sampling import SCHEMES
from .locations import parameters as parameters_of
from .point import Point
from .problems import models as any_model

NEAR_EDGE = (0.5, 1.0, 0.9, 1.1, 2.0, 0.99, 1.01, 0.999, 1.001)  # in units of the edge
ONE_DIGIT, TWO_DIGITS = range(1, 10), [m for m in range(11, 100) if m % 10]


def number_of_samples(model_or_n: Model | int) -> int:
    """n of a loss, or n itself."""
    return model_or_n.samples if isinstance(model_or_n, Model) else integer("samples", model_or_n, 1)


def batch_sizes(model_or_n: Model | int) -> SearchStrategy[int]:
    """Strategy for batch sizes 1..n of a loss, or of a number n of samples; shrinks to 1.

    >>> from hypothesis import find
    >>> find(batch_sizes(5), lambda b: b > 1)
    2
    """
    return st.integers(1, number_of_samples(model_or_n))


def sampling_schemes(independent: bool = False) -> SearchStrategy[str]:
    """Strategy for names of sampling schemes; `independent` leaves out ``"epoch"``, whose batches are correlated.

    >>> from hypothesis import find
    >>> find(sampling_schemes(), lambda scheme: scheme.isidentifier())
    'without_replacement'
    """
    return st.sampled_from([scheme for scheme in SCHEMES if not (independent and scheme == "epoch")])


def step_sizes(edge: float, low: float = 0.01, high: float = 3.0) -> SearchStrategy[float]:
    """Strategy for step sizes from low * edge to high * edge: numbers close to the edge on both sides, and a grid.

    Those close to the edge are 0.5, 1, 0.9, 1.1, 2, 0.99, 1.01, 0.999, 1.001 times it, the grid has all other decimals
    of one and of two digits (0.03, 0.47), or where there are none of all these, low and high. Shrinks to half of the
    edge. Raises InvalidArgument for an edge that is not finite and positive.

    >>> from hypothesis import find
    >>> find(step_sizes(2.0), lambda step_size: step_size > 0)
    1.0
    """
    scale = real("edge", edge, open_low=True)
    least, most = real("low", low, open_low=True), real("high", high, open_low=True)
    if least > most:
        raise InvalidArgument(f"low must be at most high, got {low} and {high}")
    decades = range(math.floor(math.log10(least)) - 1, math.floor(math.log10(most)) + 1)
    sets: list[list[float]] = [list(NEAR_EDGE)]
    for digits in (ONE_DIGIT, TWO_DIGITS):
        decimals = {float(f"{m}e{k}") for m in digits for k in decades} - set(NEAR_EDGE)
        sets.append(sorted(decimals, key=lambda ratio: (abs(math.log(ratio)), ratio)))
    inside = [[r for r in ratios if least <= r <= most and 0 < r * scale < math.inf] for ratios in sets]
    inside = [ratios for ratios in inside if ratios] or [[least, most]]
    return st.one_of([st.sampled_from(ratios) for ratios in inside]).map(lambda ratio: ratio * scale)


@st.composite
def points(
    draw: st.DrawFn,
    models: SearchStrategy[Model] | None = None,
    parameters: str | Sequence[str] | Callable[[Model], SearchStrategy[Any]] | None = None,
    batch_sizes: SearchStrategy[int] | Callable[[Model], SearchStrategy[int]] | None = None,
    sampling: SearchStrategy[str] | None = None,
    step_sizes: SearchStrategy[float] | Callable[[Point], SearchStrategy[float]] | None = None,
) -> Point:
    """Strategy for `Point`: a loss, its parameters, how batches are drawn, and perhaps a step size.

    models: a strategy, default `models()`. parameters: places as of `parameters(where=...)`, or a function of the loss.
    batch_sizes: a strategy, or a function of the loss. sampling: a strategy. step_sizes: a strategy, or a function of
    the point without one (whose edge it can use); left out, points have none.

    >>> from hypothesis import find
    >>> find(points(), lambda point: point.batch_size > 0)
    Point(sm.models.LeastSquares([[0.0]], [0.0]), [0.0], batch_size=1)
    """
    model = draw(any_model() if models is None else models)
    theta = draw(parameters(model) if callable(parameters) else parameters_of(model, parameters))
    if batch_sizes is None:
        size = draw(st.integers(1, model.samples))
    else:
        size = draw(batch_sizes(model) if callable(batch_sizes) else batch_sizes)
    scheme = draw(sampling_schemes() if sampling is None else sampling)
    point = Point(model, theta, size, scheme)
    if step_sizes is None:
        return point
    return replace(point, step_size=draw(step_sizes(point) if callable(step_sizes) else step_sizes))
