"""Who computes which cell, when several processes work on one store: file locks, which end with their process."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cell import Cell


class Claims:
    """Locks on cells. Where the file system knows none, every claim is granted, and cells may be computed twice."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "claims"
        self.exclusive = True
        self._held: dict[str, Any] = {}

    @property
    def suffix(self) -> str:
        """What files are called while they are written: one name if nobody else can be writing them."""
        return ".part" if self.exclusive else f".{os.getpid()}.part"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process or thread is in here: for what belongs to no cell."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "alone.lock", thread_local=False)
        if self._acquired(lock):
            try:
                yield
            finally:
                lock.release()
        else:
            yield

    def take(self, cell: Cell) -> bool:
        """Claim a cell; False if another process has it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / f"{cell.name}.lock", timeout=0, thread_local=False)
        try:
            self._acquired(lock)
        except Timeout:
            return False
        self._held[cell.name] = lock
        return True

    def release(self, cell: Cell, finished: bool) -> None:
        """Give a cell back. The lock of a finished one is removed: whoever still asks for it finds it finished."""
        lock = self._held.pop(cell.name)
        if finished:
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()

    def _acquired(self, lock: Any) -> bool:
        """Acquire a lock, if there are any."""
        if self.exclusive:
            try:
                lock.acquire()
            except NotImplementedError:
                self.exclusive = False
                warnings.warn(
                    f"the file system of {self.folder} has no locks: two processes on this store may compute the same "
                    "cells twice (to the same bits)", stacklevel=3,
                )  # fmt: skip
        return self.exclusive

    def release_all(self) -> None:
        for lock in self._held.values():
            lock.release()
        self._held.clear()
