"""Commands run in this process, with what they print on either stream."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdmodels.cli import app

GRID = """step_size = [0.2, 0.4]
batch_size = [2, 8]
steps = 200
[recipe]
use = "gated_quadratic"
[dynamics.SGD]
use = "SGD"
[dynamics.GD]
use = "GD"
"""
RUN = """steps = 640
replicas = 2
[recipe]
use = "gated_quadratic"
[dynamics]
use = "SGD"
batch_size = 8
"""
CARD = """steps = 1000
replicas = 2
interventions = false
predictions = ["B1", "B2"]
[recipe]
use = "gated_quadratic"
[reference]
use = "SGD"
batch_size = 8
[candidates.GD]
use = "GD"
"""


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output, which is one JSON document without NaN."""

        def refused(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refused)


def run(*arguments: str | Path) -> Answer:
    """`sgdmodels ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([str(argument) for argument in arguments], prog_name="sgdmodels")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def written(path: Path, text: str) -> Path:
    """A document."""
    path.write_text(text)
    return path


def listing(folder: Path) -> set[tuple[str, int]]:
    """Everything below a folder, with its size."""
    return {(str(p.relative_to(folder)), p.stat().st_size if p.is_file() else -1) for p in folder.rglob("*")}
