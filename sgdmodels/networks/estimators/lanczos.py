r"""The largest eigenvalues of a symmetric matrix that is known by its products only: block Lanczos on torch tensors.

The basis V and its images HV are both kept. So Ritz pairs and their *true* residuals :math:`|Hy - \theta y|` are linear
combinations of what is there and cost no product, a basis that has reached its limit of memory shrinks to its best Ritz
vectors without one (thick restart), and only pairs that have not converged are worked on: the next basis vectors are
their residuals, orthogonalised twice against the whole basis. With one vector this is Lanczos with full
reorthogonalisation. A block has as many vectors as eigenvalues are wanted: one vector would see one copy only of a
multiple eigenvalue.

A warm start must not cost correctness. After a crossing the old eigenvector may be an exact one still while another
eigenvalue has overtaken by a relative gap; of the new eigenvector the start has only what its random part has, a
component of about 1 / sqrt(d). The search ends on the old one if that component is smaller than tolerance / gap times
the old one's. So the start is a random one in which the components along the old vectors, and along the *guard*, the
Ritz vector that came next at the last point, are not left to chance but are `SHARE` / sqrt(d), the median size of a
random component. In any dimension the chance of a miss is about erf(SHARE tolerance / (sqrt(2) gap)) then, or less, and
2 / pi arctan(tolerance / gap) for a random start, which is larger for every gap above the tolerance. This costs what a
random start costs, and nothing is to be saved: a share c times larger, or equal norms, c = sqrt(d), need 1 to 3
products of 14 less and miss c times as often; to bound the weight of what was not seen takes these products again.
What a warm start gives is that the vectors known, of which one is the likeliest to overtake, are not missed by chance.
Source: Wu and Simon 2000 (thick restarts); Davidson 1975 (images kept); Kuczynski and Wozniakowski 1992 (the chances of
random starts).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...arguments import integer, real
from ...errors import InvalidArgument

TOLERANCE = 1e-4
LIMIT = 32
SHARE = 0.6745  # the median of |N(0, 1)|, which is what a random unit vector's components are, times sqrt(d)
MOST_PRODUCTS = 20  # times the limit
ROUNDING = 32.0  # machine epsilons that a product is off by, in units of the spectrum's size
DEPENDENT = 0.5  # a direction that loses this much in a second orthogonalisation was rounding

Product = Callable[[Tensor], Tensor]


class Eigenpairs(NamedTuple):
    """Descending values (k,) and residuals |Hy - value y| (k,) in float64, unit vectors (k, d), converged (k,) bool.

    products: how many vectors the matrix was multiplied with. space (k + 1 or k, d): the vectors and a guard, the
    `start` for a matrix near by.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    space: Tensor


