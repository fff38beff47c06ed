"""Names of dynamics in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .dynamics import Dynamics
from .errors import InvalidArgument

HIDDEN = ("step_size", "batch_size", "refinement")


def labelled(reference: Any, candidates: Any) -> dict[str, Dynamics]:
    """Reference and candidates by label; labels are made of what sets a dynamics apart."""
    if isinstance(candidates, Dynamics) or not isinstance(candidates, Mapping | Iterable):
        raise InvalidArgument(
            f"candidates must be a list of dynamics or a mapping of names to them, got {candidates!r}"
        )
    pairs = list(candidates.items()) if isinstance(candidates, Mapping) else [(label(c), c) for c in candidates]
    everyone: dict[str, Any] = {}
    for name, dynamics in [(label(reference), reference), *pairs]:
        if not isinstance(dynamics, Dynamics):
            raise InvalidArgument(f"reference and candidates must be dynamics such as sm.SDE(...), got {dynamics!r}")
        if name in everyone:
            raise InvalidArgument(f"two dynamics are called {name!r}; pass candidates as a mapping with distinct names")
        if not isinstance(getattr(dynamics, "step_size", None), float):
            raise InvalidArgument(f"{name} must have a constant step_size to be compared, got a schedule")
        everyone[name] = dynamics
    sizes = {float(d.step_size) for d in everyone.values()}
    if len(sizes) > 1:
        raise InvalidArgument(f"all dynamics must have one step_size to share a time axis, got {sorted(sizes)}")
    return everyone


def label(dynamics: Any) -> str:
    """Class and fields that are not at their defaults, without step size and batch size.

    >>> from sgdmodels import SDE, NoisyGD
    >>> label(NoisyGD(0.1, 4, "diagonal")), label(SDE(0.1, 4, order=2))
    ('NoisyGD diagonal', 'SDE order=2')
    """
    if not isinstance(dynamics, Dynamics):
        return repr(dynamics)
    words = [type(dynamics).__name__]
    for f in fields(dynamics):
        value = getattr(dynamics, f.name)
        if f.name in HIDDEN or isinstance(value, np.ndarray) or value == f.default:
            continue
        if f.name == "integrator" and replace(dynamics, integrator=None).integrator == value:  # type: ignore[call-arg,attr-defined]
            continue
        plain = f.name if value is True else str(value) if isinstance(value, str) else f"{f.name}={value:.4g}"
        words.append(plain)
    return " ".join(words)
