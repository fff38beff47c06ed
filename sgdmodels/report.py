"""A score card as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from .judge import AGREES, ALL, DIFFERS, UNCLEAR
from .predictions import Prediction
from .predictions.base import DIVERGED, FAILS, HOLDS, INCONCLUSIVE, NOT_APPLICABLE, NOT_ENTERED
from .scorecard import ScoreCard
from .version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {HOLDS: "✓", FAILS: "✗", INCONCLUSIVE: "?", NOT_APPLICABLE: "-", NOT_ENTERED: "∅", DIVERGED: "∞", "": ""}
SIGNS = {AGREES: "=", DIFFERS: "≠", UNCLEAR: "~", "": ""}
STYLESHEET = resources.files(__package__).joinpath("report.css")  # of all pages with score cards
LEGEND = (
    "verdict for that dynamics: ✓ holds, ✗ fails, ? inconclusive, - not applicable, ∅ EoSS never entered, ∞ diverged; "
    "agreement with the reference: = agrees, ≠ differs, ~ unclear"
)


def number(value: float) -> str:
    """Three significant digits, short."""
    if np.isnan(value):
        return ""
    if np.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:.2f}" if 0.1 <= abs(value) < 100 else f"{value:.2g}"


def cell(card: ScoreCard, prediction: str, dynamics: str, batch_size: int) -> dict[str, str]:
    """Everything a cell shows."""
    found = card.table.sel(prediction=prediction, dynamics=dynamics, batch_size=batch_size)
    value, low, high = (float(found[name]) for name in ("value", "low", "high"))
    return entry(value, low, high, *(str(found[name].values) for name in ("verdict", "agreement", "reason")))


def entry(value: float, low: float, high: float, verdict: str, agreement: str, reason: str) -> dict[str, str]:
    """A finding in words and signs."""
    return {
        "value": number(value),
        "interval": "" if np.isnan(value) else f"[{number(low)}, {number(high)}]",
        "verdict": verdict,
        "symbol": SYMBOLS[verdict],
        "agreement": agreement,
        "sign": SIGNS[agreement],
        "reason": reason,
    }


def batch_sizes_of(card: ScoreCard, prediction: Prediction) -> tuple[int, ...]:
    return card.experiment.batch_sizes if prediction.per_batch_size else (ALL,)


def markdown(card: ScoreCard) -> str:
    """The card as Markdown: a summary of verdicts, then the numbers for each batch size."""
    names = [str(name) for name in card.table.dynamics.values]
    sizes = ", ".join(map(str, card.experiment.batch_sizes))
    lines = [
        f"# Score card: {card.title}", "",
        (
            f"{card.experiment.steps} steps, step size {card.evidence[card.reference].step_size:g}, "
            f"{card.experiment.replicas} replicas, seed {card.experiment.seed}; reference: {card.reference}; "
            f"one sign per batch size {sizes}."
        ), "",
        LEGEND + ".", "",
        *_table(
            ["prediction", *names],
            ([f"**{p.name}** {p.title}", *(_signs(card, p, name) for name in names)] for p in card.predictions),
        ),
    ]  # fmt: skip
    for b in (*card.experiment.batch_sizes, ALL):
        rows = [p for p in card.predictions if (b == ALL) != p.per_batch_size]
        if not rows:
            continue
        lines += ["", "## All batch sizes" if b == ALL else f"## Batch size {b}", ""]
        lines += _table(
            ["prediction", "band", *names],
            ([p.name, band(p), *(_words(cell(card, p.name, name, b)) for name in names)] for p in rows),
        )
        if b != ALL:
            lines += ["", *_notes(card, b)]
    return "\n".join(lines) + "\n"


def band(prediction: Prediction) -> str:
    """What the number must lie in."""
    low, high = prediction.band
    if np.isinf(high):
        return f"> {low:g}"
    if np.isinf(low):
        return f"< {high:g}"
    return f"{low:g} to {high:g}"


def _signs(card: ScoreCard, prediction: Prediction, name: str) -> str:
    cells = [cell(card, prediction.name, name, b) for b in batch_sizes_of(card, prediction)]
    return " ".join(c["symbol"] + c["sign"] for c in cells)


def _words(c: dict[str, str]) -> str:
    parts = [f"{c['value']} {c['interval']}".strip(), c["verdict"], c["agreement"]]
    return ", ".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def _notes(card: ScoreCard, batch_size: int) -> list[str]:
    """Diverged replicas, unstable snapshots, and measures of sharpness on opposite sides of 2/eta."""
    notes = []
    for name in card.table.dynamics.values:
        entry = card.table.sel(dynamics=name, batch_size=batch_size)
        words = []
        if int(entry.diverged):
            words.append(f"{int(entry.diverged)} of {int(entry.replicas)} replicas diverged")
        if str(entry.converged.values) == "not converged":
            words.append("not converged: with half the integrator's step the late levels differ")
        if str(entry.opposite_sides.values):
            words.append(f"opposite sides of the edge: {entry.opposite_sides.values}")
        if float(entry.type_2_fraction) > 0:
            words.append(f"type 2 (unstable) at {100 * float(entry.type_2_fraction):.0f} % of the window's snapshots")
        if words:
            notes.append(f"- {name}: " + "; ".join(words))
    return notes


def write_html(path: Any, cards: Sequence[ScoreCard]) -> None:
    """One page with all cards, their figures inside it."""
    from pathlib import Path

    import jinja2

    template = resources.files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        cards=[_page(card) for card in cards],
        legend=LEGEND,
        version=__version__,
        predictions=_statements(cards),
        style=STYLESHEET.read_text(encoding="utf-8"),
    )
    Path(path).write_text(page, encoding="utf-8")


def _page(card: ScoreCard) -> dict[str, Any]:
    from . import scorecard_figures as figures

    names = [str(name) for name in card.table.dynamics.values]
    sizes = card.experiment.batch_sizes
    tables = []
    for b in (*sizes, ALL):
        rows = [p for p in card.predictions if (b == ALL) != p.per_batch_size]
        if rows:
            tables.append({
                "title": "all batch sizes together" if b == ALL else f"batch size {b}",
                "rows": [(p, band(p), [cell(card, p.name, name, b) for name in names]) for p in rows],
                "notes": [] if b == ALL else [note[2:] for note in _notes(card, b)],
            })  # fmt: skip
    drawn = {
        "Where each model settles": figures.levels(card),
        "Plateaus against the batch size": figures.plateaus(card),
        "Trajectories": figures.trajectories(card),
        "Interventions": figures.interventions(card),
    }
    return {
        "title": card.title,
        "names": names,
        "sizes": sizes,
        "steps": card.experiment.steps,
        "replicas": card.experiment.replicas,
        "seed": card.experiment.seed,
        "step_size": card.evidence[card.reference].step_size,
        "summary": [
            (p, [[cell(card, p.name, name, b) for b in batch_sizes_of(card, p)] for name in names])
            for p in card.predictions
        ],
        "tables": tables,
        "figures": {title: embedded(figure) for title, figure in drawn.items() if figure is not None},
    }  # fmt: skip


def embedded(figure: Figure) -> str:
    """A figure as a data URI."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _statements(cards: Sequence[ScoreCard]) -> list[tuple[Prediction, str, str]]:
    """Each prediction once, with its band and its formula as MathML."""
    seen = {p.name: p for card in cards for p in card.predictions}
    return [(p, band(p), formula(p.formula)) for p in seen.values()]


def formula(text: str) -> str:
    """A LaTeX formula as MathML, which browsers draw themselves."""
    from latex2mathml.converter import convert

    return str(convert(text))
