"""Members of an ensemble that take their steps together: one batched gradient for all of them.

Members share the law, the walk and its parameters; step sizes, batch sizes, seeds and schedules of these are their own.
Divergence is judged as in the compiled loops: looked for every CHECK_EVERY steps, dated by walking the last stretch
again one step at a time, and a member that is lost stays where that stretch began. Rows never mix, so that no member
spoils another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...dynamics import Plan
from ...dynamics.label_noise_sgd import walk_noisy_labels
from ...errors import InvalidArgument
from ...kernels.gaussians import gaussian
from ...kernels.random import BATCHES
from ...kernels.step_loop import CHECK_EVERY
from ..objectives.objective import Objective
from .walks import TWINS, Draw

BLOCK_WEIGHTS = 2**20  # sample weights drawn at a time, over all members


@dataclass
class Member:
    """One replica of one run: its place in it, its plan and seed, and the law's own memory."""

    run: Any
    row: int
    plan: Plan
    seed: int
    replica: int

    def __post_init__(self) -> None:
        samples = self.run.model.samples
        self.scratch = np.arange(samples, dtype=np.int32)
        self.sums, self.state = np.zeros(samples), np.full(2, -1, dtype=np.int64)

    def kind(self) -> tuple[Any, ...]:
        """What members must have in common to step together."""
        plan = self.plan
        crowd = plan.width.bit_length() // 2  # within a factor of four: the rest is padding
        return (
            plan.walk, plan.law, plan.micro_steps, plan.in_order, tuple(plan.walk_parameters),
            tuple(plan.law_parameters), tuple(plan.starts.tolist()), self.seed, crowd,
        )  # fmt: skip


