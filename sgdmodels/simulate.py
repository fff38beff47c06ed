"""Run a model of SGD on a loss: ensembles of replicas over threads, measured as they go."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, aligned, float_array, integer
from .dataset import record_dataset
from .dynamics import Dynamics, Plan
from .errors import InvalidArgument
from .kernels.compile import bind
from .kernels.signatures import WALK
from .kernels.step_loop import CHECK_EVERY, GROUP, drive, walk, walk_momentum, walk_single
from .measure import checked_batch_sizes, checked_metrics, checked_model, evaluate
from .metrics import Metric, Snapshots
from .models import Model
from .progress import Progress

if TYPE_CHECKING:
    import xarray as xr

DIVERGENCE_FACTOR = 1e6  # |theta|_inf beyond this times max(1, |theta_0|_inf) counts as diverged
CHUNK_SECONDS = 0.25
CHUNK_BYTES = 2**25
MEMORY_SHARE = 0.8
BLOCK_PAIRS = 4096  # (index, weight) pairs a law fills at a time, per replica
COUNTER_LIMIT = 2**63


def simulate(
    model: Model,
    dynamics: Dynamics,
    steps: int,
    init: ArrayLike,
    *,
    replicas: int | Iterable[int] = 1,
    record_every: int = 100,
    metrics: Sequence[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
    batch_size: int | Sequence[int] | None = None,
    seed: int = 0,
    keep_params: bool = False,
    progress: bool | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Run `steps` steps of `dynamics` on `model` and record `metrics` every `record_every` steps.

    init: parameters (d,), or one row per replica (replicas, d). replicas: how many, or which (a sequence of
    ids: replica k of any run with this seed is the same bits). batch_size: where metrics that depend on
    it are evaluated (default: that of the dynamics). Recorded steps: 0, record_every, 2 record_every, ..., and `steps`.

    Returns a Dataset with dims (replica, step) and batch_size where a metric depends on it; `diverged_at`
    (replica) is the step at which a replica left the ball |theta|_inf <= 1e6 max(1, |init|_inf), if it was still
    outside at the next multiple of 64 steps or at the end, else NaN. From then on it is frozen and its records are NaN.
    Ctrl-C returns the records made so far, with attrs["interrupted"] = 1.

    Raises InvalidArgument before any work starts. A step size past the edge is no error.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    >>> run = simulate(model, sm.SGD(0.5, batch_size=1), 200, np.ones(2), replicas=3)
    >>> dict(run.loss.sizes), bool((run.loss[:, -1] < 1e-9).all())
    ({'replica': 3, 'step': 3}, True)
    """
    run = _Run(
        model, dynamics, steps, init, replicas, record_every, metrics, batch_size, seed, keep_params, threads, progress
    )
    return run.go()


