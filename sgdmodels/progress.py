"""A progress bar in a terminal, a plain line now and then in a log, silence where nobody asked."""

from __future__ import annotations

import sys
import time
from typing import Any

APPEARS_AFTER = 0.5  # seconds: short runs stay quiet
EVERY = 30.0  # seconds between lines in a log


class Progress:
    """How much is done so far, on standard error: a bar in a terminal, else a line every half a minute.

    enabled=None: in a terminal only. done: what was done before, which says nothing of the rate.
    """

    def __init__(self, total: int, label: str, enabled: bool | None, unit: str = "steps", *, done: int = 0) -> None:
        self.total = total
        self.before = done
        self.unit = unit
        self.label = label
        self.terminal = sys.stderr.isatty()
        self.enabled = self.terminal if enabled is None else enabled
        self.started = time.perf_counter()
        self._spoken = self.started
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def update(self, done: int) -> None:
        """Say how much is done."""
        if not self.enabled:
            return
        now = time.perf_counter()
        rate = (done - self.before) / max(now - self.started, 1e-9)
        if not self.terminal:
            if now - self._spoken >= EVERY:
                self._spoken = now
                print(self.line(done, rate, now - self.started), file=sys.stderr, flush=True)
            return
        if self._bar is None:
            if now - self.started < APPEARS_AFTER:
                return
            self._start()
        self._bar.update(self._task, completed=done, rate=_rate(rate))

    def line(self, done: int, rate: float, elapsed: float) -> str:
        """How far, how fast, and how long to go.

        >>> Progress(60, "sweep", True, "cells").line(15, 0.5, 30.0)[9:]
        'sweep: 15 of 60 cells (25 %), 0.5/s, 0:00:30 elapsed, 0:01:30 left'
        """
        left = f", {_clock((self.total - done) / rate)} left" if rate > 0 else ""
        share = 100 * done / max(1, self.total)
        return (
            f"{time.strftime('%H:%M:%S')} {self.label}: {done} of {self.total} {self.unit} ({share:.0f} %), "
            f"{_rate(rate)}, {_clock(elapsed)} elapsed{left}"
        )

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(self.unit),
            TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.label, total=self.total, completed=self.before, rate="")
        self._bar.start()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _rate(rate: float) -> str:
    return f"{rate:,.3g}/s" if rate < 1000 else f"{rate:,.0f}/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
