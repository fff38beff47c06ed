"""What a report reads of a store: one row (a step size, a dynamics) after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import Model
from ..sweeps import Grid, open_sweep
from ..sweeps.cell import Cell, loss_and_start
from ..sweeps.journal import entries
from ..sweeps.store import Store

if TYPE_CHECKING:
    import xarray as xr

READ = ("diverged_at", "loss", "gradient_norm", "batch_sharpness", "lambda_max", "gni", "mean_square_sharpness")
AT_A_TIME = 2**26  # bytes of records in memory


@dataclass(frozen=True)
class Row:
    """The finished cells of one dynamics at one step size: by batch size its runs of all seeds, side by side.

    `seeds[b]`: for each replica of `runs[b]`, the place of its seed in the grid.
    """

    step: int
    kind: int
    runs: dict[int, xr.Dataset]
    seeds: dict[int, np.ndarray]


class Stored:
    """A sweep on disk with its grid. `trusted`: packages from which its losses and dynamics may be imported."""

    def __init__(self, path: Any, trusted: tuple[str, ...]) -> None:
        self.store = Store(path)
        self.grid: Grid = self.store.grid(trusted)
        self.sweep = open_sweep(path)
        self.whole: np.ndarray = self.sweep.finished.values
        self.names = list(self.grid.dynamics)

    def names_in(self, order: list[int]) -> list[str]:
        """Names of the dynamics with these numbers."""
        return [self.names[kind] for kind in order]

    @property
    def name(self) -> str:
        """The folder of the store, without where it is."""
        return self.store.path.resolve().name

    @property
    def metrics(self) -> list[str]:
        """What was recorded, of what a report knows."""
        return [name for name in READ if name in self.sweep]

    @cached_property
    def losses(self) -> list[Model]:
        """The loss of each seed; one and the same where seeds share it."""
        first = next(self.grid.cells())
        cells = [Cell(first.step_size, first.batch_size, first.dynamics, seed) for seed in range(len(self.grid.seed))]
        return [loss_and_start(self.grid.job(cell), self.grid.arrays)[0] for cell in cells]

    @cached_property
    def failed(self) -> list[tuple[str, str]]:
        """Cells that failed and are not there since, with the last reason."""
        done = self.store.finished()
        last = {
            line["cell"]: str(line.get("why", "")) for line in entries(self.store.path) if line["event"] == "failed"
        }
        return sorted((name, why) for name, why in last.items() if name not in done)

    @cached_property
    def cells_done(self) -> int:
        """Cells of the grid that are whole."""
        done = self.store.finished()
        return sum(cell.name in done for cell in self.grid.cells())

    def row(self, step: int, kind: int) -> Row:
        """Read one row."""
        sizes = [k for k in range(len(self.grid.batch_size)) if self.whole[step, k, kind].any()]
        runs: dict[int, xr.Dataset] = {}
        seeds: dict[int, np.ndarray] = {}
        records = self.sweep.sizes["step"] * self.sweep.sizes["replica"] * len(self.grid.seed)
        share = max(1, AT_A_TIME // (8 * records * len(self.metrics)))
        for first in range(0, len(sizes), share):
            chosen = sizes[first : first + share]
            part = self.sweep[self.metrics].isel(step_size=step, dynamics=kind, batch_size=chosen).load()
            for place, k in enumerate(chosen):
                b = self.grid.batch_size[k]
                there = np.flatnonzero(self.whole[step, k, kind])
                runs[b] = side_by_side(part.isel(batch_size=place, seed=there))
                seeds[b] = np.repeat(there, self.sweep.sizes["replica"])
        return Row(step, kind, runs, seeds)


def side_by_side(cells: xr.Dataset) -> xr.Dataset:
    """Replicas of all seeds as replicas of one run."""
    import xarray as xr

    variables = {}
    for name, values in cells.data_vars.items():
        dims = ("replica", "step")[: values.ndim - 1]
        ordered = values.transpose("seed", *dims).values
        variables[str(name)] = (dims, ordered.reshape(-1, *ordered.shape[2:]))
    return xr.Dataset(variables, {"step": cells.step.values})
