"""The card of a sweep's folder: which grid it holds, and what began it."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreConflict, StoreError
from ..run_file import difference
from . import skeleton
from .claims import Claims
from .disk import reported, write_whole
from .grid import FORMAT, Grid

CARD = "sweep.json"
ARRAYS = "arrays.zarr"
OURS = {ARRAYS, "data", "cells", "journal", "claims"}
SAME_LOSS = 1e-6  # relative: other machines round in another way


def versions() -> dict[str, str]:
    """What decides the bits of a run besides its spec."""
    import numba

    from ..version import __version__

    return {
        "sgdmodels": __version__, "numpy": np.__version__, "numba": numba.__version__,
        "python": platform.python_version(), "machine": platform.machine(),
    }  # fmt: skip


def read_card(place: Path) -> dict[str, Any]:
    """identity, versions, spec and loss_at_start of the sweep in a folder. Raises StoreError and StoreConflict."""
    try:
        card = json.loads((place / CARD).read_bytes())
        version = int(card["format"])
        if version <= FORMAT:
            checked = {name: card[name] for name in ("identity", "versions", "spec")}
            checked["loss_at_start"] = card.get("loss_at_start")
            names = checked["spec"]["dynamics_order"]
            if sorted(names) != sorted(checked["spec"]["dynamics"]) or not dict(checked["versions"]):
                raise ValueError("its grid is not whole")
            return checked
        newer = str(card.get("versions", {}).get("sgdmodels", "of unknown version"))
    except FileNotFoundError:
        raise StoreError(f"{place} is no sweep: it has no {CARD}; give the folder that run_sweep wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as problem:
        raise StoreError(f"{place / CARD} cannot be read ({problem}); put back the one that run_sweep wrote") from None
    raise StoreConflict(
        f"{place} was written by a newer sgdmodels ({newer}, store format {version}; this one knows {FORMAT}); "
        "upgrade sgdmodels to read it"
    )


def begin(place: Path, grid: Grid) -> None:
    """Make the folder of a sweep, all but records, if it is not there; the card comes last."""
    if (place / CARD).exists():
        return
    check_place(place)
    with reported(place):
        place.mkdir(parents=True, exist_ok=True)
        with Claims(place).alone():
            if not (place / CARD).exists():
                _write(place, grid)


def check_place(place: Path) -> None:
    """Raise StoreConflict if a folder without a card cannot become a sweep's."""
    if place.exists() and not place.is_dir():
        raise StoreConflict(f"{place} is a file; a sweep needs a folder of its own, so choose another store")
    with reported(place):
        there = {p.name for p in place.iterdir()} if place.exists() else set()
        lost = (place / "cells").is_dir() and any((place / "cells").iterdir())
    foreign = sorted(name for name in there - OURS if not name.endswith(".part"))
    if not foreign and there and "claims" not in there:  # which a sweep makes first
        foreign = sorted(there)
    if foreign:
        raise StoreConflict(f"{place} is not empty ({foreign[0]}) and no sweep; choose a new folder for the store")
    if lost:
        raise StoreConflict(
            f"{place} holds cells of a sweep whose {CARD} is gone; put that file back, or choose a new folder"
        )


def check_same(place: Path, card: dict[str, Any], grid: Grid) -> None:
    """Raise StoreConflict if the sweep in a folder is another one, or its numbers would be; warn if digits may be."""
    if card["identity"] != grid.identity:
        where = difference(card["spec"], grid.spec)
        raise StoreConflict(f"{place} holds another sweep ({where}); give this one another store, or remove that one")
    began, now = card["versions"], versions()
    if str(began.get("sgdmodels")).split(".")[:2] != now["sgdmodels"].split(".")[:2]:  # patches change no number
        raise StoreConflict(
            f"{place} was begun by sgdmodels {began.get('sgdmodels')}, and this is {now['sgdmodels']}, which may give "
            f"other digits; go on with sgdmodels {began.get('sgdmodels')}, or choose another store"
        )
    there, here = card["loss_at_start"], grid.loss_at_start
    if there is not None and here is not None and not math.isclose(there, here, rel_tol=SAME_LOSS, abs_tol=1e-300):
        raise StoreConflict(
            f"{place} was begun with a loss of {there!r} at the start, which is {here!r} now: the code behind this "
            "grid has changed; choose another store"
        )
    changed = [f"{name} {began.get(name)}, now {now[name]}" for name in now if began.get(name) != now[name]]
    if changed:
        warnings.warn(
            f"{place} was begun with {'; '.join(changed)}: the last digits of new cells may differ", stacklevel=4
        )


def _write(place: Path, grid: Grid) -> None:
    for folder in (ARRAYS, "data", "cells"):
        (place / folder).mkdir(exist_ok=True)
    for digest, array in grid.arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_whole(place / "data" / f"{digest}.npy", buffer.getvalue())
    for key, data in skeleton.group_files(grid.spec, grid.identity):
        (place / ARRAYS / key).parent.mkdir(parents=True, exist_ok=True)
        write_whole(place / ARRAYS / key, data)
    card = {
        "sweep": "sgdmodels", "format": FORMAT, "identity": grid.identity, "versions": versions(),
        "loss_at_start": grid.loss_at_start, "spec": grid.spec,
    }  # fmt: skip
    write_whole(place / CARD, json.dumps(card, indent=1, allow_nan=False).encode(), safely=True)
    if hasattr(os, "sync"):
        os.sync()  # what the card speaks of is on the disk, too
