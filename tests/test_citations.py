"""Everything that names a source finds it in the bibliography, and the bibliography can be read by BibTeX."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.citations import ALWAYS, SOURCES, bibliography, keys_of, references
from sgdmodels.declarations import ROWS, example
from sgdmodels.errors import InvalidArgument, UnknownName

# "Li, Tai and E 2017", "Smith et al. 2021", "Perko 2025": names that begin with a capital, then a year.
NAMED = re.compile(r"[A-Z]\w*(?:, [A-Z]\w*)*(?: and [A-Z]\w*| et al\.)? (?:1[89]|20)\d\d")
FIELDS = {
    "misc": {"author", "title", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "article": {"author", "title", "journal", "year"},
}


def entry_of(text: str) -> tuple[str, str, dict[str, str]]:
    """Kind, key and fields of an entry written one field a line, or an AssertionError."""
    head, *lines, end = text.splitlines()
    kind, key = re.fullmatch(r"@(\w+)\{([a-z0-9]+),", head).groups()
    assert end == "}"
    fields = {}
    for place, line in enumerate(lines):
        name, value, comma = re.fullmatch(r"  ([a-z]+) = \{(.+)\}(,?)", line).groups()
        assert bool(comma) == (place < len(lines) - 1), line
        assert name not in fields, line
        depth = 0
        for letter in value:
            depth += (letter == "{") - (letter == "}")
            assert depth >= 0, line
        assert depth == 0, line
        fields[name] = value
    return kind, key, fields


@pytest.mark.parametrize("key", bibliography())
def test_entries_are_bibtex(key: str) -> None:
    kind, own, fields = entry_of(bibliography()[key])
    assert own == key
    assert FIELDS[kind] <= fields.keys()
    assert re.fullmatch(r"(1[89]|20)\d\d", fields["year"])
    assert ("eprint" in fields) == (fields.get("archiveprefix") == "arXiv")
    assert re.fullmatch(r"\d{4}\.\d{5}", fields.get("eprint", "0000.00000"))
    assert bibliography()[key].isascii()  # classic BibTeX knows no other letters
    if key != "sgdmodels":  # the key says whom and when: none can be mistaken for another
        family = fields["author"].split(",")[0].lower()
        assert key.startswith(family + fields["year"])


def test_every_author_and_year_that_is_named_is_an_entry() -> None:
    for name, text in references().items():
        for named in set(NAMED.findall(text)):
            assert len(keys_of(named)) == 1, (name, named)


def test_no_entry_is_unused() -> None:
    used = {key for text in references().values() for key in keys_of(text)}
    assert used | {"sgdmodels"} == bibliography().keys()


def test_everything_that_has_a_source_has_a_name_to_ask_for() -> None:
    for kind, arguments in ROWS:
        assert example(kind, arguments).declaration.reference in references()[kind.__name__]
    for prediction in sm.PREDICTIONS:
        assert references()[prediction.name] == prediction.reference
    for metric in sm.METRICS:
        assert metric.name in references()
    for criterion in sm.theory.CRITERIA:
        assert criterion.reference in references()[criterion.name]
    assert references().keys() >= SOURCES.keys()


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),$", text, flags=re.MULTILINE)


def test_a_run_cites_its_dynamics_and_metrics() -> None:
    model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    run = sm.simulate(model, sm.LabelNoiseSGD(0.1, 1, scale=0.1), 10, np.ones(2), metrics=("loss", "ias"))
    assert keys(sm.citations(run)) == [*ALWAYS, "blanc2020implicit", "lee2023new"]
    assert f"note = {{Version {sm.__version__}}}" in sm.citations(run)
    old = run.assign_attrs(sgdmodels_version="0.0.1")
    assert "note = {Version 0.0.1}" in sm.citations(old)
    assert f"note = {{Version 0.0.1, {sm.__version__}}}" in sm.citations([old, run])
    point = sm.measure(model, np.ones(2), batch_size=1, metrics=("mean_square_sharpness",))
    assert keys(sm.citations([point, "CentralFlow"])) == [*ALWAYS, "cohen2024understanding", "mulayoff2024exact"]


def test_a_score_card_cites_its_predictions_and_all_its_dynamics() -> None:
    recipe = sm.recipes.gated_quadratic(0)
    moving, asked = sm.SGD(0.4, 16, momentum=0.5), ["B2 (full batch)", "B9"]
    card = sm.scorecard(
        recipe, moving, [sm.SVAG(0.4, 16, ell=2)], steps=2000, replicas=1, predictions=asked, interventions=False
    )
    found = keys(sm.citations(card))
    assert {"robbins1951stochastic", "li2021validity", "cohen2021gradient", "andreyev2026momentum"} <= set(found)
    assert len(found) == len(set(found))


def test_what_the_user_wrote_is_left_out_and_what_does_not_exist_is_named() -> None:
    model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    own = sm.Metric("norm", "norm of theta", "1", lambda points: np.linalg.norm(points.theta, axis=2))
    run = sm.simulate(model, sm.GradientFlow(0.1), 10, np.ones(2), metrics=(own,))
    assert keys(sm.citations(run)) == [*ALWAYS, "elkabetz2021continuous"]
    with pytest.raises(UnknownName, match="SVAGG"):
        sm.citations("SVAGG")
    with pytest.raises(InvalidArgument, match="Dataset"):
        sm.citations(3)
