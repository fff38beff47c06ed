"""What documents of all commands have in common: the loss or recipe they are about, where it starts, its dynamics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import LARGEST_INTEGER, FloatArray, float_array, integer
from ..dynamics import Dynamics
from ..errors import InvalidArgument, SpecError
from ..metrics import Metric
from ..models import Model
from .document import Document
from .identity import Path
from .names import find, is_recipe

STAND_INS = {"step_size": 1e-3, "batch_size": 1}  # what a prototype has until the real values are put in
LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True, eq=False)
class Subject:
    """A loss with its start, and what a recipe adds: the step size, the steps to a plateau, curvature directions."""

    model: Model
    init: FloatArray
    step_size: float | None = None
    steps: int | None = None
    directions: FloatArray | None = None

    @property
    def shared(self) -> dict[str, float]:
        """Arguments that dynamics may leave out, because the recipe knows them."""
        return {} if self.step_size is None else {"step_size": self.step_size}


def model_of(document: Document) -> Model | Callable[..., Any]:
    """What a document is about: the loss of its table [model], or the function of its table [recipe].

    The function takes a `seed` and gives a recipe; its other arguments are fixed (functools.partial). Raises SpecError.
    """
    given = [key for key in ("model", "recipe") if key in document.data]
    if len(given) != 1:
        what = "has both [model] and [recipe]; drop one" if given else "needs a table [model] or [recipe]"
        raise document.error(what, tuple(given[:1]))
    document.table((given[0],))
    if given == ["model"]:
        return document.build(("model",), Model)
    named = document.checked(("recipe", "use"), lambda _, use: find(use, document.trusted))
    if named is not None and not is_recipe(named):
        raise document.error("must name a recipe, a function such as 'slow_tail_network'", ("recipe", "use"))
    return document.build(("recipe",))


def subject_of(document: Document, seed: int) -> Subject:
    """The loss of a document and its start: of [recipe], or of [model] with `init`, by default 0.1 N(0, 1) of `seed`.

    A recipe is called with its own `seed` where its table has one, else with `seed`. Raises SpecError.
    """
    found = model_of(document)
    if isinstance(found, Model):
        init = document.checked(("init",), lambda name, _: _init(name, document, found))
        return Subject(found, 0.1 * np.random.default_rng(seed).standard_normal(found.dim) if init is None else init)
    if "init" in document.data:
        raise document.error("belongs to [model]; a recipe brings its own, so drop it", ("init",))
    try:
        recipe = found(**({} if "seed" in document.table(("recipe",)) else {"seed": seed}))
    except InvalidArgument as problem:
        raise document.blame(problem) from problem
    except Exception as problem:  # a recipe of somebody's own may raise anything
        raise document.error(f"cannot be made: {type(problem).__name__}: {problem}", ("recipe",)) from problem
    model = getattr(recipe, "probe", None) or getattr(recipe, "model", None)
    if not isinstance(model, Model) or not hasattr(recipe, "init"):
        raise document.error(f"must give a Recipe with a model and an init, got {recipe!r:.200}", ("recipe", "use"))
    optional = {name: getattr(recipe, name, None) for name in ("step_size", "steps", "directions")}
    return Subject(model, np.asarray(recipe.init), **optional)


def dynamics_prototype(
    document: Document, path: Sequence[str], missing: Sequence[str] | Mapping[str, Any] = ("step_size", "batch_size")
) -> Dynamics:
    """The dynamics of the node at `path`, in which the arguments named in `missing` may be left out.

    A mapping says what then takes their place; names alone stand for values that the caller replaces. Arguments that
    this dynamics does not have are passed over. Raises SpecError.
    """
    field = tuple(path)
    table = document.table(field)
    values = missing if isinstance(missing, Mapping) else {name: STAND_INS[name] for name in missing}
    try:
        known: Any = inspect.signature(find(table.get("use"), document.trusted, Dynamics)).parameters
    except SpecError as problem:
        what = problem.what if "use" in table else "missing 'use', the name of a dynamics such as \"SGD\""
        raise document.error(what, (*field, "use") if "use" in table else field) from problem.__cause__
    return document.build(field, Dynamics, **{name: value for name, value in values.items() if name in known})


def metrics_of(document: Document, default: Sequence[Any]) -> list[Any]:
    """The metrics of a document: names, or {use = "mylab.metrics.MINE"}."""
    given = document.value(("metrics",))
    if isinstance(given, list):
        return [_metric(document, ("metrics", k)) for k in range(len(given))]
    return list(default) if given is None else [_metric(document, ("metrics",))]


def integers(low: int, high: int = LARGEST_INTEGER, why: str = "") -> Callable[[str, Any], Any]:
    """A check for one integer or several distinct ones."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return integer(name, value, low, high, why)
        numbers = [integer(name, one, low, high, why) for one in value]
        if not numbers or len(set(numbers)) < len(numbers):
            raise InvalidArgument(f"{name} must be a number or distinct numbers, got {value!r:.200}")
        return numbers

    return check


def boolean(name: str, value: Any) -> bool:
    """`value` if it is true or false."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} must be true or false, got {value!r:.200}")
    return value


def words(name: str, value: Any) -> str:
    """`value` if it is text."""
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be text, got {value!r:.200}")
    return value


def _init(name: str, document: Document, model: Model) -> FloatArray:
    """The start of a [model]: one vector, or one row for each replica."""
    given = document.array((name,))
    try:
        rows = np.ndim(given) == 2
    except ValueError:  # ragged: float_array says so
        rows = False
    return float_array(name, given, ("replicas", model.dim) if rows else (model.dim,))


def _metric(document: Document, field: Path) -> Any:
    found = document.value(field)
    if not isinstance(found, str | dict):
        raise document.error(f"must be the name of a metric, got {found!r:.200}", field)
    return document.build(field, Metric)
