"""Derivatives of index notation against sympy's own, entry by entry, in dimensions small enough to write out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import sympy as sp

from sgdmodels.symbolic.broadcast import evaluate
from sgdmodels.symbolic.graph import graph
from sgdmodels.symbolic.indices import derivative, direction
from sgdmodels.symbolic.loss_formula import LossFormula, loss_formula

SHAPES: dict[str, tuple[int, ...]] = {"u": (2,), "v": (2,), "w": (3, 2), "a": (3,), "s": ()}
DATA: dict[str, tuple[int, ...]] = {"x": (2,), "h": (2, 2), "y": ()}
FORMULAS = [
    "(sum(u[j]*v[j]*x[j], j) - y)**2/2",
    "(s*sum(u[j]**3*x[j], j) - y)**2",
    "log(1 + exp(-y*sum(a[k]*tanh(sum(w[k, j]*x[j], j)), k)))",
    "sum((u[j] - x[j])*h[j, k]*(u[k] - x[k]), j, k)/2",
    "sum(w[k, j]*w[k, l]*x[j]*x[l], j, k, l)**2",
    "u[0]*sum(u[j]*x[j], j) + s**2*u[1]",
    "exp(-sum(u[j]**2, j))*sum(v[j]*x[j], j)/(1 + sum(u[j]**2, j))",
    "sum(u[j]*sum(h[j, k]*tanh(v[k]), k), j) - y*s",
    "sum(h[j, j]*u[j]**2, j)",
]


def formula_of(text: str) -> LossFormula:
    return loss_formula(text, SHAPES, DATA, None, ())


def written_out(e: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
    """The formula with every sum written out and every entry a symbol of its own."""
    if isinstance(e, sp.Sum):
        total = sp.S.Zero
        ranges = []
        for limit in e.limits:
            entry = next(a for a in e.function.atoms(sp.Indexed) if limit[0] in a.indices)
            ranges.append(range(shapes[entry.base.label.name][entry.indices.index(limit[0])]))
        for values in itertools.product(*ranges):
            total += written_out(e.function.subs(dict(zip((m[0] for m in e.limits), values, strict=True))), shapes)
        return total
    if isinstance(e, sp.Indexed):
        return entry_symbol(e.base.label.name, *(int(i) for i in e.indices))
    return e.func(*[written_out(a, shapes) for a in e.args]) if e.args else e


def entry_symbol(name: str, *indices: int) -> Any:
    return sp.Symbol("_".join([name, *map(str, indices)]), real=True)


@pytest.mark.parametrize("text", FORMULAS)
def test_first_and_second_derivatives_equal_those_written_out(text: str) -> None:
    formula = formula_of(text)
    shapes = {**SHAPES, **DATA}
    rng = np.random.default_rng(4)
    values = {name: rng.uniform(0.2, 1.5, shape) for name, shape in shapes.items()}
    numbers = {entry_symbol(n, *i): values[n][i] for n, shape in shapes.items() for i in np.ndindex(*shape)}
    whole = written_out(formula.whole, shapes)
    samples = {name: value[None] if name in DATA else value for name, value in values.items()}
    used = [name for name in SHAPES if formula.whole.has(formula.array(name))]
    letters = sp.symbols("p q r t", integer=True)
    for one, two in itertools.product(used, used):
        first = letters[: len(SHAPES[one])]
        second = letters[len(first) : len(first) + len(SHAPES[two])]
        slope = derivative(formula.whole, formula.array(one), *first)
        bend = derivative(slope, formula.array(two), *second)
        sizes = dict(zip((*first, *second), (*SHAPES[one], *SHAPES[two]), strict=True))
        found = evaluate(bend, samples, list(DATA), sizes)[0]
        for index in np.ndindex(*found.shape):
            i, k = index[: len(first)], index[len(first) :]
            expected = sp.diff(whole, entry_symbol(one, *i), entry_symbol(two, *k)).subs(numbers)
            assert found[index] == pytest.approx(float(expected), rel=1e-11, abs=1e-12), (one, two, index)


@pytest.mark.parametrize("text", FORMULAS)
def test_the_derivative_along_a_direction_is_the_gradient_times_it(text: str) -> None:
    formula = formula_of(text)
    rng = np.random.default_rng(5)
    shapes = {**SHAPES, **DATA}
    values = {name: rng.uniform(0.2, 1.5, (3, *shape) if name in DATA else shape) for name, shape in shapes.items()}
    moves = {f"d{name}": rng.standard_normal(shape) for name, shape in SHAPES.items()}
    pairs = []
    expected = np.zeros(3)
    for name, shape in SHAPES.items():
        array = formula.array(name)
        moved = sp.IndexedBase(f"d{name}", real=True) if shape else sp.Symbol(f"d{name}", real=True)
        pairs.append((array, moved))
        letters = sp.symbols("p q", integer=True)[: len(shape)]
        slope = evaluate(
            derivative(formula.whole, array, *letters), values, list(DATA), dict(zip(letters, shape, strict=True))
        )
        expected += (np.broadcast_to(slope, (3, *shape)) * moves[f"d{name}"]).reshape(3, -1).sum(axis=1)
    found = evaluate(direction(formula.whole, pairs), {**values, **moves}, list(DATA))
    np.testing.assert_allclose(np.broadcast_to(found, 3), expected, rtol=1e-12)


def test_equal_sums_are_computed_once() -> None:
    formula = formula_of("sum(u[j]*x[j], j)**2 + exp(sum(u[k]*x[k], k)) + sum(a[k]*tanh(sum(w[k, l]*x[l], l)), k)")
    nodes = graph(formula.whole).nodes
    assert len(nodes) == 5  # three sums, a tanh and an exp
