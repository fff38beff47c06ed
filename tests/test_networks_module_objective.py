"""Layers that vmap takes, takes wrongly or refuses: all answers against explicit loops of double backward passes and
finite differences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.losses import cross_entropy, squared_error
from sgdmodels.networks.objectives.budget import MemoryBudget
from sgdmodels.networks.objectives.module_objective import VMAP_UP_TO, ModuleObjective
from sgdmodels.networks.objectives.objective import GAUSS_NEWTON, HESSIAN, MATRICES

SAMPLES = 5
PLENTY = 2**30


class Attention(nn.Module):
    """One head by hand, after a LayerNorm, beside a residual path."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.norm, self.project, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(self.norm(inputs)).chunk(3, -1)
        mixed = torch.softmax(query @ key.transpose(-1, -2) / 2, -1) @ value
        return self.out((inputs + mixed).mean(1))


class Tokens(nn.Module):
    def __init__(self, padding: int | None) -> None:
        super().__init__()
        self.embedding, self.attention = nn.Embedding(5, 3, padding_idx=padding), Attention()
        if padding is not None:
            self.embedding.weight.data[padding] = 0.3  # not zero, so that what moves it is seen

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attention(self.embedding(inputs))


class FunctionalTokens(nn.Module):
    """Padding that no module tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Parameter(torch.randn(5, 3)), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(torch.tanh(nn.functional.embedding(inputs, self.table, padding_idx=4)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer, self.out = kind(3, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.layer(inputs)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(torch.tanh(self.second(torch.tanh(self.first(inputs)))))


class Scalars(nn.Module):
    """Parameters without axes, and a buffer that each forward pass writes without using what it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(-0.3))
        self.register_buffer("shift", torch.tensor([0.5, -0.2]))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.inner * inputs[:, :2] + self.shift) * self.outer


