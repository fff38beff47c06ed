"""What a report counts, the commands it prints, and where its figures put numbers and marks."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.sweep_report.axes import GridAxis
from sgdmodels.sweep_report.facts import Facts
from sgdmodels.sweep_report.phase_diagram import PhaseDiagram
from sgdmodels.sweep_report.read import read
from sgdmodels.sweep_report.rows import Stored
from sgdmodels.sweep_report.trajectories import Trajectories
from sgdmodels.sweeps import Store, open_sweep
from sgdmodels.theory import max_step_size


def swept(path: Path, dynamics: Any, without: tuple[str, ...] = (), **axes: Any) -> Path:
    """Least squares in three dimensions, from close to its edge at b = 1 to beyond that of GD."""
    inputs = np.random.default_rng(5).standard_normal((12, 3))
    edge = max_step_size(inputs, 1)
    given: dict[str, Any] = {
        "step_size": [0.8 * edge, 1.3 * edge, 6 * edge], "batch_size": [1, 2, 6], "seed": [3, 8], "replicas": 3,
        "steps": 3000, "record_every": 100, "init": np.ones(3), "metrics": ["loss", "lambda_max"],
    }  # fmt: skip
    model = sm.models.LeastSquares(inputs, inputs @ np.zeros(3))
    sm.run_sweep(sm.Grid(model, dynamics, **(given | axes)), path, progress=False)
    for name in without:
        (path / "cells" / f"{name}.json").unlink()
    return path


def facts(path: Path, *trusted: str) -> Facts:
    return read(Stored(path, trusted)).facts


def caption(given: Facts, kinds: list[int]) -> str:
    from sgdmodels.sweep_report.captions import Caption

    return given.caption(Caption.of("It is."), kinds).plain


def test_runs_and_cells_are_counted_once(tmp_path: Path) -> None:
    """Against `diverged_at` of every cell of the grid: GD has one for all three batch sizes."""
    path = swept(tmp_path / "mixed", {"GD": sm.GD(0.1), "SGD": sm.SGD(0.1, 1)}, ("0-all-0-1", "1-0-1-0", "2-all-0-0"))
    given, sweep = facts(path), open_sweep(path)
    grid = given.stored.grid
    at = {
        (cell.name, cell.dynamics): sweep.diverged_at.isel(
            step_size=cell.step_size, batch_size=cell.batch_size or 0, dynamics=cell.dynamics, seed=cell.seed
        ).values
        for cell in grid.cells() if cell.name in Store(path).finished()
    }  # fmt: skip
    for kinds in ([0], [1], [0, 1]):
        runs = np.concatenate([values for (_, kind), values in at.items() if kind in kinds])
        cells = sum(kind in kinds for _, kind in at)
        whole = sum(cell.dynamics in kinds for cell in grid.cells())
        words = caption(given, kinds)
        assert 0 < np.isfinite(runs).sum() < len(runs)
        assert f" {np.isfinite(runs).sum()} of {len(runs)} runs diverged and are left out." in words
        assert f" {whole - cells} of {whole} cells are not computed yet." in words
    broken = sum(bool(np.isfinite(values).any()) for values in at.values())
    assert f"In {broken} of the {len(at)} computed cells replicas diverged" in " ".join(given.status())


def test_commands_work_as_they_are_printed(tmp_path: Path) -> None:
    """A trusted package, and a name that would be taken for an option and needs quotes in a shell and in Python."""
    name = "-my \"store's"
    path = swept(tmp_path / name, sm.GD(0.1), step_size=0.1, seed=0, steps=100)
    (_, go_on), (_, anew), (_, report) = facts(path, "mylab").commands
    assert shlex.split(go_on) == ["sgdmodels", "sweep", f"./{name}", "--trust", "mylab"]
    assert shlex.split(report) == ["sgdmodels", "report", f"./{name}", "--trust", "mylab"]
    *words, program = shlex.split(anew)
    assert words == ["python", "-c"]
    assert program.count('.grid(("mylab",))') == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(program, {})
    assert Store(tmp_path / "another folder").identity == Store(path).identity
    assert Store(tmp_path / "another folder").finished() == Store(path).finished()


def test_numbers_stand_in_the_middle_of_unevenly_spaced_cells(tmp_path: Path) -> None:
    path = swept(tmp_path / "uneven", {"SGD": sm.SGD(0.1, 1), "GD": sm.GD(0.1)}, step_size=[0.01, 0.1, 0.2],
                 batch_size=[1, 2, 12], steps=300)  # fmt: skip
    given = read(Stored(path, ()))
    axes = GridAxis.of(given.stored.grid.step_size), GridAxis.of(given.stored.grid.batch_size)
    figure = PhaseDiagram(given.levels, given.forms, "lambda_max", [0, 1], *axes).draw()
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if len(ax.texts) >= 5]
    assert len(panels) == 2
    for ax in panels:
        numbers = [text for text in ax.texts if re.fullmatch(r"\d\.\d\d", text.get_text())]
        boxes = [text.get_window_extent() for text in numbers]
        assert len(numbers) >= 5
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
        borders = [ax.transData.transform((b, axes[0].values[0]))[0] for b in axes[1].borders]
        for box in boxes:  # as far from the left end of its cell as from the right
            left, right = next(pair for pair in pairwise(borders) if pair[0] < (box.x0 + box.x1) / 2 < pair[1])
            assert box.x0 - left == pytest.approx(right - box.x1, abs=1.0)
    plt.close(figure)


@pytest.mark.parametrize(("batch_size", "shown"), [((1, 2, 4, 8), True), ((1, 2, 3, 4000), False)])
def test_no_numbers_where_the_narrowest_cell_has_no_room(batch_size: tuple[int, ...], shown: bool) -> None:
    """In inches: a column is 3.4 wide, of which 2.2 are the panel."""
    diagram = PhaseDiagram(None, None, "lambda_max", [0], GridAxis.of([0.1]), GridAxis.of(batch_size))  # type: ignore[arg-type]
    edges = np.log(diagram.size_axis.borders)
    assert bool((2.2 * np.diff(edges) / (edges[-1] - edges[0])).min() >= 0.36) is shown
    assert diagram._fits(3.4, 1) is shown


def test_lines_above_the_panel_leave_a_triangle(tmp_path: Path) -> None:
    """Paths are set by hand: far above, ending above, coming down, and one with nothing known."""
    dynamics = {"high": sm.SGD(0.1, 1), "leaves": sm.SGD(0.2, 1), "falls": sm.NoisyGD(0.1, 1), "none": sm.GD(0.1)}
    path = swept(tmp_path / "beyond", dynamics, step_size=0.01, batch_size=2, steps=300)
    paths = read(Stored(path, ())).paths
    x = np.arange(4.0)
    ends = {"high": [3.6] * 4, "leaves": [1, 2, 3, np.nan], "falls": [9, 3, 2, 1], "none": [np.nan] * 4}
    for kind, name in enumerate(paths.stored.names):
        paths.paths["lambda_max", 0, 0, kind] = x, np.array(ends[name], float)
    assert triangles(paths) == {"high", "leaves"}
    del paths.paths["lambda_max", 0, 0, 0], paths.paths["lambda_max", 0, 0, 1]
    assert triangles(paths) == set()


def triangles(paths: Trajectories) -> set[str]:
    """Names of the dynamics with a triangle inside the panel, by colour."""
    figure = paths.draw("lambda_max")
    (ax,) = figure.axes
    handles = figure.legends[0].legend_handles
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    colors = {handle.get_color(): text for handle, text in zip(handles, texts, strict=True) if handle is not None}  # type: ignore[attr-defined]
    marks = [line for line in ax.lines if line.get_marker() == "^"]
    assert ("ends above the panel" in texts) is bool(marks)
    assert len({float(line.get_xdata()[0]) for line in marks}) == len(marks)  # type: ignore[index, arg-type]
    plt.close(figure)
    return {colors[line.get_color()] for line in marks}
