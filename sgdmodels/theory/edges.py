r"""The exact mean-square edge with what it takes to trust it: a residual, and a bracket with a proof at either end.

At `upper` second moments do not contract: a Rayleigh quotient of the symmetric problem says so. At `lower` they do, in
the directions of positive mean curvature: there is a quadratic function :math:`x^TVx` whose expectation falls in every
step (a Lyapunov function, found by conjugate gradients and accepted only if V and the fall are positive definite). So
the edge lies between them, whatever the iteration did that led there. Source: Collatz and Wielandt (positive maps);
Mulayoff and Michaeli 2024 (the edge).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, one_of, real
from ..errors import InvalidArgument
from ..sampling import SCHEMES
from .momentum import Momentum, MomentumMap, checked_momentum
from .pencil import Pencil, batch_noise, checked_micro_steps, hessian_population, pencil
from .population import Population
from .sample_cone import SampleCone

TOLERANCE = 1e-12
ROUNDING = 1e-13  # of a Rayleigh quotient
CLOSEST = 1e-9  # nearer to the edge, a proof is drowned by rounding


@dataclass(frozen=True)
class MeanSquareEdge:
    """The edge `step_size` within [lower, upper]; inf where no step size is too large (the SDE without noise).

    residual: of the eigenproblem, relative to its largest term. mode (d, d): the second moment, of trace 1, along which
    growth begins. unknowns: "samples" or "matrix", what the eigenproblem was solved for.
    """

    step_size: float
    lower: float
    upper: float
    residual: float
    mode: FloatArray
    unknowns: str

    @property
    def sharpness(self) -> float:
        """2 / step_size in units of curvature: S_ms, if there is no momentum."""
        return 2 / self.step_size


def mean_square_edge(
    hessians: ArrayLike,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    ell: float = 1,
    tolerance: float = TOLERANCE,
) -> MeanSquareEdge:
    """The largest mean-square stable step size of SGD, with momentum or of SVAG(ell), with residual and bracket.

    `hessians` (n, d, d), or a_i (n, d) for Hessians a_i a_i' (least squares; n = d = 2000 takes O(n d) memory).
    Additive noise, as of labels, does not move the edge. Directions without positive mean curvature are left out.
    `tolerance` is relative. Raises InvalidArgument (``"epoch"`` included: see `epoch_max_step_size`), NotConverged.

    >>> edge = mean_square_edge([[[1.0]], [[3.0]]], batch_size=1)  # 2 E[h] / E[h^2]
    >>> round(edge.step_size, 9), edge.lower < 0.8 < edge.upper
    (0.8, True)
    >>> heavy = mean_square_edge([[[1.0]], [[3.0]]], batch_size=1, momentum=0.5)
    >>> round(1 / heavy.step_size, 9)  # a / (2 (1 + beta)) + s^2 / (2 a (1 - beta))
    1.166666667
    """
    population = hessian_population(hessians)
    if one_of("sampling", sampling, SCHEMES) == "epoch":
        raise InvalidArgument(
            "sampling must make independent batches, got 'epoch', whose batches depend on each other; use "
            "epoch_max_step_size, or 'without_replacement' for a fresh batch in every step"
        )
    accuracy = real("tolerance", tolerance, 0.0, 0.1, open_low=True)
    micro_steps = checked_micro_steps("ell", ell)
    optimiser = checked_momentum(momentum, nesterov, micro_steps)
    system = pencil(population, batch_noise(population, batch_size, sampling), micro_steps)
    if optimiser is not None:
        return momentum_edge(system, optimiser, accuracy)
    if by_samples(system):
        return sample_edge(system, accuracy)
    return matrix_edge(system, accuracy)


def sharpness_of(population: Population, batch_size: int, sampling: str, ell: float, tolerance: float) -> float:
    """S_ms of checked Hessians."""
    noise = batch_noise(population, batch_size, sampling)
    system = pencil(population, noise, checked_micro_steps("ell", ell))
    return system.scale * SampleCone.of(system).solve(tolerance)[0] if by_samples(system) else system.top()[0]


def by_samples(system: Pencil) -> bool:
    """Whether samples are fewer than the entries of a symmetric matrix, and of rank one."""
    rank = len(system.values)
    few = system.samples.factored and 2 * system.samples.samples < rank * (rank + 1)
    return few and system.deviations is None


def sample_edge(system: Pencil, tolerance: float) -> MeanSquareEdge:
    cone = SampleCone.of(system)
    sharpness, x = cone.solve(tolerance)
    w = cone.weights(x)
    return assembled(system, sharpness, x, lambda s: cone.stable(s, w / w.max()), tolerance, "samples")


def matrix_edge(system: Pencil, tolerance: float) -> MeanSquareEdge:
    sharpness, x = system.top()
    sharpness /= system.scale
    return assembled(system, sharpness, x, lambda s: system.stable(s, x), tolerance, "matrix")


def assembled(
    system: Pencil,
    sharpness: float,
    x: FloatArray,
    stable: Callable[[float], bool],
    tolerance: float,
    unknowns: str,
) -> MeanSquareEdge:
    """The result, without momentum; `sharpness` and `stable` in the units of the pencil."""
    if sharpness == 0:
        return MeanSquareEdge(math.inf, math.inf, math.inf, 0.0, original(system, x), unknowns)
    step = 2 / (system.scale * sharpness)
    margin = nearest_proof(lambda margin: stable(sharpness * (1 + margin)), tolerance)
    residual = system.residual(x, sharpness)
    return MeanSquareEdge(
        step, step / (1 + margin), step * (1 + ROUNDING), residual, original(system, x), unknowns
    )  # fmt: skip


def momentum_edge(system: Pencil, optimiser: Momentum, tolerance: float) -> MeanSquareEdge:
    problem = MomentumMap(system, optimiser)
    step, x = problem.edge(tolerance)
    margin = nearest_proof(lambda margin: problem.stable(step / (1 + margin), x), tolerance)
    excess = problem.overshoot(step, x)
    scaled = step / system.scale
    return MeanSquareEdge(
        scaled, scaled / (1 + margin), scaled * (1 + excess), problem.residual(step, x), original(system, x), "matrix"
    )


def nearest_proof(proven: Callable[[float], bool], tolerance: float) -> float:
    """The smallest relative distance from the edge, by factors of ten, at which stability is proven; inf if none is."""
    margin = max(tolerance, CLOSEST)
    while margin < 1e3:
        if proven(margin):
            return margin
        margin *= 10
    return math.inf


def original(system: Pencil, x: FloatArray) -> FloatArray:
    """X in the coordinates of the parameters, positive semi-definite and of trace 1."""
    values, vectors = np.linalg.eigh((x + x.T) / 2)
    factor = (system.vectors @ vectors) * np.sqrt(np.maximum(values * np.sign(np.trace(x)), 0))  # negative: rounding
    matrix: FloatArray = factor @ factor.T
    return matrix / np.trace(matrix)
