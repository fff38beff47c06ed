r"""How far rounding can move the quantities that claims compare: the scales that violations are measured against.

A gradient is computed with an error of about the unit roundoff times :math:`N_i = |g_i| + \|H_i\|(|\theta| + |c_i|)`,
the terms that cancel in it (c_i: the centre of a quadratic). A ratio such as :math:`E[g_B^T H_B g_B] / E|g_B|^2` then
moves by the roundoff times :math:`\max_i\|H_i\|\,N\,\mathrm{rms}(g_i) / E|g_B|^2`, and so on.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...arguments import FloatArray
from ...models import Quadratics
from ..point import Point

ROUNDOFF = float(np.finfo(np.float64).eps)
CLEAR = 1e-9  # a batch gradient smaller than this in units of what cancels in it may be rounding
WELL_CONDITIONED = 1e-8  # smallest positive eigenvalue of the mean Hessian, in units of the largest sample curvature
DROPPED = 1e-12  # relative eigenvalues below are zero for `mean_square_sharpness`


def curvature_size(point: Point) -> float:
    """The largest norm of a sample's Hessian."""
    return float(np.linalg.norm(point.hessians, axis=(1, 2)).max())


def hessian_condition(point: Point) -> float:
    """How many times a relative change of the parameters, each by a share of its own, is larger in Hessians; or 1.

    Where residuals cancel, Hessians inherit it: two ways to sum up the same data then differ in the same measure.
    """
    size, step = curvature_size(point), 2.0**-20
    shares = np.cos(1 + 1.7 * np.arange(point.model.dim))
    moved = point.model.sample_hessians(point.theta * (1 + step * shares))
    change = float(np.max(abs(moved - point.hessians))) / step
    return max(1.0, change / size) if size > 0 else 1.0


def location_sizes(point: Point) -> FloatArray:
    """|theta| + |c_i|, shape (n,)."""
    centers = np.linalg.norm(point.model.centers, axis=1) if isinstance(point.model, Quadratics) else 0.0
    return np.linalg.norm(point.theta) + np.zeros(point.model.samples) + centers


def gradient_sizes(point: Point) -> FloatArray:
    """N_i, what cancels in each sample's gradient, shape (n,)."""
    norms = np.linalg.norm(point.hessians, axis=(1, 2))
    return np.linalg.norm(point.gradients, axis=1) + norms * location_sizes(point)


def gradient_square(point: Point) -> float:
    """E|g_B|^2 by enumeration of all batches."""
    table = point.batches()
    return float(table.mean(np.sum(table.gradients**2, axis=1)))


def square_condition(point: Point) -> float:
    """By how much E|g_B|^2, relative to itself, amplifies rounding; inf where it is zero."""
    square = float(np.mean(point.gradients**2) * point.model.dim)
    size = float(np.sqrt(np.mean(gradient_sizes(point) ** 2)))
    mean = gradient_square(point)
    return (square + np.sqrt(square) * size + ROUNDOFF * size**2) / mean if mean > 0 else np.inf


def ratio_scale(point: Point) -> float:
    """The scale of Batch Sharpness and IAS as ratios of expectations."""
    return curvature_size(point) * square_condition(point)


def mean_gradient_condition(point: Point) -> float:
    """By how much the full gradient, relative to itself, amplifies rounding; inf where it may be zero plus rounding."""
    norm, size = float(np.linalg.norm(point.mean_gradient)), float(gradient_sizes(point).max())
    return size / norm if norm > CLEAR * size else np.inf


def full_gradient_is_clear(point: Point) -> bool:
    """Whether the full gradient is clearly not zero: where GNI exists."""
    return bool(np.isfinite(mean_gradient_condition(point)))


def interaction_scale(point: Point) -> float:
    """The scale of GNI, whose denominator is |gbar|^2; inf where that may be zero plus rounding."""
    if not full_gradient_is_clear(point):
        return np.inf
    square = float(point.mean_gradient @ point.mean_gradient)
    return ratio_scale(point) * gradient_square(point) / square * mean_gradient_condition(point)


@lru_cache(maxsize=8)
def batch_conditions(point: Point) -> FloatArray:
    """By how much each batch gradient, relative to itself, amplifies rounding; 0 for a gradient that is exactly zero.

    nan for a batch of which one cannot say whether its gradient is zero: it is nearly so, or it is in one order of
    summation and not in another. Shape (m,).
    """
    table = point.batches()
    norms = np.linalg.norm(table.gradients, axis=1)
    sizes = np.max((table.weights > 0) * gradient_sizes(point), axis=1)
    conditions = np.zeros(len(norms))
    clear = norms > CLEAR * sizes
    conditions[clear] = sizes[clear] / norms[clear]
    for k in np.flatnonzero(~clear & (sizes > 0)):
        index = np.repeat(np.arange(point.model.samples), np.rint(table.weights[k] * point.batch_size).astype(int))
        other = point.model.weighted_gradient(point.theta, index, np.full(len(index), 1 / point.batch_size))
        if norms[k] > 0 or other.any():
            conditions[k] = np.nan
    return conditions


def gradients_are_clear(point: Point) -> bool:
    """Whether every batch gradient is exactly zero or clearly not, and some are not: where means of ratios exist."""
    conditions = batch_conditions(point)
    return bool(np.isfinite(conditions).all() and conditions.any())


def no_gradient_vanishes(point: Point) -> bool:
    """Whether every batch has a gradient that is clearly not zero."""
    return bool((batch_conditions(point) > 0).all())


def mean_condition(point: Point) -> float:
    """The mean of `batch_conditions` over the batches with a gradient."""
    conditions = batch_conditions(point)
    return float(np.average(conditions[conditions > 0], weights=point.batches().probability[conditions > 0]))


def kept(point: Point) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues (r,) and eigenvectors (d, r) of the mean Hessian in directions of positive curvature, ascending."""
    values, vectors = np.linalg.eigh(point.mean_hessian)
    keep = values > DROPPED * abs(values).max()
    return values[keep], vectors[:, keep]


def well_conditioned(point: Point) -> bool:
    """Whether the mean Hessian has a positive eigenvalue, and none that may be a zero plus rounding."""
    values, _ = kept(point)
    return len(values) > 0 and bool(values[0] > WELL_CONDITIONED * curvature_size(point))


def pencil_condition(point: Point) -> float:
    """By how much S_ms, relative to itself, amplifies rounding."""
    return curvature_size(point) / float(kept(point)[0][0])
