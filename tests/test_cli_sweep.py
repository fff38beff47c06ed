"""`sgdmodels sweep` and `report`: what is printed, what is kept after a signal, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import gethostname

import pytest

import sgdmodels as sm
from sgdmodels import progress
from sgdmodels.cli.sweep_status import standing
from sgdmodels.sweeps import pool

from .command_line import GRID, listing, run, written

LONG = """step_size = [0.1, 0.2, 0.4]
batch_size = [2, 4, 8, 16]
steps = 20000
record_every = 20
[recipe]
use = "gated_quadratic"
[dynamics.SGD]
use = "SGD"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    written(Path("grid.toml"), GRID)
    return tmp_path


def checksums(store: str) -> dict[str, object]:
    """What the markers of cells say of their chunks."""
    return {file.name: json.loads(file.read_text())["chunks"] for file in Path(store, "cells").glob("*.json")}


def test_a_dry_run_counts_and_writes_nothing(folder: Path) -> None:
    before = listing(folder)
    plan = run("sweep", "grid.toml", "store", "--dry-run", "--json").data
    assert (plan["cells"], plan["finished"], plan["to_compute"]) == (6, 0, 6)  # 2 x 2 of SGD, 2 of GD
    assert plan["steps_to_run"] == 6 * 200
    assert "6 to compute" in run("sweep", "grid.toml", "store", "--dry-run").out
    assert listing(folder) == before


def test_a_sweep_is_that_of_run_sweep(folder: Path) -> None:
    answer = run("sweep", "grid.toml", "store", "--json", "--workers", "1")
    assert answer.code == 0
    grid = sm.Grid(
        sm.recipes.gated_quadratic, {"SGD": sm.SGD(0.1, 2), "GD": sm.GD(0.1)}, step_size=[0.2, 0.4], batch_size=[2, 8],
        steps=200,
    )  # fmt: skip
    sm.run_sweep(grid, "same", progress=False)
    assert checksums("store") == checksums("same")
    found = answer.data
    assert found["identity"] == grid.identity
    assert (found["cells"], found["finished"], found["complete"]) == (6, 6, True)
    assert (found["failed"], found["at_work"], found["interrupted"]) == ([], [], False)
    assert found["mean_seconds"] > 0
    again = run("sweep", "store")  # with the grid that it holds
    assert again.code == 0
    assert "6 of 6 cells" in again.out
    assert "6 to compute" not in run("sweep", "grid.toml", "store", "--dry-run").out


def test_damaged_cells_are_repaired(folder: Path) -> None:
    assert run("sweep", "grid.toml", "store").code == 0
    good = {file: file.read_bytes() for file in Path("store/arrays.zarr/loss").glob("c.*")}
    victim = sorted(good)[0]
    victim.write_bytes(b"damaged")
    assert run("sweep", "store").code == 0
    assert victim.read_bytes() == b"damaged"
    assert run("sweep", "store", "--repair").code == 0
    assert {file: file.read_bytes() for file in good} == good


def test_cells_that_fail_are_told_and_others_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GD's cells raise; then they do not."""
    package = Path("fragile")
    package.mkdir()
    written(
        package / "__init__.py",
        "import pathlib, sgdmodels as sm\n"
        "class Fragile(sm.GD):\n"
        "    def plan(self, samples):\n"
        "        if self.step_size > 0.3 and pathlib.Path('broken').exists():\n"
        "            raise RuntimeError('it broke')\n"
        "        return super().plan(samples)\n",
    )
    monkeypatch.syspath_prepend(str(folder))
    text = GRID.replace('use = "GD"', 'use = "fragile.Fragile"')
    written(Path("own.toml"), text)
    refused = run("sweep", "own.toml", "store")
    assert refused.code == 2
    assert "dynamics.GD.use" in refused.err
    assert not Path("store").exists()
    assert run("sweep", "own.toml", "store", "--trust", "fragile", "--dry-run").code == 0
    compute = pool.compute

    def failing(job: dict, arrays: object, stop: object = None) -> object:  # type: ignore[type-arg]
        Path("broken").touch()
        try:
            return compute(job, arrays, stop)  # type: ignore[arg-type]
        finally:
            Path("broken").unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "compute", failing)
        answer = run("sweep", "own.toml", "store", "--trust", "fragile", "--workers", "1", "--json")
    assert answer.code == 1
    assert "1 of 6 cells failed" in answer.err
    assert "it broke" in answer.err
    (one,) = answer.data["failed"]
    assert (one["step_size"], one["batch_size"], one["dynamics"], one["seed"]) == (0.4, None, "GD", 0)
    assert "it broke" in one["why"]
    status = run("sweep", "--status", "store")
    assert (status.code, "5 of 6 cells" in status.out, "step_size 0.4, dynamics GD" in status.out) == (0, True, True)
    assert run("sweep", "store", "--trust", "fragile").code == 0
    assert run("sweep", "--status", "store", "--json").data["failed"] == []


