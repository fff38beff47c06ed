"""What a monitor has recorded, as the Dataset that a run gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...arguments import FloatArray
from ...dataset import labels
from ...metrics import Metric

if TYPE_CHECKING:
    import xarray as xr


class Record(NamedTuple):
    """Values at one step, a number or one for each batch size; what they are called; and what they cost.

    inside: whether the parameters were in the ball that divergence leaves.
    """

    step: int
    step_size: float
    values: Mapping[str, FloatArray]
    about: Mapping[str, Mapping[str, str]]
    inside: bool
    seconds: float


def records_dataset(
    records: Sequence[Record], metrics: Sequence[Metric], batch_sizes: Sequence[int], attributes: Mapping[str, Any]
) -> xr.Dataset:
    """`records` in the dims, names and units of `sgdmodels.simulate`: one replica; NaN where something is missing."""
    import xarray as xr

    about: dict[str, Mapping[str, str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for record in records:
        for name, value in record.values.items():
            about[name] = record.about.get(name) or labels(metrics, name)
            shapes[name] = value.shape
    variables: dict[str, Any] = {}
    for name, shape in shapes.items():
        nothing = np.full(shape, np.nan)
        column = np.array([record.values.get(name, nothing) for record in records])
        variables[name] = (("replica", "step", "batch_size")[: column.ndim + 1], column[None], about[name])
    words = (
        "recorded step from which on the parameters were outside |theta| <= 1e6 max(1, |init|); NaN if they were not"
    )
    variables["diverged_at"] = ("replica", [left_for_good(records)], {"long_name": words, "units": "step"})
    seconds = [record.seconds for record in records]
    variables["measurement_seconds"] = ("step", seconds, {"long_name": "time that the record took", "units": "s"})
    steps = np.array([record.step for record in records], dtype=np.int64)
    training = np.full(len(steps), batch_sizes[0] if batch_sizes else 0)
    coordinates = {
        "replica": ("replica", np.zeros(1, dtype=np.int64), {"long_name": "replica"}),
        "step": ("step", steps, {"long_name": "step", "units": "optimizer steps"}),
        "step_size": ("step", [r.step_size for r in records], {"long_name": "step size in force", "units": "1"}),
        "training_batch_size": ("step", training, {"long_name": "batch size of the training loop"}),
        "batch_size": ("batch_size", list(batch_sizes), {"long_name": "batch size of the metric"}),
    }
    named = {"metrics": json.dumps([metric.name for metric in metrics])}
    return xr.Dataset(variables, coordinates, {**attributes, **named})


def left_for_good(records: Sequence[Record]) -> float:
    """The first of the last records that are all outside; NaN if the last one is inside."""
    first = np.nan
    for record in reversed(records):
        if record.inside:
            break
        first = record.step
    return first
