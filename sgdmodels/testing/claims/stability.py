"""True of how kinds of stability imply each other, and of the cases where Batch Sharpness is the mean-square edge."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...theory import second_moment_radius
from ..claim import Claim
from ..point import Point
from . import regions
from .mean_square import ANY, MULAYOFF, SCHEMES, scale
from .rounding import curvature_size, kept, no_gradient_vanishes, pencil_condition, ratio_scale, well_conditioned


def mean_growth(point: Point) -> tuple[Any, ...]:
    radius = second_moment_radius(point.hessians, point.eta, point.batch_size, point.sampling)
    growth = float(np.max((1 - point.eta * kept(point)[0]) ** 2))
    return growth, radius, pencil_condition(point) * (1 + point.eta * curvature_size(point)) ** 2


def geometric_growth(point: Point) -> tuple[Any, ...]:
    table = point.batches()
    factors = (1 - point.eta * table.hessians[:, 0, 0]) ** 2
    if not factors.all():  # one batch ends it all
        return 0.0, float(table.mean(factors))
    return float(np.exp(table.mean(np.log(factors)))), float(table.mean(factors))


def one_dimensional_ratios(point: Point) -> tuple[Any, ...]:
    ratios = (point.lambda_max, point.mean_square_sharpness, point.batch_sharpness)
    return np.array(ratios[:2]), np.array(ratios[1:]), ratio_scale(point)


def equal_norms(point: Point) -> tuple[Any, ...]:
    values = (point.batch_sharpness_mean_ratio, point.batch_sharpness, point.mean_square_sharpness)
    return np.array(values), float(np.trace(point.mean_hessian)), max(scale(point), ratio_scale(point))


MEAN = Claim(
    "(1 - eta lambda)^2 <= rho(second moments)",
    "In directions of positive mean curvature mean-square stability implies stability in the mean: "
    "second moments grow at least as fast as squares of means.",
    mean_growth,
    regions.about_the_edge,
    kind="mean",
    formula=r"\max_j (1 - \eta\lambda_j)^2 \le \rho(I - 2\eta C + \eta^2 D)",
    assumptions=(ANY, SCHEMES),
    proof="Rayleigh quotient of the second-moment map at v_j v_j'.",
    reference="Jensen",
    tolerance=1e-11,
    defined=well_conditioned,
)
ALMOST_SURE = Claim(
    "exp(2 E log|1 - eta h_B|) <= E(1 - eta h_B)^2",
    "In one dimension, of positive mean curvature, mean-square stability implies almost-sure stability.",
    geometric_growth,
    lambda: regions.about_the_edge(1),
    kind="almost sure",
    formula=r"E\log|1 - \eta h_B| \le \tfrac12\log E(1 - \eta h_B)^2",
    assumptions=(
        "One parameter, Hessians of any sign.",
        "Independent batches: with or without replacement, Bernoulli.",
    ),
    proof="The logarithm is concave (Jensen).",
    reference="E9",
)
ONE_DIMENSION = Claim(
    "d = 1, interpolating: lambda_max <= S_ms <= BS_R",
    "In one dimension, near an interpolating minimum, Batch Sharpness (ratio of means) is at least S_ms.",
    one_dimensional_ratios,
    lambda: regions.interpolating(1, regions.INDEPENDENT),
    kind="mean-square",
    formula=r"E[h_B] \le E[h_B^2]/E[h_B] \le E[h_B^3]/E[h_B^2]",
    assumptions=("One parameter, positive semi-definite Hessians.", "All samples share their minimum.", SCHEMES),
    proof="Moments of a positive number are log-convex.",
    reference="I18",
)
EQUAL_NORMS = Claim(
    "least squares, equal norms, b = 1: BS_E = BS_R = S_ms = trace",
    "With inputs of equal norms and batches of one sample, Batch Sharpness is the mean-square edge at every point.",
    equal_norms,
    regions.equal_norms,
    kind="mean-square",
    relation="==",
    formula=r"\|a_i\|^2 = R,\ b = 1:\quad \mathrm{BS} = S_{ms} = \mathrm{tr}\,\bar H = R",
    assumptions=(
        "Least squares, inputs of equal norms.",
        "Batches of one sample, drawn independently.",
        "No sample's gradient vanishes.",
    ),
    proof="The trace of D(X) is R tr(Hbar X) = R tr C(X), and is positive on the Perron matrix.",
    reference="I17; " + MULAYOFF,
    defined=lambda point: no_gradient_vanishes(point) and well_conditioned(point),
)
CLAIMS: tuple[Claim[Point], ...] = (MEAN, ALMOST_SURE, ONE_DIMENSION, EQUAL_NORMS)
