"""`sgdmodels simulate` and `sgdmodels scorecard` do what the functions of the package do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import sgdmodels as sm
from sgdmodels import survey
from sgdmodels.progress import Progress
from sgdmodels.simulate import Run

from .command_line import CARD, RUN, listing, run, written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    written(Path("run.toml"), RUN)
    written(Path("card.toml"), CARD)
    return tmp_path


def test_a_run_is_that_of_simulate(folder: Path) -> None:
    answer = run("simulate", "run.toml", "-o", "run.nc", "--json", "--seed", "3", "--threads", "1")
    assert answer.code == 0
    recipe = sm.recipes.gated_quadratic(3)
    wanted = sm.simulate(recipe.model, sm.SGD(recipe.step_size, 8), 640, recipe.init, replicas=2, seed=3)
    with xr.open_dataset("run.nc", engine="scipy") as stored:
        for name in wanted.data_vars:
            np.testing.assert_array_equal(stored[name], wanted[name])
    found = answer.data
    assert found["identity"] == wanted.attrs["identity"]
    assert (found["steps"], found["last_step"], found["interrupted"]) == (640, 640, False)
    assert found["replicas"] == [0, 1]
    assert found["diverged_at"] == [None, None]
    rows = {row["name"]: row for row in found["metrics"]}
    level = recipe.step_size / 2 * wanted.batch_sharpness[:, :, 0]
    assert rows["batch_sharpness"]["batch_size"] == 8
    np.testing.assert_allclose(rows["batch_sharpness"]["last"], level[:, -1].mean())
    np.testing.assert_allclose(rows["batch_sharpness"]["plateau"], level[:, 3:].mean())  # of 0, 100, ..., 600, 640
    np.testing.assert_allclose(rows["loss"]["last_sd"], wanted.loss[:, -1].std(ddof=1))


def test_diverged_replicas_are_null_and_counted(folder: Path) -> None:
    text = RUN.replace("batch_size = 8", "batch_size = 8\nstep_size = 40.0")
    found = run("simulate", written(Path("wild.toml"), text), "--json").data
    assert all(step > 0 for step in found["diverged_at"])
    assert all(row["last"] is None and row["plateau"] is None for row in found["metrics"])
    assert "2 of 2 replicas diverged" in run("simulate", "wild.toml").out


def test_a_checkpoint_is_taken_up(folder: Path) -> None:
    whole = run("simulate", "run.toml", "-o", "whole.nc", "--json").data
    assert run("simulate", "run.toml", "--steps", "320", "--checkpoint", "half.npz").code == 0
    assert run("simulate", "run.toml", "--resume", "half.npz", "-o", "two.nc").code == 0
    assert Path("two.nc").read_bytes()[:3] == b"CDF"
    with xr.open_dataset("whole.nc", engine="scipy") as one, xr.open_dataset("two.nc", engine="scipy") as two:
        assert two.attrs["identity"] == one.attrs["identity"] == whole["identity"]
        for name in one.data_vars:
            np.testing.assert_array_equal(one[name], two[name])
    answer = run("simulate", "run.toml", "--seed", "1", "--resume", "half.npz")
    assert answer.code == 2
    assert answer.err.startswith("--resume: ")


def test_ctrl_c_keeps_the_records_so_far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a run of many chunks, without its timing: it comes after the third chunk."""
    calls = []

    def interrupted(self: Progress, done: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupted)
    answer = run("simulate", "run.toml", "--steps", "10000000", "-o", "run.nc", "--plot", "run.png")
    assert answer.code == 130
    assert "Interrupted at step" in answer.err
    assert "the records so far are in run.nc" in answer.err
    with xr.open_dataset("run.nc", engine="scipy") as stored:
        assert 0 < stored.sizes["step"] < 100_001
        assert stored.attrs["interrupted"] == 1


def test_paths_in_a_document_are_relative_to_it(folder: Path) -> None:
    Path("sub").mkdir()
    written(Path("sub/run.toml"), 'output = "mine.nc"\n' + RUN)
    assert run("simulate", "sub/run.toml").code == 0
    assert Path("sub/mine.nc").exists()
    assert run("simulate", "sub/run.toml", "-o", "here.nc").code == 0
    assert Path("here.nc").exists()


def test_a_file_is_there_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(folder)

    def full(self: object, place: Path, **options: object) -> None:
        place.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    answer = run("simulate", "run.toml", "-o", "out.nc")
    assert (answer.code, answer.err) == (1, "out.nc could not be written: No space left on device\n")
    assert listing(folder) == before


def test_a_card_of_a_document(folder: Path) -> None:
    answer = run("scorecard", "card.toml", "-o", "card", "--json", "--seed", "1")
    assert answer.code == 0, answer.err
    (card,) = answer.data["cards"]
    recipe = sm.recipes.gated_quadratic(1)
    wanted = sm.scorecard(
        recipe, sm.SGD(recipe.step_size, 8), [sm.GD(recipe.step_size)], steps=1000, replicas=2, seed=1,
        predictions=["B1", "B2"], interventions=False,
    ).table  # fmt: skip
    assert len(card["findings"]) == 4
    for row in card["findings"]:
        entry = wanted.sel(prediction=row["prediction"], dynamics=row["dynamics"], batch_size=row["batch_size"] or 0)
        assert row["verdict"] == str(entry.verdict.values)
        assert row["value"] == (None if np.isnan(entry.value) else float(entry.value))
    assert Path("card/scorecard.html").read_text().startswith("<!doctype html>")
    assert Path("card/data/table.nc").exists()


def test_an_unexpected_exception_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Run, "go", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("simulate", "run.toml")


def test_ctrl_c_keeps_the_cards_that_are_finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sm.recipes.gated_quadratic(0)
    whole = sm.scorecard(
        recipe, sm.SGD(0.4, 8), {"GD [b=100]": sm.GD(0.4)}, steps=1000, replicas=2, predictions=["B1"],
        interventions=False,
    )  # fmt: skip

    def interrupted(*_: object, **__: object) -> Iterator[object]:
        yield "Recipe A", 1, 2
        yield whole
        raise KeyboardInterrupt

    monkeypatch.setattr(survey, "survey", interrupted)
    answer = run("scorecard", "--recipe", "A", "--recipe", "C", "-o", "two")
    assert answer.code == 130
    assert answer.err == "Interrupted: 1 of 2 cards are finished and in two.\n"
    assert "GD [b=100]" in answer.out  # no markup
    assert Path("two/data_A/table.nc").exists()
    assert not Path("two/data_C").exists()


def test_a_place_that_a_document_names_is_blamed_on_the_document(folder: Path) -> None:
    text = Path("run.toml").read_text()
    for name, words in (("nowhere/run.nc", "must be in an existing folder"), ("a\\u0000b.nc", "must be a path")):
        document = written(Path("odd.toml"), f'output = "{name}"\n{text}')
        answer = run("simulate", document)
        assert answer.code == 2
        assert "odd.toml, line 1, output: " in answer.err
        assert words in answer.err
