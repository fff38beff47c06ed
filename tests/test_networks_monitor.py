"""Monitors in plain training loops and under a trainer: what they record, what it costs, and that nothing changes."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.metrics import Metric
from sgdmodels.networks import Probe, losses, train
from sgdmodels.networks.monitoring import record_times
from sgdmodels.networks.monitoring.loader_samples import loader_samples, samples_in
from sgdmodels.networks.monitoring.monitor import Monitor
from sgdmodels.networks.monitoring.optimizer_sharpness import optimizer_sharpness
from sgdmodels.predictions.base import Evidence

N, BATCH = 32, 8
METRICS = ("loss", "batch_sharpness", "lambda_max")


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((N, 3), generator=generator, dtype=torch.float64)
    return x, torch.randn((N, 1), generator=generator, dtype=torch.float64)


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return net


def probe(net: nn.Module) -> Probe:
    return Probe(net, losses.squared_error, *data())


def batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y = data()
    generator = torch.Generator().manual_seed(2)
    return [(x[i], y[i]) for i in (torch.randperm(N, generator=generator)[:BATCH] for _ in range(steps))]


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
    optimizer.zero_grad()
    losses.squared_error(net(batch[0]), batch[1]).mean().backward()
    optimizer.step()


def watched(steps: int, lr: float = 0.05, **options: Any) -> tuple[Monitor, nn.Module]:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    monitor = Monitor(probe(net), **({"every": 5, "batch_size": BATCH, "metrics": METRICS} | options))
    for batch in batches(steps):
        descend(net, optimizer, batch)
        monitor.step(optimizer)
    return monitor, net


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(record_times, "perf_counter", lambda: self.now)

    def metric(self, seconds: float) -> Metric:
        def evaluate(snapshots: Any) -> np.ndarray:
            self.now += seconds
            return np.zeros(snapshots.shape)

        return Metric("slow", "a metric that takes its time", "1", evaluate)


def test_records_are_those_of_measure_and_of_train() -> None:
    """The values are the probe's own at the same parameters; variables, dims and units are those of `train`."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    monitor = Monitor(probe(net), every=3, batch_size=[BATCH, 2], metrics=METRICS)
    assert monitor.record(optimizer)
    assert not monitor.record(optimizer)  # the step is on record
    seen = [probe(net).measure([BATCH, 2], metrics=METRICS)]
    for k, batch in enumerate(batches(7)):
        descend(net, optimizer, batch)
        optimizer.param_groups[0]["lr"] = 0.05 / (k + 2)
        if monitor.step(optimizer):
            seen.append(probe(net).measure([BATCH, 2], metrics=METRICS))
    run = monitor.dataset()
    assert run.step.values.tolist() == [0, 3, 6]
    np.testing.assert_allclose(run.step_size, [0.05, 0.05 / 4, 0.05 / 7], rtol=1e-12)
    assert run.training_batch_size.values.tolist() == [BATCH] * 3
    assert run.batch_size.values.tolist() == [BATCH, 2]
    for k, point in enumerate(seen):
        for name in ("loss", "batch_sharpness", "batch_sharpness_low", "batch_sharpness_samples"):
            np.testing.assert_allclose(run[name].values[0, k], point[name], rtol=1e-10)
        np.testing.assert_allclose(run.lambda_max.values[0, k], point.lambda_max, rtol=1e-4)  # its tolerance
    assert np.isnan(run.diverged_at).all()
    trained = train(network(), probe(network()), sm.SGD(0.05, BATCH), 6, record_every=3, metrics=METRICS)
    assert set(trained.data_vars) == set(run.data_vars) - {"measurement_seconds"}
    assert set(trained.coords) == set(run.coords)
    for name, variable in trained.variables.items():
        assert run[name].dims == variable.dims
        assert run[name].attrs.get("units") == variable.attrs.get("units") or name == "step"
    assert {"steps", "seed", "sampling", "metrics", "wall_time_s", "init_sha256", "model"} <= set(run.attrs)
    assert run.attrs["init_sha256"] == trained.attrs["init_sha256"]
    np.testing.assert_allclose(trained.loss[0, 0], run.loss[0, 0], rtol=1e-12)


