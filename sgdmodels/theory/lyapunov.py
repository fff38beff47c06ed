r"""Lyapunov exponents: what almost every run of SGD does near an interpolating minimum, however rare others explode.

.. math:: \gamma_1 = \lim_{t\to\infty}\frac1t\log\Big\|\prod_{s\le t}(I-\eta H_{B_s})\Big\|

Almost every run converges iff :math:`\gamma_1 < 0`. By Jensen's inequality :math:`\gamma_1 \le \frac12\log\rho` with
:math:`\rho` the growth factor of second moments: mean-square stability implies stability of almost every run, not the
other way. The sum of all exponents is :math:`E\log|\det|` of a step, which bounds the largest from below: it is
:math:`d\log\beta` for heavy ball, whatever the Hessians are.

Exponents are averages of log R_jj over independent products, kept orthonormal by a QR factorisation a step; in one
direction without momentum, and at the full batch, they are exact. Directions in the common kernel of all Hessians never
move (their exponent is 0) and are left out, as in `mean_square_sharpness`. Source: Oseledets 1968; Benettin 1980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, integer, real
from ..errors import InvalidArgument, NotConverged
from .batch_curvatures import curvature_law
from .batch_steps import BatchSteps, batch_steps
from .epoch_products import ExactEpochs, affordable
from .moment_edges import log_factors
from .step_moments import cone_eigenpair, log_determinant, step_second_moment

BURN_IN = 4  # one step in so many more, at the start of each product, is not counted
SINGULAR = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class LyapunovExponents:
    """The largest exponents per step of SGD, `values` (count,), descending, and their `standard_errors` (0 if exact).

    lower <= values[0] <= upper holds without error: Jensen's bound, and E log|det| / size of the state where it is
    known without sampling (else -inf).
    """

    values: FloatArray
    standard_errors: FloatArray
    lower: float
    upper: float


def lyapunov_exponents(
    hessians: ArrayLike,
    step_size: float,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    count: int = 1,
    steps: int = 2000,
    replicas: int = 32,
    seed: int = 0,
) -> LyapunovExponents:
    r"""The `count` largest Lyapunov exponents of SGD around a frozen quadratic, gamma = lim (1/t) log|x_t|.

    `hessians` (n, d, d), or a_i (n, d) for :math:`H_i = a_ia_i^T`. `replicas` products of `steps` steps each, of which
    errors are estimated; ``"epoch"`` walks through permutations, without the last n mod b samples of each. -inf where
    steps are singular. Raises InvalidArgument.

    >>> exponents = lyapunov_exponents([[[1.0]], [[4.0]]], 0.5, batch_size=1)  # (log|1 - 1/2| + log|1 - 2|) / 2
    >>> exponents.values / np.log(2), exponents.standard_errors
    (array([-0.5]), array([0.]))
    """
    steps_of = batch_steps(hessians, batch_size, sampling, momentum, nesterov)
    eta = real("step_size", step_size)
    k = integer("count", count, 1, steps_of.state, "(the size of the state in the directions that move)")
    length, runs = integer("steps", steps, 1), integer("replicas", replicas, 2)
    values, errors = exact_exponents(steps_of, eta, k) or sampled_exponents(steps_of, eta, k, length, runs, seed)
    return LyapunovExponents(
        values, errors, log_determinant(steps_of, eta) / steps_of.state, jensen_bound(steps_of, eta)
    )


def exact_exponents(steps_of: BatchSteps, step_size: float, count: int) -> tuple[FloatArray, FloatArray] | None:
    """Those of a step that is always the same, or of one direction; None where neither holds or it takes too long."""
    if steps_of.deterministic:
        batch = np.arange(steps_of.batch_size)[None]
        sizes = np.sort(abs(np.linalg.eigvals(steps_of.matrices(batch, step_size)[0])))[::-1][:count]
        with np.errstate(divide="ignore"):
            return np.log(np.where(sizes <= SINGULAR, 0.0, sizes)), np.zeros(count)
    if steps_of.state > 1:
        return None
    try:
        values, weights = curvature_law(steps_of.curvatures(), steps_of.batch_size, steps_of.sampling)
    except InvalidArgument:  # too many batches
        return None
    return np.array([weights @ log_factors(values, step_size)]), np.zeros(1)


def sampled_exponents(
    steps_of: BatchSteps, step_size: float, count: int, steps: int, replicas: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Means over independent products and their standard errors."""
    growth = product_growth(steps_of, step_size, count, steps, replicas, np.random.default_rng(seed))
    mean = growth.mean(axis=0)
    alive = np.isfinite(mean)
    errors = np.zeros(count)
    errors[alive] = growth[:, alive].std(axis=0, ddof=1) / math.sqrt(replicas)
    order = np.argsort(-mean, kind="stable")
    return mean[order], errors[order]


def product_growth(
    steps_of: BatchSteps, step_size: float, count: int, steps: int, replicas: int, rng: np.random.Generator
) -> FloatArray:
    """(replicas, count): log R_jj per step of independent random products, whole epochs where there are any."""
    unit = steps_of.epoch_steps if steps_of.sampling == "epoch" else 1
    counted, first = (unit * math.ceil(length / unit) for length in (steps, steps / BURN_IN))
    frame = np.linalg.qr(rng.standard_normal((replicas, steps_of.state, count)))[0]
    total = np.zeros((replicas, count))
    zero = SINGULAR * (1 + steps_of.scale * step_size)
    for t, batches in enumerate(steps_of.draws(rng, replicas, first + counted)):
        frame, triangle = np.linalg.qr(steps_of.advance(frame, batches, step_size))
        if t >= first:
            size = abs(np.diagonal(triangle, axis1=1, axis2=2))
            with np.errstate(divide="ignore"):
                total += np.log(np.where(size <= zero, 0.0, size))
    return total / counted


def jensen_bound(steps_of: BatchSteps, step_size: float) -> float:
    """Half the log of the growth factor of second moments; inf where it is not found (long epochs, no convergence)."""
    length = 1
    moments = step_second_moment(steps_of, step_size)
    if steps_of.sampling == "epoch" and not steps_of.deterministic:
        if not affordable(steps_of):
            return math.inf
        length, moments = steps_of.epoch_steps, ExactEpochs(steps_of).second_moment(step_size)
    try:
        radius = cone_eigenpair(moments, steps_of.state)[0]
    except NotConverged:
        return math.inf
    return math.log(radius) / (2 * length) if radius > 0 else -math.inf
