"""A store survives kills at any moment, full disks, foreign hands; what it cannot survive it says."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sgdmodels as sm
from sgdmodels.errors import StoreConflict, StoreError
from sgdmodels.sweeps.cell import CellRecords
from sgdmodels.sweeps.claims import Claims
from sgdmodels.sweeps.store import Store

from .sweep_cases import constant_grid, contents, events, marked, small_grid

GRID = {"dynamics": {"SGD": sm.SGD(0.4, 8)}, "seed": 0, "steps": 100, "replicas": 1}  # two cells


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed") / "store"
    sm.run_sweep(small_grid(**GRID), place, progress=False)
    return place


class Crash:
    """Ends the process at the n-th moment at which a file is about to change, is half written, or has its new name."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def point(self) -> None:
        self.left -= 1
        if self.left < 0:
            os._exit(9)

    def install(self) -> None:
        write, replace = Path.write_bytes, Path.replace

        def halfway(path: Path, data: bytes) -> int:
            self.point()
            write(path, data[: len(data) // 2])
            self.point()
            return write(path, data)

        def renamed(path: Path, target: Any) -> Path:
            self.point()
            result = replace(path, target)
            self.point()
            return result

        Path.write_bytes, Path.replace = halfway, renamed  # type: ignore[method-assign,assignment]


def in_a_child(work: Callable[[], object]) -> int:
    """Exit status of a forked process that does `work`."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder without a disk where there is one: thousands of small files come and go."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_crash_at_any_file_operation_loses_nothing_finished(in_memory: Path, undisturbed: Path) -> None:
    grid = small_grid(**GRID)
    wanted, moments = contents(undisturbed), 0
    while True:
        place = in_memory / "store"

        def doomed(moment: int = moments, place: Path = place) -> None:
            Crash(moment).install()
            sm.run_sweep(grid, place, progress=False, workers=1)

        status = in_a_child(doomed)
        if status == 0:
            break
        assert status == 9
        whole = set(marked(place)) if (place / "cells").exists() else set()
        before = len(events(place, "started")) if (place / "journal").exists() else 0
        sm.run_sweep(grid, place, progress=False, workers=1)
        assert contents(place) == wanted, f"after a crash at moment {moments}"
        assert len(events(place, "started")) - before == 2 - len(whole), "a finished cell was computed again"
        shutil.rmtree(place)
        moments += 1
    assert moments > 60  # four moments a file: about 20 files of the group, 5 of each cell
    assert not list(undisturbed.rglob("*.part"))


def test_the_group_is_what_zarr_and_xarray_read_without_us(undisturbed: Path) -> None:
    plain = xr.open_zarr(undisturbed / "arrays.zarr", consolidated=False, chunks=None)
    swept = sm.open_sweep(undisturbed)
    for name in ("loss", "batch_sharpness", "lambda_max", "diverged_at"):
        np.testing.assert_array_equal(plain[name].values, swept[name].values)
        assert plain[name].attrs == swept[name].attrs
    assert np.isfinite(plain.loss.values).all()


def test_cells_are_the_runs_of_simulate(tmp_path: Path) -> None:
    swept = sm.run_sweep(constant_grid(replicas=3), tmp_path / "store", progress=False)
    rng = np.random.default_rng(0)
    model = sm.models.LeastSquares(rng.standard_normal((20, 3)), rng.standard_normal(20))
    diverged = 0
    for name, kind in {"SGD": sm.SGD, "NoisyGD": sm.NoisyGD}.items():
        for eta in (0.1, 3.0):
            for b in (1, 5):
                run = sm.simulate(model, kind(eta, b), 300, np.ones(3), replicas=3)
                cell = swept.sel(dynamics=name, step_size=eta, batch_size=b, seed=0)
                for metric in ("loss", "lambda_max", "diverged_at"):
                    np.testing.assert_array_equal(cell[metric].values, run[metric].values)
                np.testing.assert_array_equal(cell.batch_sharpness.values, run.batch_sharpness.values[..., 0])
                one = sm.sweeps.run_of(swept, dynamics=name, step_size=eta, batch_size=b, seed=0)
                for metric in ("loss", "batch_sharpness", "lambda_max", "diverged_at"):
                    xr.testing.assert_identical(
                        one[metric].drop_attrs().reset_coords(drop=True),
                        run[metric].drop_attrs().reset_coords(drop=True),
                    )
                diverged += int(run.diverged_at.notnull().sum())
    assert diverged > 0


def test_replicas_of_all_seeds_stand_side_by_side(tmp_path: Path) -> None:
    swept = sm.run_sweep(small_grid(), tmp_path / "store", progress=False)
    joined = sm.sweeps.run_of(swept, dynamics="GD", step_size=0.4, batch_size=8)
    assert dict(joined.batch_sharpness.sizes) == {"replica": 4, "step": 3, "batch_size": 1}
    for seed in (0, 1):
        recipe = sm.recipes.gated_quadratic(seed)
        run = sm.simulate(recipe.model, sm.GD(0.4), 200, recipe.init, replicas=2, seed=seed, batch_size=8)
        rows = slice(2 * seed, 2 * seed + 2)
        np.testing.assert_array_equal(joined.batch_sharpness.values[rows], run.batch_sharpness.values)
    sm.plot.stability(joined)


def test_nothing_is_read_before_it_is_asked_for(undisturbed: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    shutil.copytree(undisturbed, place)
    for file in (place / "arrays.zarr" / "loss").glob("c.*"):
        file.unlink()
    swept = sm.open_sweep(place)
    assert np.isfinite(swept.sel(batch_size=2).lambda_max.values).all()
    with pytest.raises(StoreError, match=r"c\.0\.0\.0\.0\.0\.0 is missing \(cell 0-0-0-0\).*repair=True"):
        swept.sel(batch_size=2).loss.load()


def test_a_damaged_chunk_is_named_and_repaired(undisturbed: Path, tmp_path: Path) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    shutil.copytree(undisturbed, place)
    chunk = place / "arrays.zarr" / "loss" / "c.0.1.0.0.0.0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(bytes(data))
    assert [name for name, _ in Store(place).damaged()] == ["0-1-0-0"]
    with pytest.raises(StoreError, match="is damaged"):
        sm.open_sweep(place).loss.load()
    sm.run_sweep(grid, place, progress=False, repair=True)
    assert contents(place) == contents(undisturbed)
    assert events(place, "started")[-1:] == ["0-1-0-0"]
    (place / "cells" / "0-1-0-0.json").write_bytes(b'{"cell": "0-1')
    with pytest.raises(StoreError, match=r"0-1-0-0\.json is damaged"):
        sm.open_sweep(place).loss.load()
    sm.run_sweep(grid, place, progress=False, repair=True)
    assert contents(place) == contents(undisturbed)


def test_what_a_killed_process_left_reads_as_missing(undisturbed: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    shutil.copytree(undisturbed, place)
    (place / "cells" / "0-0-0-0.json").unlink()
    swept = sm.open_sweep(place)
    assert swept.finished.values.ravel().tolist() == [False, True]
    assert np.isnan(swept.sel(batch_size=2).loss.values).all()
    with pytest.raises(sm.errors.InvalidArgument, match="not computed"):
        sm.sweeps.run_of(swept, dynamics="SGD", step_size=0.4, batch_size=2, seed=0)


def test_another_grid_on_the_same_store_is_a_conflict(undisturbed: Path) -> None:
    before = contents(undisturbed)
    for changed in ({"steps": 101}, {"seed": 1}, {"dynamics": {"SGD": sm.SGD(0.4, 8, momentum=0.5)}}):
        with pytest.raises(StoreConflict, match="holds another sweep") as caught:
            sm.run_sweep(small_grid(**(GRID | changed)), undisturbed, progress=False)
        assert next(iter(changed)) in str(caught.value)
    assert contents(undisturbed) == before


def test_the_order_of_dynamics_is_part_of_a_grid(tmp_path: Path) -> None:
    one, other = {"SGD": sm.SGD(0.4, 8), "GD": sm.GD(0.4)}, {"GD": sm.GD(0.4), "SGD": sm.SGD(0.4, 8)}
    sm.run_sweep(small_grid(dynamics=one), tmp_path / "store", progress=False)
    with pytest.raises(StoreConflict, match=r"dynamics_order\[0\] is 'SGD', here 'GD'"):
        sm.run_sweep(small_grid(dynamics=other), tmp_path / "store", progress=False)


def test_a_store_whose_card_is_lost_is_not_taken_over(undisturbed: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    shutil.copytree(undisturbed, place)
    (place / "sweep.json").unlink()
    for grid in (small_grid(**GRID), small_grid(**(GRID | {"step_size": 0.3}))):
        with pytest.raises(StoreConflict, match=r"whose sweep\.json is gone"):
            sm.run_sweep(grid, place, progress=False)


def test_cells_of_another_sweep_are_not_read(undisturbed: Path, tmp_path: Path) -> None:
    grid = small_grid(**(GRID | {"step_size": 0.3}))
    sm.run_sweep(grid, tmp_path / "other", progress=False)
    sm.run_sweep(grid, tmp_path / "wanted", progress=False)
    for folder in ("cells", "arrays.zarr/loss"):
        for file in (undisturbed / folder).iterdir():
            shutil.copy(file, tmp_path / "other" / folder / file.name)
    with pytest.raises(StoreError, match="belongs to another sweep"):
        sm.open_sweep(tmp_path / "other").loss.load()
    sm.run_sweep(grid, tmp_path / "other", progress=False, repair=True)
    assert contents(tmp_path / "other") == contents(tmp_path / "wanted")


def test_a_store_that_goes_away_is_not_read_as_nan(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(undisturbed, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    swept = sm.open_sweep("store")
    monkeypatch.chdir("/")
    assert np.isfinite(swept.loss.values).all()
    again = sm.open_sweep(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StoreError, match="was removed since"):
        again.lambda_max.load()


def test_a_store_that_is_removed_during_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, place = Store.write, tmp_path / "store"

    def removing(*arguments: Any) -> None:
        shutil.rmtree(place)
        write(*arguments)

    monkeypatch.setattr(Store, "write", removing)
    with pytest.raises(StoreError, match="was removed while the sweep was running"):
        sm.run_sweep(small_grid(**GRID), place, progress=False, workers=1)
    assert not place.exists()


def test_damaged_axes_and_metadata_give_no_wrong_numbers(undisturbed: Path, tmp_path: Path) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    shutil.copytree(undisturbed, place)
    (place / "arrays.zarr" / "batch_size" / "c" / "0").unlink()
    assert sm.open_sweep(place).batch_size.values.tolist() == [2, 8]
    (place / "arrays.zarr" / "loss" / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"loss.zarr\.json is missing or damaged"):
        sm.open_sweep(place)
    sm.run_sweep(grid, place, progress=False, repair=True)
    assert contents(place) == contents(undisturbed)


def test_code_that_changed_behind_a_grid_is_noticed(undisturbed: Path, tmp_path: Path) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    shutil.copytree(undisturbed, place)
    assert grid.loss_at_start is not None
    card_with(place, loss_at_start=grid.loss_at_start * 1.01)
    with pytest.raises(StoreConflict, match="the code behind this grid has changed"):
        sm.run_sweep(grid, place, progress=False)
    versions = json.loads((place / "sweep.json").read_bytes())["versions"]
    card_with(place, loss_at_start=grid.loss_at_start, versions=versions | {"numba": "0.50"})
    with pytest.warns(UserWarning, match=r"begun with numba 0\.50, now .*last digits of new cells may differ"):
        sm.run_sweep(grid, place, progress=False)


def card_with(place: Path, **changed: object) -> None:
    card = json.loads((place / "sweep.json").read_bytes())
    (place / "sweep.json").write_text(json.dumps(card | changed))


def test_stores_of_other_versions(undisturbed: Path, tmp_path: Path) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    shutil.copytree(undisturbed, place)
    versions = json.loads((place / "sweep.json").read_bytes())["versions"]
    card_with(place, versions=versions | {"sgdmodels": "0.0.1"})
    with pytest.raises(StoreConflict, match=r"begun by sgdmodels 0\.0\.1"):
        sm.run_sweep(grid, place, progress=False)
    assert sm.open_sweep(place).sizes["batch_size"] == 2  # reading is fine
    card_with(place, versions=versions | {"sgdmodels": "9.0"}, format=2)
    for read in (sm.open_sweep, lambda store: sm.run_sweep(grid, store, progress=False)):
        with pytest.raises(StoreConflict, match=r"written by a newer sgdmodels \(9\.0, store format 2"):
            read(place)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"format": 1}', b'{"format": []}'])
def test_a_damaged_card_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises((StoreError, StoreConflict), match=r"sweep\.json"):
        sm.open_sweep(tmp_path)


def test_a_store_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    grid = small_grid(**GRID)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreConflict, match=r"is not empty \(thesis\.tex\)"):
        sm.run_sweep(grid, tmp_path, progress=False)
    with pytest.raises(StoreConflict, match="is a file"):
        sm.run_sweep(grid, tmp_path / "thesis.tex", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="is no sweep"):
        sm.open_sweep(tmp_path / "nowhere")


def failing(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    """Writing fails from the `after`-th file of records on."""
    write, count = Path.write_bytes, [0]

    def limited(path: Path, data: bytes) -> int:
        count[0] += path.name.startswith("c.")
        if count[0] > after:
            raise OSError(number, os.strerror(number), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", limited)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full.*free some space; finished cells are kept"),
        (errno.EROFS, "it may not be used"),
        (errno.EIO, "it could not be used"),
    ],
)
def test_a_disk_that_refuses_stops_the_sweep_and_loses_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    with monkeypatch.context() as patch:
        failing(patch, number, after=5)  # within the second cell
        with pytest.raises(StoreError, match=words):
            sm.run_sweep(grid, place, progress=False, workers=1)
    assert len(marked(place)) == 1
    with monkeypatch.context() as patch:
        failing(patch, number, after=0)
        with pytest.raises(StoreError, match=words):  # also where others are still at work
            sm.run_sweep(small_grid(steps=5000), tmp_path / "other", progress=False, workers=3)
    sm.run_sweep(grid, place, progress=False)
    assert contents(place) == contents(undisturbed)
    assert len(events(place, "finished")) == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="may not be used"):
            sm.run_sweep(small_grid(**GRID), tmp_path / "store", progress=False)
    finally:
        tmp_path.chmod(0o700)


def test_records_that_fit_in_no_array_are_refused(tmp_path: Path, undisturbed: Path) -> None:
    place, grid = tmp_path / "store", small_grid(**GRID)
    shutil.copytree(undisturbed, place)
    records = CellRecords({"loss": (("replica", "step"), np.zeros((1, 3)))}, {"loss": {}}, 0.0, "")
    with pytest.raises(StoreError, match=r"loss has shape \(1, 3\) here and \(1, 2\) in another cell"):
        Store(place).write(next(grid.cells()), records, Claims(place))
    assert contents(place) == contents(undisturbed)
