"""Every closed form of every built-in loss, by topic and name; nothing is derived until one is called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from ..closed_form import ClosedForm
from ..typeset import definition_latex
from .loss_edges import EDGES
from .loss_forms import LossForms
from .loss_sharpness import SHARPNESS
from .loss_topics import LOSSES


@dataclass(frozen=True)
class Family:
    """A loss whose forms begin with `prefix`: in words, as LaTeX, and which of its parameters stand for the others."""

    prefix: str
    words: str
    definition: str
    shown: str


def _family(loss: LossForms) -> Family:
    definition = loss.calculus.definition
    shown = " and ".join(loss.arrays) if len(loss.arrays) < len(definition.parameters) else ""
    return Family(loss.prefix, loss.words, definition_latex(definition), shown)


def _topic(name: str) -> dict[str, Callable[[], ClosedForm]]:
    forms = {key: maker for loss in LOSSES[name] for key, maker in loss.forms().items()}
    return forms | {key: functools.partial(make, key) for key, make in (SHARPNESS[name] | EDGES[name]).items()}


LOSS_DERIVATIONS: dict[str, dict[str, Callable[[], ClosedForm]]] = {name: _topic(name) for name in LOSSES}
FAMILIES: dict[str, tuple[Family, ...]] = {topic: tuple(map(_family, losses)) for topic, losses in LOSSES.items()}
