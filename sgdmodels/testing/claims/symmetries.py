"""What may be changed about a problem without changing its sharpness, and what a change of units does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...arguments import FloatArray
from ...models import Model
from ..claim import Claim
from ..draws import points
from ..entries import arrays
from ..point import Point
from . import regions
from .rounding import (
    curvature_size,
    gradient_square,
    gradients_are_clear,
    hessian_condition,
    interaction_scale,
    mean_condition,
    pencil_condition,
    ratio_scale,
    well_conditioned,
)
from .transformations import replicated, scaled, turned

STEPS_OF_TRAJECTORY = 4
DIVERGED = 1e30  # parameters beyond: the next steps may overflow
Directions = list[list[float]]  # as code, a case is then printed with all digits
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


def with_step_sizes_and_scales() -> SearchStrategy[tuple[Point, float]]:
    """The same with a step size."""
    return st.tuples(regions.with_steps(), st.integers(-8, 8).map(lambda power: 4.0**power))


def trajectory(point: Point, model: Model, step_size: float) -> FloatArray:
    """theta after each of a few steps of SGD on `model`, on the first batches of `point`, shape (steps, d)."""
    theta, path = point.theta, []
    for weights in np.resize(point.batches().weights, (STEPS_OF_TRAJECTORY, model.samples)):
        theta = theta - step_size * (weights @ model.sample_gradients(theta))
        path.append(theta)
        if np.max(abs(theta)) > DIVERGED:
            break
    return np.array(path)


def steps_in_other_units(case: tuple[Point, float]) -> tuple[Any, ...]:
    point, factor = case
    there = trajectory(point, scaled(point.model, factor), point.eta / factor)
    return there, trajectory(point, point.model, point.eta)


def with_reflections() -> SearchStrategy[tuple[Point, Directions]]:
    """Quadratics and directions to reflect along, one after the other."""

    def directions(point: Point) -> SearchStrategy[Directions]:
        direction = arrays((point.model.dim,)).filter(np.any).map(np.ndarray.tolist)
        return st.lists(direction, min_size=1, max_size=3)

    return points(regions.any_quadratic()).flatmap(lambda point: st.tuples(st.just(point), directions(point)))


def turned_sharpnesses(case: tuple[Point, Directions]) -> tuple[Any, ...]:
    point, directions = case
    left, right, scale = compared(point, turned(point, directions))
    return left, right, 10 * len(directions) * scale  # turning costs a few more roundings


def duplicated_sharpnesses(point: Point) -> tuple[Any, ...]:
    left, right, scale = compared(point, replace(point, model=replicated(point.model, 2)))
    return left, right, hessian_condition(point) * scale


def duplicated_is_enumerable(point: Point) -> bool:
    return point.model.samples <= 4


def with_copies() -> SearchStrategy[tuple[Point, int]]:
    """Points without replacement, and how often to repeat their data."""
    return st.tuples(points(sampling=st.just("without_replacement")), st.sampled_from((2, 3, 10, 100)))


def many_copies(case: tuple[Point, int]) -> tuple[Any, ...]:
    """Sides: E|g_B|^2, E[g_B' H_B g_B] and BS_R of draws from r copies; those with replacement, corrected."""
    point, times = case
    once = replace(point, sampling="with_replacement")
    table, copied, b = once.batches(), times * point.model.samples, point.batch_size
    counts = np.rint(table.weights * b).astype(int)  # a batch takes so many of the r copies of each sample
    ways = [math.prod(math.comb(times, count) for count in row) for row in counts.tolist()]
    chances = np.array([way / math.comb(copied, b) for way in ways])
    squares = np.sum(table.gradients**2, axis=1)
    cubes = np.einsum("mi,mij,mj->m", table.gradients, table.hessians, table.gradients)
    g, h = point.gradients - point.mean_gradient, point.hessians - point.mean_hessian
    spread, n = float(np.sum(g**2)) / len(g), len(g)
    along = np.einsum("ni,ij,nj->", g, point.mean_hessian, g) / n
    cross, cube = (np.einsum("ni,nij,nj->", g, h, x) / n for x in (np.tile(point.mean_gradient, (n, 1)), g))
    fewer_2 = (b - 1) / (b * (copied - 1))
    fewer_3 = 1 / b**2 - (copied - b) * (copied - 2 * b) / (b**2 * (copied - 1) * max(copied - 2, 1))
    square = float(table.mean(squares)) - fewer_2 * spread
    interaction = float(table.mean(cubes)) - fewer_2 * (along + 2 * cross) - fewer_3 * cube
    if square <= 0:
        return np.nan, np.nan
    many = replace(point, model=replicated(point.model, times))
    largest = float(np.mean(point.gradients**2) * point.model.dim)
    size = curvature_size(point)
    return (
        np.array([chances @ squares, chances @ cubes, many.batch_sharpness]),
        np.array([square, interaction, interaction / square]),
        np.array([largest, size * largest, ratio_scale(once) * gradient_square(once) / square]),
    )


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
    with_step_sizes_and_scales,
    kind="one-step",
    relation="==",
    formula=r"(l_i, \eta) \to (\kappa l_i, \eta/\kappa):\quad \theta_t \to \theta_t \text{ for all } t",
    assumptions=("Any built-in loss, any parameters, the same batches.",),
    proof="Gradients are linear in the loss, so every step stays the same.",
    reference="I23",
)
ROTATION = Claim(
    "rotations change no sharpness",
    "No sharpness depends on the coordinates.",
    turned_sharpnesses,
    with_reflections,
    relation="==",
    formula=r"\theta \to Q\theta,\ QQ^T = I:\quad \mathrm{BS}, \lambda_{\max}, S_{ms}, \dots \text{ unchanged}",
    assumptions=("Per-sample quadratics, any parameters, any sampling scheme.", "Q: up to three reflections.", ALL),
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
COPIES = Claim(
    "many copies: without replacement -> with replacement",
    "Drawn without replacement from many copies of the data, batches have the curvature of draws with replacement, "
    "up to terms in 1 / copies that are known exactly.",
    many_copies,
    with_copies,
    relation="==",
    formula=r"T^{wor} = T^{wr} - \tfrac{b - 1}{b(N - 1)}A "
    r"- \Big(\tfrac1{b^2} - \tfrac{(N - b)(N - 2b)}{b^2(N - 1)(N - 2)}\Big)K,"
    r"\quad T = E[g_B^TH_Bg_B];\quad "
    r"E^{wor}\|g_B\|^2 = E^{wr}\|g_B\|^2 - \tfrac{b - 1}{b(N - 1)}\mathrm{tr}\,\Sigma",
    assumptions=(
        "Any built-in loss, any parameters; N = r n samples, r copies of n.",
        "A and K: what c2 and c3 multiply in T. Hence BS_R, their ratio; r to infinity gives draws with replacement.",
    ),
    proof="c2 and c3 of N samples differ from 1/b and 1/b^2 by these factors; Sigma, A and K are those of n samples.",
    reference="I22",
)
CLAIMS: tuple[Claim[Any], ...] = (UNITS, STEPS, ROTATION, DUPLICATES, COPIES)
