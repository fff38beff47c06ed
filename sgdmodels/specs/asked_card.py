"""Documents for score cards: what `sgdmodels.scorecard` is to be called with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from ..arguments import FloatArray, float_array, integer
from ..dynamics import Dynamics
from ..errors import InvalidArgument
from ..models import Model
from .document import Document
from .subjects import LARGEST_SEED, boolean, dynamics_prototype, integers, subject_of, words

KEYS = (
    "model", "recipe", "init", "directions", "reference", "candidates", "steps", "replicas", "batch_sizes",
    "predictions", "interventions", "record_every", "title", "seed",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Card:
    """A score card that a document asks for."""

    model: Model
    reference: Dynamics
    candidates: dict[str, Dynamics]
    steps: int
    replicas: int
    init: FloatArray
    batch_sizes: int | list[int] | None
    predictions: list[str] | None
    directions: FloatArray | None
    interventions: bool
    record_every: int | None
    title: str | None
    seed: int

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `sgdmodels.scorecard`."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def scorecard(document: Document, extra: Iterable[str] = ()) -> Card:
    """The score card that a document describes. extra: further keys at its top that the caller reads.

    [recipe] or [model] as in `simulation`, a node [reference], and a node [candidates.NAME] for each model of SGD; it
    has the step size and batch size of the reference where it leaves them out. Raises SpecError.
    """
    document.check_keys((*KEYS, *extra), ("reference", "candidates"))
    seed = document.checked(("seed",), lambda name, value: integer(name, value, 0, LARGEST_SEED), 0)
    about = subject_of(document, seed)
    reference = dynamics_prototype(document, ("reference",), about.shared)
    shared = {name: getattr(reference, name) for name in ("step_size", "batch_size") if hasattr(reference, name)}
    names = list(document.table(("candidates",)))
    if not names:
        raise document.error("must have at least one table, such as [candidates.SDE]", ("candidates",))
    steps = document.checked(("steps",), lambda name, value: integer(name, value, 100), about.steps)
    if steps is None:
        raise document.error("missing 'steps', the number of steps of every run")
    return Card(
        model=about.model,
        reference=reference,
        candidates={name: dynamics_prototype(document, ("candidates", name), shared) for name in names},
        steps=steps,
        replicas=document.checked(("replicas",), lambda name, value: integer(name, value, 1), 4),
        init=about.init,
        batch_sizes=document.checked(("batch_sizes",), integers(1, about.model.samples, "(the number of samples)")),
        predictions=document.checked(("predictions",), _predictions),
        directions=_directions(document, about.model, about.directions),
        interventions=document.checked(("interventions",), boolean, True),
        record_every=document.checked(("record_every",), lambda name, value: integer(name, value, 1)),
        title=document.checked(("title",), words),
        seed=seed,
    )


def _directions(document: Document, model: Model, default: FloatArray | None) -> FloatArray | None:
    return document.checked(
        ("directions",), lambda name, _: float_array(name, document.array((name,)), (model.samples, "d")), default
    )


def _predictions(name: str, value: Any) -> list[str]:
    """One name or several; which there are, the score card knows."""
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(one, str) for one in given):
        raise InvalidArgument(f'{name} must be names such as ["B1", "MS1"], got {value!r:.200}')
    return given
