"""Read a store of a sweep."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidArgument, StoreError
from .cell import AXES
from .store import Store

if TYPE_CHECKING:
    import xarray as xr


def open_sweep(store: Any) -> xr.Dataset:
    """The records of a sweep as one Dataset over (step_size, batch_size, dynamics, seed, replica, step).

    Nothing is read before it is asked for: `.sel(...)` first, then `.load()`. `finished` says which cells there are;
    the records of others are NaN, as are those of diverged replicas from `diverged_at` on. attrs: "spec" and
    "identity" of the grid. A chunk that is not what was written raises StoreError, which names the cell.
    """
    import xarray as xr

    from .checked_arrays import CheckedArrays

    opened = Store(store)
    whole_cells = opened.finished()
    if whole_cells:
        opened.check_arrays(min(whole_cells))
    try:
        arrays = xr.open_zarr(CheckedArrays(opened), chunks=None, consolidated=False)
    except (FileNotFoundError, ValueError, KeyError) as problem:
        raise StoreError(
            f"{opened.path}: its arrays cannot be read ({problem}); put the folder back as run_sweep wrote it"
        ) from problem
    axes = opened.coordinates()  # of the grid itself, not as they are stored
    names = "dynamics", np.array(opened.spec["dynamics_order"]), axes.dynamics.attrs  # text of a fixed width
    finished = AXES, _finished(opened, whole_cells), {"long_name": "whether the cell is whole"}
    labelled = arrays.assign(finished=finished).assign_coords({**axes.coords, "dynamics": names})
    return labelled.assign_attrs(
        store=str(opened.path), cells_finished=len(whole_cells), versions=json.dumps(opened.card["versions"]),
        spec=json.dumps(opened.spec), identity=opened.identity,
    )  # fmt: skip


def _finished(store: Store, names: Iterable[str]) -> np.ndarray:
    """Which cells are whole, over the four axes. Raises StoreError for one that the grid does not have."""
    spec = store.spec
    shape = tuple(len(spec[name]) for name in AXES)
    found = np.zeros(shape, dtype=bool)
    for name in names:
        row, size, kind, seed = name.split("-")
        try:
            found[int(row), slice(None) if size == "all" else int(size), int(kind), int(seed)] = True
        except IndexError:
            raise StoreError(f"{store.path}: the grid has no cell {name}; remove cells/{name}.json") from None
    return found


def run_of(
    sweep: xr.Dataset, *, step_size: float, batch_size: int, dynamics: str, seed: int | None = None
) -> xr.Dataset:
    """One cell as `sgdmodels.simulate` returns runs, for `sgdmodels.plot` and predictions; all seeds if `seed` is None.

    With several seeds replicas of all of them stand side by side, numbered anew. Raises InvalidArgument if the sweep
    has no such cell or has not computed it.
    """
    chosen = sweep
    asked = {"step_size": step_size, "batch_size": batch_size, "dynamics": dynamics, "seed": seed}
    for axis, value in asked.items():
        if value is None:
            continue
        known = sweep[axis].values.tolist()
        if value not in known:
            raise InvalidArgument(f"{axis} must be one of {', '.join(map(str, known))} in this sweep, got {value!r}")
        chosen = chosen.isel({axis: known.index(value)})
    if not bool(chosen.finished.all()):
        raise InvalidArgument(f"this sweep has not computed {asked} yet; run it again")
    if seed is None:
        rows = chosen.drop_vars("finished").stack(row=("seed", "replica")).reset_index("row", drop=True)
        chosen = rows.rename(row="replica").assign_coords(replica=np.arange(rows.sizes["row"]))
        chosen = chosen.transpose("replica", "step", ...)
    else:
        chosen = chosen.drop_vars(["finished", "seed"])
    steps = np.ones(chosen.sizes["step"])
    run = chosen.drop_vars(["dynamics", "step_size", "batch_size"]).load()
    per_size = {name: array.expand_dims(batch_size=[batch_size], axis=2) for name, array in _per_batch_size(sweep, run)}
    return run.assign(per_size).assign_coords(
        step_size=("step", step_size * steps), training_batch_size=("step", np.full(len(steps), batch_size))
    )


def _per_batch_size(sweep: xr.Dataset, run: xr.Dataset) -> list[tuple[str, Any]]:
    """Variables of metrics that depend on the batch size they are measured at."""
    return [(str(name), array) for name, array in run.data_vars.items() if sweep[name].attrs.get("per_batch_size")]
