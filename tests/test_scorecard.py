"""Score cards: verdict and agreement are two things, nothing is averaged over what diverged, pages stand alone."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

import sgdmodels as sm
from sgdmodels.distances import Estimate
from sgdmodels.judge import agreement
from sgdmodels.labels import label
from sgdmodels.predictions import PREDICTIONS, Evidence, Finding, NoAnswer, Prediction
from sgdmodels.predictions.base import VERDICTS
from sgdmodels.scorecard import ScoreCard, chosen_predictions, scorecard
from sgdmodels.scorecard_figures import plateaus

simulate_module = import_module("sgdmodels.simulate")  # the attribute of the package is the function
scorecard_module = import_module("sgdmodels.scorecard")

RECIPE = sm.recipes.gated_quadratic(0, samples=30, features=5)
MODEL = sm.models.LeastSquares([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 0.0, 1.0])
PARABOLA = sm.models.LeastSquares([[1.0], [1.0]], [1.0, -1.0])
AGREEMENTS = {"agrees", "differs", "unclear", ""}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def request(threads: int = 2) -> ScoreCard:
    return scorecard(
        RECIPE, sm.SGD(0.4, 4), [sm.NoisyGD(0.4, 4), sm.GD(0.4)], steps=3000, replicas=2, batch_sizes=[4, 30], seed=0,
        threads=threads, title="A <small> card & its page",
    )  # fmt: skip


@pytest.fixture(scope="module")
def card() -> ScoreCard:
    return request()


@pytest.fixture(scope="module")
def page(card: ScoreCard, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "card.html"
    before = plt.get_fignums()
    card.to_html(path)
    assert [p.name for p in path.parent.iterdir()] == ["card.html"]
    assert plt.get_fignums() == before  # none of its figures is left open
    return path.read_text(encoding="utf-8")


def synthetic(name: str = "P", same_within: float = 0.05, band: tuple[float, float] = (0.9, 1.1)) -> Prediction:
    def evaluate(evidence: Evidence, batch_size: int | None) -> Estimate:
        level = evidence.late_level(batch_size, "batch_sharpness")
        return Estimate(level.value, level.low, level.high)

    return Prediction(
        name, "title", "statement", r"\frac12", "reference", "always", "quantity", band, evaluate, same_within
    )  # fmt: skip


# Verdict and agreement


def finding(prediction: Prediction, value: float, reach: float = 0.01) -> Finding:
    estimate = Estimate(value, value - reach, value + reach)
    return Finding(estimate.value, estimate.low, estimate.high, prediction.verdict(estimate))


@pytest.mark.parametrize(
    ("own", "reference", "verdict", "expected"),
    [
        ((0.60, 0.01), (0.61, 0.01), "fails", "agrees"),  # both miss 2/eta, alike
        ((1.00, 0.01), (0.61, 0.01), "holds", "differs"),  # right where the reference is not
        ((1.08, 0.01), (0.92, 0.01), "holds", "differs"),  # both in the band, and not alike
        ((0.60, 0.01), (1.00, 0.01), "fails", "differs"),
        ((1.00, 0.04), (1.03, 0.04), "holds", "unclear"),  # 0.03 with an interval of 0.057
        ((1.00, 0.30), (1.00, 0.01), "inconclusive", "unclear"),
        ((1.00, 0.30), (2.00, 0.01), "inconclusive", "differs"),
    ],
)
def test_verdict_and_agreement_are_two_things(
    own: tuple[float, float], reference: tuple[float, float], verdict: str, expected: str
) -> None:
    prediction = synthetic()
    mine = finding(prediction, *own)
    assert mine.verdict == verdict
    assert agreement(prediction, mine, finding(prediction, *reference)) == expected


NOTHING = {name: Finding(np.nan, np.nan, np.nan, name) for name in VERDICTS}


def test_agreement_about_what_has_no_number() -> None:
    prediction = synthetic()
    number = finding(prediction, 1.0)
    for one in ("diverged", "EoSS never entered"):
        assert agreement(prediction, NOTHING[one], NOTHING[one]) == "agrees"
        assert agreement(prediction, NOTHING[one], number) == "differs"
        assert agreement(prediction, number, NOTHING[one]) == "differs"
        assert agreement(prediction, NOTHING["not applicable"], NOTHING[one]) == ""
    assert agreement(prediction, NOTHING["diverged"], NOTHING["EoSS never entered"]) == "differs"
    assert agreement(prediction, NOTHING["inconclusive"], number) == "unclear"
    verdicts_only = synthetic(same_within=np.inf)
    low, high = finding(verdicts_only, 0.5), finding(verdicts_only, 1.0)
    assert agreement(verdicts_only, high, high) == "agrees"
    assert agreement(verdicts_only, high, low) == "differs"
    assert agreement(verdicts_only, finding(verdicts_only, 1.0, 0.5), low) == "unclear"


def test_a_model_that_misses_the_edge_as_sgd_does_fails_and_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one curvature, 1, Batch Sharpness is 1 wherever one stands: 0.15 of 2/eta, for SGD and its models."""
    monkeypatch.setattr(scorecard_module, "PREDICTIONS", (synthetic(),))
    made = scorecard(PARABOLA, sm.SGD(0.3, 1), [sm.NoisyGD(0.3, 1)], steps=640, interventions=False)
    assert made.table.verdict.sel(batch_size=1).values.tolist() == [["fails", "fails"]]
    assert made.table.agreement.sel(batch_size=1).values.tolist() == [["", "agrees"]]
    np.testing.assert_allclose(made.table.value.sel(batch_size=1), 0.15, rtol=1e-9)


