"""Sharpness along optimizers' steps against torch's own steps on copies, dense Hessians and all batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.func import functional_call

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks import Accuracy, Probe, losses
from sgdmodels.networks.monitoring.optimizer_sharpness import optimizer_sharpness, ratio
from sgdmodels.networks.monitoring.optimizer_steps import OptimizerSteps
from sgdmodels.sampling import SCHEMES

from .enumeration import all_batches, batch_sums

Make = Callable[[torch.nn.Module], torch.optim.Optimizer]
SGD, RMSprop, Adam, AdamW = torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam, torch.optim.AdamW


def maker(kind: Any, **options: Any) -> Any:
    name = kind.__name__ + "".join(f",{k}={v}" for k, v in options.items())
    return pytest.param(lambda net: kind(net.parameters(), **options), id=name)


OPTIMIZERS = [
    maker(SGD, lr=0.03),
    maker(SGD, lr=0.03, weight_decay=0.2, maximize=True),
    maker(SGD, lr=0.03, momentum=0.9),
    maker(SGD, lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.1),
    maker(SGD, lr=0.03, momentum=0.8, dampening=0.4, maximize=True),
    maker(RMSprop, lr=0.003),
    maker(RMSprop, lr=0.003, momentum=0.7, weight_decay=0.1),
    maker(RMSprop, lr=0.003, centered=True, maximize=True),
    maker(Adam, lr=0.003),
    maker(Adam, lr=0.003, betas=(0.5, 0.9), amsgrad=True, weight_decay=0.1, maximize=True),
    maker(AdamW, lr=0.003, weight_decay=0.5),
    maker(AdamW, lr=0.003, amsgrad=True, maximize=True),
    maker(Adam, lr=torch.tensor(0.003, dtype=torch.float64)),
]


class Trained(NamedTuple):
    """A small network after some steps, its probe, its optimizer and the gradients that led there."""

    probe: Probe
    net: torch.nn.Module
    optimizer: torch.optim.Optimizer
    history: list[torch.Tensor]


def trained(make: Make, steps: int, n: int = 6, accuracy: Accuracy | None = None, quadratic: bool = False) -> Trained:
    """2-3-1 tanh network, or a linear one, after `steps` steps on batches of two."""
    generator = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, y = normal(n, 2) * normal(n, 1).exp(), normal(n, 1)
    chain = [torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)]
    net = (torch.nn.Linear(2, 1) if quadratic else torch.nn.Sequential(*chain)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(normal(*p.shape))
    optimizer, history = make(net), []
    for k in range(steps):
        batch = [k % n, (k + 1) % n]
        optimizer.zero_grad()
        losses.squared_error(net(x[batch]), y[batch]).mean().backward()
        history.append(flat([p.grad for p in net.parameters()]))
        optimizer.step()
    optimizer.zero_grad()
    return Trained(Probe(net, losses.squared_error, x, y, accuracy=accuracy), net, optimizer, history)


def flat(pieces: Any) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in pieces])


def real_step(at: Trained, gradient: torch.Tensor) -> torch.Tensor:
    """theta+ - theta, by torch, on copies."""
    net, optimizer = copy.deepcopy((at.net, at.optimizer))
    before, start = flat(net.parameters()), 0
    for p in net.parameters():
        p.grad = gradient[start : start + p.numel()].view_as(p).clone()
        start += p.numel()
    optimizer.step()
    return flat(net.parameters()) - before


def dense(at: Trained) -> tuple[np.ndarray, np.ndarray, Callable[[torch.Tensor], np.ndarray]]:
    """Gradients and Hessians of the samples, and their losses as a function of theta."""
    x, y = at.probe.objective.inputs, at.probe.objective.targets
    shapes = {name: p.shape for name, p in at.net.named_parameters()}

    def sample_losses(theta: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(theta, [shape.numel() for shape in shapes.values()])
        named = {name: p.view(shape) for (name, shape), p in zip(shapes.items(), pieces, strict=True)}
        return 0.5 * (functional_call(at.net, named, (x,)) - y).square().sum(1)

    theta = flat(at.net.parameters())
    g = torch.func.jacrev(sample_losses)(theta).numpy()
    h = torch.func.hessian(sample_losses)(theta).numpy()
    return g, h, lambda t: sample_losses(t).detach().numpy()


class Enumerated(NamedTuple):
    """All batches: chances, gradients, Hessians and steps taken by torch."""

    p: np.ndarray
    g: np.ndarray
    h: np.ndarray
    s: np.ndarray

    def terms(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.einsum("bi,bij,bj->b", u, self.h, u), (u * self.g).sum(1)

    def ratio(self, u: np.ndarray) -> float:
        top, bottom = self.terms(u)
        return float(self.p @ top / (self.p @ bottom))


def enumerated(at: Trained, b: int, sampling: str = "without_replacement") -> Enumerated:
    g, h, _ = dense(at)
    batches = all_batches(len(g), b, "without_replacement" if sampling == "epoch" else sampling)
    gb, hb = batch_sums(g, b, batches), batch_sums(h, b, batches)
    steps = np.array([real_step(at, torch.from_numpy(row)).numpy() for row in gb])
    return Enumerated(np.array([chance for _, chance in batches]), gb, hb, steps)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_hypothetical_steps_are_torchs(make: Make, steps: int) -> None:
    at = trained(make, steps)
    rule = OptimizerSteps(at.optimizer, at.net)
    for k in range(2):
        g = torch.randn(13, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        expected = real_step(at, g).numpy()
        np.testing.assert_allclose(-rule.step_size * rule.step(g).numpy(), expected, rtol=1e-10, atol=1e-14)


def test_groups_may_differ_in_what_is_no_step_size() -> None:
    def make(net: torch.nn.Module) -> torch.optim.Optimizer:
        weights = [p for p in net.parameters() if p.ndim == 2]
        biases = [p for p in net.parameters() if p.ndim == 1]
        return AdamW([
            {"params": biases, "weight_decay": 0.0, "betas": (0.9, 0.8)}, {"params": weights, "eps": 1e-3}
        ], lr=0.01)  # fmt: skip

    at = trained(make, 3)
    rule = OptimizerSteps(at.optimizer, at.net)
    g = torch.randn(13, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    np.testing.assert_allclose(-0.01 * rule.step(g).numpy(), real_step(at, g).numpy(), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_step_sharpness_equals_enumeration_of_torchs_steps(make: Make) -> None:
    at = trained(make, 3)
    found = optimizer_sharpness(at.probe, at.optimizer, [1, 2, 6])
    eta = found.attrs["step_size"]
    for b in (1, 2, 6):
        every = enumerated(at, b)
        here = found.sel(batch_size=b)
        top, bottom = every.terms(-every.s / eta)
        np.testing.assert_allclose(here.step_curvature, every.p @ top, rtol=1e-8)
        np.testing.assert_allclose(here.step_slope, every.p @ bottom, rtol=1e-8)
        for name in ("step_sharpness", "step_sharpness_low", "step_sharpness_high"):
            np.testing.assert_allclose(here[name], every.p @ top / (every.p @ bottom), rtol=1e-8)
        np.testing.assert_allclose(here.step_sharpness_scaled, here.step_sharpness * eta / 2, rtol=1e-12)
        assert float(here.step_sharpness_standard_error) == 0
        assert int(here.batches) == len(every.p)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_every_sampling_scheme(sampling: str) -> None:
    """Empty Bernoulli batches take a step, too: momentum goes on without a gradient."""
    at = trained(lambda net: SGD(net.parameters(), lr=0.1, momentum=0.5), 2)
    every = enumerated(at, 2, sampling)
    found = optimizer_sharpness(at.probe, at.optimizer, 2, sampling=sampling)
    np.testing.assert_allclose(found.step_sharpness, [every.ratio(-every.s / 0.1)], rtol=1e-10)
    np.testing.assert_allclose(found.momentum_sharpness, found.step_sharpness, rtol=1e-12)  # s is the step here
    (top, bottom), v = every.terms(-every.s / 0.1), OptimizerSteps(at.optimizer, at.net).buffer()
    kept = abs(bottom) >= 1e-12
    mean = np.average(top[kept] / bottom[kept], weights=every.p[kept])
    np.testing.assert_allclose(found.momentum_sharpness_mean_ratio, [mean], rtol=1e-10)
    assert v is not None
    frozen = np.repeat(-0.1 * v.numpy()[None], len(every.p), axis=0)  # as published: E over batches, s without g_B
    np.testing.assert_allclose(found.frozen_step_sharpness, -every.ratio(frozen), rtol=1e-10)
    np.testing.assert_allclose(found.frozen_step_sharpness_scaled, -every.ratio(frozen) / 2, rtol=1e-10)


def test_momentum_sharpness_keeps_its_definition_where_steps_differ() -> None:
    """s = beta v + g_B with the buffer of two steps, by hand: v = 0.5 g_1 + (1 - 0.25) g_2 with dampening."""
    at = trained(lambda net: SGD(net.parameters(), lr=0.1, momentum=0.5, dampening=0.25), 2)
    every = enumerated(at, 2)
    v = (0.5 * at.history[0] + 0.75 * at.history[1]).numpy()
    found = optimizer_sharpness(at.probe, at.optimizer, 2)
    np.testing.assert_allclose(found.momentum_sharpness, [every.ratio(0.5 * v + every.g)], rtol=1e-10)
    np.testing.assert_allclose(found.step_sharpness, [every.ratio(0.5 * v + 0.75 * every.g)], rtol=1e-10)


@pytest.mark.parametrize("make", [
    maker(SGD, lr=0.3), maker(SGD, lr=0.3, momentum=0.9, nesterov=True, weight_decay=0.1), maker(Adam, lr=0.1),
    maker(RMSprop, lr=0.1, momentum=0.5, centered=True), maker(AdamW, lr=0.1),
])  # fmt: skip
@pytest.mark.parametrize("b", [1, 3])
def test_change_of_the_batch_loss_on_quadratics(make: Make, b: int) -> None:
    """E[L_B(theta+) - L_B(theta)] = -eta E[u'g_B] + eta^2/2 E[u'H_B u], theta+ being torch's step."""
    at = trained(make, 3, quadratic=True)
    every, (_, _, sample_losses) = enumerated(at, b), dense(at)
    theta = flat(at.net.parameters())
    change = 0.0
    for (batch, chance), s in zip(all_batches(6, b, "without_replacement"), every.s, strict=True):
        moved = sample_losses(theta + torch.from_numpy(s)) - sample_losses(theta)
        change += chance * moved[list(batch)].mean()
    found = optimizer_sharpness(at.probe, at.optimizer, b)
    eta = found.attrs["step_size"]
    predicted = -eta * found.step_slope + eta**2 / 2 * found.step_curvature
    np.testing.assert_allclose(predicted, [change], rtol=1e-9, atol=1e-13)
    assert float(found.step_slope[0]) > 0  # so that the edge divides steps that lower the loss from those that do not
    assert (change > 0) == bool(found.step_sharpness_scaled[0] > 1)


