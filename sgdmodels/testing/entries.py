r"""Numbers to fill arrays with. All are functions of one integer, so that hypothesis shrinks every entry towards zero.

An integer k in -20..20 becomes an entry of law F as the quantile :math:`F^{-1}\big((k + N + 1)/(2N + 2)\big)`, N = 20:
k = 0 is zero, small k are small entries, and a Gaussian or heavy tail is what the grid of all k looks like. A seed of
a random generator would not shrink: the data of neighbouring seeds have nothing in common. For the same reason
arrays are parts of boxes of constant size: dropping any one sample or dimension is then a change of one flag, which
leaves all the others what they are.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray

from ..arguments import FloatArray, integer
from ..errors import InvalidArgument

LEVELS = 20
SIMPLE = (
    0.0,
    1.0,
    2.0,
    3.0,
    0.5,
    1.5,
    2.5,
    4.0,
    0.25,
    0.75,
    5.0,
    1 / 3,
    2 / 3,
    6.0,
    3.5,
    1.25,
    8.0,
    0.1,
    0.2,
    10.0,
    7.0,
)
LEVEL = st.integers(-LEVELS, LEVELS)
Size = int | SearchStrategy[int] | None
Levels = NDArray[np.int64]


def simple(level: int) -> float:
    """Small integers first, then halves and other small rationals."""
    return math.copysign(SIMPLE[abs(level)], level) if level else 0.0


def gaussian(level: int) -> float:
    """A quantile of the normal law."""
    return NormalDist().inv_cdf((level + LEVELS + 1) / (2 * LEVELS + 2)) if level else 0.0


def heavy_tailed(level: int) -> float:
    """A quantile of the Cauchy law."""
    return math.tan(math.pi * level / (2 * LEVELS + 2))


LAWS: dict[str, FloatArray] = {
    law.__name__: np.array([law(k) for k in range(-LEVELS, LEVELS + 1)]) for law in (simple, gaussian, heavy_tailed)
}


def values(levels: Levels, law: str) -> FloatArray:
    """Integers as entries of a law of LAWS."""
    return LAWS[law][levels + LEVELS]


def arrays(shape: tuple[int, ...], law: str = "simple", *, box: tuple[int, ...] = ()) -> SearchStrategy[FloatArray]:
    """Arrays of `shape` with entries of a law of LAWS, the last corner of a `box`."""
    whole = tuple(map(max, shape, box)) if box else shape
    count, corner = math.prod(whole), tuple(slice(most - size, None) for most, size in zip(whole, shape, strict=True))
    levels = st.lists(LEVEL, min_size=count, max_size=count)
    return levels.map(lambda ks: values(np.array(ks, dtype=np.int64), law).reshape(whole)[corner].copy())


def places(name: str, given: Size, most: int) -> SearchStrategy[list[int]]:
    """Which rows or columns of a box are there: the last ones of a size that was given, or any of 0..most - 1."""
    flags = st.lists(st.booleans(), min_size=most, max_size=most)
    if given is None:
        return flags.map(lambda there: [k for k in range(most) if there[k]] or [most - 1])
    # the same flags, of no use: hypothesis takes what has fewer choices for simpler, and a given size is not
    both = st.tuples(flags, sizes(name, given))
    return both.map(lambda drawn: list(range(max(drawn[1], most) - drawn[1], max(drawn[1], most))))


def levels(box: tuple[int, int]) -> SearchStrategy[Levels]:
    """A box of integers."""
    row = st.lists(LEVEL, min_size=box[1], max_size=box[1])
    return st.lists(row, min_size=box[0], max_size=box[0]).map(lambda table: np.array(table, dtype=np.int64))


def sizes(name: str, given: int | SearchStrategy[int]) -> SearchStrategy[int]:
    """A size that was given, as a number or a strategy."""
    return given if isinstance(given, SearchStrategy) else st.just(integer(name, given, 1))


def chosen(name: str, given: str | tuple[str, ...] | list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds asked for, in the order of `known`, which puts the simplest first."""
    wanted = known if given is None else (given,) if isinstance(given, str) else tuple(given)
    unknown = [kind for kind in wanted if kind not in known]
    if unknown or not wanted:
        raise InvalidArgument(f"{name} must be one or more of {', '.join(map(repr, known))}, got {given!r}")
    return tuple(kind for kind in known if kind in wanted)
