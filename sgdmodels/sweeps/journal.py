"""What was computed when, where and how long it took: one line a beginning or an end, one file a process."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cell import Cell
from .disk import reported


class Journal:
    """The lines of this process; nothing that is computed depends on them."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "journal"
        self._file: Any = None
        self._lock = threading.Lock()

    def note(self, event: str, cell: Cell, **more: Any) -> None:
        """Append a line."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "cell": cell.name, "at": at, **more}) + "\n"
        with self._lock, reported(self.folder.parent):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
                self._file = (self.folder / name).open("a", encoding="utf-8", buffering=1)
            self._file.write(line)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def entries(store: Path) -> Iterator[dict[str, Any]]:
    """All lines of all processes, with their `host` and `pid`; the last one of a killed process may be missing."""
    for file in sorted((store / "journal").glob("*-*-*.jsonl")):
        host, pid, _ = file.stem.rsplit("-", 2)
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                yield {**json.loads(line), "host": host, "pid": int(pid)}
