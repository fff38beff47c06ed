r"""Lyapunov exponents that are known exactly: steps that are always the same, and Hessians with a common eigenbasis.

A mode of curvature lambda that meets no noise has the moduli of the roots of :math:`r^2 - pr + q`
(`momentum.Momentum.recurrence`). Hessians that commute have, without momentum, one exponent for each common
eigenvector, :math:`E\log|1-\eta h_B|`, in every sampling scheme. Source: elementary.
"""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument
from .batch_curvatures import curvature_law
from .batch_steps import BatchSteps
from .moment_edges import log_factors
from .momentum import Momentum

COMMON = 1e-13  # off-diagonal entries in a common eigenbasis, relative to the largest Hessian
WEIGHTS_SEED = 0


def exact_exponents(steps_of: BatchSteps, step_size: float) -> FloatArray | None:
    """All exponents, descending; None where they are not known exactly or batches are too many to enumerate."""
    if steps_of.deterministic:
        return np.sort(noiseless_exponents(steps_of, step_size))[::-1]
    curvatures = common_curvatures(steps_of)
    if curvatures is None:
        return None
    values = []
    for h in curvatures.T:
        try:
            law, weights = curvature_law(h, steps_of.batch_size, steps_of.sampling)
        except InvalidArgument:  # too many batches
            return None
        values.append(weights @ log_factors(law, steps_of.scale * step_size))
    return np.sort(values)[::-1]


def common_curvatures(steps_of: BatchSteps) -> FloatArray | None:
    """h (n, d) along common eigenvectors, in units of the scale; None with momentum or if there are none."""
    if steps_of.momentum > 0:
        return None
    population = steps_of.population
    weights = np.random.default_rng(WEIGHTS_SEED).uniform(1, 2, size=steps_of.samples)
    mixture = population.weighted(weights)  # generic weights tell all common eigenvectors apart
    rotated = population.projected(np.linalg.eigh(mixture)[1])
    first = np.broadcast_to(np.eye(steps_of.dim)[0], (steps_of.samples, steps_of.dim))
    if abs(rotated.each(first)[:, 1:]).max(initial=0.0) > COMMON:  # most do not commute, and this is cheap
        return None
    stacked = rotated.stacked()
    if abs(stacked * (1 - np.eye(steps_of.dim))).max() > COMMON:
        return None
    return np.ascontiguousarray(np.diagonal(stacked, axis1=1, axis2=2))


def noiseless_exponents(steps_of: BatchSteps, step_size: float) -> FloatArray:
    """Those of a step on the mean Hessian."""
    values, eta = steps_of.values, steps_of.scale * step_size
    if steps_of.momentum == 0:
        return log_factors(values, eta)
    p, q = Momentum(steps_of.momentum, steps_of.nesterov).recurrence(eta, values)
    half = abs(p) / 2
    with np.errstate(divide="ignore"):
        vanishing = log_factors(values, eta) == -np.inf if steps_of.nesterov else np.zeros(len(values), dtype=bool)
        product = np.where(vanishing, -np.inf, np.log(abs(q)))
        inner = np.where(half > 0, q / np.where(half > 0, half, 1.0) / np.where(half > 0, half, 1.0), np.inf)
        real = np.log(half) + np.log1p(np.sqrt(np.maximum(1 - inner, 0.0)))
    larger = np.where((inner > 1) & (q > 0) | (half == 0), product / 2, real)
    smaller = np.where(product == -np.inf, -np.inf, product - np.where(product == -np.inf, 0.0, larger))
    return np.concatenate([larger, smaller])