def largest_eigenvalues(
    product: Product,
    dim: int,
    count: int = 1,
    *,
    start: Tensor | None = None,
    tolerance: float = TOLERANCE,
    limit: int = LIMIT,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    r"""The `count` algebraically largest eigenvalues of the symmetric `product`: vectors (k, d) -> (k, d).

    A pair has converged if :math:`|Hy - \theta y| \le` tolerance :math:`|\theta|`; then an eigenvalue is that close, in
    general the largest with an error of the residual squared over the gap. What the precision of `dtype` cannot tell
    counts as zero: `ROUNDING` epsilons of the largest eigenvalue in size, 4e-6 of it in float32, where a smaller
    tolerance has no effect. `start` (m, d): the `space` of an earlier result, or any vectors; rows that are not finite
    are passed over. `limit`: basis vectors held, at least 3 count, each with its image (2 limit d numbers). Gives up,
    with converged False, after `MOST_PRODUCTS` limit products; what is not finite gives NaN. With or without a
    `start`, a largest eigenvalue that is a relative gap above the next is missed, and the next one returned as
    converged, with a chance of about 0.64 tolerance / gap at most, over the draws of `generator` (without one, every
    call draws the same numbers). Raises InvalidArgument.

    >>> matrix = torch.diag(torch.tensor([3.0, 3.0, 1.0, -5.0], dtype=torch.float64))
    >>> found = largest_eigenvalues(lambda v: v @ matrix, 4, 2)
    >>> found.values.round(decimals=9).tolist(), found.converged.tolist()
    ([3.0, 3.0], [True, True])
    """
    size = integer("dim", dim, 1)
    wanted = integer("count", count, 1, size, "(the dimension)")
    accuracy = real("tolerance", tolerance, open_low=True)
    room = min(size, max(integer("limit", limit, 2), 3 * wanted))
    if start is not None and (start.dim() != 2 or start.shape[1] != size):
        raise InvalidArgument(f"start must have shape (vectors, {size}), got {tuple(start.shape)}")
    search = Search(product, size, wanted, accuracy, room, dtype, device, generator)
    return search.run(start)


class Search:
    """One call: a basis (m, d) with its images, both in units in which the first image is of order one."""

    def __init__(
        self, product: Product, dim: int, count: int, tolerance: float, limit: int, dtype: torch.dtype,
        device: torch.device | str | None, generator: torch.Generator | None,
    ) -> None:  # fmt: skip
        self.product, self.dim, self.count, self.tolerance, self.limit = product, dim, count, tolerance, limit
        self.basis = torch.empty((0, dim), dtype=dtype, device=device)
        self.images = self.basis
        self.generator = torch.Generator(self.basis.device).manual_seed(0) if generator is None else generator
        self.rounding = ROUNDING * torch.finfo(dtype).eps
        self.unit, self.products = 0.0, 0

    def run(self, start: Tensor | None) -> Eigenpairs:
        new = self.first_block(start)
        while True:
            if not self.extend(new):
                return self.not_finite()
            pairs, rest = self.ritz_pairs()
            if pairs.converged.all() or self.products >= MOST_PRODUCTS * self.limit:
                return pairs
            rest = rest[~pairs.converged]
            if len(self.basis) + len(rest) > self.limit:
                self.shrink()
            new = self.independent(rest)
            if len(new) == 0:  # the space is invariant to rounding: nothing more to be found in it
                return pairs

    def first_block(self, start: Tensor | None) -> Tensor:
        """Orthonormal (count, d): random, but for the components along old vectors."""
        block = self.random(self.count)
        if start is not None:
            usable = start[torch.isfinite(start).all(1)].to(self.basis)
            usable = usable[usable.abs().amax(1) > 0]
            old = self.independent(usable / torch.linalg.vector_norm(usable, dim=1, keepdim=True))
            block = block - (block @ old.T) @ old
            for k, vector in enumerate(old):
                block[k % self.count] += SHARE / math.sqrt(self.dim) * vector
        new = self.independent(block)
        while len(new) < self.count:
            new = torch.cat([new, self.independent(self.random(self.count - len(new)), new)])
        return new

    def random(self, rows: int) -> Tensor:
        """Unit random vectors (rows, d)."""
        like = self.basis
        block = torch.randn((rows, self.dim), generator=self.generator, dtype=like.dtype, device=like.device)
        return block / torch.linalg.vector_norm(block, dim=1, keepdim=True)

    def independent(self, block: Tensor, known: Tensor | None = None) -> Tensor:
        """Orthonormal rows that span what `block` adds to the basis."""
        kept = [self.basis] if known is None else [self.basis, known]
        base = sum(map(len, kept))
        for row in block:
            for again in (False, True):
                size = torch.linalg.vector_norm(row)
                if size == 0 or (again and size < self.rounding):
                    break
                row = row / size
                for space in kept:
                    row = row - (space @ row) @ space
                if again and (left := torch.linalg.vector_norm(row)) > DEPENDENT:
                    kept.append((row / left)[None])
        return torch.cat(kept)[base:]

    def extend(self, new: Tensor) -> bool:
        """Add vectors and their images; whether those are finite."""
        image = self.product(new)
        self.products += len(new)
        if not torch.isfinite(image).all():
            return False
        self.unit = self.unit or float(image.abs().max())
        self.basis = torch.cat([self.basis, new])
        self.images = torch.cat([self.images, image / (self.unit or 1.0)])
        return True

    def ritz_vectors(self) -> tuple[Tensor, Tensor]:
        """Ascending Ritz values and coefficients of their vectors, in float64."""
        small = (self.basis @ self.images.T).double()
        return torch.linalg.eigh((small + small.T) / 2)

    def ritz_pairs(self) -> tuple[Eigenpairs, Tensor]:
        """The best pairs in the basis, and what Hy - theta y is for them."""
        known, coefficients = self.ritz_vectors()
        top = coefficients.flip(1)[:, : self.count + 1].T.to(self.basis.dtype)
        vectors, images = top @ self.basis, top[: self.count] @ self.images
        leading = vectors[: self.count].double()
        values = (leading * images.double()).sum(1) / (leading * leading).sum(1)
        rest = images - values[:, None].to(images.dtype) * vectors[: self.count]
        miss = torch.linalg.vector_norm(rest, dim=1, dtype=torch.float64)
        enough = torch.maximum(self.tolerance * values.abs(), self.rounding * known.abs().max())
        scaled = self.unit * values, vectors[: self.count], self.unit * miss, miss <= enough
        return Eigenpairs(*scaled, self.products, vectors), rest

    def shrink(self) -> None:
        """Thick restart: keep the upper half of the Ritz vectors, at least the wanted ones and a guard."""
        keep = max(self.limit // 2, min(self.count + 1, self.limit - self.count))
        _, coefficients = self.ritz_vectors()
        top = coefficients.flip(1)[:, :keep].T.to(self.basis.dtype)
        self.basis, self.images = top @ self.basis, top @ self.images

    def not_finite(self) -> Eigenpairs:
        values = torch.full((self.count,), math.nan, dtype=torch.float64, device=self.basis.device)
        vectors = torch.full((self.count, self.dim), math.nan, dtype=self.basis.dtype, device=self.basis.device)
        return Eigenpairs(values, vectors, values, torch.zeros_like(values, dtype=torch.bool), self.products, vectors)
