"""On which line of a document a field is written, found by the parsers themselves, once something is wrong."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from .identity import Path

PATIENCE = 2.0  # seconds, then an error goes without its line
SPACE = re.compile(r"[ \t\n\r]*")


def contains(data: Any, field: Path) -> bool:
    """Whether there is something at this path."""
    for key in field:
        known = range(len(data)) if isinstance(data, list) else data if isinstance(data, dict) else ()
        if key not in known:
            return False
        data = data[key]
    return True


def toml_line(text: str, field: Path) -> int | None:
    """The line where `field` begins in a TOML text that parses; None if it is not there, or that takes too long.

    A document cut after some of its lines either parses or is cut inside a value. The first cut that parses and
    contains the field is its last line; it begins after the last cut before that parses.

    >>> toml_line("a = 1\\n[b]\\nc = [\\n  1,\\n]\\n", ("b", "c"))
    3
    """
    import tomllib

    lines = text.split("\n")
    deadline = time.monotonic() + PATIENCE

    def cut(count: int) -> Any:
        last = lines[count - 1]
        if last.rstrip().endswith((",", "[", "{")) and "#" not in last:  # no value ends so
            return None
        try:
            return tomllib.loads("\n".join(lines[:count]) + "\n")
        except (ValueError, RecursionError):
            return None

    if not contains(tomllib.loads(text), field):
        return None
    before, low, high = 0, 0, len(lines)  # before: parses, without the field; none in (before, low] parses
    while high - low > 1:
        middle = (low + high) // 2
        count = middle
        while count > low and (found := cut(count)) is None:
            count -= 1
            if time.monotonic() > deadline:
                return None
        if count == low:
            low = middle
        elif contains(found, field):
            high = count
        else:
            before, low = count, middle
    return before + 1


def json_line(text: str, field: Path) -> int | None:
    """The line where `field` begins in a valid JSON text.

    >>> json_line('{"a": 1,\\n "b": {"c": [1,\\n 2]}}', ("b", "c", 1))
    3
    """
    return next((line_at(text, place) for path, place in _fields(text, field) if path == field), None)


def duplicate_key(text: str) -> tuple[Path, int] | None:
    """The first key that a valid JSON text has twice in one object, and the line of the second."""
    seen = set()
    for path, place in _fields(text, None):
        if path in seen:
            return path, line_at(text, place)
        seen.add(path)
    return None


def line_at(text: str, place: int) -> int:
    """The number of a character's line, from 1."""
    return text.count("\n", 0, place) + 1


def _fields(text: str, wanted: Path | None, path: Path = (), place: int = 0) -> Iterator[tuple[Path, int]]:
    """Path and place of every field below `path`, whose value begins at `place`; of those on the way to `wanted`."""
    decode = json.JSONDecoder().raw_decode
    place = _after(text, place)
    opened = text[place]
    if opened not in "[{":
        return
    place, count = _after(text, place + 1), 0
    while text[place] not in "]}":
        begin, key = place, count
        if opened == "{":
            key, place = scanstring(text, place + 1)
            place = _after(text, _after(text, place) + 1)
        inner: Path = (*path, key)
        yield inner, begin
        if wanted is None or wanted[: len(inner)] == inner:
            yield from _fields(text, wanted, inner, place)
        place = _after(text, decode(text, place)[1])
        if text[place] == ",":
            place = _after(text, place + 1)
        count += 1


def _after(text: str, place: int) -> int:
    """The place of the next character that is no space."""
    return SPACE.match(text, place).end()  # type: ignore[union-attr]
