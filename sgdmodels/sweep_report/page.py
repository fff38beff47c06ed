"""The page: everything in one HTML file, which asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from ..judge import ALL
from ..predictions import Prediction
from ..predictions.base import NOT_APPLICABLE
from ..report import LEGEND, STYLESHEET, band, entry, formula, number
from ..version import __version__
from .captions import Caption
from .gallery import TITLES
from .read import Found
from .scoring import Card


@dataclass(frozen=True)
class Shown:
    """A figure as the page needs it."""

    name: str
    title: str
    caption: Caption
    image: str
    wide: bool


def page(found: Found, figures: Sequence[Shown]) -> str:
    """The HTML text."""
    import jinja2

    package = resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(package.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    cards = [_card(found, card) for card in found.scoring.cards if card.findings]
    return template.render(
        title=found.facts.title or f"Sweep {found.stored.name}", facts=found.facts, figures=figures, legend=LEGEND,
        style=STYLESHEET.read_text(encoding="utf-8"), version=__version__,
        cards=[card for card in cards if card["rows"]],
        reference=None if found.scoring.reference is None else found.stored.names[found.scoring.reference],
        left_out=_left_out(found), tables=_tables(found), predictions=_statements(found),
    )  # fmt: skip


def _rows(found: Found, card: Card) -> list[Prediction]:
    return [p for p in found.scoring.chosen if card.applies(p.name)]


def _names(found: Found, card: Card) -> list[str]:
    """Dynamics with anything computed at this step size, the reference first."""
    judged = {name for _, name, _ in card.findings}
    return [name for name in found.stored.names_in(found.scoring.order) if name in judged]


def _card(found: Found, card: Card) -> dict[str, Any]:
    """A score card as the template shows it."""
    names = _names(found, card)
    sizes = sorted({b for _, _, b in card.findings if b != ALL})
    rows = []
    for prediction in _rows(found, card):
        places = sizes if prediction.per_batch_size else [ALL]
        cells = [[(b, _entry(card, prediction.name, name, b)) for b in places] for name in names]
        rows.append((prediction, band(prediction), cells))
    notes = [f"{name}, b = {b}: {words}" for (name, b), words in sorted(card.diverged.items())]
    return {"step_size": f"{card.step_size:g}", "names": names, "sizes": sizes, "rows": rows, "notes": notes}


def _entry(card: Card, prediction: str, name: str, batch_size: int) -> dict[str, str] | None:
    """What a cell of a score card shows; None if it is not computed."""
    found = card.findings.get((prediction, name, batch_size))
    if found is None:
        return None
    finding, sign = found
    return entry(finding.value, finding.low, finding.high, finding.verdict, sign, finding.reason)


def _left_out(found: Found) -> list[tuple[str, str]]:
    """Predictions that are on no card, and why."""
    why = {
        "edge_tests": "nudges of the run", "streaks": "every single step",
        "mean_square_sharpness": "snapshots of the window", "batch_sharpness_mean_ratio": "snapshots of the window",
    }  # fmt: skip
    left = [(f"{p.name}: {p.title}", f"needs {why[p.needs[0]]}") for p in found.scoring.elsewhere]
    for p in found.scoring.chosen:
        answers = [f for card in found.scoring.cards for (name, *_), (f, _) in card.findings.items() if name == p.name]
        if answers and not any(card.applies(p.name) for card in found.scoring.cards):
            left.append((f"{p.name}: {p.title}", next((f.reason for f in answers if f.verdict == NOT_APPLICABLE), "")))
    return left


def _tables(found: Found) -> list[dict[str, Any]]:
    """Plateaus by metric and step size: rows are dynamics, columns batch sizes."""
    grid, levels, forms = found.stored.grid, found.levels, found.forms
    sizes = found.paths.size_axis.order
    tables = []
    for metric in levels.metrics:
        middle, (low, high) = levels.middle(metric), levels.interval(metric)
        for step in found.paths.step_axis.order:
            rows = []
            for kind in found.scoring.order:
                cells = []
                for k in sizes:
                    place = step, k, kind
                    cells.append({
                        "value": number(middle[place]),
                        "interval": "" if np.isnan(middle[place]) else f"[{number(low[place])}, {number(high[place])}]",
                        "expected": number(forms.level(metric, kind, grid.batch_size[k])),
                        "state": _state(int(levels.lost[place]), int(levels.count[place])),
                    })  # fmt: skip
                rows.append((found.stored.names[kind], cells))
            title = f"{TITLES[metric]} times η/2 at η = {grid.step_size[step]:g}"
            tables.append({"title": title, "sizes": [grid.batch_size[k] for k in sizes], "rows": rows})
    return tables


def _state(lost: int, count: int) -> str:
    """What a number alone does not say."""
    if count == 0:
        return "not computed"
    return f"{lost} of {count} diverged" if lost else ""


def _statements(found: Found) -> list[tuple[Prediction, str, str]]:
    """Each prediction of the cards once, with its band and formula."""
    shown = [p for p in found.scoring.chosen if any(card.applies(p.name) for card in found.scoring.cards)]
    return [(p, band(p), formula(p.formula)) for p in shown]
