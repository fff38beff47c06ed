r"""Initial weights of the reference nets, drawn from their own generator.

Numbers are drawn in float64 on the CPU and then rounded and moved: one seed gives one net for every dtype and device.
With fan_in inputs per unit (channels times kernel area in a convolution) and s = `init_scale`:

=========  ==================================================================================
default    s times torch's own: weights and biases uniform in :math:`\pm1/\sqrt{fan\_in}`
normal     weights :math:`N(0, s^2/fan\_in)`, biases 0
kaiming    weights :math:`N(0, 2s^2/fan\_in)`, biases 0: the published code's for ReLU and SiLU
=========  ==================================================================================

So the published "init scale 0.2" is `init="kaiming", init_scale=0.2`, and N(0, 0.36/fan_in) is `init="normal",
init_scale=0.6`. LayerNorms start at the identity, embeddings at N(0, s^2), positions at N(0, 0.02^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...arguments import integer, one_of, real
from ...errors import InvalidArgument
from .blocks import LayerNorm, Positions

Net = TypeVar("Net", bound=nn.Module)
GAINS = {"normal": 1.0, "kaiming": math.sqrt(2)}
POSITION_DEVIATION = 0.02  # of positions, as in vision transformers


class Initialiser:
    """Draws the parameters of one net in the order of its modules."""

    def __init__(self, init: str, scale: float, seed: int) -> None:
        self.init, self.scale = init, scale
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, parameter: Tensor, deviation: float) -> None:
        """Fills with N(0, deviation^2)."""
        values = torch.randn(parameter.shape, generator=self.generator, dtype=torch.float64)
        parameter.copy_(deviation * values)

    def uniform(self, parameter: Tensor, bound: float) -> None:
        """Fills uniformly in [-bound, bound)."""
        values = torch.empty(parameter.shape, dtype=torch.float64).uniform_(-bound, bound, generator=self.generator)
        parameter.copy_(self.scale * values)

    def units(self, layer: nn.Linear | nn.Conv2d) -> None:
        """Weights and biases of a linear or convolutional layer."""
        fan_in = layer.weight[0].numel()
        if self.init == "default":
            self.uniform(layer.weight, 1 / math.sqrt(fan_in))
            if layer.bias is not None:
                self.uniform(layer.bias, 1 / math.sqrt(fan_in))
            return
        self.normal(layer.weight, GAINS[self.init] * self.scale / math.sqrt(fan_in))
        if layer.bias is not None:
            layer.bias.zero_()

    def module(self, module: nn.Module) -> None:
        """Parameters that belong to `module` itself and not to its children."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            self.units(module)
        elif isinstance(module, nn.Embedding):  # one entry is read at a time: fan_in 1
            self.normal(module.weight, self.scale)
        elif isinstance(module, Positions):
            self.normal(module.weight, POSITION_DEVIATION)
        elif isinstance(module, LayerNorm):
            module.reset_parameters()


def initialised(
    build: Callable[[], Net],
    *,
    seed: int,
    init: str,
    init_scale: float,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Net:
    """The net that `build` makes, with drawn parameters; the global random state is neither read nor advanced.

    Raises InvalidArgument.
    """
    seed = integer("seed", seed, 0)
    init = one_of("init", init, ("default", *GAINS))
    init_scale = real("init_scale", init_scale)
    if dtype not in (torch.float32, torch.float64):
        raise InvalidArgument(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    with torch.device("meta"):  # shapes without storage: torch's own initialisation draws nothing
        net = build()
    net = net.to(dtype).to_empty(device=torch.get_default_device() if device is None else device)
    initialiser = Initialiser(init, init_scale, seed)
    with torch.no_grad():
        for module in net.modules():
            initialiser.module(module)
    return net
