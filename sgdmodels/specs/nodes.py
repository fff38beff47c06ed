"""From an object to its node: an import path and the arguments of the call, as plain data."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..dynamics import Dynamics
from ..errors import InvalidArgument, SpecError
from ..metrics import METRICS, Metric
from ..models import Model
from .arrays import array_node
from .build import build
from .identity import Path
from .names import ROOT, import_path, is_recipe, is_value

Node = dict[str, Any]


def node(thing: Any, arrays: dict[str, FloatArray]) -> Any:
    """The node of a loss, a dynamics, a metric or a recipe: {"use": import path, argument: value, ...}.

    A recipe is a function of a seed, perhaps with arguments fixed by functools.partial. A built-in metric is its name.
    Arrays become {"sha256": ..., "shape": ...}, and their content is put into `arrays`. All arguments are
    written out, defaults too, so that equal things have equal nodes. What is given back is what `build` was seen to
    make the same loss or dynamics from.

    Raises SpecError, which says what to do, for what has no node: a class that no other process can import, a loss that
    does not keep its arguments, a network (whose recipe has one).

    >>> from sgdmodels import GD
    >>> node(GD(0.5), {})
    {'use': 'sgdmodels.dynamics.GD', 'step_size': 0.5, 'momentum': 0.0, 'nesterov': False}
    """
    described = unchecked_node(thing, arrays)
    if isinstance(thing, Model | Dynamics):
        _check(thing, described, arrays)
    return described


def unchecked_node(thing: Any, arrays: dict[str, FloatArray]) -> Any:
    """`node` without making the thing again to see that it is the same."""
    described = _thing(thing, arrays, ())
    if described is None:
        raise SpecError(f"must be a loss, a dynamics, a metric or a recipe function, got {thing!r:.200}")
    return described


def _thing(thing: Any, arrays: dict[str, FloatArray], field: Path) -> Any:
    """The node of something with an import path, None if it is something else."""
    if isinstance(thing, Metric):
        return _metric(thing)
    if isinstance(thing, Model):
        return _model(thing, arrays, field)
    if isinstance(thing, functools.partial) or inspect.isfunction(thing):
        return _function(thing, arrays, field)
    if isinstance(thing, Dynamics) or (is_dataclass(thing) and type(thing).__module__.partition(".")[0] == ROOT):
        given = {f.name: getattr(thing, f.name) for f in fields(thing) if f.init}
        return _call(type(thing), given, arrays, field)
    return None


def _call(what: Any, given: Mapping[str, Any], arrays: dict[str, FloatArray], field: Path) -> Node:
    return {"use": import_path(what), **{k: _plain(v, arrays, (*field, k)) for k, v in given.items()}}


def _model(model: Model, arrays: dict[str, FloatArray], field: Path) -> Node:
    if type(model).__module__.startswith(f"{ROOT}.networks."):
        raise SpecError("a network has no node, only the recipe that makes it has; pass a recipe function of a seed")
    path = import_path(type(model))
    try:
        given = model.arguments()
    except InvalidArgument as problem:
        raise SpecError(str(problem), field) from problem
    except Exception as problem:  # a class of somebody's own may raise anything
        raise SpecError(f"arguments() of {path} fails: {type(problem).__name__}: {problem}", field) from problem
    return {"use": path, **{k: _plain(v, arrays, (*field, k)) for k, v in given.items()}}


def _metric(metric: Metric) -> Any:
    if metric in METRICS:
        return metric.name
    module = getattr(metric.evaluate, "__module__", None) or ""
    names = [name for name, value in vars(sys.modules.get(module, object)).items() if value is metric]
    if not names or module == "__main__" or names[0].startswith("_") or module.partition(".")[0] == ROOT:
        raise SpecError(
            f"metric {metric.name!r} is not found by other processes; make it at the top level of the module that "
            "defines its function"
        )
    return {"use": f"{module}.{names[0]}"}


def _function(given: Callable[..., Any], arrays: dict[str, FloatArray], field: Path) -> Node:
    """The node of a recipe, or of a function that is a value itself."""
    function = given.func if isinstance(given, functools.partial) else given
    if not inspect.isfunction(function):
        raise SpecError(f"a recipe must be a plain function of a seed, got {function!r:.200}", field)
    path = import_path(function)
    if is_value(function):
        return {"use": path}
    parameters = inspect.signature(function).parameters
    if not is_recipe(function) or "seed" not in parameters:
        raise SpecError(f"{path} must be a recipe: a function with an argument 'seed'", field)
    fixed: dict[str, Any] = {  # the seed is fixed by functools.partial only
        n: p.default for n, p in parameters.items() if p.default is not p.empty and n != "seed"
    }
    if isinstance(given, functools.partial):
        try:
            fixed |= inspect.signature(function).bind_partial(*given.args, **given.keywords).arguments
        except TypeError as problem:
            raise SpecError(f"{path} cannot be called so: {problem}", field) from None
    return {"use": path, **{k: _plain(v, arrays, (*field, k)) for k, v in fixed.items()}}


def _plain(value: Any, arrays: dict[str, FloatArray], field: Path) -> Any:
    """An argument as plain data."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        if not np.isfinite(number):
            raise SpecError(f"numbers in specs must be finite, got {number!r}", field)
        return number
    if isinstance(value, np.ndarray):
        return _plain(value.item(), arrays, field) if value.ndim == 0 else array_node(value, arrays, field)
    if isinstance(value, list | tuple):
        return [_plain(entry, arrays, (*field, k)) for k, entry in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(entry, arrays, (*field, key)) for key, entry in value.items()}
    described = _thing(value, arrays, field)
    if described is None:
        raise SpecError(
            f"a spec holds text, numbers, arrays, lists and tables, got {type(value).__name__}; keep it out of the "
            "constructor's arguments, or make it from such",
            field,
        )
    return described


def _check(thing: Model | Dynamics, described: Node, arrays: dict[str, FloatArray]) -> None:
    """Raise SpecError if `build` does not make the same thing from its node."""
    path = described["use"]
    again = build(described, arrays, trusted=(path.partition(".")[0],))
    same = type(again) is type(thing) and again.describe() == thing.describe()
    if same and isinstance(thing, Model):
        pairs = zip(thing.data, again.data, strict=True)
        same = all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
    if not same:
        raise SpecError(
            f"{path} made again from its arguments is not the same; keep every argument as an attribute of the same "
            "name and unchanged, or override arguments()"
        )
