"""Names of dynamics in tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .dynamics import SGD, Dynamics, LabelNoiseSGD
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
    for name, dynamics in everyone.items():
        _check_noise(name, dynamics, reference)
    return everyone


def _check_noise(name: str, dynamics: Any, reference: Any) -> None:
    """A model of SGD must have the batch size and the sampling correction of the SGD it is compared with."""
    ours, theirs = getattr(dynamics, "batch_size", None), getattr(reference, "batch_size", None)
    if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs and not _samples(dynamics):
        raise InvalidArgument(
            f"{name} has batch_size={ours} and the reference {theirs}: they must agree; a score card varies both at "
            "once with batch_sizes="
        )
    ours, theirs = (getattr(d, "sampling", None) for d in (dynamics, reference))
    same: dict[Any, str] = {"epoch": "without_replacement"}
    if getattr(reference, "batch_size", None) == 1:
        same["with_replacement"] = "without_replacement"  # c2 = 1 in both
    if None not in (ours, theirs) and same.get(ours, ours) != same.get(theirs, theirs) and not _samples(dynamics):
        raise InvalidArgument(
            f"{name} has the noise of sampling={ours!r} and the reference draws batches {theirs!r}, so their c2(b) "
            f"differ; pass sampling={theirs!r} to it"
        )


def _samples(dynamics: Any) -> bool:
    """Whether a dynamics draws batches itself, so that its sampling is what sets it apart."""
    return isinstance(dynamics, SGD | LabelNoiseSGD)


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
