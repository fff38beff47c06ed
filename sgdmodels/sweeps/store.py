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
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import FloatArray
from ..errors import StoreConflict, StoreError
from ..run_file import difference
from . import skeleton
from .cell import Cell, CellRecords, versions
from .claims import Claims
from .grid import FORMAT, Grid

if TYPE_CHECKING:
    import xarray as xr

CARD = "sweep.json"
ARRAYS = "arrays.zarr"
CELL = re.compile(r"\d+-(\d+|all)-\d+-\d+\.json")


class Store:
    """The folder of a sweep. `create` makes it or takes it up, `Store(path)` opens one that is there."""

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        self.card = _read_card(self.path)
        self.identity: str = self.card["identity"]
        self.spec: dict[str, Any] = self.card["spec"]
        self.batchless = [("batch_size" not in node["varied"]) for node in self.spec["dynamics"].values()]
        self._known: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    @classmethod
    def create(cls, path: Any, grid: Grid) -> Store:
        """The store of `grid` at `path`, made if it is not there; another grid's is a StoreConflict."""
        place = Path(path)
        if not (place / CARD).exists():
            check_place(place)
            with reported(place), Claims(place).alone():
                if not (place / CARD).exists():
                    _begin(place, grid)
        store = cls(place)
        if store.identity != grid.identity:
            where = difference(store.spec, grid.spec)
            raise StoreConflict(
                f"{place} holds another sweep ({where}); give this one another store, or remove that one"
            )
        began, now = store.card["versions"]["sgdmodels"], versions()["sgdmodels"]
        if began.split(".")[:2] != now.split(".")[:2]:  # patch versions change no number
            raise StoreConflict(
                f"{place} was begun by sgdmodels {began}, and this is {now}, which may give other digits; go on with "
                f"sgdmodels {began}, or choose another store"
            )
        return store

    def grid(self, trusted: tuple[str, ...] = ()) -> Grid:
        """The grid of this sweep, with its arrays."""
        return Grid.from_spec(self.spec, self.arrays(), trusted)

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays that the grid names."""
        found = {}
        for file in sorted((self.path / "data").glob("*.npy")):
            try:
                found[file.stem] = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as problem:
                raise StoreError(f"{file} cannot be read ({problem}); put the array back under this name") from None
        return found

    def finished(self) -> set[str]:
        """Names of the cells that are whole."""
        try:
            return {name[:-5] for name in os.listdir(self.path / "cells") if CELL.fullmatch(name)}
        except FileNotFoundError:
            return set()

    def is_finished(self, cell: Cell) -> bool:
        return (self.path / "cells" / f"{cell.name}.json").exists()

    def write(self, cell: Cell, records: CellRecords, claims: Claims) -> None:
        """Write the chunks of a cell that is claimed, and last that it is whole."""
        suffix = claims.suffix
        with reported(self.path):
            sums = {}
            for name, (dims, values) in records.variables.items():
                self._declare(name, dims, values.shape, records.labels[name], claims)
                for key, chunk in self._chunks(cell, dims, values):
                    data = np.ascontiguousarray(chunk, dtype="<f8").tobytes()
                    sums[f"{name}/{key}"] = hashlib.sha256(data).hexdigest()
                    write_whole(self.path / ARRAYS / name / key, data, suffix)
            text = json.dumps({"cell": cell.name, "chunks": sums, "versions": versions()}, indent=1)
            write_whole(self.path / "cells" / f"{cell.name}.json", text.encode(), suffix)

    def marker(self, name: str) -> dict[str, str] | None:
        """Checksums of the chunks of a cell; None if it is not whole."""
        file = self.path / "cells" / f"{name}.json"
        try:
            sums: dict[str, str] = json.loads(file.read_bytes())["chunks"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError) as problem:
            raise StoreError(f"{file} is damaged ({problem}); {self.advice}") from None
        return sums

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

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Cells whose chunks are not what was written, and what is wrong; reads everything."""
        for name in sorted(self.finished()):
            try:
                sums = self.marker(name) or {}
            except StoreError as problem:
                yield name, str(problem)
                continue
            for key, wanted in sums.items():
                try:
                    data = (self.path / ARRAYS / key).read_bytes()
                except OSError as problem:
                    yield name, f"{key}: {problem.strerror}"
                    break
                if hashlib.sha256(data).hexdigest() != wanted:
                    yield name, f"{key}: its content is not what was written"
                    break

    def forget(self, name: str) -> None:
        """Count a cell as not computed."""
        (self.path / "cells" / f"{name}.json").unlink(missing_ok=True)

    def coordinates(self) -> xr.Dataset:
        """Axes of the records, without them."""
        return skeleton.coordinates(self.spec)

    def _declare(
        self, name: str, dims: tuple[str, ...], shape: tuple[int, ...], labels: Mapping[str, Any], claims: Claims
    ) -> None:
        """Make the Zarr array of a variable, if it is new; one whose shape differs between cells cannot be stored."""
        own = tuple(dim for dim in dims if dim != "batch_size")
        sizes = tuple(n for dim, n in zip(dims, shape, strict=True) if dim != "batch_size")
        if name not in self._known:
            file = self.path / ARRAYS / name / "zarr.json"
            with claims.alone():
                if not file.exists():
                    about = {**labels, "per_batch_size": "batch_size" in dims}
                    write_whole(file, skeleton.array_metadata(self.spec, own, sizes, about), claims.suffix)
            self._known[name] = skeleton.cell_shape(file.read_bytes())
        if self._known[name] != (own, sizes):
            raise StoreError(
                f"{name} has shape {sizes} here and {self._known[name][1]} in another cell, so they fit in no array"
            )

    def _chunks(self, cell: Cell, dims: tuple[str, ...], values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Keys and values of the chunks of one variable, one for each batch size that the cell stands for."""
        every = range(len(self.spec["batch_size"])) if cell.batch_size is None else [cell.batch_size]
        tail = ".0" * (len(dims) - ("batch_size" in dims))
        for place, size in enumerate(every):
            chunk = values[..., place] if "batch_size" in dims else values
            yield f"c.{cell.step_size}.{size}.{cell.dynamics}.{cell.seed}{tail}", chunk


def write_whole(file: Path, data: bytes, suffix: str = ".part") -> None:
    """Write a file so that it is there whole or not at all."""
    half = file.with_name(file.name + suffix)
    try:
        try:
            half.write_bytes(data)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(data)
        half.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def reported(place: Path) -> Iterator[None]:
    """What the file system refuses, as a StoreError that says what it means for the sweep."""
    kept = "finished cells are kept: run the sweep again to go on"
    try:
        yield
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        denied = problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        words = "the disk is full" if full else "it may not be written" if denied else "it could not be written"
        advice = "free some space" if full else "choose a folder that you may write to" if denied else "look there"
        raise StoreError(f"{place}: {words} ({problem.strerror or problem}); {advice}; {kept}") from problem


def check_place(place: Path) -> None:
    """A store needs a folder of its own."""
    if place.exists() and not place.is_dir():
        raise StoreConflict(f"{place} is a file; a sweep needs a folder of its own, so choose another store")
    known = {ARRAYS, "data", "cells", "journal", "claims", CARD + ".part"}
    foreign = sorted({p.name for p in place.iterdir()} - known) if place.exists() else []
    if foreign:
        raise StoreConflict(f"{place} is not empty ({foreign[0]}) and no sweep; choose a new folder for the store")


def _begin(place: Path, grid: Grid) -> None:
    """Everything but records; the card comes last."""
    spec = grid.spec
    for digest, array in grid.arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_whole(place / "data" / f"{digest}.npy", buffer.getvalue())
    for key, data in skeleton.group_files(spec, grid.identity):
        write_whole(place / ARRAYS / key, data)
    (place / "cells").mkdir(exist_ok=True)
    card = {"sweep": "sgdmodels", "format": FORMAT, "identity": grid.identity, "versions": versions(), "spec": spec}
    write_whole(place / CARD, json.dumps(card, indent=1).encode())


def _read_card(place: Path) -> dict[str, Any]:
    """What kind of sweep this is."""
    try:
        card = json.loads((place / CARD).read_bytes())
        version = int(card["format"])
        if version <= FORMAT:
            checked: dict[str, Any] = {name: card[name] for name in ("identity", "versions", "spec")}
            return checked
        newer = str(card.get("versions", {}).get("sgdmodels", "of unknown version"))
    except FileNotFoundError:
        raise StoreError(f"{place} is no sweep: it has no {CARD}; give the folder that run_sweep wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
        raise StoreError(f"{place / CARD} cannot be read ({problem}); put back the one that run_sweep wrote") from None
    raise StoreConflict(
        f"{place} was written by a newer sgdmodels ({newer}, store format {version}; this one knows {FORMAT}); "
        "upgrade sgdmodels to read it"
    )
