"""Where a formula has no value, or no derivatives: kinks of abs, max and where, division by zero, log of numbers <= 0.

At a kink in z both branches are compared as functions of z at z = 0: abs(z)**3 has two derivatives there, z abs(z) one,
abs(z) none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy as sp

from .indices import parts_of
from .typeset import text

KINK, NONZERO, POSITIVE = "kink", "not zero", "positive"
ENOUGH = 2  # derivatives that a model uses
BRANCH = sp.Dummy("z", real=True)


@dataclass(frozen=True)
class Condition:
    """A point is regular where `expression` is positive, or is not zero.

    derivatives: how many there are where it is not (0 at a kink, 1 where the Hessian jumps; -1: the loss itself jumps
    or has no value). part: the part of the formula that asks for it.
    """

    expression: Any
    kind: str
    derivatives: int
    part: Any

    def __str__(self) -> str:
        where = text(self.expression) + (" <= 0" if self.kind == POSITIVE else " = 0")
        what = {-1: "no value, or a jump", 0: "no gradient", 1: "no Hessian"}[self.derivatives]
        return f"{what} where {where} (in {text(self.part)})"


def conditions(expression: Any) -> tuple[Condition, ...]:
    """Where `expression` is not twice differentiable.

    >>> from .grammar import parse
    >>> [str(c) for c in conditions(parse("abs(u) + abs(v)**3 + log(a) / x"))]
    ['no value, or a jump where x = 0 (in 1/x)', 'no value, or a jump where a <= 0 (in log(a))', \
'no gradient where u = 0 (in abs(u))']
    """
    found: dict[Any, Condition] = {}
    for pointwise in _pointwise(expression):
        for node in sp.preorder_traversal(_outside_sums(pointwise)):
            for condition in _of_node(node, _outside_sums(pointwise)):
                found.setdefault((condition.expression, condition.kind), condition)
    return tuple(found.values())


def _pointwise(e: Any) -> Iterator[Any]:
    """The expression, and the summands of all its sums."""
    yield e
    for part in parts_of(e):
        if isinstance(part, sp.Sum):
            yield from _pointwise(part.function)


def _outside_sums(e: Any) -> Any:
    """`e` with max and min as absolute values. Sums in it are looked into on their own."""
    previous = None
    while e != previous and e.has(sp.Max, sp.Min):
        previous = e
        e = e.replace(sp.Max, _largest).replace(sp.Min, lambda *a: -_largest(*[-v for v in a]))
    return e


def _largest(*values: Any) -> Any:
    largest = values[0]
    for value in values[1:]:
        largest = (largest + value + sp.Abs(largest - value)) / 2
    return largest


def _of_node(node: Any, whole: Any) -> Iterator[Condition]:
    if isinstance(node, sp.Sum):
        return
    if isinstance(node, sp.Pow) and not node.base.is_positive:
        if not node.exp.is_Integer:
            yield Condition(node.base, POSITIVE, -1, node)
        elif node.exp < 0 and not node.base.is_nonzero:
            yield Condition(node.base, NONZERO, -1, node)
    elif isinstance(node, sp.log) and not node.args[0].is_positive:
        yield Condition(node.args[0], POSITIVE, -1, node)
    elif isinstance(node, sp.tan):
        yield Condition(sp.cos(node.args[0]), NONZERO, -1, node)
    elif isinstance(node, sp.Abs | sp.sign | sp.Heaviside) and not node.args[0].is_number:
        z = node.args[0]
        sides = {sp.Abs: (BRANCH, -BRANCH), sp.sign: (1, -1), sp.Heaviside: (1, 0)}[type(node)]
        up, down = (whole.xreplace({node: side, z: BRANCH}) for side in sides)
        order = _agreement(up - down, sp.S.Zero)
        if order < ENOUGH:
            yield Condition(z, KINK, order, node)
    elif isinstance(node, sp.Piecewise):
        for branch, condition in node.args[:-1]:
            yield from _of_boundary(node, branch, node.args[-1][0], condition)


def _of_boundary(node: Any, first: Any, second: Any, condition: Any) -> Iterator[Condition]:
    left, right = condition.args
    core = left.args[0] if isinstance(left, sp.Abs) else left
    if core.is_number:
        left, right, core = right, left, right
    gap = (first - second).xreplace({core: BRANCH})
    edges = [right, -right] if isinstance(left, sp.Abs) else [right]
    order = min(_agreement(gap, edge) for edge in edges)
    if order < ENOUGH:
        yield Condition(left - right, KINK, order, node)


def _agreement(gap: Any, at: Any) -> int:
    """How many derivatives two branches share at z = at: -1 if not even their values agree."""
    for order in range(ENOUGH + 1):
        derivative = sp.diff(gap, BRANCH, order) if order else gap
        value = derivative.subs(BRANCH, at).doit() if not derivative.has(sp.DiracDelta) else sp.S.One
        if sp.simplify(value) != 0:
            return order - 1
    return ENOUGH
