"""Index notation evaluated by numpy broadcasting, for all samples at once: slow, memory-hungry, and plainly right."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..arguments import FloatArray
from .indices import parts_of


def evaluate(
    expression: Any, values: Mapping[str, FloatArray], per_sample: Sequence[str], sizes: Mapping[Any, int] | None = None
) -> FloatArray:
    """`expression` for every sample, shape (n, *sizes), with an axis for each free index in the order of `sizes`.

    values: name -> array; those named in `per_sample` have the samples as their first axis. The result broadcasts: its
    first axis has length 1 if no data enter.

    >>> u, x = sp.IndexedBase("u"), sp.IndexedBase("x")
    >>> j, k = sp.symbols("j k", integer=True)
    >>> known = {"u": np.array([1.0, 2.0]), "x": np.array([[1.0, 1.0], [0.0, 3.0]])}
    >>> evaluate(sp.Sum(u[j] * x[j], (j, 0, 1)), known, ["x"])
    array([3., 6.])
    >>> evaluate(u[k] * x[k], known, ["x"], {k: 2})
    array([[1., 2.],
           [0., 6.]])
    """
    free = dict(sizes or {})
    result = _Broadcast(values, per_sample, free).value(expression, {i: 1 + axis for axis, i in enumerate(free)})
    shape = (np.shape(result)[0] if np.ndim(result) else 1, *free.values())
    return np.array(np.broadcast_to(result, shape))


class _Broadcast:
    """Arrays with the axes (sample, one for each index in scope), of length one where nothing depends on them."""

    def __init__(self, values: Mapping[str, FloatArray], per_sample: Sequence[str], free: dict[Any, int]) -> None:
        self.values, self.per_sample, self.free = values, per_sample, free

    def value(self, e: Any, axes: dict[Any, int]) -> Any:
        rank = 1 + len(axes)
        match e:
            case sp.Sum():
                inner = dict(axes)
                for limit in e.limits:
                    inner[limit[0]] = 1 + len(inner)
                full = [1] * (1 + len(inner))
                for limit in e.limits:
                    full[inner[limit[0]]] = self.extent(e, limit[0])
                spread = self.value(e.function, inner)
                whole = np.broadcast_to(spread, np.broadcast_shapes(np.shape(spread), full))
                return whole.sum(axis=tuple(inner[limit[0]] for limit in e.limits))
            case sp.Indexed():
                return self.entry(e, axes)
            case sp.KroneckerDelta():
                one, other = (self.counting(index, axes) for index in e.args)
                return (one == other) * 1.0
            case sp.Symbol():
                scalar = np.asarray(self.values[e.name])
                return scalar.reshape(scalar.shape + (1,) * (rank - scalar.ndim))
        parts = tuple(parts_of(e))
        with np.errstate(all="ignore"):  # the branches of a choice that do not hold may have no value
            result = _compiled(e, parts)(*[self.value(part, axes) for part in parts])
        return np.reshape(result, (1,) * rank) if np.ndim(result) == 0 else result

    def counting(self, index: Any, axes: dict[Any, int]) -> Any:
        """0, 1, 2, ... along the axis of a free index."""
        shape = [1] * (1 + len(axes))
        if isinstance(index, sp.Integer):
            return np.full(shape, int(index))
        shape[axes[index]] = self.free[index]
        return np.arange(self.free[index]).reshape(shape)

    def extent(self, e: Any, index: Any) -> int:
        """How many values a summed index has: the length of an axis that it runs along."""
        for entry in sorted(e.function.atoms(sp.Indexed), key=sp.default_sort_key):
            if index in entry.indices:
                name = entry.base.label.name
                return int(np.shape(self.values[name])[entry.indices.index(index) + (name in self.per_sample)])
        raise KeyError(index)

    def entry(self, e: Any, axes: dict[Any, int]) -> Any:
        name = e.base.label.name
        array = np.asarray(self.values[name])
        if name not in self.per_sample:
            array = array[None]
        for axis in range(len(e.indices) - 1, -1, -1):
            if isinstance(e.indices[axis], sp.Integer):
                array = np.take(array, int(e.indices[axis]), axis=1 + axis)
        letters = [0, *(axes[i] for i in e.indices if not isinstance(i, sp.Integer))]
        ordered = sorted(set(letters))
        einsum: Any = np.einsum
        array = einsum(array, letters, ordered)  # a transposition; a diagonal where an index is repeated
        shape = [1] * (1 + len(axes))
        for axis, length in zip(ordered, array.shape, strict=True):
            shape[axis] = length
        return array.reshape(shape)


@functools.lru_cache(maxsize=1024)
def _compiled(e: Any, parts: tuple[Any, ...]) -> Any:
    names = [sp.Dummy(f"a{k}", real=True) for k in range(len(parts))]
    return sp.lambdify(names, e.xreplace(dict(zip(parts, names, strict=True))), modules=["numpy", "scipy"])
