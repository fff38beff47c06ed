"""The plateaus as a table: one line for each step size, batch size, dynamics and metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from .closed_forms import ClosedForms
from .levels import Levels
from .rows import Stored

COLUMNS = (
    "step_size", "batch_size", "dynamics", "metric", "seeds", "replicas", "diverged", "level", "low", "high",
    "closed_form", "level_over_closed_form", "max_step_size",
)  # fmt: skip


def table(stored: Stored, levels: Levels, forms: ClosedForms) -> str:
    """Levels are step_size * metric / 2, so that the edge 2 / step_size is 1; what is not known is empty.

    seeds: those that are computed; replicas: runs of all of them. low, high: 10th and 90th percentile over survivors.
    max_step_size: the mean-square edge where Hessians are constant.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_lines(stored, levels, forms))
    return text.getvalue()


def _lines(stored: Stored, levels: Levels, forms: ClosedForms) -> Iterator[list[str]]:
    grid = stored.grid
    found = {m: (levels.middle(m), *levels.interval(m)) for m in levels.metrics}
    for step, size, kind in np.ndindex(*grid.shape[:3]):
        b = grid.batch_size[size]
        head = [repr(grid.step_size[step]), str(b), stored.names[kind]]
        counts = [stored.whole[step, size, kind].sum(), levels.count[step, size, kind], levels.lost[step, size, kind]]
        for metric, parts in found.items():
            level, low, high = (part[step, size, kind] for part in parts)
            expected = forms.level(metric, kind, b)
            ratio = level / expected
            numbers = [float(x) for x in (level, low, high, expected, ratio, forms.max_step_size(kind, b))]
            yield [*head, metric, *map(str, counts), *("" if np.isnan(x) else f"{x:.9g}" for x in numbers)]