class Stack:
    """Members of one kind, stepped together from their runs' parameters and back."""

    def __init__(self, objective: Objective, members: Sequence[Member]) -> None:
        self.objective, self.members = objective, list(members)
        self.plan = plan = members[0].plan
        if plan.walk not in TWINS:
            raise InvalidArgument(
                f"{type(members[0].run.dynamics).__name__} has no step on networks; use it on a loss of sm.models"
            )
        if plan.walk is walk_noisy_labels and not objective.targets.is_floating_point():
            raise InvalidArgument(
                f"LabelNoiseSGD needs real targets to add noise to, got {objective.targets.dtype}; use "
                "one-hot targets of classes, and the squared error"
            )
        self.twin = TWINS[plan.walk]
        self.in_order = plan.in_order or plan.law is gaussian  # all samples take part
        self.width = max(member.plan.width for member in members)
        self.theta = self._gathered("theta")
        self.memory = self._gathered("memory")
        self.limit = torch.tensor([m.run.limit[m.row] for m in members]).to(self.theta)
        self.step_sizes = torch.tensor(np.array([m.plan.step_sizes for m in members])).to(self.theta)
        each = len(members) * self.width * plan.micro_steps
        self.block = max(1, min(CHECK_EVERY, BLOCK_WEIGHTS // each))

    def _gathered(self, name: str) -> Tensor:
        rows = np.stack([getattr(member.run, name)[member.row] for member in self.members])
        return torch.from_numpy(rows).to(device=self.objective.device, dtype=self.objective.dtype)

    def scatter(self) -> None:
        """Write parameters and memory back to the runs."""
        theta, memory = self.theta.double().cpu().numpy(), self.memory.double().cpu().numpy()
        for member, x, v in zip(self.members, theta, memory, strict=True):
            member.run.theta[member.row], member.run.memory[member.row] = x, v

    def lost(self) -> NDArray[np.bool_]:
        """Which members have diverged."""
        return np.array([member.run.diverged_at[member.row] >= 0 for member in self.members])

    def advance(self, start: int, end: int, recorded: Sequence[int]) -> NDArray[np.float64]:
        """Take steps `start` to `end`; returns theta after each of `recorded`, (member, record, d), NaN if lost."""
        out = np.empty((len(self.members), len(recorded), self.objective.dim))
        wanted = {step: q for q, step in enumerate(recorded)}
        if start in wanted:
            self._record(out, wanted[start])
        for begin in range(start, end, CHECK_EVERY):
            look = min(end, begin + CHECK_EVERY)
            if self.lost().all():
                out[:, [q for step, q in wanted.items() if begin < step <= look]] = np.nan
                continue
            before = self.theta.clone(), self.memory.clone()
            step = begin
            for stop in [s for s in recorded if begin < s < look] + [look]:
                self._walk(step, stop)
                if stop in wanted:
                    self._record(out, wanted[stop])
                step = stop
            self._settle(before, begin, look, out, wanted)
        return out

    def _record(self, out: NDArray[np.float64], q: int) -> None:
        out[:, q] = self.theta.double().cpu().numpy()
        out[self.lost(), q] = np.nan

    def _outside(self) -> NDArray[np.bool_]:
        largest = self.theta.abs().amax(1)
        return (~(largest <= self.limit)).cpu().numpy()  # also where it is not a number

    def _settle(
        self, before: tuple[Tensor, Tensor], begin: int, look: int, out: NDArray[np.float64], wanted: dict[int, int]
    ) -> None:
        """Date the members that have just diverged, and put all that are lost back to where the stretch began."""
        outside = self._outside()
        fresh = outside & ~self.lost()
        if fresh.any():
            after = self.theta.clone(), self.memory.clone()
            self.theta.copy_(before[0])
            self.memory.copy_(before[1])
            first = np.full(len(fresh), look)
            found = ~fresh
            for step in range(begin, look):
                self._walk(step, step + 1)
                now = self._outside() & ~found
                first[now], found = step + 1, found | now
            self.theta.copy_(after[0])
            self.memory.copy_(after[1])
            for m in np.flatnonzero(fresh):
                self.members[m].run.diverged_at[self.members[m].row] = first[m]
                out[m, [q for step, q in wanted.items() if first[m] <= step <= look]] = np.nan
        if self.lost().any():
            rows = torch.from_numpy(self.lost()).to(self.theta.device)
            self.theta[rows], self.memory[rows] = before[0][rows], before[1][rows]

    def _walk(self, begin: int, end: int) -> None:
        """Steps of all members, block by block; no block crosses a change of schedule."""
        starts, step = self.plan.starts, begin
        while step < end:
            segment = int(np.searchsorted(starts, step, side="right")) - 1
            stop = min(end, step + self.block)
            if segment + 1 < len(starts):
                stop = min(stop, int(starts[segment + 1]))
            self._walk_block(step, stop, segment)
            step = stop

    def _walk_block(self, begin: int, end: int, segment: int) -> None:
        plan, m = self.plan, self.plan.micro_steps
        index, weight = self._drawn(begin * m, (end - begin) * m, segment)
        samples = self.objective.samples
        second = weight.shape[2] // 2
        both = self.in_order and weight.shape[2] >= 2 * samples
        sizes = tuple(int(member.plan.batch_sizes[segment]) for member in self.members)
        h = self.step_sizes[:, segment, None] / m
        seed, replicas = self.members[0].seed, tuple(member.replica for member in self.members)
        parameters = tuple(plan.walk_parameters.tolist())
        for k in range((end - begin) * m):
            draw = Draw(
                None if self.in_order else index[:, k],
                weight[:, k, :samples] if self.in_order else weight[:, k],
                weight[:, k, second : second + samples] if both else None,
                begin * m + k, h, sizes, m, parameters, seed, replicas,
            )  # fmt: skip
            self.twin(self.objective, self.theta, self.memory, draw)

    def _drawn(self, first: int, count: int, segment: int) -> tuple[Tensor, Tensor]:
        """index and weight (member, micro-step, k) of some micro-steps.

        What a law leaves over repeats its last sample with weight zero: another one might not be finite.
        """
        shape = (len(self.members), count, self.width)
        index, weight = np.zeros(shape, dtype=np.int32), np.zeros(shape)
        taken = np.zeros(shape[:2], dtype=np.int64)
        for r, member in enumerate(self.members):
            plan = member.plan
            plan.law(
                np.uint64(member.seed), member.replica, BATCHES, first, count,
                int(plan.starts[segment]) * plan.micro_steps, plan.micro_steps, self.objective.samples,
                int(plan.batch_sizes[segment]), plan.law_parameters,
                member.scratch, member.sums, member.state, index[r], weight[r], taken[r],
            )  # fmt: skip
        if not self.in_order:
            spare = np.arange(self.width) >= taken[..., None]
            weight[spare] = 0.0
            last = np.take_along_axis(index, np.maximum(taken - 1, 0)[..., None], axis=2)
            index = np.where(spare, last, index)
        device = self.objective.device
        return torch.from_numpy(index).to(device).long(), torch.from_numpy(weight).to(device, self.objective.dtype)