def test_training_is_the_same_to_the_last_bit() -> None:
    """Parameters, buffers, gradients, mode and every random state, with all that a monitor can do and without it."""

    def trained(watch: bool) -> tuple[Any, ...]:
        torch.manual_seed(5)
        random.seed(5)
        net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
        net.register_buffer("ones", torch.ones(3))
        x, y = (part.float() for part in data())
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
        monitor = None
        if watch:
            monitor = Monitor.from_loader(
                net, losses.squared_error, loader, samples=20, every=4, optimizer_metrics=True,
                metrics=(*METRICS, "trace_hessian", noisy()),
            )  # fmt: skip
        for _ in range(2):
            for batch in loader:
                descend(net, optimizer, batch)
                if monitor is not None:
                    monitor.step(optimizer)
        grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        assert monitor is None or len(monitor.records) == 2
        return (
            [p.detach() for p in net.parameters()], list(net.buffers()), grads, [net.training, torch.is_grad_enabled()],
            [torch.get_rng_state()], [random.random()],
        )  # fmt: skip

    def noisy() -> Metric:
        return Metric("noisy", "draws from torch", "1", lambda points: torch.rand(points.shape).numpy())

    before = torch.get_rng_state(), random.getstate()
    try:
        for alone, together in zip(trained(False), trained(True), strict=True):
            assert len(alone) == len(together)
            for a, b in zip(alone, together, strict=True):
                assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])


