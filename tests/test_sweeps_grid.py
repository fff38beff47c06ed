"""What a grid runs, what it refuses, and its identity."""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.sweeps import Cell, grid_of
from sgdmodels.sweeps.cell import loss_and_start

from .sweep_cases import constant_grid, small_grid


def test_cells_are_all_combinations_and_one_for_dynamics_without_a_batch_size() -> None:
    grid = small_grid(step_size=[0.1, 0.2, 0.4])
    names = {cell.name for cell in grid.cells()}
    sgd = {f"{i}-{j}-0-{s}" for i, j, s in itertools.product(range(3), range(2), range(2))}
    assert names == sgd | {f"{i}-all-1-{s}" for i, s in itertools.product(range(3), range(2))}
    assert len(grid) == len(names) == 18


def test_a_job_is_plain_data_with_the_values_of_its_cell() -> None:
    grid = small_grid(step_size=[0.1, 0.2], seed=[5, 7])
    jobs = {cell.name: grid.job(cell) for cell in grid.cells()}
    for job in jobs.values():
        assert json.loads(json.dumps(job)) == job
    assert jobs["1-0-0-1"]["dynamics"]["step_size"] == 0.2
    assert jobs["1-0-0-1"]["dynamics"]["batch_size"] == 2
    assert jobs["1-0-0-1"]["batch_size"] == [2]
    assert jobs["1-0-0-1"]["seed"] == 7
    assert jobs["0-all-1-0"]["batch_size"] == [2, 8]
    assert "batch_size" not in jobs["0-all-1-0"]["dynamics"]


def test_a_grid_is_rebuilt_from_its_spec() -> None:
    for grid in (small_grid(), constant_grid(), small_grid(model=sm.recipes.gated_quadratic(3))):
        again = sm.Grid.from_spec(json.loads(json.dumps(grid.spec)), grid.arrays)
        assert again.identity == grid.identity
        assert [grid.job(c) for c in grid.cells()] == [again.job(c) for c in again.cells()]


def test_the_identity_tells_grids_apart_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    other = sm.models.LeastSquares(rng.standard_normal((20, 3)), rng.standard_normal(20) + 1e-9)
    changed = [
        small_grid(), small_grid(step_size=0.2), small_grid(batch_size=[2, 4]), small_grid(seed=[0, 2]),
        small_grid(steps=201), small_grid(replicas=3), small_grid(record_every=50), small_grid(metrics=["loss"]),
        small_grid(dynamics={"SGD": sm.SGD(0.4, 8, momentum=0.9), "GD": sm.GD(0.4)}),
        small_grid(dynamics={"sgd": sm.SGD(0.4, 8), "GD": sm.GD(0.4)}),
        small_grid(model=functools.partial(sm.recipes.gated_quadratic, features=10)),
        small_grid(model=sm.recipes.gated_quadratic(0)), constant_grid(), constant_grid(init=np.zeros(3)),
        constant_grid(init=None), sm.Grid(other, [sm.SGD(1, 1), sm.NoisyGD(1, 1)], step_size=[0.1, 3.0],
                                          batch_size=[1, 5], steps=300, init=np.ones(3)),
    ]  # fmt: skip
    assert len({grid.identity for grid in changed}) == len(changed)
    # the values of prototypes are those of the cells, so what the user wrote there does not count
    assert small_grid(dynamics={"SGD": sm.SGD(9.0, 3), "GD": sm.GD(1)}).identity == small_grid().identity
    assert small_grid(step_size=np.array([0.4]), batch_size=np.array([2, 8]), seed=range(2)).identity == (
        small_grid().identity
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"step_size": [0.1, -1.0]}, "step_size must be finite, > 0"),
        ({"step_size": []}, "step_size must be one value or distinct values"),
        ({"step_size": [0.1, 0.1]}, "distinct"),
        ({"batch_size": [2, 101]}, r"batch_size must be in 1\.\.100"),
        ({"batch_size": [2.5]}, "batch_size must be an integer"),
        ({"seed": [0, -1]}, "seed must be"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"replicas": 0}, "replicas must be"),
        ({"record_every": 0}, "record_every must be"),
        ({"metrics": ["los"]}, "did you mean 'loss'"),
        ({"metrics": None}, "metrics must be names"),
        ({"metrics": [replace(sm.METRICS[0], name="../escaped")]}, "cannot be stored"),
        ({"metrics": [replace(sm.METRICS[0], name="dynamics")]}, "cannot be stored"),
        ({"step_size": [0.1, [0.2]]}, "step_size must be a number"),
        ({"replicas": 10**9}, "replicas must be in 1"),
        ({"dynamics": []}, "at least one"),
        ({"dynamics": [sm.SGD(0.1, 2), sm.SGD(0.2, 2)]}, "distinct names"),
        ({"dynamics": ["SGD"]}, "must be such as sm.SGD"),
        ({"dynamics": [sm.SGD([(0, 0.1), (10, 0.2)], 2)]}, "must not be a schedule"),
        ({"dynamics": [sm.HomogenizedSGD(0.1, 2)]}, "HomogenizedSGD"),
        ({"model": 3}, "model must be a loss"),
        ({"init": np.ones(21)}, "init belongs to a loss"),
    ],
)
def test_errors_come_before_any_work(changed: dict[str, object], words: str, no_runs: None) -> None:
    with pytest.raises(sm.errors.InvalidArgument, match=words):
        small_grid(**changed)