def test_divergence_is_a_verdict_and_never_a_mean() -> None:
    """Curvature 2/3 + 1/3: gradient descent at eta = 3 diverges for certain; label noise does not matter."""
    candidates = {"fast": sm.NoisyGD(3.0, 1), "GD": sm.GD(3.0)}
    made = scorecard(MODEL, sm.SGD(3.0, 1), candidates, steps=640, replicas=3, interventions=False)
    assert made.table.diverged.sel(batch_size=1).values.tolist() == [3, 3, 1]
    verdicts = made.table.verdict.sel(batch_size=1)
    assert set(verdicts.values.ravel().tolist()) <= {"diverged", "not applicable", ""}
    assert (verdicts.sel(prediction="B1") == "diverged").all()
    for name in ("value", "low", "high"):
        assert made.table[name].sel(batch_size=1).isnull().all()
    assert (made.table.agreement.sel(prediction="B1", batch_size=1).values[1:] == "agrees").all()
    assert "replicas diverged" in made.to_markdown()


def test_a_candidate_that_diverges_differs(tmp_path: Path) -> None:
    """Cauchy kicks of 1e9: beyond 1e6 in at least one of the 10 looks with probability 1 - 1e-30."""
    alone = {"stretched": sm.LevySDE(1.0, 1.0, 1e9, substeps=1)}
    made = scorecard(PARABOLA, sm.SGD(1.0, 1), alone, steps=640, replicas=2, init=[0.5], interventions=False)
    entry = made.table.sel(dynamics="stretched", batch_size=1)
    assert int(entry.diverged) == 2
    assert entry.verdict.sel(prediction="B1").item() == "diverged"
    assert entry.agreement.sel(prediction="B1").item() == "differs"
    assert np.isnan(entry.value).all()
    assert "all 2 replicas diverged" in entry.reason.sel(prediction="B1").item()
    assert "nan" not in made.to_markdown().lower()
    assert "2 of 2 replicas diverged" in made.to_markdown()
    made.to_html(tmp_path / "card.html")
    assert "nan" not in re.sub(r"data:image/png;base64,\S*", "", (tmp_path / "card.html").read_text().lower())