class Reads(nn.Module):
    """Branches on a number that it reads from a parameter, and picks inputs by a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        sign = 1.0 if self.first.weight.norm().item() > 0 else -1.0
        return self.out(torch.tanh(sign * self.first(inputs[inputs.isfinite()].view(inputs.shape))))


def convolution(mode: str) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode=mode), nn.GroupNorm(1, 2), nn.ReLU(inplace=True), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


def around(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 2))


def transposed() -> nn.Module:
    net = around(nn.Tanh())
    net[0].weight = nn.Parameter(torch.randn(3, 4).t())
    return net


ALL = {"ensembles", "batches", "projections", "vectors"}
# net, its kind of inputs, what may not be mapped: None where torch's own progress may change it
NETS: dict[str, tuple[Callable[[], nn.Module], str, set[str] | None]] = {
    "layer_norm": (lambda: around(nn.LayerNorm(4), nn.Tanh()), "vectors", set()),
    "group_norm": (lambda: around(nn.GroupNorm(2, 4), nn.Tanh()), "vectors", None),
    "attention": (Attention, "series", set()),
    "tokens": (lambda: Tokens(None), "tokens", set()),
    "padding": (lambda: Tokens(0), "tokens", ALL),
    "functional_padding": (FunctionalTokens, "tokens", None),
    "lstm": (lambda: Recurrent(nn.LSTM), "series", None),
    "tied": (Tied, "vectors", set()),
    "scalars": (Scalars, "vectors", set()),
    "reads": (Reads, "vectors", {"ensembles", "batches", "projections"}),
    "in_place": (lambda: around(nn.SiLU(inplace=True)), "vectors", set()),
    "transposed": (transposed, "vectors", set()),
    "channels_last": (lambda: convolution("zeros").to(memory_format=torch.channels_last), "images", None),
    **{mode: (lambda mode=mode: convolution(mode), "images", None) for mode in ("reflect", "circular")},
}  # fmt: skip


@dataclasses.dataclass
class Case:
    net: nn.Module
    inputs: Tensor
    targets: Tensor

    def objective(self, matrix: str = HESSIAN, limit: int = PLENTY) -> ModuleObjective:
        return ModuleObjective(self.net, squared_error, self.inputs, self.targets, MemoryBudget(limit), matrix)

    @property
    def theta(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.net.parameters()])

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        parameters = dict(self.net.named_parameters())
        pieces = torch.split(theta, [p.numel() for p in parameters.values()])
        return {name: piece.view(p.shape) for (name, p), piece in zip(parameters.items(), pieces, strict=True)}

    def outputs(self, theta: Tensor, i: int) -> Tensor:
        return functional_call(self.net, self.named(theta), (self.inputs[i : i + 1],))

    def gradient(self, theta: Tensor, i: int, again: bool = False) -> tuple[Tensor, Tensor]:
        point = theta.detach().requires_grad_()
        value = squared_error(self.outputs(point, i), self.targets[i : i + 1]).sum()
        return torch.autograd.grad(value, point, create_graph=again)[0], point

    def gradients(self, theta: Tensor) -> Tensor:
        return torch.stack([self.gradient(theta, i)[0] for i in range(SAMPLES)])

    def rows(self, of: Tensor, point: Tensor) -> Tensor:
        one = [
            torch.autograd.grad(value, point, retain_graph=True, materialize_grads=True)[0] for value in of.flatten()
        ]
        return torch.stack(one)

    def matrices(self, theta: Tensor, matrix: str) -> Tensor:
        if matrix == HESSIAN:
            return torch.stack([self.rows(*self.gradient(theta, i, again=True)) for i in range(SAMPLES)])
        points = [theta.detach().requires_grad_() for _ in range(SAMPLES)]
        slopes = torch.stack([self.rows(self.outputs(p, i), p) for i, p in enumerate(points)])
        return slopes.mT @ slopes  # the squared loss has the second derivative 1


def case(name: str) -> Case:
    build, kind, _ = NETS[name]
    generator = torch.Generator().manual_seed(4)
    net = build().double()
    for p in net.parameters():
        p.data.copy_(0.7 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    shape = {"vectors": (3,), "series": (3, 3), "images": (1, 4, 4), "tokens": (4,)}[kind]
    inputs = torch.randn((SAMPLES, *shape), generator=generator, dtype=torch.float64)
    if kind == "tokens":
        inputs = torch.randint(5, (SAMPLES, 4), generator=generator)
        inputs[:, 0], inputs[:, -1] = 0, 4
    return Case(net, inputs, torch.randn((SAMPLES, 2), generator=generator, dtype=torch.float64))


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert actual.shape == expected.shape
    assert not actual.requires_grad
    assert float((actual - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-3)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", NETS)
def test_every_answer_is_that_of_explicit_loops(name: str, matrix: str) -> None:
    made = case(name)
    before = {key: value.clone() for key, value in made.net.state_dict().items()}
    objective, theta = made.objective(matrix), made.theta
    g, m = made.gradients(theta), made.matrices(theta, matrix)
    mean, direction = m.mean(0), random(objective.dim)
    index, weight = torch.tensor([[0, 3], [2, 2], [4, 1]]), random(3, 2)
    thetas = theta + 0.1 * random(3, objective.dim)

    each = [made.gradients(t) for t in thetas]
    rows = torch.stack([w @ one[i] for w, one, i in zip(weight, each, index, strict=True)])
    close(objective.gradients(thetas, index, weight), rows)
    close(objective.gradients(thetas[:1], index[:1], weight[:1]), rows[:1])
    full = random(3, SAMPLES)
    close(objective.gradients(thetas, None, full), torch.stack([w @ one for w, one in zip(full, each, strict=True)]))
    moved = Case(made.net, made.inputs, made.targets - 1)
    other = torch.stack([w @ moved.gradients(t) for w, t in zip(full, thetas, strict=True)])
    close(objective.gradients(thetas, None, full, (made.targets - 1).expand(3, -1, -1)), other)

    for count in (1, 2, 3, 5):
        vectors = random(count, objective.dim)
        close(objective.operator(theta)(vectors), vectors @ mean)
    close(
        objective.operator(theta, index[0], weight[0])(vectors),
        vectors @ (weight[0, :, None, None] * m[index[0]]).sum(0),
    )

    batch_g, batch_m = g[index].mean(1), m[index].mean(1)
    found = objective.batch_curvatures(theta, index)
    close(found.curvature, torch.einsum("bi,bij,bj->b", batch_g, batch_m, batch_g))
    close(found.square, batch_g.square().sum(1))
    along = objective.directional(theta, direction)
    close(along.slope, g @ direction)
    close(along.curvature, direction @ m @ direction)
    close(along.mixed, torch.einsum("ni,nij,j->n", g, m, direction))
    close(objective.gradient_curvatures(theta), torch.einsum("ni,ij,nj->n", g, mean, g))
    basis = random(2, objective.dim)
    close(objective.projected(theta, basis), basis @ m @ basis.T)
    close(objective.squared_gradients(thetas), torch.stack([one.square().mean(0) for one in each]))
    curved = made.matrices(theta, HESSIAN)
    close(objective.mean_hessian_gradient(theta), torch.einsum("nij,nj->i", curved, g) / SAMPLES)
    losses = [squared_error(made.outputs(theta, i), made.targets[i : i + 1]) for i in range(SAMPLES)]
    close(objective.sample_losses(theta), torch.cat(losses).detach())

    loops = {key for key, mapped in objective.mapped.items() if not mapped}
    assert NETS[name][2] is None or loops == NETS[name][2]
    after = made.net.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in after.items() if key != "calls")


def test_buffers_are_not_written() -> None:
    made = case("scalars")
    objective = made.objective()
    objective.gradients(made.theta.expand(2, -1), None, random(2, SAMPLES))
    objective.operator(made.theta)(random(2, objective.dim))
    objective.sample_losses(made.theta)
    assert made.net.calls == 0


@pytest.mark.parametrize("name", NETS)
def test_the_explicit_loops_are_finite_differences(name: str) -> None:
    """Padding rows are held fixed, so no difference is taken along them."""
    made = case(name)
    theta, step = made.theta, 1e-6
    g, h = made.gradients(theta), made.matrices(theta, HESSIAN)
    direction = random(len(theta)) * (g.abs().max(0).values > 0)
    ahead, behind = made.gradients(theta + step * direction), made.gradients(theta - step * direction)
    close(h @ direction, (ahead - behind) / (2 * step), 1e-6)
    sums = [
        torch.cat([squared_error(made.outputs(t, i), made.targets[i : i + 1]) for i in range(SAMPLES)]).detach()
        for t in (theta + step * direction, theta - step * direction)
    ]
    close(g @ direction, (sums[0] - sums[1]) / (2 * step), 1e-6)


def test_padding_rows_stay_in_every_member() -> None:
    """torch's batching rule moves them from the second member on."""
    made = case("padding")
    rows = made.objective().gradients(made.theta.expand(4, -1), None, random(4, SAMPLES))
    assert (rows[:, :3] == 0).all()


