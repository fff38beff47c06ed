"""A formula with sums as a sequence of loops: every distinct sum becomes a node that is computed once.

So does every transcendental function, since its derivative is needed later and mostly contains its value; but not one
in a branch of a choice, which must not be looked at where the other branch holds. Long products are made of shorter
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from .indices import parts_of
from .loss_formula import SMOOTH

LONGEST_PRODUCT = 6  # factors; of n factors there are n^2 second derivatives, of products of products far fewer


@dataclass(frozen=True)
class Node:
    """A sum: its value for each value of the indices `free`, summed over `bound` (outermost loop first; none: no sum).

    name: an underscore and a number, which no user's array is called. summand: in arrays and earlier nodes.
    ranges: index -> (array, axis) whose length is its number of values.
    """

    name: str
    free: tuple[Any, ...]
    bound: tuple[Any, ...]
    summand: Any
    ranges: Mapping[Any, tuple[str, int]]


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed, and the value made of them."""

    nodes: tuple[Node, ...]
    root: Any


def graph(expression: Any, word: Callable[[str], str] = str) -> Graph:
    """`expression` with its sums taken out; `word` renames indices that generated code could not call so.

    >>> from .grammar import parse
    >>> g = graph(parse("sum(a[k] * tanh(sum(w[k, j] * x[j], j)), k) - y"))
    >>> [(node.name, node.summand) for node in g.nodes], g.root
    ([('_1', w[k, j]*x[j]), ('_2', tanh(_1[k])), ('_3', _2[k]*a[k])], _3 - y)
    """
    nodes: dict[Any, Node] = {}
    indices = {limit[0] for s in expression.atoms(sp.Sum) for limit in s.limits}
    root = _lowered(expression.xreplace({i: sp.Symbol(word(i.name), integer=True) for i in indices}), nodes)
    return Graph(tuple(nodes.values()), root)


def _lowered(e: Any, nodes: dict[Any, Node], chosen: bool = False) -> Any:
    if isinstance(e, sp.Sum):
        return _reference(_lowered(e.function, nodes, chosen), [limit[0] for limit in e.limits], nodes)
    if isinstance(e, sp.Indexed) or not e.args:
        return e
    arguments = [_lowered(argument, nodes, chosen or isinstance(e, sp.Piecewise)) for argument in e.args]
    while isinstance(e, sp.Mul) and len(arguments) > LONGEST_PRODUCT and not chosen:
        arguments = [_reference(sp.Mul(*arguments[:2]), [], nodes), *arguments[2:]]
    lowered = e.func(*arguments)
    if isinstance(lowered, SMOOTH) and not chosen and not lowered.is_number:
        return _reference(lowered, [], nodes)
    return lowered


def _reference(summand: Any, bound: list[Any], nodes: dict[Any, Node]) -> Any:
    entries = [part for part in parts_of(summand) if isinstance(part, sp.Indexed)]
    used = dict.fromkeys(i for entry in entries for i in entry.indices if not i.is_Integer)
    free = tuple(i for i in used if i not in bound)
    canonical = {i: sp.Symbol(f"_{k}", integer=True) for k, i in enumerate((*free, *bound))}
    key = (summand.xreplace(canonical), len(free), len(bound))
    if key not in nodes:
        ranges = {i: _range(i, entries, nodes) for i in (*free, *bound)}
        nodes[key] = Node(f"_{len(nodes) + 1}", free, _loop_order(bound, entries), summand, ranges)
    name = nodes[key].name
    return sp.IndexedBase(name, real=True)[free] if free else sp.Symbol(name, real=True)


def _range(index: Any, entries: list[Any], nodes: dict[Any, Node]) -> tuple[str, int]:
    """An axis that `index` runs along, of an array rather than of a node."""
    found = [(e.base.label.name, e.indices.index(index)) for e in entries if index in e.indices]
    for name, axis in found:
        if not name.startswith("_"):
            return name, axis
    name, axis = found[0]
    inner = next(node for node in nodes.values() if node.name == name)
    return inner.ranges[inner.free[axis]]


def _loop_order(bound: list[Any], entries: list[Any]) -> tuple[Any, ...]:
    """Innermost the index that walks along the last axis of most arrays: neighbours in memory."""

    def last(index: Any) -> int:
        return sum(len(e.indices) > 1 and e.indices[-1] == index for e in entries)

    return tuple(sorted(bound, key=last))
