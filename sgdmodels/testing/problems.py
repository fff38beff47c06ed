"""Hessians, quadratics, and an instance of every loss of `sgdmodels.models`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..arguments import FloatArray, integer
from ..errors import InvalidArgument
from ..models import (
    DiagonalNetwork,
    GatedQuadratic,
    LeastSquares,
    LinearNetwork,
    Model,
    Quadratics,
    ScalarProduct,
    SharpeningLeastSquares,
)
from .data import datasets
from .entries import LAWS, LEVELS, SIMPLE, Size, arrays, levels, places, values

SAMPLES, DIMENSIONS = 4, 3  # the most that Hessians have, unless more are asked for
NONNEGATIVE = st.integers(0, LEVELS).map(SIMPLE.__getitem__)
POSITIVE = st.integers(1, LEVELS).map(SIMPLE.__getitem__)


@st.composite
def hessians(
    draw: st.DrawFn,
    samples: Size = None,
    dim: Size = None,
    *,
    definite: bool | None = True,
    rank: int | None = None,
    commuting: bool | None = None,
) -> FloatArray:
    """Strategy for symmetric matrices (n, d, d), sums of at most `rank` terms s a a' each.

    definite: True for positive semi-definite ones (s >= 0), False for any sign, None for either. rank: between 1 and d
    if not given. commuting: True for eigenvectors that all samples share, False for vectors of each sample's own, None
    for either. Shrinks to one zero.

    >>> from hypothesis import find
    >>> find(hessians(dim=2), lambda hessians: hessians.shape[1:] == (2, 2)).tolist()
    [[[0.0, 0.0], [0.0, 0.0]]]
    """
    rows, columns = draw(places("samples", samples, SAMPLES)), draw(places("dim", dim, DIMENSIONS))
    return _hessians(draw, rows, columns, definite, rank, commuting)


def _hessians(
    draw: Any, rows: list[int], columns: list[int], definite: bool | None, rank: int | None, commuting: bool | None
) -> FloatArray:
    """Those of the given samples and dimensions."""
    d, box = len(columns), max(len(columns), DIMENSIONS)
    terms = draw(st.integers(1, d)) if rank is None else min(integer("rank", rank, 1), d)
    positive = draw(st.booleans()) if definite is None else definite
    table = draw(levels((max(len(rows), SAMPLES), box * (box + 1))))[rows]
    entries = values(table, draw(st.sampled_from(tuple(LAWS))))
    weights = entries[:, box - terms : box]
    if positive:
        weights = np.abs(weights)
    if draw(st.booleans()) if commuting is None else commuting:
        basis = _rotation(draw(arrays((box,)))[columns])[-terms:]
        vectors = np.broadcast_to(basis, (len(rows), terms, d))
    else:
        vectors = entries[:, box:].reshape(-1, box, box)[:, -terms:, columns].copy()
        vectors[~vectors.any(axis=2), -1] = 1.0
    matrices = np.einsum("nk,nki,nkj->nij", weights, vectors, vectors)
    return 0.5 * (matrices + matrices.transpose(0, 2, 1))


def _rotation(vector: FloatArray) -> FloatArray:
    """The orthogonal matrix I - 2 v v' / |v|^2, the identity for v = 0."""
    square = float(vector @ vector)
    return np.eye(len(vector)) - (2 / square * np.outer(vector, vector) if square > 0 else 0.0)


@st.composite
def quadratics(
    draw: st.DrawFn,
    samples: Size = None,
    dim: Size = None,
    *,
    definite: bool | None = True,
    interpolating: bool | None = None,
) -> Quadratics:
    """Strategy for `Quadratics` with `hessians` of the same arguments.

    interpolating: True for one centre that all samples share, False for a centre of each sample's own (which may
    coincide), None for either.

    >>> from hypothesis import find
    >>> find(quadratics(samples=3), lambda model: len(model.centers) == 3)
    Quadratics(samples=3, dim=1)
    """
    rows, columns = draw(places("samples", samples, SAMPLES)), draw(places("dim", dim, DIMENSIONS))
    matrices = _hessians(draw, rows, columns, definite, None, None)
    shared = draw(st.booleans()) if interpolating is None else interpolating
    box = draw(arrays((max(len(rows), SAMPLES), max(len(columns), DIMENSIONS))))
    return Quadratics(matrices, np.ascontiguousarray(box[np.ix_([rows[-1]] * len(rows) if shared else rows, columns)]))


def least_squares(
    samples: Size = None,
    features: Size = None,
    kinds: str | tuple[str, ...] | None = None,
    interpolating: bool | None = None,
) -> SearchStrategy[LeastSquares]:
    """Strategy for `LeastSquares` on `datasets` of the same arguments.

    >>> from hypothesis import find
    >>> find(least_squares(samples=3), lambda model: len(model.targets) == 3)
    LeastSquares(samples=3, dim=1)
    """
    return datasets(samples, features, kinds, interpolating).map(lambda data: LeastSquares(*data))


def _on_data(build: Callable[..., Model], samples: Size, *more: SearchStrategy[Any]) -> SearchStrategy[Model]:
    """A loss of inputs, targets and more arguments; data of extreme scales leave the range of products of factors."""
    kinds = ("simple", "gaussian", "heavy_tailed", "collinear", "rank_deficient", "duplicated_rows", "equal_norms")
    return st.tuples(datasets(samples, st.integers(1, 3), kinds), *more).map(lambda drawn: build(*drawn[0], *drawn[1:]))


def _scalar_product(samples: Size) -> SearchStrategy[Model]:
    data = datasets(samples, 1, ("simple", "gaussian", "heavy_tailed", "duplicated_rows", "equal_norms"))
    return st.tuples(data, st.integers(2, 4)).map(lambda drawn: ScalarProduct(drawn[0][0][:, 0], drawn[0][1], drawn[1]))


LOSSES: dict[type[Model], Callable[[Size], SearchStrategy[Any]]] = {
    LeastSquares: least_squares,
    Quadratics: lambda samples: quadratics(samples, definite=None),
    ScalarProduct: _scalar_product,
    LinearNetwork: lambda samples: _on_data(LinearNetwork, samples),
    DiagonalNetwork: lambda samples: _on_data(
        DiagonalNetwork, samples, st.integers(2, 3), st.sampled_from(("product", "difference"))
    ),
    SharpeningLeastSquares: lambda samples: _on_data(SharpeningLeastSquares, samples, NONNEGATIVE),
    GatedQuadratic: lambda samples: _on_data(GatedQuadratic, samples, NONNEGATIVE, POSITIVE),
}


def models(losses: type[Model] | Sequence[type[Model]] | None = None, samples: Size = None) -> SearchStrategy[Model]:
    """Strategy for instances of every loss of `sgdmodels.models`, or of those classes named; least squares first.

    Raises InvalidArgument for a class it does not know.

    >>> from hypothesis import find
    >>> find(models(samples=2), lambda model: len(model.data) == 4)
    LeastSquares(samples=2, dim=1)
    """
    wanted = list(LOSSES) if losses is None else [losses] if isinstance(losses, type) else list(losses)
    unknown = [loss for loss in wanted if loss not in LOSSES]
    if unknown or not wanted:
        known = ", ".join(loss.__name__ for loss in LOSSES)
        raise InvalidArgument(f"losses must be classes among {known}, got {losses!r}")
    return st.one_of([LOSSES[loss](samples) for loss in LOSSES if loss in wanted])
