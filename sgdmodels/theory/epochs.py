r"""Stability of SGD over shuffled epochs: decided by the product of the steps of an epoch, not by single steps.

.. math:: \rho = \big[\text{spectral radius of } E[P\otimes P]\big]^{1/K}, \qquad P = M_{B_K}\cdots M_{B_1}, \quad
          K = \lfloor n/b\rfloor

over the random permutations of an epoch, whose last n mod b samples are left out. The edge is the first step size at
which rho is 1; above it there can be stable step sizes again (two samples of curvatures 0.2 and 1.8 in one dimension
are unstable from 1.308 and stable between 4.25 and 5.56). Without momentum, rho < 1 iff
:math:`X \mapsto X - E[PXP^T]` is positive definite, which is decided in units of
:math:`C_{jk} = 1 - e^{-\eta K(\lambda_j + \lambda_k)}` in the eigenbasis of the mean Hessian: there slow directions do
not crowd the top of the spectrum. Source: this project; Beneventano 2023 for the correlations behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, integer, real
from .batch_steps import BatchSteps, batch_steps
from .edges import mean_square_edge
from .epoch_momentum import MomentumEpochs
from .epoch_products import ExactEpochs, SampledEpochs, affordable, reversal_form
from .first_root import first_root
from .perron import Map, top_eigenpair
from .random_products import product_growth, random_frame
from .step_moments import cone_eigenpair

PERMUTATIONS = 100
IN_RANGE = 200.0  # decimal digits
FRESH = 0.5  # of the edge of fresh batches: where the search starts with momentum
SLOPE_STEP = 1e-3
ACCURACY = 1e-9


@dataclass(frozen=True)
class EpochEdge:
    """The first unstable step size of shuffled epochs; its standard error, 0 if all permutations were used (exact)."""

    step_size: float
    standard_error: float
    exact: bool


def epoch_radius(
    hessians: ArrayLike,
    step_size: float,
    batch_size: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    permutations: int | None = None,
    seed: int = 0,
) -> float:
    r"""Growth factor of second moments per step of shuffled epochs, the K-th root of that of an epoch of K steps.

    `hessians` (n, d, d), or a_i (n, d) for :math:`H_i = a_ia_i^T`; directions in the common kernel of all of them are
    left out. Without `permutations`, all are used where they are few (about n <= 11 at batch size 1), and 100 random
    ones otherwise. inf beyond the largest float. Raises InvalidArgument, NotConverged.

    >>> round(epoch_radius([[[0.2]], [[1.8]]], 1.0, batch_size=1), 12)  # |(1 - 0.2)(1 - 1.8)|
    0.64
    """
    steps_of = batch_steps(hessians, batch_size, "epoch", momentum, nesterov)
    epochs = epochs_of(steps_of, permutations, seed)
    eta = real("step_size", step_size)
    unit = typical_growth(epochs.steps_of, eta)
    if unit == np.inf:
        return np.inf
    growth = radius(steps_of, epochs.second_moment(eta, unit))[0] ** (1 / epochs.steps_of.epoch_steps)
    with np.errstate(over="ignore"):
        return float(growth * np.float64(unit) ** 2)


def epoch_mean_radius(
    hessians: ArrayLike,
    step_size: float,
    batch_size: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    permutations: int | None = None,
    seed: int = 0,
) -> float:
    """Growth factor of the mean E[x] per step of shuffled epochs: the K-th root of the spectral radius of E[P].

    Its square is at most `epoch_radius`, whose arguments and errors it shares: stability in the mean square implies
    that of the mean.

    >>> round(epoch_mean_radius([[[0.2]], [[1.8]]], 1.0, batch_size=1), 12)
    0.8
    """
    steps_of = batch_steps(hessians, batch_size, "epoch", momentum, nesterov)
    epochs = epochs_of(steps_of, permutations, seed)
    eta = real("step_size", step_size)
    unit = typical_growth(epochs.steps_of, eta)
    if unit == np.inf:
        return np.inf
    growth = abs(np.linalg.eigvals(epochs.mean(eta, unit))).max() ** (1 / epochs.steps_of.epoch_steps)
    return float(growth * unit)


def epoch_max_step_size(
    hessians: ArrayLike,
    batch_size: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    permutations: int | None = None,
    seed: int = 0,
) -> EpochEdge:
    """The first step size at which second moments of shuffled epochs stop shrinking; above it they may shrink again.

    Arguments are those of `epoch_radius`; directions without positive mean curvature are left out. The search starts
    where every batch contracts, with momentum at half the edge of fresh batches (lower if that is unstable), and climbs
    in strides of 4 %: an unstable window below its start or narrower than that can be missed. `standard_error` is that
    of the choice of permutations, by first-order perturbation of the eigenvalue: with fewer than about 100 it can be
    too small.

    Raises InvalidArgument, NotConverged.

    >>> round(epoch_max_step_size([[[1.0]], [[2.0]]], batch_size=1).step_size, 9)  # 1/1 + 1/2
    1.5
    """
    steps_of = batch_steps(hessians, batch_size, "epoch", momentum, nesterov).rising()
    epochs = epochs_of(steps_of, permutations, seed)
    start = steps_of.certain_start()
    if momentum > 0:
        fresh = mean_square_edge(hessians, batch_size, momentum=momentum, nesterov=nesterov)
        start = max(start, FRESH * fresh.step_size)
    step_size = first_root(lambda eta: excess(epochs, eta)[0], start)
    if isinstance(epochs, ExactEpochs) or epochs.single:
        return EpochEdge(step_size, 0.0, True)
    up, down = (excess(epochs, step_size * (1 + sign * SLOPE_STEP))[0] for sign in (1, -1))
    slope = (up - down) / (2 * SLOPE_STEP * step_size)
    error = epochs.spread(step_size, excess(epochs, step_size)[1])
    return EpochEdge(step_size, error / abs(slope), False)


def epochs_of(steps_of: BatchSteps, permutations: int | None, seed: int) -> ExactEpochs | SampledEpochs:
    """All permutations, or some; one where the order does not matter."""
    count = PERMUTATIONS if permutations is None else integer("permutations", permutations, 2)
    first = integer("seed", seed, 0)
    if steps_of.deterministic:
        return ExactEpochs(steps_of.first_batch())
    if steps_of.state == 1 and steps_of.batch_size == 1:
        return SampledEpochs(steps_of, np.arange(steps_of.samples)[:, None, None])
    if permutations is None and affordable(steps_of):
        return ExactEpochs(steps_of)
    return SampledEpochs(steps_of, steps_of.epochs(np.random.default_rng(first), count))


def typical_growth(steps_of: BatchSteps, step_size: float) -> float:
    """1, or where an epoch could leave the range of floats, the growth of a product per step: a unit for steps."""
    size = 1 + steps_of.scale * step_size
    if 2 * steps_of.epoch_steps * np.log10(size) < IN_RANGE or not np.isfinite(size):
        return 1.0 if np.isfinite(size) else np.inf
    rng = np.random.default_rng(0)
    growth = product_growth(steps_of, step_size, [random_frame(steps_of, 1, 1, rng)], steps_of.epoch_steps, rng)
    return float(np.exp(growth.item())) if np.isfinite(growth.item()) else size


def radius(steps_of: BatchSteps, moments: Map) -> tuple[float, FloatArray]:
    """Spectral radius of X -> E[P X P'] and the eigenvector."""
    if steps_of.momentum > 0:
        return cone_eigenpair(moments, steps_of.state)
    value, mode = top_eigenpair(moments, np.eye(steps_of.state))
    return max(value, 0.0), mode


def excess(epochs: ExactEpochs | SampledEpochs, step_size: float) -> tuple[float, FloatArray]:
    """A number with the sign of the radius minus 1 (in units of C or of 1 - A), and the mode behind it.

    The mode X is scaled so that a change of <SXS, P X P'> is the change of the number.
    """
    steps_of, moments = epochs.steps_of, epochs.second_moment(step_size)
    if steps_of.momentum > 0:
        problem = MomentumEpochs(steps_of, step_size, moments)
        if problem.contracts():
            return -1.0, np.eye(steps_of.state)
        value, mode = problem.top()
        form = reversal_form(steps_of)
        return value - 1, mode / np.sqrt(abs(np.vdot(form @ mode @ form, mode - problem.noiseless(mode))))
    rates = steps_of.scale * step_size * steps_of.epoch_steps * steps_of.values
    decay = -np.expm1(-np.add.outer(rates, rates))
    root = 1 / np.sqrt(decay)
    value, y = top_eigenpair(
        lambda x: root * (moments(root * x) - (1 - decay) * root * x), np.eye(steps_of.state) / root, floor=ACCURACY
    )
    return value - 1, root * y
