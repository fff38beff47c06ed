"""What a battery says when a property fails: which one, where, which numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..errors import InvalidArgument


def require(true: object, message: str) -> None:
    """Fail with `message` unless `true`. (An assert statement would be silent under ``python -O``.)"""
    if not true:
        raise AssertionError(message)


def equal(subject: str, actual: ArrayLike, expected: ArrayLike, other: str, tolerance: ArrayLike, where: str) -> None:
    """Fail at the worst entry unless actual = expected up to `tolerance`; `other` is what `expected` comes from."""
    a, e = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    require(a.shape == e.shape, f"{subject} has shape {a.shape}, {other} has {e.shape}, {where}")
    allowed = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), e.shape)
    away = np.where(a == e, 0.0, np.abs(a - e))
    if a.size == 0 or (away <= allowed).all():
        return
    excess = np.where(np.isnan(away), np.inf, away / np.maximum(allowed, 1e-300))
    worst = np.unravel_index(int(np.argmax(excess)), e.shape)
    entry = f"[{', '.join(map(str, worst))}]" if e.shape else ""
    raise AssertionError(
        f"{subject}{entry} is {a[worst]:.12g}, but {other}{entry} is {e[worst]:.12g}, {where}: they differ by "
        f"{away[worst]:.3g}, more than {allowed[worst]:.3g}"
    )


def same_bits(subject: str, actual: ArrayLike, expected: ArrayLike, where: str) -> None:
    """Fail at the first entry that is not the same number (NaN is the same as NaN)."""
    a, e = np.asarray(actual), np.asarray(expected)
    require(a.shape == e.shape, f"{subject} has shape {a.shape} instead of {e.shape} {where}")
    differs = ~((a == e) | (np.isnan(a) & np.isnan(e)))
    if differs.any():
        first = tuple(int(i) for i in np.argwhere(differs)[0])
        raise AssertionError(
            f"{subject} {where}: entry {list(first)} is {a[first]!r} instead of {e[first]!r} "
            f"({int(differs.sum())} of {differs.size} entries differ)"
        )


def answered(what: str, call: Callable[[], Any]) -> Any:
    """What `call` returns; fail if it raises."""
    try:
        return call()
    except Exception as problem:
        raise AssertionError(f"{what} must be accepted, got {type(problem).__name__}: {problem}") from problem


def refused(what: str, call: Callable[[], Any]) -> None:
    """Fail unless `call` raises InvalidArgument."""
    try:
        call()
    except InvalidArgument:
        return
    except Exception as other:
        raise AssertionError(
            f"{what} must raise sgdmodels.errors.InvalidArgument, got {type(other).__name__}: {other}"
        ) from other
    raise AssertionError(f"{what} must raise sgdmodels.errors.InvalidArgument, but was accepted")


def shown(theta: FloatArray) -> str:
    """Parameters in a message, in full if they are few."""
    with np.printoptions(precision=6, threshold=12):
        return f"at theta = {np.array2string(np.asarray(theta), separator=', ')}"


def kept(holder: Any) -> dict[str, FloatArray]:
    """Copies of all arrays that an object holds."""
    arrays = {name: value for name, value in vars(holder).items() if isinstance(value, np.ndarray)}
    stacks = {name: value for name, value in vars(holder).items() if isinstance(value, tuple)}
    for name, stack in stacks.items():
        arrays.update({f"{name}[{k}]": value for k, value in enumerate(stack) if isinstance(value, np.ndarray)})
    return {name: value.copy() for name, value in arrays.items()}