def test_plain_sgd_gives_batch_sharpness() -> None:
    at = trained(lambda net: SGD(net.parameters(), lr=0.1), 1)
    for sampling in SCHEMES:
        found = optimizer_sharpness(at.probe, at.optimizer, [1, 4], sampling=sampling)
        plain = at.probe.measure([1, 4], sampling=sampling, metrics=("batch_sharpness",))
        np.testing.assert_allclose(found.step_sharpness, plain.batch_sharpness, rtol=1e-10)
    assert "momentum_sharpness" not in found
    assert "frozen_step_sharpness" not in found


def moving_average(history: list[torch.Tensor], beta: float, power: int) -> np.ndarray:
    """(1 - beta) sum_k beta^(t - k) g_k^power."""
    return sum((1 - beta) * beta**k * g.numpy() ** power for k, g in enumerate(reversed(history)))


def test_preconditioners_are_those_of_their_papers() -> None:
    """P from the gradients of the whole training; P^-1 g_B and P^-1/2 H P^-1/2 from dense matrices."""
    cases = {
        "adam": maker(Adam, lr=0.01, betas=(0.8, 0.9)).values[0],
        "rmsprop": maker(RMSprop, lr=0.01, alpha=0.9).values[0],
        "centered": maker(RMSprop, lr=0.01, alpha=0.9, centered=True).values[0],
        "amsgrad": maker(Adam, lr=0.01, betas=(0.8, 0.9), amsgrad=True).values[0],
    }
    for name, make in cases.items():
        at = trained(make, 5, accuracy=Accuracy(tolerance=1e-9))
        second = moving_average(at.history, 0.9, 2)
        if name == "amsgrad":
            second = np.max([moving_average(at.history[:k], 0.9, 2) for k in range(1, 6)], axis=0)
        if name == "centered":
            second = second - moving_average(at.history, 0.9, 1) ** 2
        p = np.sqrt(second) + 1e-8
        if name in ("adam", "amsgrad"):
            p = (1 - 0.8**5) * (np.sqrt(second / (1 - 0.9**5)) + 1e-8)
        every, found = enumerated(at, 2), optimizer_sharpness(at.probe, at.optimizer, 2)
        np.testing.assert_allclose(found.preconditioned_batch_sharpness, [every.ratio(every.g / p)], rtol=1e-7)
        mean = np.average(every.h, axis=0, weights=every.p)
        top = np.linalg.eigvalsh(mean / np.sqrt(np.outer(p, p)))[-1]
        np.testing.assert_allclose(found.preconditioned_lambda_max, top, rtol=1e-7)
        assert float(found.preconditioned_lambda_max_converged) == 1
        if name in ("adam", "amsgrad"):  # the frozen direction is m / P
            w = moving_average(at.history, 0.8, 1) / p
            frozen = 0.01 * (w @ mean @ w) / (w @ np.average(every.g, axis=0, weights=every.p))
            np.testing.assert_allclose(found.frozen_step_sharpness, frozen, rtol=1e-7)


