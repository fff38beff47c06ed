"""A sweep on disk: a Zarr group of all records, and beside it which cells are whole.

    STORE/sweep.json         the grid in plain data, its identity, the versions that began it
    STORE/data/<hash>.npy    the arrays that the grid names by their hash
    STORE/arrays.zarr/       one Zarr array a variable, over (step_size, batch_size, dynamics, seed, replica, step)
    STORE/cells/<cell>.json  written last: this cell is whole, and these are the checksums of its chunks
    STORE/journal/           who computed what and when, one file a process
    STORE/claims/            locks on cells that are being computed

Every file is written under another name and then renamed. Whoever is killed leaves a cell that is not there yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument, StoreError
from . import skeleton
from .card import ARRAYS, CARD, begin, check_same, read_card, versions
from .cell import Cell, CellRecords
from .claims import Claims
from .disk import reported, write_whole
from .grid import Grid

if TYPE_CHECKING:
    import xarray as xr

CELL = re.compile(r"\d+-(\d+|all)-\d+-\d+\.json")


@dataclass(frozen=True)
class Marker:
    """Says that a cell is whole: checksums of its chunks, and of the metadata of its variables."""

    chunks: dict[str, str]
    arrays: dict[str, str]


class Store:
    """The folder of a sweep. `create` makes it or takes it up, `Store(path)` opens one that is there."""

    def __init__(self, path: Any) -> None:
        self.path = checked_path(path)
        self.card = read_card(self.path)
        self.identity: str = self.card["identity"]
        self.spec: dict[str, Any] = self.card["spec"]
        nodes = self.spec["dynamics"]
        self.batchless = ["batch_size" not in nodes[name]["varied"] for name in self.spec["dynamics_order"]]
        self._known: dict[str, tuple[tuple[str, ...], tuple[int, ...], str]] = {}

    @classmethod
    def create(cls, path: Any, grid: Grid) -> Store:
        """The store of `grid` at `path`, made if it is not there; another grid's is a StoreConflict."""
        begin(checked_path(path), grid)
        store = cls(path)
        check_same(store.path, store.card, grid)
        return store

    def grid(self, trusted: tuple[str, ...] = ()) -> Grid:
        """The grid of this sweep, with its arrays."""
        return Grid.from_spec(self.spec, self.arrays(), trusted)

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays that the grid names."""
        found = {}
        text = json.dumps(self.spec)
        for file in sorted((self.path / "data").glob("*.npy")):
            if file.stem not in text:
                continue
            try:
                found[file.stem] = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as problem:
                raise StoreError(f"{file} cannot be read ({problem}); put the array back under this name") from None
        return found

    def finished(self) -> set[str]:
        """Names of the cells that are whole."""
        with reported(self.path):
            try:
                return {name[:-5] for name in os.listdir(self.path / "cells") if CELL.fullmatch(name)}
            except FileNotFoundError:
                return set()

    def is_finished(self, cell: Cell) -> bool:
        return (self.path / "cells" / f"{cell.name}.json").exists()

    def write(self, cell: Cell, records: CellRecords, claims: Claims) -> None:
        """Write the chunks of a cell that is claimed, and last that it is whole."""
        with reported(self.path):
            if not (self.path / CARD).exists():
                raise StoreError(f"{self.path} was removed while the sweep was running; run it again")
            sums, arrays = {}, {}
            for name, (dims, values) in records.variables.items():
                arrays[name] = self._declare(name, dims, values.shape, records.labels[name], claims)
                for key, chunk in self._chunks(cell, dims, values):
                    data = np.ascontiguousarray(chunk, dtype="<f8").tobytes()
                    sums[f"{name}/{key}"] = _sha256(data)
                    write_whole(self.path / ARRAYS / name / key, data)
            told = {
                "cell": cell.name, "identity": self.identity, "versions": versions(), "arrays": arrays, "chunks": sums,
            }  # fmt: skip
            text = json.dumps({**told, "sha256": _sha256(json.dumps(told).encode())}, indent=1)
            write_whole(self.path / "cells" / f"{cell.name}.json", text.encode())

    def marker(self, name: str) -> Marker | None:
        """What says that a cell is whole; None if it is not. Raises StoreError if it is damaged, or another sweep's."""
        file = self.path / "cells" / f"{name}.json"
        try:
            told = json.loads(file.read_bytes())
            if told.pop("sha256") != _sha256(json.dumps(told).encode()):
                raise ValueError("its content is not what was written")
            if (told["cell"], told["identity"]) != (name, self.identity):
                raise ValueError("it belongs to another sweep or cell")
            return Marker(dict(told["chunks"]), dict(told["arrays"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
            raise StoreError(f"{file} is damaged ({problem}); {self.advice}") from None

    @property
    def advice(self) -> str:
        return "run the sweep again with repair=True (on the command line: --repair) to compute this cell anew"

    def cell_of(self, key: str) -> str | None:
        """The cell that a chunk of the Zarr group belongs to; None if it is no chunk of a cell."""
        parts = key.partition("/")[2].split(".")
        if parts[0] != "c" or len(parts) < 5 or not all(p.isdigit() for p in parts[1:]):
            return None
        row, size, kind, seed = parts[1:5]
        return f"{row}-{'all' if self.batchless[int(kind)] else size}-{kind}-{seed}"

    def check_arrays(self, name: str) -> None:
        """Raise StoreError if the variables of a whole cell have lost their metadata."""
        marker = self.marker(name)
        for variable, wanted in marker.arrays.items() if marker is not None else ():
            if self._metadata_sum(variable) != wanted:
                raise StoreError(f"{self.path / ARRAYS / variable / 'zarr.json'} is missing or damaged; {self.advice}")

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Cells whose files are not what was written, and what is wrong; reads everything."""
        for name in sorted(self.finished()):
            try:
                marker = self.marker(name)
                self.check_arrays(name)
            except StoreError as problem:
                yield name, str(problem)
                continue
            for key, wanted in marker.chunks.items() if marker is not None else ():
                with contextlib.suppress(OSError):
                    if _sha256((self.path / ARRAYS / key).read_bytes()) == wanted:
                        continue
                yield name, f"{key} is missing or damaged"
                break

    def repair(self) -> None:
        """Put back what the grid alone decides, and forget cells that are damaged."""
        with reported(self.path):
            for key, data in skeleton.group_files(self.spec, self.identity):
                file = self.path / ARRAYS / key
                if not file.exists() or file.read_bytes() != data:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(file, data)
            for name, _ in list(self.damaged()):
                with contextlib.suppress(StoreError):  # a marker that cannot be read names no variables
                    marker = self.marker(name)
                    for variable, wanted in marker.arrays.items() if marker is not None else ():
                        if self._metadata_sum(variable) != wanted:
                            (self.path / ARRAYS / variable / "zarr.json").unlink(missing_ok=True)
                (self.path / "cells" / f"{name}.json").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed processes left half written, once all cells are whole."""
        for folder in ("cells", "data", ARRAYS):
            for half in (self.path / folder).rglob("*.part"):
                with contextlib.suppress(OSError):
                    half.unlink()
        for half in self.path.glob("*.part"):
            with contextlib.suppress(OSError):
                half.unlink()

    def coordinates(self) -> xr.Dataset:
        """Axes of the records, without them."""
        return skeleton.coordinates(self.spec)

    def _metadata_sum(self, variable: str) -> str | None:
        try:
            return _sha256((self.path / ARRAYS / variable / "zarr.json").read_bytes())
        except OSError:
            return None

    def _declare(
        self, name: str, dims: tuple[str, ...], shape: tuple[int, ...], labels: Mapping[str, Any], claims: Claims
    ) -> str:
        """Make the Zarr array of a variable, if it is new, and give the checksum of its metadata.

        A variable whose shape differs between cells cannot be stored.
        """
        own = tuple(dim for dim in dims if dim != "batch_size")
        sizes = tuple(n for dim, n in zip(dims, shape, strict=True) if dim != "batch_size")
        if name not in self._known:
            file = self.path / ARRAYS / name / "zarr.json"
            with claims.alone():
                if not file.exists():
                    about = {**labels, "per_batch_size": int("batch_size" in dims)}
                    write_whole(file, skeleton.array_metadata(self.spec, own, sizes, about))
            metadata = file.read_bytes()
            self._known[name] = *skeleton.cell_shape(metadata), _sha256(metadata)
        known_dims, known_sizes, checksum = self._known[name]
        if (known_dims, known_sizes) != (own, sizes):
            raise StoreError(
                f"{name} has shape {sizes} here and {known_sizes} in another cell, so they fit in no array"
            )
        return checksum

    def _chunks(self, cell: Cell, dims: tuple[str, ...], values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Keys and values of the chunks of one variable, one for each batch size that the cell stands for."""
        every = range(len(self.spec["batch_size"])) if cell.batch_size is None else [cell.batch_size]
        tail = ".0" * (len(dims) - ("batch_size" in dims))
        for place, size in enumerate(every):
            chunk = values[..., place] if "batch_size" in dims else values
            yield f"c.{cell.step_size}.{size}.{cell.dynamics}.{cell.seed}{tail}", chunk


def checked_path(path: Any) -> Path:
    """A folder's path, which outlives a change of the working directory."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"store must be the path of a folder, got {path!r}")
    return Path(path).absolute()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
