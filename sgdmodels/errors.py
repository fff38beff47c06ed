"""What the package raises. A diverging step size is not an error: it is data (`diverged_at`)."""


class SgdmodelsError(Exception):
    """Base class of every error raised on purpose by sgdmodels."""


class InvalidArgument(SgdmodelsError, ValueError):
    """An argument cannot be used; the message names it, says what was given and what to do instead."""


class UnknownName(InvalidArgument):
    """A metric, sampling scheme or option has no such name; the message lists those that exist."""


class NotConverged(SgdmodelsError, RuntimeError):
    """An iterative solver stopped before its residual test was met."""
