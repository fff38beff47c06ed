"""What decides each kind of stability that `stability` asserts, and in which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument
from ..sampling import NoiseCoefficients, noise_coefficients
from ..theory import (
    epoch_mean_radius,
    epoch_radius,
    lyapunov_exponents,
    max_step_size,
    second_moment_radius,
)
from ..theory.momentum import Momentum
from ..theory.second_moment import growth_factor

ROUNDING = 1e-9  # a growth factor closer to 1, or an exponent closer to 0, decides nothing
FLAT = 1e-12  # mean curvatures below this share of the largest are zero
CLEAR = 4.0  # standard errors that decide


@dataclass(frozen=True)
class Question:
    """Checked arguments; given: Hessians (n, r, r), or directions (n, r), in those that move, `basis` (d, r)."""

    given: FloatArray
    basis: FloatArray
    step_size: float
    batch_size: int
    sampling: str
    momentum: float
    nesterov: bool
    ell: float
    x: FloatArray | None
    sampled: dict[str, int]

    @property
    def hessians(self) -> FloatArray:
        return self.given if self.given.ndim == 3 else self.given[:, :, None] * self.given[:, None, :]

    @property
    def mean(self) -> FloatArray:
        mean = self.given.mean(axis=0) if self.given.ndim == 3 else self.given.T @ self.given / len(self.given)
        return np.asarray(mean)

    @property
    def noise(self) -> NoiseCoefficients:
        return noise_coefficients(len(self.given), self.batch_size, self.sampling)

    @property
    def optimiser(self) -> dict[str, Any]:
        """Keywords for theory, if there is momentum."""
        return {"momentum": self.momentum, "nesterov": self.nesterov} if self.momentum else {}


@dataclass(frozen=True)
class Answer:
    """stable: True, False, or None if it cannot be told; `numbers` says why, `edge` what it would take."""

    stable: bool | None
    numbers: str
    edge: str


def _largest(edge: float, kind: str) -> str:
    if edge == 0:
        return f"no step size is {kind} stable: the mean Hessian has directions without positive curvature"
    return f"the {kind} edge is step_size = {edge:.9g}"


def _mean_radius(q: Question) -> tuple[float, float]:
    """Spectral radius per step of E x, and its edge."""
    values, eta = np.asarray(np.linalg.eigvalsh(q.mean), dtype=np.float64), q.step_size
    top, bad = float(values[-1]), values[0] <= -FLAT * abs(values).max()
    if q.momentum:
        optimiser = Momentum(q.momentum, q.nesterov)
        radius, reach = optimiser.noiseless_factor(eta, values), optimiser.noiseless_edge(1.0)
    elif q.ell == math.inf:
        radius, reach = float(np.exp(-eta * values).max()), math.inf
    else:
        radius, reach = float((np.abs(1 - eta * values / q.ell) ** q.ell).max()), 2 * q.ell
    return radius, 0.0 if bad or top <= 0 else reach / top


def _mean(q: Question) -> Answer:
    if q.sampling == "epoch":
        return _over_epochs(q, epoch_mean_radius, "E x")
    radius, edge = _mean_radius(q)
    values = np.linalg.eigvalsh(q.mean)
    if abs(values[0]) <= FLAT * abs(values).max():
        return Answer(None, "E x keeps its part in the kernel of the mean Hessian", "it neither converges nor grows")
    numbers = f"E x grows by a factor {radius:.12g} a step"
    return Answer(_on_the_side_of(q.step_size, edge, radius), numbers, _largest(edge, "mean"))


def _mean_square(q: Question) -> Answer:
    if q.sampling == "epoch":
        return _over_epochs(q, epoch_radius, "E|x|^2")
    values = np.linalg.eigvalsh(q.mean)
    given = (q.given, q.batch_size, q.sampling)
    if values[0] > FLAT * values[-1]:
        edge = max_step_size(*given, ell=q.ell, **q.optimiser)
        growth = second_moment_radius(q.given, q.step_size, q.batch_size, q.sampling, q.ell, **q.optimiser)
    else:
        edge, growth = 0.0, _growth_anywhere(q)
    least = "at least " if edge == 0 and q.momentum else ""
    numbers = f"E|x|^2 grows by a factor {least}{growth:.12g} a step"
    return Answer(_on_the_side_of(q.step_size, edge, growth), numbers, _largest(edge, "mean-square"))


def _on_the_side_of(step_size: float, edge: float, growth: float) -> bool | None:
    """Whether the step size is below the edge, to rounding; without an edge, whether the growth factor is below 1."""
    ratio = step_size / edge if edge > 0 else growth
    return None if abs(ratio - 1) <= ROUNDING else ratio < 1


def _over_epochs(q: Question, radius: Callable[..., float], quantity: str) -> Answer:
    """By the growth factor of the product over an epoch, from all permutations, or from several samples of them."""
    growths = [radius(q.given, q.step_size, q.batch_size, seed=seed, **q.optimiser) for seed in (0, 1)]
    if growths[0] != growths[1]:
        growths += [radius(q.given, q.step_size, q.batch_size, seed=seed, **q.optimiser) for seed in range(2, 8)]
    growth = float(np.mean(growths))
    error = float(np.std(growths, ddof=1)) / math.sqrt(len(growths))
    numbers = f"{quantity} grows by a factor {growth:.9g} +- {error:.2g} a step over shuffled epochs"
    needed = "it must be below 1 for stability, above for instability"
    if abs(growth - 1) <= max(CLEAR * error, ROUNDING):
        return Answer(None, numbers, f"{needed}: too close to tell from random permutations")
    return Answer(growth < 1, numbers, needed)


def _growth_anywhere(q: Question) -> float:
    """The growth factor of second moments where not all mean curvature is positive, from the matrix of the map.

    With momentum, that of the mean, squared, which is a lower bound.
    """
    if q.momentum:
        return _mean_radius(q)[0] ** 2
    mean, noise, eye = q.mean, q.noise, np.eye(len(q.mean))
    spread = q.hessians if noise.raw else q.hessians - mean
    drift = np.kron(mean, eye) + np.kron(eye, mean)
    noisy = noise.c2 * sum(np.kron(h, h) for h in spread) / len(spread)
    rate = float(np.linalg.eigvalsh(q.step_size * (np.kron(mean, mean) / q.ell + noisy) - drift)[-1])
    return growth_factor(q.step_size * rate, q.ell)


def _almost_sure(q: Question) -> Answer:
    if q.ell != 1:
        raise InvalidArgument(f'ell must be 1 for kind="almost sure", got {q.ell:g}')
    found = lyapunov_exponents(q.given, q.step_size, q.batch_size, q.sampling, **q.optimiser, **q.sampled)  # type: ignore[arg-type]
    exponent, error = float(found.values[0]), float(found.standard_errors[0])
    clear = abs(exponent) > max(CLEAR * error, ROUNDING)
    numbers = f"the Lyapunov exponent is {exponent:.6g} +- {error:.2g} per step"
    needed = "it must be below 0 for stability, above for instability"
    if not clear:
        needed += f", by more than {CLEAR:g} standard errors: raise steps or replicas, or move away from its edge"
    return Answer((exponent < 0) if clear else None, numbers, needed)


def _one_step(q: Question) -> Answer:
    if q.momentum or q.ell != 1:
        raise InvalidArgument('kind="one-step" is about one step without velocity: momentum must be 0 and ell 1')
    noise, hessians = q.noise, q.step_size * q.hessians  # in units of the step size, whatever the scale
    mean = np.asarray(hessians.mean(axis=0))
    spread = hessians if noise.raw else hessians - mean
    square = mean @ mean + noise.c2 * np.einsum("nij,njk->ik", spread, spread) / len(spread)
    step = np.eye(len(mean)) - 2 * mean + square
    if q.x is None:
        growth = float(np.linalg.eigvalsh(step)[-1])
        numbers = f"from the worst x, E|x+|^2 = {growth:.9g} |x|^2"
        values, vectors = np.linalg.eigh(mean)
        edge = 0.0
        if values[0] > FLAT * values[-1]:
            root = vectors / np.sqrt(values)
            edge = 2 * q.step_size / float(np.linalg.eigvalsh(root.T @ square @ root)[-1])
    else:
        x = q.basis.T @ q.x
        if not x.any():
            raise InvalidArgument("x must have a part that moves, got one in the kernel of all Hessians")
        growth = float(x @ step @ x / (x @ x))
        numbers = f"E|x+|^2 = {growth:.9g} |x|^2 at this x, up to its part that does not move"
        edge = max(0.0, 2 * q.step_size * float(x @ mean @ x / (x @ square @ x)))
    return Answer(growth <= 1 + ROUNDING, numbers, _largest(edge, "one-step"))


ANSWERS: dict[str, Callable[[Question], Answer]] = {
    "mean": _mean,
    "mean-square": _mean_square,
    "almost sure": _almost_sure,
    "one-step": _one_step,
}
