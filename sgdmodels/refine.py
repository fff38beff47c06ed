"""The same SDE with a finer integrator, and many of them on one Brownian path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from .dynamics import Dynamics

LARGEST_REFINEMENT = 64


def joined_paths(everyone: Mapping[str, Dynamics]) -> dict[str, Dynamics]:
    """The same dynamics, with refinements such that all Brownian paths sum the same fine increments, twice as fine as
    the finest integrator needs, for the check by halving."""
    finest = math.lcm(*(2 * substeps(d) for d in everyone.values() if has_field(d, "refinement", "substeps")), 1)
    if finest > LARGEST_REFINEMENT:
        return dict(everyone)  # as fine as asked for, each on a path of its own
    return {
        name: replace(d, refinement=finest // substeps(d)) if has_field(d, "refinement") else d  # type: ignore[call-arg]
        for name, d in everyone.items()
    }


def halved(dynamics: Dynamics) -> Dynamics | None:
    """The same SDE or flow with half the integrator's step, on the same Brownian path if it has one.

    None for what has no substeps.

    >>> from sgdmodels import SDE
    >>> finer = halved(SDE(0.1, 4, substeps=5, refinement=4))
    >>> finer.substeps, finer.refinement
    (10, 2)
    """
    if not has_field(dynamics, "substeps"):
        return None
    finer: dict[str, Any] = {"substeps": 2 * substeps(dynamics)}
    refinement = int(getattr(dynamics, "refinement", 1))
    if refinement % 2 == 0:
        finer["refinement"] = refinement // 2
    return replace(dynamics, **finer)


def substeps(dynamics: Any) -> int:
    """Integrator steps in one step of SGD."""
    return int(getattr(dynamics, "substeps", 1))


def has_field(dynamics: Dynamics, *names: str) -> bool:
    """Whether a dynamics has all these settings."""
    return set(names) <= {f.name for f in fields(dynamics)}
