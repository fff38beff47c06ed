r"""Lyapunov exponents: what almost every run of SGD does near an interpolating minimum, however rare others explode.

.. math:: \gamma_1 = \lim_{t\to\infty}\frac1t\log\Big\|\prod_{s\le t}(I-\eta H_{B_s})\Big\|

Almost every run converges iff :math:`\gamma_1 < 0`. By Jensen's inequality :math:`\gamma_1 \le \frac12\log\rho` with
:math:`\rho` the growth factor of second moments: mean-square stability implies stability of almost every run, not the
other way. The sum of all exponents is :math:`E\log|\det|` of a step, which bounds the largest from below: it is
:math:`d\log\beta` for heavy ball, whatever the Hessians are.

They are exact where all steps are the same and, without momentum, where the Hessians have a common eigenbasis (one
direction, say). Else they are averages of log R_jj over independent products (`random_products`). Directions in the
common kernel of all Hessians never move (their exponent is 0) and are left out, as in `mean_square_sharpness`.
Source: Oseledets 1968; Benettin 1980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, integer, real
from ..errors import InvalidArgument, NotConverged
from .batch_steps import BatchSteps, batch_steps
from .epoch_products import ExactEpochs, affordable
from .exact_exponents import exact_exponents
from .random_products import sampled_exponents
from .step_moments import cone_eigenpair, log_determinant, step_second_moment

ROUNDED_AWAY = 1e-10  # Nesterov momentum below which the small exponents are lost to rounding


@dataclass(frozen=True)
class LyapunovExponents:
    """The largest exponents per step of SGD, `values` (count,), descending, and their `standard_errors` (0 if exact).

    A standard error is that of the mean over products, widened by what shows that products were too short: the
    difference between two starts, and the gap to a neighbouring exponent too close to be told apart. lower and upper
    are certain bounds of the first exponent, which its estimate is clipped to: Jensen's (inf if unknown), and
    E log|det| / size of the state where it is known without sampling (else -inf).
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
    start = integer("seed", seed, 0)
    if not math.isfinite(steps_of.scale * eta):
        raise InvalidArgument(f"step_size times the Hessians must be a finite number, got step_size={eta}")
    lower, upper = log_determinant(steps_of, eta) / steps_of.state, jensen_bound(steps_of, eta)
    exact = exact_exponents(steps_of, eta)
    if exact is not None:
        return LyapunovExponents(exact[:k], np.zeros(k), lower, upper)
    if k > steps_of.dim and steps_of.nesterov and steps_of.momentum < ROUNDED_AWAY:
        raise InvalidArgument(
            f"count must be at most {steps_of.dim} with a Nesterov momentum of {momentum}: rounding swallows the other "
            "exponents; their sum is known, see lower"
        )
    values, errors = sampled_exponents(steps_of, eta, k, length, runs, start)
    values = np.minimum(values, upper)
    values[0] = max(values[0], lower)
    return LyapunovExponents(values, errors, lower, upper)


def jensen_bound(steps_of: BatchSteps, step_size: float) -> float:
    """Half the log of the growth factor of second moments; inf where it is not found (long epochs, no convergence)."""
    unit = max(1.0, steps_of.scale * step_size)  # keeps squares of large step sizes in range
    length = 1
    moments = step_second_moment(steps_of, step_size, unit)
    if steps_of.sampling == "epoch" and not steps_of.deterministic:
        if not affordable(steps_of):
            return math.inf
        length, moments = steps_of.epoch_steps, ExactEpochs(steps_of).second_moment(step_size, unit)
    try:
        radius = cone_eigenpair(moments, steps_of.state)[0]
    except NotConverged:
        return math.inf
    return math.log(unit) + math.log(radius) / (2 * length) if radius > 0 else -math.inf
