"""What a sweep runs: every combination of step size, batch size, dynamics and seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike

from .. import specs
from ..arguments import FloatArray, float_array, integer, real
from ..dynamics import Dynamics
from ..errors import InvalidArgument
from ..labels import label
from ..measure import checked_batch_sizes, checked_metrics
from ..metrics import Metric
from ..models import Model
from ..simulate import Run, replica_ids
from .cell import AXES, Cell, loss_and_start

FORMAT = 1  # of the plain form of a grid, and of the store that is made for it
PARTS = {
    "format", "dynamics", "dynamics_order", "step_size", "batch_size", "seed", "replicas", "steps", "record_every",
    "metrics",
}  # fmt: skip
MOST_REPLICAS = 10**6
RESERVED = {*AXES, "replica", "step", "finished", "diverged_at"}  # names that a sweep has for other things


class Grid:
    """All combinations of `step_size`, `batch_size`, `dynamics` and `seed`; each is a run of `steps` steps, a *cell*.

    model: a loss, together with `init` (d,); or a recipe such as `sgdmodels.recipes.slow_tail_network(0)`; or the
    recipe's function itself, which is then called with the seed of every cell: other data, another start. dynamics: a
    list, or a mapping of names, of dynamics such as `sm.SDE(0.1, 8, substeps=4)`, whose step size and batch size are
    replaced by those of the cell. Without `init` a loss starts at 0.1 times standard normal numbers drawn from the
    seed. replicas, record_every, metrics: as in `sgdmodels.simulate`. trusted: names of packages besides sgdmodels from
    which workers may import losses, dynamics and recipes.

    `spec` is the same in plain data, and `identity` its hash: the name of this grid in every store and figure.
    Raises InvalidArgument.

    >>> import sgdmodels as sm
    >>> grid = Grid(
    ...     sm.recipes.slow_tail_network, [sm.SGD(0.4, 8), sm.GD(0.4)], step_size=[0.2, 0.4], batch_size=[2, 8, 32],
    ...     seed=range(5), steps=1000,
    ... )
    >>> len(grid), grid.shape  # GD has no batch size, so one of its runs stands for all three
    (40, (2, 3, 2, 5))
    """

    def __init__(
        self,
        model: Any,
        dynamics: Dynamics | Iterable[Dynamics] | Mapping[str, Dynamics],
        *,
        step_size: float | Iterable[float],
        batch_size: int | Iterable[int],
        steps: int,
        seed: int | Iterable[int] = 0,
        replicas: int | Iterable[int] = 1,
        record_every: int = 100,
        metrics: Iterable[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
        init: ArrayLike | None = None,
        trusted: Iterable[str] = (),
    ) -> None:
        self.trusted = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        self.step_size = _axis("step_size", step_size, lambda v: real("step_size", v, open_low=True))
        self.batch_size = _axis("batch_size", batch_size, lambda v: integer("batch_size", v, 1))
        self.seed = _axis("seed", seed, lambda v: integer("seed", v, 0, 2**63 - 1))
        self.steps = integer("steps", steps, 1)
        self.record_every = integer("record_every", record_every, 1)
        self.replicas = _replicas(replicas)
        self.metrics = _metrics(metrics)
        self.dynamics = _prototypes(dynamics, self.step_size[0], self.batch_size[0])
        self.arrays: dict[str, FloatArray] = {}
        self._loss = self._loss_spec(model, init)
        self._nodes = {name: _without_values(specs.node(one, self.arrays)) for name, one in self.dynamics.items()}
        self._check()

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], arrays: Mapping[str, FloatArray], trusted: Iterable[str] = ()) -> Grid:
        """The grid whose `spec` and `arrays` these are."""
        version = spec.get("format")
        missing = PARTS - spec.keys()
        if missing:
            raise InvalidArgument(f"spec must be that of a grid, but has no {', '.join(sorted(missing))}")
        if not isinstance(version, int) or version > FORMAT:
            raise InvalidArgument(
                f"this sweep has format {version!r}, and this sgdmodels reads formats up to {FORMAT}; upgrade sgdmodels"
            )
        names = tuple(trusted)
        recipe = "recipe" in spec
        model = specs.build(spec["recipe" if recipe else "model"], arrays, names)
        start = {"step_size": spec["step_size"][0], "batch_size": spec["batch_size"][0]}
        prototypes = {}
        for name in spec["dynamics_order"]:
            node = spec["dynamics"][name]
            given = {key: value for key, value in start.items() if key in node["varied"]}
            plain = {key: value for key, value in node.items() if key != "varied"}
            prototypes[name] = specs.build({**plain, **given}, arrays, names)
        axes = {name: spec[name] for name in ("step_size", "batch_size", "seed", "replicas")}
        init = None if spec.get("init") is None else arrays[spec["init"]["sha256"]]
        return cls(
            model, prototypes, **axes, steps=spec["steps"], record_every=spec["record_every"],
            metrics=[m if isinstance(m, str) else specs.build(m, arrays, names) for m in spec["metrics"]],
            init=init, trusted=names,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of step sizes, batch sizes, dynamics and seeds."""
        return len(self.step_size), len(self.batch_size), len(self.dynamics), len(self.seed)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """This grid as plain data; arrays stand there by their hash."""
        return {
            "format": FORMAT, **self._loss, "dynamics": self._nodes, "dynamics_order": list(self._nodes),
            "step_size": list(self.step_size),
            "batch_size": list(self.batch_size), "seed": list(self.seed), "replicas": list(self.replicas),
            "steps": self.steps, "record_every": self.record_every,
            "metrics": [specs.node(metric, self.arrays) for metric in self.metrics],
        }  # fmt: skip

    @cached_property
    def identity(self) -> str:
        """Hash of `spec`: two grids with one identity give the same numbers."""
        return specs.identity(self.spec)

    @cached_property
    def batchless(self) -> tuple[bool, ...]:
        """Which dynamics have no batch size: one run of theirs stands for all."""
        return tuple("batch_size" not in _names(one) for one in self.dynamics.values())

    def __len__(self) -> int:
        rows, sizes, _, seeds = self.shape
        return rows * seeds * sum(1 if alone else sizes for alone in self.batchless)

    def __repr__(self) -> str:
        text = " x ".join(f"{len(getattr(self, axis))} {axis}" for axis in AXES)
        return f"Grid({text}, {len(self)} cells of {self.steps} steps, {self.identity[:12]})"

    def cells(self) -> Iterator[Cell]:
        """All cells, one seed after the other."""
        rows, sizes, kinds, seeds = self.shape
        for seed in range(seeds):
            for kind in range(kinds):
                for row in range(rows):
                    if self.batchless[kind]:
                        yield Cell(row, None, kind, seed)
                    else:
                        yield from (Cell(row, size, kind, seed) for size in range(sizes))

    def job(self, cell: Cell, threads: int = 1) -> dict[str, Any]:
        """All that a worker needs to run a cell, besides the arrays: plain data."""
        name = list(self.dynamics)[cell.dynamics]
        values = {"step_size": self.step_size[cell.step_size]}
        sizes = list(self.batch_size)
        if cell.batch_size is not None:
            values["batch_size"] = self.batch_size[cell.batch_size]
            sizes = [self.batch_size[cell.batch_size]]
        node = {key: value for key, value in self._nodes[name].items() if key != "varied"}
        return {
            **self._loss, "dynamics": {**node, **values}, "steps": self.steps, "record_every": self.record_every,
            "replicas": list(self.replicas), "metrics": self.spec["metrics"], "batch_size": sizes,
            "seed": self.seed[cell.seed], "threads": threads, "trusted": list(self.trusted),
        }  # fmt: skip

    def _loss_spec(self, model: Any, init: ArrayLike | None) -> dict[str, Any]:
        """The loss and its start in plain data."""
        if isinstance(model, Model):
            if init is None:
                return {"model": specs.node(model, self.arrays), "init": None}
            kept: dict[str, FloatArray] = {}
            node = specs.array_node(float_array("init", init, (model.dim,)), kept)
            self.arrays.update(kept)
            return {"model": specs.node(model, self.arrays), "init": node}
        if init is not None:
            raise InvalidArgument("init belongs to a loss; a recipe brings its own, so leave init out")
        if hasattr(model, "init") and isinstance(getattr(model, "model", None), Model):
            return self._loss_spec(model.model, model.init)
        if not callable(model):
            raise InvalidArgument(
                "model must be a loss such as sm.models.LeastSquares(...), a recipe, or a recipe's function such as "
                f"sm.recipes.slow_tail_network, got {model!r}"
            )
        return {"recipe": specs.node(model, self.arrays)}

    def _check(self) -> None:
        """Whatever a cell could complain of is said now, on the first seed."""
        loss, start = loss_and_start(self.job(next(self.cells())), self.arrays)
        value = loss.loss(start)
        self.loss_at_start = value if math.isfinite(value) else None
        first_step, first_size = self.step_size[0], self.batch_size[0]
        for name, prototype in self.dynamics.items():
            try:
                Run(
                    loss, with_values(prototype, first_step, first_size), self.steps, start, self.replicas,
                    self.record_every, self.metrics, [first_size], self.seed[0],
                )  # fmt: skip
                for step in self.step_size:
                    with_values(prototype, step, first_size).check_model(loss)
                for size in self.batch_size:
                    checked_batch_sizes(loss, size)
                    with_values(prototype, first_step, size).plan(loss.samples)
            except InvalidArgument as problem:
                raise InvalidArgument(f"{problem} (dynamics {name!r})") from None


