"""Files that people write: TOML or JSON as plain data, and errors that name the line and the field."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path as FilePath
from typing import Any

from ..arguments import FloatArray
from ..errors import InvalidArgument, SpecError
from .array_files import with_arrays
from .build import build, checked_keys
from .identity import Path
from .lines import contains, duplicate_key, json_line, toml_line

LARGEST = 50 * 10**6  # bytes


class Document:
    """A TOML or JSON file as plain data, which knows where each field is written.

    data: what the file says. arrays: content of its arrays by hash, as they are met. trusted: names of packages whose
    losses, dynamics and recipes it may name; a document cannot trust anything by itself.
    """

    def __init__(self, path: FilePath, text: str, data: dict[str, Any], trusted: tuple[str, ...] = ()) -> None:
        self.path, self.text, self.data, self.trusted = path, text, data, trusted
        self.file = str(path)
        self.arrays: dict[str, FloatArray] = {}

    def line(self, field: Path) -> int | None:
        """The line where a field is written, or the nearest table around it; None for the document as a whole."""
        known = tuple(field)
        while known and not contains(self.data, known):
            known = known[:-1]
        find = toml_line if self.path.suffix.lower() == ".toml" else json_line
        return find(self.text, known) if known else None

    def error(self, what: str, field: Path = ()) -> SpecError:
        """A complaint about a field of this document."""
        return SpecError(what, field, line=self.line(field), file=self.file)

    def located(self, problem: SpecError, field: Path = ()) -> SpecError:
        """A complaint about the part of this document at `field` as one about this document."""
        return problem if problem.file is not None else self.error(problem.what, (*field, *problem.field))

    def blame(self, problem: InvalidArgument) -> SpecError:
        """An InvalidArgument of what was called with this document's values as an error about the field it begins with.

        "batch_size must be in 1..64, got 128" belongs to a field batch_size, at the top or in a table; among several,
        to the one that holds what was given. Where there is none, it is about the file.
        """
        if isinstance(problem, SpecError):
            return self.located(problem)
        text = " ".join(str(problem).split())
        word = re.match(r"[A-Za-z_]\w*", text)
        fields = self._fields_called(word[0]) if word else []
        given = re.search(r"got (\S+?)[;,.]?(?:\s|$)", text)
        holding = [f for f in fields if given and given[1] in _leaves(self.value(f))]
        if not fields or word is None:
            return self.error(text)
        return self.error(text.removeprefix(f"{word[0]} "), (*holding, *fields)[0])

    def value(self, field: Path, default: Any = None) -> Any:
        """What is written at a field; `default` if nothing is."""
        found: Any = self.data
        for key in field:
            if not contains(found, (key,)):
                return default
            found = found[key]
        return found

    def checked(self, field: Path, check: Callable[[str, Any], Any], default: Any = None) -> Any:
        """`check(name, value)` of the value at a field, its InvalidArgument about that field; `default` if absent."""
        if not contains(self.data, field):
            return default
        name = str(field[-1])
        try:
            return check(name, self.value(field))
        except SpecError as problem:
            raise self.located(problem, field) from problem.__cause__
        except InvalidArgument as problem:
            raise self.error(str(problem).removeprefix(f"{name} "), field) from problem

    def table(self, field: Path) -> dict[str, Any]:
        """The table at a field."""
        found = self.value(field)
        if not isinstance(found, dict):
            shown = "nothing" if found is None else f"{found!r:.200}"
            raise self.error(f"must be a table, got {shown}", field)
        return found

    def check_keys(self, known: Iterable[str], needed: Iterable[str] = (), field: Path = ()) -> None:
        """Refuse unknown keys, with a guess at what was meant, and name missing ones."""
        try:
            checked_keys(self.table(field), known, needed, field)
        except SpecError as problem:
            raise self.located(problem) from None

    def plain(self, field: Path, **added: Any) -> Any:
        """The node at a field with its array files read into `arrays`; a table gets what it lacks of `added`."""
        value = self.value(field)
        try:
            found = with_arrays(value, self.arrays, self.path.parent, field)
        except SpecError as problem:
            raise self.located(problem) from problem.__cause__
        return {**added, **found} if isinstance(found, dict) else found

    def array(self, field: Path) -> Any:
        """The array at a field: a list as it is written, or the content of {file = ...}."""
        found = self.plain(field)
        if not isinstance(found, dict):
            return found
        if found.get("sha256") not in self.arrays:
            raise self.error(f"must be a list of numbers or {{ file = ... }}, got {found!r:.200}", field)
        return self.arrays[found["sha256"]]

    def build(self, field: Path, kind: type | None = None, **added: Any) -> Any:
        """What the node at a field describes, an instance of `kind`; a table gets what it lacks of `added`."""
        node = self.plain(field, **added)
        try:
            return build(node, self.arrays, self.trusted, kind=kind)
        except SpecError as problem:
            raise self.located(problem, field) from problem.__cause__

    def _fields_called(self, name: str) -> list[Path]:
        """All fields with this key, those of the top first."""
        found, waiting = [], deque[tuple[Path, Any]]([((), self.data)])
        while waiting:
            path, value = waiting.popleft()
            if not isinstance(value, dict):
                continue
            if name in value:
                found.append((*path, name))
            waiting.extend(((*path, key), inner) for key, inner in value.items())
        return found


def read(path: str | PathLike[str], trusted: Iterable[str] = ()) -> Document:
    """The document in a .toml or .json file. trusted: packages whose losses, dynamics and recipes it may name.

    Raises SpecError, one sentence with the file and the line, for a file that cannot be read.
    """
    place = FilePath(path)
    file, suffix = str(place), place.suffix.lower()
    try:
        size = place.stat().st_size
        if place.is_dir():
            raise SpecError("is a folder; give a .toml or .json file", file=file)
        if suffix not in (".toml", ".json"):
            raise SpecError(f"must end in .toml or .json, got {place.suffix!r}", file=file)
        if size > LARGEST:
            raise SpecError(
                f"has {size / 1e6:.0f} MB, and at most {LARGEST // 10**6} are read; keep large arrays in .npy files",
                file=file,
            )
        text = place.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except SpecError:
        raise
    except FileNotFoundError:
        raise SpecError("there is no such file", file=file) from None
    except (OSError, ValueError) as problem:
        why = "is not text in UTF-8" if isinstance(problem, UnicodeError) else f"cannot be read: {problem}"
        raise SpecError(why, file=file) from None
    names = (trusted,) if isinstance(trusted, str) else tuple(trusted)
    data = _toml(text, file) if suffix == ".toml" else _json(text, file)
    document = Document(place, text, data, names)
    if not isinstance(data, dict):
        raise SpecError(f"must be a table of keys and values, got a {type(data).__name__}", file=file)
    try:
        _refuse_dates(document, data, ())
    except RecursionError:
        raise SpecError("is nested too deeply; a document has a few levels", file=file) from None
    return document


def _toml(text: str, file: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        what = str(problem)
        place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", what)
        last = len(text.rstrip().split("\n"))
        line = None if place is None else int(place[1]) if place[1] else last
        raise SpecError(f"not valid TOML: {what[: place.start()] if place else what}", line=line, file=file) from None
    except (ValueError, RecursionError) as problem:
        raise SpecError(f"not valid TOML: {problem}", file=file) from None


def _json(text: str, file: str) -> Any:
    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(given)
        if len(found) < len(given):
            twice.append(found)
        return found

    twice: list[Any] = []
    try:
        data = json.loads(text, object_pairs_hook=pairs)
        duplicate = duplicate_key(text) if twice else None
    except json.JSONDecodeError as problem:
        raise SpecError(f"not valid JSON: {problem.msg}", line=problem.lineno, file=file) from None
    except (ValueError, RecursionError) as problem:
        raise SpecError(f"not valid JSON: {problem}", file=file) from None
    if duplicate is not None:
        raise SpecError("is written twice; keep one", duplicate[0], line=duplicate[1], file=file)
    return data


def _refuse_dates(document: Document, value: Any, field: Path) -> None:
    """Everything in a document is text, numbers, lists and tables."""
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(entry, float | int | str | None):
                _refuse_dates(document, entry, (*field, key))
    elif not isinstance(value, float | int | str | None):
        raise document.error(f"must be text, a number, a list or a table, got a {type(value).__name__}", field)


def _leaves(value: Any) -> set[str]:
    """All values in a list or table, as text."""
    if isinstance(value, dict | list):
        return {leaf for v in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(v)}
    return {str(value), repr(value)}
