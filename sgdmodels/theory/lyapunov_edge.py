r"""The step size at which almost every run of SGD stops converging: the first zero of the Lyapunov exponent.

.. math:: \gamma_1(\eta_*) = 0, \qquad \eta_{ms} \le \eta_*

by Jensen's inequality. Nothing bounds it by the edge of gradient descent: noise can stabilise. The exponent is
estimated with the same batches and starts at every step size, so that its zero is that of one curve. The curve is
continuous but not smooth (every singular step leaves a logarithmic cusp), and stable step sizes need not be an
interval: the search climbs from a step size that is certainly stable, and ends at the first crossing it sees.
Source: this project.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import integer
from ..errors import InvalidArgument
from .batch_steps import BatchSteps, batch_steps
from .epoch_products import affordable
from .exact_exponents import common_curvatures, exact_exponents
from .first_root import first_root
from .mean_square import max_step_size
from .moment_edges import moment_max_step_size
from .random_products import product_growth, random_frame, sampled_exponents

LOWEST = -745.0  # in place of -inf
WIDTH = 0.03  # of the finite difference that gives the slope
BELOW = 0.99
ACCURACY = 1e-6


@dataclass(frozen=True)
class LyapunovEdge:
    """The first step size at which almost every run stops converging, and its standard error (0 if exact)."""

    step_size: float
    standard_error: float


def lyapunov_max_step_size(
    hessians: ArrayLike,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    steps: int = 2000,
    replicas: int = 32,
    seed: int = 0,
) -> LyapunovEdge:
    r"""The first positive zero of the top Lyapunov exponent as a function of the step size.

    `hessians` (n, d, d), or a_i (n, d) for :math:`H_i = a_ia_i^T`; directions without positive mean curvature are left
    out. The standard error is that of the exponent (see `LyapunovExponents`) over the slope. An unstable window
    narrower than 4 % can be missed. Raises InvalidArgument, NotConverged.

    >>> edge = lyapunov_max_step_size([[[1.0]], [[3.0]]], batch_size=1)  # (eta - 1)(3 eta - 1) = 1
    >>> round(edge.step_size, 12), edge.standard_error
    (1.333333333333, 0.0)
    """
    steps_of = batch_steps(hessians, batch_size, sampling, momentum, nesterov).rising()
    length, runs = integer("steps", steps, 1), integer("replicas", replicas, 2)
    first = integer("seed", seed, 0)
    exact = commuting_edge(steps_of)
    if exact is not None:
        return LyapunovEdge(exact, 0.0)
    start = steps_of.certain_start()
    if sampling != "epoch" or affordable(steps_of):  # no step size below the mean-square edge is unstable: Jensen
        edge = max_step_size(hessians, batch_size, sampling, momentum=momentum, nesterov=nesterov)
        start = max(start, BELOW * edge)

    def exponent(step_size: float) -> float:
        known = exact_exponents(steps_of, step_size) if steps_of.deterministic else None
        value = top_exponent(steps_of, step_size, length, runs, first) if known is None else known[0]
        return max(float(value), LOWEST)

    edge = first_root(exponent, start, ACCURACY)
    if steps_of.deterministic:
        return LyapunovEdge(edge, 0.0)
    error = float(sampled_exponents(steps_of, edge, 1, length, runs, first)[1][0])
    slope = (exponent(edge * (1 + WIDTH)) - exponent(edge * (1 - WIDTH))) / (2 * WIDTH * edge)
    return LyapunovEdge(edge, error / abs(slope))


def commuting_edge(steps_of: BatchSteps) -> float | None:
    """That of the first unstable one of common eigenvectors; None without any or with too many batches to enumerate."""
    curvatures = common_curvatures(steps_of)
    if curvatures is None:
        return None
    columns = [steps_of.scale * np.ascontiguousarray(h) for h in curvatures.T]
    try:
        return min(moment_max_step_size(h, steps_of.batch_size, 0, steps_of.sampling) for h in columns)
    except InvalidArgument:
        return None


def top_exponent(steps_of: BatchSteps, step_size: float, steps: int, replicas: int, seed: int) -> float:
    """The largest exponent, the same batches and starts at every step size."""
    rng = np.random.default_rng(seed)
    starts = [random_frame(steps_of, replicas, 1, rng)]
    return float(product_growth(steps_of, step_size, starts, steps, rng).mean())