def test_survivors_alone_are_averaged() -> None:
    """Two starts cannot be given, so the evidence is cut by hand: a diverged replica's records do not count."""
    made = scorecard(MODEL, sm.SGD(0.3, 1), [], steps=640, replicas=3, interventions=False, predictions=["B1"])
    one = made.evidence["SGD"]
    run = one.runs[1].copy(deep=True)
    run.diverged_at[0] = 64
    run.batch_sharpness[0] = 1e9
    cut = Evidence(one.model, one.dynamics, one.step_size, {1: run})
    alive = Evidence(one.model, one.dynamics, one.step_size, {1: one.runs[1].isel(replica=[1, 2])})
    assert cut.late_level(1, "batch_sharpness") == alive.late_level(1, "batch_sharpness")
    run.diverged_at[:] = 64
    with pytest.raises(NoAnswer, match="all 3 replicas diverged"):
        cut.late_level(1, "batch_sharpness")


def test_eoss_never_entered_is_said() -> None:
    """A quarter of the stable step size, in a plain model without a start of its own."""
    made = scorecard(MODEL, sm.SGD(0.3, 1), [sm.GD(0.3)], steps=640, replicas=2, seed=0, interventions=False)
    entry = made.table.sel(prediction="B1", batch_size=1)
    assert entry.verdict.values.tolist() == ["EoSS never entered"] * 2
    assert entry.agreement.values.tolist() == ["", "agrees"]
    assert "stayed below" in entry.reason.values[0]
    rows = [line for line in made.to_markdown().splitlines() if line.startswith("| **B1** ")]
    assert len(rows) == 1
    assert "∅" in rows[0]
    np.testing.assert_allclose(made.experiment.init, 0.1 * np.random.default_rng(0).standard_normal(2))


# The table


def test_the_table_is_complete(card: ScoreCard) -> None:
    table = card.table
    assert table.dynamics.values.tolist() == ["SGD", "NoisyGD", "GD"] == list(card.evidence)
    assert card.reference == "SGD"
    assert table.prediction.values.tolist() == [p.name for p in card.predictions]
    assert [p for p in PREDICTIONS if p not in card.predictions] == [p for p in PREDICTIONS if p.name == "B9"]
    assert table.batch_size.values.tolist() == [4, 30, 0]
    for prediction in card.predictions:
        entry = table.verdict.sel(prediction=prediction.name)
        filled, empty = entry.sel(batch_size=[4, 30]), entry.sel(batch_size=0)
        if not prediction.per_batch_size:
            filled, empty = empty, filled
        assert (empty == "").all()
        assert set(filled.values.ravel().tolist()) <= set(VERDICTS)
    assert set(table.agreement.values.ravel().tolist()) <= AGREEMENTS
    assert (table.agreement.sel(dynamics="SGD") == "").all()
    decided = np.isin(table.verdict.values, ["holds", "fails"])
    for name in ("value", "low", "high"):
        assert np.isfinite(table[name].values[decided]).all()
    silent = np.isin(table.verdict.values, ["not applicable", "EoSS never entered", "diverged"])
    assert np.isnan(table.value.values[silent]).all()
    assert (table.reason.values[silent] != "").all()


def test_verdicts_follow_from_intervals_and_bands(card: ScoreCard) -> None:
    for prediction in card.predictions:
        entry = card.table.sel(prediction=prediction.name)
        low, high = (entry[name].values for name in ("low", "high"))
        inside = (prediction.band[0] <= low) & (high <= prediction.band[1])
        outside = (high < prediction.band[0]) | (low > prediction.band[1])
        np.testing.assert_array_equal(entry.verdict.values == "holds", inside)
        np.testing.assert_array_equal(entry.verdict.values == "fails", outside & ~inside)


def test_deterministic_dynamics_run_once(card: ScoreCard) -> None:
    assert card.table.replicas.values.tolist() == [2, 2, 1]
    gd = card.evidence["GD"].runs
    assert gd[4] is gd[30]  # and once for all batch sizes, at each of which curvatures are measured
    assert gd[4].batch_size.values.tolist() == [4, 30]
    assert card.evidence["SGD"].runs[4].sizes["replica"] == 2


def test_everyone_starts_at_the_same_point_with_the_same_seed(card: ScoreCard) -> None:
    for one in card.evidence.values():
        for run in one.runs.values():
            np.testing.assert_array_equal(run.params.values[:, 0], np.tile(RECIPE.init, (run.sizes["replica"], 1)))
            assert run.attrs["seed"] == "0"
            assert int(run.step[-1]) == card.table.attrs["steps"] == 3008  # the next multiple of 64
    assert card.evidence["NoisyGD"].reference is card.evidence["SGD"]


