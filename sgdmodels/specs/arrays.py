"""Arrays in specs: the node names the content, a dict beside it holds the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..errors import SpecError
from .identity import Path, array_sha256


def array_node(array: Any, arrays: dict[str, FloatArray], field: Path = ()) -> dict[str, Any]:
    """The node of an array, which is put into `arrays` under its hash."""
    if array.dtype != np.float64 or np.ma.isMaskedArray(array):
        raise SpecError(f"arrays in specs must be float64, got {array.dtype}; pass it on as float64", field)
    key = array_sha256(array)
    arrays.setdefault(key, array)
    return {"sha256": key, "shape": [int(size) for size in array.shape]}


def is_array(value: Mapping[str, Any]) -> bool:
    """Whether a table is the node of an array."""
    return value.keys() == {"sha256", "shape"} and isinstance(value["sha256"], str)


def stored_array(node: Mapping[str, Any], arrays: Mapping[str, Any], field: Path) -> FloatArray:
    """The array of a node, once its content is known to be what the node says."""
    key = node["sha256"]
    if key not in arrays:
        raise SpecError(f"the array with sha256 {key:.16}... is not among the {len(arrays)} arrays given", field)
    array = np.asarray(arrays[key], dtype=np.float64)
    if list(array.shape) != list(node["shape"]) or array_sha256(array) != key:
        raise SpecError(
            f"the array stored under sha256 {key:.16}... is damaged: its content, of shape {array.shape}, is another",
            field,
        )
    return array
