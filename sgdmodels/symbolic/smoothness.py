"""Where a formula has no value, or no derivatives: kinks of abs, max and where, division by zero, log of numbers <= 0.

At a kink in z both branches are compared as functions of z at z = 0: abs(z)**3 has two derivatives there, z abs(z) one,
abs(z) none. A branch of a choice is looked at only where it holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy as sp

from .functions import maximum, minimum
from .indices import parts_of
from .typeset import text
from .zero import vanishes

KINK, NONZERO, NONNEGATIVE, POSITIVE = "kink", "not zero", "not negative", "positive"
ENOUGH = 2  # derivatives that a model uses
BRANCH = sp.Dummy("z", real=True)
Guards = tuple[tuple[Any, bool], ...]  # conditions of the choices around, and whether they hold


@dataclass(frozen=True)
class Condition:
    """A point is regular where `expression` is not zero, not negative or positive, as `kind` says.

    derivatives: how many there are where it is not so (0 at a kink, 1 where the Hessian jumps; -1: the loss itself
    jumps or has no value). part: the part of the formula that asks for it. guards: where it is asked at all.
    """

    expression: Any
    kind: str
    derivatives: int
    part: Any
    guards: Guards = ()

    def __str__(self) -> str:
        sign = {POSITIVE: " <= 0", NONNEGATIVE: " < 0"}.get(self.kind, " = 0")
        what = {-1: "no value, or a jump", 0: "no gradient", 1: "no Hessian"}[self.derivatives]
        asked = "".join(f", {'if' if holds else 'unless'} {text(guard)}" for guard, holds in self.guards)
        return f"{what} where {text(self.expression)}{sign} (in {text(self.part)}{asked})"


def conditions(expression: Any) -> tuple[Condition, ...]:
    """Where `expression` is not twice differentiable.

    >>> from .grammar import parse
    >>> for condition in conditions(parse("abs(u) + abs(v)**3 + log(a) / x")):
    ...     print(condition)
    no value, or a jump where x = 0 (in 1/x)
    no value, or a jump where a <= 0 (in log(a))
    no gradient where u = 0 (in abs(u))
    """
    found: dict[Any, Condition] = {}
    for condition in _conditions(expression, ()):
        found.setdefault((condition.expression, condition.kind, condition.guards), condition)
    return tuple(found.values())


def _conditions(e: Any, guards: Guards) -> Iterator[Condition]:
    """Those of the expression with its sums as numbers, and then those of the sums."""
    names = {part: sp.Dummy(str(k), real=True) for k, part in enumerate(parts_of(e))}
    back = {name: part for part, name in names.items()}
    flat = e.xreplace(names)
    kinks: dict[tuple[Any, Guards], list[Any]] = {}
    for node, inside in _nodes(flat, guards, back):
        yield from (_put_back(c, back) for c in _of_value(node, inside))
        for z, others in _branch_points(node):
            positive = -z if z.could_extract_minus_sign() else z
            tied = tuple((guard.xreplace(back), True) for guard in others)
            kinks.setdefault((positive, (*inside, *tied)), []).append(node)
    for (z, inside), nodes in kinks.items():
        up, down = _side(flat, nodes, z, 1), _side(flat, nodes, z, -1)
        order = min(_agreement(up.xreplace(near) - down.xreplace(near)) for near in _near(z))
        if order < ENOUGH:
            yield _put_back(Condition(z, KINK, order, nodes[0], inside), back)
    for part, name in names.items():
        if isinstance(part, sp.Sum):
            holding = [inside for node, inside in _nodes(flat, guards, back) if node == name]
            yield from _conditions(part.function, holding[0] if holding else guards)


def _nodes(e: Any, guards: Guards, back: dict[Any, Any]) -> Iterator[tuple[Any, Guards]]:
    """Every subexpression with the conditions under which it is looked at."""
    yield e, guards
    if isinstance(e, sp.Piecewise):
        earlier = guards
        for value, condition in e.args:
            holds = condition.xreplace(back) if condition != sp.true else None
            yield from _nodes(value, earlier if holds is None else (*earlier, (holds, True)), back)
            if holds is not None:
                yield from (pair for side in condition.args for pair in _nodes(side, earlier, back))
                earlier = (*earlier, (holds, False))
        return
    for argument in e.args:
        yield from _nodes(argument, guards, back)


def _put_back(c: Condition, back: dict[Any, Any]) -> Condition:
    return Condition(c.expression.xreplace(back), c.kind, c.derivatives, c.part.xreplace(back), c.guards)


def _of_value(node: Any, guards: Guards) -> Iterator[Condition]:
    """What a power, a logarithm or a tangent asks of its argument."""
    if isinstance(node, sp.Pow) and not node.base.is_positive:
        base, power = node.args
        if power.is_Integer:
            if power < 0 and not base.is_nonzero:
                yield Condition(base, NONZERO, -1, node, guards)
        elif power.is_number and power > 0:
            if not base.is_nonnegative:
                yield Condition(base, NONNEGATIVE, -1, node, guards)
            if power < ENOUGH:
                yield Condition(base, POSITIVE, int(power), node, guards)
        else:
            yield Condition(base, POSITIVE, -1, node, guards)
    elif isinstance(node, sp.log) and not node.args[0].is_positive:
        yield Condition(node.args[0], POSITIVE, -1, node, guards)
    elif isinstance(node, sp.tan):
        yield Condition(sp.cos(node.args[0]), NONZERO, -1, node, guards)


def _branch_points(node: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The expressions at whose zeros a node changes its branch, with what must hold besides."""
    if isinstance(node, sp.Abs | sp.sign | sp.Heaviside):
        yield node.args[0], ()
    elif isinstance(node, maximum | minimum):
        order = sp.Ge if isinstance(node, maximum) else sp.Le
        for a, b in itertools.combinations(_numbers_last(node.args), 2):
            yield a - b, tuple(order(a, c, evaluate=False) for c in _numbers_last(node.args) if c not in (a, b))
    elif isinstance(node, sp.Piecewise):
        for _, condition in node.args:
            if isinstance(condition, sp.core.relational.Relational):
                yield condition.args[0] - condition.args[1], ()


