"""Files that commands write: known to be writable before the work, there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import InvalidArgument, SgdmodelsError

if TYPE_CHECKING:
    from rich.console import Console

FIGURES = (".png", ".pdf", ".svg")


def check_file(option: str, path: Path | None, suffixes: Sequence[str]) -> None:
    """Raise InvalidArgument if a file cannot be written."""
    if path is None:
        return
    folder = path.resolve().parent
    if path.suffix.lower() not in suffixes or not folder.is_dir():
        raise InvalidArgument(f"{option} must be in an existing folder and end in {_either(suffixes)}, got {path}")
    if path.is_dir():
        raise InvalidArgument(f"{option} must be a file, got the folder {path}")
    _try_to_write(option, path, folder)


def check_folder(option: str, path: Path) -> None:
    """Raise InvalidArgument if a folder is none, or cannot be written or made."""
    nearest = path.resolve()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InvalidArgument(f"{option} must be a folder, got {path}, where {nearest} is a file")
    _try_to_write(option, path, nearest)


def _try_to_write(option: str, path: Path, folder: Path) -> None:
    """What permissions say does not hold for every user and file system, so try it, with a file without a name."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise InvalidArgument(f"{option} {path} cannot be written: {problem.strerror or problem}") from None


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A place to write to, which becomes `path` at the end."""
    half = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        with writing(path):
            yield half
            half.replace(path)
    finally:
        half.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the file system refuses, in a sentence."""
    try:
        yield
    except OSError as problem:
        raise SgdmodelsError(f"{path} could not be written: {problem.strerror or problem}") from problem


def as_word(path: Path) -> str:
    """A path as it is written in a command.

    >>> as_word(Path("-my store"))
    "'./-my store'"
    """
    name = str(path)
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def console() -> Console:
    """Standard output for tables: names and paths stand there letter for letter, long lines are left whole."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON document on standard output; what is no finite number is null."""
    typer.echo(json.dumps(plain(data), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Tables, lists, numbers and text as JSON knows them.

    >>> plain({"a": float("nan"), "b": (1, Path("x"))})
    {'a': None, 'b': [1, 'x']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
