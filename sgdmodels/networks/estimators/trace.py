r"""The trace of a symmetric matrix that is known by its products only, from random probes (Hutchinson).

.. math:: \mathrm{tr}\,M = \mathrm{tr}(QMQ^T) + E\big[(Pz)^TM(Pz)\big], \qquad P = 1 - Q^TQ, \quad z_j = \pm1

Q holds directions whose share is taken exactly. Each probe has variance :math:`2(|PMP|_F^2 - \sum_j(PMP)_{jj}^2)`: with
the leading eigenvectors in Q, which a measurement of the largest eigenvalues leaves behind, what outliers contribute to
it is gone. Without Q, a diagonal matrix takes one probe. Source: Hutchinson 1989; Meyer, Musco, Musco and Woodruff 2021
(Hutch++) for taking Q out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...arguments import integer, real
from ...errors import InvalidArgument

TOLERANCE = 0.01
LEAST, MOST = 16, 256
BLOCK = 16  # products asked for at a time


class Trace(NamedTuple):
    """The trace, its standard error (0 where exact), and how many vectors the matrix was multiplied with."""

    value: float
    standard_error: float
    probes: int


def trace(
    product: Callable[[Tensor], Tensor],
    dim: int,
    *,
    tolerance: float = TOLERANCE,
    absolute: float = 0.0,
    least: int = LEAST,
    most: int = MOST,
    directions: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Trace:
    """The trace of `product`: vectors (k, d) -> (k, d), until its standard error is small enough or `most` products.

    Small enough is the larger of tolerance |trace| and `absolute`. `directions` (k, d): orthonormal rows Q. Where at
    least `dim` products would be needed, and at most `most` are allowed, the columns of the identity give the exact
    trace. A product that is not finite gives NaN. Raises InvalidArgument.

    >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    >>> trace(lambda v: v @ matrix, 2)
    Trace(value=5.0, standard_error=0.0, probes=2)
    """
    size = integer("dim", dim, 1)
    relative, floor = real("tolerance", tolerance), real("absolute", absolute)
    fewest = integer("least", least, 2)
    limit = integer("most", most, fewest)
    where = torch.empty(0, dtype=dtype, device=device)
    if generator is None:
        generator = torch.Generator(where.device).manual_seed(0)
    if directions is not None and (directions.dim() != 2 or directions.shape[1] != size):
        raise InvalidArgument(f"directions must have shape (vectors, {size}), got {tuple(directions.shape)}")

    def exact() -> float:
        total = 0.0
        for first in range(0, size, BLOCK):
            unit = where.new_zeros((min(BLOCK, size - first), size))
            unit[:, first : first + len(unit)].fill_diagonal_(1.0)
            total += float(quadratic(product, unit).sum())
        return total

    if size <= fewest:
        return Trace(exact(), 0.0, size)
    known, used = 0.0, 0
    if directions is not None:
        known, used = float(quadratic(product, directions).sum()), len(directions)
    samples = torch.empty(0, dtype=torch.float64)
    while True:
        block = min(BLOCK, limit - used) if len(samples) >= fewest else fewest
        probes = signs(block, size, where, generator)
        if directions is not None:
            probes = probes - (probes @ directions.T) @ directions
        samples = torch.cat([samples, quadratic(product, probes).cpu()])
        used += block
        value = known + float(samples.mean())
        error = float(samples.std()) / math.sqrt(len(samples))
        goal = max(relative * abs(value), floor)
        if error <= goal or used >= limit or not math.isfinite(value):
            return Trace(value, error, used)
        needed = used + len(samples) * ((error / goal) ** 2 - 1) if goal > 0 else math.inf
        if needed >= used + size and used + size <= limit:
            return Trace(exact(), 0.0, used + size)


def quadratic(product: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
    """v' M v of each row, summed in float64."""
    return (vectors.double() * product(vectors).double()).sum(1)


def signs(rows: int, dim: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Rademacher vectors (rows, dim)."""
    coins = torch.randint(0, 2, (rows, dim), generator=generator, device=like.device)
    return (2 * coins - 1).to(like.dtype)
