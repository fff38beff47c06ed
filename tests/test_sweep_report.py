"""The files of a report: their numbers against runs of their own, their marks, their metadata, their bytes."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pypdf
import pytest

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument, StoreError
from sgdmodels.predictions import NoAnswer
from sgdmodels.sweep_report import write_report
from sgdmodels.sweep_report.axes import GridAxis
from sgdmodels.sweep_report.evidence import SweptEvidence
from sgdmodels.sweep_report.phase_diagram import LOST, MISSING, PhaseDiagram
from sgdmodels.sweep_report.read import Found, read
from sgdmodels.sweep_report.rows import Stored
from sgdmodels.sweeps.store import Store
from sgdmodels.theory import batch_sharpness_factor, edge_sharpness, max_step_size

STEPS, EVERY = 3000, 30


def swept(path: Path, grid: sm.Grid, without: tuple[str, ...] = ()) -> Path:
    """A store of `grid`, in which cells whose names begin so are missing."""
    sm.run_sweep(grid, path, progress=False)
    for name in Store(path).finished():
        if name.startswith(without):
            (path / "cells" / f"{name}.json").unlink()
    return path


def gated(**changed: Any) -> sm.Grid:
    """Recipe C with SGD and two of its models."""
    given: dict[str, Any] = {
        "dynamics": {"SGD": sm.SGD(0.4, 8), "noisy": sm.NoisyGD(0.4, 8), "GD": sm.GD(0.4)},
        "step_size": [0.1, 0.2, 0.4], "batch_size": [2, 8, 32], "steps": STEPS, "record_every": EVERY, "seed": [0, 1],
        "metrics": ["loss", "batch_sharpness", "lambda_max", "gni"],
    }  # fmt: skip
    given |= changed
    return sm.Grid(given.pop("model", sm.recipes.gated_quadratic), given.pop("dynamics"), **given)


def quadratic() -> tuple[sm.models.Model, np.ndarray]:
    """Interpolating least squares in three dimensions."""
    inputs = np.random.default_rng(5).standard_normal((12, 3))
    return sm.models.LeastSquares(inputs, inputs @ np.ones(3)), inputs


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("sweep") / "gated", gated())


@pytest.fixture(scope="module")
def written(store: Path) -> dict[str, Path]:
    before = plt.get_fignums()
    files = write_report(store)
    assert plt.get_fignums() == before  # none of its figures is left open
    return files


def test_files_are_where_they_are_said_to_be(store: Path, written: dict[str, Path]) -> None:
    folder = store.with_name("gated_report")
    assert {p for p in folder.rglob("*") if p.is_file()} == set(written.values())
    assert {p.name for p in folder.iterdir()} == {"report.html", "figures", "captions.tex", "table.csv"}


@pytest.mark.parametrize("metric", ["batch_sharpness", "lambda_max"])
def test_levels_are_those_of_runs_of_their_own(metric: str, written: dict[str, Path]) -> None:
    """simulate knows nothing of grids: median over the last 40 % of the steps, then over runs of both seeds."""
    made = {"SGD": sm.SGD, "noisy": sm.NoisyGD}
    for name, eta, b in (("SGD", 0.4, 2), ("noisy", 0.1, 32), ("GD", 0.2, 8)):
        medians = []
        for seed in (0, 1):
            recipe = sm.recipes.gated_quadratic(seed)
            dynamics = sm.GD(eta) if name == "GD" else made[name](eta, b)
            run = sm.simulate(
                recipe.model, dynamics, STEPS, recipe.init, metrics=[metric], record_every=EVERY, batch_size=[b],
                seed=seed, progress=False,
            )  # fmt: skip
            records = run[metric].squeeze().values
            medians.append(np.median(records[run.step.values >= 0.6 * STEPS]) * eta / 2)
        (line,) = (
            x for x in lines(written["table"])
            if (float(x["step_size"]), x["batch_size"], x["dynamics"], x["metric"]) == (eta, str(b), name, metric)
        )  # fmt: skip
        assert float(line["level"]) == pytest.approx(np.median(medians), rel=1e-8)
        assert float(line["low"]) == pytest.approx(np.quantile(medians, 0.1), rel=1e-8)
        assert float(line["high"]) == pytest.approx(np.quantile(medians, 0.9), rel=1e-8)
        assert (line["seeds"], line["replicas"], line["diverged"]) == ("2", "2", "0")


def test_closed_forms_of_the_table_are_those_of_theory(written: dict[str, Path]) -> None:
    functions = {"lambda_max": edge_sharpness, "batch_sharpness": batch_sharpness_factor}
    for line in lines(written["table"]):
        b = int(line["batch_size"])
        if line["dynamics"] == "GD":
            assert line["closed_form"] == ("1" if line["metric"] == "lambda_max" else "")
            continue
        each = [functions[line["metric"]](sm.recipes.gated_quadratic(seed).directions, b) for seed in (0, 1)]
        assert float(line["closed_form"]) == pytest.approx(np.median(each), rel=1e-8)
        ratio = float(line["level"]) / float(line["closed_form"])
        assert float(line["level_over_closed_form"]) == pytest.approx(ratio, rel=1e-7)


def found(path: Path) -> Found:
    return read(Stored(path, ()))


def diagram(given: Found, kinds: list[int], metric: str = "lambda_max") -> PhaseDiagram:
    grid = given.stored.grid
    axes = GridAxis.of(grid.step_size), GridAxis.of(grid.batch_size)
    return PhaseDiagram(given.levels, given.forms, metric, kinds, *axes)


def hatches(ax: Any) -> list[str]:
    return [patch.get_hatch() for patch in ax.patches if patch.get_hatch()]


def test_the_drawn_edge_parts_what_converges_from_what_diverges(tmp_path: Path) -> None:
    model, inputs = quadratic()
    edges = {b: max_step_size(inputs, b) for b in (1, 3, 12)}
    etas = [0.5 * edges[1], *(f * edges[b] for b in edges for f in (0.7, 1.6))]
    heavy = sm.SGD(0.1, 1, momentum=0.5)
    dynamics = {"SGD": sm.SGD(0.1, 1), "heavy": heavy, "GD": sm.GD(0.1), "Levy": sm.LevySDE(0.1, alpha=1.8, scale=0.1)}
    grid = sm.Grid(
        model, dynamics, step_size=sorted(etas), batch_size=[1, 3, 12], steps=4000, record_every=100, replicas=4,
        init=3 * np.ones(3), metrics=["lambda_max"],
    )  # fmt: skip
    given = found(swept(tmp_path / "sweep", grid))
    figure = diagram(given, [0, 1, 2, 3]).draw()
    panels = {ax.get_title(): body for ax, body in zip(*panel_pairs(figure), strict=True)}
    drawn = {name: [line for line in ax.lines if len(line.get_xdata()) > 2] for name, ax in panels.items()}
    assert [len(drawn[name]) for name in dynamics] == [1, 1, 1, 0]  # no closed form for stable noise
    for name, options in (("SGD", {}), ("heavy", {"momentum": 0.5})):
        (line,) = drawn[name]
        for b, edge in zip(line.get_xdata(), line.get_ydata(), strict=True):
            assert edge == pytest.approx(max_step_size(inputs, int(b), **options), rel=1e-9)
    top = np.linalg.eigvalsh(inputs.T @ inputs / 12)[-1]
    assert drawn["GD"][0].get_ydata() == pytest.approx(2 / top)
    lost = given.levels.diverged()[:, :, 0]
    for row, eta in enumerate(grid.step_size):
        for col, b in enumerate(grid.batch_size):  # far from the edge growth in the mean square is growth of paths
            if eta < 0.75 * edges[b]:
                assert not lost[row, col], (eta, b)
    assert lost[-1].all()
    assert hatches(panels["SGD"]).count(LOST["hatch"]) == lost.sum()
    plt.close(figure)


def panel_pairs(figure: Any) -> tuple[list[Any], list[Any]]:
    """Axes with the titles, and the panels below them."""
    bodies = [ax for ax in figure.axes if ax.get_ylabel() == r"step size $\eta$" or ax.get_yscale() == "log"]
    heads = [ax for ax in figure.axes if ax.get_title()]
    return heads, bodies


def test_cells_that_are_missing_are_marked_and_named(tmp_path: Path) -> None:
    grid = gated(batch_size=[2, 8], step_size=[0.2, 0.4], steps=300)
    path = swept(tmp_path / "half", grid, ("1-0-0", "0-all-2-1"))
    given = found(path)
    figure = diagram(given, [0, 1, 2]).draw()
    _, bodies = panel_pairs(figure)
    assert [hatches(ax).count(MISSING["hatch"]) for ax in bodies] == [1, 0, 0]  # of GD one seed of two is there
    plt.close(figure)
    files = write_report(path)
    page = files["page"].read_text(encoding="utf-8")
    assert "17 of 20 cells are computed." in page
    assert "Missing: 2 of 8 cells of SGD, 1 of 4 cells of GD." in page
    missing = [x for x in lines(files["table"]) if x["seeds"] == "0"]
    assert {(x["step_size"], x["batch_size"], x["dynamics"], x["level"]) for x in missing} == {("0.4", "2", "SGD", "")}
    assert "3 of 20 cells are not computed yet." in files["captions"].read_text(encoding="utf-8")


def test_one_cell_and_none(tmp_path: Path) -> None:
    path = swept(tmp_path / "one", gated(dynamics=sm.SGD(0.4, 8), step_size=0.4, batch_size=8, seed=0, steps=300))
    assert len(lines(write_report(path)["table"])) == 2
    for name in Store(path).finished():
        (path / "cells" / f"{name}.json").unlink()
    files = write_report(path, tmp_path / "none")
    assert "There is nothing to draw" in files["page"].read_text(encoding="utf-8")


def test_some_diverged_replicas_are_counted(tmp_path: Path) -> None:
    """Counts are set by hand: which replicas diverge is no business of the figure."""
    given = found(swept(tmp_path / "some", gated(step_size=[0.2, 0.4], batch_size=[2, 8], steps=300, replicas=3)))
    given.levels.lost[1, 0, 0], given.levels.lost[1, 1, 0] = 2, 4  # of 6
    figure = diagram(given, [0]).draw()
    _, (ax,) = panel_pairs(figure)
    assert [text.get_text() for text in ax.texts if "†" in text.get_text()] == ["†2"]
    assert hatches(ax) == [LOST["hatch"]]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["more than half diverged", "†$k$: $k$ replicas diverged"]
    plt.close(figure)


def test_a_damaged_chunk_names_its_cell(tmp_path: Path) -> None:
    path = swept(tmp_path / "damaged", gated(step_size=0.4, batch_size=8, steps=300))
    chunk = next(p for p in (path / "arrays.zarr" / "lambda_max").iterdir() if p.name.startswith("c.0.0.1.0"))
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    with pytest.raises(StoreError, match=r"damaged \(cell 0-0-1-0\)"):
        write_report(path)
    assert not path.with_name("damaged_report").exists()


def test_bad_places_are_refused_before_anything_is_read(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder, words in ((file, "is a file"), (store / "in", "outside of the store"), (store, "outside of the store")):
        with pytest.raises(InvalidArgument, match=words):
            write_report(store, folder)
    with pytest.raises(StoreError, match="is no sweep"):
        write_report(tmp_path)
    with pytest.raises(InvalidArgument, match="title must be text"):
        write_report(store, title=3)  # type: ignore[arg-type]


def test_equal_stores_give_equal_bytes(store: Path, written: dict[str, Path], tmp_path: Path) -> None:
    again = write_report(store, tmp_path / "again")
    assert {k: p.read_bytes() for k, p in again.items()} == {k: p.read_bytes() for k, p in written.items()}


def test_figures_are_vectors_with_their_fonts_and_say_where_they_are_from(
    store: Path, written: dict[str, Path]
) -> None:
    identity = Store(store).identity
    figures = [path for key, path in written.items() if key.startswith("figures/")]
    assert len(figures) == 5
    for path in figures:
        reader = pypdf.PdfReader(path)
        (page,) = reader.pages
        assert not page.images
        fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
        assert fonts
        for font in fonts:
            inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
            assert "/FontFile2" in inner["/FontDescriptor"].get_object(), path  # TrueType, embedded
        about = reader.metadata
        assert about is not None
        assert about.title
        assert identity in about["/Keywords"]
        assert "sgdmodels report gated" in about["/Keywords"]
        assert identity[:12] in about["/Subject"]
        assert "/CreationDate" not in about
        assert round(float(page.mediabox.width) / 72, 2) in (3.4, 7.0)


def test_every_figure_has_a_caption_with_what_was_run(store: Path, written: dict[str, Path]) -> None:
    text = written["captions"].read_text(encoding="utf-8")
    captions = re.findall(r"\\caption\{(.*)\}\n", text)
    assert len(captions) == 5
    for caption in captions:
        for words in ("$n$ = 100, $d$ = 21", "3000 steps", "2 seeds (0, 1)", "1 replica", "No run diverged",
                      Store(store).identity[:12], "sgdmodels report gated", r"gated\_quadratic"):  # fmt: skip
            assert words in caption
    plateaus = next(c for c in captions if c.startswith("Plateaus times"))
    assert r"last 40 \% of the steps (from 1800 on)" in plateaus
    assert all(f"figures/{path.name}" in text for key, path in written.items() if key.startswith("figures/"))


def test_closed_forms_are_averaged_over_replicas_of_different_losses() -> None:
    """One replica of a loss of equal curvatures, two of one with curvatures 1 and 3; the last diverged."""
    import xarray as xr

    steps = np.arange(0, 2000, 10)
    level = np.array([0.9, 0.7, 0.7])[:, None] * np.ones(len(steps))
    dims = ("replica", "step")
    run = xr.Dataset(
        {"batch_sharpness": (dims, 2 + 0 * level), "lambda_max": (dims, 2 * level),
         "diverged_at": ("replica", [np.nan, np.nan, 5.0])}, {"step": steps},
    )  # fmt: skip
    equal, spread = np.ones((2, 1)), np.sqrt([[1.0], [3.0]])
    model, _ = quadratic()
    evidence = SweptEvidence(model, sm.SGD(1.0, 1), 1.0, {1: run}, by_replica={1: [equal, spread, spread]})
    found = evidence.against_closed_form(1, "lambda_max", edge_sharpness)
    assert found.value == pytest.approx(0.8 / np.mean([1.0, 0.8]))  # closed forms 1 and 2 / 2.5
    with pytest.raises(NoAnswer, match="not computed at b = 4"):
        evidence.late_level(4, "lambda_max")
