"""Is an expression zero? By its values at random points, since bringing it into a normal form may never end."""

from __future__ import annotations

import random
from typing import Any

import sympy as sp

POINTS, DIGITS = 4, 40


def vanishes(expression: Any) -> bool:
    """Whether an expression of real symbols, array entries and sums is zero wherever it has a value.

    It has 40 digits at each of four points; a false zero would have to hide in the last ten of all of them. Where it
    has no real value at any of them (log of a negative number, ...), it counts as not zero.

    >>> x, y = sp.symbols("x y", real=True)
    >>> vanishes((x + y)**2 - x**2 - 2*x*y - y**2), vanishes(sp.sin(x) - x)
    (True, False)
    """
    dummies = {e: sp.Dummy(real=True) for e in _outermost(expression)}
    plain = expression.xreplace(dummies)
    stream = random.Random(0)
    seen = False
    for _ in range(POINTS):
        point = {s: sp.Rational(stream.randint(200, 1700), 1009) for s in sorted(plain.free_symbols, key=str)}
        terms = [sp.N(term.xreplace(point), DIGITS) for term in sp.Add.make_args(plain)]
        if not all(term.is_Float or term.is_Rational for term in terms):
            continue
        seen = True
        if abs(sum(terms)) > sp.Float(10) ** -30 * max(1, *(abs(term) for term in terms)):
            return False
    return seen


def _outermost(e: Any) -> list[Any]:
    """Sums and array entries that are not within others."""
    if isinstance(e, sp.Sum | sp.Indexed):
        return [e]
    return [part for argument in e.args for part in _outermost(argument)]