class _Run:
    """A checked run: arguments become arrays in `__init__`, `go` steps and records."""

    def __init__(
        self, model: Any, dynamics: Any, steps: Any, init: Any, replicas: Any, record_every: Any, metrics: Any,
        batch_size: Any, seed: Any, keep_params: Any, threads: Any, progress: Any,
    ) -> None:  # fmt: skip
        self.model = checked_model(model)
        if not isinstance(dynamics, Dynamics):
            raise InvalidArgument(f"dynamics must be one such as sm.SGD(...), got {dynamics!r}")
        self.dynamics = dynamics
        self.plan: Plan = dynamics.plan(model.samples)
        self.steps = integer("steps", steps, 0)
        self.record_every = integer("record_every", record_every, 1)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        self.metrics = checked_metrics(metrics)
        self.sampling = getattr(dynamics, "sampling", "without_replacement")
        default = sorted({int(b) for b in self.plan.batch_sizes})
        self.batch_sizes = checked_batch_sizes(model, default if batch_size is None else batch_size)
        if self.steps * model.samples * 1000 >= COUNTER_LIMIT:  # 1000: Monte Carlo batches a snapshot may draw
            raise InvalidArgument(
                f"steps must be below {COUNTER_LIMIT // (1000 * model.samples)} for {model.samples} samples "
                f"(the 64-bit counter of random numbers would repeat), got {self.steps}"
            )
        if not isinstance(keep_params, bool):
            raise InvalidArgument(f"keep_params must be True or False, got {keep_params!r}")
        ids = _replica_ids(replicas)
        self._check_memory(keep_params, len(ids))
        self.replicas = np.array(ids, dtype=np.int64)
        self.threads = integer("threads", _available_cpus() if threads is None else threads, 1)
        self.keep_params = keep_params
        if progress not in (None, True, False):
            raise InvalidArgument(f"progress must be True, False or None (in a terminal only), got {progress!r}")
        self.progress = progress
        self.theta = self._initial_parameters(init)
        self.init_sha256 = hashlib.sha256(self.theta.tobytes()).hexdigest()
        self.velocity = aligned((len(self.replicas), model.dim if self.plan.momentum else 1))
        self.limit = DIVERGENCE_FACTOR * np.maximum(1.0, np.abs(self.theta).max(axis=1))
        self.diverged_at = np.full(len(self.replicas), -1, dtype=np.int64)
        recorded = np.arange(0, self.steps + 1, self.record_every)
        self.recorded = recorded if recorded[-1] == self.steps else np.append(recorded, self.steps)
        self.results: dict[str, FloatArray] = {}

    def _initial_parameters(self, init: ArrayLike) -> FloatArray:
        count, dim = len(self.replicas), self.model.dim
        try:
            shape = (count, dim) if np.ndim(init) == 2 else (dim,)
        except ValueError:  # ragged: float_array says so
            shape = (dim,)
        theta = aligned((count, dim))
        theta[...] = float_array("init", init, shape)
        return theta

    def _check_memory(self, keep_params: Any, replicas: int) -> None:
        """Refuse a run whose records would not fit before it starts."""
        numbers = sum(len(self.batch_sizes) if m.per_batch_size else 1 for m in self.metrics)
        each = numbers + (self.model.dim if keep_params else 0)
        records = self.steps // self.record_every + 2
        need = 8 * replicas * (records * each + 8 * self.model.dim)
        if need > MEMORY_SHARE * _physical_memory():
            raise InvalidArgument(
                f"steps={self.steps}, record_every={self.record_every} and {replicas} replicas give {records} records "
                f"each, {need / 1e9:.3g} GB in all, more than this machine's memory; raise record_every"
            )

    def go(self) -> xr.Dataset:
        """Step, record, and stop early but whole on Ctrl-C."""
        started = time.perf_counter()
        workers = self._workers()
        done, interrupted = 0, False
        label = type(self.dynamics).__name__
        with Progress(self.steps, label, self.progress) as bar, ThreadPoolExecutor(self.threads) as pool:
            try:
                step, length = 0, CHECK_EVERY
                per_record = 8 * self.theta.size
                while done < len(self.recorded):
                    clock = time.perf_counter()
                    longest = max(1, CHUNK_BYTES // per_record) * self.record_every // CHECK_EVERY * CHECK_EVERY
                    end = min(self.steps, step + max(CHECK_EVERY, min(length, longest)))
                    records = slice(done, int(np.searchsorted(self.recorded, end, side="right")))
                    self._advance(pool, workers, step, end, records)
                    step, done = end, records.stop
                    bar.update(step)
                    seconds = max(time.perf_counter() - clock, 1e-6)
                    growth = max(0.25, CHUNK_SECONDS / seconds)
                    length = max(CHECK_EVERY, int(length * growth) // CHECK_EVERY * CHECK_EVERY)
            except KeyboardInterrupt:
                interrupted = True
        return record_dataset(self, done, interrupted, time.perf_counter() - started)

    def _workers(self) -> list[_Worker]:
        count = len(self.replicas)
        groups = -(-count // GROUP)
        records = -(-CHECK_EVERY // self.record_every)  # of the shortest chunk
        fitting = -(-8 * records * self.theta.size // CHUNK_BYTES)
        shares = min(groups, max(fitting, 1 if self.threads == 1 else 8 * self.threads))
        edges = [GROUP * (groups * k // shares) for k in range(shares)] + [count]
        return [_Worker(self, slice(a, b)) for a, b in pairwise(edges)]

    def _advance(self, pool: ThreadPoolExecutor, workers: list[_Worker], start: int, end: int, records: slice) -> None:
        """All workers from `start` to `end`."""
        if len(workers) == 1:
            workers[0].advance(start, end, records)
            return
        futures = [pool.submit(worker.advance, start, end, records) for worker in workers]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()

    def store(self, name: str, rows: slice, records: slice, values: FloatArray) -> None:
        """Put the values of one worker's replicas and records in their place."""
        if name not in self.results:  # two workers may both find it missing: setdefault keeps one array
            shape = (len(self.replicas), len(self.recorded), *values.shape[2:])
            self.results.setdefault(name, np.empty(shape))  # rows beyond the last record are never shown
        self.results[name][rows, records] = values


class _Worker:
    """Some replicas of a run, with scratch memory of their own."""

    def __init__(self, run: _Run, rows: slice) -> None:
        self.run, self.rows = run, rows
        plan, model = run.plan, run.model
        block = 1 << max(0, min(CHECK_EVERY, BLOCK_PAIRS // plan.width).bit_length() - 1)
        group = min(GROUP, rows.stop - rows.start)
        self.index = np.zeros((group, block, plan.width), dtype=np.int32)
        self.weight = aligned((group, block, plan.width))
        self.count = np.zeros((group, block), dtype=np.int64)
        self.saved = aligned((2 * group, model.dim))
        self.work = model.workspace()
        self.scratch = np.tile(np.arange(model.samples, dtype=np.int32), (group, 1))
        self.state = np.full((group, 2), -1, dtype=np.int64)
        self.memory: dict[str, Any] = {}
        k = model.kernels
        functions = {"split": k.split, "add_gradient": k.add_gradient}
        template = walk_momentum if plan.momentum else walk
        self.walk_many = bind(template, WALK, **functions)
        fused = plan.single and not plan.momentum and bool((plan.batch_sizes == 1).any())
        self.walk_one = bind(walk_single, WALK, **functions) if fused else self.walk_many
        if fused and bool((plan.batch_sizes == 1).all()):
            self.walk_many = self.walk_one

    def advance(self, start: int, end: int, records: slice) -> None:
        """Step to `end`, then measure what was recorded on the way."""
        run, plan, model = self.run, self.run.plan, self.run.model
        at = run.recorded[records]
        stops, slots = at, np.arange(len(at))
        if len(at) == 0 or at[-1] != end:
            stops, slots = np.append(at, end), np.append(slots, -1)
        snapshots = np.empty((self.rows.stop - self.rows.start, len(at), model.dim))
        drive(
            plan.law.argument, self.walk_one.argument, self.walk_many.argument,
            np.uint64(run.seed), run.replicas[self.rows], start, stops, slots,
            plan.starts, plan.step_sizes, plan.batch_sizes, model.samples, plan.single, plan.momentum, plan.nesterov,
            plan.parameters, run.theta[self.rows], run.velocity[self.rows], run.limit[self.rows],
            run.diverged_at[self.rows], snapshots, *model.data,
            self.scratch, self.state, self.index, self.weight, self.count, self.saved, self.work,
        )  # fmt: skip
        if len(at) == 0:
            return
        points = Snapshots(
            model, snapshots, run.replicas[self.rows], at, run.batch_sizes, run.sampling, run.seed, self.memory
        )
        for name, values in evaluate(run.metrics, points):
            run.store(name, self.rows, records, values)
        if run.keep_params:
            run.store("params", self.rows, records, snapshots)


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return np.inf


def _replica_ids(replicas: Any) -> range | list[int]:
    """Ids 0, 1, ... of a number of replicas, or those given, not yet in memory."""
    if np.ndim(replicas) == 0 and not isinstance(replicas, set | frozenset | Iterator):
        return range(integer("replicas", replicas, 1))
    ids = [integer("replicas", r, 0) for r in replicas]
    if not ids or len(set(ids)) != len(ids):
        raise InvalidArgument(f"replicas must be a number or distinct ids, got {ids}")
    return ids


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
