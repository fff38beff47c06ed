"""Piecewise constant schedules: a number, or [(start_step, value), ...] with the first start at 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..arguments import integer
from ..errors import InvalidArgument

Schedule = float | int | Sequence[tuple[int, float]]


def checked_schedule(name: str, value: Any, check: Callable[[str, Any], Any]) -> tuple[tuple[int, Any], ...]:
    """`value` as ((0, v0), (start1, v1), ...), each value passed through `check(name, value)`."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return ((0, check(name, value)),)
    if not value or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise InvalidArgument(f"{name} must be a number or a schedule [(start_step, value), ...], got {value!r}")
    starts = [integer(f"start step of {name}", start, 0) for start, _ in value]
    if starts[0] != 0:
        raise InvalidArgument(f"the schedule of {name} must start at step 0, got a first start of {starts[0]}")
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise InvalidArgument(f"start steps of the schedule of {name} must increase, got {starts}; sort them")
    return tuple((start, check(name, v)) for start, (_, v) in zip(starts, value, strict=True))


def merged(*schedules: tuple[tuple[int, Any], ...]) -> tuple[np.ndarray, ...]:
    """All starts, and the value of every schedule on each stretch between them."""
    starts = sorted({start for schedule in schedules for start, _ in schedule})
    columns = [[next(v for s, v in reversed(schedule) if s <= start) for start in starts] for schedule in schedules]
    return (np.array(starts, dtype=np.int64), *(np.array(column) for column in columns))
