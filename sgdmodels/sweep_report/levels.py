"""Where every run of a sweep settles, collected row by row: a few numbers for each cell, whatever its length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..arguments import FloatArray
from .rows import Row, Stored

if TYPE_CHECKING:
    import xarray as xr

LEVELS = ("batch_sharpness", "lambda_max", "mean_square_sharpness")
WINDOW = 0.4  # share of the steps, the last ones, that a plateau is read from
LEAST = 3  # records that a median needs
SPREAD = (0.1, 0.9)  # quantiles over replicas that intervals show


@dataclass
class Levels:
    """step_size * metric / 2 of every replica: `values[metric]` (step_size, batch_size, dynamics, replica and seed).

    NaN where a replica diverged or was not computed. `lost` and `count` (step_size, batch_size, dynamics): replicas
    that diverged, and those that were computed. `broken` (step_size, batch_size, dynamics, seed): cells with any that
    diverged.
    """

    values: dict[str, FloatArray]
    lost: np.ndarray
    count: np.ndarray
    broken: np.ndarray
    batch_sizes: tuple[int, ...]
    metrics: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = list(self.values)

    @classmethod
    def of(cls, stored: Stored) -> Levels:
        """Room for all levels of a sweep."""
        grid = stored.grid
        shape = grid.shape[:3]
        each = len(grid.seed) * len(grid.replicas)
        room = {name: np.full((*shape, each), np.nan) for name in LEVELS if name in stored.metrics}
        return cls(room, np.zeros(shape, int), np.zeros(shape, int), np.zeros(grid.shape, bool), grid.batch_size)

    def take(self, row: Row, step_size: float) -> None:
        """Read the levels of a row."""
        for b, run in row.runs.items():
            place = row.step, self.batch_sizes.index(b), row.kind
            alive = np.isnan(run.diverged_at.values)
            self.count[place], self.lost[place] = len(alive), int((~alive).sum())
            self.broken[place][row.seeds[b][~alive]] = True
            for name, values in self.values.items():
                values[place][: len(alive)][alive] = step_size / 2 * late_medians(run, name)[alive]

    def diverged(self) -> np.ndarray:
        """Cells of which more than half of the replicas diverged: their levels are not shown."""
        return 2 * self.lost > self.count

    def middle(self, metric: str) -> FloatArray:
        """Median over surviving replicas; NaN where more than half diverged, or nothing is known."""
        return self._quantile(metric, 0.5)

    def interval(self, metric: str) -> tuple[FloatArray, FloatArray]:
        """10th and 90th percentile over surviving replicas."""
        return self._quantile(metric, SPREAD[0]), self._quantile(metric, SPREAD[1])

    def _quantile(self, metric: str, share: float) -> FloatArray:
        values = self.values[metric]
        known = np.isfinite(values).any(axis=-1) & ~self.diverged()
        found = np.full(values.shape[:-1], np.nan)
        found[known] = np.nanquantile(values[known], share, axis=-1)
        return found


def late_medians(run: xr.Dataset, metric: str) -> FloatArray:
    """Median over the last 40 % of the steps of each replica; NaN for fewer than 3 records."""
    steps = run.step.values
    late = run[metric].values[:, steps >= (1 - WINDOW) * steps[-1]]
    enough = np.isfinite(late).sum(axis=1) >= min(LEAST, late.shape[1])
    medians = np.full(len(late), np.nan)
    medians[enough] = np.nanmedian(late[enough], axis=1)
    return medians
