"""Every closed form: proven when derived, equal to an independent route, and a wrong one is found out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
from latex2mathml.converter import convert

from sgdmodels.errors import UnknownName
from sgdmodels.symbolic import DerivationError, derive
from sgdmodels.symbolic.closed_form import ClosedForm, proven
from sgdmodels.symbolic.derive import contents
from sgdmodels.symbolic.page import book, markdown

NAMES = [name for topics in contents().values() for forms in topics.values() for name in forms]
WRONG = sp.Rational(1001, 1000)
WORSE = sp.Rational(101, 100)


@pytest.mark.parametrize("name", NAMES)
def test_a_closed_form_agrees_with_its_independent_route_and_a_wrong_one_does_not(name: str) -> None:
    (form,) = derive(name)
    assert form.name == name
    for seed in (0, 1):
        check = form.check(seed)
        assert check.passed, f"{form}\n{check}"
    assert form.tolerance <= 1e-6
    wrong = replace(form, expression=form.expression * WRONG)
    assert not wrong.check().passed
    assert form.title
    assert form.statement.endswith(".")
    assert form.route
    assert form.reference
    assert form.text()
    for equation in form.equations():
        assert "merror" not in convert(equation)


def places(e: Any, rebuild: Callable[[Any], Any] = lambda e: e) -> Iterator[Any]:
    """The expression with one term of a sum, or one entry or function in a product or power, made 1 % larger."""
    if isinstance(e, sp.MatrixBase):
        for k, entry in enumerate(e):
            yield from places(entry, lambda new, k=k: rebuild(sp.Matrix(*e.shape, [*e[:k], new, *e[k + 1 :]])))
    elif isinstance(e, sp.Sum):
        yield from places(e.function, lambda new: rebuild(sp.Sum(new, *e.limits)))
    elif isinstance(e, sp.Add | sp.Mul | sp.Pow) and not isinstance(e, sp.MatrixExpr):
        for k, part in enumerate(e.args[:1] if e.is_Pow else e.args):
            if isinstance(part, sp.Expr):
                yield rebuild(e.func(*e.args[:k], WORSE * part, *e.args[k + 1 :]))
                yield from places(part, lambda new, k=k: rebuild(e.func(*e.args[:k], new, *e.args[k + 1 :])))


def mutants(form: ClosedForm) -> Iterator[ClosedForm]:
    """The form with one small mistake, in the formula or in one of its parts."""
    yield from (replace(form, expression=e) for e in places(form.expression) if e != form.expression)
    for k, (symbol, value) in enumerate(form.where):
        for wrong in places(value):
            yield replace(form, where=(*form.where[:k], (symbol, wrong), *form.where[k + 1 :]))


def same_beside_the_instances(one: ClosedForm, other: ClosedForm) -> bool:
    """Whether two formulas agree also where the numbers that the check draws are changed at random."""
    drawn: list[tuple[Any, ...]] = []
    formula, rng = one.lambdify(), np.random.default_rng(7)

    def note(*values: Any) -> Any:
        drawn.append(values)
        return formula(*values)

    def moved(value: Any) -> Any:
        numbers = np.asarray(value)
        return value if numbers.dtype.kind != "f" else numbers * rng.uniform(0.9, 1.1, numbers.shape)

    one.check(formula=note)
    changed = [tuple(map(moved, values)) for values in drawn]
    wrong = other.lambdify()
    return all(np.allclose(formula(*values), wrong(*values), rtol=1e-9, equal_nan=True) for values in changed)


@pytest.mark.parametrize("name", random.Random(0).sample(sorted(NAMES), 60))
def test_a_mistake_in_one_term_is_found(name: str) -> None:
    (form,) = derive(name)
    candidates = list(mutants(form))
    for wrong in random.Random(name).sample(candidates, min(2, len(candidates))):
        with np.errstate(all="ignore"):  # a mistake may end in the root of a negative number, which is a failure, too
            assert not wrong.check().passed or same_beside_the_instances(form, wrong), wrong.text()


def test_names_are_unique() -> None:
    topics = {topic for topics in contents().values() for topic in topics}
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    assert topics.isdisjoint(NAMES)


def test_titles_are_unique_in_a_topic() -> None:
    for topics in contents().values():
        for topic, forms in topics.items():
            titles = Counter(derive(name)[0].title for name in forms)
            assert [title for title, count in titles.items() if count > 1] == [], topic


def test_one_form_has_both_ways_to_draw_a_batch() -> None:
    (form,) = derive("least_squares_batch_sharpness")
    assert str(form.arguments) == "(w, x, y, n, d, b, replacement)"
    rng = np.random.default_rng(0)
    point = rng.normal(size=2), rng.normal(size=(4, 2)), rng.normal(size=4), 4, 2
    formula = form.lambdify()
    assert formula(*point, 1, True) == pytest.approx(formula(*point, 1, False))
    assert formula(*point, 2, True) != pytest.approx(formula(*point, 2, False))
    assert r"\frac{1}{b} & \text{with replacement}" in form.latex()


def test_a_topic_gives_all_its_forms_and_an_unknown_name_the_nearest() -> None:
    assert [form.name for form in derive("heavy_ball")] == list(contents()["Momentum"]["heavy_ball"])
    with pytest.raises(UnknownName, match="did you mean 'heavy_ball_edge'"):
        derive("heavy_ball_edg")


def test_a_false_formula_is_not_proven() -> None:
    a, b = sp.symbols("a b", positive=True)
    assert proven((a + b) ** 2, a**2 + 2 * a * b + b**2) == a**2 + 2 * a * b + b**2
    with pytest.raises(DerivationError, match="the difference is"):
        proven((a + b) ** 2, a**2 + b**2)


def test_a_check_that_gives_no_number_fails() -> None:
    (form,) = derive("heavy_ball_edge")
    assert not form.check(formula=lambda *_: np.nan).passed


def test_the_page_is_made_from_the_forms() -> None:
    page = (Path(__file__).parent.parent / "docs" / "closed_forms.md").read_text(encoding="utf-8")
    assert markdown(book()) == page, "run: python -m sgdmodels.symbolic.page > docs/closed_forms.md"
