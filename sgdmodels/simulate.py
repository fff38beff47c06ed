"""Run a model of SGD on a loss: ensembles of replicas over threads, measured as they go."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, aligned, float_array, integer, real
from .capacity import available_cpus, check_memory
from .dataset import record_dataset
from .dynamics import Dynamics, Plan
from .errors import InvalidArgument
from .journey import Journey
from .kernels.step_loop import CHECK_EVERY, GROUP
from .measure import checked_batch_sizes, checked_metrics, checked_model
from .metrics import Metric
from .models import Model
from .progress import Progress
from .worker import Worker

if TYPE_CHECKING:
    import xarray as xr

DIVERGENCE_FACTOR = 1e6  # |theta|_inf beyond this times max(1, |theta_0|_inf) counts as diverged
CHUNK_SECONDS = 0.25
CHUNK_BYTES = 2**25
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
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: str | Path | None = None,
) -> xr.Dataset:
    """Run `steps` steps of `dynamics` on `model` and record `metrics` every `record_every` steps.

    init: parameters (d,), or one row per replica (replicas, d). replicas: how many, or which (a sequence of
    ids: replica k of any run with this seed is the same bits). batch_size: where metrics that depend on
    it are evaluated (default: that of the dynamics). Recorded steps: 0, record_every, 2 record_every, ..., and `steps`.

    Returns a Dataset with dims (replica, step) and batch_size where a metric depends on it; `diverged_at`
    (replica) is the step at which a replica left the ball |theta|_inf <= 1e6 max(1, |init|_inf), if it was still
    outside at the next multiple of 64 steps or at the end, else NaN. From then on it is frozen and its records are NaN.
    Ctrl-C returns the records made so far, with attrs["interrupted"] = 1.

    checkpoint: a file that holds where the run stands, written every `checkpoint_seconds` (less often where writing
    would take more than 5 % of the time; 0: after every chunk), at the end and after Ctrl-C. If it is there, the run
    goes on from it, on any number of threads, to the same bits as an undisturbed one. resume: such a file that must be
    there; `steps` may then be another number. It is written to unless `checkpoint` names another.

    Raises InvalidArgument before any work starts, also for a file of another run. A step size past the edge is no
    error.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    >>> run = simulate(model, sm.SGD(0.5, batch_size=1), 200, np.ones(2), replicas=3)
    >>> dict(run.loss.sizes), bool((run.loss[:, -1] < 1e-9).all())
    ({'replica': 3, 'step': 3}, True)
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = simulate(model, sm.SGD(0.5, batch_size=1), 100, np.ones(2), checkpoint=f"{place}/run.npz")
    ...     longer = simulate(model, sm.SGD(0.5, batch_size=1), 200, np.ones(2), resume=f"{place}/run.npz")
    >>> bool((longer.loss[0] == run.loss[0]).all())
    True
    """
    run = Run(
        model, dynamics, steps, init, replicas, record_every, metrics, batch_size, seed, keep_params, threads, progress
    )
    if checkpoint is None and resume is None:
        real("checkpoint_seconds", checkpoint_seconds)
        return run.go()
    return run.go(Journey([run], checkpoint, checkpoint_seconds, resume))


class Run:
    """A checked run: arguments become arrays in `__init__`, `go` steps and records.

    A run may take up where another stopped: `first_step` (a multiple of CHECK_EVERY) is its first step's number, which
    decides its random numbers and its place in schedules, and `memory` what the replicas carry besides parameters.
    `sampling`: how batches are drawn for metrics, if not as the dynamics draws them.
    """

    def __init__(
        self, model: Any, dynamics: Any, steps: Any, init: Any, replicas: Any = 1, record_every: Any = 100,
        metrics: Any = (), batch_size: Any = None, seed: Any = 0, keep_params: Any = False, threads: Any = None,
        progress: Any = False, *, first_step: int = 0, memory: FloatArray | None = None, sampling: str | None = None,
    ) -> None:  # fmt: skip
        self.model = checked_model(model)
        if not isinstance(dynamics, Dynamics):
            raise InvalidArgument(f"dynamics must be one such as sm.SGD(...), got {dynamics!r}")
        self.dynamics = dynamics
        dynamics.check_model(model)
        self.plan: Plan = dynamics.plan(model.samples)
        self.first_step = first_step
        self.steps = first_step + integer("steps", steps, 0)
        self.record_every = integer("record_every", record_every, 1)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        self.metrics = checked_metrics(metrics)
        self.sampling = getattr(dynamics, "sampling", "without_replacement") if sampling is None else sampling
        default = sorted({int(b) for b in self.plan.batch_sizes})
        self.batch_sizes = checked_batch_sizes(model, default if batch_size is None else batch_size)
        draws = 1000 * self.plan.draws * model.samples  # 1000: Monte Carlo batches a snapshot may draw
        if self.steps * draws >= COUNTER_LIMIT:
            raise InvalidArgument(
                f"steps must be below {COUNTER_LIMIT // draws} for {model.samples} samples "
                f"(the 64-bit counter of random numbers would repeat), got {self.steps}"
            )
        if not isinstance(keep_params, bool):
            raise InvalidArgument(f"keep_params must be True or False, got {keep_params!r}")
        ids = replica_ids(replicas)
        check_memory(self, keep_params, len(ids))
        self.replicas = np.array(ids, dtype=np.int64)
        self.threads = integer("threads", available_cpus() if threads is None else threads, 1)
        self.keep_params = keep_params
        if progress not in (None, True, False):
            raise InvalidArgument(f"progress must be True, False or None (in a terminal only), got {progress!r}")
        self.progress = progress
        self.theta = self._initial_parameters(init)
        self.init = self.theta.copy()
        self.init_sha256 = hashlib.sha256(self.theta.tobytes()).hexdigest()
        self.memory = self._initial_memory(memory)
        self.limit = DIVERGENCE_FACTOR * np.maximum(1.0, np.abs(self.theta).max(axis=1))
        self.diverged_at = np.full(len(self.replicas), -1, dtype=np.int64)
        self.carried: tuple[str, ...] = ("theta", "memory", "diverged_at")  # what decides the steps to come, by replica
        if self.plan.advance is not None:  # the stride under way, and its ends
            self.span = np.full((len(self.replicas), 2), first_step, dtype=np.int64)
            self.behind, self.ahead = self.theta.copy(), self.theta.copy()
            self.carried += ("span", "behind", "ahead")
        recorded = np.arange(first_step, self.steps + 1, self.record_every)
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
        for row in theta:
            self.model.check_point(row)
        return theta

    def _initial_memory(self, given: FloatArray | None) -> FloatArray:
        """What each replica carries besides its parameters, at least one number."""
        make = self.plan.memory
        try:
            values = np.zeros((len(self.replicas), 1)) if make is None else make(self.model, self.theta)
        except InvalidArgument:  # no memory can be made here, but it may have been made elsewhere
            if given is None:
                raise
            values = given
        memory = aligned((len(self.replicas), values.shape[1]))
        memory[...] = given if given is not None and given.shape == values.shape else values
        return memory

    @property
    def last_border(self) -> int:
        """The last multiple of CHECK_EVERY where every longer run stands just as this one does: before a record that
        only the end calls for, which may leave a metric with another memory.
        """
        before = self.steps - bool((self.steps - self.first_step) % self.record_every)
        return before // CHECK_EVERY * CHECK_EVERY

    def go(self, journey: Journey | None = None) -> xr.Dataset:
        """Step, record, and stop early but whole on Ctrl-C; where there is a journey, it says where to begin."""
        started = time.perf_counter()
        workers = self.workers()
        done, interrupted = self.drive(workers) if journey is None else self.travel(journey, workers)
        return record_dataset(self, done, interrupted, time.perf_counter() - started)

    def travel(self, journey: Journey, workers: list[Any]) -> tuple[int, bool]:
        """As `drive`, from where a journey stands; after Ctrl-C its runs stand at the border that its file holds."""
        journey.equip(workers)
        begin = journey.border
        done, interrupted = self.drive(workers, begin.step, begin.done, journey.at_border, self.last_border)
        journey.finish(interrupted)
        return (journey.border.done if interrupted else done), interrupted

    def drive(
        self, workers: list[Any], step: int | None = None, done: int = 0,
        at_border: Callable[[int, int], None] = lambda step, done: None, border: int = 0,
    ) -> tuple[int, bool]:  # fmt: skip
        """Take all workers to the end, chunk by chunk: how many records there are, and whether Ctrl-C came first.

        step, done: where to take up, and the records that are there already. at_border(step, done) is called after
        every chunk; `border` ends a chunk.
        """
        interrupted = False
        step = self.first_step if step is None else step
        label = type(self.dynamics).__name__
        with (
            Progress(self.steps - self.first_step, label, self.progress) as bar,
            ThreadPoolExecutor(self.threads) as pool,
        ):
            try:
                length = CHECK_EVERY
                per_record = 8 * self.theta.size
                while done < len(self.recorded):
                    clock = time.perf_counter()
                    longest = max(1, CHUNK_BYTES // per_record) * self.record_every // CHECK_EVERY * CHECK_EVERY
                    end = min(self.steps, step + max(CHECK_EVERY, min(length, longest)))
                    if step < border < end:
                        end = border
                    records = slice(done, int(np.searchsorted(self.recorded, end, side="right")))
                    self._advance(pool, workers, step, end, records)
                    seconds = max(time.perf_counter() - clock, 1e-6)
                    step, done = end, records.stop
                    bar.update(step - self.first_step)
                    at_border(step, done)
                    growth = max(0.25, CHUNK_SECONDS / seconds)
                    length = max(CHECK_EVERY, int(length * growth) // CHECK_EVERY * CHECK_EVERY)
            except KeyboardInterrupt:
                interrupted = True
        return done, interrupted

    def workers(self) -> list[Any]:
        """Those that take the steps of all replicas, some replicas each."""
        count = len(self.replicas)
        if self.model.worker is not None and self.plan.functions and self.plan.advance is None:
            return [self.model.worker(self)]
        groups = -(-count // GROUP)
        records = -(-CHECK_EVERY // self.record_every)  # of the shortest chunk
        fitting = -(-8 * records * self.theta.size // CHUNK_BYTES)
        shares = min(groups, max(fitting, 1 if self.threads == 1 else 8 * self.threads))
        edges = [GROUP * (groups * k // shares) for k in range(shares)] + [count]
        return [Worker(self, slice(a, b)) for a, b in pairwise(edges)]

    def _advance(self, pool: ThreadPoolExecutor, workers: list[Any], start: int, end: int, records: slice) -> None:
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
            self.results.setdefault(name, np.full(shape, np.nan))  # what comes beside a metric may have gaps
        self.results[name][rows, records] = values


def replica_ids(replicas: Any) -> range | list[int]:
    """Ids 0, 1, ... of a number of replicas, or those given, not yet in memory."""
    if np.ndim(replicas) == 0 and not isinstance(replicas, set | frozenset | Iterator):
        return range(integer("replicas", replicas, 1))
    ids = [integer("replicas", r, 0) for r in replicas]
    if not ids or len(set(ids)) != len(ids):
        raise InvalidArgument(f"replicas must be a number or distinct ids, got {ids}")
    return ids
