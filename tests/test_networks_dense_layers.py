"""Which networks are stacks of linear layers: anything not known to the last detail is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

from sgdmodels.networks.losses import squared_error  # noqa: E402
from sgdmodels.networks.objectives.budget import MemoryBudget  # noqa: E402
from sgdmodels.networks.objectives.dense_chain import DenseChain  # noqa: E402


def recognised(net: nn.Module, inputs: Tensor | None = None) -> bool:
    x = torch.zeros(3, 4) if inputs is None else inputs
    return DenseChain.of(net, squared_error, x, torch.zeros(len(x), 2), MemoryBudget(10**6)) is not None


def test_chains_are_recognised() -> None:
    assert recognised(nn.Linear(4, 2))
    assert recognised(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(3, 1, 2, 2))
    assert recognised(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(3, 2)).eval())
    shared = nn.Tanh()  # has no parameters: may well be used twice
    assert recognised(nn.Sequential(nn.Linear(4, 3), shared, nn.Linear(3, 2), shared))
    assert recognised(nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.GELU()), nn.Sequential(nn.Linear(3, 2))))


class Doubled(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


class Skipping(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + super().forward(inputs)


def with_hook(module: nn.Module, register: str) -> nn.Module:
    getattr(module, register)(lambda *arguments: None)
    return module


def with_forward(module: nn.Module) -> nn.Module:
    module.forward = torch.sin
    return module


def with_own_parameter(net: nn.Module) -> nn.Module:
    net.scale = nn.Parameter(torch.ones(1))
    return net


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second)


def sharing_memory() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = nn.Parameter(first.weight.data)
    return nn.Sequential(first, nn.Tanh(), second)


def used_twice() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def renamed() -> nn.Module:
    layer = nn.Linear(4, 2)
    weight = layer.weight
    del layer.weight
    layer.weight = weight  # now registered after the bias
    return layer


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Sequential(nn.Conv1d(4, 2, 1)),
    "batch_norm": lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)),
    "layer_norm": lambda: nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2)),
    "unknown_activation": lambda: nn.Sequential(nn.Linear(4, 2), nn.Mish()),
    "activation_on_inputs": lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 2)),
    "two_activations": lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.ReLU()),
    "softmax": lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)),
    "dropout_on": lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)),
    "subclass_of_a_layer": lambda: Doubled(4, 2),
    "subclass_of_sequential": lambda: Skipping(nn.Linear(4, 4)),
    "forward_replaced": lambda: nn.Sequential(with_forward(nn.Linear(4, 2))),
    "own_parameter": lambda: with_own_parameter(nn.Sequential(nn.Linear(4, 2))),
    "layer_with_another_parameter": lambda: nn.Sequential(with_own_parameter(nn.Linear(4, 2))),
    "activation_with_a_parameter": lambda: nn.Sequential(nn.Linear(4, 2), with_own_parameter(nn.Tanh())),
    "forward_hook": lambda: with_hook(nn.Linear(4, 2), "register_forward_hook"),
    "forward_pre_hook": lambda: nn.Sequential(with_hook(nn.Linear(4, 2), "register_forward_pre_hook")),
    "backward_hook": lambda: nn.Sequential(nn.Linear(4, 2), with_hook(nn.Tanh(), "register_full_backward_hook")),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
    "spectral": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))),
    "tied": tied,
    "sharing_memory": sharing_memory,
    "used_twice": used_twice,
    "bias_before_weight": renamed,
    "other_dtype": lambda: nn.Linear(4, 2).double(),
    "half_precision": lambda: nn.Linear(4, 2).bfloat16(),
    "sizes_that_do_not_fit": lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(2, 2)),
    "wrong_input_size": lambda: nn.Linear(5, 2),
    "nothing": lambda: nn.Sequential(),
    "no_layer": lambda: nn.Sequential(nn.Flatten()),
    "flattened_samples": lambda: nn.Sequential(nn.Linear(4, 2), nn.Flatten(0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    assert not recognised(REFUSED[name]())


def test_refusals_that_depend_on_the_inputs() -> None:
    assert not recognised(nn.Linear(4, 2), torch.zeros(3, 5, 4))  # a layer applied to each of five rows
    assert not recognised(nn.Linear(4, 2), torch.zeros(0, 4))
    assert not recognised(nn.Linear(4, 2).double(), torch.zeros(3, 4))
