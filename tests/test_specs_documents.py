"""Documents of people: what they may say, and where an error finds what is wrong with them."""

from __future__ import annotations

import functools
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels import specs
from sgdmodels.errors import InvalidArgument
from sgdmodels.specs.lines import json_line, toml_line

RECIPE = """\
steps = 1000
record_every = 50
replicas = 2
metrics = ["loss", "lambda_max"]
batch_size = [1, 8]
seed = 3
keep_params = false

[recipe]
use = "slow_tail_network"
samples = 50

[dynamics]
use = "SGD"
step_size = [
  [0, 0.1],
  [500, 0.2],
]
batch_size = 8
sampling = "epoch"
"""
MODEL = """\
steps = 100
init = [0.0, 1.0]
[model]
use = "sgdmodels.models.LeastSquares"
inputs = [[1, 0], [0, 1], [1.5, 1]]
targets = { file = "y.npy" }
[dynamics]
use = "SDE"
step_size = 0.1
batch_size = 2
"""
CARD = """\
steps = 200
replicas = 1
predictions = ["B1", "B2"]
interventions = false
batch_sizes = [2, 8]
title = "Three models"
[recipe]
use = "gated_quadratic"
[reference]
use = "SGD"
batch_size = 8
[candidates.GD]
use = "GD"
[candidates.noise]
use = "NoisyGD"
covariance = "isotropic"
[candidates.sde]
use = "SDE"
substeps = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of arrays, good and bad."""
    place = tmp_path_factory.mktemp("documents")
    np.save(place / "y.npy", np.arange(3))
    np.save(place / "single.npy", np.arange(3, dtype=np.float32))
    np.save(place / "big_endian.npy", np.arange(3, dtype=">f8"))
    np.save(place / "transposed.npy", np.asfortranarray([[1.0, 0.0], [0.0, 1.0], [1.5, 1.0]]))
    np.save(place / "huge.npy", np.array([2**53 + 1, 0, 1]))
    np.save(place / "complex.npy", np.array([1j, 2, 3]))
    np.save(place / "words.npy", np.array(["a", "b", "c"]))
    np.save(place / "objects.npy", np.array([{}], dtype=object))
    np.savez(place / "two.npz", a=np.ones(3), b=np.ones(2))
    np.savez(place / "one.npz", only=np.arange(3.0))
    np.savez(place / "sealed.npz", only=np.array([print], dtype=object))
    (place / "junk.npy").write_bytes(b"junk")
    (place / "cut.npy").write_bytes((place / "y.npy").read_bytes()[:-5])
    (place / "y.txt").write_text("0 1 2")
    (place / "folder.npy").mkdir()
    return place


