"""Who computes which cell, when several processes work on one store: file locks, which end with their process."""

from __future__ import annotations

import contextlib
import errno
import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cell import Cell


class Claims:
    """Locks on cells. Where the file system knows none, every claim is granted, and cells may be computed twice."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "claims"
        self._held: dict[str, Any] = {}

    @functools.cached_property
    def exclusive(self) -> bool:
        """Whether the file system knows locks; warns if it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if _knows_locks(self.folder / "probe"):
            return True
        warnings.warn(
            f"the file system of {self.folder} has no locks: two processes on this store may compute the same cells "
            "twice (to the same bits)", stacklevel=4,
        )  # fmt: skip
        return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process or thread is in here: for what belongs to no cell."""
        from filelock import FileLock

        if not self.exclusive:
            yield
            return
        lock = FileLock(self.folder / "alone.lock", thread_local=False)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def take(self, cell: Cell) -> bool:
        """Claim a cell; False if another process has it."""
        from filelock import FileLock, Timeout

        if self.exclusive:
            lock = FileLock(self.folder / f"{cell.name}.lock", timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                return False
            self._held[cell.name] = lock
        return True

    def release(self, cell: Cell, finished: bool) -> None:
        """Give a cell back. The lock of a finished one is removed: whoever still asks for it finds it finished."""
        lock = self._held.pop(cell.name, None)
        if lock is None:
            return
        if finished:
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()

    def release_all(self) -> None:
        for lock in self._held.values():
            lock.release()
        self._held.clear()


def _knows_locks(file: Path) -> bool:
    """Whether files here can be locked. On systems without fcntl the locks are the system's own."""
    try:
        import fcntl
    except ImportError:
        return True
    with file.open("ab") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as problem:
            return problem.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
    return True
