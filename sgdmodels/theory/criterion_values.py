r"""What each criterion of `criteria` is for given Hessians, one function each.

The alignment bound: in one step the expected mean loss :math:`\tfrac12x^T\bar Hx` becomes at least
:math:`\tfrac{\eta^2}2c_2\mathrm{tr}(\bar H\Sigma(x))`, with :math:`\Sigma(x)` the covariance of the gradients
:math:`H_ix`. If :math:`\mathrm{tr}(\bar H\Sigma(x)) \ge \nu x^T\bar Hx` for every x, the loss grows unless
:math:`\eta^2c_2\nu \le 1`: the edge of second moments is at most :math:`1/\sqrt{c_2\nu}`, so :math:`2\sqrt{c_2\nu} \le
S_{ms}`. The best :math:`\nu` is an eigenvalue; Wu and Su write it as :math:`\mu\|\bar H\|_F^2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..batches import all_batches, number_of_batches, weight_table
from ..sampling import NoiseCoefficients
from .edges import TOLERANCE, sharpness_of
from .lyapunov_edge import lyapunov_max_step_size
from .pencil import Pencil, pencil
from .population import Population
from .volterra import volterra_max_step_size

MOST_BATCHES, RANDOM_BATCHES = 4096, 1000
NEGATIVE = -1e-12  # eigenvalues above it, relative to the largest, are rounding
VANISHING = 1e-26  # of the square of a batch gradient, relative to the largest sample's: rounding


@dataclass(frozen=True)
class Batches:
    """The batches to average over: all of them where they are few, else random ones."""

    samples: int
    batch_size: int
    sampling: str
    seed: int

    @property
    def enumerated(self) -> bool:
        return number_of_batches(self.samples, self.batch_size, self.sampling) <= MOST_BATCHES

    @cached_property
    def table(self) -> tuple[FloatArray, FloatArray]:
        """Weights (m, n) and probabilities (m,)."""
        n, b = self.samples, self.batch_size
        if self.enumerated:
            batches = all_batches(n, b, self.sampling)
            assert batches.probability is not None
            return weight_table(batches, n), batches.probability
        rng = np.random.default_rng(self.seed)
        if self.sampling == "bernoulli":
            counts = (rng.random((RANDOM_BATCHES, n)) < b / n).astype(np.float64)
        elif self.sampling == "with_replacement":
            counts = rng.multinomial(b, np.full(n, 1 / n), size=RANDOM_BATCHES).astype(np.float64)
        else:
            counts = (rng.random((RANDOM_BATCHES, n)).argsort(axis=1) < b).astype(np.float64)
        return counts / b, np.full(RANDOM_BATCHES, 1 / RANDOM_BATCHES)


@dataclass(frozen=True)
class Problem:
    """Per-sample Hessians, how batches are drawn, and per-sample gradients (n, d) if they are known."""

    given: ArrayLike  # the Hessians as the user gave them
    hessians: Population
    noise: NoiseCoefficients
    batches: Batches
    gradients: FloatArray | None = None

    @cached_property
    def pencil(self) -> Pencil:
        """In units of `pencil.scale`, in the directions of positive mean curvature."""
        return pencil(self.hessians, self.noise)

    @cached_property
    def tops(self) -> FloatArray:
        """lambda_max of every positive semi-definite H_i (n,)."""
        if self.hessians.matrices is not None:
            return np.asarray(np.linalg.eigvalsh(self.hessians.matrices)[:, -1], dtype=np.float64)
        assert self.hessians.left is not None
        assert self.hessians.right is not None
        return np.einsum("ni,ni->n", self.hessians.left, self.hessians.right)

    @cached_property
    def semidefinite(self) -> bool:
        """Whether no H_i has a negative eigenvalue, beyond rounding."""
        if self.hessians.matrices is not None:
            values = np.linalg.eigvalsh(self.hessians.matrices)
            return bool((values[:, 0] >= NEGATIVE * abs(values).max()).all())
        assert self.hessians.left is not None
        assert self.hessians.right is not None
        return bool((np.einsum("ni,ni->n", self.hessians.left, self.hessians.right) >= 0).all())

    @cached_property
    def batch_tops(self) -> FloatArray:
        """lambda_max of H_B for every batch of the table."""
        return np.array([self.batch_top(w) for w in self.batches.table[0]])

    def batch_top(self, weights: FloatArray) -> float:
        """lambda_max of sum weights_i H_i: from the overlaps of the samples drawn, where these are few directions."""
        drawn = np.flatnonzero(weights)
        a = self.hessians.left
        if a is None or len(drawn) >= a.shape[1] or not self.semidefinite:
            return float(np.linalg.eigvalsh(self.hessians.weighted(weights))[-1])
        if not len(drawn):
            return 0.0
        rows = self.directions[drawn] * np.sqrt(weights[drawn])[:, None]
        return float(np.linalg.eigvalsh(rows @ rows.T)[-1])

    @cached_property
    def directions(self) -> FloatArray:
        """a_i (n, d) of H_i = a_i a_i'."""
        return self.hessians.directions()


