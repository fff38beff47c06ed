"""What a dynamics is: a law of sample weights, the loop that walks it, schedules, and what it declares of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..arguments import FloatArray, integer, one_of, real
from ..errors import InvalidArgument
from ..kernels.compile import Kernel
from ..kernels.step_loop import walk
from ..sampling import SCHEMES
from .schedules import checked_schedule, merged

EMPTY = np.zeros(1)
GRADIENT = ("split", "add_gradient")


@dataclass(frozen=True)
class Declaration:
    """What theory says of a dynamics: the row of the table in docs/dynamics.md, and what the tests measure.

    weak_order: largest p such that expectations of smooth observables after a fixed time step_size * steps differ from
    those of `relative_to` by O(step_size^p); None where there is no such theory, 0 where there is no convergence.
    preserves: which moments of a step are those of `relative_to`. edge: its own limit of stability on quadratics.
    cost: gradients of one sample (G), Hessian-vector products of one sample (H), per step; n samples, b of a batch.
    """

    equation: str
    weak_order: int | None
    preserves: str
    edge: str
    cost: str
    reference: str
    relative_to: str = "SGD"
    heuristic: bool = False


@dataclass(frozen=True)
class Plan:
    """A dynamics bound to a number of samples: what the step loop needs.

    `law` draws the pairs (index, weight) of a micro-step, at most `width` of them; `single` promises exactly one
    where the batch size is 1, `in_order` that all samples take part, in their order. `walk` is the template that
    takes the steps, `functions` the device functions of the loss it needs; they are inlined if `inlined`, else
    compiled once and called. `memory(model, theta)` is what each replica carries besides its parameters, shape
    (replica, .), at the start. Where a step is so dear that Python costs nothing beside it, `advance(model, theta,
    memory, steps, step_size, batch_size)` moves one replica by up to `stride` steps, in place, and no walk is
    needed.
    """

    law: Kernel
    width: int
    starts: np.ndarray
    step_sizes: np.ndarray
    batch_sizes: np.ndarray
    walk: Callable[..., Any] = walk
    functions: tuple[str, ...] = GRADIENT
    inlined: bool = True
    in_order: bool = False
    micro_steps: int = 1
    single: bool = False
    law_parameters: np.ndarray = field(default_factory=lambda: EMPTY)
    walk_parameters: np.ndarray = field(default_factory=lambda: EMPTY)
    memory: Callable[[Any, FloatArray], FloatArray] | None = None
    refinement: int = 1
    advance: Callable[..., None] | None = None
    stride: int = 1

    @property
    def draws(self) -> int:
        """Random numbers a step may use, in units of the number of samples."""
        return self.micro_steps * self.refinement


@dataclass(frozen=True)
class Dynamics(ABC):
    """Base of all models of SGD. Subclasses are frozen dataclasses that check their fields when made."""

    deterministic: ClassVar[bool] = False

    @property
    @abstractmethod
    def declaration(self) -> Declaration:
        """What theory says of this dynamics."""

    @abstractmethod
    def plan(self, samples: int) -> Plan:
        """The law and schedules for a loss with `samples` samples; raises InvalidArgument if they do not fit."""

    def check_model(self, model: Any) -> None:  # noqa: B027 - a default: most are defined on every loss
        """Raise InvalidArgument if this dynamics has no meaning on the loss `model`."""

    def describe(self) -> dict[str, Any]:
        """What a run's provenance says of the dynamics."""
        fields = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}
        return {"name": type(self).__name__, **fields}

    def _set(self, **checked: Any) -> None:
        """Replace fields by their checked values while the frozen object is being made."""
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def checked_step_size(value: Any) -> Any:
    """A step size, or a schedule of step sizes."""
    return plain(checked_schedule("step_size", value, lambda name, v: real(name, v, open_low=True)))


def checked_batch_size(value: Any) -> Any:
    """A batch size, or a schedule of batch sizes; the number of samples is not known yet."""
    return plain(checked_schedule("batch_size", value, lambda name, b: integer(name, b, 1)))


def fitting_batch_size(value: Any, samples: int) -> tuple[tuple[int, int], ...]:
    """The schedule of batch sizes, once it is known to fit the number of samples."""
    why = "(the number of samples; use sm.GD for the full batch)"
    return checked_schedule("batch_size", value, lambda name, b: integer(name, b, 1, samples, why))


def checked_sampling(value: Any) -> str:
    return one_of("sampling", value, SCHEMES)


def checked_substeps(value: Any) -> int:
    """Number of substeps of a step: the integrator's step is h = step_size / substeps."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value < 1:
        raise InvalidArgument(
            f"substeps must be at least 1, got {value}: the integrator's step is h = step_size / substeps, never "
            "larger than step_size; use substeps=1 for h = step_size"
        )
    return integer("substeps", value, 1)


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
    steps = checked_schedule("step_size", step_size, lambda _, value: value)
    starts, step_sizes, batch_sizes = merged(steps, batch_size)
    return starts, step_sizes.astype(np.float64), batch_sizes.astype(np.int64)