def test_measures_in_full_precision_inside_autocast_and_without_grad() -> None:
    net = network().float()
    x, y = (part.float() for part in data())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    monitor = Monitor(Probe(net, losses.squared_error, x, y), every=1, batch_size=4, metrics=METRICS)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        monitor.step(optimizer)
    truth = Probe(net, losses.squared_error, x, y).measure(4, metrics=METRICS)
    for name in METRICS:
        np.testing.assert_allclose(monitor.dataset()[name][0, 0], truth[name], rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_changes_no_number_and_keeps_its_random_state() -> None:
    runs = []
    for device in ("cpu", "cuda"):
        net = network().to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        monitor = Monitor(probe(net), every=2, batch_size=31, metrics=METRICS, optimizer_metrics=True)
        for x, y in batches(4):
            descend(net, optimizer, (x.to(device), y.to(device)))
            before = torch.cuda.get_rng_state()
            monitor.step(optimizer)
            assert torch.equal(torch.cuda.get_rng_state(), before)
        runs.append(monitor.dataset())
    for name in (*METRICS, "step_sharpness", "frozen_step_sharpness", "preconditioned_lambda_max"):
        np.testing.assert_allclose(runs[1][name], runs[0][name], rtol=1e-4)


def test_eigenvectors_are_kept_from_record_to_record() -> None:
    monitor, _ = watched(30, lr=1e-4, every=5)
    (kept,) = monitor.memory.values()
    hessian = torch.from_numpy(monitor.probe.hessian(monitor.probe.parameters())).to(kept)
    top = torch.linalg.eigh(hessian)[1][:, -1]
    assert abs(float(kept[0] @ top)) > 0.999


def test_a_share_of_the_time_is_kept_and_the_cost_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 s a record, 1 s a step, at most 10 %: a record every 27 steps, once the first is paid for, too."""
    clock = Clock(monkeypatch)
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    monitor = Monitor(probe(net), share=0.1, batch_size=4, metrics=(clock.metric(3.0),))
    for k in range(200):
        clock.now += 1.0
        assert monitor.step(optimizer) or k > 0
        assert monitor.times.spent <= 0.1 * monitor.times.wall + 1e-9 or len(monitor.records) == 1
    run = monitor.dataset()
    assert np.diff(run.step.values).tolist() == [54, 27, 27, 27, 27, 27]
    np.testing.assert_allclose(run.measurement_seconds, 3.0)
    assert run.attrs["wall_time_s"] == pytest.approx(199 + 3 * 7)
    assert run.attrs["measurement_share"] == pytest.approx(21 / (199 + 21))
    assert monitor.summary() == "7 records in 200 steps, 3 s each, 9.5% of the wall time"


def test_the_run_plots_and_answers_predictions() -> None:
    monitor, _ = watched(60, every=2, metrics=(*METRICS, "gradient_norm", "gni"))
    run = monitor.dataset()
    axes = sm.plot.stability(run)
    line = axes.lines[0]
    np.testing.assert_allclose(line.get_ydata(), run.batch_sharpness.values[0, :, 0] * 0.05 / 2, rtol=1e-12)
    sm.plot.loss(run)
    sm.plot.sharpness_by_batch_size({BATCH: run})
    plt.close("all")
    evidence = Evidence(monitor.probe, sm.SGD(0.05, BATCH), 0.05, {BATCH: run})
    np.testing.assert_array_equal(evidence.scaled(BATCH, "lambda_max"), run.lambda_max.values * 0.025)
    assert evidence.survivors(BATCH).sizes["replica"] == 1


def test_divergence_is_data() -> None:
    monitor, net = watched(40, lr=50.0, every=3, optimizer_metrics=True)
    run = monitor.dataset()
    far, init = (max(p.detach().abs().max().item() for p in one.parameters()) for one in (net, network()))
    assert far > 1e6 * max(1.0, init)
    at = int(run.diverged_at[0])
    early, late = run.sel(step=slice(None, at - 1)), run.sel(step=slice(at, None))
    assert np.isfinite(early.loss).any()
    for name in (*METRICS, "step_sharpness"):
        assert np.isnan(late[name]).all()
    assert monitor.summary().endswith("; it has diverged")
    plotted = sm.plot.stability(run)
    assert "1 of 1 diverged" in plotted.get_legend_handles_labels()[1][0]
    plt.close("all")


def test_a_share_of_the_time_ends_with_the_divergence() -> None:
    monitor, _ = watched(3, lr=1e308, every=None, share=0.99)
    assert sum(not record.inside for record in monitor.records) == 1
    assert monitor.dataset().diverged_at.values.tolist() == [monitor.records[-1].step]


def test_an_excursion_is_no_divergence() -> None:
    """`diverged_at` is where the parameters left for good; a NaN counts as outside."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    monitor = Monitor(probe(net), every=1, batch_size=BATCH, metrics=("loss",))
    first, start = next(net.parameters()), network()
    for bad in (0.0, 1e9, 0.0, float("nan"), float("inf")):
        with torch.no_grad():
            first.copy_(next(start.parameters()) + bad)
        monitor.step(optimizer)
        lost = monitor.dataset().diverged_at.item()
        assert (lost == {1e9: 2.0}.get(bad, 4.0)) if bad else np.isnan(lost)
    run = monitor.dataset()
    assert np.isnan(run.loss.values[0]).tolist() == [False, True, False, True, True]
    assert run.loss.values[0, 0] == run.loss.values[0, 2]


def test_optimizer_metrics_are_those_of_the_present_state() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    monitor = Monitor(probe(net), every=2, batch_size=[31, 32], metrics=("loss",), optimizer_metrics=True)
    monitor.record(optimizer)
    for batch in batches(2):
        descend(net, optimizer, batch)
        monitor.step(optimizer)
    run = monitor.dataset()
    truth = optimizer_sharpness(monitor.probe, optimizer, [31, 32])  # all batches: no randomness
    np.testing.assert_allclose(run.step_sharpness[0, 1], truth.step_sharpness, rtol=1e-10)
    np.testing.assert_allclose(run.preconditioned_lambda_max[0, 1], truth.preconditioned_lambda_max, rtol=1e-6)
    assert run.preconditioned_lambda_max.dims == ("replica", "step")
    assert np.isnan(run.preconditioned_lambda_max[0, 0])  # Adam has no preconditioner before its first step
    assert run.step_sharpness.attrs == {"long_name": truth.step_sharpness.long_name, "units": "curvature"}
    assert json.loads(run.attrs["dynamics"])["optimizer"] == "Adam"


def test_files_are_whole_after_every_record(tmp_path: Path) -> None:
    path = tmp_path / "run.nc"
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    monitor = Monitor(probe(net), every=1, batch_size=4, metrics=METRICS, file=path, optimizer_metrics=True)
    for k, batch in enumerate(batches(3)):
        descend(net, optimizer, batch)
        monitor.step(optimizer)
        with xr.open_dataset(path, engine="scipy") as stored:
            assert stored.sizes["step"] == k + 1
            xr.testing.assert_equal(stored.load(), monitor.dataset())
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]
    monitor.save(tmp_path / "copy.nc")
    with xr.open_dataset(tmp_path / "copy.nc", engine="scipy") as stored:
        assert stored.attrs["model"] == monitor.dataset().attrs["model"]


def test_before_the_first_record() -> None:
    monitor = Monitor(probe(network()), every=10)
    run = monitor.dataset()
    assert run.sizes["step"] == 0
    assert monitor.summary() == "no record in 0 steps"
    assert "batch size of the first batch" in repr(monitor)


def test_it_prints_what_it_watches() -> None:
    monitor, _ = watched(10)
    first, second, third = str(monitor).splitlines()
    assert first == "Monitor of Sequential (21 parameters, 32 samples) every 5 steps, batch size 8"
    assert second.startswith("2 records in 10 steps, ")
    edge = float(monitor.dataset().lambda_max[0, -1]) * 0.05 / 2
    assert third.endswith(f"stability/lambda_max = {edge:.4g}")