def lambda_max(problem: Problem) -> float:
    return problem.pencil.scale


def rayleigh_quotient(system: Pencil, x: FloatArray) -> float:
    """Of X in the pencil (D, C): a lower bound of S_ms for every symmetric X."""
    decay = (system.values[:, None] + system.values) / 2
    return system.scale * float(np.vdot(x, system.numerator(x)) / np.vdot(x, decay * x))


def top_mode_bound(problem: Problem) -> float:
    x = np.zeros((len(problem.pencil.values),) * 2)
    x[-1, -1] = 1.0
    return rayleigh_quotient(problem.pencil, x)


def trace_bound(problem: Problem) -> float:
    return rayleigh_quotient(problem.pencil, np.eye(len(problem.pencil.values)))


def mean_square(problem: Problem) -> float:
    b = problem.batches
    return sharpness_of(problem.hessians, b.batch_size, b.sampling, 1, TOLERANCE)


def monotone_bound(problem: Problem) -> float:
    system = problem.pencil
    second = system.numerator(np.eye(len(system.values)))  # E[H_B^2]
    root = 1 / np.sqrt(system.values)
    return system.scale * float(np.linalg.eigvalsh(root[:, None] * second * root)[-1])


def worst_batch(problem: Problem) -> float:
    if not problem.semidefinite:
        return float("nan")
    b = problem.batches
    if b.sampling == "bernoulli":
        return b.samples / b.batch_size * lambda_max(problem)  # the batch of all samples
    sharpest = float(problem.tops.max())
    if b.sampling == "with_replacement" or b.batch_size == 1:
        return sharpest  # the batch of one sample, repeated
    if b.enumerated:
        return float(problem.batch_tops.max())
    return min(sharpest, b.samples / b.batch_size * lambda_max(problem))


def worst_sample_bound(problem: Problem) -> float:
    if not problem.semidefinite:
        return float("nan")
    kept = 1.0 if problem.noise.raw else 1 - problem.noise.c2
    return kept * lambda_max(problem) + problem.noise.c2 * float(problem.tops.max())


def high_dimensional(problem: Problem) -> float:
    if not problem.semidefinite:
        return float("nan")
    system = problem.pencil
    return 2 / volterra_max_step_size(system.scale * system.values, problem.batches.batch_size)


def lyapunov(problem: Problem) -> float:
    b = problem.batches
    edge = lyapunov_max_step_size(problem.given, b.batch_size, b.sampling, seed=b.seed)
    return 2 / edge.step_size


def minibatch_lambda_max(problem: Problem) -> float:
    return float(problem.batches.table[1] @ problem.batch_tops)


def batch_sharpness(problem: Problem) -> float:
    if problem.gradients is None:
        return float("nan")
    size = float(abs(problem.gradients).max())
    if size == 0:
        return float("nan")
    g, noise, h = problem.gradients / size, problem.noise, problem.hessians.mean
    mean = g.mean(axis=0)
    deviation = g if noise.raw else g - mean
    curved = problem.hessians.each(deviation) - (0.0 if noise.raw else deviation @ h)  # Delta_i delta_i
    first = float(mean @ h @ mean)
    second = float(np.vdot(deviation @ h, deviation) + 2 * (curved @ mean).sum()) / len(g)
    third = float(np.vdot(curved, deviation)) / len(g)
    square = float(mean @ mean) + noise.c2 * float(np.vdot(deviation, deviation)) / len(g)
    return (first + noise.c2 * second + noise.c3 * third) / square if square > VANISHING else float("nan")


def batch_sharpness_mean_ratio(problem: Problem) -> float:
    if problem.gradients is None:
        return float("nan")
    total = chance = 0.0
    gradients = problem.gradients / (float(abs(problem.gradients).max()) or 1.0)
    for w, p in zip(*problem.batches.table, strict=True):
        g = w @ gradients
        square = float(g @ g)
        if square > VANISHING:
            total += p * float(g @ problem.hessians.weighted(w) @ g) / square
            chance += p
    return total / chance if chance > 0 else float("nan")


def alignment_bound(problem: Problem) -> float:
    system = problem.pencil
    v = system.values
    noise = system.samples.sandwich(np.diag(v))  # the mean of H_i Hbar H_i
    if not system.noise.raw:
        noise = noise - np.diag(v**3)
    root = 1 / np.sqrt(v)
    least = float(np.linalg.eigvalsh(root[:, None] * noise * root)[0])
    return 2 * system.scale * float(np.sqrt(system.noise.c2 * max(least, 0.0)))
