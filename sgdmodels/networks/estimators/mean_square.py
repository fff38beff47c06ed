r"""The mean-square sharpness S_ms of a network: a lower bound from small Hessians, which rises to S_ms with their size.

.. math:: S_{ms} = \sup_{X \succeq 0} \frac{\langle X, DX\rangle}{\langle X, CX\rangle}
          \;\ge\; S_{ms}(\{QM_iQ^T\})

(`sgdmodels.theory.mean_square_sharpness` for D and C). For X = Q'YQ both forms are those of the projected matrices, so
every subspace gives a lower bound, and every step size above 2 / (it) is mean-square unstable in the frozen quadratic
model. Q starts from the leading eigenvectors of the mean and doubles. For Gauss-Newton matrices, positive
semi-definite, it grows by where the critical mode leaks to: the image of X under the noise, sampled as
:math:`\sum_i \omega_i M_i x` with random signs and x drawn from the mode, compressed to its leading directions. For
Hessians it grows by the next eigenvectors: as in `sgdmodels.theory.frozen`, directions without positive mean curvature
are left out (along them no step size is stable), and a leak of Q into them would break the bound. Exact if Q holds all
directions. Cost: one product with every sample's matrix for each row of Q, then O(n k^3) an iteration.

Off a minimum the Hessians of single samples are noise in nearly flat directions, too, where S_ms is far above
lambda_max and Q has to be large: `converged` tells, and the Gauss-Newton value is the better behaved one.
Source: Mulayoff and Michaeli 2024 (S_ms); the bound is Courant and Fischer's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...arguments import FloatArray, integer, one_of, real
from ...sampling import SCHEMES
from ...theory.critical_mode import critical_mode
from ...theory.pencil import NoPositiveCurvature
from ..objectives.objective import GAUSS_NEWTON, Objective
from .lanczos import largest_eigenvalues

TOLERANCE = 0.01
RANK, LARGEST_RANK = 6, 48
SKETCH = 8  # samples of the leak for each direction that is kept
ROUNDING = 1e3  # machine epsilons below which a curvature, or the square of a length, is none


class MeanSquareSharpness(NamedTuple):
    """A lower bound of S_ms for each batch size, in units of curvature; NaN where no mean curvature is positive.

    rank: rows of Q. increase (batch sizes,): relative and per doubling of the rank, at the last enlargement; inf if
    there was none, 0 if Q holds all there is. converged (batch sizes,): whether that is within the tolerance, which is
    one of the increase: S_ms itself may be further up.
    """

    value: FloatArray
    rank: int
    increase: FloatArray
    converged: NDArray[np.bool_]


def mean_square_sharpness(
    objective: Objective,
    theta: Tensor,
    batch_sizes: Sequence[int],
    sampling: str = "without_replacement",
    *,
    tolerance: float = TOLERANCE,
    rank: int = RANK,
    largest_rank: int = LARGEST_RANK,
    generator: torch.Generator | None = None,
) -> MeanSquareSharpness:
    """S_ms of the matrices of `objective` at theta (d,), from below, for all batch sizes from the same projections.

    The rank doubles from `rank` until no doubling raises a value by more than `tolerance`, or to `largest_rank`; with
    no more than `largest_rank` parameters the value is exact. ``"epoch"`` gets the value of ``"without_replacement"``.
    Raises InvalidArgument, NotConverged.

    >>> from sgdmodels.networks.objectives.budget import MemoryBudget
    >>> from sgdmodels.networks.objectives.module_objective import ModuleObjective
    >>> x = torch.tensor([[1.0], [3.0**0.5]])  # curvatures 1 and 3: E[h^2] / E[h]
    >>> net, loss = torch.nn.Linear(1, 1, bias=False), lambda f, y: 0.5 * (f - y).square().sum(1)
    >>> objective = ModuleObjective(net, loss, x, x, MemoryBudget(2**20))
    >>> mean_square_sharpness(objective, torch.zeros(1), [1, 2]).value.round(5).tolist()
    [2.5, 2.0]
    """
    sizes = [integer("batch_sizes", b, 1, objective.samples, "(the number of samples)") for b in batch_sizes]
    one_of("sampling", sampling, SCHEMES)
    accuracy = real("tolerance", tolerance)
    most = integer("largest_rank", largest_rank, 1)
    first = integer("rank", rank, 1, most, "(largest_rank)")
    if not torch.isfinite(theta).all():
        return nothing(len(sizes), 0)
    if objective.dim <= most:
        space = Subspace(objective, theta, generator, torch.eye(objective.dim).to(theta), complete=True)
    else:
        space = Subspace(objective, theta, generator, theta.new_empty((0, objective.dim)), complete=False)
        space.add_eigenvectors(first)
    value, reached = np.zeros(len(sizes)), 1
    while len(space.basis) > 0:
        small = space.projected()
        try:
            found = [critical_mode(small, b, sampling) for b in sizes]
        except NoPositiveCurvature:
            break
        before, value = value, np.array([sharpness for sharpness, _ in found])
        with np.errstate(divide="ignore"):
            rise = value / before - 1
        doublings = math.log2(len(space.basis) / reached) if before.all() else 1.0
        increase = np.zeros(len(sizes)) if space.complete else rise / doublings
        converged = abs(increase) <= accuracy
        reached = len(space.basis)
        result = MeanSquareSharpness(value, reached, increase, converged)
        if converged.all() or reached >= most:
            return result
        modes = [mode for (_, mode), done in zip(found, converged, strict=True) if not done]
        space.enlarge(min(2 * reached, most), modes)
        if len(space.basis) == reached and not space.complete:  # eigenvectors that do not converge
            return result
    return nothing(len(sizes), len(space.basis))


def nothing(count: int, rank: int) -> MeanSquareSharpness:
    missing = np.full(count, np.nan)
    return MeanSquareSharpness(missing, rank, missing, np.zeros(count, dtype=bool))


class Subspace:
    """Orthonormal rows `basis` (k, d); `complete` if no direction of positive mean curvature is outside."""

    def __init__(
        self, objective: Objective, theta: Tensor, generator: torch.Generator | None, basis: Tensor, complete: bool
    ) -> None:
        self.objective, self.theta, self.basis, self.complete = objective, theta, basis, complete
        self.generator = torch.Generator(theta.device).manual_seed(0) if generator is None else generator
        self.space: Tensor | None = None  # leading eigenvectors, to start from

    def projected(self) -> FloatArray:
        """Q M_i Q' of every sample, symmetric to the last digit."""
        small: FloatArray = self.objective.projected(self.theta, self.basis).double().cpu().numpy()
        return 0.5 * (small + small.transpose(0, 2, 1))

    def enlarge(self, rank: int, modes: list[FloatArray]) -> None:
        """To `rank` rows: where the modes leak to, then what is missing of the leading eigenvectors."""
        if self.objective.matrix == GAUSS_NEWTON:
            self.add(self.leak(modes, rank - len(self.basis)))
        if len(self.basis) < rank:
            self.add_eigenvectors(rank)

    def leak(self, modes: list[FloatArray], wanted: int) -> Tensor:
        """The leading directions outside of Q of the noise that batches make of the critical modes."""
        count, samples = SKETCH * wanted, self.objective.samples
        factors = []
        for mode in modes:
            weights, vectors = np.linalg.eigh(mode)
            root = vectors * np.sqrt(np.maximum(weights, 0))  # negative: rounding
            factors.append(torch.as_tensor(root.T).to(self.basis) @ self.basis)
        images = []
        for k in range(count):
            factor = factors[k % len(factors)]
            signs = self.normal(samples).sign()
            x = self.normal(len(factor)) @ factor
            weight = (signs - signs.mean()) / samples
            images.append(self.objective.operator(self.theta, None, weight)(x[None])[0])
        sketch = torch.stack(images)
        size = (sketch.double() ** 2).sum(1).max()
        outside = self.outside(sketch)
        values, mixture = torch.linalg.eigh((outside @ outside.T).double())
        kept = (values > ROUNDING * torch.finfo(sketch.dtype).eps * size).nonzero()[:, 0].flip(0)[:wanted]
        return mixture[:, kept].T.to(sketch.dtype) @ outside

    def add_eigenvectors(self, rank: int) -> None:
        """Leading eigenvectors of the mean, of positive curvature and converged, until there are `rank` rows."""
        objective, theta = self.objective, self.theta
        found = largest_eigenvalues(
            objective.operator(theta), objective.dim, min(rank, objective.dim), start=self.space, dtype=theta.dtype,
            device=theta.device, generator=self.generator,
        )  # fmt: skip
        self.space = found.space
        floor = ROUNDING * torch.finfo(theta.dtype).eps * float(found.values[0])
        positive = found.values > max(floor, 0.0)
        self.complete = bool(found.converged.all()) and not bool(positive.all())
        usable = found.vectors[positive & found.converged]
        if self.complete:
            self.add(usable)
        else:
            outside = self.outside(usable)
            longest = (outside.double() ** 2).sum(1).argsort(descending=True)
            self.add(outside[longest[: rank - len(self.basis)]])

    def normal(self, count: int) -> Tensor:
        """Standard normal numbers."""
        like = self.basis
        return torch.randn(count, generator=self.generator, dtype=like.dtype, device=like.device)

    def outside(self, vectors: Tensor) -> Tensor:
        for _ in range(2):
            vectors = vectors - (vectors @ self.basis.T) @ self.basis
        return vectors

    def add(self, vectors: Tensor) -> None:
        """Append what is new in `vectors`."""
        for row in vectors:
            size = torch.linalg.vector_norm(row)
            new = self.outside(row[None] / size)
            left = torch.linalg.vector_norm(new)
            if left > (ROUNDING * torch.finfo(new.dtype).eps) ** 0.5:
                self.basis = torch.cat([self.basis, self.outside(new / left)])
