"""The same bits on every executor, whoever is killed, and however many work on a store."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument, StoreError, SweepFailed
from sgdmodels.sweeps import pool
from sgdmodels.sweeps.cell import CellRecords, compute

from .sweep_cases import constant_grid, contents, events, marked, small_grid

LONGER = {"steps": 20_000, "seed": [0, 1, 2], "replicas": 4}  # a sweep that lasts long enough to be disturbed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed") / "store"
    sm.run_sweep(small_grid(**LONGER), place, progress=False)
    return place


def children_of(process: int) -> list[int]:
    """Its worker processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may be gone by now
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == process and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    """Whether there is such a process that still works."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_threads_and_processes_and_given_executors(tmp_path: Path, undisturbed: Path) -> None:
    grid = small_grid(**LONGER)
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        ways: dict[str, Any] = {"one": "threads", "two": "processes", "three": threads, "four": processes}
        for name, executor in ways.items():
            swept = sm.run_sweep(grid, tmp_path / name, executor, progress=False, workers=1 if name == "one" else None)
            assert bool(swept.finished.all())
            assert contents(tmp_path / name) == contents(undisturbed), name
        assert threads.submit(int, 3).result() == 3  # what is given is given back alive


def test_a_finished_sweep_is_opened_and_not_run(undisturbed: Path, no_runs: None) -> None:
    before = events(undisturbed, "started")
    swept = sm.run_sweep(small_grid(**LONGER), undisturbed, progress=False)
    assert swept.attrs["interrupted"] == 0
    assert events(undisturbed, "started") == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")
def test_dask_with_a_worker_killed_in_mid_sweep(tmp_path: Path, undisturbed: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        killed = []

        def kill() -> None:
            while not list((tmp_path / "store").glob("cells/*.json")):  # once the sweep is well under way
                time.sleep(0.01)
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

        assassin = threading.Thread(target=kill)
        assassin.start()
        swept = sm.run_sweep(small_grid(**LONGER), tmp_path / "store", client.get_executor(), progress=False)
        assassin.join()
        assert bool(swept.finished.all())
        assert contents(tmp_path / "store") == contents(undisturbed)
        assert killed[0] not in client.run(os.getpid).values()
        again = sm.run_sweep(constant_grid(), tmp_path / "other", client, progress=False)  # a client will do as well
        assert bool(again.finished.all())


def test_a_process_killed_in_mid_sweep_is_replaced(tmp_path: Path, undisturbed: Path) -> None:
    def kill() -> None:
        while not list((tmp_path / "store").glob("cells/*.json")):
            time.sleep(0.01)
        for child in children_of(os.getpid()):
            os.kill(child, signal.SIGKILL)

    if not Path("/proc/self").exists():
        pytest.skip("finds its child processes in /proc")
    assassin = threading.Thread(target=kill)
    assassin.start()
    sm.run_sweep(small_grid(**LONGER), tmp_path / "store", "processes", progress=False)
    assassin.join()
    assert contents(tmp_path / "store") == contents(undisturbed)
    finished = events(tmp_path / "store", "finished")
    assert len(finished) == len(set(finished)) == len(small_grid(**LONGER))


def sweeping(place: Path, executor: str = "threads") -> subprocess.Popen[bytes]:
    """A process of its own at work on a store."""
    code = (
        "import sgdmodels as sm\n"
        "from tests.sweep_cases import small_grid\n"
        "if __name__ == '__main__':\n"
        f"    swept = sm.run_sweep(small_grid(**{LONGER!r}), {str(place)!r}, {executor!r}, progress=False, workers=1)\n"
        "    raise SystemExit(swept.attrs['interrupted'])\n"
    )
    program = place.parent / "program.py"
    program.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with (place.parent / "errors.txt").open("ab") as errors:
        return subprocess.Popen([sys.executable, str(program)], env=environment, stderr=errors)


def test_kills_at_random_moments(tmp_path: Path, undisturbed: Path) -> None:
    """The short form of validation/killed_sweeps.py."""
    rng = np.random.default_rng(0)
    place, kills = tmp_path / "store", 0
    halfway = set()
    while kills < 6:
        event = ("started", "finished")[kills % 2]
        known = len(events(place, event))
        process = sweeping(place)
        while process.poll() is None and len(events(place, event)) == known:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        if process.returncode == 0:
            break
        halfway.add(len(marked(place)))
    assert kills >= 3
    assert halfway - {0, len(small_grid(**LONGER))}, (
        "no kill came upon cells that were finished, and others that were not"
    )
    assert sweeping(place).wait() == 0
    assert contents(place) == contents(undisturbed)
    # one cell is in work at a time, so every kill costs one at most
    assert len(events(place, "started")) <= len(small_grid(**LONGER)) + kills


def test_two_processes_share_a_store(tmp_path: Path, undisturbed: Path) -> None:
    place = tmp_path / "store"
    processes = [sweeping(place), sweeping(place)]
    assert [process.wait() for process in processes] == [0, 0]
    assert contents(place) == contents(undisturbed)
    started = events(place, "started")
    assert len(started) == len(set(started)) == len(small_grid(**LONGER)), "a cell was computed twice"
    assert len(list((place / "journal").glob("*"))) == 2, "one of the two had nothing to do"


def test_one_takes_over_what_another_was_killed_at(tmp_path: Path, undisturbed: Path) -> None:
    place = tmp_path / "store"
    doomed, survivor = sweeping(place), sweeping(place)
    while len(events(place, "started")) < 4:
        time.sleep(0.01)
    doomed.kill()
    doomed.wait()
    assert survivor.wait() == 0
    assert contents(place) == contents(undisturbed)


def test_worker_processes_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("finds child processes in /proc")
    place = tmp_path / "store"
    process = sweeping(place, "processes")
    while not list(place.glob("cells/*.json")):
        time.sleep(0.01)
    children = children_of(process.pid)
    assert children
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline, "worker processes outlived the sweep"
        time.sleep(0.05)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, undisturbed: Path, executor: str) -> None:
    place = tmp_path / "store"
    process = sweeping(place, executor)
    while not list(place.glob("cells/*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=30) == 1
    assert time.monotonic() - began < 10, "running cells were not left at the border of a chunk"
    assert "Traceback" not in (tmp_path / "errors.txt").read_text()
    assert 0 < len(marked(place)) < len(small_grid(**LONGER))
    sm.run_sweep(small_grid(**LONGER), place, progress=False)
    assert contents(place) == contents(undisturbed)


class Fussy(sm.models.LeastSquares):
    """Refuses a start."""

    def check_point(self, theta: Any) -> None:
        super().check_point(theta)
        if np.linalg.norm(theta) > 0.2:
            raise InvalidArgument("init must be small for this loss")


def test_failed_cells_are_named_and_all_others_kept(tmp_path: Path) -> None:
    fussy = Fussy(np.eye(3), np.ones(3))
    starts = {s: np.linalg.norm(0.1 * np.random.default_rng(s).standard_normal(3)) for s in range(8)}
    seeds = sorted(starts, key=starts.__getitem__)  # the grid looks at its first seed only
    bad = sum(norm > 0.2 for norm in starts.values())
    assert 0 < bad < 8
    grid = sm.Grid(
        fussy, sm.SGD(0.1, 1), step_size=0.1, batch_size=1, seed=seeds, steps=100, trusted=[__name__.partition(".")[0]]
    )
    with pytest.raises(SweepFailed, match=rf"{bad} of 8 cells failed.*init must be small") as caught:
        sm.run_sweep(grid, tmp_path / "store", progress=False)
    assert "step_size 0.1, batch_size 1, SGD, seed" in str(caught.value)
    assert len(marked(tmp_path / "store")) == 8 - bad
    assert len(events(tmp_path / "store", "failed")) == bad
    with pytest.raises(SweepFailed, match=rf"{bad} of 8 cells failed"):
        sm.run_sweep(grid, tmp_path / "store", progress=False)
    assert len(events(tmp_path / "store", "finished")) == 8 - bad


class Clumsy(Exception):
    """Pickles, and cannot be made again from what it was pickled to."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("clumsy")


