"""Specs: losses, dynamics, metrics and runs as plain data, whose hash is their identity, and documents of people.

Nothing is evaluated or unpickled: a name is looked up among those that specs may use, and only modules that the caller
trusts are imported.
"""

from typing import TYPE_CHECKING

from ..errors import SpecError
from .arrays import array_node
from .build import build
from .identity import array_sha256, identity
from .nodes import node

if TYPE_CHECKING:
    from .asked_card import Card, scorecard
    from .asked_run import Simulation, simulation
    from .document import Document, read
    from .subjects import Subject, dynamics_prototype, metrics_of, model_of, subject_of

__all__ = [
    "Card",
    "Document",
    "Simulation",
    "SpecError",
    "Subject",
    "array_node",
    "array_sha256",
    "build",
    "dynamics_prototype",
    "identity",
    "metrics_of",
    "model_of",
    "node",
    "read",
    "scorecard",
    "simulation",
    "subject_of",
]


def __getattr__(name: str) -> object:
    """Documents, when the first is read: no run needs them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import asked_card, asked_run, document, subjects

    return next(vars(module)[name] for module in (asked_card, asked_run, document, subjects) if name in vars(module))
