"""Wrong documents, stores and options: one sentence on standard error, exit code 2, nothing written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from sgdmodels.cli.options import complete_documents, example

from .command_line import CARD, GRID, RUN, listing, run, written

ROOT = Path(__file__).parent.parent
COMMANDS = ("demo", "simulate", "scorecard", "sweep", "report", "derive")
EXAMPLES = {"demo": "demo.toml", "simulate": "run.toml", "scorecard": "card.toml", "sweep": "grid.toml",
            "derive": "derive.toml"}  # fmt: skip

WRONG = [  # document, what is put in place of what, and what the sentence holds after "FILE, "
    ("sweep", GRID, "steps = 200", "steps = = 200", "line 3: not valid TOML: Invalid value"),
    ("sweep", GRID, "step_size", "stepsize", "line 1, stepsize: unknown key; did you mean 'step_size'?"),
    ("sweep", GRID, "[2, 8]", "[2, 0]", "line 2, batch_size: must be at least 1, got 0"),
    ("sweep", GRID, "[2, 8]", "[2, 800]", "line 2, batch_size: must be in 1..100"),
    ("sweep", GRID, 'use = "GD"', 'use = "DG"', "line 9, dynamics.GD.use: "),
    ("sweep", GRID, "[recipe]", "[recipes]", "line 4, recipes: unknown key; did you mean 'recipe'?"),
    ("simulate", RUN, "steps = 640", "steps = -1", "line 1, steps: must be at least 0, got -1"),
    ("simulate", RUN, "batch_size", "batchsize", "dynamics.batchsize: unknown key; did you mean 'batch_size'?"),
    ("simulate", RUN, "= 8", "= 800", "line 7, dynamics.batch_size: must be in 1..100"),
    ("simulate", RUN, "gated_quadratic", "os.system", "line 4, recipe.use: "),
    ("scorecard", CARD, "= false", '= "no"', "line 3, interventions: must be true or false, got 'no'"),
    ("scorecard", CARD, '"B1"', '"B99"', "line 4, predictions: must be one of "),
    ("demo", "steps = 2000\n", "steps", "step", "line 1, step: unknown key; did you mean 'steps'?"),
    ("demo", "steps = 2000\n", "2000", "20", "line 1, steps: must be at least 1000, got 20"),
    ("demo", 'output = "x.png"\n', "x.png", "x.gif", "must be in an existing folder and end in .png, .pdf or .svg"),
    ("derive", "latex = true\n", "true", "1", "line 1, latex: must be true or false, got 1"),
    ("derive", "latex = true\n", "latex", "chek", "line 1, chek: unknown key; did you mean 'check'?"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "text", "old", "new", "reason"), WRONG)
def test_a_wrong_document_is_one_sentence_and_writes_nothing(
    command: str, text: str, old: str, new: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert old in text
    monkeypatch.chdir(tmp_path)
    written(Path("my.toml"), text.replace(old, new, 1))
    before = listing(tmp_path)
    answer = run(command, "my.toml", *(["store"] if command == "sweep" else []))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert reason in answer.err
    assert "Traceback" not in answer.err
    if "line" in reason:
        assert answer.err.startswith("my.toml, line ")
    assert listing(tmp_path) == before


OPTIONS = [
    (["simulate", "run.toml", "-o", "run.txt"], "--output must be in an existing folder and end in .nc"),
    (["simulate", "run.toml", "--plot", "missing/run.pdf"], "--plot must be in an existing folder"),
    (["simulate", "run.toml", "--resume", "no.npz"], "--resume: "),
    (["simulate", "run.toml", "--checkpoint", "missing/no.npz"], "--checkpoint: "),
    (["simulate", "bare.toml", "--plot", "run.pdf"], "metrics: must hold batch_sharpness, lambda_max"),
    (["simulate", "missing.toml"], "missing.toml: there is no such file"),
    (["simulate", "run.toml", "-o", "/proc/run.nc"], "--output /proc/run.nc cannot be written: "),
    (["demo", "-o", "/proc/edge.png"], "--output /proc/edge.png cannot be written: "),
    (["scorecard", "card.toml", "-o", "/proc/card"], "--output /proc/card cannot be written: "),
    (["scorecard", "card.toml", "--quick"], "drop them, or the document"),
    (["scorecard", "card.toml", "-o", "card.toml"], "--output must be a folder"),
    (["scorecard", "--recipe", "Z"], "--recipe must be one of 'A', 'C', 'P', got 'Z'"),
    (["sweep"], "sweep needs a store"),
    (["sweep", "grid.toml"], "name the store too"),
    (["sweep", "grid.toml", "run.toml"], "run.toml is a file"),
    (["sweep", "grid.toml", "."], "is not empty"),
    (["sweep", "grid.toml", ".", "--dry-run"], "is not empty"),
    (["sweep", "grid.toml", "store", "--executor", "process"], "did you mean 'processes'?"),
    (["sweep", "grid.toml", "store", "--executor", "tpc://host:1"], "--executor must be threads, processes, tcp://"),
    (["sweep", "--status", "grid.toml", "store"], "drop the document"),
    (["sweep", "grid.toml", "store", "--stauts"], "--status"),
    (["swep", "grid.toml", "store"], "sweep"),
    (["demo", "--seeds", "0"], "--seeds"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "reason"), OPTIONS, ids=[" ".join(pair[0]) for pair in OPTIONS])
def test_a_wrong_option_writes_nothing(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "/proc" in reason and sys.platform != "linux":
        pytest.skip("needs a folder that nobody can write to")
    monkeypatch.chdir(tmp_path)
    written(Path("grid.toml"), GRID)
    written(Path("run.toml"), RUN)
    written(Path("card.toml"), CARD)
    written(Path("bare.toml"), RUN.replace("replicas = 2\n", 'replicas = 2\nmetrics = ["loss"]\n'))
    before = listing(tmp_path)
    answer = run(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert reason in answer.err
    assert listing(tmp_path) == before


@pytest.mark.parametrize("arguments", [["grid.toml", "store"], ["store"], ["--status", "store"]], ids=" ".join)
def test_a_store_of_a_newer_version(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("grid.toml"), GRID)
    assert run("sweep", "grid.toml", "store").code == 0
    card = json.loads(Path("store/sweep.json").read_text())
    written(Path("store/sweep.json"), json.dumps({**card, "format": card["format"] + 1}))
    before = listing(tmp_path)
    answer = run("sweep", *arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "newer sgdmodels" in answer.err
    assert listing(tmp_path) == before


def test_a_store_of_another_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("grid.toml"), GRID)
    written(Path("other.toml"), GRID.replace("steps = 200", "steps = 201"))
    assert run("sweep", "grid.toml", "store").code == 0
    before = listing(tmp_path)
    for more in ([], ["--dry-run"]):
        answer = run("sweep", "other.toml", "store", *more)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert "store holds another sweep (its steps is 200, here 201)" in answer.err
        assert listing(tmp_path) == before


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_of_help_are_those_of_the_folder(command: str) -> None:
    answer = run(command, "--example")
    assert answer.code == 0
    assert answer.out == example(EXAMPLES[command]) == (ROOT / "examples" / EXAMPLES[command]).read_text()


def _shortened(name: str, folder: Path) -> Path:
    """An example with fewer steps, replicas and cells."""
    text = (ROOT / "examples" / name).read_text()
    text = re.sub(r"(?m)^(steps = )[\d_]+", r"\g<1>1000", text)
    for old, new in (("[2, 8, 32, 100]", "[2, 100]"), ("[2, 4, 8, 32, 100]", "[2, 100]"), ("seeds = 5", "seeds = 1"),
                     ("[0, 1, 2]", "[0]"), ("replicas = 4", "replicas = 2"), ("0.8, 4]", "0.8, 2]"),
                     ("batch_sizes = [2, 8, 32]", "batch_sizes = [2]"),
                     ("# predictions = ", "predictions = "),
                     ("interventions = true", "interventions = false")):  # fmt: skip
        text = text.replace(old, new)
    return written(folder / name, text)


@pytest.mark.parametrize(("command", "more", "made"), [
    ("demo", [], ["edge_of_stochastic_stability.png"]),
    ("simulate", ["-o", "run.nc", "--plot", "run.pdf"], ["run.nc", "run.pdf"]),
    ("scorecard", ["-o", "card"], ["card/scorecard.html", "card/scorecard.png", "card/data/table.nc"]),
    ("sweep", ["store"], ["store/sweep.json"]),
    ("derive", [], []),
])  # fmt: skip
def test_examples_run(
    command: str, more: list[str], made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run(command, _shortened(EXAMPLES[command], tmp_path), *more)
    assert answer.code == 0, answer.err
    assert answer.out
    assert all(Path(name).stat().st_size for name in made)


def test_what_examples_leave_as_comments_can_be_uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys in comments are keys of the document, with values that it takes."""
    monkeypatch.chdir(tmp_path)
    for command, more in (("simulate", ["--steps", "0"]), ("sweep", ["store", "--dry-run"])):
        text = _shortened(EXAMPLES[command], tmp_path).read_text()
        text = re.sub(r"(?m)^# (batch_size|keep_params|output|plot|checkpoint|seed|step_size|momentum) ", r"\1 ", text)
        text = text.replace("[2, 8, 32]    # where", "[2, 8]    # where")
        answer = run(command, written(Path("all.toml"), text), *more)
        assert answer.code == 0, answer.err


