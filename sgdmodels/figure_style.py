"""One look for all figures that go into papers: sizes, fonts, and a colour, marker and line for every dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLUMN, PAGE = 3.4, 7.0  # widths in inches, of one column and of two
LONGEST_NAME = 28  # characters of a name in a figure
STYLE: Any = {
    "font.size": 8, "font.family": ["STIXGeneral", "DejaVu Serif", "DejaVu Sans"], "mathtext.fontset": "stix",
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 8, "axes.linewidth": 0.6,
    "axes.axisbelow": True, "legend.fontsize": 7.5, "legend.frameon": False, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4, "hatch.linewidth": 0.6,
    "lines.markersize": 4, "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "sgdmodels",
    "path.simplify": True, "text.usetex": False, "savefig.bbox": None, "figure.dpi": 100, "savefig.dpi": "figure",
}  # fmt: skip
# Colours that colour-blind readers tell apart; the order is also one of lightness in print without colour.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#7F7F7F", "#332288")
MARKERS = "osD^v<>phX*P"
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each name; no two of the first sixty share all three, and the first is black."""
    return {
        name: {
            "color": COLORS[k % len(COLORS)],
            "marker": MARKERS[k % len(MARKERS)],
            "linestyle": LINES[(k + k // len(COLORS)) % len(LINES)],
        }
        for k, name in enumerate(names)
    }


def figure_text(name: str) -> str:
    r"""A name as matplotlib shows it letter for letter: no mathematics, one line, not too long, never hidden.

    >>> figure_text("a$b$"), figure_text("_SGD")
    ('a\\$b\\$', ' _SGD')
    """
    words = " ".join(name.split())
    short = words if len(words) <= LONGEST_NAME else words[: LONGEST_NAME - 1] + "…"
    return (" " + short if short.startswith("_") else short).replace("$", r"\$")
