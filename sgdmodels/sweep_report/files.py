"""Figures as files: PDF for papers, SVG inside the page; equal stores give equal bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from ..figure_style import STYLE
from ..version import __version__
from .captions import latex_text
from .facts import Facts
from .gallery import Drawing
from .page import Shown

SVG_MOST = 1_500_000  # bytes, beyond which a page gets a bitmap
SHARP = 220  # dots per inch of a bitmap


def pdf(drawing: Drawing, facts: Facts, folder: Path) -> Path:
    """Write the vector figure with its caption and origin as metadata."""
    about = {
        "Title": drawing.title, "Subject": drawing.caption.plain,
        "Keywords": f"identity {facts.identity}; command: {facts.command}", "Creator": f"sgdmodels {__version__}",
        "CreationDate": None,
    }  # fmt: skip
    path = folder / f"{drawing.name}.pdf"
    with plt.rc_context(STYLE):
        drawing.figure.savefig(path, metadata=about)
        drawing.figure.set_layout_engine("none")  # laid out by now: other formats keep it
    return path


def embedded(drawing: Drawing) -> str:
    """The figure as a data URI."""
    buffer = io.BytesIO()
    with plt.rc_context(STYLE):
        drawing.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        kind = "svg+xml"
        if buffer.tell() > SVG_MOST:
            buffer, kind = io.BytesIO(), "png"
            drawing.figure.savefig(buffer, format="png", dpi=SHARP, metadata={"Software": None})
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def captions(drawings: Sequence[Shown], facts: Facts) -> str:
    r"""A figure environment with \caption and \label for each figure, to be copied or \input."""
    lines = [
        f"% Figures of the sweep {facts.identity}, written by: {latex_text(facts.command)}",
        r"% Needs \usepackage{graphicx}. One-column figures are 3.4 in wide, others 7.0 in.", "",
    ]  # fmt: skip
    for drawing in drawings:
        environment = "figure*" if drawing.wide else "figure"
        lines += [
            rf"\begin{{{environment}}}", r"\centering", rf"\includegraphics{{figures/{drawing.name}.pdf}}",
            rf"\caption{{{drawing.caption.latex}}}", rf"\label{{fig:{drawing.name.replace('_', '-')}}}",
            rf"\end{{{environment}}}", "",
        ]  # fmt: skip
    return "\n".join(lines)