class Deadly(sm.models.LeastSquares):
    """Raises in one cell, and kills its process in another."""

    def check_point(self, theta: Any) -> None:
        super().check_point(theta)
        if threading.current_thread() is not threading.main_thread():
            return
        seed = [s for s in range(5) if np.allclose(theta, 0.1 * np.random.default_rng(s).standard_normal(3))]
        if seed == [3] and "spawn_main" in Path("/proc/self/cmdline").read_text():
            os._exit(3)
        if seed == [4] and "spawn_main" in Path("/proc/self/cmdline").read_text():
            raise Clumsy(1, 2)


def test_a_deadly_cell_and_a_clumsy_exception_harm_no_other(tmp_path: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("knows worker processes by /proc")
    package = __name__.partition(".")[0]
    grid = sm.Grid(
        Deadly(np.eye(3), np.ones(3)), sm.SGD(0.1, 1), step_size=0.1, batch_size=1, seed=range(5), steps=100,
        trusted=[package],
    )  # fmt: skip
    with pytest.raises(SweepFailed, match="2 of 5 cells failed") as caught:
        sm.run_sweep(grid, tmp_path / "store", "processes", progress=False, workers=2)
    assert "seed 3: a worker process died in each of 3 tries" in str(caught.value)
    assert "seed 4: Clumsy: clumsy" in str(caught.value)
    assert marked(tmp_path / "store") == ["0-0-0-0", "0-0-0-1", "0-0-0-2"]


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sgdmodels as sm\n"
        "from tests.sweep_cases import small_grid\n"
        "sm.run_sweep(small_grid(), 'store', 'processes', progress=False)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("sgdmodels.errors.InvalidArgument: worker processes cannot start")
    assert "if __name__ == '__main__'" in done.stderr


def test_an_executor_that_is_shut_down(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        pass
    with pytest.raises(StoreError, match="the executor broke"):
        sm.run_sweep(small_grid(), tmp_path / "store", executor, progress=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"executor": "thread"}, 'executor must be "threads"'),
        ({"executor": 3}, "executor must be one of concurrent.futures"),
        ({"workers": 0}, "workers must be in 1"),
        ({"grid": "grid"}, "grid must be a sm.Grid"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        sm.run_sweep(**({"grid": small_grid(), "store": tmp_path / "store", "progress": False} | given))
    assert not (tmp_path / "store").exists()


def test_few_cells_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the grid, no more records exist than workers."""
    alive, most, lock = [0], [0], threading.Lock()

    class Counted(CellRecords):
        def __del__(self) -> None:
            with lock:
                alive[0] -= 1

    def counted(*arguments: Any) -> CellRecords:
        records = compute(*arguments)
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        return Counted(records.variables, records.labels, records.seconds, records.worker)

    monkeypatch.setattr(pool, "compute", counted)
    grid = small_grid(seed=range(40), steps=64)
    sm.run_sweep(grid, tmp_path / "store", progress=False, workers=2)
    assert len(grid) == 120
    assert 1 <= most[0] <= 4


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_file_locks_cells_may_be_computed_twice_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    grid = small_grid()
    sm.run_sweep(grid, tmp_path / "with", progress=False)
    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.warns(UserWarning, match="has no locks"):
        sm.run_sweep(grid, tmp_path / "without", progress=False)
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