@pytest.mark.parametrize("make", [
    maker(Adam, lr=0.01), maker(Adam, lr=0.02, betas=(0.5, 0.99)), maker(RMSprop, lr=0.01),
    maker(RMSprop, lr=0.01, momentum=0.6),
])  # fmt: skip
def test_edge_of_the_preconditioned_eigenvalue_is_where_a_fixed_preconditioner_diverges(make: Make) -> None:
    """x+ = x - eta m+, m+ = beta m + c lambda x: its spectral radius passes 1 at the edge on record."""
    at = trained(make, 2)
    found = optimizer_sharpness(at.probe, at.optimizer, 2)
    eta, options = found.attrs["step_size"], at.optimizer.param_groups[0]
    beta, c = (options["betas"][0], 1 - options["betas"][0]) if "betas" in options else (options["momentum"], 1.0)
    edge = found.preconditioned_lambda_max.attrs["edge"]
    radii = []
    for curvature in (0.999 * edge, 1.001 * edge):
        step = np.array([[1 - eta * c * curvature, -eta * beta], [c * curvature, beta]])
        radii.append(abs(np.linalg.eigvals(step)).max())
    assert radii[0] < 1 < radii[1]
    scaled = found.preconditioned_lambda_max / edge
    np.testing.assert_allclose(found.preconditioned_lambda_max_scaled, scaled, rtol=1e-12)
    if beta == 0.9:
        assert edge == pytest.approx(38 / eta, rel=1e-12)


