"""Axes of a grid: where cells begin and end, which ticks they get, and whether they are logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..arguments import FloatArray

TICKS = 9  # at most


@dataclass(frozen=True)
class GridAxis:
    """The distinct values of one axis in increasing order; `order` are their places in the grid."""

    values: FloatArray
    order: np.ndarray
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> GridAxis:
        """Logarithmic unless the differences of the values vary less than their ratios.

        >>> GridAxis.of([0.1, 0.4, 0.2]).logarithmic, GridAxis.of([1, 2, 3, 4, 5]).logarithmic
        (True, False)
        """
        order = np.argsort(values)
        points = np.asarray(values, float)[order]
        steps, ratios = np.diff(points), np.diff(np.log(points))
        even = len(points) > 2 and np.std(steps) / np.mean(steps) < np.std(ratios) / np.mean(ratios)
        return cls(points, order, not even)

    @property
    def borders(self) -> FloatArray:
        """Ends of the cells, midway between values (on the axis as it is drawn).

        >>> GridAxis.of([1.0, 2.0, 3.0]).borders.tolist(), GridAxis.of([4.0]).borders.round(3).tolist()
        ([0.5, 1.5, 2.5, 3.5], [2.828, 5.657])
        """
        points = np.log(self.values) if self.logarithmic else self.values
        if len(points) == 1:
            half = np.log(2) / 2
            return np.exp(points + np.array([-half, half]))
        middle = (points[1:] + points[:-1]) / 2
        ends = np.concatenate([[2 * points[0] - middle[0]], middle, [2 * points[-1] - middle[-1]]])
        return np.exp(ends) if self.logarithmic else ends

    @property
    def middles(self) -> FloatArray:
        """Middles of the cells as they are drawn, which are not the values where these are unevenly spaced.

        >>> GridAxis.of([1.0, 2.0, 4.0, 32.0]).middles.round(3).tolist()
        [1.0, 2.0, 5.657, 32.0]
        """
        ends = np.log(self.borders) if self.logarithmic else self.borders
        middles = (ends[1:] + ends[:-1]) / 2
        return np.exp(middles) if self.logarithmic else middles

    @property
    def narrowest(self) -> float:
        """Share of the axis that its narrowest cell has.

        >>> GridAxis.of([1.0, 2.0, 3.0, 4.0]).narrowest, round(GridAxis.of([1.0, 2.0, 8.0]).narrowest, 3)
        (0.25, 0.222)
        """
        ends = np.log(self.borders) if self.logarithmic else self.borders
        widths = np.diff(ends)
        return float(widths.min() / widths.sum())

    def ticks(self, most: int = TICKS) -> FloatArray:
        """Values that get a tick: all, or every second, third, ... where there are many."""
        every = -(-len(self.values) // most)
        return self.values[::every]

    def apply(self, ax: Axes, which: str, most: int = TICKS) -> None:
        """Scale, limits and ticks of the "x" or "y" axis of `ax`."""
        ticks: Any = self.ticks(most)
        names = [f"{value:.3g}" if value < 1000 else f"{value:g}" for value in ticks]
        for_x = which == "x"
        scale, limits = (ax.set_xscale, ax.set_xlim) if for_x else (ax.set_yscale, ax.set_ylim)
        scale("log" if self.logarithmic else "linear")
        limits(self.borders[0], self.borders[-1])
        (ax.set_xticks if for_x else ax.set_yticks)(ticks, names)
        (ax.xaxis if for_x else ax.yaxis).set_minor_locator(_none())


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def chosen(count: int, most: int) -> list[int]:
    """At most `most` places out of `count`, evenly spaced, with both ends.

    >>> chosen(7, 3), chosen(2, 5)
    ([0, 3, 6], [0, 1])
    """
    return sorted({round(x) for x in np.linspace(0, count - 1, min(count, most)).tolist()})
