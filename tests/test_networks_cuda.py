"""Networks on every device there is: the same numbers, paths and pieces as on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import sgdmodels as sm
from sgdmodels.networks import Accuracy, Probe, losses, nets, train
from sgdmodels.networks.objectives.budget import MemoryBudget

METRICS = (
    "loss", "gradient_norm", "lambda_max", "trace_hessian", "batch_sharpness", "batch_sharpness_mean_ratio", "ias",
    "gni", "gauss_newton_lambda_max", "gauss_newton_batch_sharpness",
)  # fmt: skip
EIGENVALUES = 1e-3**2  # the square of the residual allowed: starts are random, and drawn by each device's generator
CHEAP = Accuracy(batches=32)
RTOL = {torch.float64: 1e-9, torch.float32: 1e-4}


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device on this machine")
    return str(request.param)


class Hidden(torch.nn.Module):
    """A network that the probe does not know for a stack of layers, so that it is differentiated automatically."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def made(device: str, dtype: torch.dtype = torch.float64, kind: str = "chain", **options: Any) -> Probe:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((16, 5)), rng.standard_normal((16, 3))
    net: torch.nn.Module = nets.mlp([5, 6, 3], "gelu", seed=2, dtype=dtype, device=device)
    if kind == "module":
        net = Hidden(net)
    return Probe(net, losses.squared_error, x, y, **options)


@pytest.mark.parametrize("kind", ["chain", "module"])
@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_measurements_are_those_of_double_precision_on_the_cpu(device: str, dtype: torch.dtype, kind: str) -> None:
    truth = made("cpu", kind="module", accuracy=CHEAP).measure([2, 16], metrics=METRICS)
    mine = made(device, dtype, kind, accuracy=CHEAP).measure([2, 16], metrics=METRICS)
    for name in METRICS:
        rtol = RTOL[dtype] + EIGENVALUES * ("lambda_max" in name)
        np.testing.assert_allclose(mine[name], truth[name], rtol=rtol, err_msg=name)


def test_everything_stays_on_its_device(device: str) -> None:
    probe = made(device)
    objective = probe.objective
    theta = torch.from_numpy(probe.parameters()).to(objective.device)
    for tensor in (
        objective.inputs, objective.targets, objective.gradient(theta), objective.operator(theta)(theta[None]),
        objective.batch_curvatures(theta, torch.tensor([[0, 1]], device=theta.device)).curvature,
    ):  # fmt: skip
        assert tensor.device.type == device


DYNAMICS: dict[str, sm.dynamics.Dynamics] = {
    "b = 3": sm.SGD(0.1, 3),
    "b = 4, larger steps": sm.SGD(0.2, 4),
    "momentum": sm.SGD(0.05, 4, momentum=0.9),
    "GD": sm.GD(0.2),
    "noisy GD": sm.NoisyGD(0.1, 4),
    "diagonal noise": sm.NoisyGD(0.1, 4, "diagonal"),
    "label noise": sm.LabelNoiseSGD(0.1, 4, scale=0.1),
}
RUN: dict[str, Any] = {"steps": 64, "record_every": 16, "metrics": ("loss",), "keep_params": True, "seed": 5}


@pytest.mark.parametrize("kind", ["chain", "module"])
def test_an_ensemble_is_its_members_one_by_one_on_the_cpu(device: str, kind: str) -> None:
    """Both kinds of network, on any device, against automatic differentiation on the CPU."""
    probe, reference = made(device, kind=kind), made("cpu", kind="module")
    together = train(probe.net, probe, DYNAMICS, replicas=2, **RUN)
    for name, dynamics in DYNAMICS.items():
        alone = sm.simulate(reference, dynamics, init=reference.parameters(), replicas=2, **RUN)
        np.testing.assert_allclose(together.sel(dynamics=name).params, alone.params, rtol=0, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(together.sel(dynamics=name).loss, alone.loss, rtol=1e-9, err_msg=name)


def test_a_member_that_diverges_spoils_no_other(device: str) -> None:
    probe = made(device)
    both = train(probe.net, probe, {"wild": sm.SGD(50.0, 4), "tame": sm.SGD(0.1, 4)}, **RUN)
    alone = train(probe.net, probe, {"tame": sm.SGD(0.1, 4)}, **RUN)
    assert both.diverged_at.sel(dynamics="wild").notnull().all()
    np.testing.assert_allclose(both.params.sel(dynamics="tame"), alone.params.sel(dynamics="tame"), rtol=0, atol=1e-12)


def largest_piece_of(limit: int, sizes: list[int]) -> Any:
    def compute(part: slice) -> slice:
        sizes.append(part.stop - part.start)
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return part

    return compute


def test_pieces_that_run_out_of_memory_are_halved_and_none_is_lost() -> None:
    sizes: list[int] = []
    budget = MemoryBudget(1600)
    covered = [k for part in budget.over(21, 100, largest_piece_of(3, sizes)) for k in range(part.start, part.stop)]
    assert covered == list(range(21))
    assert sizes[:4] == [16, 8, 4, 2]  # what has run out once is not tried again
    assert set(sizes[3:]) == {2, 1}


def test_one_item_that_does_not_fit_is_an_error_in_words() -> None:
    with pytest.raises(MemoryError, match="smaller batch size"):
        list(MemoryBudget(1600).over(4, 100, largest_piece_of(0, [])))


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    def broken(part: slice) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(MemoryBudget(1600).over(4, 100, broken))


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A machine on which no piece of more than three items fits."""
    original, sizes = MemoryBudget.over, []

    def over(self: MemoryBudget, count: int, bytes_each: int, compute: Any) -> Any:
        def checked(part: slice) -> Any:
            sizes.append(part.stop - part.start)
            if sizes[-1] > 3:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
            return compute(part)

        return original(self, count, bytes_each, checked)

    monkeypatch.setattr(MemoryBudget, "over", over)
    yield sizes
    assert max(sizes) > 3, "nothing ran out of memory"


@pytest.mark.parametrize("kind", ["chain", "module"])
def test_running_out_of_memory_changes_no_number(kind: str, request: pytest.FixtureRequest) -> None:
    metrics = ("loss", "lambda_max", "batch_sharpness", "gni", "batch_sharpness_mean_ratio")
    members = {"b = 3": sm.SGD(0.1, 3), "b = 4": sm.SGD(0.1, 4), "GD": sm.GD(0.1)}

    def numbers() -> tuple[Any, Any]:
        probe = made("cpu", kind=kind, accuracy=CHEAP)
        run = train(probe.net, probe, members, replicas=4, **{**RUN, "steps": 16})
        return probe.measure([2, 16], metrics=metrics), run

    point, run = numbers()
    request.getfixturevalue("cramped")
    small_point, small_run = numbers()
    for name in metrics:
        np.testing.assert_allclose(small_point[name], point[name], rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(small_run.params, run.params, rtol=0, atol=1e-12)
