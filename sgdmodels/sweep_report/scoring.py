"""Score cards of a sweep: the predictions that need nothing but runs, at each step size, on what has been computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..dynamics import SGD
from ..judge import ALL, agreement
from ..predictions import PREDICTIONS, Evidence, Finding
from ..predictions.base import DIVERGED, NOT_APPLICABLE
from ..sweeps.grid import with_values
from .closed_forms import ClosedForms
from .evidence import SweptEvidence
from .rows import Row, Stored

RUNS = {"reference", "momentum"}  # what a grid has at most, of what predictions need besides runs


@dataclass
class Card:
    """Findings at one step size; `findings[prediction, dynamics, b]` with the sign of agreement, b = 0 for all."""

    step_size: float
    findings: dict[tuple[str, str, int], tuple[Finding, str]] = field(default_factory=dict)
    diverged: dict[tuple[str, int], str] = field(default_factory=dict)

    def applies(self, prediction: str) -> bool:
        """Whether it says anything here, if only that all diverged."""
        verdicts = {f.verdict for (name, *_), (f, _) in self.findings.items() if name == prediction}
        return bool(verdicts - {NOT_APPLICABLE, DIVERGED}) or verdicts == {DIVERGED}


class Scoring:
    """Judges one row of a sweep after the other; that of the reference comes first at every step size."""

    def __init__(self, stored: Stored, forms: ClosedForms) -> None:
        self.stored, self.forms = stored, forms
        dynamics = list(stored.grid.dynamics.values())
        plain = [k for k, one in enumerate(dynamics) if isinstance(one, SGD) and not one.momentum]
        self.reference: int | None = plain[0] if plain else None
        has = {"reference"} if plain and len(dynamics) > 1 else set()
        if any(getattr(one, "momentum", 0.0) for one in dynamics):
            has.add("momentum")
        self.chosen = [p for p in PREDICTIONS if set(p.needs) <= has]
        self.elsewhere = [p for p in PREDICTIONS if set(p.needs) - RUNS]
        self.cards: list[Card] = []
        self._first: Evidence | None = None
        self._found: dict[tuple[str, int], Finding] = {}

    @property
    def order(self) -> list[int]:
        """Numbers of the dynamics, the reference first."""
        kinds = list(range(len(self.stored.names)))
        return kinds if self.reference is None else sorted(kinds, key=lambda k: k != self.reference)

    def begin(self, step_size: float) -> None:
        """The next rows are at this step size."""
        self.cards.append(Card(step_size))
        self._first, self._found = None, {}

    def take(self, row: Row) -> None:
        """Judge a row."""
        if not row.runs:
            return
        evidence = self._evidence(row)
        card, name = self.cards[-1], self.stored.names[row.kind]
        leads = row.kind == self.reference
        for prediction in self.chosen:
            for b in row.runs if prediction.per_batch_size else (ALL,):
                finding = prediction.find(evidence, b if prediction.per_batch_size else None)
                sign = ""
                if leads:
                    self._found[prediction.name, b] = finding
                elif (prediction.name, b) in self._found:
                    sign = agreement(prediction, finding, self._found[prediction.name, b])
                card.findings[prediction.name, name, b] = finding, sign
        card.diverged.update({(name, b): words for b in row.runs if (words := evidence.losses(b))})
        if leads:
            self._first = evidence

    def _evidence(self, row: Row) -> Evidence:
        grid = self.stored.grid
        eta = grid.step_size[row.step]
        prototype = grid.dynamics[self.stored.names[row.kind]]
        dynamics = with_values(prototype, eta, min(row.runs))
        given: dict[str, Any] = {
            "model": self.stored.losses[0], "dynamics": dynamics, "step_size": eta, "runs": row.runs,
            "sampling": getattr(dynamics, "sampling", "without_replacement"), "reference": self._first,
        }  # fmt: skip
        directions = [a for a in self.forms.directions if a is not None]
        if not directions:
            return SweptEvidence(**given)
        by_replica = {b: [directions[seed] for seed in places] for b, places in row.seeds.items()}
        return SweptEvidence(**given, directions=directions[0], by_replica=by_replica)
