"""docs/stability.md is what the criteria and claims say, and its formulas can be drawn."""

from __future__ import annotations

import re
from pathlib import Path

from latex2mathml.converter import convert

from sgdmodels.testing.claims import FALSE, PROVABLE
from sgdmodels.testing.page import page
from sgdmodels.theory import CRITERIA

PAGE = Path(__file__).parent.parent / "docs" / "stability.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m sgdmodels.testing.page > docs/stability.md"


def test_everything_is_on_it() -> None:
    text = page()
    for criterion in CRITERIA:
        assert f"`{criterion.name}`" in text
    for claim in (*PROVABLE, *FALSE):
        assert claim.statement in text
    assert text.count("```python") == len(FALSE)


def test_formulas_can_be_drawn_and_tables_keep_their_columns() -> None:
    text = page()
    for formula in re.findall(r"\$\$(.+?)\$\$", text) + re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", text):
        assert "<math" in convert(formula)
    for line in text.splitlines():
        if line.startswith("| E"):
            assert line.count("|") == 8, line
