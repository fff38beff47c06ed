"""Derivatives of expressions with indices and sums: the dimension of an array never enters.

For an entry A[i] of an array, dA[i]/dA[k] is a Kronecker delta, and a sum over i against it is the summand at i = k.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy as sp

# A term of a derivative: its coefficient, and what each index of the expression must equal for it not to vanish.
Term = tuple[Any, tuple[tuple[Any, Any], ...]]


def derivative(expression: Any, array: Any, *indices: Any) -> Any:
    """The derivative with respect to array[indices]; for a scalar parameter pass the Symbol and no index.

    `indices` must not be summed over in `expression`. Where they meet free indices, a KroneckerDelta stays.

    >>> u, x = sp.IndexedBase("u"), sp.IndexedBase("x")
    >>> j, k, l, d = sp.symbols("j k l d", integer=True)
    >>> square = sp.Sum(u[j] * x[j], (j, 0, d - 1))**2 / 2
    >>> first = derivative(square, u, k)
    >>> first
    x[k]*Sum(u[j]*x[j], (j, 0, d - 1))
    >>> derivative(first, u, l)
    x[k]*x[l]
    >>> derivative(sp.Sum(u[j]**3, (j, 0, d - 1)), u, k)
    3*u[k]**2
    """
    result = sp.S.Zero
    for coefficient, deltas in _terms(expression, array, indices):
        for one, other in deltas:
            coefficient = coefficient * sp.KroneckerDelta(one, other)
        result += coefficient
    return result


def direction(expression: Any, arrays: Iterable[tuple[Any, Any]]) -> Any:
    """The derivative along a direction: `arrays` pairs each array (or scalar) with the one that holds its direction.

    >>> u, v, x = sp.IndexedBase("u"), sp.IndexedBase("v"), sp.IndexedBase("x")
    >>> j, d = sp.symbols("j d", integer=True)
    >>> direction(sp.Sum(u[j]**2 * x[j], (j, 0, d - 1)), [(u, v)])
    Sum(2*u[j]*v[j]*x[j], (j, 0, d - 1))
    """
    pairs = dict(arrays)
    if isinstance(expression, sp.Sum):
        return sp.Sum(direction(expression.function, pairs.items()), *expression.limits)
    result = sp.S.Zero
    for part in parts_of(expression):
        inner: Any = 0
        if isinstance(part, sp.Sum):
            inner = direction(part, pairs.items())
        elif isinstance(part, sp.Indexed) and part.base in pairs:
            inner = pairs[part.base][part.indices]
        elif part in pairs:
            inner = pairs[part]
        if inner != 0:
            result += partial(expression, part) * inner
    return result


def parts_of(expression: Any) -> list[Any]:
    """The outermost sums, array entries, symbols and deltas an expression is a function of, in a fixed order."""
    if isinstance(expression, sp.Sum | sp.Indexed | sp.Symbol | sp.KroneckerDelta):
        return [expression]
    found: dict[Any, None] = {}
    for argument in expression.args:
        found.update(dict.fromkeys(parts_of(argument)))
    return sorted(found, key=sp.default_sort_key)


def partial(expression: Any, part: Any) -> Any:
    """The derivative with respect to a part, the others of `parts_of(expression)` held, away from kinks and jumps."""
    if expression == part:
        return sp.S.One
    names = {p: sp.Dummy(f"part{k}", real=True) for k, p in enumerate(parts_of(expression))}
    if part not in names:
        return sp.S.Zero
    return _slope(expression.xreplace(names), names[part]).xreplace({name: p for p, name in names.items()})


def _slope(e: Any, symbol: Any) -> Any:
    """d e / d symbol, with abs' = sign and sign' = 0: sympy's own rules for them are those of complex numbers."""
    kinks = {}
    for node in sp.preorder_traversal(e):
        if isinstance(node, sp.Abs | sp.sign | sp.Heaviside) and symbol in node.free_symbols:
            kinks[node] = sp.Dummy(real=True)
    outer = e.xreplace(kinks)  # which replaces the outermost
    slope = sp.diff(outer, symbol).replace(sp.DiracDelta, lambda *_: sp.S.Zero)
    for node, name in kinks.items():
        if isinstance(node, sp.Abs) and name in outer.free_symbols:
            slope += sp.diff(outer, name) * sp.sign(node.args[0]) * _slope(node.args[0], symbol)
    if any(power.exp.free_symbols for power in e.atoms(sp.Pow)):
        slope = sp.powsimp(slope)  # w**D / w is no number at w = 0
    return slope.xreplace({name: node for node, name in kinks.items()})


def _terms(expression: Any, array: Any, indices: tuple[Any, ...]) -> list[Term]:
    if isinstance(expression, sp.Sum):
        return [_summed(term, expression.limits) for term in _terms(expression.function, array, indices)]
    terms: list[Term] = []
    for part in parts_of(expression):
        if isinstance(part, sp.Sum):
            inner = _terms(part, array, indices)
        elif isinstance(part, sp.Indexed) and part.base == array:
            pairs = zip(part.indices, indices, strict=True)
            fixed = [(a, b) for a, b in pairs if a != b]
            if any((a - b).is_nonzero for a, b in fixed):
                continue
            inner = [(sp.S.One, tuple(fixed))]
        elif part == array and not indices:
            inner = [(sp.S.One, ())]
        else:
            continue
        if inner:
            slope = partial(expression, part)
            terms += [(slope * coefficient, deltas) for coefficient, deltas in inner if slope * coefficient != 0]
    return terms


def _summed(term: Term, limits: Iterable[Any]) -> Term:
    """The sum of a term over `limits`: indices that a delta pins are not summed but replaced."""
    coefficient, deltas = term
    left = []
    for limit in limits:
        index = limit[0]
        pinned = [b for a, b in deltas if a == index]
        if pinned:
            coefficient = coefficient.subs(index, pinned[0])
            rest = [(a, b) for a, b in deltas if a != index] + [(b, pinned[0]) for b in pinned[1:]]
            deltas = tuple((a, b) for a, b in rest if a != b)
        else:
            left.append(limit)
    return (sp.Sum(coefficient, *left) if left else coefficient), deltas