def test_many_cells_are_checked_axis_by_axis() -> None:
    grid = small_grid(step_size=np.linspace(0.1, 0.4, 1000), batch_size=range(1, 101), seed=range(100), steps=64)
    assert len(grid) == 1000 * 100 * 100 + 1000 * 100  # a plan of each would take minutes


def noisy(seed: int = 0, scale: float = 1.0) -> sm.recipes.Recipe:
    """A recipe whose seed has a default."""
    return sm.recipes.gated_quadratic(seed, samples=20, features=3, step_size=scale)


def test_a_recipe_is_called_with_the_seed_of_every_cell_unless_it_is_fixed() -> None:
    free, fixed = (
        small_grid(model=noisy, trusted="tests"),
        small_grid(model=functools.partial(noisy, seed=0), trusted=["tests"]),
    )
    for grid, differ in ((free, True), (fixed, False)):
        one, other = (loss_and_start(grid.job(Cell(0, 0, 0, seed)), grid.arrays)[0] for seed in (0, 1))
        assert bool((one.data[0] != other.data[0]).any()) == differ


def test_an_init_that_does_not_fit_is_refused() -> None:
    with pytest.raises(sm.errors.InvalidArgument, match="init must have shape"):
        constant_grid(init=np.ones(4))


TEXT = """
step_size = {geomspace = [0.1, 0.4, 3]}
batch_size = [2, 8]
seed = [0, 1]
steps = 200
replicas = 2

[recipe]
use = "gated_quadratic"

[dynamics.SGD]
use = "SGD"

[dynamics.GD]
use = "GD"
"""


def written(folder: Path, text: str) -> sm.Grid:
    (folder / "grid.toml").write_text(text)
    return grid_of(sm.specs.read(folder / "grid.toml"))


def test_a_document_is_the_grid_it_says(tmp_path: Path) -> None:
    assert written(tmp_path, TEXT).identity == small_grid(step_size=[0.1, 0.2, 0.4]).identity
    fixed = written(tmp_path, TEXT.replace('"gated_quadratic"', '"gated_quadratic"\nseed = 3'))
    assert fixed.spec["recipe"]["seed"] == 3
    default = written(
        tmp_path, TEXT.replace("step_size = {geomspace = [0.1, 0.4, 3]}\n", "").replace("steps = 200", "")
    )
    assert (default.step_size, default.steps) == ((0.4,), 60_000)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = [0, 1]", "sede = [0, 1]", "line 4, sede: unknown key; did you mean 'seed'?"),
        ("[0.1, 0.4, 3]}", "[0.1, 0.4]}", "line 2, step_size: "),
        ("geomspace", "logspace", "line 2, step_size: "),
        ("[2, 8]", "[2, 800]", "line 3, batch_size: "),
        ("steps = 200", "steps = 1e3", "line 5, steps: "),
        ("seed = [0, 1]", "seed = []", "line 4, seed: "),
        ("0.4, 3]}", "0.4, 1000000000000]}", "line 2, step_size: "),
        ('use = "SGD"', 'use = "SGDD"', "did you mean 'SGD'?"),
        ('use = "SGD"', 'use = "SGD"\nbatch_size = 3', "line 13, dynamics.SGD.batch_size: the grid varies it"),
        ('use = "SGD"', 'use = "SGD"\nmomentun = 0.9', "line 13, dynamics.SGD.momentun: unknown key; did you mean"),
        ('use = "gated_quadratic"', 'use = "os.system"', "recipe.use"),
        ('[recipe]\nuse = "gated_quadratic"', "", "[model] or [recipe]"),
        ("[dynamics.SGD]", "[dynamics.SGD", "line 11"),
    ],
)
def test_errors_of_a_document_name_line_and_field(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TEXT
    with pytest.raises(sm.errors.SpecError) as caught:
        written(tmp_path, TEXT.replace(old, new))
    assert words in str(caught.value)
    assert "grid.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