def test_runs_are_those_of_simulate(card: ScoreCard) -> None:
    alone = sm.simulate(
        RECIPE.model, sm.NoisyGD(0.4, 4), 3008, RECIPE.init, replicas=2, record_every=3, metrics=("lambda_max",), seed=0
    )  # fmt: skip
    np.testing.assert_array_equal(card.evidence["NoisyGD"].runs[4].lambda_max.values, alone.lambda_max.values)


def test_bits_do_not_depend_on_threads(card: ScoreCard) -> None:
    assert request(threads=1).table.identical(card.table)


def test_the_table_survives_netcdf(card: ScoreCard, tmp_path: Path) -> None:
    path = tmp_path / "card.nc"
    card.table.to_netcdf(path, engine="scipy")
    with xr.open_dataset(path, engine="scipy") as back:
        back.load()
    xr.testing.assert_equal(back, card.table)
    assert back.attrs["seed"] == "0"
    for name in ("verdict", "agreement", "reason", "opposite_sides", "converged"):
        assert back[name].values.tolist() == card.table[name].values.tolist()
    assert back.dynamics.values.tolist() == ["SGD", "NoisyGD", "GD"]


# Markdown and HTML


def tables(markdown: str) -> list[list[list[str]]]:
    """Every table as rows of cells, heads first."""
    found, rows = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            assert line.endswith("|")
            rows.append([cell.strip() for cell in line[1:-1].split("|")])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_markdown_has_a_row_per_prediction_and_a_column_per_dynamics(card: ScoreCard) -> None:
    text = card.to_markdown()
    summary, small, large, overall = tables(text)
    for table in (summary, small, large, overall):
        assert len({len(row) for row in table}) == 1
        assert set(table[1]) == {"---"}
        assert table[0][-3:] == ["SGD", "NoisyGD", "GD"]
    assert [row[0].split("**")[1] for row in summary[2:]] == [p.name for p in card.predictions]
    for table, wanted in ((small, True), (large, True), (overall, False)):
        assert [row[0] for row in table[2:]] == [p.name for p in card.predictions if p.per_batch_size == wanted]
    assert "## Batch size 4" in text
    assert "## All batch sizes" in text
    for row in small[2:]:  # what stands in a cell is what stands in the table
        for name, cell in zip(("SGD", "NoisyGD", "GD"), row[2:], strict=True):
            entry = card.table.sel(prediction=row[0], dynamics=name, batch_size=4)
            assert entry.verdict.item() in cell
            assert entry.agreement.item() in cell