def with_values(prototype: Any, step_size: float, batch_size: int) -> Dynamics:
    """The dynamics at these values of what it has."""
    values = {"step_size": step_size, "batch_size": batch_size}
    changed: Dynamics = replace(prototype, **{name: values[name] for name in values if name in _names(prototype)})
    return changed


def _names(dynamics: Dynamics) -> set[str]:
    return {f.name for f in fields(dynamics)}


def _without_values(node: dict[str, Any]) -> dict[str, Any]:
    """A dynamics without its step size and batch size, and which of them it has."""
    varied = [name for name in ("step_size", "batch_size") if name in node]
    return {"varied": varied, **{key: value for key, value in node.items() if key not in varied}}


def _prototypes(dynamics: Any, step_size: float, batch_size: int) -> dict[str, Dynamics]:
    """Dynamics by name, at the first step size and batch size, so that equal grids have equal prototypes."""
    if isinstance(dynamics, Dynamics):
        dynamics = [dynamics]
    if not isinstance(dynamics, Mapping | Iterable) or isinstance(dynamics, str):
        raise InvalidArgument(f"dynamics must be a list or a mapping of dynamics such as sm.SGD(...), got {dynamics!r}")
    pairs = list(dynamics.items()) if isinstance(dynamics, Mapping) else [(label(one), one) for one in dynamics]
    named: dict[str, Dynamics] = {}
    for name, one in pairs:
        if not isinstance(one, Dynamics):
            raise InvalidArgument(f"dynamics must be such as sm.SGD(0.1, batch_size=8), got {one!r} for {name!r}")
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"dynamics must have names that are text, got {name!r}")
        if name in named:
            raise InvalidArgument(
                f"dynamics must have distinct names, got {name!r}; pass a mapping of names to dynamics"
            )
        for value in ("step_size", "batch_size"):
            if isinstance(getattr(one, value, None), tuple):
                raise InvalidArgument(f"{value} of {name!r} must not be a schedule: the grid varies it")
        named[name] = with_values(one, step_size, batch_size)
    if not named:
        raise InvalidArgument("dynamics must hold at least one, got none")
    return named


def _axis(name: str, value: Any, checked: Any) -> tuple[Any, ...]:
    """One or several distinct values, in their order."""
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    axis = tuple(checked(v) for v in values)
    if not axis or len(set(axis)) != len(axis):
        raise InvalidArgument(f"{name} must be one value or distinct values, got {value!r}")
    return axis


def _replicas(value: Any) -> tuple[int, ...]:
    ids = replica_ids(value)
    integer("replicas", len(ids), 1, MOST_REPLICAS)
    return tuple(ids)


def _metrics(value: Any) -> tuple[Metric, ...]:
    """Metrics whose names are free to name variables of the store."""
    given = [value] if isinstance(value, str | Metric) else value
    if not isinstance(given, Iterable):
        raise InvalidArgument(f'metrics must be names such as ["loss", "lambda_max"], got {value!r}')
    metrics = checked_metrics(list(given))
    for metric in metrics:
        if not metric.name.isidentifier() or not metric.name.isascii() or metric.name in RESERVED:
            raise InvalidArgument(
                f"metric {metric.name!r} cannot be stored: its name must be made of letters, digits and _, and be none "
                f"of {', '.join(sorted(RESERVED))}"
            )
    return metrics
