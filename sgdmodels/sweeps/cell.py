"""One cell of a sweep: where it stands in the grid, and the function that a worker runs for it."""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import specs
from ..arguments import FloatArray
from ..dataset import DIMS, DIVERGED_AT, labels
from ..models import Model
from ..simulate import Run

AXES = ("step_size", "batch_size", "dynamics", "seed")


@dataclass(frozen=True)
class Cell:
    """Numbers of a cell along the axes of its grid; batch_size None: it stands for all of them."""

    step_size: int
    batch_size: int | None
    dynamics: int
    seed: int

    @property
    def name(self) -> str:
        size = "all" if self.batch_size is None else self.batch_size
        return f"{self.step_size}-{size}-{self.dynamics}-{self.seed}"


class Stopped(Exception):
    """The sweep was told to stop while this cell ran."""


@dataclass(frozen=True)
class CellRecords:
    """What a cell gave: (dims, values) and labels by variable, and who took how long."""

    variables: dict[str, tuple[tuple[str, ...], np.ndarray]]
    labels: dict[str, dict[str, str]]
    seconds: float
    worker: str


def compute(job: Mapping[str, Any], arrays: Mapping[str, FloatArray], stop: Any = None) -> CellRecords:
    """Run a cell; `stop` is an event that ends it at the next border of a chunk."""
    started = time.perf_counter()
    loss, start = loss_and_start(job, arrays)
    trusted = tuple(job["trusted"])
    run = Run(
        loss, specs.build(job["dynamics"], arrays, trusted), job["steps"], start, job["replicas"], job["record_every"],
        [m if isinstance(m, str) else specs.build(m, arrays, trusted) for m in job["metrics"]],
        job["batch_size"], job["seed"], threads=job["threads"],
    )  # fmt: skip

    def look(step: int, done: int) -> None:
        if stop is not None and stop.is_set():
            raise Stopped

    _, interrupted = run.drive(run.workers(), at_border=look)
    if interrupted:
        raise Stopped
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (DIMS[: values.ndim], values) for name, values in run.results.items()
    }
    diverged = np.where(run.diverged_at >= 0, run.diverged_at, np.nan)
    variables["diverged_at"] = (("replica",), diverged)
    named = {name: labels(run.metrics, name) for name in run.results}
    named["diverged_at"] = DIVERGED_AT
    return CellRecords(variables, named, time.perf_counter() - started, f"{socket.gethostname()}:{os.getpid()}")


def loss_and_start(job: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> tuple[Model, FloatArray]:
    """The loss of a job and where it starts; the last few losses are kept, since neighbouring cells share them."""
    trusted, known = tuple(job["trusted"]), _Arrays(arrays)
    if "recipe" in job:
        seed = None if "seed" in job["recipe"] else job["seed"]
        return _from_recipe(json.dumps(job["recipe"]), seed, trusted, known)
    model = _loss(json.dumps(job["model"]), trusted, known)
    if job["init"] is None:
        return model, 0.1 * np.random.default_rng(job["seed"]).standard_normal(model.dim)
    return model, arrays[job["init"]["sha256"]]


class _Arrays(dict[str, FloatArray]):
    """Arrays by the hash of their content: equal keys are equal arrays."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arrays) and self.keys() == other.keys()


@functools.lru_cache(maxsize=8)
def _loss(node: str, trusted: tuple[str, ...], arrays: _Arrays) -> Model:
    model: Model = specs.build(json.loads(node), arrays, trusted)
    return model


@functools.lru_cache(maxsize=8)
def _from_recipe(node: str, seed: int | None, trusted: tuple[str, ...], arrays: _Arrays) -> tuple[Model, FloatArray]:
    function = specs.build(json.loads(node), arrays, trusted)
    recipe = function() if seed is None else function(seed)
    model: Model = recipe.model if hasattr(recipe, "model") else recipe.probe
    return model, np.asarray(recipe.init)