@pytest.mark.parametrize(("sampling", "n", "b"), [
    ("without_replacement", 12, 4), ("with_replacement", 12, 3), ("bernoulli", 9, 3),
])  # fmt: skip
@pytest.mark.parametrize("make", [maker(SGD, lr=0.01, momentum=0.9), maker(Adam, lr=0.01)])
def test_random_batches_agree_with_all_of_them(make: Make, sampling: str, n: int, b: int) -> None:
    """18 numbers at 300 of more batches within 4.5 standard errors: fails by chance with probability 2e-4."""
    at = trained(make, 4, n=n)
    g, h, _ = dense(at)
    batches = all_batches(n, b, sampling)
    p = np.array([chance for _, chance in batches])
    gb, hb = batch_sums(g, b, batches), batch_sums(h, b, batches)
    rule = OptimizerSteps(at.optimizer, at.net)
    u = torch.stack([rule.step(torch.from_numpy(row)) for row in gb]).numpy()
    exact = {"step_curvature": p @ np.einsum("bi,bij,bj->b", u, hb, u), "step_slope": p @ (u * gb).sum(1)}
    exact["step_sharpness"] = exact["step_curvature"] / exact["step_slope"]
    found = optimizer_sharpness(at.probe, at.optimizer, b, sampling=sampling, batches=300, seed=3)
    for name, value in exact.items():
        error = float(found[f"{name}_standard_error"][0])
        assert error > 0
        assert abs(float(found[name][0]) - value) < 4.5 * error, name
    assert int(found.batches[0]) == 300


def test_random_batches_follow_their_seed_and_step() -> None:
    at = trained(lambda net: SGD(net.parameters(), lr=0.01, momentum=0.9), 4, n=12)

    def value(**key: int) -> float:
        return optimizer_sharpness(at.probe, at.optimizer, 4, batches=20, **key).step_sharpness.item()

    assert value(seed=3, step=1) == value(seed=3, step=1)
    assert len({value(seed=3, step=1), value(seed=4, step=1), value(seed=3, step=2)}) == 3


