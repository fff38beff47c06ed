"""Arrays in files beside a document: {file = "inputs.npy"}, read as numbers and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..errors import SpecError
from .arrays import array_node
from .build import checked_keys
from .identity import Path, array_sha256

KEYS = ("file", "name", "sha256")


def with_arrays(value: Any, arrays: dict[str, FloatArray], folder: FilePath, field: Path) -> Any:
    """`value` with every {file = ...} replaced by the node of the array in that file, which is put into `arrays`."""
    if isinstance(value, Mapping):
        if isinstance(value.get("file"), str):
            return array_node(array_in_file(value, folder, field), arrays, field)
        return {key: with_arrays(entry, arrays, folder, (*field, key)) for key, entry in value.items()}
    if isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        return [with_arrays(entry, arrays, folder, (*field, k)) for k, entry in enumerate(value)]
    return value


def array_in_file(table: Mapping[str, Any], folder: FilePath, field: Path) -> FloatArray:
    """The array of {file = "inputs.npy"}, as float64 in C order.

    file: .npy or .npz, relative to the document. name: which array of an .npz. sha256: of the file, or of the array as
    `array_sha256` computes it; checked. Integers and shorter floats are converted if nothing is lost. Raises SpecError.
    """
    checked_keys(table, KEYS, field=field)
    for key in KEYS:
        if not isinstance(table.get(key, ""), str):
            raise SpecError(f"must be text, got {table[key]!r:.200}", (*field, key))
    path = folder / table["file"]
    stored = _loaded(path, table.get("name"), field)
    if stored.dtype.kind not in "fiub" or stored.dtype.itemsize > 8:
        raise SpecError(f"{table['file']} must hold real numbers, got dtype {stored.dtype}", field)
    array = np.ascontiguousarray(stored, dtype=np.float64).reshape(stored.shape)
    if not np.array_equal(array.astype(stored.dtype), stored, equal_nan=stored.dtype.kind == "f"):
        raise SpecError(f"{table['file']} holds integers beyond 2**53, which float64 cannot hold", field)
    if "sha256" in table and table["sha256"].lower() != array_sha256(array):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if table["sha256"].lower() != found:
            raise SpecError(f"{table['file']} has another sha256, {found}, got {table['sha256']!r:.80}", field)
    return array


def _loaded(path: FilePath, name: str | None, field: Path) -> Any:
    """The array in a file, as it is stored."""
    where = (*field, "file")
    try:
        if path.suffix.lower() not in (".npy", ".npz"):
            raise SpecError(f"must be a .npy or .npz file, got {path.name!r}", where)
        if not path.is_file():
            raise SpecError(f"there is no file {str(path)!r}", where)
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            if name is not None:
                raise SpecError("belongs to .npz files, which hold several arrays; drop it", (*field, "name"))
            return found
        with found:
            if name is None and len(found.files) != 1:
                raise SpecError(f"holds {', '.join(found.files)}; say which with name = ...", where)
            if name is not None and name not in found.files:
                raise SpecError(f"must be one of {', '.join(found.files)}, got {name!r:.80}", (*field, "name"))
            return found[name if name is not None else found.files[0]]
    except SpecError:
        raise
    except Exception as problem:  # a damaged file may raise anything
        why = "it holds Python objects, or is damaged" if "pickle" in str(problem) else problem
        raise SpecError(f"{path.name} cannot be read as an array of numbers: {why}", where) from problem
