"""How far runs have come for good, in memory and on disk, so that neither Ctrl-C nor a kill loses more than a chunk."""

from __future__ import annotations

import glob
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import run_file
from .arguments import real
from .errors import InvalidArgument
from .run_file import Border
from .run_identity import check_same, identity
from .warm_starts import gathered, hand_out

if TYPE_CHECKING:
    from .simulate import Run

WRITING_SHARE = 0.05  # of the time, at most, goes into writing
STALE_SECONDS = 600.0  # a half-written file this old was left by a writer that was killed


class Journey:
    """Where `runs` stood at the last border of a chunk, which a file holds; what is on disk is taken up at the start.

    Only borders that a longer run has as well are kept (`Run.last_border`), so that a run may be taken up to be made
    longer. checkpoint: the file to write, taken up if it is there. resume: a file to take up, and to write unless
    checkpoint says otherwise. Of two files the one that is further along is taken up. Without both nothing is written.
    """

    def __init__(self, runs: Sequence[Run], checkpoint: Any = None, seconds: Any = 60.0, resume: Any = None) -> None:
        self.runs = list(runs)
        self.workers: list[Any] = []
        self.seconds = real("checkpoint_seconds", seconds)
        source = _path("resume", resume)
        self.file = source if checkpoint is None else _path("checkpoint", checkpoint)
        self.border = Border(self.runs[0].first_step, 0, self._carried(), tuple({} for _ in self.runs))
        self.written, self.cost, self.on_disk = time.perf_counter(), 0.0, -1  # when, seconds, step
        if self.file is None:
            return
        self.identity = identity(self.runs)
        found = self._found(source)
        if found:
            furthest = max(found, key=lambda stored: stored.border.step)
            furthest.put_into(self.runs)
            self.border = furthest.border
        self._begin(self.file)

    def _found(self, source: Path | None) -> list[run_file.Stored]:
        """The files to take up, known to belong to these runs."""
        if source is not None and not source.exists():
            raise InvalidArgument(
                f"resume {source} is not there; give a file that checkpoint= wrote, or checkpoint= alone to begin a "
                "run that can be resumed"
            )
        assert self.file is not None
        found = []
        for path in dict.fromkeys((source, self.file)):
            if path is None or not path.exists():
                continue
            stored = run_file.load(path)
            check_same(path, stored.identity, self.identity, any_length=path == source)
            if stored.border.step > self.runs[0].steps:
                raise InvalidArgument(
                    f"steps must be at least {stored.border.step}, where resume {path} stands, got {self.runs[0].steps}"
                )
            stored.check_fits(self.runs)
            found.append(stored)
        return found

    def _begin(self, path: Path) -> None:
        """Write what there is: a place that cannot be written to is found out now."""
        with suppress(OSError):
            for half in path.parent.glob(f"{glob.escape(path.name)}.*-{'[0-9a-f]' * 8}.part"):
                if time.time() - half.stat().st_mtime > STALE_SECONDS:
                    half.unlink()
        if path.exists():
            self._write(path)
            return
        try:
            self._save(path)
        except OSError as problem:
            raise InvalidArgument(
                f"checkpoint {path} cannot be written ({problem.strerror}); choose another place"
            ) from problem

    def equip(self, workers: Sequence[Any]) -> None:
        """Let these workers take the runs on from where they stand."""
        self.workers = list(workers)
        for run, table in zip(self.runs, self.border.warm, strict=True):
            hand_out(table, run, self.workers)

    def at_border(self, step: int, done: int) -> None:
        """Remember this border; write it if it is time."""
        if step > self.runs[0].last_border:
            return
        warm = ({} if self.file is None else gathered(run, self.workers) for run in self.runs)
        self.border = Border(step, done, self._carried(), tuple(warm))
        pause = max(self.seconds, self.cost * (1 / WRITING_SHARE - 1)) if self.seconds else 0.0
        if self.file is not None and time.perf_counter() - self.written >= pause:
            self._write(self.file)

    def finish(self, interrupted: bool) -> None:
        """Write the last border; after Ctrl-C the runs go back to it."""
        if interrupted:
            self.border.put_into(self.runs)
        if self.file is not None and self.on_disk != self.border.step:
            self._write(self.file)

    def _write(self, path: Path) -> None:
        """Where it fails the run goes on, and the file that was there stays."""
        try:
            self._save(path)
        except OSError as problem:
            warnings.warn(f"checkpoint {path} could not be written: {problem}; the run goes on", stacklevel=3)

    def _save(self, path: Path) -> None:
        began = time.perf_counter()
        try:
            run_file.save(path, self.runs, self.border, self.identity)
            self.on_disk = self.border.step
        finally:
            self.written = time.perf_counter()
            self.cost = self.written - began

    def _carried(self) -> tuple[run_file.Arrays, ...]:
        return tuple({name: getattr(run, name).copy() for name in run.carried} for run in self.runs)


def _path(name: str, value: Any) -> Path | None:
    """An absolute path, which outlives a change of the working directory and keeps a link a link."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise InvalidArgument(f"{name} must be the path of a file, got {value!r}")
    return Path(value).resolve()
