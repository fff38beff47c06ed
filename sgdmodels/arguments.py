"""Checks of what users pass in, made before any work starts."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidArgument, UnknownName

FloatArray = NDArray[np.float64]
LARGEST_INTEGER = 2**62


def float_array(name: str, value: ArrayLike, shape: Sequence[int | str]) -> FloatArray:
    """`value` as a finite float64 array in C order; letters in `shape` stand for any positive length.

    Lists are converted. Arrays must already be float64, and arrays of two or more dimensions in C order:
    a transposed array is nearly always one whose samples do not come first.
    """
    wanted = "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise InvalidArgument(
            f"{name} must be a float64 array of shape {wanted}, got {type(value).__name__}: {problem}"
        ) from None
    if hasattr(value, "__array__"):
        if array.dtype != np.float64:
            advice = f"; pass {name}.astype(numpy.float64)" if array.dtype.kind in "fiub" else ""
            raise InvalidArgument(f"{name} must be a float64 array of shape {wanted}, got dtype {array.dtype}{advice}")
    elif array.dtype.kind not in "fiu":
        raise InvalidArgument(
            f"{name} must be a float64 array of shape {wanted}, got a {type(value).__name__} of dtype {array.dtype}"
        )
    if np.ma.is_masked(value):
        raise InvalidArgument(f"{name} must not be masked; fill or drop its masked entries")
    fits = array.ndim == len(shape) and all(
        have > 0 if isinstance(want, str) else have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        hint = "it is empty" if array.size == 0 else "samples come first"
        raise InvalidArgument(f"{name} must have shape {wanted}, got {array.shape}; {hint}")
    if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
        raise InvalidArgument(
            f"{name} must be in C order with samples first, got an array of shape {array.shape} in Fortran order "
            f"(a transpose?); pass numpy.ascontiguousarray({name}) if the axes are right"
        )
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0]
        raise InvalidArgument(
            f"{name} must be finite, got {array[tuple(bad)]} at index {tuple(int(i) for i in bad)}; "
            "remove or impute such entries"
        )
    return np.array(array, dtype=np.float64, order="C")  # a copy: what the caller changes later changes nothing here


def array_with_gaps(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> FloatArray:
    """`value` as `float_array` makes it, but NaN may stand for what was not there; infinities are refused."""
    try:
        array = np.asarray(value, dtype=None if hasattr(value, "__array__") else np.float64)
        missing = np.isnan(array)
    except (TypeError, ValueError):
        return float_array(name, value, shape)  # which says what is wrong with it
    filled = float_array(name, np.where(missing, array.dtype.type(0), array), shape)
    filled[missing] = np.nan
    return filled


def integer(name: str, value: Any, low: int, high: int = LARGEST_INTEGER, why: str = "") -> int:
    """`value` as an int in low..high; without `high`, as large as compiled code can hold."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{name} must be an integer, got {value!r} of type {type(value).__name__}") from None
    if isinstance(value, bool | np.bool_):
        raise InvalidArgument(f"{name} must be an integer, got {value!r}")
    if not low <= number <= high:
        bounds = f"at least {low}" if high == LARGEST_INTEGER and number < low else f"in {low}..{high}"
        shown = number if number.bit_length() < 200 else f"one of {number.bit_length()} bits"
        raise InvalidArgument(f"{name} must be {bounds}{' ' + why if why else ''}, got {shown}")
    return number


def real(name: str, value: Any, low: float = 0.0, high: float = np.inf, *, open_low: bool = False) -> float:
    """`value` as a finite float in [low, high), or in (low, high) with `open_low`."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise InvalidArgument(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{name} must be a number, got {value!r} of type {type(value).__name__}") from None
    if not np.isfinite(number) or number < low or number >= high or (open_low and number == low):
        left = f"> {low:g}" if open_low else f">= {low:g}"
        right = f" and < {high:g}" if np.isfinite(high) else ""
        raise InvalidArgument(f"{name} must be finite, {left}{right}, got {number!r}")
    return number


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value` if it is among `choices`, else an error that lists them and guesses what was meant."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        close = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownName(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}{guess}")
    return value


def aligned(shape: tuple[int, ...]) -> FloatArray:
    """Zeros that start on a 64-byte boundary: unaligned 512-bit loads straddle cache lines."""
    size = int(np.prod(shape))
    raw = np.zeros(size + 8)
    start = (-raw.ctypes.data // 8) % 8
    return raw[start : start + size].reshape(shape)


def aligned_copy(array: FloatArray) -> FloatArray:
    """A copy of `array` on a 64-byte boundary."""
    copy = aligned(array.shape)
    copy[...] = array
    return copy
