"""Runs that are cut off and go on: the same bits as without, whatever the dynamics, metrics, threads and lengths."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sgdmodels as sm
from sgdmodels import run_file
from sgdmodels.declarations import ROWS
from sgdmodels.errors import InvalidArgument
from sgdmodels.journey import Journey

simulate_module = import_module("sgdmodels.simulate")

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((20, 7))
TARGETS = INPUTS @ np.ones(7) + 0.3 * RNG.standard_normal(20)
MODEL = sm.models.DiagonalNetwork(INPUTS, TARGETS)  # d = 14: enough for lambda_max to start where it ended
INIT = 1 + 0.1 * RNG.standard_normal((9, 14))
INIT[4] *= 30  # far past the edge: lost within a few steps
RUN: dict[str, Any] = {
    "init": INIT, "replicas": [5, 2, 7, 11, 0, 1, 30, 8, 9], "record_every": 30, "seed": 3,
    "metrics": ("loss", "batch_sharpness", "lambda_max", "batch_sharpness_mean_ratio"),
}  # fmt: skip
FEW: dict[str, Any] = {"init": np.ones(14), "record_every": 50, "metrics": ("loss",), "seed": 1}
SGD = sm.SGD(0.01, 2)
TIMES = ["created", "wall_time_s"]  # what alone may differ


class Killed(Exception):
    """As a kill: nothing in the package expects it."""


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", 0.0)


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Equal in every bit of every variable, coordinate and attribute."""
    stripped = []
    for run in (one, other):
        assert set(TIMES) <= run.attrs.keys()
        stripped.append(run.assign_attrs(dict.fromkeys(TIMES, 0)))
    xr.testing.assert_identical(*stripped)
    assert list(one.data_vars) == list(other.data_vars)
    for name in one.data_vars:
        assert one[name].values.tobytes() == other[name].values.tobytes(), name


def cut_off(
    monkeypatch: pytest.MonkeyPatch, after: int, how: type[BaseException], model: Any, dynamics: Any, **options: Any
) -> int:
    """Run until `how` comes at a border, `after` borders on; returns the step there."""
    original, seen = Journey.at_border, list[int]()

    def at_border(self: Journey, step: int, done: int) -> None:
        original(self, step, done)
        seen.append(step)
        if len(seen) == after:
            raise how

    with monkeypatch.context() as patch:
        patch.setattr(Journey, "at_border", at_border)
        if how is KeyboardInterrupt:
            partial = sm.simulate(model, dynamics, **options)
            assert partial.attrs["interrupted"] == 1
            assert partial.step.values[-1] <= seen[-1]
        else:
            with pytest.raises(how):
                sm.simulate(model, dynamics, **options)
    return seen[-1]


