"""Trajectories: a metric against steps, at a few step sizes (rows) and batch sizes (columns), all dynamics in one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..arguments import FloatArray
from ..figure_style import COLUMN, PAGE, STYLE, figure_text, looks
from ..plot import EDGE
from .axes import GridAxis, chosen
from .phase_diagram import NAMES
from .rows import Row, Stored

ROWS, COLUMNS, POINTS, TOP = 3, 4, 300, 2.2
BEYOND: dict[str, Any] = {
    "linestyle": "", "marker": "^", "markersize": 3.6, "markerfacecolor": "white", "markeredgewidth": 0.9, "zorder": 6,
}  # fmt: skip
SMOOTH = 60  # records over this are the width of the running median


@dataclass
class Trajectories:
    """Median paths of the panels that are shown, read row by row: a few hundred numbers a line, whatever the run."""

    stored: Stored
    order: list[int]
    step_axis: GridAxis
    size_axis: GridAxis
    paths: dict[tuple[str, int, int, int], tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        """Places of the step sizes that are shown."""
        return [int(self.step_axis.order[k]) for k in chosen(len(self.step_axis.values), ROWS)]

    @property
    def sizes(self) -> list[int]:
        """Places of the batch sizes that are shown."""
        return [int(self.size_axis.order[k]) for k in chosen(len(self.size_axis.values), COLUMNS)]

    def take(self, row: Row) -> None:
        """Keep the median paths of a row that is shown."""
        grid = self.stored.grid
        if row.step not in self.steps:
            return
        for place in self.sizes:
            run = row.runs.get(grid.batch_size[place])
            if run is None:
                continue
            alive = np.isnan(run.diverged_at.values)
            for metric in NAMES:
                if metric in run and 2 * alive.sum() >= len(alive):
                    values = run[metric].values[alive] * grid.step_size[row.step] / 2
                    self.paths[metric, row.step, place, row.kind] = median_path(run.step.values, values)

    def draw(self, metric: str) -> Figure:
        steps, sizes = self.steps, self.sizes
        grid = self.stored.grid
        width = COLUMN if len(sizes) < 2 else PAGE
        with plt.rc_context(STYLE):
            figure, panels = plt.subplots(
                len(steps), len(sizes), figsize=(width, 1.25 * len(steps) + 0.95), squeeze=False, sharex=True,
                sharey=True, layout="constrained",
            )  # fmt: skip
            styles = looks(self.stored.names_in(self.order))
            for row, step in zip(panels, reversed(steps), strict=True):
                for ax, size in zip(row, sizes, strict=True):
                    for k, kind in reversed(list(enumerate(self.order))):
                        path = self.paths.get((metric, step, size, kind))
                        if path is not None:
                            look = styles[self.stored.names[kind]]
                            ax.plot(*path, color=look["color"], linestyle=look["linestyle"], **_weight(k))
                    ax.axhline(1, **EDGE)
                    self._note(ax, step, size)
                    for k, kind in enumerate(self._beyond(metric, step, size)):
                        color = styles[self.stored.names[kind]]["color"]
                        ax.plot(0.97 - 0.06 * k, 0.94, **BEYOND, color=color, transform=ax.transAxes)
                row[0].set_ylabel(rf"$\eta = {grid.step_size[step]:g}$")
            for ax, size in zip(panels[0], sizes, strict=True):
                ax.set_title(f"$b = {grid.batch_size[size]}$", loc="left")
            panels[0, 0].set_ylim(0, self._top(metric))
            thousands = grid.steps >= 5000
            panels[0, 0].set_xlim(0, grid.steps)
            for ax in panels[-1]:
                ax.set_xlabel(r"step / $10^3$" if thousands else "step")
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, prune="upper" if len(sizes) > 2 else None))
                if thousands:
                    ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}")
            figure.supylabel(NAMES[metric], fontsize=8)
            figure.legend(
                handles=self._legend(metric, styles), loc="outside lower center", ncols=5 if width > COLUMN else 2
            )
        return figure

    def _top(self, metric: str) -> float:
        highest = [np.nanmax(path[1], initial=1.0) for key, path in self.paths.items() if key[0] == metric]
        return float(min(TOP, 1.08 * max([1.1, *highest])))

    def _beyond(self, metric: str, step: int, size: int) -> list[int]:
        """Dynamics whose line ends above the panel."""
        ends = {kind: self.paths.get((metric, step, size, kind)) for kind in self.order}
        return [kind for kind, path in ends.items() if path is not None and _end(path[1]) > self._top(metric)]

    def _note(self, ax: Any, step: int, size: int) -> None:
        """How many dynamics have no line here."""
        whole = self.stored.whole[step, size][self.order].any(axis=-1)
        known = [(k, any(key[1:] == (step, size, kind) for key in self.paths)) for k, kind in enumerate(self.order)]
        lost = sum(bool(whole[k]) and not drawn for k, drawn in known)
        missing = int((~whole).sum())
        words = [f"{lost} of {len(known)} models diverged"] * bool(lost)
        words += [f"{missing} of {len(known)} not computed"] * bool(missing)
        if words:
            ax.set_title(", ".join(words), loc="right", fontsize=6.5, pad=2)

    def _legend(self, metric: str, styles: dict[str, dict[str, Any]]) -> list[Any]:
        lines = [
            Line2D([], [], color=s["color"], linestyle=s["linestyle"], label=figure_text(name), **_weight(k))
            for k, (name, s) in enumerate(styles.items())
        ]
        lines.append(Line2D([], [], **EDGE, label=r"$2/\eta$"))
        if any(self._beyond(metric, step, size) for step in self.steps for size in self.sizes):
            lines.append(Line2D([], [], **BEYOND, color="0.3", label="ends above the panel"))
        return lines


def _weight(place: int) -> dict[str, Any]:
    """The first dynamics is broad and below the others, so that those that follow it closely are seen."""
    return {"linewidth": 0.9 if place else 2.0, "zorder": 3 if place else 2.5}


def _end(path: FloatArray) -> float:
    """Last known value; NaN without one."""
    known = path[np.isfinite(path)]
    return float(known[-1]) if len(known) else np.nan


def median_path(steps: np.ndarray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Steps and running median of the median over replicas, (replica, step), at a few hundred points."""
    import xarray as xr

    known = np.isfinite(values).any(axis=0)
    middle = np.full(values.shape[1], np.nan)
    middle[known] = np.nanmedian(values[:, known], axis=0)
    width = max(1, len(middle) // SMOOTH)
    smooth = xr.DataArray(middle, dims="step").rolling(step=width, center=True, min_periods=1).median().values
    kept = chosen(len(steps), POINTS)
    return steps[kept].astype(float), smooth[kept]
