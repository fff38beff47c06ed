"""Some replicas of a run, stepped and measured by one thread at a time, with scratch memory of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import FloatArray, aligned
from .dynamics.base import GRADIENT
from .kernels.compile import Kernel, bind, outlined
from .kernels.signatures import WALK
from .kernels.step_loop import CHECK_EVERY, GROUP, drive, walk, walk_single
from .measure import evaluate
from .metrics import Snapshots

if TYPE_CHECKING:
    from .simulate import Run

BLOCK_PAIRS = 640  # (index, weight) pairs a law fills at a time, per replica: four fit the nearest cache


class Worker:
    """The replicas `rows` of a run."""

    def __init__(self, run: Run, rows: slice) -> None:
        self.run, self.rows = run, rows
        plan, model = run.plan, run.model
        steps = BLOCK_PAIRS // (plan.width * plan.micro_steps)
        block = plan.micro_steps << max(0, min(CHECK_EVERY, steps).bit_length() - 1)
        group = min(GROUP, rows.stop - rows.start)
        self.index = np.zeros((group, block, plan.width), dtype=np.int32)
        self.weight = aligned((group, block, plan.width))
        self.count = np.zeros((group, block), dtype=np.int64)
        self.saved = aligned((group, model.dim))
        self.saved_memory = aligned((group, run.memory.shape[1]))
        self.keys = np.zeros((group, 2), dtype=np.uint64)
        self.work = model.workspace()
        self.scratch = np.tile(np.arange(model.samples, dtype=np.int32), (group, 1))
        self.sums = aligned((group, model.samples))
        self.state = np.full((group, 2), -1, dtype=np.int64)
        self.memory: dict[str, Any] = {}
        if plan.advance is None:
            self.walk_many = self._bound(plan.walk, plan.functions, plan.inlined)
            fused = plan.single and plan.walk is walk and bool((plan.batch_sizes == 1).any())
            self.walk_one = self._bound(walk_single, GRADIENT, True) if fused else self.walk_many
            if fused and bool((plan.batch_sizes == 1).all()):
                self.walk_many = self.walk_one

    def _bound(self, template: Any, functions: tuple[str, ...], inlined: bool) -> Kernel:
        """The walk with the device functions of the loss in place of its holes."""
        device = {name: getattr(self.run.model.kernels, name) for name in functions}
        if self.run.plan.in_order and template is walk and self.run.model.kernels.add_in_order is not None:
            device["add_gradient"] = self.run.model.kernels.add_in_order
        if not inlined:
            device = {name: outlined(function) for name, function in device.items()}
        return bind(template, WALK, **device)

    def memories(self) -> list[tuple[Run, slice, dict[str, Any]]]:
        """What metrics keep from chunk to chunk, with the run and the rows whose it is."""
        return [(self.run, self.rows, self.memory)]

    def advance(self, start: int, end: int, records: slice) -> None:
        """Step to `end`, then measure what was recorded on the way."""
        run = self.run
        at = run.recorded[records]
        stops, slots = at, np.arange(len(at))
        if len(at) == 0 or at[-1] != end:
            stops, slots = np.append(at, end), np.append(slots, -1)
        snapshots = np.empty((self.rows.stop - self.rows.start, len(at), run.model.dim))
        if run.plan.advance is None:
            self._drive(start, stops, slots, snapshots)
        else:
            self._stride_in_python(stops, slots, snapshots)
        if len(at) == 0:
            return
        points = Snapshots(
            run.model, snapshots, run.replicas[self.rows], at, run.batch_sizes, run.sampling, run.seed, self.memory
        )
        for name, values in evaluate(run.metrics, points):
            run.store(name, self.rows, records, values)
        if run.keep_params:
            run.store("params", self.rows, records, snapshots)

    def _drive(self, start: int, stops: np.ndarray, slots: np.ndarray, snapshots: FloatArray) -> None:
        run, plan, model, rows = self.run, self.run.plan, self.run.model, self.rows
        drive(
            plan.law.argument, self.walk_one.argument, self.walk_many.argument,
            np.uint64(run.seed), run.replicas[rows], start, stops, slots,
            plan.starts, plan.step_sizes, plan.batch_sizes, model.samples, plan.single, plan.micro_steps,
            plan.law_parameters, plan.walk_parameters,
            run.theta[rows], run.memory[rows], run.limit[rows], run.diverged_at[rows], snapshots, *model.data,
            self.scratch, self.sums, self.state, self.index, self.weight, self.count,
            self.keys, self.saved, self.saved_memory, self.work,
        )  # fmt: skip

    def _stride_in_python(self, stops: np.ndarray, slots: np.ndarray, snapshots: FloatArray) -> None:
        """Strides on a grid that begins where the run and each schedule segment does; straight lines in between.

        The grid, and with it every digit, is the same for all records, chunks and threads.
        """
        run, plan = self.run, self.run.plan
        assert plan.advance is not None
        theta, diverged_at = run.theta[self.rows], run.diverged_at[self.rows]
        span, behind, ahead = run.span[self.rows], run.behind[self.rows], run.ahead[self.rows]
        for stop, slot in zip(stops.tolist(), slots.tolist(), strict=True):
            while span[0, 1] < stop:
                self._stride(int(span[0, 1]))
            begin, end = span[0].tolist()
            share = (stop - begin) / (end - begin) if end > begin else 1.0
            theta[...] = behind + share * (ahead - behind)
            if slot >= 0:
                lost = (diverged_at >= 0) & (diverged_at <= stop)
                snapshots[:, slot] = np.where(lost[:, None], np.nan, theta)

    def _stride(self, begin: int) -> None:
        """One stride of every replica that is still there."""
        run, plan = self.run, self.run.plan
        assert plan.advance is not None
        segment = int(np.searchsorted(plan.starts, begin, side="right")) - 1
        end = begin + plan.stride
        if segment + 1 < len(plan.starts):
            end = min(end, int(plan.starts[segment + 1]))
        behind, ahead = run.behind[self.rows], run.ahead[self.rows]
        run.span[self.rows] = begin, end
        behind[...] = ahead
        diverged_at, memory, limit = run.diverged_at[self.rows], run.memory[self.rows], run.limit[self.rows]
        for r in np.flatnonzero(diverged_at < 0):
            with np.errstate(all="ignore"):
                plan.advance(
                    run.model, ahead[r], memory[r], end - begin,
                    float(plan.step_sizes[segment]), int(plan.batch_sizes[segment]),
                )  # fmt: skip
            if not np.abs(ahead[r]).max() <= limit[r]:
                diverged_at[r] = end
                ahead[r] = behind[r]
