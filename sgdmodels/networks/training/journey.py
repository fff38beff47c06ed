"""How far runs have come for good, in memory and on disk, so that neither Ctrl-C nor a kill loses more than a chunk."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...arguments import real
from ...errors import InvalidArgument
from ...simulate import Run
from . import run_file


class Journey:
    """The state of `runs` at the last border of a chunk; what is on disk is taken up at the start."""

    def __init__(self, runs: Sequence[Run], checkpoint: Any, seconds: Any) -> None:
        self.runs = runs
        self.warm: list[dict[str, Any]] = [{} for _ in runs]
        self.seconds = real("checkpoint_seconds", seconds)
        self.step, self.done = 0, 0
        self.file = None
        if checkpoint is not None:
            if not isinstance(checkpoint, str | os.PathLike):
                raise InvalidArgument(f"checkpoint must be the path of a file, got {checkpoint!r}")
            self.file = Path(checkpoint)
            if self.file.exists():
                self.step, self.done = run_file.load(self.file, runs, self.warm)
        self.state = run_file.state_of(runs, self.warm, self.step, self.done)
        self.saved = time.perf_counter()
        if self.file is not None and not self.file.exists():
            try:
                run_file.save(self.file, runs, self.state)  # a place that cannot be written to is found out now
            except OSError as problem:
                raise InvalidArgument(
                    f"checkpoint {self.file} cannot be written ({problem}); choose another place"
                ) from problem

    def at_border(self, step: int, done: int) -> None:
        """Remember this state; write it if it is time."""
        self.state = run_file.state_of(self.runs, self.warm, step, done)
        if time.perf_counter() - self.saved >= self.seconds:
            self.finish()

    def finish(self) -> None:
        """Write the last state; where that fails the run goes on, and the file that was there stays."""
        if self.file is None:
            return
        try:
            run_file.save(self.file, self.runs, self.state)
        except OSError as problem:
            warnings.warn(f"checkpoint {self.file} could not be written: {problem}; the run goes on", stacklevel=3)
        self.saved = time.perf_counter()
