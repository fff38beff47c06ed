"""Every closed form: proven when derived, equal to an independent route, and a wrong one is found out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from latex2mathml.converter import convert

from sgdmodels.errors import UnknownName
from sgdmodels.symbolic import DerivationError, derive
from sgdmodels.symbolic.closed_form import proven
from sgdmodels.symbolic.derive import contents
from sgdmodels.symbolic.page import book, markdown

NAMES = [name for topics in contents().values() for forms in topics.values() for name in forms]
WRONG = sp.Rational(1001, 1000)


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


def test_names_are_unique() -> None:
    topics = {topic for topics in contents().values() for topic in topics}
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    assert topics.isdisjoint(NAMES)


def test_a_topic_gives_all_its_forms_and_an_unknown_name_the_nearest() -> None:
    assert [form.name for form in derive("momentum")] == list(contents()["Momentum"]["momentum"])
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
