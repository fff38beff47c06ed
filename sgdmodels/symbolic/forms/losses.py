"""Every closed form of every built-in loss, by topic and name; nothing is derived until one is called."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..closed_form import ClosedForm
from .loss_edges import EDGES
from .loss_sharpness import SHARPNESS
from .loss_topics import LOSSES


def _topic(name: str) -> dict[str, Callable[[], ClosedForm]]:
    forms = {key: maker for loss in LOSSES[name] for key, maker in loss.forms().items()}
    return forms | {key: functools.partial(make, key) for key, make in (SHARPNESS[name] | EDGES[name]).items()}


LOSS_DERIVATIONS: dict[str, dict[str, Callable[[], ClosedForm]]] = {name: _topic(name) for name in LOSSES}
