"""Phase diagrams: the plateau of a metric over (batch size, step size), a panel for each dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from ..arguments import FloatArray
from ..figure_style import COLUMN, PAGE, STYLE, figure_text
from .axes import GridAxis
from .closed_forms import CONSTANT, ClosedForms
from .levels import Levels

NAMES = {
    "batch_sharpness": r"Batch Sharpness $\times\;\eta/2$",
    "lambda_max": r"$\lambda_{\max}\;\eta/2$",
    "mean_square_sharpness": r"$S_{\mathrm{ms}}\;\eta/2$",
}
COLORS = "cividis"
TOP = 2.0  # levels beyond share one colour
ROOM, HEIGHT = 0.36, 0.09  # inches that a number in a cell needs
LOST: dict[str, Any] = {"facecolor": "0.9", "edgecolor": "0.35", "hatch": "xxxxx", "linewidth": 0.0}
MISSING: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.65", "hatch": ".....", "linewidth": 0.0}
EDGE_LINE: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.8, "linestyle": "-", "marker": "", "zorder": 5}
PAST = {"below": "edge below", "above": "edge above"}


@dataclass(frozen=True)
class PhaseDiagram:
    """What a phase diagram shows: levels of `metric` of the dynamics numbered `kinds`, with closed forms."""

    levels: Levels
    forms: ClosedForms
    metric: str
    kinds: list[int]
    step_axis: GridAxis
    size_axis: GridAxis

    def draw(self) -> Figure:
        """The figure, a column wide for one panel, else a page."""
        columns, width = self._layout()
        rows, strip = -(-len(self.kinds) // columns), self._strips
        tall = min(max(0.2 / self.step_axis.narrowest, 0.8), 2.0)  # a panel without its strip and labels
        with plt.rc_context(STYLE):
            figure, grid = plt.subplots(
                2 * rows, columns, figsize=(width, rows * (tall + 0.3 + 0.22 * strip) + 0.75), squeeze=False,
                sharex=True, layout="constrained", height_ratios=[0.22 if strip else 0.01, tall] * rows,
            )  # fmt: skip
            known = self.levels.middle(self.metric)[:, :, self.kinds]
            highest = float(np.nanmax(known, initial=1.0, where=~np.isnan(known)))
            scale = Normalize(0, min(TOP, max(1.05, highest)))
            numbers = self._fits(width, columns) and tall * self.step_axis.narrowest >= HEIGHT
            for k in range(rows * columns):
                head, body = grid[2 * (k // columns) : 2 * (k // columns) + 2, k % columns]
                head.set_axis_off()
                if k >= len(self.kinds):
                    body.set_axis_off()
                    continue
                self._panel(body, self.kinds[k], scale, numbers=numbers)
                self._strip(head, self.kinds[k], scale, numbers=numbers, label=k % columns == 0)
                last, first = k + columns >= len(self.kinds), k % columns == 0
                body.tick_params(labelbottom=last, labelleft=first)
                body.set(xlabel="batch size $b$" if last else "", ylabel=r"step size $\eta$" if first else "")
            self._color_bar(figure, grid, scale, highest > TOP)
            handles = self._legend()
            if handles:
                figure.legend(handles=handles, loc="outside lower center", ncols=4 if width > COLUMN else 2)
        return figure

    @property
    def _strips(self) -> bool:
        return any(np.isfinite(self._predicted(kind)).any() for kind in self.kinds)

    def _layout(self) -> tuple[int, float]:
        """Columns of panels and width: as many panels in a row as leave room for numbers, else four."""
        if len(self.kinds) == 1:
            return 1, COLUMN
        fits = [c for c in (4, 3, 2) if self._fits(PAGE, c)]
        return min(fits[0] if fits else 4, len(self.kinds)), PAGE

    def _fits(self, width: float, columns: int) -> bool:
        """Whether numbers fit into the narrowest cell of one of so many panels side by side."""
        return (width - 1.2) / columns * self.size_axis.narrowest >= ROOM

    def _predicted(self, kind: int) -> FloatArray:
        """Closed forms of the level at every batch size."""
        return np.array([self.forms.level(self.metric, kind, int(b)) for b in self.size_axis.values])

    def _panel(self, ax: Axes, kind: int, scale: Any, *, numbers: bool) -> None:
        values = self.levels.middle(self.metric)[:, :, kind][np.ix_(self.step_axis.order, self.size_axis.order)]
        colors = plt.colormaps[COLORS]
        x, y = self.size_axis.borders, self.step_axis.borders
        ax.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=colors, norm=scale, edgecolors="white", linewidth=0.4)
        self.size_axis.apply(ax, "x")
        self.step_axis.apply(ax, "y")
        for row, col in np.ndindex(values.shape):
            self._marks(ax, row, col, kind, float(values[row, col]), scale, numbers=numbers)
        for side in ("top", "right"):
            ax.spines[side].set_visible(True)
        self._edge(ax, kind)

    def _strip(self, ax: Axes, kind: int, scale: Any, *, numbers: bool, label: bool) -> None:
        """The name of the dynamics, above the closed form of its level at every batch size."""
        ax.set_title(figure_text(self.forms.stored.names[kind]), pad=3)
        predicted = self._predicted(kind)
        if np.isnan(predicted).all():
            return
        ax.set_axis_on()
        x = self.size_axis.borders
        shown = np.ma.masked_invalid(predicted[None])
        ax.pcolormesh(x, [0, 1], shown, cmap=COLORS, norm=scale, edgecolors="white", linewidth=0.4)
        ax.set_yticks([0.5], ["theory" if label else ""])
        ax.set_ylim(0, 1)
        ax.tick_params(left=False, bottom=False, labelbottom=False, pad=2)
        for side in ("top", "right"):
            ax.spines[side].set_visible(True)
        for k, value in enumerate(predicted):
            if numbers and np.isfinite(value):
                ax.text(self.size_axis.middles[k], 0.46, f"{value:.2f}", **_ink(value, scale))

    def _marks(self, ax: Axes, row: int, col: int, kind: int, value: float, scale: Any, *, numbers: bool) -> None:
        """The number in a cell, or why it has no colour."""
        place = self.step_axis.order[row], self.size_axis.order[col], kind
        x, y = self.size_axis.borders, self.step_axis.borders
        corner, sides = (x[col], y[row]), (x[col + 1] - x[col], y[row + 1] - y[row])
        lost, count = int(self.levels.lost[place]), int(self.levels.count[place])
        outlined = self.forms.kind == CONSTANT  # by the colour of the cell, where the edge is drawn across it
        middle = self.size_axis.middles[col], self.step_axis.middles[row]
        if count == 0:
            ax.add_patch(Rectangle(corner, *sides, **MISSING))
        elif 2 * lost > count:
            ax.add_patch(Rectangle(corner, *sides, **LOST))
        elif np.isnan(value):
            ax.text(*middle, "?", ha="center", va="center_baseline", fontsize=7)
        else:
            if numbers:
                ax.text(*middle, f"{value:.2f}", **_ink(value, scale, outlined=outlined))
            if lost:
                words = {**_ink(value, scale, outlined=outlined), "ha": "right", "va": "top", "fontsize": 5.5}
                ax.annotate(f"†{lost}", (x[col + 1], y[row + 1]), (-1.2, -1.2), textcoords="offset points", **words)

    def _edge(self, ax: Axes, kind: int) -> None:
        """The mean-square edge as a line between converging and diverging cells."""
        if self.forms.kind != CONSTANT:
            return
        low, high = self.size_axis.borders[0], self.size_axis.borders[-1]
        most = min(high, self.forms.stored.losses[0].samples)
        sizes = np.unique(np.geomspace(max(1, low), max(1, most), 30).round().astype(int))
        edges = np.array([self.forms.max_step_size(kind, int(b)) for b in sizes])
        bottom, top = self.step_axis.borders[0], self.step_axis.borders[-1]
        if np.isnan(edges).all():
            return
        if (edges < bottom).all() or (edges > top).all():
            words = PAST["below" if (edges < bottom).all() else "above"]
            ax.annotate(words, (0.97, 0.05 if "below" in words else 0.95), xycoords="axes fraction", fontsize=6.5,
                        ha="right", va="bottom" if "below" in words else "top", color=EDGE_LINE["color"],
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85})  # fmt: skip
            return
        flat = len(sizes) == 1
        ax.plot([low, high] if flat else sizes, np.repeat(edges, 2) if flat else edges, **EDGE_LINE)

    def _color_bar(self, figure: Figure, panels: Any, scale: Any, beyond: bool) -> None:
        bar = figure.colorbar(
            ScalarMappable(scale, COLORS), ax=list(panels.ravel()), extend="max" if beyond else "neither", aspect=25,
            fraction=0.05, pad=0.015,
        )  # fmt: skip
        assert bar.solids is not None
        bar.solids.set(rasterized=False, edgecolor="face")
        bar.set_label(NAMES[self.metric])
        bar.ax.axhline(1, color="black", linewidth=1.2)

    def _legend(self) -> list[Any]:
        """Entries for the marks that occur."""
        count = self.levels.count[:, :, self.kinds]
        lost = self.levels.lost[:, :, self.kinds]
        entries: list[Any] = []
        if (2 * lost > count).any():
            entries.append(Patch(**LOST, label="more than half diverged"))
        if (count == 0).any():
            entries.append(Patch(**MISSING, label="not computed"))
        if ((lost > 0) & (2 * lost <= count)).any():
            entries.append(Line2D([], [], linestyle="", label="†$k$: $k$ replicas diverged"))
        known = self.levels.middle(self.metric)[:, :, self.kinds]
        if (np.isnan(known) & (2 * lost <= count) & (count > 0)).any():
            entries.append(Line2D([], [], linestyle="", label="?: undefined, gradients vanish"))
        if self.forms.kind == CONSTANT and any(self.forms.options[k] is not None for k in self.kinds):
            entries.append(Line2D([], [], **EDGE_LINE, label=r"mean-square edge $\eta_{\max}(b)$"))
        return entries


def _ink(value: float, scale: Any, *, outlined: bool = False) -> dict[str, Any]:
    """A number in the middle of a cell, dark on light and light on dark."""
    cell = plt.colormaps[COLORS](scale(value))
    red, green, blue, _ = cell
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.45
    ink = {"ha": "center", "va": "center_baseline", "fontsize": 6.5, "color": "black" if light else "white"}
    return ink | {"path_effects": [withStroke(linewidth=1.6, foreground=cell)], "zorder": 6} if outlined else ink