def _near(z: Any) -> list[dict[Any, Any]]:
    """What to put in so that z becomes BRANCH: for one of its symbols where that is easy, else for z itself."""
    constant, rest = z.as_independent(*z.free_symbols, as_Add=True)
    factor, core = rest.as_coeff_Mul()
    if isinstance(core, sp.Abs):
        return [_solved(core.args[0], side * (BRANCH - constant) / factor) for side in (1, -1)]
    return [_solved(z, BRANCH)]


def _solved(w: Any, value: Any) -> dict[Any, Any]:
    for symbol in sorted(w.free_symbols, key=str):
        slope = sp.diff(w, symbol)
        if slope.is_number and slope != 0:
            return {symbol: (value - w.xreplace({symbol: sp.S.Zero})) / slope}
    return {w: value, -w: -value}


def _numbers_last(arguments: Any) -> list[Any]:
    return sorted(arguments, key=lambda a: (a.is_number, sp.default_sort_key(a)))


def _side(e: Any, nodes: list[Any], z: Any, side: int) -> Any:
    """`e` on one side of z = 0, all the nodes that branch there on their branch."""
    places = {}
    for node in nodes:
        if isinstance(node, sp.Abs):
            places[node] = side * z
        elif isinstance(node, sp.sign):
            places[node] = sp.Integer(side if node.args[0] == z else -side)
        elif isinstance(node, sp.Heaviside):
            places[node] = sp.Integer((side if node.args[0] == z else -side) > 0)
        elif isinstance(node, sp.Piecewise):
            places[node] = _branch(node, z, side)
        else:
            a, b = next(p for p in itertools.combinations(_numbers_last(node.args), 2) if p[0] - p[1] in (z, -z))
            above = (side > 0) == (a - b == z)  # a > b
            places[node] = (b + (z if a - b == z else -z)) if above == isinstance(node, maximum) else b
    return e.xreplace(places)


def _branch(node: Any, z: Any, side: int) -> Any:
    """The value on one side of z = 0: that of the first case that asks for this side, or that holds on both."""
    for value, condition in node.args:
        if condition == sp.true:
            return value
        gap = condition.args[0] - condition.args[1]
        if gap in (z, -z):
            towards = side if gap == z else -side
            if (towards > 0) == isinstance(condition, sp.StrictGreaterThan | sp.GreaterThan):
                return value
        elif not _holds_beside(condition, z):
            continue
        else:
            return value
    return node


def _holds_beside(condition: Any, z: Any) -> bool:
    """Whether another condition on the same quantity holds at z = 0, as a < 1 does at a = 0."""
    gap = condition.args[0] - condition.args[1]
    for sign in (1, -1):
        at = sp.simplify(gap - sign * z)
        if at.is_number:
            return bool(condition.func(at, 0))
    return False


def _agreement(gap: Any) -> int:
    """How many derivatives two branches share at z = 0: -1 if not even their values agree."""
    for order in range(ENOUGH + 1):
        derivative = sp.diff(gap, BRANCH, order) if order else gap
        derivative = derivative.replace(sp.DiracDelta, lambda *_: sp.S.Zero)
        if not vanishes(derivative.subs(BRANCH, 0)):
            return order - 1
    return ENOUGH