def made(kind: type[sm.Dynamics], options: dict[str, Any]) -> tuple[sm.models.Model, sm.Dynamics, np.ndarray]:
    """A loss, that dynamics with schedules, and where it starts: nine replicas of which one is lost."""
    if kind is sm.PredictedDynamics:  # which takes no schedules and starts at a point of the edge: all stay
        recipe = sm.recipes.slow_tail_network(0)
        predicted = sm.PredictedDynamics(0.05, 98)
        memory = predicted.plan(recipe.model.samples).memory
        assert memory is not None
        point = memory(recipe.model, recipe.init[None])[0, 7 : 7 + recipe.model.dim]
        return recipe.model, predicted, point + 1e-3 * np.random.default_rng(1).standard_normal((9, recipe.model.dim))
    arguments = {"step_size": [(0, 0.02), (130, 0.03)], **options}
    if "batch_size" in {field.name for field in fields(kind)}:
        arguments["batch_size"] = [(0, 4), (200, 2)]
    return MODEL, kind(**arguments), INIT


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize(("kind", "options"), ROWS, ids=lambda part: str(getattr(part, "__name__", part)))
def test_every_dynamics_goes_on_to_the_same_bits(
    kind: type[sm.Dynamics], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off twice at random borders, on one thread, then three, then two; the last time it is made longer, too."""
    model, dynamics, init = made(kind, options)
    file, common = tmp_path / "run.npz", {**RUN, "init": init, "keep_params": True}
    whole = sm.simulate(model, dynamics, 500, threads=2, **common)
    assert whole.diverged_at.notnull().sum() >= (kind is not sm.PredictedDynamics)
    rng = np.random.default_rng(len(str(dynamics)))
    kept = {"checkpoint": file, "checkpoint_seconds": 0.0, "steps": 337, **common}
    first = cut_off(monkeypatch, int(rng.integers(1, 3)), Killed, model, dynamics, threads=1, **kept)
    second = cut_off(monkeypatch, int(rng.integers(1, 3)), KeyboardInterrupt, model, dynamics, threads=3, **kept)
    assert 0 < first < second < 337
    same(sm.simulate(model, dynamics, threads=2, **kept), sm.simulate(model, dynamics, 337, threads=2, **common))
    same(sm.simulate(model, dynamics, 500, resume=file, threads=2, **common), whole)


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("every", [1, 7, 64, 100, 1000])
def test_any_record_every_and_any_border(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, common = tmp_path / "run.npz", {**RUN, "record_every": every}
    whole = sm.simulate(MODEL, SGD, 450, threads=1, **common)
    for after in range(1, 8):
        file.unlink(missing_ok=True)
        kept = {"steps": 450, "threads": 1, "checkpoint": file, "checkpoint_seconds": 0.0, **common}
        cut_off(monkeypatch, after, Killed, MODEL, SGD, **kept)
        same(sm.simulate(MODEL, SGD, **kept), whole)


@pytest.mark.usefixtures("short_chunks")
def test_epochs_that_are_cut_go_on_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 is no multiple of the 6 steps of an epoch: every border is inside one."""
    rng = np.random.default_rng(5)
    model, file = sm.models.Quadratics(np.ones((20, 1, 1)), rng.standard_normal((20, 1))), tmp_path / "run.npz"
    dynamics = sm.SGD(0.5, 3, sampling="epoch")
    common: dict[str, Any] = {"init": np.zeros(1), "record_every": 1, "replicas": 6, "metrics": (), "keep_params": True}
    whole = sm.simulate(model, dynamics, 300, **common)
    for after in (1, 2, 1):
        kept = {"steps": 300, "checkpoint": file, "checkpoint_seconds": 0.0, **common}
        cut_off(monkeypatch, after, Killed, model, dynamics, **kept)
    resumed = sm.simulate(model, dynamics, 300, resume=file, **common)
    same(resumed, whole)
    drawn = 2 * np.diff(resumed.params.values[0, :, 0]) + resumed.params.values[0, :-1, 0]  # 3 centres' mean
    for first in range(0, 294, 6):  # any 18 of 20 samples, once each
        left_out = 20 * model.data[1].mean() - 3 * drawn[first : first + 6].sum()
        pairs = model.data[1].ravel()[:, None] + model.data[1].ravel()[None]
        assert np.abs(pairs[np.triu_indices(20, 1)] - left_out).min() < 1e-9


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("every", [30, 64, 1000])
@pytest.mark.parametrize("short", [10, 63, 64, 100, 192, 300, 320, 449])
def test_a_run_may_be_made_longer(short: int, every: int, tmp_path: Path) -> None:
    """The records of the end of the shorter one, and what they left in lambda_max's memory, leave no trace."""
    file, common = tmp_path / "run.npz", {**RUN, "record_every": every, "threads": 2}
    init = INIT.copy()
    init[:3] *= 4.4  # some are on their way out when the shorter run ends
    common["init"] = init
    same(sm.simulate(MODEL, SGD, short, checkpoint=file, **common), sm.simulate(MODEL, SGD, short, **common))
    for longer in (short, short + 1, 450, 700):
        same(sm.simulate(MODEL, SGD, longer, resume=file, **common), sm.simulate(MODEL, SGD, longer, **common))


def test_a_run_may_be_made_shorter_down_to_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_chunks: None
) -> None:
    file = tmp_path / "run.npz"
    kept = {"checkpoint": file, "checkpoint_seconds": 0.0, **FEW}
    assert cut_off(monkeypatch, 5, Killed, MODEL, SGD, steps=1000, **kept) == 320
    for steps in (320, 321, 350):
        other = tmp_path / f"{steps}.npz"
        same(
            sm.simulate(MODEL, SGD, steps, resume=file, checkpoint=other, **FEW), sm.simulate(MODEL, SGD, steps, **FEW)
        )
    with pytest.raises(InvalidArgument, match=r"steps must be at least 320, where resume .*run.npz stands, got 319"):
        sm.simulate(MODEL, SGD, 319, resume=file, **FEW)


