"""Nodes and identities: there and back without a lost bit, the same on every machine, and no way to anything else."""

from __future__ import annotations

import functools
import json
import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels import specs, testing
from sgdmodels.declarations import ROWS, example
from sgdmodels.errors import InvalidArgument
from sgdmodels.specs import names

from .cases import CASES

OWN = '''
"""Losses and dynamics of somebody's own."""
import os
from os import path
from subprocess import run as launch
from dataclasses import dataclass
import numpy as np
from sgdmodels import GD, Metric
from sgdmodels.models import LeastSquares
from sgdmodels.recipes import slow_tail_network


class Kept(LeastSquares):
    def __init__(self, inputs, targets, label, wide=(1, 2)):
        super().__init__(inputs, targets)
        self.label, self.wide = label, wide
        self.settings = {"label": label}


class Lost(LeastSquares):
    def __init__(self, inputs, targets, label):
        super().__init__(inputs, targets)


class Changed(LeastSquares):
    def __init__(self, inputs, targets, label):
        super().__init__(inputs, targets)
        self.label = label + 1
        self.settings = {"label": self.label}


class Anything(LeastSquares):
    def __init__(self, inputs, targets, *, maker):
        super().__init__(inputs, targets)
        self.maker = maker


class Spread(LeastSquares):
    def __init__(self, *arrays):
        super().__init__(*arrays)


class Failing(LeastSquares):
    def __init__(self, inputs, targets):
        raise RuntimeError("no luck\\ntoday")


class NoLoss:
    pass


@dataclass(frozen=True)
class Slow(GD):
    factor: float = 0.5


def squared_norm(snapshots):
    return (snapshots.theta**2).sum(axis=2)


SQUARED_NORM = Metric("squared_norm", "squared norm of the parameters", "1", squared_norm)


def shifted(seed, *, shift=1.0, samples=10):
    return slow_tail_network(seed, samples=samples)


def seedless():
    return shifted(0)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module outside of the package, importable by name."""
    (tmp_path / "own_losses_of_a_lab.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    yield importlib.import_module("own_losses_of_a_lab")
    del sys.modules["own_losses_of_a_lab"]


def there_and_back(thing: Any, trusted: tuple[str, ...] = ()) -> Any:
    """What is built from the JSON text of a node."""
    arrays: dict[str, Any] = {}
    node = specs.node(thing, arrays)
    read = json.loads(json.dumps(node))
    again = specs.build(read, arrays, trusted)
    assert specs.node(again, {}) == node == read
    assert specs.identity(read) == specs.identity(node)
    return again


def same_run(one: tuple[Any, Any], other: tuple[Any, Any], init: np.ndarray) -> None:
    """50 steps of two pairs of loss and dynamics agree bit for bit, or both are refused alike."""
    outcomes = []
    for model, dynamics in (one, other):
        try:
            run = sm.simulate(
                model, dynamics, 50, init, record_every=25, metrics=("loss",), keep_params=True, threads=1
            )
            outcomes.append((run.params.values.tobytes(), run.loss.values.tobytes(), run.attrs["identity"]))
        except InvalidArgument as problem:
            outcomes.append((str(problem),))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", CASES)
def test_every_loss_there_and_back(name: str) -> None:
    model = CASES[name](0).model
    again = there_and_back(model)
    theta = 0.3 * np.random.default_rng(1).standard_normal(model.dim)
    assert again is not model
    assert again.describe() == model.describe()
    assert again.sample_losses(theta).tobytes() == model.sample_losses(theta).tobytes()
    same_run((model, sm.SGD(0.01, 2)), (again, sm.SGD(0.01, 2)), theta)


@pytest.mark.parametrize(("kind", "arguments"), ROWS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_every_dynamics_there_and_back(kind: Any, arguments: dict[str, Any]) -> None:
    dynamics = example(kind, arguments)
    again = there_and_back(dynamics)
    assert type(again) is kind
    assert again.describe() == dynamics.describe()
    recipe = sm.recipes.slow_tail_network(0, samples=12, head=3, tail=1)
    same_run((recipe.model, dynamics), (recipe.model, again), recipe.init)


def test_all_arguments_of_a_dynamics_are_written_out() -> None:
    for kind, arguments in ROWS:
        assert set(specs.node(example(kind, arguments), {})) == {"use", *(f.name for f in fields(kind))}


def test_defaults_schedules_and_numpy_numbers_give_one_node() -> None:
    nodes = [
        specs.node(dynamics, {})
        for dynamics in (
            sm.SDE(0.5, [(0, 8), (100, 2)]),
            sm.SDE(np.float32(0.5), np.array([[0, 8], [100, 2]]), substeps=np.int64(10), integrator="euler"),
            sm.SDE(step_size=0.5, batch_size=((0, 8), (100, 2)), order=1, sampling="without_replacement"),
        )
    ]
    assert nodes[0] == nodes[1] == nodes[2]
    assert nodes[0]["batch_size"] == [[0, 8], [100, 2]]
    assert type(nodes[1]["step_size"]) is float
    assert type(nodes[1]["substeps"]) is int


def test_a_point_of_linearisation_is_an_array() -> None:
    arrays: dict[str, Any] = {}
    dynamics = sm.OrnsteinUhlenbeck(0.1, 2, point=[1.0, 2.0])
    node = specs.node(dynamics, arrays)
    assert node["point"] == {"sha256": specs.array_sha256(np.array([1.0, 2.0])), "shape": [2]}
    assert specs.build(node, arrays).point.tolist() == [1.0, 2.0]


def test_formulas_keep_the_order_of_their_parameters_and_their_exact_numbers() -> None:
    import sympy as sp

    u, v, x = sp.symbols("u v x")
    data = [[1.0, 2.0], [0.5, -1.0]], [3.0, 1.0]
    third = sm.SymbolicModel.separable(sp.Float(1 / 3) * sp.tanh(v) * u * x, (v, u), *data, constants={})
    theta = np.array([0.3, 0.1, 0.7, -0.2])
    exact = 0.5 * (np.array(data[0]) @ (1 / 3 * np.tanh(theta[:2]) * theta[2:]) - np.array(data[1])) ** 2
    np.testing.assert_allclose(third.sample_losses(theta), exact, rtol=1e-14)
    assert there_and_back(third).sample_losses(theta).tobytes() == third.sample_losses(theta).tobytes()
    pair = {"a": 2, "b": ()}
    one = sm.SymbolicModel("(b*sum(a[j], j) - 1)**2", parameters=pair)
    other = sm.SymbolicModel("(b*sum(a[j], j) - 1)**2", parameters=dict(reversed(pair.items())))
    assert specs.identity(specs.node(one, {})) != specs.identity(specs.node(other, {}))
    for model in (one, other):
        assert list(there_and_back(model).definition.parameters) == list(model.definition.parameters)


@pytest.mark.parametrize(
    "loss",
    ["log(1 + exp(-p*y))", "logcosh(p - y)", "abs(p - y)", "max(p - y, 0, y)", "where(p > y, (p - y)**2, p - y)",
     "sqrt(1 + (p - y)**2)", "erf(p) + sigmoid(y)*softplus(p)", "relu(p)**2 - sign(y)*p/pi", "exp(p)*1e-30 + 0.1*p**3"],
)  # fmt: skip
def test_every_function_of_the_grammar_there_and_back(loss: str) -> None:
    data = {"x": np.arange(6.0).reshape(3, 2), "y": np.array([0.5, -1.0, 2.0])}
    there_and_back(sm.SymbolicModel(loss, predictor="sum(w[j]*x[j], j)", parameters={"w": 2}, data=data))


def test_metrics_are_their_names(own: Any) -> None:
    for metric in sm.METRICS:
        assert specs.node(metric, {}) == metric.name
        assert specs.build(metric.name, {}) is metric
    node = specs.node(own.SQUARED_NORM, {})
    assert node == {"use": "own_losses_of_a_lab.SQUARED_NORM"}
    assert specs.build(node, {}, ["own_losses_of_a_lab"]) is own.SQUARED_NORM
    with pytest.raises(specs.SpecError, match="did you mean 'lambda_max'"):
        specs.build("lamda_max", {})


def test_recipes_are_functions_with_their_arguments(own: Any) -> None:
    node = specs.node(sm.recipes.slow_tail_network, {})
    assert node["use"] == "sgdmodels.recipes.slow_tail_network"
    assert node["samples"] == 100
    assert "seed" not in node
    assert specs.node(functools.partial(sm.recipes.slow_tail_network, samples=100), {}) == node
    fewer = functools.partial(sm.recipes.slow_tail_network, samples=np.int64(30), label_noise=0.5)
    built = there_and_back(fewer)
    assert built(seed=5).model.data[0].tobytes() == fewer(5).model.data[0].tobytes()
    assert specs.node(functools.partial(own.shifted, 3), {}) == {
        "use": "own_losses_of_a_lab.shifted", "shift": 1.0, "samples": 10, "seed": 3,
    }  # fmt: skip
    with pytest.raises(specs.SpecError, match="an argument 'seed'"):
        specs.node(own.seedless, {})


def test_network_recipes_there_and_back() -> None:
    networks = pytest.importorskip("sgdmodels.networks")
    recipe = functools.partial(
        networks.recipes.random_label_digits, samples=20, hidden=(4,), loss=networks.losses.cross_entropy,
        accuracy=networks.Accuracy(probes=4), random_labels=0,
    )  # fmt: skip
    ours, again = recipe(1), there_and_back(recipe)(seed=1)
    assert again.probe.loss_function is networks.losses.cross_entropy
    assert again.probe.accuracy == ours.probe.accuracy
    assert again.init.tobytes() == ours.init.tobytes()
    assert again.probe.sample_losses(ours.init).tobytes() == ours.probe.sample_losses(ours.init).tobytes()
    with pytest.raises(specs.SpecError, match="pass a recipe function"):
        specs.node(ours.probe, {})


def test_a_probe_from_nested_nodes() -> None:
    pytest.importorskip("torch")
    arrays: dict[str, Any] = {}
    nodes = [specs.array_node(np.ones((3, n)), arrays) for n in (2, 1)]
    probe = specs.build(
        {"use": "Probe", "net": {"use": "mlp", "sizes": [2, 3, 1], "seed": 0}, "loss": {"use": "squared_error"},
         "inputs": nodes[0], "targets": nodes[1]}, arrays,
    )  # fmt: skip
    assert (probe.samples, probe.dim) == (3, 13)
    with pytest.raises(specs.SpecError, match=r"net\.seeds: unknown key; did you mean 'seed'"):
        specs.build(
            {"use": "Probe", "net": {"use": "mlp", "sizes": [2, 1], "seeds": 0}, "loss": {"use": "squared_error"},
             "inputs": nodes[0], "targets": nodes[1]}, arrays,
        )  # fmt: skip


def test_a_loss_of_somebodys_own_there_and_back(own: Any) -> None:
    model = own.Kept(np.eye(3), np.ones(3), "mine", wide=(3, 4))
    again = there_and_back(model, ("own_losses_of_a_lab",))
    assert (type(again), again.label, again.wide) == (own.Kept, "mine", [3, 4])
    assert there_and_back(own.Slow(0.5, factor=0.25), ("own_losses_of_a_lab",)) == own.Slow(0.5, factor=0.25)


def test_what_has_no_node_says_what_to_do(own: Any) -> None:
    class Local(sm.models.LeastSquares):
        pass

    data = (np.eye(3), np.ones(3))
    in_main = type("InMain", (sm.models.LeastSquares,), {"__module__": "__main__"})
    cases = [
        (Local(*data), "inside a function"),
        (in_main(*data), "__main__.*put it into a module"),
        (own.Lost(*data, "x"), r"label.*set self\.label"),
        (own.Changed(*data, 1), "not the same"),
        (own.Anything(*data, maker=object()), "maker: a spec holds text"),
        (own.Spread(*data), "by name"),
        (sm.Metric("mine", "mine", "1", lambda snapshots: snapshots.theta.sum(2)), "top level of the module"),
        (lambda seed: None, "inside a function"),
        (functools.partial(np.linalg.norm), "plain function|no public part|argument 'seed'"),
        (functools.partial(sm.recipes.slow_tail_network, sample=3), "cannot be called so"),
        (functools.partial(sm.recipes.slow_tail_network, label_noise=np.nan), "label_noise: .*finite"),
        (object(), "must be a loss"),
        (sm.recipes.slow_tail_network(0), "no public part"),
    ]
    for thing, message in cases:
        with pytest.raises(specs.SpecError, match=message):
            specs.node(thing, {})


@given(st.data())
def test_losses_and_dynamics_of_any_kind_there_and_back(data: st.DataObject) -> None:
    model = data.draw(testing.models())
    dynamics = data.draw(testing.dynamics(model))
    again, same = there_and_back(model), there_and_back(dynamics)
    for one, other in zip(model.data, again.data, strict=True):
        assert one.tobytes() == other.tobytes()
    assert again.describe() == model.describe()
    assert same.describe() == dynamics.describe()


def test_an_identity_is_the_same_in_every_process() -> None:
    program = (
        "import numpy as np, sgdmodels as sm\n"
        "from sgdmodels import specs\n"
        "model = sm.models.LeastSquares(np.arange(6.0).reshape(3, 2) / 7, np.ones(3))\n"
        "print(specs.identity([specs.node(model, {}), specs.node(sm.SDE(0.1, 2), {}), {'b': 0.1, 'a': {2**64 - 1}}]))"
    ).replace("{2**64 - 1}", str(2**64 - 1))
    found = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        found.add(done.stdout.strip() or done.stderr)
    assert len(found) == 1
    assert len(found.pop()) == 64


def test_identities_differ_when_one_argument_does() -> None:
    base = sm.SDE(0.1, 8)
    changes: dict[str, Any] = {
        "step_size": 0.1 + 2**-53, "batch_size": 9, "order": 2, "substeps": 11, "integrator": "heun",
        "sampling": "epoch", "refinement": 2,
    }  # fmt: skip
    assert set(changes) == {f.name for f in fields(base)}
    found = {specs.identity(specs.node(d, {})) for d in (base, *(replace(base, **{k: v}) for k, v in changes.items()))}
    assert len(found) == 1 + len(changes)
    x = np.arange(6.0).reshape(3, 2)
    losses = [
        sm.models.LeastSquares(x, np.ones(3)), sm.models.LeastSquares(x + np.spacing(x), np.ones(3)),
        sm.models.LeastSquares(x, np.array([1.0, 1.0, 2.0])), sm.models.DiagonalNetwork(x, np.ones(3)),
        sm.models.DiagonalNetwork(x, np.ones(3), depth=3), sm.models.DiagonalNetwork(x, np.ones(3), form="difference"),
        sm.models.LinearNetwork(x, np.ones(3)), sm.models.LeastSquares(x.reshape(2, 3), np.ones(2)),
    ]  # fmt: skip
    assert len({specs.identity(specs.node(model, {})) for model in losses}) == len(losses)


def test_equal_numbers_have_one_identity_and_only_plain_data_has_any() -> None:
    assert specs.identity({"a": 1.0, "b": (2,)}) == specs.identity({"b": [2.0], "a": 1})
    assert specs.identity(True) != specs.identity(1)
    assert specs.identity(2**60) != specs.identity(2**60 + 1)
    assert specs.identity("1") != specs.identity(1)
    assert specs.identity("\ud800") == specs.identity("\ud800")  # half a character, as JSON may hold it
    for bad, message in (
        ({"a": [np.nan]}, r"a\.0: numbers must be finite"), ({"a": {1, 2}}, "a: must be plain"), ({1: 2}, "plain data"),
    ):  # fmt: skip
        with pytest.raises(specs.SpecError, match=message):
            specs.identity(bad)


def test_short_and_full_names_give_one_identity() -> None:
    nodes: list[dict[str, Any]] = [
        {"use": "SGD", "step_size": 1, "batch_size": 8},
        {"use": "sgdmodels.dynamics.SGD", "batch_size": 8, "step_size": 1.0, "momentum": 0},
        {"use": "sgdmodels.SGD", "batch_size": 8, "step_size": 1.0, "nesterov": False},
    ]
    assert len({specs.identity(specs.node(specs.build(node, {}), {})) for node in nodes}) == 1


def test_no_short_name_is_taken_twice() -> None:
    pytest.importorskip("torch")
    spaces = [names.members(space) for space in (*names.LIGHT, *names.SYMBOLIC, *names.NETWORKS)]
    assert len(set().union(*spaces)) == sum(map(len, spaces))
    assert set(names.members("dynamics")) == {kind.__name__ for kind, _ in ROWS}


ATTACKS = [
    "os.system", "builtins.eval", "subprocess.run", "sgdmodels.models.base.np.load", "sgdmodels.models.np",
    "__import__", "sgdmodels.errors.SpecError", "sgdmodels.errors.re.compile", "sgdmodels.models.Model",
    "sgdmodels.models.base.Model", "sgdmodels.dynamics.Declaration", "sgdmodels.dynamics.SGD.plan", "SGD.plan",
    "SGD.__init__", ".models.LeastSquares", "..models", "sgdmodels..models", "sgdmodels.", ".", "", " SGD",
    "SGD\n", "sgdmodels.__loader__", "sgdmodels.cli.app", "sgdmodels.recipes.np", "sgdmodels.recipes.Recipe",
    "sgdmodels.recipes.integer", "sgdmodels.simulate", "sgdmodels.networks.nets.torch.load",
    "sgdmodels.networks.recipes.torch", "sgdmodels.networks.losses._same_shape", "sgdmodels.networks.Monitor",
    "sgdmodels.networks.recipes.centred_with_unit_mean_square", "sgdmodels.symbolic.parse",
    "sgdmodels.specs.build", "sgdmodels.symbolic.sp", "sgdmodels.testing.models", "\uff53gdmodels.dynamics.SGD",
    "S" * 10**5, None, 3, ["SGD"], {"use": "SGD"}, b"SGD",
]  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS, ids=lambda name: repr(name)[:40])
def test_nothing_else_can_be_named(name: Any) -> None:
    before = set(sys.modules)
    with pytest.raises(specs.SpecError) as caught:
        specs.build({"use": name, "step_size": 0.1, "batch_size": 1}, {})
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)
    outside = {new.partition(".")[0] for new in set(sys.modules) - before} & {"os", "subprocess", "builtins"}
    assert not outside


def test_what_is_not_trusted_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_package.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"use": "hostile_package.Loss"}
    with pytest.raises(specs.SpecError, match=r"'hostile_package' is not trusted.*trusted=\['hostile_package'\]"):
        specs.build(node, {}, ("hostile", "host", "package"))
    assert "hostile_package" not in sys.modules


def test_a_trusted_module_gives_only_what_it_defines_itself(own: Any) -> None:
    module = "own_losses_of_a_lab"
    for name, message in {
        "os": "must be a loss", "path": "must be a loss", "launch": "defined in subprocess", "np": "must be a loss",
        "NoLoss": "must be a loss", "LeastSquares": r"defined in sgdmodels\.", "Keptt": "did you mean 'Kept'",
        "os.system": "cannot be imported", "path.join": "cannot be imported", "__builtins__": "must be a name",
    }.items():  # fmt: skip
        with pytest.raises(specs.SpecError, match=message):
            specs.build({"use": f"{module}.{name}"}, {}, module)
    with pytest.raises(specs.SpecError, match="cannot be made: RuntimeError: no luck today"):
        specs.build({"use": f"{module}.Failing", "inputs": [[1.0]], "targets": [1.0]}, {}, [module])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"use": "SGD", "step_size": -1, "batch_size": 2}, r"^step_size: must be finite, > 0, got -1\.0$"),
        ({"use": "SGD", "step_size": 1}, "^missing 'batch_size'$"),
        ({"use": "SGD", "step_size": 1, "batch_size": 2, "moment": 1}, "^moment: unknown key; did you mean 'momentum'"),
        ({"use": "SGD", "step_size": 1, "batch_size": 2, "nesterov": True}, "^nesterov: nesterov=True needs momentum"),
        ({"use": "SGD", "step_size": [[0, 0.1], [5, "x"]], "batch_size": 2}, "^step_size: must be a number, got 'x'$"),
        ({"use": "SDE", "step_size": 1, "batch_size": 2, "order": 3}, "^order: must be 1 or 2, got 3"),
        ({"use": "LeastSquares", "inputs": [[1]], "targets": [1, 2]}, r"^targets: must have shape \(1,\), got \(2,\)"),
        ({"use": "LeastSquares", "inputs": {"sha256": "ab", "shape": [1]}, "targets": [1]}, "^inputs: the array with"),
        ({"use": "LeastSquares", "inputs": {"file": "x.npy"}, "targets": [1]}, "^inputs: "),
        ({"step_size": 1}, "a key 'use'"),
        ([1], "a key 'use'"),
    ],
)
def test_wrong_arguments_are_named(node: Any, message: str) -> None:
    with pytest.raises(specs.SpecError, match=message):
        specs.build(node, {})


def test_a_damaged_array_is_noticed() -> None:
    arrays: dict[str, Any] = {}
    node = specs.node(sm.models.LeastSquares(np.eye(2), np.ones(2)), arrays)
    key = node["inputs"]["sha256"]
    for damaged in (np.eye(2) * 2, np.eye(2).ravel(), np.eye(2).T[::-1]):
        with pytest.raises(specs.SpecError, match=r"inputs: .*damaged"):
            specs.build(node, {**arrays, key: damaged})
    assert specs.array_sha256(np.asfortranarray(np.eye(3)[:2])) == specs.array_sha256(np.eye(3)[:2])
    with pytest.raises(specs.SpecError, match="must be float64"):
        specs.array_node(np.arange(3), {})


def test_a_spec_error_survives_the_way_between_processes() -> None:
    error = specs.SpecError("must be a\nnumber", ("a", 0, "b.c"), line=3, file="x.toml")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "x.toml, line 3, a.0.'b.c': must be a number"
    assert (again.what, again.field, again.line, again.file) == ("must be a number", ("a", 0, "b.c"), 3, "x.toml")


def test_a_stored_run_names_its_spec(own: Any) -> None:
    model = sm.models.LeastSquares(np.eye(3), np.ones(3))
    arguments: dict[str, Any] = {"replicas": 2, "metrics": ("loss", own.SQUARED_NORM), "threads": 1}
    run = sm.simulate(model, sm.SGD(0.1, 1), 5, np.zeros(3), **arguments)
    spec = json.loads(run.attrs["spec"])
    assert spec["model"] == specs.node(model, {})
    assert spec["dynamics"] == specs.node(sm.SGD(0.1, 1), {})
    assert spec["metrics"] == ["loss", {"use": "own_losses_of_a_lab.SQUARED_NORM"}]
    assert run.attrs["identity"] == specs.identity(spec)
    copy = sm.models.LeastSquares(np.eye(3), np.ones(3))
    assert sm.simulate(copy, sm.SGD(0.1, 1), 5, np.zeros(3), **arguments).attrs["spec"] == run.attrs["spec"]
    others = [
        sm.simulate(model, sm.SGD(0.1, 2), 5, np.zeros(3), **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 6, np.zeros(3), **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 5, np.ones(3), **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 5, np.zeros(3), seed=1, **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 5, np.zeros(3), record_every=2, **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 5, np.zeros(3), keep_params=True, **arguments),
        sm.simulate(model, sm.SGD(0.1, 1), 5, np.zeros(3), **(arguments | {"replicas": [0, 2]})),
    ]
    assert len({run.attrs["identity"], *(other.attrs["identity"] for other in others)}) == 1 + len(others)


def test_a_trained_network_names_its_run() -> None:
    torch = pytest.importorskip("torch")
    from sgdmodels.networks import Probe, losses, train

    found = []
    for scale in (1.0, 1.0, 2.0):
        net = torch.nn.Linear(1, 1, bias=False).double()
        torch.nn.init.ones_(net.weight)
        probe = Probe(net, losses.squared_error, torch.full((4, 1), scale), torch.zeros(4, 1))
        run = train(net, probe, sm.GD(0.5), steps=3, record_every=1, metrics=("loss",))
        assert json.loads(run.attrs["spec"])["model"]["use"] == "sgdmodels.networks.probe.Probe"
        found.append(run.attrs["identity"])
    assert found[0] == found[1] != found[2]


def test_a_broken_loss_costs_no_run() -> None:
    class Broken(sm.models.LeastSquares):
        def arguments(self) -> dict[str, Any]:
            raise RuntimeError("nobody asked before")

        def describe(self) -> dict[str, Any]:
            return {**super().describe(), "unknown": np.nan}

    with pytest.raises(specs.SpecError):
        specs.node(Broken(np.eye(2), np.ones(2)), {})
    run = sm.simulate(Broken(np.eye(2), np.ones(2)), sm.GD(0.1), 1, np.zeros(2), threads=1)
    assert len(run.attrs["identity"]) == 64


def test_a_run_of_a_loss_without_a_node_has_an_identity_all_the_same() -> None:
    class Local(sm.models.LeastSquares):
        pass

    def identity(targets: np.ndarray, metric: float) -> str:
        mine = sm.Metric("mine", "mine", "1", lambda snapshots: snapshots.theta.sum(axis=2))
        run = sm.simulate(Local(np.eye(3), targets), sm.GD(metric), 1, np.zeros(3), metrics=[mine], threads=1)
        assert json.loads(run.attrs["spec"])["model"]["describe"]["name"] == "Local"
        return str(run.attrs["identity"])

    assert identity(np.ones(3), 0.1) == identity(np.ones(3), 0.1) != identity(np.zeros(3), 0.1)
