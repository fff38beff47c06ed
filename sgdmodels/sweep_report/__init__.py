"""The report of a sweep: one self-contained page, and figures with captions for a paper.

`write_report` reads a store row by row, never the whole of it, and draws phase diagrams of plateaus with the edges of
theory, plateaus against the batch size, trajectories, and score cards.
"""

from .write import write_report

__all__ = ["write_report"]