@pytest.mark.parametrize(
    ("number", "code", "more"),
    [(signal.SIGINT, 130, []), (signal.SIGTERM, 143, ["--executor", "processes", "--workers", "1"])],
)
def test_a_signal_keeps_finished_cells_and_a_second_run_goes_on(
    number: signal.Signals, code: int, more: list[str], folder: Path
) -> None:
    """Sent to all processes of the sweep, as terminals and schedulers do."""
    written(Path("long.toml"), LONG)
    command = [sys.executable, "-m", "sgdmodels", "sweep", "long.toml", "store", "--json", *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(checksums("store")) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "finished cells are kept" in err
    assert "Traceback" not in err
    told = json.loads(out)
    kept = checksums("store")
    assert 2 <= len(kept) == told["finished"] < 12
    assert (told["interrupted"], told["at_work"]) == (True, [])
    times = {file: (Path("store/cells") / file).stat().st_mtime_ns for file in kept}
    assert run("sweep", "store").code == 0
    whole = checksums("store")
    assert len(whole) == 12
    assert {file: (Path("store/cells") / file).stat().st_mtime_ns for file in kept} == times  # not computed again


def test_logs_show_life(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.01)
    answer = run("sweep", written(Path("long.toml"), LONG.replace("20000", "4000")), "store")
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert lines
    assert all(" of 12 cells (" in line and " elapsed" in line for line in lines)


def test_who_is_at_work(folder: Path) -> None:
    """A living process of this machine is shown, a dead one is not; of other machines nobody knows."""
    assert run("sweep", "grid.toml", "store").code == 0
    for file in Path("store/journal").glob("*"):
        file.unlink()
    Path("store/cells/0-0-0-0.json").unlink()
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    line = json.dumps({"event": "started", "cell": "0-0-0-0", "at": "2030-01-01T00:00:00.000+00:00"}) + "\n"
    for host, pid in ((gethostname(), os.getpid()), (gethostname(), dead.pid), ("far-away", dead.pid)):
        written(Path(f"store/journal/{host}-{pid}-12345678.jsonl"), line + '{"event": "sta')
    found = standing(Path("store"))["at_work"]
    assert {(one["host"], one["pid"]) for one in found} == {(gethostname(), os.getpid()), ("far-away", dead.pid)}
    assert all(one["cells"] == 1 for one in found)
    assert "At work: far-away" in run("sweep", "--status", "store").out


@pytest.mark.parametrize("arguments", [["sweep", "nowhere"], ["sweep", "--status", "nowhere"], ["report", "nowhere"]])
def test_a_store_that_is_not_there_is_a_failure(arguments: list[str], folder: Path) -> None:
    before = listing(folder)
    answer = run(*arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "nowhere is no sweep" in answer.err
    assert listing(folder) == before


def test_a_scheduler_that_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(sys.modules["sgdmodels.cli.sweep"], "PATIENCE", "0.2s")
    before = listing(folder)
    answer = run("sweep", "grid.toml", "store", "--executor", "tcp://127.0.0.1:1")
    assert answer.code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in answer.err
    assert listing(folder) == before


def test_a_dask_scheduler_computes(folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    quiet = {"dashboard_address": ":0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **quiet) as cluster:
        address = cluster.scheduler_address
        answer = run("sweep", "grid.toml", "store", "--executor", address)
    assert answer.code == 0, answer.err
    assert run("sweep", "grid.toml", "same").code == 0
    assert checksums("store") == checksums("same")


def test_report_writes_files(folder: Path) -> None:
    assert run("sweep", "grid.toml", "store").code == 0
    answer = run("report", "store", "-o", "paper", "--title", "Two step sizes", "--json")
    assert answer.code == 0, answer.err
    files = [Path(file) for file in answer.data["files"].values()]
    assert files
    assert all(file.stat().st_size > 0 for file in files)
    (page,) = [file for file in files if file.suffix == ".html"]
    assert "Two step sizes" in page.read_text()
    assert run("report", "store", "-o", "grid.toml").code == 2
