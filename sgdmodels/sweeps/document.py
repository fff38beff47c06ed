"""A grid from a document of a person's: TOML or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import specs
from ..arguments import integer, real
from ..errors import InvalidArgument
from ..models import Model
from .grid import Grid

KEYS = (
    "recipe", "model", "init", "dynamics", "step_size", "batch_size", "seed", "replicas", "steps", "record_every",
    "metrics",
)  # fmt: skip
SPACINGS: dict[str, Any] = {"linspace": np.linspace, "geomspace": np.geomspace}
MOST = 10**6  # values along an axis
METRICS = ("loss", "batch_sharpness", "lambda_max")


def grid_of(document: specs.Document, extra: Iterable[str] = ()) -> Grid:
    """The grid that a document describes. extra: further keys at its top that the caller reads.

    Axes are lists, or {geomspace = [first, last, how_many]} (or linspace). [recipe] is called with the seed of every
    cell unless it has a `seed` of its own; it brings default steps and step size. [dynamics.NAME] are dynamics without
    step size and batch size. Raises SpecError with the line and the field.

    >>> import pathlib, tempfile, sgdmodels as sm
    >>> text = '''step_size = {geomspace = [0.1, 0.4, 3]}
    ... batch_size = [2, 8]
    ... steps = 1000
    ... [recipe]
    ... use = "slow_tail_network"
    ... [dynamics.SGD]
    ... use = "SGD"
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "grid.toml")
    ...     _ = path.write_text(text)
    ...     grid = grid_of(sm.specs.read(path))
    >>> len(grid), grid.step_size
    (6, (0.1, 0.2, 0.4))
    """
    document.check_keys((*KEYS, *extra), ("dynamics", "batch_size"))
    found = specs.model_of(document)
    seeds = document.checked(("seed",), _whole(0), 0)
    default_step, default_steps = None, None
    if not isinstance(found, Model):
        about = specs.subject_of(document, int(np.ravel(seeds)[0]))
        default_step, default_steps = about.step_size, about.steps
    for key, default in (("steps", default_steps), ("step_size", default_step)):
        if default is None and key not in document.data:
            raise document.error(f"missing {key!r}, which only a [recipe] can bring along")
    dynamics = {}
    for name in document.table(("dynamics",)):
        field = ("dynamics", name)
        for key in ("step_size", "batch_size"):
            if key in document.table(field):
                raise document.error(f"the grid varies it: write {key} at the top of the file", (*field, key))
        dynamics[name] = specs.dynamics_prototype(document, field)
    init = None
    if isinstance(found, Model) and "init" in document.data:
        init = document.array(("init",))
    try:
        return Grid(
            found, dynamics, init=init, seed=seeds, trusted=document.trusted,
            step_size=document.checked(("step_size",), _spaced(lambda k, v: real(k, v, open_low=True)), default_step),
            batch_size=document.checked(("batch_size",), _spaced(lambda k, v: integer(k, v, 1), rounded=True)),
            steps=document.checked(("steps",), lambda k, v: integer(k, v, 1), default_steps),
            replicas=document.checked(("replicas",), _whole(1), 1),
            record_every=document.checked(("record_every",), lambda k, v: integer(k, v, 1), 100),
            metrics=specs.metrics_of(document, METRICS),
        )  # fmt: skip
    except InvalidArgument as problem:
        raise document.blame(problem) from problem


def _whole(low: int) -> Any:
    """One or several whole numbers."""

    def check(name: str, value: Any) -> Any:
        if value == []:
            raise InvalidArgument(f"{name} must be one value or distinct values, got none")
        return [integer(name, v, 0) for v in value] if isinstance(value, list) else integer(name, value, low)

    return check


def _spaced(check_one: Any, *, rounded: bool = False) -> Any:
    """One value, a list of them, or evenly spaced ones."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return [check_one(name, v) for v in (value if isinstance(value, list) else [value])]
        if len(value) != 1 or next(iter(value)) not in SPACINGS:
            raise InvalidArgument(
                f"{name} must be a list or {{geomspace = [first, last, how_many]}} (or linspace), got {value!r}"
            )
        ((kind, between),) = value.items()
        if not isinstance(between, list) or len(between) != 3:
            raise InvalidArgument(f"{name} must hold {kind} = [first, last, how_many], got {between!r}")
        first, last = (real(f"{kind}", v, open_low=True) for v in between[:2])
        points = SPACINGS[kind](first, last, integer(f"{name} must hold a number of values that", between[2], 1, MOST))
        if rounded:
            return sorted({int(p) for p in np.rint(points)})
        return [float(f"{p:.12g}") for p in points]  # 0.2, not 0.20000000000000004

    return check