SIGKILLS = """
import os, signal, sys, time
import numpy as np, xarray as xr, sgdmodels as sm
from importlib import import_module
sys.path.insert(0, os.getcwd())
from tests.test_resume import MODEL, RUN, same
import_module("sgdmodels.simulate").CHUNK_SECONDS = 0.005
file = sys.argv[1]
rng = np.random.default_rng(0)
dynamics = sm.SGD(0.01, 2, sampling="epoch", momentum=0.5)
run = lambda **kept: sm.simulate(MODEL, dynamics, 30_000, threads=2, keep_params=True, **{**RUN, **kept})
begun = time.perf_counter()
whole = run()
taken = time.perf_counter() - begun
kills, steps, lifetimes = 0, [], []
while kills < 12:
    child = os.fork()
    if child == 0:
        try:
            run(checkpoint=file, checkpoint_seconds=0.0)
        finally:
            os._exit(0)
    lifetimes.append(rng.uniform(0, taken / 6))
    time.sleep(lifetimes[-1])
    os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if os.path.exists(file):
        from sgdmodels.run_file import load
        from pathlib import Path
        steps.append(load(Path(file)).border.step)
same(run(checkpoint=file), whole)
print(kills, steps == sorted(steps) and len(set(steps)) > 3, steps[-1] < 30_000 or steps)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL, which this system lacks")
def test_twelve_real_kills_leave_no_trace(tmp_path: Path) -> None:
    """SIGKILL at random moments, also in the middle of a write: every file is whole, and the end is the same bits."""
    place = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SIGKILLS, str(tmp_path / "run.npz")],
        cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split()[:2] == ["12", "True"], done.stdout + done.stderr


def test_ctrl_c_inside_a_chunk_leaves_the_last_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_chunks: None
) -> None:
    """Steps, metrics and warm starts of the chunk that was broken off are forgotten, on disk as in what is returned."""
    file, calls = tmp_path / "run.npz", list[int]()

    def pressed(points: Any) -> np.ndarray:
        calls.append(1)
        if len(calls) == 11:  # three workers: in the middle of the fourth chunk
            raise KeyboardInterrupt
        return np.zeros(points.shape)

    metrics = ("loss", "lambda_max", sm.Metric("pressed", "when Ctrl-C comes", "1", pressed), "ias")
    common = {**RUN, "record_every": 20, "metrics": metrics, "threads": 2, "keep_params": True}
    whole = sm.simulate(MODEL, SGD, 640, **{**common, "metrics": (*metrics[:2], "ias")})
    partial = sm.simulate(MODEL, SGD, 640, checkpoint=file, **common)
    assert partial.attrs["interrupted"] == 1
    assert partial.step.values.tolist() == list(range(0, 193, 20))
    stored = run_file.load(file)
    assert (stored.border.step, stored.border.done) == (192, 10)
    xr.testing.assert_equal(
        partial.drop_vars(["pressed", "diverged_at"]), whole.isel(step=slice(10)).drop_vars("diverged_at")
    )
    resumed = sm.simulate(MODEL, SGD, 640, checkpoint=file, **common)
    for name in whole.data_vars:
        assert resumed[name].values.tobytes() == whole[name].values.tobytes(), name


def test_a_metrics_memory_that_cannot_be_stored_is_said(tmp_path: Path) -> None:
    def remember(value: Any) -> Any:
        def evaluate(points: Any) -> np.ndarray:
            points.memory["mine"] = value
            return np.zeros(points.shape)

        return sm.Metric("mine", "keeps something", "1", evaluate)

    for value in (object(), 1.0, np.zeros(5), [{}]):
        options = {**FEW, "metrics": (remember(value),), "replicas": 2}
        sm.simulate(MODEL, SGD, 128, **options)  # without a file it is nobody's business
        with pytest.raises(
            InvalidArgument, match=r"snapshots.memory\['mine'\] cannot be stored; keep an array with a row"
        ):
            sm.simulate(MODEL, SGD, 128, checkpoint=tmp_path / "run.npz", **options)
        (tmp_path / "run.npz").unlink()


@pytest.mark.usefixtures("short_chunks")
def test_what_metrics_keep_follows_its_replica_from_worker_to_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric that counts its own records by replica, in rows and one by one."""

    def count(points: Any) -> np.ndarray:
        rows = points.memory.setdefault("rows", 1000 * points.replicas[:, None])
        values = np.empty(points.shape)
        for k, replica in enumerate(points.replicas.tolist()):
            one = points.memory.setdefault(f"one, replica {replica}", np.zeros(replica + 1))
            for q in range(points.shape[1]):
                rows[k] += 1
                one += 1
                values[k, q] = rows[k, 0] + one.sum() / len(one)
        return values

    common = {"replicas": 9, **FEW, "metrics": (sm.Metric("count", "count", "1", count),)}
    kept = {"steps": 640, "checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0.0, **common}
    for threads in (1, 3, 2):
        cut_off(monkeypatch, 2, Killed, MODEL, SGD, threads=threads, **kept)
    run = sm.simulate(MODEL, SGD, threads=3, **kept)
    expected = 1000 * np.arange(9)[:, None] + 2 * np.arange(1, 15)
    np.testing.assert_array_equal(run["count"], expected)