class Trainer:
    """What Lightning's trainer does with a callback: one optimizer step in `accumulate` batches."""

    def __init__(self, module: Any, callback: Any, accumulate: int = 1) -> None:
        self.module, self.callback, self.accumulate, self.global_step = module, callback, accumulate, 0
        self.optimizers = [torch.optim.SGD(module.net.parameters(), lr=0.05)]

    def fit(self, count: int) -> None:
        self.callback.on_fit_start(self, self.module)
        for k, batch in enumerate(batches(count)):
            loss = losses.squared_error(self.module.net(batch[0]), batch[1]).mean()
            loss.backward()
            if (k + 1) % self.accumulate == 0:
                self.optimizers[0].step()
                self.optimizers[0].zero_grad()
                self.global_step += 1
            self.callback.on_train_batch_end(self, self.module, {"loss": loss}, batch, k)
        self.callback.on_fit_end(self, self.module)


class Module:
    """A module that logs."""

    def __init__(self) -> None:
        self.net = network()
        self.logs: list[tuple[int, str, float]] = []
        self.printed: list[str] = []

    def log(self, name: str, value: float) -> None:
        self.logs.append((len(self.logs), name, value))

    def print(self, line: str) -> None:
        self.printed.append(line)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_under_a_trainer(accumulate: int) -> None:
    module = Module()
    monitor = Monitor(probe(module.net), every=2, batch_size=BATCH, metrics=METRICS)
    Trainer(module, monitor, accumulate).fit(8)
    run = monitor.dataset()
    assert run.step.values.tolist() == list(range(0, 8 // accumulate + 1, 2))
    names = ["loss", "stability/batch_sharpness", "stability/lambda_max"]
    assert [name for _, name, _ in module.logs] == names * (len(run.step) - 1)
    last = {name: value for _, name, value in module.logs[-3:]}
    assert last["loss"] == float(run.loss[0, -1])
    assert last["stability/batch_sharpness"] == float(run.batch_sharpness[0, -1, 0]) * 0.05 / 2
    assert module.printed == [monitor.summary()]


def test_under_a_trainer_without_log_and_batch_size() -> None:
    """The batch size is that of the first batch; a module that cannot log is left alone."""
    module = Module()
    bare = type("Bare", (), {"net": module.net})()
    monitor = Monitor(probe(module.net), every=2, metrics=METRICS)
    Trainer(bare, monitor).fit(4)
    assert monitor.dataset().step.values.tolist() == [2, 4]
    assert monitor.batch_sizes == (BATCH,)
    trainer = Trainer(bare, monitor)
    trainer.optimizers *= 2
    with pytest.raises(InvalidArgument, match="one optimizer, got 2"):
        monitor.on_train_batch_end(trainer, bare, None, batches(1)[0], 0)


class Noisy(Dataset[Any]):
    """Augments at random with both generators."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.rand(2) + random.random() + i, i


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.ones(1), 0)])


def test_samples_of_a_loader() -> None:
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True)
    states = torch.get_rng_state(), random.getstate()
    x, y = loader_samples(loader, 6, seed=3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert len(set(y.tolist())) == 6
    assert ((x.min(1).values >= y) & (x.max(1).values < y + 2)).all()
    assert loader_samples(loader, 6, seed=3)[1].tolist() == y.tolist()
    assert loader_samples(loader, 6, seed=4)[1].tolist() != y.tolist()
    assert loader_samples(loader, 99)[1].tolist() == list(range(10))
    net = nn.Linear(2, 1)
    pairs = DataLoader(TensorDataset(torch.rand(10, 2), torch.rand(10, 1)), batch_size=4)
    assert Monitor.from_loader(net, losses.squared_error, pairs, every=1).batch_sizes == (4,)
    assert Monitor.from_loader(net, losses.squared_error, pairs, every=1, batch_size=[2, 3]).batch_sizes == (2, 3)
    with pytest.raises(InvalidArgument, match="can only be iterated"):
        loader_samples(DataLoader(Stream()), 5)
    with pytest.raises(InvalidArgument, match="pairs of tensors"):
        loader_samples(DataLoader(TensorDataset(torch.rand(3, 1))), 5)
    with pytest.raises(InvalidArgument, match="torch DataLoader, got list"):
        loader_samples([1, 2], 5)  # type: ignore[arg-type]


def test_batches_of_any_nesting_have_a_length() -> None:
    x = torch.zeros(7, 2)
    assert [samples_in(b) for b in (x, (x, x), {"name": "a", "x": [x]}, ("a", 3), None, torch.tensor(1.0))] == [
        7, 7, 7, None, None, None
    ]  # fmt: skip


def test_unsuitable_nets_are_refused_with_the_reason() -> None:
    x, y = data()
    dropout = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1)).double().eval()
    at = Probe(dropout, losses.squared_error, x, y)
    monitor = Monitor(at, every=1, batch_size=4)
    optimizer = torch.optim.SGD(dropout.parameters(), lr=0.1)
    assert monitor.step(optimizer)
    dropout.train()
    with pytest.raises(InvalidArgument, match="dropout is on in 1"):
        monitor.step(optimizer)
    with pytest.raises(InvalidArgument, match="dropout is on in 1"):
        Monitor(at, every=1)
    normed = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    with pytest.raises(InvalidArgument, match="normalises by statistics of the batch"):
        Monitor.from_loader(normed, losses.squared_error, DataLoader(TensorDataset(x, y)), every=1)
    wrapped = nn.DataParallel(network())
    with pytest.raises(InvalidArgument, match=r"the net is a DataParallel; probe net.module"):
        Monitor.from_loader(wrapped, losses.squared_error, DataLoader(TensorDataset(x, y)), every=1)
    compiled = torch.compile(network(), backend="eager")
    with pytest.raises(InvalidArgument, match=r"OptimizedModule; probe net._orig_mod"):
        Monitor.from_loader(compiled, losses.squared_error, DataLoader(TensorDataset(x, y)), every=1)


def test_wrapped_nets_train_what_the_monitor_sees() -> None:
    """A monitor of the inner module, a loop on the wrapper and an optimizer of its parameters."""
    net = network()
    wrapper = torch.compile(net, backend="eager")
    optimizer = torch.optim.SGD(wrapper.parameters(), lr=0.05)
    monitor = Monitor(probe(net), every=1, batch_size=BATCH, metrics=("loss",))
    plain = copy.deepcopy(net)
    reference = torch.optim.SGD(plain.parameters(), lr=0.05)
    for batch in batches(3):
        descend(wrapper, optimizer, batch)
        monitor.step(optimizer)
        descend(plain, reference, batch)
    np.testing.assert_allclose(monitor.dataset().loss[0, -1], probe(plain).measure(metrics=("loss",)).loss, rtol=1e-9)


@pytest.mark.parametrize(("options", "words"), [
    ({}, r"give every= \(steps\) or share="),
    ({"every": 1, "share": 0.1}, "one of them, got 1 and 0.1"),
    ({"every": 0}, "every must be at least 1"),
    ({"share": 1.5}, "share must be finite, > 0 and < 1"),
    ({"every": 1, "batch_size": 33}, r"in 1..32 \(the number of samples\)"),
    ({"every": 1, "metrics": ("los",)}, "did you mean 'loss'"),
    ({"every": 1, "sampling": "epochs"}, "did you mean 'epoch'"),
])  # fmt: skip
def test_bad_arguments_are_refused_before_any_work(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        Monitor(probe(network()), **options)


def test_unsuitable_optimizers_are_refused() -> None:
    net = network()
    monitor = Monitor(probe(net), every=1, batch_size=4, metrics=("loss",))
    first, *rest = net.parameters()
    groups = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": rest}], lr=0.1)
    with pytest.raises(InvalidArgument, match="different learning rates"):
        monitor.step(groups)
    with pytest.raises(InvalidArgument, match="trains no parameter"):
        monitor.step(torch.optim.SGD(copy.deepcopy(net).parameters(), lr=0.1))
    with pytest.raises(InvalidArgument, match="torch optimizer, got int"):
        monitor.step(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="batch_size is not known"):
        Monitor(probe(net), every=1).step(torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(InvalidArgument, match="SGD, RMSprop, Adam, AdamW"):
        Monitor(probe(net), every=1, batch_size=4, optimizer_metrics=True).step(torch.optim.Adagrad(net.parameters()))
    with pytest.raises(InvalidArgument, match="probe must be a Probe"):
        Monitor(net, every=1)  # type: ignore[arg-type]
    moved = network()
    outdated = Monitor(probe(moved), every=1, batch_size=4)
    with pytest.raises(InvalidArgument, match=r"now torch\.float32 on cpu, but was torch\.float64 on cpu"):
        outdated.step(torch.optim.SGD(moved.float().parameters(), lr=0.1))
    assert not monitor.records
    assert Monitor(probe(net), every=1, batch_size=4).step(torch.optim.Adagrad(net.parameters()))  # any, otherwise
