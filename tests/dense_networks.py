"""Small dense networks with their per-sample gradients and matrices by torch.func: the truth for `DenseChain`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev, vmap

from sgdmodels.networks.losses import cross_entropy, logistic, squared_error, squared_error_without_half
from sgdmodels.networks.objectives.budget import MemoryBudget
from sgdmodels.networks.objectives.dense_chain import DenseChain
from sgdmodels.networks.objectives.module_objective import ModuleObjective
from sgdmodels.networks.objectives.objective import HESSIAN

SAMPLES = 7
ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"),
    "tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus, "softplus_beta": lambda: nn.Softplus(2.0, threshold=1.5),
    "sigmoid": nn.Sigmoid, "elu": nn.ELU, "elu_half": lambda: nn.ELU(0.5), "identity": nn.Identity,
}  # fmt: skip


def quartic(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss of nobody's list, whose second derivative depends on the outputs."""
    return (outputs - targets).pow(4).sum(1) / 4 + (outputs[:, 0] * outputs[:, -1]) * targets[:, 0]


def linear_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * targets).sum(1)


def logistic_by_softplus(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same loss: torch's logsigmoid warns in a vmap of second derivatives."""
    return nn.functional.softplus(-outputs * targets).reshape(-1)


def chain_of(act: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), act(), nn.Linear(5, 3), act(), nn.Linear(3, 2))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor, Tensor], Tensor], str]] = {
    **{name: (lambda act=act: chain_of(act), squared_error, "values") for name, act in ACTIVATIONS.items()},
    "depth_one": (lambda: nn.Sequential(nn.Linear(4, 2)), squared_error_without_half, "values"),
    "bare_layer": (lambda: nn.Linear(4, 3), cross_entropy, "labels"),
    "no_bias": (
        lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)), cross_entropy, "shares"
    ),
    "output_activation": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.SiLU(), nn.Linear(3, 2, bias=False), nn.Sigmoid()), quartic, "values"
    ),
    "nested": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.GELU()), nn.Dropout(0.0), nn.Linear(3, 3)
        ),
        cross_entropy, "labels",
    ),
    "logistic": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), logistic, "signs"),
    "flat_logistic": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0)), logistic, "flat_signs"
    ),
    "flat_squared": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 1), nn.Flatten(0)),
        squared_error_without_half, "flat_values",
    ),
    "loss_without_curvature": (lambda: chain_of(nn.Tanh), linear_loss, "values"),
    "linear_network": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), quartic, "values"),
}  # fmt: skip


def made_targets(kind: str, outputs: int, generator: torch.Generator) -> Tensor:
    values = torch.randn((SAMPLES, outputs), generator=generator, dtype=torch.float64)
    return {
        "values": values, "labels": torch.randint(outputs, (SAMPLES,), generator=generator),
        "shares": values.softmax(1), "signs": values.sign(), "flat_signs": values[:, 0].sign(),
        "flat_values": values[:, 0],
    }[kind]  # fmt: skip


@dataclasses.dataclass
class Case:
    """A network, its data, a point, and each sample's gradient and matrices there by torch.func."""

    net: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    thetas: Tensor  # (3, d)
    matrix: str

    def chain(self, limit: int = 10**8) -> DenseChain:
        chain = DenseChain.of(self.net, self.loss, self.inputs, self.targets, MemoryBudget(limit), self.matrix)
        assert chain is not None
        return chain

    def module(self) -> ModuleObjective:
        return ModuleObjective(self.net, self.loss, self.inputs, self.targets, MemoryBudget(10**8), self.matrix)

    def all_outputs(self, theta: Tensor, inputs: Tensor | None = None) -> Tensor:
        named, start = {}, 0
        for name, p in self.net.named_parameters():
            named[name] = theta[start : start + p.numel()].view(p.shape)
            start += p.numel()
        return functional_call(self.net, named, (self.inputs if inputs is None else inputs,))

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        return self.all_outputs(theta, x[None])

    def dense(self, theta: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """g_i (n, d) and M_i (n, d, d)."""

        loss = logistic_by_softplus if self.loss is logistic else self.loss

        def one(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return loss(self.outputs(t, x), y[None])[0]

        def newton(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
            f = self.outputs(t, x)
            slopes = jacrev(lambda u: self.outputs(u, x).flatten())(t)
            bend = hessian(lambda u: loss(u.view(f.shape), y[None])[0])(f.flatten())
            return slopes.T @ bend @ slopes

        second = hessian(one) if self.matrix == HESSIAN else newton
        y = self.targets if targets is None else targets
        return (
            vmap(jacrev(one), (None, 0, 0))(theta, self.inputs, y), vmap(second, (None, 0, 0))(theta, self.inputs, y)
        )  # fmt: skip


def case(name: str, matrix: str = HESSIAN) -> Case:
    build, loss, kind = NETS[name]
    generator = torch.Generator().manual_seed(6)
    net = build().double()
    inputs = torch.randn((SAMPLES, 4), generator=generator, dtype=torch.float64)
    if name == "nested":
        inputs = inputs.view(SAMPLES, 2, 2)
    count = sum(p.numel() for p in net.parameters())
    thetas = 0.7 * torch.randn((3, count), generator=generator, dtype=torch.float64)
    outputs = [m for m in net.modules() if isinstance(m, nn.Linear)][-1].out_features
    return Case(net, loss, inputs, made_targets(kind, outputs, generator), thetas, matrix)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert not actual.requires_grad
    scale = float(expected.abs().max())
    assert float((actual - expected).abs().max()) <= tolerance * max(scale, 1e-3)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)
