"""The Zarr group of a sweep for reading: cells that are whole, and none whose chunks are not what was written."""

from __future__ import annotations

import hashlib

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from ..errors import StoreError
from .card import ARRAYS
from .store import Store

KEPT = 4096  # cells whose checksums are in memory at a time


class CheckedArrays(LocalStore):
    """Chunks of a sweep, each held against the checksum that its cell was marked whole with.

    A cell that is not marked has no chunks, so that what a killed process left behind reads as missing.
    """

    def __init__(self, sweep: Store) -> None:
        super().__init__(sweep.path / ARRAYS, read_only=True)
        self._sweep = sweep
        self._whole = sweep.finished()
        self._sums: dict[str, dict[str, str]] = {}

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        cell = self._sweep.cell_of(key)
        if cell is None:
            return await super().get(key, prototype, byte_range)
        sums = self._checksums(cell)
        if sums is None or key not in sums:  # not there yet, or without this variable
            return None
        buffer = await super().get(key, prototype, byte_range)
        if buffer is None or hashlib.sha256(buffer.as_buffer_like()).hexdigest() != sums[key]:
            what = "is missing" if buffer is None else "is damaged"
            raise StoreError(f"{self._sweep.path / ARRAYS / key} {what} (cell {cell}); {self._sweep.advice}")
        return buffer

    def _checksums(self, cell: str) -> dict[str, str] | None:
        """Checksums of a cell, kept for its next chunk once it is whole."""
        if cell not in self._sums:
            marker = self._sweep.marker(cell)
            if marker is None and cell in self._whole:
                raise StoreError(f"{self._sweep.path}: cell {cell} was removed since the sweep was opened")
            if marker is None:
                return None
            if len(self._sums) >= KEPT:
                self._sums.clear()
            self._sums[cell] = marker.chunks
        return self._sums[cell]