def test_interpolating_networks_are_mapped() -> None:
    """Gradients that are rounding errors do not look like a disagreement."""
    made = case("layer_norm")
    fitted = functional_call(made.net, made.named(made.theta), (made.inputs,)).detach()
    assert all(Case(made.net, made.inputs, fitted).objective().mapped.values())


def test_single_precision_and_labels() -> None:
    made = case("layer_norm")
    labels = torch.tensor([0, 1, 1, 0, 1])
    objective = ModuleObjective(made.net.float(), cross_entropy, made.inputs.float(), labels, MemoryBudget(PLENTY))
    assert all(objective.mapped.values())
    assert objective.with_matrix(GAUSS_NEWTON).with_matrix(HESSIAN) is objective
    assert objective.with_matrix(GAUSS_NEWTON) is objective.with_matrix(GAUSS_NEWTON)


class Unfit(nn.Module):
    """Runs once, and then never again where a gradient is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError("no kernel for this layer")


def test_a_network_that_no_loop_can_differentiate_is_refused() -> None:
    objective = ModuleObjective(Unfit(), squared_error, torch.ones(4, 3), torch.ones(4, 2), MemoryBudget(PLENTY))
    objective.__dict__["memory"] = case("tied").objective().memory
    with pytest.raises(InvalidArgument, match=r"derivatives of Unfit cannot be computed.*no kernel for this layer"):
        _ = objective.mapped


def wide(samples: int, width: int) -> Case:
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2)).double()
    data = (torch.randn((samples, k), generator=generator, dtype=torch.float64) for k in (3, 2))
    return Case(net, *data)


@pytest.mark.parametrize("width", [4, 300])
def test_memory_of_a_sample_is_what_its_graph_needs(width: int) -> None:
    """Linear, tanh, linear: inputs, tanh and outputs are kept (3 + h + 2), the chain through tanh at most 5 times h."""
    sample, fixed = wide(9, width).objective().memory
    assert 8 * (3 + width) <= sample <= 8 * (2 * (3 + 2) + 6 * width + 4)
    assert 8 * wide(9, width).objective().dim <= fixed <= 8 * 6 * wide(9, width).objective().dim


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "lstm"])
def test_the_kept_and_the_rebuilt_graph_agree(name: str) -> None:
    made = case(name)
    mean = made.matrices(made.theta, HESSIAN).mean(0)
    vectors = random(4, len(mean))
    memory = made.objective().memory
    for samples_held in (0.5, 1, 2.5, 5):
        objective = made.objective(limit=int(memory.sample * samples_held))
        close(objective.operator(made.theta)(vectors), vectors @ mean)


def test_graphs_within_the_budget_are_kept_and_others_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = wide(40, 8)
    sample, fixed = made.objective().memory
    built: list[int] = []
    for limit in (2 * (fixed + 40 * sample), 3 * fixed + 20 * sample):
        objective = made.objective(limit=limit)
        original, sizes = objective.automatic.products, []

        def products(point: Tensor, x: Tensor, *rest: Any, original: Any = original, sizes: Any = sizes) -> Any:
            sizes.append(len(x))
            return original(point, x, *rest)

        _ = objective.mapped
        monkeypatch.setattr(objective.automatic, "products", products)
        product = objective.operator(made.theta)
        for _ in range(3):
            product(random(2, objective.dim))
        built.append(len(sizes))
        assert max(sizes) * sample <= limit
    assert built == [1, 12]  # once; three times in four parts of 10 samples, half of what fits


@pytest.mark.parametrize("holds", [1, 3, 10])
def test_when_memory_runs_out_parts_are_halved(monkeypatch: pytest.MonkeyPatch, holds: int) -> None:
    """A machine that holds `holds` samples, whatever the budget says."""
    made = wide(40, 4)
    objective = made.objective()
    expected = objective.operator(made.theta)(random(3, objective.dim))
    mean = objective.gradient(made.theta)
    curvature = objective.batch_curvatures(made.theta, torch.arange(40)[None])
    for rules in (objective.automatic, objective.taped):
        original = rules.outputs

        def outputs(theta: Tensor, x: Tensor, original: Any = original) -> Tensor:
            if len(x) > holds:
                raise torch.OutOfMemoryError("out of memory")
            return original(theta, x)

        monkeypatch.setattr(rules, "outputs", outputs)
    close(objective.operator(made.theta)(random(3, objective.dim)), expected)
    objective.budget.limit = PLENTY
    close(objective.gradient(made.theta), mean)
    objective.budget.limit = objective.sample_bytes * holds
    one = objective.batch_curvatures(made.theta, torch.arange(40)[None])
    close(one.curvature, curvature.curvature)
    close(one.square, curvature.square)


def test_large_networks_loop_over_batches() -> None:
    made = wide(3, VMAP_UP_TO // 6 + 1)
    objective = made.objective()
    assert objective.dim > VMAP_UP_TO
    assert objective.mapped == {"ensembles": False, "batches": False, "projections": False, "vectors": True}
