"""How the gallery is made: the order of the examples, and where each writes the figure that it saves by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

ORDER = (
    "edge_of_stochastic_stability.py",
    "compare_models.py",
    "ask_the_theory.py",
    "score_card.py",
    "loss_from_a_formula.py",
    "property_test_a_claim.py",
    "watch_a_network.py",
)


class InOrder:
    """Sorts examples as a reader would take them; an example that is not listed is an error."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder

    def __call__(self, filename: Any) -> int:
        return ORDER.index(Path(filename).name)


def argument(gallery_conf: Any, script: dict[str, Any]) -> list[str]:
    """The argument of a script: a file to write to that is thrown away, since the gallery keeps the figure itself."""
    return [str(Path(tempfile.mkdtemp()) / f"{Path(script['src_file']).stem}.png")]
