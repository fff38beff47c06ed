"""Which names a spec may use, and the thing behind each; nothing else can be reached by a name.

Inside the package these are losses, dynamics and recipes, `SymbolicModel`, and the nets, losses, data and recipes of
`sgdmodels.networks`, by their short name or their public import path. Outside of it, only modules below a top-level
name that the caller trusts are imported, and only what is defined in one of them counts.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from types import FunctionType
from typing import Any

from ..dynamics import Dynamics
from ..errors import SpecError
from ..metrics import Metric
from ..models import Model

ROOT = __name__.partition(".")[0]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*", re.ASCII)
LONGEST = 200
LIGHT = ("models", "dynamics", "recipes")
SYMBOLIC = ("symbolic",)
NETWORKS = ("networks", "networks.nets", "networks.losses", "networks.data", "networks.recipes")
RECIPES = ("recipes", "networks.recipes")  # functions of a seed, kept as functions
VALUES = ("networks.losses",)  # functions that are themselves the value


@functools.cache
def members(namespace: str) -> dict[str, Any]:
    """What specs may use of a namespace of the package, by name."""
    try:
        module = importlib.import_module(f"{ROOT}.{namespace}")
    except ImportError as problem:
        raise SpecError(f"{ROOT}.{namespace} cannot be imported ({problem}); install what it needs") from problem
    names = {"symbolic": ["SymbolicModel"], "networks": ["Probe", "Accuracy"]}.get(namespace)
    if names is None:
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
        names = [name for name in getattr(module, "__all__", own) if not name.startswith("_")]
    return {name: thing for name in names if _usable(thing := getattr(module, name), namespace)}


def _usable(thing: Any, namespace: str) -> bool:
    if namespace in RECIPES:
        return inspect.isfunction(thing) and "seed" in inspect.signature(thing).parameters
    if namespace in ("models", "dynamics"):
        return inspect.isclass(thing) and issubclass(thing, Model | Dynamics) and not inspect.isabstract(thing)
    return inspect.isfunction(thing) or namespace in ("symbolic", "networks")


def is_recipe(thing: Any) -> bool:
    """Whether `thing` is a function that a node keeps as a function: of the package's recipes, or somebody's own."""
    if not inspect.isfunction(thing):
        return False
    return not _inside(thing.__module__) or any(thing in members(n).values() for n in _namespaces_of(thing, RECIPES))


def is_value(thing: Any) -> bool:
    """Whether `thing` is a function that is itself the value of an argument, such as the loss of a network."""
    return inspect.isfunction(thing) and any(thing in members(n).values() for n in _namespaces_of(thing, VALUES))


def import_path(thing: Any) -> str:
    """The path under which a spec finds a class or function again.

    Raises SpecError, which says what to do, for what no path leads to.

    >>> from sgdmodels import SGD
    >>> import_path(SGD)
    'sgdmodels.dynamics.SGD'
    """
    module, name = thing.__module__, thing.__qualname__
    if _inside(module):
        for namespace in _namespaces_of(thing, (*LIGHT, *SYMBOLIC, *NETWORKS)):
            for known, member in members(namespace).items():
                if member is thing:
                    return f"{ROOT}.{namespace}.{known}"
        raise SpecError(f"{module}.{name} is no public part of {ROOT} that a spec may name")
    if module == "__main__" or "." in name or "<" in name:
        where = "in __main__" if module == "__main__" else "inside a function or class"
        raise SpecError(f"{name} is defined {where}, where no other process finds it; put it into a module of its own")
    path = f"{module}.{name}"
    if getattr(sys.modules.get(module), name, None) is not thing:
        raise SpecError(f"{path} is not found under that name; define {name} at the top level of its module")
    if not NAME.fullmatch(path):
        raise SpecError(f"{path} has a name that specs cannot hold; use ASCII letters, digits and underscores")
    return path


def find(name: Any, trusted: Iterable[str] = (), kind: type | None = None) -> Any:
    """What `name` stands for: a class, a function, or a Metric object. `kind`: a base class to look among first.

    >>> find("LeastSquares").__name__, find("sgdmodels.dynamics.SGD").__name__
    ('LeastSquares', 'SGD')
    """
    if not isinstance(name, str) or len(name) > LONGEST or not NAME.fullmatch(name):
        raise SpecError(f"must be a name such as 'SGD', or a path such as 'mylab.losses.Mine', got {name!r:.100}")
    space, _, last = name.rpartition(".")
    if not space:
        return _short(name, kind)
    if _inside(name):
        return _public(name, space.partition(".")[2], last)
    top = name.partition(".")[0]
    if top not in ({trusted} if isinstance(trusted, str) else set(trusted)):
        raise SpecError(
            f"{name!r} is not part of {ROOT}, and {top!r} is not trusted, so it is not imported; if you know its code, "
            f"pass trusted=[{top!r}] (on the command line: --trust {top})"
        )
    return _foreign(name, space, last, top)


def _short(name: str, kind: type | None) -> Any:
    """The public thing of this name; networks are imported only where nothing else has it."""
    known: dict[str, Any] = {}
    spaces = ("dynamics",) if kind is Dynamics else (*LIGHT, *SYMBOLIC, *NETWORKS)
    for namespace in spaces:
        if namespace in SYMBOLIC and name != "SymbolicModel":
            known["SymbolicModel"] = None  # its name is enough to guess by
            continue
        if namespace in NETWORKS and importlib.util.find_spec("torch") is None:
            continue
        found = members(namespace)
        if name in found:
            return found[name]
        known |= found
    listed = guess(name, known) or f"; known are {', '.join(sorted(known))}"
    raise SpecError(f"{name!r} is not known{' as a dynamics' if kind is Dynamics else ''}{listed}")


def _public(name: str, namespace: str, last: str) -> Any:
    """What a path inside the package stands for."""
    if namespace == "" and last not in ("Probe", "Accuracy"):
        return _short(last, None)
    if namespace in (*LIGHT, *SYMBOLIC, *NETWORKS):
        found = members(namespace)
        if last in found:
            return found[last]
        raise SpecError(f"{name!r} is not something a spec may use{guess(last, found)}")
    open_to_all = ", ".join(f"{ROOT}.{one}" for one in (*LIGHT, *SYMBOLIC, *NETWORKS))
    raise SpecError(f"{name!r} is not something a spec may use; public are the names in {open_to_all}")


def _foreign(name: str, space: str, last: str, top: str) -> Any:
    """What a trusted module defines: a loss, a dynamics, a metric or a function."""
    try:
        module = importlib.import_module(space)
    except Exception as problem:  # somebody's module may raise anything
        raise SpecError(f"{space} cannot be imported: {type(problem).__name__}: {problem}") from problem
    thing = vars(module).get(last)
    if thing is None:
        raise SpecError(f"module {space} has no {last!r}{guess(last, vars(module))}")
    if isinstance(thing, Metric):
        return thing
    usable = isinstance(thing, FunctionType) or (inspect.isclass(thing) and issubclass(thing, Model | Dynamics))
    if not usable:
        raise SpecError(f"{name!r} must be a loss, a dynamics, a Metric or a recipe function, got {thing!r:.200}")
    if thing.__module__.partition(".")[0] != top:
        raise SpecError(f"{name!r} is defined in {thing.__module__}, not below {top}; name it where it is defined")
    return thing


def guess(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence; "" if nothing is near."""
    close = difflib.get_close_matches(word, list(known), 1)
    if not close:
        folded = {name.lower().replace("_", ""): name for name in known}
        close = difflib.get_close_matches(word.lower().replace("_", ""), list(folded), 1)
        close = [folded[one] for one in close]
    return f"; did you mean {close[0]!r}?" if close else ""


def _inside(module: str) -> bool:
    return module.partition(".")[0] == ROOT


def _namespaces_of(thing: Any, among: Iterable[str]) -> list[str]:
    """The namespaces that may show `thing`: those of its own layer, so that none is imported in vain."""
    layer = thing.__module__.split(".")[1] if thing.__module__.count(".") else ""
    return [one for one in among if one.split(".")[0] == layer] if _inside(thing.__module__) else []