def test_ratios_of_negative_slopes_are_mirrored() -> None:
    u, v = np.random.default_rng(0).gamma(3.0, size=(2, 30))
    for found, mirrored in zip(ratio(u, -v, None), ratio(-u, v, None), strict=True):
        np.testing.assert_allclose(found, mirrored, rtol=1e-12)
    at = ratio(u, -v, None)
    assert at.low < at.value < at.high < 0


def test_first_step_of_adam_is_a_sign_and_has_no_preconditioner_yet() -> None:
    at = trained(lambda net: Adam(net.parameters(), lr=0.01), 0)
    every = enumerated(at, 2)
    found = optimizer_sharpness(at.probe, at.optimizer, 2)
    np.testing.assert_allclose(found.step_sharpness, [every.ratio(np.sign(every.g))], rtol=1e-5)  # but for eps
    for name in ("preconditioned_batch_sharpness", "preconditioned_lambda_max", "frozen_step_sharpness"):
        assert np.isnan(found[name]).all()
    sgd = trained(lambda net: SGD(net.parameters(), lr=0.01, momentum=0.9), 0)
    first = optimizer_sharpness(sgd.probe, sgd.optimizer, 2)
    plain = sgd.probe.measure(2, metrics=("batch_sharpness",))
    np.testing.assert_allclose(first.momentum_sharpness, plain.batch_sharpness, rtol=1e-10)
    assert np.isnan(first.frozen_step_sharpness)


def test_warm_start_and_nothing_else_is_kept() -> None:
    at = trained(lambda net: Adam(net.parameters(), lr=0.01), 3, accuracy=Accuracy(tolerance=1e-6))
    state = copy.deepcopy(at.optimizer.state_dict())
    before, random = flat(at.net.parameters()), torch.get_rng_state()
    memory: dict[str, Any] = {}
    first = optimizer_sharpness(at.probe, at.optimizer, 2, memory=memory)
    second = optimizer_sharpness(at.probe, at.optimizer, 2, memory=memory)
    assert "preconditioned_lambda_max" in memory
    np.testing.assert_allclose(second.preconditioned_lambda_max, first.preconditioned_lambda_max, rtol=1e-6)
    assert torch.equal(flat(at.net.parameters()), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in at.net.parameters())
    for mine, theirs in zip(state["state"].values(), at.optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_every_number_is_named() -> None:
    for make in OPTIMIZERS:
        at = trained(make.values[0], 1)
        found = optimizer_sharpness(at.probe, at.optimizer, 2)
        assert found.attrs["edge"] == 2 / found.attrs["step_size"]
        for variable in found.data_vars.values():
            assert {"long_name", "units"} <= set(variable.attrs)
        assert "edge" in found.step_sharpness.attrs
        assert "edge" not in found.step_slope.attrs


def test_no_step_is_far_from_every_edge() -> None:
    """A warm-up starts at a learning rate of zero."""
    at = trained(lambda net: AdamW(net.parameters(), lr=0.0), 2)
    found = optimizer_sharpness(at.probe, at.optimizer, 2)
    assert found.attrs["edge"] == np.inf
    assert np.isfinite(found.step_sharpness).all()
    for name in ("step_sharpness_scaled", "preconditioned_lambda_max_scaled", "frozen_step_sharpness_scaled"):
        np.testing.assert_array_equal(found[name], np.zeros_like(found[name]))


def test_refusals() -> None:
    at = trained(lambda net: SGD(net.parameters(), lr=0.1), 0)
    first, *rest = at.net.parameters()

    def refused(optimizer: torch.optim.Optimizer, words: str) -> None:
        with pytest.raises(InvalidArgument, match=words):
            optimizer_sharpness(at.probe, optimizer, 2)

    refused(torch.optim.Adagrad(at.net.parameters()), "SGD, RMSprop, Adam, AdamW.*got Adagrad")
    refused(SGD([{"params": [first], "lr": 0.5}, {"params": rest}], lr=0.1), r"different learning rates \[0.1, 0.5\]")
    refused(SGD([{"params": [first], "momentum": 0.5}, {"params": rest}], lr=0.1), "different momenta")
    refused(SGD([{"params": [first], "maximize": True}, {"params": rest}], lr=0.1), "different directions")
    refused(SGD(rest, lr=0.1), "it lacks 0.weight")
    refused(SGD(copy.deepcopy(at.net).parameters(), lr=0.1), "not a copy's")
    with pytest.raises(InvalidArgument, match="probe must be a Probe"):
        optimizer_sharpness(at.net, at.optimizer)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="batch_size"):
        optimizer_sharpness(at.probe, at.optimizer, 7)
