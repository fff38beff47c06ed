"""Where cells are computed: threads, processes, or an executor of somebody else's, such as Dask's."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    TimeoutError,
)
from typing import Any

from threadpoolctl import threadpool_limits

from ..arguments import FloatArray, integer
from ..capacity import available_cpus
from ..errors import InvalidArgument, SgdmodelsError, StoreError
from .cell import CellRecords, Stopped, compute

TRIES = 3  # of a cell whose process dies
MOST = 512  # cells in flight
STILL_TO_COME = 32  # workers that a Dask client without any is counted for

GUARD = " starts worker processes, which import the script: put what it runs under if __name__ == '__main__':"
SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads of numba and BLAS in any state
LOOK = 0.2  # seconds between looks at whether the sweep was told to stop

_told_to_stop: Any = None  # in worker processes: the event of the sweep they belong to


class CellFailed(Exception):
    """What a cell raised, in words: exceptions of others may not survive the way back from another process."""


class Pool:
    """Computes cells for the threads that ask, one cell a thread.

    executor: None or "threads" (the asking thread computes), "processes", an Executor, or a Dask client. workers: how
    many cells at a time.
    """

    def __init__(self, executor: Any, workers: int | None) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker that imports the main script
            raise InvalidArgument("run_sweep" + GUARD)
        given = None if workers is None else integer("workers", workers, 1, MOST)
        self.kind = "threads" if executor is None else executor if isinstance(executor, str) else "given"
        if self.kind not in ("threads", "processes", "given"):
            raise InvalidArgument(
                f'executor must be "threads", "processes", an executor or a Dask client, got {executor!r}'
            )
        if self.kind == "given" and not isinstance(executor, Executor) and hasattr(executor, "get_executor"):
            executor = executor.get_executor()
        if self.kind == "given" and not hasattr(executor, "submit"):
            raise InvalidArgument(
                f"executor must be one of concurrent.futures or client.get_executor() of Dask, got {executor!r}"
            )
        self.workers = given or (_workers_of(executor) if self.kind == "given" else available_cpus())
        self.stopped: Any = threading.Event()
        self._executor: Any = executor if self.kind == "given" else None
        self._limits: Any = None
        self._running: set[Future[CellRecords]] = set()
        self._lock = threading.Lock()
        self._alone = threading.Lock()

    @property
    def at_a_time(self) -> int:
        """Cells in work at a time: enough that no worker waits for the next, few enough to bound memory."""
        return self.workers if self.kind == "threads" else min(MOST, 2 * self.workers)

    def __enter__(self) -> Pool:
        if self.kind == "threads":  # small matrices from several threads: BLAS threads of their own cost tenfold
            self._limits = threadpool_limits(1, "blas")
        if self.kind == "processes":
            self.stopped = SPAWN.Event()
            self._executor = self._processes(self.workers)
            try:
                self._executor.submit(os.getpid).result()
            except BrokenExecutor as problem:
                raise InvalidArgument("worker processes cannot start: run_sweep" + GUARD) from problem
        return self

    def compute(self, job: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> CellRecords:
        """The records of a cell; raises Stopped after `stop`, StoreError if the executor broke, else CellFailed."""
        if self.kind == "threads":
            return _compute(job, arrays, self.stopped)
        executor = self._executor
        try:
            return self._remote(executor, job, arrays)
        except BrokenExecutor as problem:
            if self.kind == "given":
                raise StoreError(
                    f"the executor broke ({problem}); finished cells are kept: run the sweep again with a new one"
                ) from problem
        self._renew(executor)
        return self._in_a_process_of_its_own(job, arrays)

    def stop(self) -> None:
        """Let our own workers leave their cells at the next border of a chunk, and take back what has not begun."""
        self.stopped.set()
        with self._lock:
            for future in list(self._running):
                future.cancel()

    def __exit__(self, *exception: object) -> None:
        if self.kind == "processes":
            self._executor.shutdown(wait=True, cancel_futures=True)
        if self._limits is not None:
            self._limits.restore_original_limits()

    def _remote(self, executor: Any, job: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> CellRecords:
        if self.stopped.is_set():
            raise Stopped
        try:
            if self.kind == "processes":
                future = executor.submit(_compute_in_process, job, arrays)
            else:
                in_here = isinstance(executor, ThreadPoolExecutor)
                future = executor.submit(_compute, job, arrays, *([self.stopped] if in_here else []))
        except RuntimeError as problem:  # one that was shut down
            raise BrokenExecutor(str(problem)) from problem
        with self._lock:
            self._running.add(future)
        try:
            while True:
                try:
                    records: CellRecords = future.result(LOOK)
                    return records
                except TimeoutError:
                    if self.stopped.is_set() and self.kind == "given":  # whose workers do not hear of it
                        raise Stopped from None
        except CancelledError:
            if self.stopped.is_set():
                raise Stopped from None
            raise BrokenExecutor("it took the cell back") from None
        finally:
            with self._lock:
                self._running.discard(future)

    def _processes(self, count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, mp_context=SPAWN, initializer=_begin_process, initargs=(self.stopped,))

    def _renew(self, broken: Any) -> None:
        """New processes in place of those of which one died; whoever comes second finds them there."""
        with self._lock:
            if self._executor is broken:
                broken.shutdown(wait=False, cancel_futures=True)
                self._executor = self._processes(self.workers)

    def _in_a_process_of_its_own(self, job: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> CellRecords:
        """Again, alone: nobody knows which of the cells in work killed its process, and it may do so for its memory."""
        for _ in range(1, TRIES):
            with self._alone, self._processes(1) as solitary, contextlib.suppress(BrokenExecutor):
                return self._remote(solitary, job, arrays)
        raise CellFailed(f"a worker process died in each of {TRIES} tries (out of memory?)")


def _workers_of(executor: Any) -> int:
    """How many tasks an executor runs at a time, as far as it tells."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):
        return min(MOST, sum(client.nthreads().values()) or STILL_TO_COME)
    return min(MOST, int(getattr(executor, "_max_workers", None) or available_cpus()))


def _begin_process(stop: Any) -> None:
    global _told_to_stop
    _told_to_stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: `stop` is for us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1, "blas")


def _end_with_parent() -> None:
    """Workers of a killed process would wait for cells for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute_in_process(job: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> CellRecords:
    return _compute(job, arrays, _told_to_stop)


def _compute(job: Mapping[str, Any], arrays: Mapping[str, FloatArray], stop: Any = None) -> CellRecords:
    """A cell, whose exceptions come back as words."""
    try:
        return compute(job, arrays, stop)
    except Stopped:
        raise
    except Exception as problem:  # whatever a loss or a metric comes up with
        known = isinstance(problem, SgdmodelsError)
        raise CellFailed(str(problem) if known else f"{type(problem).__name__}: {problem}") from None
