"""What the package raises. A diverging step size is not an error: it is data (`diverged_at`)."""

import re

LONGEST_SENTENCE = 500  # characters of what a document's error says; it may quote a long list


class SgdmodelsError(Exception):
    """Base class of every error raised on purpose by sgdmodels."""


class InvalidArgument(SgdmodelsError, ValueError):
    """An argument cannot be used; the message names it, says what was given and what to do instead."""


class UnknownName(InvalidArgument):
    """A metric, sampling scheme or option has no such name; the message lists those that exist."""


class SpecError(InvalidArgument):
    """A spec or a document that cannot be used; `str` is one line that begins with the file, the line and the field.

    what: the sentence without them. field: the path of keys to what is wrong, () for the whole. line: counted from 1.
    """

    def __init__(
        self, what: str, field: tuple[str | int, ...] = (), *, line: int | None = None, file: str | None = None
    ) -> None:
        words = " ".join(what.split())
        self.what = words if len(words) <= LONGEST_SENTENCE else f"{words[:LONGEST_SENTENCE]} ..."
        self.field, self.line, self.file = tuple(field), line, file
        place = [] if file is None else [file]
        if line is not None:
            place.append(f"line {line}")
        if field:
            place.append(".".join(str(key) if re.fullmatch(r"[\w-]+", str(key)) else repr(key) for key in field))
        super().__init__(f"{', '.join(place)}: {self.what}" if place else self.what)


class NotConverged(SgdmodelsError, RuntimeError):
    """An iterative solver stopped before its residual test was met."""


class StoreConflict(InvalidArgument):
    """A folder holds something else than what is to be stored there: another sweep, or one of another version."""


class StoreError(SgdmodelsError, RuntimeError):
    """A store cannot be written, or does not hold what was written; what was finished is still there."""


class SweepFailed(SgdmodelsError, RuntimeError):
    """Some cells of a sweep could not be computed; all others are in the store."""
