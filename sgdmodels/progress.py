"""A progress bar in a terminal, silence elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

APPEARS_AFTER = 0.5  # seconds: short runs stay quiet


class Progress:
    """How much is done so far; `enabled=None` means only when standard error is a terminal.

    done: what was done before, which says nothing of the rate.
    """

    def __init__(self, total: int, label: str, enabled: bool | None, unit: str = "steps", *, done: int = 0) -> None:
        self.total = total
        self.before = done
        self.unit = unit
        self.label = label
        self.enabled = sys.stderr.isatty() if enabled is None else enabled
        self.started = time.perf_counter()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def update(self, done: int) -> None:
        """Say how many steps are done."""
        if not self.enabled:
            return
        if self._bar is None:
            if time.perf_counter() - self.started < APPEARS_AFTER:
                return
            self._start()
        rate = (done - self.before) / max(time.perf_counter() - self.started, 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{rate:,.3g}/s" if rate < 1000 else f"{rate:,.0f}/s")

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