def written(folder: Path, text: str, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def simulation(folder: Path, text: str, name: str = "run.toml") -> specs.Simulation:
    return specs.simulation(specs.read(written(folder, text, name)))


def message(folder: Path, text: str, make: Any = specs.simulation, name: str = "run.toml") -> str:
    """What is said of a document that cannot be used, with the folder left out."""
    path = written(folder, text, name)
    with pytest.raises(specs.SpecError) as caught:
        make(specs.read(path))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(str(path))
    return said.removeprefix(f"{folder}{os.sep}")


def test_a_recipe_with_a_schedule(folder: Path) -> None:
    asked = simulation(folder, RECIPE)
    recipe = sm.recipes.slow_tail_network(3, samples=50)
    assert asked.dynamics == sm.SGD([(0, 0.1), (500, 0.2)], 8, sampling="epoch")
    assert asked.init.tobytes() == recipe.init.tobytes()
    assert asked.model.data[0].tobytes() == recipe.model.data[0].tobytes()
    assert (asked.steps, asked.record_every, asked.replicas, asked.seed) == (1000, 50, 2, 3)
    assert (asked.batch_size, asked.keep_params) == ([1, 8], False)
    run = sm.simulate(**{**asked.arguments(), "steps": 60})
    assert list(run.batch_size.values) == [1, 8]


def test_a_recipe_brings_steps_step_size_and_may_have_a_seed_of_its_own(folder: Path) -> None:
    text = 'seed = 7\n[recipe]\nuse = "slow_tail_network"\nseed = 1\n[dynamics]\nuse = "GD"\n'
    asked = simulation(folder, text)
    assert (asked.steps, asked.dynamics, asked.seed) == (100_000, sm.GD(0.4), 7)
    assert asked.init.tobytes() == sm.recipes.slow_tail_network(1).init.tobytes()
    assert asked.metrics == ["loss", "batch_sharpness", "lambda_max"]


def test_a_loss_with_arrays_inline_and_in_files(folder: Path) -> None:
    asked = simulation(folder, MODEL)
    expected = sm.models.LeastSquares([[1.0, 0.0], [0.0, 1.0], [1.5, 1.0]], [0.0, 1.0, 2.0])
    assert specs.node(asked.model, {}) == specs.node(expected, {})
    assert asked.init.tolist() == [0.0, 1.0]
    for other in ('"single.npy"', '"big_endian.npy"', '"one.npz"', '"one.npz", name = "only"'):
        assert specs.node(simulation(folder, MODEL.replace('"y.npy"', other)).model, {}) == specs.node(expected, {})
    rows = MODEL.replace("[[1, 0], [0, 1], [1.5, 1]]", '{ file = "transposed.npy" }')
    assert specs.node(simulation(folder, rows).model, {}) == specs.node(expected, {})


def test_an_array_may_be_pinned_by_its_hash(folder: Path) -> None:
    import hashlib

    content = specs.array_sha256(np.arange(3.0))
    of_file = hashlib.sha256((folder / "y.npy").read_bytes()).hexdigest()
    for pinned in (content, of_file, of_file.upper()):
        simulation(folder, MODEL.replace('"y.npy"', f'"y.npy", sha256 = "{pinned}"'))


def test_without_a_start_a_loss_begins_near_zero(folder: Path) -> None:
    asked = simulation(folder, "seed = 5\n" + MODEL.replace("init = [0.0, 1.0]\n", ""))
    assert asked.init.tolist() == (0.1 * np.random.default_rng(5).standard_normal(2)).tolist()
    two = simulation(folder, "replicas = 2\n" + MODEL.replace("[0.0, 1.0]", "[[0, 1], [2, 3]]"))
    assert two.init.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_a_formula_in_a_document(folder: Path) -> None:
    text = MODEL.replace('use = "sgdmodels.models.LeastSquares"\n', 'use = "SymbolicModel"\n').replace(
        "inputs = [[1, 0], [0, 1], [1.5, 1]]\ntargets",
        'predictor = "v*sum(u[j]*x[j], j)"\nparameters = {u = 1, v = []}\ndata.x = [[1], [2], [3]]\ndata.y',
    )
    assert simulation(folder, text).model.loss(np.array([2.0, 3.0])) == np.mean([36, 121, 256]) / 2


def test_json_says_the_same_as_toml(folder: Path) -> None:
    for text in (RECIPE, MODEL):
        one = simulation(folder, text)
        two = simulation(folder, json.dumps(tomllib.loads(text), indent=1), "run.json")
        for name, value in one.arguments().items():
            other = two.arguments()[name]
            if isinstance(value, sm.models.Model):
                assert specs.node(value, {}) == specs.node(other, {})
            else:
                assert np.array_equal(value, other) if isinstance(value, np.ndarray) else value == other


def test_a_score_card(folder: Path) -> None:
    path = written(folder, "seed = 2\n" + CARD)
    asked = specs.scorecard(specs.read(path))
    assert asked.reference == sm.SGD(0.4, 8)
    assert asked.candidates == {
        "GD": sm.GD(0.4), "noise": sm.NoisyGD(0.4, 8, "isotropic"), "sde": sm.SDE(0.4, 8, substeps=4)
    }  # fmt: skip
    recipe = sm.recipes.gated_quadratic(2)
    assert asked.directions is not None
    assert asked.directions.tobytes() == recipe.directions.tobytes()
    card = sm.scorecard(**asked.arguments(), threads=1, progress=False)
    assert card.title == "Three models"
    assert sorted(card.table.batch_size.values) == [0, 2, 8]
    assert list(card.table.dynamics.values) == ["SGD", "GD", "noise", "sde"]


def test_what_sweeps_read(folder: Path) -> None:
    document = specs.read(written(folder, RECIPE.replace("batch_size = 8\n", "")))
    recipe = specs.model_of(document)
    assert isinstance(recipe, functools.partial)
    assert recipe.keywords == {"samples": 50}
    prototype = specs.dynamics_prototype(document, ("dynamics",))
    assert (prototype.sampling, prototype.batch_size) == ("epoch", 1)  # type: ignore[attr-defined]
    chosen = specs.dynamics_prototype(document, ("dynamics",), {"batch_size": 4, "ell": 3})
    assert chosen.batch_size == 4  # type: ignore[attr-defined]
    assert [metric.name for metric in specs.metrics_of(document, ())] == ["loss", "lambda_max"]
    loss = specs.model_of(specs.read(written(folder, MODEL)))
    assert isinstance(loss, sm.models.LeastSquares)


def test_a_document_may_name_what_its_reader_trusts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_lab_of_its_own.py").write_text(
        "from sgdmodels import Metric\n"
        "from sgdmodels.models import LeastSquares\n"
        "class Mine(LeastSquares):\n    pass\n"
        "def count(snapshots):\n    return 0 * snapshots.theta.sum(axis=2)\n"
        "COUNT = Metric('count', 'count', '1', count)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = MODEL.replace("sgdmodels.models.LeastSquares", "a_lab_of_its_own.Mine")
    path = written(folder, 'metrics = ["loss", { use = "a_lab_of_its_own.COUNT" }]\n' + text)
    asked = specs.simulation(specs.read(path, trusted=["a_lab_of_its_own"]))
    assert type(asked.model).__name__ == "Mine"
    assert [metric.name for metric in asked.metrics] == ["loss", "count"]
    del sys.modules["a_lab_of_its_own"]
    assert message(folder, text).startswith("run.toml, line 4, model.use: 'a_lab_of_its_own.Mine' is not part of")
    assert "line 1, trusted: unknown key" in message(folder, 'trusted = ["a_lab_of_its_own"]\n' + text)
    assert "a_lab_of_its_own" not in sys.modules


# What is changed in a document, and how the error about it begins.
MALFORMED: list[tuple[str, str, str, str]] = [
    (RECIPE, "steps = 1000", "step = 1000", "line 1, step: unknown key; did you mean 'steps'?"),
    (RECIPE, "steps = 1000", "Steps = 1000", "line 1, Steps: unknown key; did you mean 'steps'?"),
    (RECIPE, "steps = 1000", "steps = -1", "line 1, steps: must be at least 0, got -1"),
    (RECIPE, "steps = 1000", "steps = 1e3", "line 1, steps: must be an integer, got 1000.0"),
    (RECIPE, "steps = 1000", "steps = '9'", "line 1, steps: must be an integer, got '9'"),
    (RECIPE, "steps = 1000", "steps = 1000 1", "line 1: not valid TOML: Expected newline"),
    (RECIPE, "seed = 3", "steps = 3", "line 6: not valid TOML: Cannot overwrite a value"),
    (RECIPE, "[dynamics]", "[dynamics", "line 13: not valid TOML: Expected ']'"),
    (RECIPE, '"epoch"', '"epoch', "line 20: not valid TOML"),
    (RECIPE, "  [500, 0.2],\n]", "  [500, 0.2],", "line 18: not valid TOML"),
    (RECIPE, '"lambda_max"]', '"lamda_max"]', "line 4, metrics.1: unknown metric 'lamda_max'; did you mean 'lambda_"),
    (RECIPE, '["loss", "lambda_max"]', "3", "line 4, metrics: must be the name of a metric, got 3"),
    (RECIPE, "[1, 8]", "[1, 51]", "line 5, batch_size: must be in 1..50 (the number of samples), got 51"),
    (RECIPE, "[1, 8]", "[1, 1]", "line 5, batch_size: must be a number or distinct numbers, got [1, 1]"),
    (RECIPE, "seed = 3", "seed = -3", "line 6, seed: must be in 0..18446744073709551615, got -3"),
    (RECIPE, "seed = 3", "seed = 1979-05-27", "line 6, seed: must be text, a number, a list or a table, got a date"),
    (RECIPE, "seed = 3", "init = [1.0]", "line 6, init: belongs to [model]"),
    (RECIPE, "seed = 3", '"a b\\n" = 1', "line 6, 'a b\\n': unknown key"),
    (RECIPE, "false", "0", "line 7, keep_params: must be true or false, got 0"),
    (RECIPE, "replicas = 2", "replicas = 0", "line 3, replicas: must be at least 1, got 0"),
    (RECIPE, "replicas = 2", "replicas = [1, 1]", "line 3, replicas: must be a number or distinct numbers"),
    (RECIPE, "replicas = 2", "replicas = []", "line 3, replicas: must be a number or distinct numbers, got []"),
    (RECIPE, "[recipe]", "[recipes]", "line 9, recipes: unknown key; did you mean 'recipe'?"),
    (RECIPE, '"slow_tail_network"', '"SGD"', "line 10, recipe.use: must name a recipe"),
    (RECIPE, '"slow_tail_network"', '"slow_tail_networks"', "line 10, recipe.use: 'slow_tail_networks' is not known"),
    (RECIPE, "samples = 50", "sample = 50", "line 11, recipe.sample: unknown key; did you mean 'samples'?"),
    (RECIPE, "samples = 50", 'samples = "many"', "line 9, recipe: cannot be made: TypeError"),
    (RECIPE, "samples = 50", "seed = -50", "line 11, recipe.seed: must be at least 0, got -50"),
    (RECIPE, "[dynamics]", "[model]", "missing 'dynamics'"),
    (RECIPE, "[dynamics]", "[[dynamics]]", "line 13, dynamics: must be a table, got [{"),
    (RECIPE, 'use = "SGD"', 'use = "SGDD"', "line 14, dynamics.use: 'SGDD' is not known as a dynamics; did y"),
    (RECIPE, 'use = "SGD"', 'use = "os.system"', "line 14, dynamics.use: 'os.system' is not part of sgdmodels"),
    (RECIPE, 'use = "SGD"', 'use = "LeastSquares"', "line 14, dynamics.use: 'LeastSquares' is not known as a dynamics"),
    (RECIPE, 'use = "SGD"', "use = 3", "line 14, dynamics.use: must be a name such as 'SGD'"),
    (RECIPE, 'use = "SGD"\n', "", "line 13, dynamics: missing 'use'"),
    (RECIPE, "[500, 0.2]", "[500, -0.2]", "line 15, dynamics.step_size: must be finite, > 0, got -0.2"),
    (RECIPE, "[0, 0.1]", "[1, 0.1]", "line 15, dynamics.step_size: the schedule of step_size must start at step 0"),
    (RECIPE, "[0, 0.1]", "[0]", "line 15, dynamics.step_size: must be a number or a schedule"),
    (RECIPE, "batch_size = 8\n", "batchsize = 8\n", "line 19, dynamics.batchsize: unknown key; did you mean 'b"),
    (RECIPE, "batch_size = 8\n", "", "line 13, dynamics: missing 'batch_size'"),
    (RECIPE, "batch_size = 8\n", "batch_size = 2.5\n", "line 19, dynamics.batch_size: must be an integer, got 2.5"),
    (RECIPE, '"epoch"', '"epochs"', "line 20, dynamics.sampling: must be one of 'without_replacement'"),
    (RECIPE, '"epoch"', '"epoch"\nnesterov = true', "line 21, dynamics.nesterov: nesterov=True needs momentum > 0"),
    (MODEL, "steps = 100\n", "", "missing 'steps'"),
    (MODEL, "[model]", "[recipe]", "line 4, recipe.use: must name a recipe"),
    (MODEL, "[model]", "[recipe]\nuse = 1\n[model]", "line 5, model: has both [model] and [recipe]; drop one"),
    (MODEL, "[0.0, 1.0]", "[0.0]", "line 2, init: must have shape (2,), got (1,)"),
    (MODEL, "[0.0, 1.0]", "[0.0, nan]", "line 2, init: must be finite, got nan"),
    (MODEL, "[0.0, 1.0]", "[[0], [1, 2]]", "line 2, init: must be a float64 array"),
    (MODEL, "[0.0, 1.0]", '{ file = "no.npy" }', "line 2, init.file: there is no file"),
    (MODEL, "[0.0, 1.0]", '{ fil = "y.npy" }', "line 2, init: must be a list of numbers or { file = ... }, got {'fil'"),
    (MODEL, "[0.0, 1.0]", '"zero"', "line 2, init: must be a float64 array"),
    (MODEL, "[1.5, 1]", "[1.5]", "line 5, model.inputs: must be a float64 array of shape (samples, features)"),
    (MODEL, "[[1, 0], [0, 1], [1.5, 1]]", "7", "line 5, model.inputs: must have shape (samples, features), got ()"),
    (MODEL, "targets =", "target =", "line 6, model.target: unknown key; did you mean 'targets'?"),
    (MODEL, '"y.npy"', '"objects.npy"', "line 6, model.targets.file: objects.npy cannot be read as an array"),
    (MODEL, '"y.npy"', '"sealed.npz"', "line 6, model.targets.file: sealed.npz cannot be read as an array of numbers"),
    (MODEL, '"y.npy"', '"junk.npy"', "line 6, model.targets.file: junk.npy cannot be read as an array of numbers"),
    (MODEL, '"y.npy"', '"cut.npy"', "line 6, model.targets.file: cut.npy cannot be read as an array of numbers"),
    (MODEL, '"y.npy"', '"folder.npy"', "line 6, model.targets.file: there is no file"),
    (MODEL, '"y.npy"', '"y.txt"', "line 6, model.targets.file: must be a .npy or .npz file, got 'y.txt'"),
    (MODEL, '"y.npy"', '"complex.npy"', "line 6, model.targets: complex.npy must hold real numbers, got dtype compl"),
    (MODEL, '"y.npy"', '"words.npy"', "line 6, model.targets: words.npy must hold real numbers, got dtype <U1"),
    (MODEL, '"y.npy"', '"huge.npy"', "line 6, model.targets: huge.npy holds integers beyond 2**53"),
    (MODEL, '"y.npy"', '"two.npz"', "line 6, model.targets.file: holds a, b; say which with name"),
    (MODEL, '"y.npy"', '"two.npz", name = "b"', "line 6, model.targets: must have shape (3,), got (2,)"),
    (MODEL, '"y.npy"', '"two.npz", name = "c"', "line 6, model.targets.name: must be one of a, b, got 'c'"),
    (MODEL, '"y.npy"', '"y.npy", name = "c"', "line 6, model.targets.name: belongs to .npz files"),
    (MODEL, '"y.npy"', '"y.npy", sha256 = "00"', "line 6, model.targets: y.npy has another sha256"),
    (MODEL, '"y.npy"', '"y.npy", sha = "00"', "line 6, model.targets.sha: unknown key; did you mean 'sha256'?"),
    (MODEL, '"SDE"', '"SDE"\norder = 3', "line 9, dynamics.order: must be 1 or 2, got 3"),
    (MODEL, '"SDE"', '"SDE"\nintegrator = "rk4"', "line 9, dynamics.integrator: must be one of 'euler', 'heun', got"),
    (MODEL, "step_size = 0.1\n", "", "line 7, dynamics: missing 'step_size'"),
    (MODEL, "step_size = 0.1", "step_size = true", "line 9, dynamics.step_size: must be a number, got True"),
    (MODEL, "step_size = 0.1", 'step_size = "0.1"', "line 9, dynamics.step_size: must be a number, got '0.1'"),
    (MODEL, "step_size = 0.1", "step_size = inf", "line 9, dynamics.step_size: must be finite, > 0, got inf"),
    (CARD, "[candidates.GD]", "[candidate.GD]", "line 12, candidate: unknown key; did you mean 'candidates'?"),
    (CARD, 'use = "GD"', 'use = "GDD"', "line 13, candidates.GD.use: 'GDD' is not known as a dynamics; did"),
    (CARD, "covariance", "covarianc", "line 16, candidates.noise.covarianc: unknown key; did you mean 'covariance'?"),
    (CARD, '"isotropic"', '"round"', "line 16, candidates.noise.covariance: must be one of"),
    (CARD, "substeps = 4", "substeps = 0", "line 19, candidates.sde.substeps: must be at least 1, got 0"),
    (CARD, "steps = 200", "steps = 99", "line 1, steps: must be at least 100, got 99"),
    (CARD, "[2, 8]", "[2, 800]", "line 5, batch_sizes: must be in 1..100 (the number of samples), got 800"),
    (CARD, '["B1", "B2"]', "[1]", "line 3, predictions: must be names such as"),
    (CARD, '"Three models"', "3", "line 6, title: must be text, got 3"),
    (CARD, "interventions = false", "directions = [[1.0]]", "line 4, directions: must have shape (100, d), got (1, 1)"),
    (CARD, "batch_size = 8\n", "", "line 9, reference: missing 'batch_size'"),
    (CARD, "[reference]", "[sgd]", "line 9, sgd: unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "old", "new", "expected"), MALFORMED, ids=[row[3][:60] for row in MALFORMED])
def test_an_error_names_the_line_and_the_field(folder: Path, base: str, old: str, new: str, expected: str) -> None:
    assert old in base
    make = specs.scorecard if base is CARD else specs.simulation
    said = message(folder, base.replace(old, new, 1), make)
    assert said.removeprefix("run.toml").lstrip(",: ").startswith(expected)


@pytest.mark.parametrize(
    ("base", "old", "new", "call", "expected"),
    [
        (
            RECIPE,
            "batch_size = 8\n",
            "batch_size = 51\n",
            sm.simulate,
            "line 19, dynamics.batch_size: must be in 1..50",
        ),
        (RECIPE, "= 8\n", "= [[0, 8], [9, 51]]\n", sm.simulate, "line 19, dynamics.batch_size: must be in 1..50"),
        (RECIPE, '"lambda_max"]', '"loss"]', sm.simulate, "line 4, metrics: must have distinct names"),
        (RECIPE, "steps = 1000", "steps = 1000000000000000", sm.simulate, "line 1, steps: "),
        (CARD, '["B1", "B2"]', '["B1", "B99"]', sm.scorecard, "line 3, predictions: must be one of"),
        (CARD, '"B2"]', '"B1"]', sm.scorecard, "line 3, predictions: must be distinct names"),
        (CARD, "batch_size = 8", "batch_size = 800\ninit = [1]", sm.scorecard, "line 12, reference.init: unknown key"),
        (CARD, "substeps = 4", "substeps = 4\nstep_size = 3", sm.scorecard, "all dynamics must have one step_size"),
    ],
)
def test_what_only_the_call_can_judge_has_a_line_too(
    folder: Path, no_runs: None, base: str, old: str, new: str, call: Any, expected: str
) -> None:
    path = written(folder, base.replace(old, new, 1))
    document = specs.read(path)
    make = specs.scorecard if base is CARD else specs.simulation
    with pytest.raises(InvalidArgument) as caught:
        call(**make(document).arguments())
    said = str(document.blame(caught.value))
    assert said.startswith(str(path))
    assert said.removeprefix(str(path)).lstrip(",: ").startswith(expected)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.toml", b"\xff\xfe", "a.toml: is not text in UTF-8"),
        ("a.yaml", b"steps: 1", "a.yaml: must end in .toml or .json, got '.yaml'"),
        ("a", b"", "a: must end in .toml or .json, got ''"),
        ("a.json", b"[1]", "a.json: must be a table of keys and values, got a list"),
        ("a.json", b"", "a.json, line 1: not valid JSON: Expecting value"),
        ("a.json", b'{\n"steps": 1,\n"seed" 2}', "a.json, line 3: not valid JSON: Expecting ':' delimiter"),
        ("a.json", b'{\n"a": {"b": 1,\n"c": [{"d": 1,\n"d": 2}]}}', "a.json, line 4, a.c.0.d: is written twice"),
        ("a.json", b'{"steps": ' + b"1" * 5000 + b"}", "a.json: not valid JSON: Exceeds the limit"),
        ("a.toml", b"steps = " + b"1" * 5000, "a.toml: not valid TOML: Exceeds the limit"),
        ("a.json", b"[" * 10**5, "a.json: not valid JSON: maximum recursion depth"),
        ("a.toml", b"a = " + b"[" * 10**5, "a.toml: not valid TOML: maximum recursion depth"),
        ("a.toml", b"a = 1\n[b]\nc = [1,\n2\n", "a.toml, line 4: not valid TOML: Unclosed array"),
        ("a.toml", b"a = 1\n[b]\nc.d = [1, [2, 07:32:00]]", "a.toml, line 3, b.c.d.1.1: must be text, a number"),
        ("a.toml", b"", "a.toml: missing 'dynamics'"),
        ("a.toml", b"\xef\xbb\xbfsteps = 1\r\n[dynamics]\r\nuse = 3", "a.toml: needs a table [model] or [recipe]"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(specs.SpecError) as caught:
        specs.simulation(specs.read(tmp_path / name))
    assert str(caught.value).removeprefix(f"{tmp_path}{os.sep}").startswith(expected)


def test_no_file_and_too_much_of_one(tmp_path: Path) -> None:
    with pytest.raises(specs.SpecError, match=r"none\.toml: there is no such file$"):
        specs.read(tmp_path / "none.toml")
    with pytest.raises(specs.SpecError, match=r": is a folder; give a \.toml or \.json file$"):
        specs.read(tmp_path)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(51 * 10**6)
    with pytest.raises(specs.SpecError, match=r"large\.json: has 51 MB, and at most 50 are read"):
        specs.read(tmp_path / "large.json")


def test_lines_of_every_way_to_write_a_field() -> None:
    text = "\n".join([
        "# steps = 3", "", "steps = 1", "'a b'.c = 2  # a comment", "deep.er.est = {x = 1, y = [", "  2,", "]}",
        'text = """', "[model]", 'steps = 9"""', "[model] # here", "  use = 'M'", "", "[ model . data ]", "x = [",
        "  # nothing", "  [1, 2], # [model.data.y]", "  [3, 4],", "]", "y = 3", "[[runs]]", "a = 1", "[[runs]]",
        "a = 2", "[runs.inner]", "b = 1",
    ])  # fmt: skip
    expected: dict[tuple[Any, ...], int] = {
        ("steps",): 3, ("a b",): 4, ("a b", "c"): 4, ("deep", "er", "est", "y"): 5, ("deep", "er", "est", "y", 0): 5,
        ("text",): 8, ("model",): 11, ("model", "use"): 12, ("model", "data"): 14, ("model", "data", "x"): 15,
        ("model", "data", "x", 1, 0): 15, ("model", "data", "y"): 20, ("runs",): 21, ("runs", 0, "a"): 22,
        ("runs", 1): 23, ("runs", 1, "a"): 24, ("runs", 1, "inner", "b"): 26,
    }  # fmt: skip
    assert {field: toml_line(text, field) for field in expected} == expected
    assert toml_line(text, ("no",)) is None
    long = "[a]\nx = [\n" + "  [1.5, 2.5],\n" * 3000 + "]\ny = 1\n"
    assert (toml_line(long, ("a", "x")), toml_line(long, ("a", "y"))) == (2, 3004)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=15,
))  # fmt: skip
def test_lines_of_json(value: Any) -> None:
    """With one field to a line, the line of a field is the number of fields and brackets before it."""
    text = json.dumps({"top": value}, indent=1, ensure_ascii=False)
    lines = text.split("\n")

    def check(inner: Any, field: tuple[Any, ...]) -> None:
        line = json_line(text, field)
        assert line is not None
        shown = lines[line - 1].strip()
        if isinstance(field[-1], str):
            assert shown.startswith(json.dumps(field[-1], ensure_ascii=False) + ":")
        elif not isinstance(inner, list | dict):
            assert shown.rstrip(",") == json.dumps(inner, ensure_ascii=False)
        for key, entry in (
            inner.items() if isinstance(inner, dict) else enumerate(inner) if field and isinstance(inner, list) else ()
        ):
            check(entry, (*field, key))

    check(value, ("top",))


VALUES = st.sampled_from([
    "-1", "0", "1", "2.5", "1e308", "nan", "-inf", "true", "''", '"SGD"', '"LeastSquares"', '"lambda_max"', "[]", "{}",
    "[[0, 1]]", "[1, 2]", "[[]]", '{ file = "y.npy" }', '{ file = "junk.npy" }', '{ use = "GD" }', '{ use = "mlp" }',
    '{ sha256 = "00", shape = [1] }', "1979-05-27", str(2**70), '"os.system"', '"loss"', '["loss", "loss"]',
    "'\\u0000'",
])  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn, text: str) -> str:
    """A valid document with one to three accidents."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        accident = draw(st.sampled_from(["delete", "double", "swap", "value", "key", "letter"]))
        key, equals, _ = lines[at].partition(" = ")
        if accident == "delete" and len(lines) > 1:
            del lines[at]
        elif accident == "double":
            lines.insert(other, lines[at])
        elif accident == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif accident == "value" and equals:
            lines[at] = f"{key} = {draw(VALUES)}"
        elif accident == "key" and equals:
            lines[at] = f"{draw(st.sampled_from(['use', 'seed', 'x', key + 's', key[:-1], 'a.b']))} = 1"
        elif accident == "letter" and lines[at]:
            place = draw(st.integers(0, len(lines[at]) - 1))
            lines[at] = lines[at][:place] + draw(st.sampled_from("[]{}=\"'#.,x-0\t\u00e9")) + lines[at][place + 1 :]
    return "\n".join(lines)


def outcome(make: Any, path: Path) -> Any:
    """What a document gives: what it asks for, or one sentence about it."""
    try:
        made = make(specs.read(path))
    except specs.SpecError as problem:
        made = problem
    if isinstance(made, specs.SpecError):
        assert str(made).startswith(str(path))
        assert "\n" not in str(made)
    else:
        assert isinstance(made, specs.Simulation | specs.Card)
    return made


@given(st.data())
def test_an_accident_gives_a_run_or_one_sentence(folder: Path, data: st.DataObject) -> None:
    base, make = data.draw(
        st.sampled_from([(RECIPE, specs.simulation), (MODEL, specs.simulation), (CARD, specs.scorecard)])
    )
    path = written(folder, data.draw(mutants(base)), "mutant.toml")
    made = outcome(make, path)
    if isinstance(made, specs.SpecError) and made.field:
        assert made.line is not None
        assert 1 <= made.line <= len(path.read_text().split("\n"))


@given(st.data())
def test_an_accident_in_json_gives_a_run_or_one_sentence(folder: Path, data: st.DataObject) -> None:
    text = json.dumps(tomllib.loads(data.draw(st.sampled_from([RECIPE, MODEL]))), indent=1)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        letter = data.draw(st.sampled_from(["", '"', "{", "}", ",", "-", "null", "0", "\n"]))
        text = text[:place] + letter + text[place + 1 :]
    outcome(specs.simulation, written(folder, text, "mutant.json"))
