"""What may be changed about a problem without changing its sharpness, and what a change of units does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...arguments import FloatArray
from ...sampling import noise_coefficients
from ..claim import Claim
from ..draws import points
from ..entries import arrays
from ..point import Point
from . import regions
from .rounding import (
    curvature_size,
    gradient_square,
    gradients_are_clear,
    interaction_scale,
    mean_condition,
    pencil_condition,
    ratio_scale,
    square_condition,
    well_conditioned,
)
from .transformations import reflected, replicated, scaled

SHARPNESSES = (
    "lambda_max", "minibatch_lambda_max", "batch_sharpness", "ias", "gni", "batch_sharpness_mean_ratio",
    "mean_square_sharpness",
)  # fmt: skip
ALL = "All of lambda_max, E lambda_max(H_B), BS_R, BS_E, IAS, GNI and S_ms, where they exist."


def sharpnesses(point: Point) -> tuple[FloatArray, FloatArray]:
    """All sharpnesses that exist at a point, and their scales; those that rounding decides about count as zero."""
    size = curvature_size(point)
    scales = [size, size, ratio_scale(point), ratio_scale(point), interaction_scale(point), np.inf, np.inf]
    if gradients_are_clear(point):
        scales[5] = size * mean_condition(point)
    if well_conditioned(point):
        scales[6] = pencil_condition(point) * point.mean_square_sharpness
    values = np.array([getattr(point, name) for name in SHARPNESSES])
    exist = np.isfinite(values) & np.isfinite(scales)
    return np.where(exist, values, np.nan), np.array(scales)


def compared(one: Point, other: Point, factor: float = 1.0) -> tuple[Any, ...]:
    """Sides: the sharpnesses of `one`, and `factor` times those of `other`."""
    (left, scale), right = sharpnesses(one), factor * sharpnesses(other)[0]
    exist = ~np.isnan(left)
    return left[exist], right[exist], scale[exist]


def with_scales() -> SearchStrategy[tuple[Point, float]]:
    """Points and a factor, a power of four: a change of units without rounding."""
    return st.tuples(points(), st.integers(-8, 8).map(lambda power: 4.0**power))


def in_other_units(case: tuple[Point, float]) -> tuple[Any, ...]:
    point, factor = case
    return compared(replace(point, model=scaled(point.model, factor)), point, factor)


def steps_in_other_units(case: tuple[Point, float]) -> tuple[Any, ...]:
    point, factor = case
    other = replace(point, model=scaled(point.model, factor))
    return other.gradients / factor, point.gradients


def with_reflections() -> SearchStrategy[tuple[Point, FloatArray]]:
    """Quadratics and a direction to reflect along."""
    return points(regions.any_quadratic()).flatmap(
        lambda point: st.tuples(st.just(point), arrays((point.model.dim,)).filter(np.any))
    )


def reflected_sharpnesses(case: tuple[Point, FloatArray]) -> tuple[Any, ...]:
    point, direction = case
    left, right, scale = compared(point, reflected(point, direction))
    return left, right, 10 * scale  # turning costs a few more roundings


def duplicated_sharpnesses(point: Point) -> tuple[Any, ...]:
    return compared(point, replace(point, model=replicated(point.model, 2)))


def duplicated_is_enumerable(point: Point) -> bool:
    return point.model.samples <= 4


def with_copies() -> SearchStrategy[tuple[Point, int]]:
    """Points without replacement, and how often to repeat their data."""
    return st.tuples(points(sampling=st.just("without_replacement")), st.sampled_from((2, 3, 10, 100)))


def many_copies(case: tuple[Point, int]) -> tuple[Any, ...]:
    point, times = case
    once = replace(point, sampling="with_replacement")
    many = replace(point, model=replicated(point.model, times))
    n, b = many.model.samples, point.batch_size
    g, h = point.gradients - point.mean_gradient, point.hessians - point.mean_hessian
    spread = float(np.sum(g**2)) / len(g)
    along_mean = np.einsum("ni,ij,nj->", g, point.mean_hessian, g) / len(g)
    cross, cube = (np.einsum("ni,nij,nj->", g, h, x) / len(g) for x in (np.tile(point.mean_gradient, (len(g), 1)), g))
    square = float(point.mean_gradient @ point.mean_gradient)
    squares = square + noise_coefficients(n, b).c2 * spread, square + spread / b
    if squares[0] == 0:
        return np.nan, np.nan
    moved = abs(many.batch_sharpness * squares[0] - once.batch_sharpness * squares[1])
    far = 3 * (b - 1) / (b * (n - 2)) if b > 1 else 0.0
    size = curvature_size(point) * square_condition(once) * gradient_square(once)
    return moved, far * (abs(along_mean + 2 * cross) + abs(cube)), size * (1 + squares[1] / squares[0])


UNITS = Claim(
    "k l_i: all sharpnesses times k",
    "A loss in other units has every sharpness in other units.",
    in_other_units,
    with_scales,
    relation="==",
    formula=r"l_i \to \kappa l_i:\quad \mathrm{BS}, \lambda_{\max}, S_{ms}, \dots \to \kappa\,\mathrm{BS}, \dots",
    assumptions=("Any built-in loss, any parameters, any sampling scheme.", ALL),
    proof="Every one of them is homogeneous of degree one in the Hessians and of degree zero in the gradients.",
    reference="I23",
)
STEPS = Claim(
    "k l_i, eta / k: the same steps",
    "A loss in other units and the step size in the inverse units give the same trajectory.",
    steps_in_other_units,
    with_scales,
    kind="one-step",
    relation="==",
    formula=r"(l_i, \eta) \to (\kappa l_i, \eta/\kappa):\quad \eta g_i \to \eta g_i",
    assumptions=("Any built-in loss, any parameters.",),
    proof="Gradients are linear in the loss.",
    reference="I23",
)
ROTATION = Claim(
    "rotations change no sharpness",
    "No sharpness depends on the coordinates.",
    reflected_sharpnesses,
    with_reflections,
    relation="==",
    formula=r"\theta \to Q\theta,\ QQ^T = I:\quad \mathrm{BS}, \lambda_{\max}, S_{ms}, \dots \text{ unchanged}",
    assumptions=("Per-sample quadratics, any parameters, any sampling scheme.", ALL),
    proof="Gradients turn with Q and Hessians with Q . Q'; ratios and eigenvalues do not see it.",
    reference="I24",
)
DUPLICATES = Claim(
    "with replacement: duplicates change no sharpness",
    "If batches are drawn with replacement, taking every sample twice changes nothing.",
    duplicated_sharpnesses,
    lambda: points(sampling=st.just("with_replacement")),
    relation="==",
    formula=r"(l_1, \dots, l_n) \to (l_1, l_1, \dots, l_n, l_n):\quad \mathrm{BS}, S_{ms}, \dots \text{ unchanged}",
    assumptions=("Any built-in loss, any parameters.", "Batches with replacement.", ALL),
    proof="The law of one draw, hence of a batch, is the same.",
    reference="I24",
    defined=duplicated_is_enumerable,
)
LIMIT = Claim(
    "many copies: without replacement -> with replacement",
    "Drawn without replacement from many copies of the data, batches have the curvature of draws with replacement.",
    many_copies,
    with_copies,
    formula=r"|T_b^{wor}(r) - T_b^{wr}| \le \tfrac{3(b - 1)}{b(rn - 2)}(|A| + |K|), \quad T_b = E[g_B^TH_Bg_B]",
    assumptions=(
        "Any built-in loss, any parameters; r copies of the n samples.",
        "A and K: what c2 and c3 multiply in E[g_B' H_B g_B].",
    ),
    proof="c2 and c3 of N = r n samples differ from 1/b and 1/b^2 by at most the factor.",
    reference="I22",
)
CLAIMS: tuple[Claim[Any], ...] = (UNITS, STEPS, ROTATION, DUPLICATES, LIMIT)
