"""From a node to the object: names are looked up among those allowed, arguments checked before the call."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidArgument, SpecError
from ..metrics import METRICS, Metric
from .arrays import is_array, stored_array
from .identity import Path
from .names import find, guess, is_recipe, is_value


def build(node: Any, arrays: Mapping[str, Any], trusted: Iterable[str] = (), *, kind: type | None = None) -> Any:
    """What a node describes: a loss, a dynamics, a Metric, or a recipe (the function, with its arguments fixed).

    arrays: content by hash, as `node` fills it. trusted: top-level names of modules outside of the package that may be
    imported. kind: what the thing must be an instance of.

    Raises SpecError with the path of the field that is wrong.

    >>> build({"use": "SGD", "step_size": 0.1, "batch_size": [[0, 8], [500, 2]]}, {})
    SGD(step_size=0.1, batch_size=((0, 8), (500, 2)), sampling='without_replacement', momentum=0.0, nesterov=False)
    >>> build({"use": "SGD", "step_size": 0.1, "batchsize": 8}, {})
    Traceback (most recent call last):
        ...
    sgdmodels.errors.SpecError: batchsize: unknown key; did you mean 'batch_size'?
    """
    if isinstance(node, str):
        known = {metric.name: metric for metric in METRICS}
        if node not in known:
            raise SpecError(f"unknown metric {node!r}{guess(node, known)}")
        thing: Any = known[node]
    elif isinstance(node, Mapping) and "use" in node:
        thing = _Builder(arrays, (trusted,) if isinstance(trusted, str) else tuple(trusted)).thing(node, (), kind)
    else:
        raise SpecError(f"must be a table with a key 'use' that names what to make, got {node!r:.200}")
    if kind is not None and not isinstance(thing, kind):
        raise SpecError(f"must be a {kind.__name__}, got {type(thing).__name__}", ("use",))
    return thing


def checked_keys(given: Iterable[str], wanted: Iterable[str], needed: Iterable[str] = (), field: Path = ()) -> None:
    """Raise SpecError if a key is not wanted, or a needed one is missing."""
    known = list(wanted)
    present = list(given)
    for key in present:
        if key not in known:
            raise SpecError(
                f"unknown key{guess(key, known) or '; known are ' + (', '.join(known) or 'none')}", (*field, key)
            )
    missing = [key for key in needed if key not in present]
    if missing:
        raise SpecError(f"missing {', '.join(map(repr, missing))}", field)


def blamed(problem: Exception, names: Iterable[str], field: Path) -> SpecError:
    """A complaint about one of the arguments `names` as one about the field that gave it: that which it names first."""
    text = " ".join(str(problem).split())
    found = [(hit.start(), name) for name in names if (hit := re.search(rf"(?<![\w.]){re.escape(name)}\b", text))]
    if not found:
        return SpecError(text, field)
    start, name = min(found)
    return SpecError(text.removeprefix(f"{name} ") if start == 0 else text, (*field, name))


class _Builder:
    """One spec's arrays, and the modules it may import."""

    def __init__(self, arrays: Mapping[str, Any], trusted: tuple[str, ...]) -> None:
        self.arrays, self.trusted = arrays, trusted

    def thing(self, node: Mapping[str, Any], field: Path, kind: type | None = None) -> Any:
        try:
            what = find(node["use"], self.trusted, kind)
        except SpecError as problem:
            raise SpecError(problem.what, (*field, "use")) from problem.__cause__
        given = {key: value for key, value in node.items() if key != "use"}
        if isinstance(what, Metric) or is_value(what):
            checked_keys(given, (), field=field)
            return what
        recipe = is_recipe(what)
        parameters = inspect.signature(what).parameters
        named = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        needed = [] if recipe else [n for n in named if parameters[n].default is inspect.Parameter.empty]
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            named = [*named, *given]
        checked_keys(given, named, needed, field)
        values = {key: self.value(value, (*field, key)) for key, value in given.items()}
        if recipe:
            return functools.partial(what, **values) if values else what
        try:
            return what(**values)
        except InvalidArgument as problem:
            raise blamed(problem, named, field) from problem
        except Exception as problem:  # a class of somebody's own may raise anything
            name = getattr(what, "__name__", str(what))
            raise SpecError(f"{name} cannot be made: {type(problem).__name__}: {problem}", field) from problem

    def value(self, value: Any, field: Path) -> Any:
        """An argument of a call."""
        if isinstance(value, Mapping):
            if isinstance(value.get("use"), str):
                return self.thing(value, field)
            if is_array(value):
                return stored_array(value, self.arrays, field)
            return {key: self.value(entry, (*field, key)) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(entry, (*field, k)) for k, entry in enumerate(value)]
        return value