def test_documents_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grids").mkdir()
    for name in ("grid.toml", "other.toml", "grids/a.toml", "grids/b.txt", "grid.txt", "grid.json"):
        written(Path(name), "")
    assert complete_documents("g") == ["grid.json", "grid.toml", "grids/a.toml"]
    assert complete_documents("grids/") == ["grids/a.toml"]
    assert complete_documents(f"{tmp_path}/o") == [f"{tmp_path}/other.toml"]
    assert complete_documents("missing/") == []


PAGE = ROOT / "docs" / "command_line.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_the_options_of_help(command: str) -> None:
    """In both directions: no option is missing on the page, and none stands there that is gone."""
    shown = run(command, "--help").out
    options = set(re.findall(r"^\s+(?:-\w, )?(--[\w-]+)", shown, flags=re.MULTILINE)) - {"--help"}
    assert set(re.findall(r"(?m)^\| `(--[\w-]+)", _section(command))) == options


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_page_has_the_keys_of_documents(command: str, tmp_path: Path) -> None:
    """Those that the command knows, which it lists when it meets a strange one."""
    strange = written(tmp_path / "strange.toml", "qqqqqqqqqq = 1\n")
    answer = run(command, strange, *([tmp_path / "store"] if command == "sweep" else []))
    known = answer.err.strip().rpartition("known are ")[2].split(", ")
    assert len(known) >= 4
    assert set(re.findall(r"(?m)^\| `(\w+)", _section(command))) == set(known)


def _section(command: str) -> str:
    """What the page says of a command."""
    parts = re.split(r"(?m)^## ", PAGE.read_text())
    (own,) = [part for part in parts if part.startswith(f"`sgdmodels {command}`")]
    return own
