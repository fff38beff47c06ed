"""Read a sweep once, row by row, for all that a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from .axes import GridAxis
from .closed_forms import ClosedForms
from .facts import Facts
from .levels import Levels
from .rows import Stored
from .scoring import Scoring
from .trajectories import Trajectories


@dataclass(frozen=True)
class Found:
    """What was read: numbers that are small, however long the runs are."""

    stored: Stored
    levels: Levels
    forms: ClosedForms
    scoring: Scoring
    paths: Trajectories
    facts: Facts


def read(stored: Stored, title: str | None = None) -> Found:
    """Levels, trajectories and score cards of a sweep."""
    grid = stored.grid
    levels, forms = Levels.of(stored), ClosedForms(stored)
    scoring = Scoring(stored, forms)
    paths = Trajectories(stored, scoring.order, GridAxis.of(grid.step_size), GridAxis.of(grid.batch_size))
    for step, step_size in enumerate(grid.step_size):
        scoring.begin(step_size)
        for kind in scoring.order:
            row = stored.row(step, kind)
            levels.take(row, step_size)
            paths.take(row)
            scoring.take(row)
    return Found(stored, levels, forms, scoring, paths, Facts(stored, levels, title))
