"""What a command is asked to do: its document, and the options of the command line, which win over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InvalidArgument, SpecError
from ..specs import Document, read
from ..specs.subjects import words


class Request(Document):
    """A document whose fields named in `options` come from the command line; complaints about those name the option."""

    def __init__(
        self, document: Document, options: Mapping[str, Any], switches: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.options = {name: value for name, value in options.items() if value is not None}
        self.switches = dict(switches)
        data = {**document.data, **self.options}
        super().__init__(document.path, document.text, data, document.trusted)

    def error(self, what: str, field: tuple[str | int, ...] = ()) -> SpecError:
        if field and field[0] in self.options:
            return SpecError(what, (f"--{field[0]}".replace("_", "-"), *field[1:]))
        return super().error(what, field)

    def blame(self, problem: InvalidArgument) -> SpecError:
        word, _, what = " ".join(str(problem).split()).partition(" ")
        if word in self.switches and word not in self.data:
            return SpecError(what, (self.switches[word],))
        return super().blame(problem)

    def place(self, key: str) -> Path | None:
        """A path: of the command line as it is, of a document relative to its folder; None if neither names one."""
        if key in self.options or key not in self.data:
            given = self.options.get(key)
            return None if given is None else Path(given)
        name = str(self.checked((key,), words))
        if "\0" in name:
            raise self.error(f"must be a path, got {name!r}", (key,))
        return self.path.parent / name

    def check_place(self, key: str, check: Callable[[str], None]) -> None:
        """`check("--output")`, whose complaint is about the document where that is what names the place."""
        try:
            check(f"--{key}")
        except InvalidArgument as problem:
            if key in self.options or key not in self.data:
                raise
            raise self.error(str(problem).removeprefix(f"--{key} "), (key,)) from None


def request(
    path: Path | None, options: Mapping[str, Any], trusted: Iterable[str] | None = None, *,
    only: Iterable[str] = (), switches: Mapping[str, str] = MappingProxyType({}),
) -> Request:  # fmt: skip
    """The document at `path` (none: an empty one) with the options that are not None.

    only: the keys it may have. switches: options that it does not have, by the first word of complaints about them.
    Raises SpecError.
    """
    if path is None:
        return Request(Document(Path("options.toml"), "", {}), options, switches)
    document = read(path, trusted or ())
    if only:
        document.check_keys(only)
    return Request(document, options, switches)
