"""True of a diagonal network's invariant, of noisy gradient descent, and of the stationary law of SGD."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import FloatArray
from ...models import DiagonalNetwork, Quadratics
from ...theory import gradient_expectations, second_moment_system, stationary_moment
from ..claim import Claim
from ..point import Point
from . import regions
from .rounding import gradient_sizes, kept, location_sizes, pencil_condition, well_conditioned

LARGEST_AMPLIFICATION = 1e6


def network_step(point: Point) -> tuple[FloatArray, ...]:
    """u, v, their values (m, d) after a step on each batch, eta q_B (m, d), and what cancels in u and v (d,)."""
    model, eta = point.model, point.eta
    assert isinstance(model, DiagonalNetwork)
    u, v = point.theta.reshape(2, -1)
    table = point.batches()
    after = (point.theta - eta * table.gradients).reshape(len(table.gradients), 2, -1)
    residuals = model.inputs @ (u * v) - model.targets
    terms = abs(model.inputs) @ abs(u * v) + abs(model.targets)
    force = eta * np.max(abs(model.inputs) * terms[:, None], axis=0)
    size = (abs(u) + abs(v)) * (1 + force)
    return u, v, after[:, 0], after[:, 1], eta * table.weights @ (residuals[:, None] * model.inputs), size


def imbalance(point: Point) -> tuple[Any, ...]:
    u, v, new_u, new_v, force, size = network_step(point)
    return new_u**2 - new_v**2, (u**2 - v**2) * (1 - force**2), size**2 + np.zeros_like(force)


def mirror(point: Point) -> tuple[Any, ...]:
    u, v, new_u, new_v, force, size = network_step(point)
    before, after = abs(u**2 - v**2) + np.zeros_like(force), abs(new_u**2 - new_v**2)
    turn = np.minimum(abs(1 - force), abs(1 + force))
    least = size**2 / LARGEST_AMPLIFICATION
    usable = (before > least) & (after > least) & (turn * LARGEST_AMPLIFICATION > 1 + abs(force))
    if not usable.any():
        return np.nan, np.nan
    u, v, size = (np.broadcast_to(x, force.shape)[usable] for x in (u, v, size))
    new_u, new_v, force, before, after, turn = (x[usable] for x in (new_u, new_v, force, before, after, turn))
    left = np.arcsinh(2 * new_u * new_v / after)
    right = np.arcsinh(2 * u * v / before) + np.log(abs((1 - force) / (1 + force)))
    return left, right, size**2 / before + size**2 / after + (1 + size) / turn


def noisy_moments(point: Point) -> tuple[Any, ...]:
    eta = point.eta
    table, n = point.batches(), point.model.samples
    steps = point.theta - eta * table.gradients
    sgd = np.einsum("m,mi,mj->ij", table.probability, steps, steps)
    variance = point.noise.c2 / n * (np.eye(n) - (0.0 if point.noise.raw else 1 / n))
    mean = point.theta - eta * point.mean_gradient
    noisy = np.outer(mean, mean) + eta**2 * point.gradients.T @ variance @ point.gradients
    size = np.linalg.norm(point.theta) + eta * np.max(np.linalg.norm(point.gradients, axis=1))
    return sgd, noisy, size**2


def stationary_interaction(point: Point) -> tuple[Any, ...]:
    system = quadratic_system(point)
    moment = stationary_moment(system, point.eta, point.noise)
    expectations = gradient_expectations(moment, system, point.noise)
    if not expectations.mean_gradient_square > 0:
        return np.nan, np.nan
    norms = np.linalg.norm(point.hessians, axis=(1, 2))
    size = float(np.max(norms * (location_sizes(point) + np.sqrt(np.trace(moment)))))
    cancelled = size**2 / expectations.mean_gradient_square
    near = 1 / (1 - point.eta * point.mean_square_sharpness / 2)
    return expectations.gni, 2 / point.eta, 2 / point.eta * cancelled * pencil_condition(point) * near


def quadratic_system(point: Point) -> FloatArray:
    """The augmented matrices of quadratics or least squares."""
    if isinstance(point.model, Quadratics):
        return second_moment_system(point.model.hessians, point.model.centers)
    system = np.zeros((point.model.samples, point.model.dim + 1, point.model.dim + 1))
    system[:, :-1, :-1] = point.hessians
    system[:, :-1, -1] = point.gradients - point.hessians @ point.theta
    return system


def has_stationary_law(point: Point) -> bool:
    """Whether the mean Hessian is positive definite and some sample pulls away from the minimum."""
    if not well_conditioned(point) or len(kept(point)[0]) < point.model.dim or point.noise.c2 == 0:
        return False
    shift = np.linalg.solve(point.mean_hessian, point.mean_gradient)
    pulls = np.linalg.norm(point.gradients - point.hessians @ shift, axis=1)
    return bool(pulls.max() > 1e-6 * gradient_sizes(point).max())


INVARIANT = Claim(
    "u+^2 - v+^2 = (u^2 - v^2)(1 - eta^2 q_B^2)",
    "A step of SGD multiplies the imbalance of a diagonal linear network by a known factor.",
    imbalance,
    regions.two_layer_networks,
    kind="one-step",
    relation="==",
    formula=r"c^+ = c\,(1 - \eta^2q_B^2), \quad c = u^2 - v^2,\ q_B = \tfrac1b\textstyle\sum_{i\in B} r_ix_i",
    assumptions=("Predictor (u v) . x with squared error, any parameters, any batch.",),
    proof="u+ = u - eta v q, v+ = v - eta u q: the mixed terms cancel in the difference of squares.",
    reference="I20; Even, Pesme, Gunasekar and Flammarion 2023",
)
MIRROR = Claim(
    "arcsinh(2w+/|c+|) = arcsinh(2w/|c|) + log|(1 - eta q)/(1 + eta q)|",
    "SGD on a diagonal linear network is additive in the mirror coordinate, if the imbalance counts without its sign.",
    mirror,
    regions.two_layer_networks,
    kind="one-step",
    relation="==",
    formula=r"\mathrm{arcsinh}(2w^+/|c^+|) = \mathrm{arcsinh}(2w/|c|) + \log|(1 - \eta q)/(1 + \eta q)|",
    assumptions=("Predictor w . x with w = u v and squared error, any batch.", "c and c+ are not zero."),
    proof="arcsinh(2w/|c|) = log|(u + v)/(u - v)|, and u +- v is multiplied by 1 -+ eta q.",
    reference="I20; Even, Pesme, Gunasekar and Flammarion 2023",
)
NOISY = Claim(
    "noisy GD: E[theta+ theta+'] is that of SGD",
    "One step of noisy gradient descent with the full covariance has the mean and the second moments of one of SGD.",
    noisy_moments,
    regions.with_steps,
    kind="one-step",
    relation="==",
    formula=r"E[\theta^+\theta^{+T}] = E_B[\theta_B^+\theta_B^{+T}], \quad \mathrm{Cov}(\theta^+) = \eta^2c_2\Sigma",
    assumptions=("Any smooth loss, any parameters, any sampling scheme; Bernoulli: raw second moments.",),
    proof="The covariance of a batch gradient is c2 Sigma. On quadratics moments then agree at all times.",
    reference="I21",
)
STATIONARY = Claim(
    "stationary: E[g_B' Hbar g_B] / E|gbar|^2 = 2/eta",
    "Gradient-noise interaction, averaged over the stationary law, is 2/eta at every stable step size: no edge.",
    stationary_interaction,
    regions.with_stationary_laws,
    kind="stationary",
    relation="==",
    formula=r"E_\pi E_B[g_B^T\bar Hg_B] / E_\pi\|\bar g\|^2 = 2/\eta",
    assumptions=(
        "Per-sample quadratics of any sign with a positive definite mean Hessian, not interpolating.",
        "eta S_ms < 2.",
        "Independent batches, not all samples: with or without replacement, Bernoulli.",
    ),
    proof="The mean loss does not change on average: 0 = -eta E|gbar|^2 + (eta^2 / 2) E[g_B' Hbar g_B].",
    reference="I19",
    tolerance=1e-11,
    defined=has_stationary_law,
)
CLAIMS: tuple[Claim[Point], ...] = (INVARIANT, MIRROR, NOISY, STATIONARY)
