"""Run what a store does not hold yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, StoreError, SweepFailed
from ..progress import Progress
from .cell import Cell, Stopped
from .claims import Claims
from .disk import reported
from .grid import Grid
from .journal import Journal
from .open_sweep import open_sweep
from .pool import CellFailed, Pool
from .store import Store

if TYPE_CHECKING:
    import xarray as xr

LOOK_AGAIN = 0.2  # seconds between looks at cells of other processes, and at the progress bar
SHOWN = 3  # failures that a message names


def run_sweep(
    grid: Grid, store: Any, executor: Any = None, progress: bool | None = True, *, workers: int | None = None,
    repair: bool = False,
) -> xr.Dataset:  # fmt: skip
    """Compute all cells of `grid` that the folder `store` does not hold, and open it (`open_sweep`).

    Each cell is written whole or not at all, so that a sweep may be killed, run again, and shared by several processes
    at any time: the store ends up the same, bit for bit. executor: "threads" (default), "processes", any
    `concurrent.futures.Executor`, or a Dask client (or its `get_executor()`); what travels to workers is plain data.
    workers: cells at a time. repair: first read everything, and compute damaged cells anew.

    Ctrl-C keeps finished cells and returns what there is, with attrs["interrupted"] = 1.
    Raises InvalidArgument before any work, StoreConflict if the store belongs to another grid, StoreError if it cannot
    be written, and SweepFailed at the end if some cells could not be computed.

    >>> import tempfile, sgdmodels as sm
    >>> grid = Grid(sm.recipes.gated_quadratic(0), sm.SGD(0.4, 8), step_size=[0.2, 0.4], batch_size=8, steps=200)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     swept = run_sweep(grid, folder, progress=False)
    ...     dict(swept.loss.sizes), bool(swept.finished.all())
    ({'step_size': 2, 'batch_size': 1, 'dynamics': 1, 'seed': 1, 'replica': 1, 'step': 3}, True)
    """
    if not isinstance(grid, Grid):
        raise InvalidArgument(f"grid must be a sm.Grid(...), got {type(grid).__name__}")
    pool = Pool(executor, workers)
    opened = Store.create(store, grid)
    if repair:
        opened.repair()
    interrupted = Sweep(grid, opened, pool).go(progress)
    if not interrupted:
        opened.tidy()
    return open_sweep(opened.path).assign_attrs(interrupted=int(interrupted))


class Sweep:
    """One process at work on a store: threads that claim, compute and store one cell after the other."""

    def __init__(self, grid: Grid, store: Store, pool: Pool) -> None:
        self.grid, self.store, self.pool = grid, store, pool
        self.claims, self.journal = Claims(store.path), Journal(store.path)
        self.elsewhere: list[Cell] = []  # claimed by other processes
        self.failures: dict[Cell, str] = {}
        self.done = 0
        self._lock = threading.Lock()

    def go(self, progress: bool | None) -> bool:
        """All cells, and whether Ctrl-C came first; raises SweepFailed at the end."""
        there = self.store.finished()
        self.done = sum(cell.name in there for cell in self.grid.cells())
        total = len(self.grid)
        if self.done == total:
            return False
        waiting = (cell for cell in self.grid.cells() if cell.name not in there)
        threads = max(1, self.pool.workers // (total - self.done)) if self.pool.kind == "threads" else 1
        at_a_time = min(self.pool.at_a_time, total - self.done)
        with (
            Progress(total, "sweep", progress, "cells", done=self.done) as bar,
            self.pool,
            ThreadPoolExecutor(at_a_time, thread_name_prefix="sweep") as crew,
        ):
            members = [crew.submit(self._work, waiting, threads) for _ in range(at_a_time)]
            try:
                while wait(members, LOOK_AGAIN, FIRST_EXCEPTION).not_done and not self.pool.stopped.is_set():
                    bar.update(self.done)
                bar.update(self.done)
            except KeyboardInterrupt:
                self.pool.stop()
                return True
            finally:
                wait(members)
                self.claims.release_all()
                self.journal.close()
        ended = [problem for member in members if (problem := member.exception()) is not None]
        for problem in ended:
            if not isinstance(problem, Stopped):  # the others stopped because of this one
                raise problem
        if ended:
            return True
        self._tell_failures(total)
        return False

    def _work(self, waiting: Iterator[Cell], threads: int) -> None:
        """One cell after the other, until there are none or one of us cannot go on."""
        try:
            while not self.pool.stopped.is_set():
                cell = self._next(waiting)
                if cell is None:
                    if not self.elsewhere:
                        return
                    self.pool.stopped.wait(LOOK_AGAIN)
                else:
                    self._one(cell, threads)
        except BaseException:
            self.pool.stop()
            raise

    def _next(self, waiting: Iterator[Cell]) -> Cell | None:
        """A cell that is ours now; None if there is none at present."""
        with self._lock, reported(self.store.path):
            for cell in waiting:
                if self._claimed(cell):
                    return cell
            for cell in list(self.elsewhere):
                self.elsewhere.remove(cell)
                if self._claimed(cell):
                    return cell
        return None

    def _claimed(self, cell: Cell) -> bool:
        """Claim a cell; what other processes are at is kept in mind, what they have finished is done."""
        if not self.claims.take(cell):
            self.elsewhere.append(cell)
            return False
        if self.store.is_finished(cell):
            self.claims.release(cell, finished=True)
            self.done += 1
            return False
        return True

    def _one(self, cell: Cell, threads: int) -> None:
        """Compute and store a cell, or take note of why it failed."""
        self.journal.note("started", cell)
        try:
            records = self.pool.compute(self.grid.job(cell, threads), self.grid.arrays)
        except (Stopped, StoreError):
            raise
        except Exception as problem:  # of the cell, or of a cluster
            what = str(problem) if isinstance(problem, CellFailed) else f"{type(problem).__name__}: {problem}"
            self.journal.note("failed", cell, why=what)
            self.claims.release(cell, finished=False)
            with self._lock:
                self.failures[cell] = what
            return
        self.store.write(cell, records, self.claims)
        self.journal.note("finished", cell, seconds=round(records.seconds, 4), worker=records.worker)
        self.claims.release(cell, finished=True)
        with self._lock:
            self.done += 1

    def _tell_failures(self, total: int) -> None:
        if not self.failures:
            return
        shown = "; ".join(f"{self._words(cell)}: {why}" for cell, why in list(self.failures.items())[:SHOWN])
        more = len(self.failures) - SHOWN
        raise SweepFailed(
            f"{len(self.failures)} of {total} cells failed, all others are in {self.store.path}: {shown}"
            + (f"; and {more} more, see {self.journal.folder}" if more > 0 else "")
        )

    def _words(self, cell: Cell) -> str:
        """Where a cell is, as people say it."""
        words = [f"step_size {self.grid.step_size[cell.step_size]:g}"]
        if cell.batch_size is not None:
            words.append(f"batch_size {self.grid.batch_size[cell.batch_size]}")
        return ", ".join([*words, list(self.grid.dynamics)[cell.dynamics], f"seed {self.grid.seed[cell.seed]}"])
