"""Plain data as one text, and its hash: the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..errors import SpecError

EXACT = 2.0**53  # floats below it that are integers are written as such
Path = tuple[str | int, ...]


def array_sha256(array: FloatArray) -> str:
    """The identity of an array of float64: its type, shape and bytes in C order, little-endian.

    >>> import numpy as np
    >>> array_sha256(np.zeros((2, 3))) == array_sha256(np.zeros((3, 2)))
    False
    """
    digest = hashlib.sha256(f"<f8{tuple(int(size) for size in array.shape)}".encode())
    digest.update(np.ascontiguousarray(array, dtype="<f8").data)
    return digest.hexdigest()


def identity(plain: Any) -> str:
    """SHA-256 of plain data (what JSON can hold) in canonical form: equal data, equal identity.

    Keys are sorted, and a number has one form however it was written: 1.0 and 1 are the same. Raises SpecError for what
    is not plain, and for NaN and infinities.

    >>> identity({"a": 1, "b": [0.5]}) == identity({"b": [0.5], "a": 1.0})
    True
    """
    text = json.dumps(_canonical(plain, ()), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, field: Path) -> Any:
    """`value` with numbers in one form."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise SpecError(f"numbers must be finite, got {value!r}", field)
        return int(value) if value.is_integer() and abs(value) < EXACT else value
    if isinstance(value, list | tuple):
        return [_canonical(entry, (*field, k)) for k, entry in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _canonical(entry, (*field, key)) for key, entry in value.items()}
    raise SpecError(f"must be plain data (text, numbers, lists, tables), got {value!r:.200}", field)
