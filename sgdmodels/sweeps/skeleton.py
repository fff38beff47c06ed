"""The Zarr group of a sweep before there are any records: what xarray and Zarr write for it, as files.

Zarr decides every byte; a chunk of records then is what its specification says of uncompressed arrays: the numbers,
little-endian, in C order, in a file `<variable>/c.<step_size>.<batch_size>.<dynamics>.<seed>.0.0`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .cell import AXES

if TYPE_CHECKING:
    import xarray as xr


def recorded_steps(spec: Mapping[str, Any]) -> np.ndarray:
    """0, record_every, 2 record_every, ..., steps."""
    steps = np.arange(0, spec["steps"] + 1, spec["record_every"])
    return steps if steps[-1] == spec["steps"] else np.append(steps, spec["steps"])


def coordinates(spec: Mapping[str, Any]) -> xr.Dataset:
    """The axes of a sweep."""
    import xarray as xr

    return xr.Dataset(
        coords={
            "step_size": ("step_size", np.array(spec["step_size"], float), {"long_name": "step size", "units": "1"}),
            "batch_size": ("batch_size", np.array(spec["batch_size"]), {"long_name": "batch size"}),
            "dynamics": ("dynamics", np.array(spec["dynamics_order"], dtype=object), {"long_name": "model of SGD"}),
            "seed": ("seed", np.array(spec["seed"]), {"long_name": "seed"}),
            "replica": ("replica", np.array(spec["replicas"]), {"long_name": "replica"}),
            "step": ("step", recorded_steps(spec), {"long_name": "step", "units": "SGD steps"}),
        }
    )


def group_files(spec: Mapping[str, Any], identity: str) -> Iterator[tuple[str, bytes]]:
    """Files of the group and its coordinates."""
    from zarr.storage import MemoryStore

    memory = MemoryStore()
    group = coordinates(spec).assign_attrs(spec=json.dumps(spec), identity=identity)
    plain = {name: {"compressors": None} for name in group.coords}
    group.to_zarr(memory, zarr_format=3, consolidated=False, encoding=plain)
    yield from _files(memory)


def array_metadata(
    spec: Mapping[str, Any], dims: tuple[str, ...], sizes: tuple[int, ...], labels: Mapping[str, Any]
) -> bytes:
    """The metadata file of a variable over the axes and `dims`; a chunk is a cell's at one batch size."""
    import zarr
    from zarr.storage import MemoryStore

    memory = MemoryStore()
    zarr.create_array(
        memory, shape=(*(len(spec[axis]) for axis in AXES), *sizes), chunks=(1, 1, 1, 1, *sizes), dtype="<f8",
        fill_value=np.nan, compressors=None, filters=None, dimension_names=[*AXES, *dims], attributes=dict(labels),
        chunk_key_encoding={"name": "default", "separator": "."}, zarr_format=3,
    )  # fmt: skip
    return dict(_files(memory))["zarr.json"]


def cell_shape(metadata: bytes) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Dims and sizes that a cell has in a variable, from its metadata file."""
    described = json.loads(metadata)
    dims, sizes = described["dimension_names"], described["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(dims[len(AXES) :]), tuple(sizes[len(AXES) :])


def _files(memory: Any) -> Iterator[tuple[str, bytes]]:
    """All files of a store in memory."""
    from zarr.core.buffer import default_buffer_prototype

    async def collected() -> list[tuple[str, bytes]]:
        found = []
        async for key in memory.list():
            buffer = await memory.get(key, default_buffer_prototype())
            found.append((key, buffer.to_bytes()))
        return sorted(found)

    yield from asyncio.run(collected())