class Page(HTMLParser):
    """Tags that must close do, in order; and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if tag == "img" and name == "src":
                self.images.append(value or "")
            elif name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self.open.pop() == tag, f"</{tag}> after {self.open}"


def test_the_page_stands_alone(page: str, card: ScoreCard) -> None:
    parsed = Page()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    assert parsed.links == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(parsed.seen)
    assert "@import" not in page
    assert "url(" not in page
    assert parsed.images
    for image in parsed.images:
        kind, data = image.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert parsed.seen.count("math") == len(card.predictions)
    assert "\\" not in "".join(re.findall(r"<math.*?</math>", page, flags=re.DOTALL))  # commands that were not known


def test_the_page_says_what_the_card_says(page: str, card: ScoreCard) -> None:
    assert "A &lt;small&gt; card &amp; its page" in page
    assert "<small>" not in page
    for prediction in card.predictions:
        assert f"<b>{prediction.name}</b>" in page
    for name in card.evidence:
        assert name in page
    for row in re.findall(r"<tr>.*?</tr>", page, flags=re.DOTALL):
        assert row.count("<th") + row.count("<td") == 1 + len(card.evidence)
    assert "nan" not in re.sub(r"data:image/png;base64,[^\"]*", "", page).lower().split("</style>")[1]


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    name = '<b>bold</b> & "quoted"'
    made = scorecard(MODEL, sm.SGD(0.3, 1), {name: sm.GD(0.3)}, steps=640, interventions=False, predictions=["B1"])
    made.to_html(tmp_path / "card.html")
    text = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []


# Figures


def words_on(figure: Figure) -> set[str]:
    """All that is written on a figure."""
    return {text.get_text() for text in figure.findobj(Text)}


def test_the_plot_is_in_units_of_the_edge_and_names_everyone(card: ScoreCard) -> None:
    figure = card.plot()
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    assert figure.axes
    for ax in figure.axes:
        label = " ".join((ax.get_title(), ax.get_xlabel(), ax.get_ylabel()))
        assert r"\eta/2" in label
        assert ax.get_xlabel() != ""
        edges = [line for line in ax.get_lines() for data in line.get_data() if list(data) == [1, 1]]
        assert edges  # the edge itself is marked
    assert words_on(figure) >= {"SGD", "NoisyGD", "GD"}
    plt.close(figure)


def test_plateaus_against_the_batch_size(card: ScoreCard) -> None:
    figure = plateaus(card)
    assert [r"\eta/2" in ax.get_title() for ax in figure.axes] == [True, True]
    assert "Batch Sharpness" in figure.axes[0].get_title()
    assert r"\lambda_{\max}" in figure.axes[1].get_title()
    for ax in figure.axes:
        assert ax.get_xlabel() == "batch size"
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "30"]
    assert words_on(figure) >= {"SGD", "NoisyGD", "GD"}
    plt.close(figure)


# Requests


def test_signature_with_a_plain_model() -> None:
    """model, reference, candidates, steps, replicas, seed: nothing more is needed."""
    made = scorecard(MODEL, sm.SGD(0.3, 1), [sm.GD(0.3)], steps=640, replicas=2, seed=0)
    assert made.table.sizes == {"prediction": len(PREDICTIONS) - 1, "dynamics": 2, "batch_size": 2}
    assert made.title == "LeastSquares, n = 3, d = 2"
    assert made.evidence["SGD"].edge_tests[1].sizes["branch"] == 4  # control, two step sizes, one batch size


def test_momentum_is_judged_if_there_is_any() -> None:
    moving = [sm.SGD(0.1, 1, momentum=0.9)]
    made = scorecard(MODEL, sm.SGD(0.1, 1), moving, steps=640, interventions=False, predictions=["B1", "B9"])
    verdicts = made.table.verdict.sel(batch_size=1)
    assert verdicts.sel(prediction="B9").values[0] == "not applicable"
    assert verdicts.sel(prediction="B1").values[1] == "not applicable"
    assert "B9" in [p.name for p in chosen_predictions(None, {"moving": moving[0]})]


def ask(**changed: object) -> object:
    given: dict[str, object] = {
        "model": MODEL, "reference": sm.SGD(0.3, 1), "candidates": [sm.GD(0.3)], "steps": 640, **changed,
    }  # fmt: skip
    return scorecard(**given)  # type: ignore[arg-type]


WRONG: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "momentum": (lambda: ask(predictions=["B9"]), ("B9", "momentum=0.9", "leave")),
    "unknown prediction": (lambda: ask(predictions=["MS4"]), ("predictions", "'MS4'", "did you mean 'MS")),
    "steps": (lambda: ask(steps=None), ("steps", "None")),
    "few steps": (lambda: ask(steps=10), ("steps", "100")),
    "step sizes": (lambda: ask(candidates=[sm.GD(0.2)]), ("one step_size", "0.2", "0.3")),
    "labels": (lambda: ask(candidates=[sm.SGD(0.3, 2)]), ("'SGD'", "distinct names")),
    "schedule": (lambda: ask(candidates=[sm.GD([(0, 0.3), (10, 0.1)])]), ("GD", "schedule")),
    "batch schedule": (lambda: ask(reference=sm.SGD(0.3, [(0, 1), (10, 2)])), ("batch_size",)),
    "loss": (
        lambda: ask(model=RECIPE.model, candidates=[sm.HomogenizedSGD(0.3, 1)]), ("HomogenizedSGD", "GatedQuadratic"),
    ),
    "batch size": (lambda: ask(batch_sizes=[1, 4]), ("batch_size", "4")),
    "batch size of the reference": (lambda: ask(reference=sm.SGD(0.3, 4)), ("batch_size", "4")),
    "batch size twice": (lambda: ask(batch_sizes=[1, 1]), ("batch_size", "distinct")),
    "not a model": (lambda: ask(model="least squares"), ("model", "least squares")),
    "not a dynamics": (lambda: ask(reference="SGD"), ("dynamics", "'SGD'")),
    "one candidate": (lambda: ask(candidates=sm.GD(0.3)), ("candidates", "list")),
    "init": (lambda: ask(init=np.ones(3)), ("init",)),
    "directions": (lambda: ask(directions=np.ones((2, 2))), ("directions",)),
    "replicas": (lambda: ask(replicas=0), ("replicas",)),
    "threads": (lambda: ask(threads=0), ("threads",)),
    "seed": (lambda: ask(seed=-1, init=np.ones(2)), ("seed",)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_fail_before_anything_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(simulate_module.Run, "go", started)
    make, words = WRONG[name]
    with pytest.raises(sm.errors.InvalidArgument) as caught:
        make()
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("dynamics", "expected"),
    [
        (sm.SGD(0.1, 4), "SGD"),
        (sm.SGD(0.2, 8), "SGD"),  # neither step size nor batch size sets apart what a card compares
        (sm.SGD(0.1, 4, "epoch", momentum=0.9), "SGD epoch momentum=0.9"),
        (sm.NoisyGD(0.1, 4, "diagonal", refresh=7), "NoisyGD diagonal refresh=7"),
        (sm.NoisyGD(0.1, 4, "constant", scale=0.25), "NoisyGD constant scale=0.25"),
        (sm.SDE(0.1, 4), "SDE"),
        (sm.SDE(0.1, 4, order=2, substeps=3), "SDE order=2 substeps=3"),
        (sm.SDE(0.1, 4, refinement=3), "SDE"),
        (sm.SVAG(0.1, 4, ell=16), "SVAG ell=16"),
        (sm.LevySDE(0.1, 1.5, 0.01), "LevySDE alpha=1.5 scale=0.01"),
        (sm.OrnsteinUhlenbeck(0.1, 4, [1.0, 2.0]), "OrnsteinUhlenbeck"),
        (sm.CentralFlow(0.1, stride=5), "CentralFlow stride=5"),
    ],
    ids=str,
)
def test_labels(dynamics: sm.dynamics.Dynamics, expected: str) -> None:
    assert label(dynamics) == expected


# Known to be wrong: each is a request that should be refused in words, or a page that should not break.

STRANGE: dict[str, tuple[Callable[[], object], str]] = {
    "seed without a start": (lambda: ask(seed=-1), "seed"),
    "no predictions": (lambda: ask(predictions=[]), "predictions"),
    "a prediction twice": (lambda: ask(predictions=["B1", "B1"]), "predictions"),
    "predictions of no kind": (lambda: ask(predictions=3), "predictions"),
    "a dynamics that cannot start there": (lambda: ask(candidates=[sm.PredictedDynamics(0.3, 1)]), "lambda_max"),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.usefixtures("no_runs")
def test_strange_requests_fail_before_anything_runs(name: str) -> None:
    make, word = STRANGE[name]
    with pytest.raises(sm.errors.InvalidArgument, match=word):
        make()


def test_names_cannot_break_markdown_tables() -> None:
    made = scorecard(MODEL, sm.SGD(0.3, 1), {"a|b": sm.GD(0.3)}, steps=640, interventions=False, predictions=["B1"])
    for table in tables(made.to_markdown().replace(r"\|", "&#124;")):
        assert len({len(row) for row in table}) == 1


def test_labels_of_what_is_hidden_now() -> None:
    assert label(sm.SGD(0.1, 4, momentum=0.9, nesterov=True)) == "SGD momentum=0.9 nesterov"
    assert label(sm.SDE(0.1, 4, integrator="heun")) == "SDE heun"
