"""What metrics keep from one stretch of a run to the next, however its replicas are shared among workers.

A metric keeps an array with a row for each replica under its own name, or one array of any shape for each replica under
`NAME, replica ID`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidArgument

if TYPE_CHECKING:
    from .simulate import Run

OF_ONE_REPLICA = re.compile(r", replica (\d+)$")


def gathered(run: Run, workers: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """What the metrics of a run keep in all its workers, as copies."""
    parts = [(rows, kept) for worker in workers for owner, rows, kept in worker.memories() if owner is run]
    table: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(name for _, kept in parts for name in kept):
        if OF_ONE_REPLICA.search(name):
            (table[name],) = (as_array(name, kept[name]) for _, kept in parts if name in kept)
            continue
        pieces = [as_array(name, kept.get(name)) for _, kept in parts]
        if any(len(piece) != rows.stop - rows.start for piece, (rows, _) in zip(pieces, parts, strict=True)):
            raise unfit(name)
        table[name] = np.concatenate(pieces)
    return table


def hand_out(table: dict[str, NDArray[Any]], run: Run, workers: Sequence[Any]) -> None:
    """Give each worker what the metrics of its replicas kept."""
    for worker in workers:
        for owner, rows, kept in worker.memories():
            if owner is not run:
                continue
            ids = set(run.replicas[rows].tolist())
            for name, values in table.items():
                of_one = OF_ONE_REPLICA.search(name)
                if of_one is None:
                    kept[name] = values[rows].copy()
                elif int(of_one[1]) in ids:
                    kept[name] = values.copy()


def as_array(name: str, value: Any) -> NDArray[Any]:
    """A copy of an array of numbers, or of a tensor on whichever device."""
    array = np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    if array.ndim == 0 or array.dtype.kind not in "biufc":
        raise unfit(name)
    return array


def unfit(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"what a metric keeps in snapshots.memory[{name!r}] cannot be stored; keep an array with a row for each "
        f"replica there, or one array for each under '{name}, replica ID', or run without a checkpoint"
    )
