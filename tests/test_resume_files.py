"""The file of a run that goes on: whose it is, where it lies, what may be wrong with it, and what it costs."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels import run_file
from sgdmodels.errors import InvalidArgument
from sgdmodels.journey import Journey

from .test_resume import FEW, INPUTS, MODEL, RUN, SGD, TARGETS, same

simulate_module = import_module("sgdmodels.simulate")


@pytest.fixture
def no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("steps were taken")

    monkeypatch.setattr(simulate_module.Run, "drive", started)


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", 0.0)


def test_a_link_stays_a_link_and_a_relative_path_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.npz", tmp_path / "link.npz"
    link.symlink_to(real)
    sm.simulate(MODEL, SGD, 128, checkpoint=link, **FEW)
    assert link.is_symlink()
    assert real.is_file()
    monkeypatch.chdir(tmp_path)

    def wander(points: Any) -> np.ndarray:
        monkeypatch.chdir(tmp_path / "there")
        return np.zeros(points.shape)

    metrics = (sm.Metric("wander", "changes the directory", "1", wander),)
    sm.simulate(MODEL, SGD, 128, checkpoint="here.npz", **{**FEW, "metrics": metrics})
    assert (tmp_path / "here.npz").is_file()


def test_resume_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"resume .*none.npz is not there; give a file that checkpoint= wrote"):
        sm.simulate(MODEL, SGD, 10, resume=tmp_path / "none.npz", **FEW)
    assert list(tmp_path.iterdir()) == []


def test_resume_with_another_checkpoint_leaves_the_old_file_alone(tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    sm.simulate(MODEL, SGD, 128, checkpoint=old, **FEW)
    before = old.read_bytes()
    whole = sm.simulate(MODEL, SGD, 640, **FEW)
    for _ in range(2):  # the second time the new file, which is further along, is taken up
        same(sm.simulate(MODEL, SGD, 640, resume=old, checkpoint=new, **FEW), whole)
    assert old.read_bytes() == before
    assert (run_file.load(old).border.step, run_file.load(new).border.step) == (64, 576)
    sm.simulate(MODEL, SGD, 640, resume=old, **FEW)
    assert run_file.load(old).border.step == 576


def test_checkpoint_alone_makes_no_other_run_of_it(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    sm.simulate(MODEL, SGD, 128, checkpoint=file, **FEW)
    with pytest.raises(InvalidArgument, match=r"another run \(its steps is 128, here 256\); pass it as resume="):
        sm.simulate(MODEL, SGD, 256, checkpoint=file, **FEW)


OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("seed", {"seed": 2}, "its seed is 1, here 2"),
    ("step size", {"dynamics": sm.SGD(0.02, 2)}, "its dynamics.step_size is 0.01, here 0.02"),
    ("dynamics", {"dynamics": sm.SVAG(0.01, 2)}, "its dynamics.name is 'SGD', here 'SVAG'"),
    ("momentum", {"dynamics": sm.SGD(0.01, 2, momentum=0.5)}, "its dynamics.momentum is 0.0, here 0.5"),
    ("data", {"model": sm.models.DiagonalNetwork(INPUTS, TARGETS + 1e-12)}, "its data is"),
    ("loss", {"model": sm.models.DiagonalNetwork(INPUTS, TARGETS, form="difference")}, "its model.form is 'product'"),
    ("init", {"init": np.ones(14) + 1e-12}, "its init is"),
    ("metrics", {"metrics": ("gradient_norm",)}, r"its metrics\[0\] is 'loss', here 'gradient_norm'"),
    ("number of metrics", {"metrics": ("loss", "ias")}, r"its metrics is \['loss'\], here \['loss', 'ias'\]"),
    ("replicas", {"replicas": 2}, r"its replicas is \[0\], here \[0, 1\]"),
    ("ids", {"replicas": [1]}, r"its replicas\[0\] is 0, here 1"),
    ("record_every", {"record_every": 25}, "its record_every is 50, here 25"),
    ("batch_size", {"batch_size": 3}, r"its batch_sizes\[0\] is 2, here 3"),
    ("keep_params", {"keep_params": True}, "its keep_params is False, here True"),
]


@pytest.mark.parametrize("way", ["checkpoint", "resume"])
@pytest.mark.parametrize(("change", "words"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS])
def test_a_file_of_another_run_is_named_and_left_alone(
    change: dict[str, Any], words: str, way: str, tmp_path: Path, no_steps: None
) -> None:
    file = tmp_path / "run.npz"
    begun(file)
    before = file.read_bytes()
    arguments = {"model": MODEL, "dynamics": SGD, "steps": 128, **FEW, **change, way: file}
    with pytest.raises(InvalidArgument, match=rf"belongs to another run \({words}"):
        sm.simulate(**arguments)
    assert file.read_bytes() == before


def begun(file: Path) -> None:
    """The file of a run that has taken no step yet."""
    Journey([simulate_module.Run(MODEL, SGD, 128, **FEW)], file)


def test_other_code_under_the_same_name_is_another_run(tmp_path: Path) -> None:
    class Tripled(sm.models.LeastSquares):
        def sample_losses(self, theta: Any) -> np.ndarray:
            return 3 * super().sample_losses(theta)

    file = tmp_path / "run.npz"
    options: dict[str, Any] = {"init": np.ones(7), "metrics": ("loss",), "checkpoint": file}
    plain, tripled = sm.models.LeastSquares(INPUTS, TARGETS), Tripled(INPUTS, TARGETS)
    Tripled.__name__ = "LeastSquares"
    sm.simulate(plain, SGD, 64, **options)
    with pytest.raises(InvalidArgument, match="losses at init are others"):
        sm.simulate(tripled, SGD, 64, **options)


def test_a_truncated_or_garbled_file_is_never_taken_for_a_state(tmp_path: Path) -> None:
    """Cut anywhere it is refused; a flipped bit is refused, or harmless because nothing reads it."""
    file = tmp_path / "run.npz"
    run = sm.simulate(MODEL, SGD, 640, checkpoint=file, **FEW)
    sound, rng = file.read_bytes(), np.random.default_rng(1)
    for length in [0, 1, *rng.integers(2, len(sound), 18).tolist(), len(sound) - 1]:
        file.write_bytes(sound[:length])
        for way in ("checkpoint", "resume"):
            with pytest.raises(InvalidArgument, match=r"is damaged, or no file that sgdmodels wrote.*remove it"):
                sm.simulate(MODEL, SGD, 640, **{way: file}, **FEW)
    refused = 0
    for bit in rng.integers(0, 8 * len(sound), 60).tolist():
        garbled = bytearray(sound)
        garbled[bit // 8] ^= 1 << bit % 8
        file.write_bytes(garbled)
        try:
            same(sm.simulate(MODEL, SGD, 640, checkpoint=file, **FEW), run)
        except InvalidArgument:
            refused += 1
    assert refused > 30


def rewritten(file: Path, **changes: Any) -> None:
    with np.load(file) as arrays:
        kept = {name: values for name, values in arrays.items() if name not in changes}
    np.savez(file, **kept, **{name: value for name, value in changes.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": np.array(2)}, r"has format 2 of a newer sgdmodels; this version reads up to format 1: update"),
        ({"format": None}, "is damaged, or no file that sgdmodels wrote"),
        ({"format": np.array([{"an": "object"}], dtype=object)}, "is damaged, or no file that sgdmodels wrote"),
        ({"step": np.array(65)}, "do not fit its step 65"),
        ({"step": np.array(-64)}, "do not fit its step -64"),
        ({"done": np.array(3)}, "its 3 records do not fit"),
        ({"0/carried/theta": None}, "its theta does not fit"),
        ({"0/carried/theta": np.zeros((1, 13))}, "its theta does not fit"),
        ({"0/carried/diverged_at": np.zeros(1)}, "its diverged_at does not fit"),
        ({"0/carried/more": np.zeros(1)}, "its state does not fit"),
        ({"0/results/loss": np.zeros((1, 1))}, "its records of loss do not fit"),
        ({"1/carried/theta": np.zeros((1, 14))}, "do not fit its step"),
        ({"0/else/theta": np.zeros((1, 14))}, "KeyError"),
        ({"identity": np.array("{")}, "is damaged"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    sm.simulate(MODEL, SGD, 128, checkpoint=file, **FEW)
    rewritten(file, **changes)
    with pytest.raises(InvalidArgument, match=words):
        sm.simulate(MODEL, SGD, 128, resume=file, **FEW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checkpoint": 5}, "checkpoint must be the path of a file, got 5"),
        ({"resume": True}, "resume must be the path of a file, got True"),
        ({"checkpoint": "missing/run.npz"}, "cannot be written"),
        ({"checkpoint": "."}, "cannot be opened"),
        ({"resume": "."}, "cannot be opened"),
        ({"checkpoint": "file/run.npz"}, "cannot be written"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds must be"),
        ({"checkpoint_seconds": float("nan"), "checkpoint": "run.npz"}, "checkpoint_seconds must be"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_step(
    change: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_steps: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InvalidArgument, match=words):
        sm.simulate(MODEL, SGD, 64, **change, **FEW)
    assert os.listdir() == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_may_not_be_read_or_replaced(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    sm.simulate(MODEL, SGD, 128, checkpoint=file, **FEW)
    tmp_path.chmod(0o500)
    with pytest.warns(UserWarning, match="could not be written"):
        sm.simulate(MODEL, SGD, 640, resume=file, **FEW)
    tmp_path.chmod(0o700)
    file.chmod(0)
    with pytest.raises(InvalidArgument, match="cannot be opened"):
        sm.simulate(MODEL, SGD, 640, resume=file, **FEW)


@pytest.mark.usefixtures("short_chunks")
def test_a_disk_that_fills_up_costs_warnings_and_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails half way, at each border from the third on: the file of the second stays, and is sound."""
    file, savez, writes = tmp_path / "run.npz", np.savez, list[int]()

    def full(target: Any, **arrays: Any) -> None:
        writes.append(int(arrays["step"]))
        if len(writes) > 3:
            target.write(b"half a file")
            raise OSError(28, "No space left on device")
        savez(target, **arrays)

    whole = sm.simulate(MODEL, SGD, 640, **RUN)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.warns(UserWarning, match=r"could not be written: .*No space left.*; the run goes on"):
            run = sm.simulate(MODEL, SGD, 640, checkpoint=file, checkpoint_seconds=0.0, **RUN)
    same(run, whole)
    assert writes == [0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 576]
    assert list(tmp_path.iterdir()) == [file]
    assert run_file.load(file).border.step == 128
    same(sm.simulate(MODEL, SGD, 640, checkpoint=file, **RUN), whole)


