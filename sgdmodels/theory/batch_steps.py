r"""One step of SGD on quadratics as a random linear map, and draws of its batches.

.. math:: x^+ = (I-\eta H_B)x; \qquad u^+ = \beta u + \eta H_Bx,\quad x^+ = x - u^+ \;\text{(heavy ball)},\quad
          x^+ = x - \eta H_Bx - \beta u^+ \;\text{(Nesterov)}

with :math:`u = \eta v` the velocity in units of x, which changes no growth rate. Source: theory of momentum SGD in
PyTorch's convention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import FloatArray, integer, one_of
from ..errors import InvalidArgument
from ..sampling import SCHEMES
from .momentum import checked_momentum
from .pencil import RANK_TOLERANCE, NoPositiveCurvature, hessian_population
from .population import Population

Indices = NDArray[np.intp]
BLOCK = 500_000  # numbers drawn at once
SAME = 1e-14
NEARLY, CAREFUL = 0.999, 0.2


@dataclass(frozen=True)
class BatchSteps:
    """Steps on batches of checked per-sample Hessians, in the directions that move.

    population: the Hessians in a basis of the span of their ranges, in units of `scale`, their largest norm.
    """

    population: Population
    scale: float
    batch_size: int
    sampling: str
    momentum: float = 0.0
    nesterov: bool = False

    @property
    def samples(self) -> int:
        return self.population.samples

    @property
    def dim(self) -> int:
        """Directions that move."""
        return self.population.mean.shape[0]

    @cached_property
    def _padded(self) -> tuple[FloatArray, FloatArray | None]:
        """The matrices, or the left factors and the right ones; index n holds zero."""
        stored = self.population
        if stored.matrices is not None:
            return np.concatenate([stored.matrices, np.zeros_like(stored.matrices[:1])]), None
        assert stored.left is not None
        assert stored.right is not None
        left = np.concatenate([stored.left, np.zeros_like(stored.left[:1])])
        same = stored.right is stored.left
        return left, left if same else np.concatenate([stored.right, np.zeros_like(stored.right[:1])])

    @property
    def state(self) -> int:
        """Size of the state: positions, and velocities where there is momentum."""
        return 2 * self.dim if self.momentum > 0 else self.dim

    @cached_property
    def values(self) -> FloatArray:
        """Ascending eigenvalues of the mean Hessian, the diagonal of the mean of `population`."""
        return np.diagonal(self.population.mean)

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest eigenvalue of all samples; 0 is one of them where rank is one."""
        stored = self.population
        if stored.matrices is not None:
            spectra = np.linalg.eigvalsh(stored.matrices)
            return float(spectra.min()), float(spectra.max())
        assert stored.left is not None
        assert stored.right is not None
        curvature = np.einsum("ni,ni->n", stored.left, stored.right)
        return min(float(curvature.min()), 0.0), float(curvature.max())

    @cached_property
    def deterministic(self) -> bool:
        """Whether every batch has the same Hessian."""
        if self.sampling == "bernoulli":
            return False
        first, second = self._padded
        arrays = (first,) if second is None else (first, second)  # signs and sizes of factors agree: see balanced()
        same = all(abs(a[:-1] - a[0]).max() <= SAME * abs(a).max() for a in arrays)
        return same or (self.batch_size == self.samples and self.sampling != "with_replacement")

    def first_batch(self) -> BatchSteps:
        """The first batch as all there is."""
        index = slice(self.batch_size)
        stored = self.population
        matrices, left, right = (None if a is None else a[index] for a in (stored.matrices, stored.left, stored.right))
        return replace(self, population=Population(matrices, left, left if stored.right is stored.left else right))

    def curvatures(self) -> FloatArray:
        """h_i (n,) where one direction moves."""
        first, second = self._padded
        return self.scale * (first[:-1, 0, 0] if second is None else first[:-1, 0] * second[:-1, 0])

    def rising(self) -> BatchSteps:
        """These steps in the directions of positive mean curvature; raises NoPositiveCurvature if there is none."""
        keep = self.values > RANK_TOLERANCE * abs(self.values).max()
        if not keep.any():
            raise NoPositiveCurvature(
                "hessians must have a mean with a positive eigenvalue, got a largest one of "
                f"{self.scale * self.values[-1]:.3g}; there is no minimum to be stable at"
            )
        if keep.all():
            return self
        return replace(self, population=self.population.projected(np.eye(self.dim)[:, keep]))

    def certain_start(self) -> float:
        """A step size at which every batch contracts; a small one with momentum or with curvature of both signs."""
        least, largest = self.extremes
        if least < -RANK_TOLERANCE:
            return CAREFUL * (1 - self.momentum) / (self.scale * max(largest, -least))
        everything = float(self.values[-1]) * self.samples / self.batch_size  # b H_B is at most n times the mean,
        if self.sampling == "bernoulli":
            top = everything
        else:  # and H_B an average; with replacement of one sample, perhaps
            top = largest if self.sampling == "with_replacement" else min(largest, everything)
        if self.momentum > 0:
            return CAREFUL * (1 - self.momentum) / (self.scale * top)
        return 2 * NEARLY / (self.scale * top)

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; the last n mod b samples are left out."""
        return self.samples // self.batch_size

    def advance(self, state: FloatArray, batches: Indices, step_size: float) -> FloatArray:
        """`state` (r, state, k) after a step of each on its row of `batches` (r, width); index n is no sample."""
        eta, d, beta = self.scale * step_size, self.dim, self.momentum
        x = state[:, :d]
        gradient = (eta / self.batch_size) * self._summed(batches, x)
        if beta == 0:
            return x - gradient
        velocity = beta * state[:, d:] + gradient
        after = x - gradient - beta * velocity if self.nesterov else x - velocity
        return np.concatenate([after, velocity], axis=1)

    def _summed(self, batches: Indices, x: FloatArray) -> FloatArray:
        """The sum of H_i x over each batch."""
        first, second = self._padded
        if second is None:
            total = first[batches[:, 0]]
            for column in batches.T[1:]:
                total = total + first[column]
            return np.matmul(total, x)
        left = first[batches]
        right = left if second is first else second[batches]
        return np.matmul(left.transpose(0, 2, 1), np.matmul(right, x))

    def matrices(self, batches: Indices, step_size: float) -> FloatArray:
        """The steps as matrices, one for each row of `batches`, (r, state, state)."""
        identity = np.broadcast_to(np.eye(self.state), (len(batches), self.state, self.state))
        return self.advance(identity, batches, step_size)

    def draws(self, rng: np.random.Generator, replicas: int, steps: int) -> Iterator[Indices]:
        """`steps` batches for each replica, (replicas, width) a step."""
        n, b = self.samples, self.batch_size
        block = max(1, BLOCK // (replicas * n))
        while steps > 0:
            count = min(block, steps)
            if self.sampling == "epoch":
                drawn = self.epochs(rng, replicas)
            elif self.sampling == "bernoulli":
                drawn = present(rng.random((count, replicas, n)) < b / n)
            elif b == 1 or self.sampling == "with_replacement":
                drawn = rng.integers(n, size=(count, replicas, b))
            else:
                drawn = rng.random((count, replicas, n)).argpartition(b - 1, axis=2)[:, :, :b]
            yield from drawn[:steps]
            steps -= len(drawn)

    def epochs(self, rng: np.random.Generator, replicas: int) -> Indices:
        """The batches of one epoch of each replica, (epoch_steps, replicas, batch_size)."""
        n, b = self.samples, self.batch_size
        order = rng.permuted(np.tile(np.arange(n), (replicas, 1)), axis=1)[:, : self.epoch_steps * b]
        return order.reshape(replicas, self.epoch_steps, b).transpose(1, 0, 2)


def present(chosen: NDArray[np.bool_]) -> Indices:
    """The indices that are true along the last axis, filled up with n to a common width of at least 1."""
    n = chosen.shape[-1]
    width = max(1, int(chosen.sum(axis=-1).max()))
    order = np.argsort(~chosen, axis=-1, kind="stable")[..., :width]
    return np.where(np.take_along_axis(chosen, order, axis=-1), order, n)


def batch_steps(
    hessians: ArrayLike, batch_size: int, sampling: str, momentum: float = 0.0, nesterov: bool = False
) -> BatchSteps:
    """Checked steps of batches of `hessians`, without the directions in the common kernel of all of them."""
    population, scale = balanced(hessian_population(hessians))
    b = integer("batch_size", batch_size, 1, population.samples, "(the number of samples)")
    one_of("sampling", sampling, SCHEMES)
    optimiser = checked_momentum(momentum, nesterov)
    beta, ahead = (0.0, False) if optimiser is None else (optimiser.beta, optimiser.nesterov)
    population = population.projected(moving_directions(population))
    population = population.projected(np.linalg.eigh(population.mean)[1])
    steps_of = BatchSteps(population, scale, b, sampling, beta, ahead)
    flat = steps_of.values <= RANK_TOLERANCE * steps_of.values[-1]
    if flat.any() and steps_of.extremes[0] >= -RANK_TOLERANCE:  # flat on average is flat for all
        steps_of = replace(steps_of, population=population.projected(np.eye(len(flat))[:, ~flat]))
    return steps_of


def balanced(population: Population) -> tuple[Population, float]:
    """The population in units of its largest Frobenius norm, and that norm.

    Factors become a_i and +- a_i, of equal size and of the sign that makes equal matrices have equal factors.
    """
    stored = population.matrices if population.matrices is not None else population.directions()
    largest = float(abs(stored).max())
    if largest == 0:
        raise InvalidArgument("hessians must not all be zero; with them SGD never moves, at any step size")
    stored = stored / largest
    norm = float(np.sqrt((stored**2).reshape(len(stored), -1).sum(axis=1)).max())
    with np.errstate(over="ignore"):
        scale = float(np.float64(norm * largest) ** (1 if population.matrices is not None else 2))
    if not 0 < scale < np.inf:
        raise InvalidArgument(
            f"hessians must be within the range of floating-point numbers, got a_i of size {largest:.3g} whose square "
            "is not; use other units"
        )
    if population.matrices is not None:
        return Population(stored / norm), scale
    assert population.left is not None
    assert population.right is not None
    a = stored / norm
    a = np.where((a @ a[0] < 0)[:, None], -a, a)
    downhill = np.einsum("ni,ni->n", population.left, population.right) < 0
    if population.left is population.right or not downhill.any():
        return Population(left=a, right=a), scale
    return Population(left=np.where(downhill[:, None], -a, a), right=a), scale


def moving_directions(population: Population) -> FloatArray:
    """An orthonormal basis (d, rank) of the span of the ranges of all matrices."""
    if population.matrices is not None:
        rows = population.matrices.reshape(-1, population.matrices.shape[2])
    else:
        assert population.right is not None
        rows = population.right * np.linalg.norm(population.right, axis=1)[:, None]
    _, values, vectors = np.linalg.svd(np.linalg.qr(rows, mode="r"))
    return np.ascontiguousarray(vectors[: len(values)][values > RANK_TOLERANCE * values[0]].T)
