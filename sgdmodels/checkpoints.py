"""Where a run stands after some steps, and how to go on from there with the same random numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import FloatArray, integer
from .dynamics import Dynamics
from .errors import InvalidArgument
from .kernels.step_loop import CHECK_EVERY
from .models import Model
from .simulate import Run

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Checkpoint:
    """Parameters (replica, d) and memory of all replicas after `step` steps.

    diverged: which replicas had diverged by then, and diverged_at when (-1: not); they stay lost in every branch.
    seed, replicas: whose random numbers go on; None where that is left to `fork`.
    """

    theta: FloatArray
    memory: FloatArray
    step: int
    diverged: NDArray[np.bool_] | None = None
    seed: int | None = None
    replicas: tuple[int, ...] | None = None
    diverged_at: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name in ("memory", "diverged", "replicas", "diverged_at"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.theta):
                raise InvalidArgument(
                    f"{name} of a checkpoint must have an entry for each of its {len(self.theta)} replicas, got "
                    f"{len(value)}"
                )

    def lost(self) -> NDArray[np.int64]:
        """The step at which each replica diverged (that of the checkpoint where it is not known), -1 if it did not."""
        if self.diverged_at is not None:
            return self.diverged_at
        return np.where(np.zeros(len(self.theta), bool) if self.diverged is None else self.diverged, self.step, -1)

    def settled(
        self, model: Model, at: int | None = None, replicas: int | Iterable[int] | None = None, seed: int | None = None
    ) -> Checkpoint:
        """This checkpoint with the seed and ids to go on with, once what is asked for is known to fit it."""
        count, theta = len(self.theta), np.shape(self.theta)
        if theta != (count, model.dim):
            raise InvalidArgument(
                f"init is a checkpoint whose theta must have shape (replica, {model.dim}) for this loss, got {theta}"
            )
        if at is not None and self.step not in (integer("at", at, 0), rounded_up(at)):
            raise InvalidArgument(f"at must be the step of the checkpoint, {self.step}, got {at}; pass at=None")
        ids = tuple(range(count)) if self.replicas is None else self.replicas
        if replicas is not None:
            known = f"{count} replicas" if self.replicas is None else f"replicas {list(ids)}"
            wanted = replicas if isinstance(replicas, Iterable) else range(integer("replicas", replicas, 1))
            given = tuple(integer("replicas", r, 0) for r in wanted)
            if len(given) != count or (self.replicas is not None and given != ids):
                raise InvalidArgument(f"replicas must be those of the checkpoint, which has {known}, got {replicas!r}")
            ids = given
        if seed is not None and self.seed not in (None, seed):
            raise InvalidArgument(
                f"seed must be that of the checkpoint, {self.seed}, got {seed}; leave it out, or to go on with other "
                f"random numbers pass dataclasses.replace(checkpoint, seed={seed})"
            )
        return replace(self, replicas=ids, seed=self.seed or 0 if seed is None else seed)

    def first(self, count: int) -> Checkpoint:
        """The first `count` replicas alone."""
        ids = None if self.replicas is None else self.replicas[:count]
        lost = self.lost()[:count]
        return Checkpoint(self.theta[:count], self.memory[:count], self.step, lost >= 0, self.seed, ids, lost)


def rounded_up(step: int) -> int:
    """The next multiple of 64, where runs look for divergence and may be taken up."""
    return -(-integer("at", step, 0) // CHECK_EVERY) * CHECK_EVERY


def finished(run: Run) -> xr.Dataset:
    """The records of a run that goes on to its end: Ctrl-C stops what is built on it too."""
    records = run.go()
    if records.attrs["interrupted"]:
        raise KeyboardInterrupt
    return records


def checkpoint(
    model: Model, dynamics: Dynamics, step: int, init: ArrayLike, *, replicas: int | Iterable[int] = 1, seed: int = 0
) -> Checkpoint:
    """Run to `step`, rounded up to a multiple of 64 (where runs look for divergence, and may be taken up)."""
    at = rounded_up(step)
    run = Run(model, dynamics, at, init, replicas, max(at, 1), seed=seed)
    finished(run)
    ids, lost = tuple(run.replicas.tolist()), run.diverged_at.copy()
    return Checkpoint(run.theta.copy(), run.memory.copy(), at, lost >= 0, run.seed, ids, lost)


def go_on(
    model: Model, dynamics: Dynamics, start: Checkpoint, steps: int, *, keep_memory: bool = True, **recorded: Any
) -> xr.Dataset:
    """Records of `steps` more steps from a settled checkpoint on; what had diverged there stays lost."""
    run = Run(
        model, dynamics, steps, start.theta, start.replicas, seed=start.seed, first_step=start.step,
        memory=start.memory if keep_memory else None, **recorded,
    )  # fmt: skip
    run.diverged_at[:] = start.lost()
    return finished(run)
