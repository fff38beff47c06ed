"""Files that are there whole or not at all, and what file systems refuse, in words."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError

PART = f".{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"  # of files that this process is writing


def write_whole(file: Path, data: bytes, *, safely: bool = False) -> None:
    """Write a file under another name, then rename it; its folder is made, but not that of its folder.

    safely: it is on the disk before this returns, whatever happens to the machine.
    """
    half = file.with_name(file.name + PART)
    try:
        try:
            half.write_bytes(data)
        except FileNotFoundError:
            file.parent.mkdir(exist_ok=True)
            half.write_bytes(data)
        if safely:
            with half.open("rb+") as written:
                os.fsync(written.fileno())
        try:
            half.replace(file)
        except FileNotFoundError:  # without locks another process may have finished the same file, and tidied up
            if not file.exists():
                raise
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def reported(place: Path) -> Iterator[None]:
    """What the file system refuses, as a StoreError that says what it means for the sweep."""
    kept = "finished cells are kept: run the sweep again to go on"
    try:
        yield
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        denied = problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        words = "the disk is full" if full else "it may not be used" if denied else "it could not be used"
        advice = "free some space" if full else "choose a folder that you may write to" if denied else "look there"
        raise StoreError(f"{place}: {words} ({problem.strerror or problem}); {advice}; {kept}") from problem
