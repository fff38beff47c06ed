"""Training: ensembles that step together, divergence, checkpoints, and what the rest of the package makes of it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sgdmodels as sm
from sgdmodels import run_file
from sgdmodels.errors import InvalidArgument
from sgdmodels.networks import Accuracy, Probe, losses, nets, train
from sgdmodels.networks.data.teachers import teacher_regression

from .network_twins import DeepLinearPredictor, twins


def made(dtype: torch.dtype = torch.float64, sizes: tuple[int, ...] = (6, 5, 1), kind: str = "chain") -> Probe:
    """A small MLP on a teacher's outputs; `kind` "module" hides from the probe that it is a chain."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((20, sizes[0]))
    y = np.tanh(x[:, :1]) + 0.3 * rng.standard_normal((20, sizes[-1]))
    net: torch.nn.Module = nets.mlp(list(sizes), "tanh", seed=1, dtype=dtype)
    if kind == "module":
        net = Wrapped(net)
    return Probe(net, losses.squared_error, x, y)


class Wrapped(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize("kind", ["chain", "module"])
def test_an_ensemble_is_its_members_one_by_one(kind: str) -> None:
    probe = made(kind=kind)
    members = {
        "small steps": sm.SGD(0.05, 4),
        "large steps": sm.SGD(0.2, 4),
        "large batch": sm.SGD(0.2, 7),
        "GD": sm.GD(0.2),
    }
    common: dict[str, Any] = {"steps": 130, "record_every": 40, "metrics": ("loss", "lambda_max"), "batch_size": 4}
    together = train(probe.net, probe, members, replicas=[5, 2], seed=7, keep_params=True, **common)
    assert together.params.dims == ("dynamics", "replica", "step", "parameter")
    for name, dynamics in members.items():
        for replica in (5, 2):
            alone = sm.simulate(
                probe, dynamics, init=probe.parameters(), replicas=[replica], seed=7, keep_params=True, **common
            )
            mine = together.sel(dynamics=name, replica=replica)
            np.testing.assert_allclose(mine.params, alone.params[0], rtol=0, atol=1e-12)
            np.testing.assert_allclose(mine.lambda_max, alone.lambda_max[0], rtol=1e-5)
    np.testing.assert_array_equal(together.step_size.sel(dynamics="small steps"), 0.05)


def test_training_starts_at_the_network_and_leaves_the_result_in_it() -> None:
    probe = made(torch.float32)
    start = probe.parameters()
    run = train(probe.net, probe, sm.SGD(0.1, 4), steps=50, record_every=25, metrics=("loss",), keep_params=True)
    np.testing.assert_array_equal(run.params[0, 0], start)
    np.testing.assert_array_equal(run.params[0, -1], probe.parameters())
    assert run.loss[0, -1] == probe.measure(metrics="loss").loss


def test_an_ensemble_leaves_the_network_alone() -> None:
    probe = made()
    start = probe.parameters()
    train(probe.net, probe, sm.SGD(0.1, 4), steps=10, replicas=2, metrics=("loss",))
    np.testing.assert_array_equal(probe.parameters(), start)


@pytest.mark.parametrize("kind", ["chain", "module"])
def test_a_member_that_diverges_changes_no_other(kind: str) -> None:
    probe = made(kind=kind)
    common: dict[str, Any] = {"steps": 192, "record_every": 16, "metrics": ("loss",), "keep_params": True}
    both = train(probe.net, probe, {"wild": sm.SGD(50.0, 4), "tame": sm.SGD(0.1, 4)}, **common)
    alone = train(probe.net, probe, {"tame": sm.SGD(0.1, 4)}, **common)
    when = float(both.diverged_at.sel(dynamics="wild")[0])
    assert 1 <= when <= 64
    wild = both.params.sel(dynamics="wild")[0]
    assert wild.sel(step=slice(when, None)).isnull().all()
    assert wild.sel(step=slice(0, when - 1)).notnull().all()
    assert both.diverged_at.sel(dynamics="tame").isnull().all()
    np.testing.assert_allclose(both.params.sel(dynamics="tame"), alone.params.sel(dynamics="tame"), rtol=0, atol=1e-13)
    np.testing.assert_allclose(both.loss.sel(dynamics="tame"), alone.loss.sel(dynamics="tame"), rtol=1e-12)


def test_divergence_in_single_precision_is_data_too() -> None:
    probe = made(torch.float32)
    run = train(probe.net, probe, sm.SGD(1e4, 2), steps=128, record_every=64, metrics=("loss", "lambda_max"))
    assert run.diverged_at.notnull().all()
    assert run.loss[0, 1:].isnull().all()
    assert np.isfinite(probe.parameters()).all()  # the network was not touched


ENSEMBLE = {
    "b = 3": sm.SGD(0.2, 3, sampling="epoch"),
    "momentum": sm.SGD(0.05, 4, momentum=0.9),
    "wild": sm.SGD(50.0, 4),
}
RUN: dict[str, Any] = {
    "steps": 700, "record_every": 30, "replicas": 2, "seed": 11, "keep_params": True,
    "metrics": ("loss", "batch_sharpness", "lambda_max", "batch_sharpness_mean_ratio"),
}  # fmt: skip


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(made().net, made(), ENSEMBLE, **RUN)
    file = tmp_path / "run.npz"
    saved = []
    original = run_file.save

    def save_and_die(path: Any, runs: Any, border: Any, identity: Any) -> None:
        original(path, runs, border, identity)
        saved.append(border.step)
        if len(saved) == 3:
            raise MemoryError("killed")  # not caught by anything, as a kill is not

    monkeypatch.setattr(run_file, "save", save_and_die)
    with pytest.raises(MemoryError, match="killed"):
        train(made().net, made(), ENSEMBLE, checkpoint=file, checkpoint_seconds=0.0, **RUN)
    assert 64 < saved[-1] < 700
    monkeypatch.setattr(run_file, "save", original)
    resumed = train(made().net, made(), ENSEMBLE, checkpoint=file, **RUN)
    assert resumed.drop_attrs().equals(whole.drop_attrs())
    again = train(made().net, made(), ENSEMBLE, checkpoint=file, **RUN)  # finished: nothing is left to do
    assert again.drop_attrs().equals(whole.drop_attrs())


def test_a_checkpoint_of_another_run_is_a_named_conflict(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    common: dict[str, Any] = {"record_every": 8, "metrics": ("loss",), "checkpoint": file}
    probe = made()
    start = probe.parameters()
    train(probe.net, probe, {"one": sm.SGD(0.1, 4)}, steps=64, init=start, **common)
    with pytest.raises(InvalidArgument, match=r"another run.*step_size is 0.1, here 0.2"):
        train(probe.net, probe, {"one": sm.SGD(0.2, 4)}, steps=64, init=start, **common)
    with pytest.raises(InvalidArgument, match=r"another run.*seed is 0, here 1"):
        train(probe.net, probe, {"one": sm.SGD(0.1, 4)}, steps=64, init=start, seed=1, **common)
    other = Probe(probe.net, lambda f, y: 2 * losses.squared_error(f, y), probe.inputs, probe.targets)
    with pytest.raises(InvalidArgument, match=r"another run.*model.loss"):
        train(probe.net, other, {"one": sm.SGD(0.1, 4)}, steps=64, init=start, **common)
    finer = Probe(probe.net, losses.squared_error, probe.inputs, probe.targets, accuracy=Accuracy(subset=5))
    with pytest.raises(InvalidArgument, match=r"another run.*accuracy.subset is None, here 5"):
        train(probe.net, finer, {"one": sm.SGD(0.1, 4)}, steps=64, init=start, **common)
    whole = file.read_bytes()
    for broken in (b"not an archive", whole[: len(whole) // 2], whole.replace(b"theta", b"thema"), b""):
        file.write_bytes(broken)
        with pytest.raises(InvalidArgument, match=r"is damaged"):
            train(probe.net, probe, {"one": sm.SGD(0.1, 4)}, steps=64, init=start, **common)


def test_a_checkpoint_with_pickled_objects_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    np.savez(file, step=np.array([{"an": "object"}], dtype=object))
    probe = made()
    with pytest.raises(InvalidArgument, match="cannot be read"):
        train(probe.net, probe, sm.SGD(0.1, 4), steps=64, metrics=("loss",), checkpoint=file)


def test_ctrl_c_leaves_records_file_and_network_at_one_border(tmp_path: Path) -> None:
    """What is returned, what is on disk and what is in the network agree, and the run can go on."""
    file, probe = tmp_path / "run.npz", made()
    calls = []

    def pressed(points: Any) -> Any:
        calls.append(points.steps.tolist())
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.zeros(points.shape)

    metrics = ("loss", sm.Metric("pressed", "when Ctrl-C comes", "1", pressed))
    common: dict[str, Any] = {"steps": 6400, "record_every": 64, "metrics": metrics, "keep_params": True}
    run = train(probe.net, probe, sm.SGD(0.1, 4), checkpoint=file, init=probe.parameters(), **common)
    assert run.attrs["interrupted"] == 1
    assert 0 < run.sizes["step"] < 101
    np.testing.assert_array_equal(probe.parameters(), run.params[0, -1])
    start = run.params.values[0, 0]
    resumed = train(probe.net, probe, sm.SGD(0.1, 4), checkpoint=file, init=start, **common)
    whole = train(made().net, made(), sm.SGD(0.1, 4), init=start, **common)
    assert resumed.drop_attrs().equals(whole.drop_attrs())


def test_a_place_that_cannot_be_written_is_found_out_before_the_first_step(tmp_path: Path) -> None:
    probe = made()
    start = probe.parameters()
    for place, words in ((tmp_path / "missing" / "run.npz", "cannot be written"), (5, "path of a file")):
        with pytest.raises(InvalidArgument, match=words):
            train(probe.net, probe, sm.SGD(0.1, 4), steps=64, checkpoint=place)  # type: ignore[arg-type]
    np.testing.assert_array_equal(probe.parameters(), start)


def test_a_full_disk_is_a_warning_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, original = made(), run_file.save

    def full(path: Any, runs: Any, border: Any, identity: Any) -> None:
        if border.step > 0:
            raise OSError(28, "No space left on device")
        original(path, runs, border, identity)

    monkeypatch.setattr(run_file, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        run = train(probe.net, probe, sm.SGD(0.1, 4), steps=200, metrics=("loss",), checkpoint=tmp_path / "run.npz")
    assert run.loss[0, -1].notnull()
    assert list(tmp_path.iterdir()) == [tmp_path / "run.npz"]  # no half-written file is left


def test_padding_of_a_narrow_member_is_never_a_sample_it_did_not_draw() -> None:
    """Sample 0 overflows; a member that never draws it must not hear of it from a wider neighbour."""
    net = torch.nn.Linear(1, 1, bias=False).double()
    x = np.linspace(0.1, 1, 12)[:, None].copy()
    x[0] = 600.0
    torch.nn.init.constant_(net.weight, 1.0)
    probe = Probe(net, lambda f, y: (f.exp() - y * f).reshape(-1), x, np.ones((12, 1)))
    common: dict[str, Any] = {
        "steps": 3,
        "record_every": 1,
        "metrics": (),
        "init": np.array([1.3]),
        "keep_params": True,
    }
    alone = train(net, probe, {"b = 2": sm.SGD(1e-3, 2)}, seed=2, **common)
    both = train(net, probe, {"b = 3": sm.SGD(1e-3, 3), "b = 2": sm.SGD(1e-3, 2)}, seed=2, **common)
    assert alone.params.notnull().all()
    np.testing.assert_array_equal(both.params.sel(dynamics="b = 2"), alone.params.sel(dynamics="b = 2"))


class Swapped(torch.nn.Module):
    """The layers of `made` in another order of registration."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        for k in (2, 0):
            self.add_module(str(k), net[k])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule("2")(torch.tanh(self.get_submodule("0")(x)))


def test_another_network_is_never_taken_for_the_probes() -> None:
    probe = made()
    relu = nets.mlp([6, 5, 1], "relu", seed=1, dtype=torch.float64)
    for net, words in ((Swapped(probe.net), "same order"), (relu, "not its outputs"), ("net", "torch.nn.Module")):
        with pytest.raises(InvalidArgument, match=words):
            train(net, probe, sm.SGD(0.1, 4), steps=64, init=probe.parameters())  # type: ignore[arg-type]


def test_large_seeds_and_the_provenance_of_ensembles() -> None:
    probe = made()
    run = train(probe.net, probe, ENSEMBLE, steps=4, seed=2**64 - 1, metrics=("batch_sharpness_mean_ratio", "ias"))
    described = json.loads(run.attrs["dynamics"])
    assert described["momentum"]["momentum"] == 0.9
    assert json.loads(run.attrs["model"])["torch_version"] == torch.__version__


def test_compiled_ensembles_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiler's front end alone: its back end needs a C++ compiler and half a minute."""
    front = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", front)
    plain, net = made(kind="module"), made(kind="module").net
    compiled = Probe(net, losses.squared_error, plain.inputs, plain.targets, compiled=True)
    one, other = (
        train(probe.net, probe, sm.SGD(0.1, 4), steps=20, replicas=3, metrics=("loss",)) for probe in (plain, compiled)
    )
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-12)


def test_interventions_and_comparisons_take_a_probe() -> None:
    model, probe, theta = twins("linear")
    plain, smaller = sm.SGD(0.1, 4), sm.SGD(0.1, 2)
    common: dict[str, Any] = {"at": 64, "steps": 40, "init": theta, "replicas": 2, "record_every": 10}
    one, other = (sm.fork(loss, plain, {"b = 2": smaller}, **common) for loss in (model, probe))
    for name in ("loss", "batch_sharpness"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-8)
    np.testing.assert_allclose(other.lambda_max, one.lambda_max, rtol=1e-3)
    one, other = (sm.edge_test(loss, plain, at=64, init=theta, steps=30, replicas=3) for loss in (model, probe))
    np.testing.assert_allclose(other.spike_ratio, one.spike_ratio, rtol=1e-8)
    one, other = (
        sm.compare(loss, plain, [sm.NoisyGD(0.1, 4)], 64, theta, replicas=8, snapshots=2, permutations=9)
        for loss in (model, probe)
    )
    np.testing.assert_allclose(other.weak_error, one.weak_error, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dynamics": sm.CentralFlow(0.1)}, "dense Hessians"),
        ({"dynamics": []}, "several|a list"),
        ({"dynamics": "SGD"}, "dynamics must be"),
        ({"dynamics": [sm.SGD(0.1, 4), sm.SGD(0.1, 4)]}, "distinct names"),
        ({"dynamics": sm.SGD(0.1, 21)}, "in 1..20"),
        ({"dynamics": sm.HomogenizedSGD(0.1, 4)}, "needs a loss"),
        ({"steps": -1}, "steps must be"),
        ({"net": torch.nn.Linear(2, 1)}, "network of the probe"),
        ({"probe": 3}, "probe must be"),
        ({"metrics": ("lambda_maxx",)}, "did you mean 'lambda_max'"),
        ({"checkpoint_seconds": -1.0, "checkpoint": "x.npz"}, "checkpoint_seconds"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_step(change: dict[str, Any], words: str) -> None:
    probe = made(sizes=(6, 5, 2))
    arguments = {"net": probe.net, "probe": probe, "dynamics": sm.SGD(0.1, 4), "steps": 10, **change}
    with pytest.raises((InvalidArgument, sm.errors.UnknownName), match=words):
        train(**arguments)


def test_labels_are_noisy_only_where_they_are_numbers() -> None:
    net = nets.mlp([3, 4], "tanh", seed=0)
    probe = Probe(net, losses.cross_entropy, np.random.default_rng(0).standard_normal((8, 3)), np.arange(8) % 4)
    with pytest.raises(InvalidArgument, match="real targets"):
        train(net, probe, sm.LabelNoiseSGD(0.1, 2, scale=0.1), steps=4)


def test_teachers_are_learnt() -> None:
    """Training does what training does: the loss on a noiseless teacher falls twentyfold."""
    data = teacher_regression(64, 4, seed=0)
    net = nets.mlp([4, 32, 1], "tanh", seed=0)
    probe = Probe(net, losses.squared_error, data.inputs, data.targets)
    run = train(net, probe, sm.SGD(0.1, 8), steps=2000, record_every=2000, metrics=("loss",))
    assert float(run.loss[0, -1]) < 0.05 * float(run.loss[0, 0])


def test_a_score_card_of_a_network_is_that_of_its_closed_form() -> None:
    """Recipe A as numpy data and as a torch module: the same numbers, hence the same verdicts."""
    recipe = sm.recipes.slow_tail_network(0)
    assert isinstance(recipe.model, sm.models.LinearNetwork)
    probe = Probe(DeepLinearPredictor(20), losses.squared_error, recipe.model.inputs, recipe.model.targets)
    late = sm.simulate(
        recipe.model, sm.SGD(0.4, 16), 6400, recipe.init, metrics=(), keep_params=True, record_every=6400
    )
    cards = [
        sm.scorecard(
            loss, sm.SGD(0.4, 16), [sm.NoisyGD(0.4, 16)], steps=640, replicas=2, init=late.params.values[0, -1].copy(),
            directions=recipe.directions, interventions=False, record_every=16,
            predictions=["B1", "B2", "B6", "B8", "B10", "MS2", "MS3"],
        )
        for loss in (recipe.model, probe)
    ]  # fmt: skip
    one, other = (card.table for card in cards)
    assert (one.verdict == other.verdict).all()
    assert (one.verdict.isin(["holds", "fails"])).any()
    np.testing.assert_allclose(other.value, one.value, rtol=2e-3)