def test_what_a_killed_writer_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "run[1].npz"
    left = tmp_path / "run[1].npz.123-0123abcd.part"
    others = [
        tmp_path / name for name in ("run[1].npz.456-fedc0123.part", "run1.npz.123-0123abcd.part", "run[1].npz.part")
    ]
    for path in (left, *others):
        path.touch()
    for path in (left, *others[1:]):
        os.utime(path, (0, 0))  # the first of the others is being written at this moment
    sm.simulate(MODEL, SGD, 64, checkpoint=file, **FEW)
    assert set(tmp_path.iterdir()) == {file, *others}


@pytest.mark.usefixtures("short_chunks")
def test_writing_never_takes_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of our own: a write takes 1 s, a chunk 2 s; 60 s apart by wish, 19 s by share."""
    from sgdmodels import journey

    class Clock:
        now = 0.0

        @classmethod
        def perf_counter(cls) -> float:
            return cls.now

        @staticmethod
        def time() -> float:
            return 0.0

    def save(*arguments: Any) -> None:
        written.append(Clock.now)
        Clock.now += 1.0

    def at_border(self: Journey, step: int, done: int) -> None:
        Clock.now += 2.0
        original(self, step, done)

    original = Journey.at_border
    monkeypatch.setattr(journey, "time", Clock)
    monkeypatch.setattr(run_file, "save", save)
    monkeypatch.setattr(Journey, "at_border", at_border)
    for seconds, least, most in ((60.0, 60, 62), (1.0, 19, 21), (0.0, 2, 2)):
        written: list[float] = []
        sm.simulate(MODEL, SGD, 12_800, checkpoint=tmp_path / "run.npz", checkpoint_seconds=seconds, **FEW)
        apart = np.diff(written[:-1]) - 1.0  # from the end of a write to the next
        assert len(apart) > 4
        assert least <= apart.min() <= apart.max() <= most


def test_a_file_can_be_read_without_this_package(tmp_path: Path) -> None:
    """Plain arrays under plain names; no objects."""
    file = tmp_path / "run.npz"
    run = sm.simulate(MODEL, SGD, 128, checkpoint=file, **FEW)
    with np.load(file, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0/results/loss"], run.loss[:, :2])
        assert json.loads(str(arrays["identity"]))["seed"] == 1
        assert (int(arrays["step"]), int(arrays["format"])) == (64, 1)
