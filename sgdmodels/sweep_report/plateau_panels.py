"""Plateaus against the batch size: a column for each step size, a row for each metric, a colour for each dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..figure_style import COLUMN, PAGE, STYLE, figure_text, looks
from ..plot import EDGE
from .axes import GridAxis, chosen
from .closed_forms import ClosedForms
from .levels import Levels
from .phase_diagram import NAMES

COLUMNS, TOP = 5, 2.5
BEYOND = 1.03  # where marks of what the panel cannot show stand, as a share of its height


@dataclass(frozen=True)
class PlateauPanels:
    """Levels of all metrics at some step sizes, with closed forms."""

    levels: Levels
    forms: ClosedForms
    order: list[int]
    step_axis: GridAxis
    size_axis: GridAxis

    @property
    def steps(self) -> list[int]:
        """Places of the step sizes that are shown."""
        return [int(self.step_axis.order[k]) for k in chosen(len(self.step_axis.values), COLUMNS)]

    def draw(self) -> Figure:
        steps, metrics = self.steps, self.levels.metrics
        width = COLUMN if len(steps) == 1 else PAGE
        with plt.rc_context(STYLE):
            figure, grid = plt.subplots(
                len(metrics), len(steps), figsize=(width, 1.5 * len(metrics) + 0.85), squeeze=False, sharex=True,
                sharey=True, layout="constrained",
            )  # fmt: skip
            top = self._top()
            for row, metric in zip(grid, metrics, strict=True):
                for ax, step in zip(row, steps, strict=True):
                    self._panel(ax, metric, step, top)
                row[0].set_ylabel(NAMES[metric])
            for ax, step in zip(grid[0], steps, strict=True):
                ax.set_title(rf"$\eta = {self.forms.stored.grid.step_size[step]:g}$", pad=9)
            for ax in grid[-1]:
                self.size_axis.apply(ax, "x", 6 if len(steps) > 3 else 9)
                ax.set_xlabel("batch size $b$")
            figure.legend(handles=self._legend(), loc="outside lower center", ncols=4 if width > COLUMN else 2)
        return figure

    def _top(self) -> float:
        """Upper end of the panels."""
        ends = [np.nanmax(self.levels.interval(m)[1], initial=1.0) for m in self.levels.metrics]
        return float(min(TOP, 1.08 * max(1.05, *ends)))

    def _panel(self, ax: Axes, metric: str, step: int, top: float) -> None:
        sizes = self.size_axis.values
        styles = looks(self.forms.stored.names_in(self.order))
        middle, (low, high) = self.levels.middle(metric), self.levels.interval(metric)
        self._closed_forms(ax, metric)
        shift = np.linspace(-0.22, 0.22, len(self.order)) if len(self.order) > 1 else np.zeros(1)
        borders = np.log(self.size_axis.borders) if self.size_axis.logarithmic else self.size_axis.borders
        for k, kind in enumerate(self.order):
            style = styles[self.forms.stored.names[kind]]
            at, ends = middle[step, self.size_axis.order, kind], self.size_axis.order
            bars = np.abs(np.array([low[step, ends, kind], high[step, ends, kind]]) - at)
            x = np.log(sizes) if self.size_axis.logarithmic else sizes
            x = x + shift[k] * np.diff(borders)
            x = np.exp(x) if self.size_axis.logarithmic else x
            shown = at <= top
            ax.errorbar(
                x[shown], at[shown], bars[:, shown], **style, linewidth=0.8, elinewidth=0.8, capsize=1.2,
                markersize=3.2, markerfacecolor="white" if k else "black", markeredgewidth=0.8, zorder=4 if k else 5,
            )  # fmt: skip
            lost = self.levels.diverged()[step, ends, kind]
            for marker, which in (("x", lost), ("^", at > top)):
                if not which.any():
                    continue
                ax.plot(
                    x[which], np.full(which.sum(), BEYOND * top), linestyle="", marker=marker, markersize=3.2,
                    color=style["color"], clip_on=False, markerfacecolor="none", markeredgewidth=0.8,
                )  # fmt: skip
        ax.axhline(1, **EDGE)
        ax.set_ylim(0, top)

    def _closed_forms(self, ax: Axes, metric: str) -> None:
        """Every distinct closed form once, in the colour of the first dynamics that has it."""
        first, last = self.size_axis.values[[0, -1]]
        sizes = np.unique(np.geomspace(first, last, 25).round().astype(int)) if last > first else np.array([first])
        drawn: list[np.ndarray] = []
        styles = looks(self.forms.stored.names_in(self.order))
        for kind in self.order:
            values = np.array([self.forms.level(metric, kind, int(b)) for b in sizes])
            if np.isfinite(values).any() and not any(np.allclose(values, one) for one in drawn):
                drawn.append(values)
                marker = "_" if len(sizes) == 1 else ""
                ax.plot(sizes, values, color=styles[self.forms.stored.names[kind]]["color"], linewidth=3.2, alpha=0.28,
                        zorder=0, marker=marker, markersize=14, markeredgewidth=3.2, solid_capstyle="butt")  # fmt: skip

    def _legend(self) -> list[Any]:
        styles = looks(self.forms.stored.names_in(self.order))
        entries = [
            Line2D([], [], **style, linewidth=0.8, markersize=3.2, markeredgewidth=0.8, label=figure_text(name),
                   markerfacecolor="white" if k else "black")
            for k, (name, style) in enumerate(styles.items())
        ]  # fmt: skip
        if any(np.isfinite(self.forms.level(m, k, int(self.size_axis.values[0])))
               for m in self.levels.metrics for k in self.order):  # fmt: skip
            entries.append(Line2D([], [], color="black", linewidth=3.2, alpha=0.28, label="closed form, same colour"))
        entries.append(Line2D([], [], **EDGE, label=r"$2/\eta$"))
        shown = np.ix_(self.steps, range(len(self.size_axis.values)), self.order)
        if self.levels.diverged()[shown].any():
            entries.append(Line2D([], [], linestyle="", marker="x", markersize=3.2, color="0.3",
                                  label="more than half diverged"))  # fmt: skip
        top = self._top()
        if any((self.levels.middle(m)[shown] > top).any() for m in self.levels.metrics):
            entries.append(Line2D([], [], linestyle="", marker="^", markersize=3.2, color="0.3", markerfacecolor="none",
                                  label="beyond the panel"))  # fmt: skip
        return entries
