"""How commands end: one sentence for people on standard error, one exit code for scripts."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import InvalidArgument, SgdmodelsError

FAILED = 1
WRONG_USAGE = 2
CTRL_C = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Commands(TyperGroup):
    """All commands. What they raise on purpose becomes a sentence and a code here; the rest keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        with sigterm_as_ctrl_c() as came:
            try:
                return super().invoke(ctx)
            except SgdmodelsError as problem:
                typer.echo(" ".join(str(problem).split()), err=True)
                raise typer.Exit(exit_code(problem)) from None
            except OSError as problem:  # of standard output: commands put other files into words
                if problem.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
                    raise
                typer.echo(f"standard output could not be written: {problem.strerror}", err=True)
                raise typer.Exit(FAILED) from None
            except KeyboardInterrupt as problem:  # which says what was kept, where a command raises it
                typer.echo(str(problem) or "Interrupted.", err=True)
                raise typer.Exit(TERMINATED if came else CTRL_C) from None


def exit_code(problem: SgdmodelsError) -> int:
    """2 for what a person can put right in the command or the document, 1 for work that failed."""
    return WRONG_USAGE if isinstance(problem, InvalidArgument) else FAILED


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[list[int]]:
    """SIGTERM, which schedulers of clusters send, raises KeyboardInterrupt; the list then holds its number."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield came
        return

    def stop(number: int, frame: object) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)
