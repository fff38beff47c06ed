"""What a dynamics is: a law of sample weights, a step-size schedule, and maybe a velocity. It knows no loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..arguments import real
from ..errors import InvalidArgument
from ..kernels.compile import Kernel
from .schedules import checked_schedule, merged

EMPTY = np.zeros(1)


@dataclass(frozen=True)
class Plan:
    """A dynamics bound to a number of samples: what the step loop needs.

    `width` bounds the pairs (index, weight) of a step; `single` promises exactly one pair where the batch size is 1.
    """

    law: Kernel
    width: int
    starts: np.ndarray
    step_sizes: np.ndarray
    batch_sizes: np.ndarray
    momentum: float
    nesterov: bool
    single: bool = False
    parameters: np.ndarray = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True)
class Dynamics(ABC):
    """Base of all models of SGD. Subclasses are frozen dataclasses that check their fields when made."""

    @abstractmethod
    def plan(self, samples: int) -> Plan:
        """The law and schedules for a loss with `samples` samples; raises InvalidArgument if they do not fit."""

    def describe(self) -> dict[str, Any]:
        """What a run's provenance says of the dynamics."""
        return {"name": type(self).__name__, **asdict(self)}


def checked_step_size(value: Any) -> tuple[tuple[int, float], ...]:
    return checked_schedule("step_size", value, lambda name, v: real(name, v, open_low=True))


def checked_momentum(momentum: Any, nesterov: Any) -> float:
    """momentum in [0, 1) as a float, once it is known to fit `nesterov`."""
    value = real("momentum", momentum, 0.0, 1.0)
    if not isinstance(nesterov, bool):
        raise InvalidArgument(f"nesterov must be True or False, got {nesterov!r}")
    if nesterov and momentum == 0:
        raise InvalidArgument("nesterov=True needs momentum > 0, got momentum=0.0; set momentum or drop nesterov")
    return value


def plain(schedule: tuple[tuple[int, Any], ...]) -> Any:
    """A checked schedule as a dynamics keeps it: a plain number if it is constant, else a tuple of pairs."""
    return schedule[0][1] if len(schedule) == 1 else schedule


def segments(step_size: Any, batch_size: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, step sizes and batch sizes of the stretches on which both are constant."""
    starts, step_sizes, batch_sizes = merged(checked_step_size(step_size), batch_size)
    return starts, step_sizes.astype(np.float64), batch_sizes.astype(np.int64)
