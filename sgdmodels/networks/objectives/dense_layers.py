"""Stacks of linear layers: which networks are one, and their outputs and backward passes by hand.

Layer l maps a_(l-1) to z_l = W_l a_(l-1) + c_l and a_l = act_l(z_l). A backward pass carries delta_l = dl_i / dz_l, and
a sample's gradient with respect to W_l is the outer product delta_l a_(l-1)', which nobody has to form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .activations import Activation, Linear, activation_of

Matrices = list[tuple[Tensor, Tensor | None]]  # weights and bias of each layer, views of a flat parameter vector


@dataclass(frozen=True)
class Layer:
    """z = W a + c with W (outputs, inputs), then the activation."""

    inputs: int
    outputs: int
    bias: bool
    activation: Activation


class Forward(NamedTuple):
    """a_0 .. a_D and z_1 .. z_D of some samples; a_D are the outputs."""

    values: list[Tensor]
    before: list[Tensor]


@dataclass(frozen=True)
class DenseLayers:
    """Layers in order, parameters as in `named_parameters()`; flat: the one output comes as (n,), not (n, 1)."""

    layers: tuple[Layer, ...]
    flat: bool

    @cached_property
    def sizes(self) -> list[int]:
        return [
            size for layer in self.layers for size in ([layer.inputs * layer.outputs] + [layer.outputs] * layer.bias)
        ]

    @cached_property
    def width(self) -> int:
        """Numbers that one sample's pass holds, about."""
        return sum(layer.inputs + 5 * layer.outputs for layer in self.layers)

    def matrices(self, theta: Tensor) -> Matrices:
        """Views of theta (d,) or of an ensemble (R, d) as W (..., outputs, inputs) and c (..., outputs)."""
        pieces = iter(torch.split(theta, self.sizes, -1))
        lead = theta.shape[:-1]
        return [
            (next(pieces).view(*lead, layer.outputs, layer.inputs), next(pieces) if layer.bias else None)
            for layer in self.layers
        ]

    def forward(self, matrices: Matrices, inputs: Tensor) -> Forward:
        """Passes of inputs (m, p), or of (R, m, p) where matrices are an ensemble's."""
        values, before = [inputs], []
        for layer, (weight, bias) in zip(self.layers, matrices, strict=True):
            z = affine(values[-1], weight, bias)
            before.append(z)
            values.append(layer.activation.value(z))
        return Forward(values, before)

    def backward(self, matrices: Matrices, forward: Forward, cotangent: Tensor) -> list[Tensor]:
        """delta_1 .. delta_D for cotangents of the outputs."""
        deltas = []
        for k in reversed(range(len(self.layers))):
            delta = self.layers[k].activation.pull(cotangent, forward.before[k], forward.values[k + 1])
            deltas.append(delta)
            if k:
                cotangent = torch.matmul(delta, matrices[k][0])
        return deltas[::-1]

    def joined(self, values: list[Tensor], deltas: list[Tensor]) -> Tensor:
        """Sums over samples of delta_l a_(l-1)' and delta_l as flat parameter vectors (d,), or (R, d)."""
        lead = deltas[0].shape[:-2]
        pieces = []
        for layer, a, delta in zip(self.layers, values, deltas, strict=False):
            pieces.append(torch.matmul(delta.mT, a).view(*lead, -1))
            if layer.bias:
                pieces.append(delta.sum(-2))
        return torch.cat(pieces, -1)


def affine(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W a + c for a batch of rows, or for a batch of each member of an ensemble."""
    if weight.dim() == 2:
        return nn.functional.linear(inputs, weight, bias)
    if bias is None:
        return torch.bmm(inputs, weight.mT)
    return torch.baddbmm(bias.unsqueeze(-2), inputs, weight.mT)


def recognised(net: nn.Module, inputs: Tensor) -> DenseLayers | None:
    """The stack that `net` is on these inputs, or None: anything not known to the last detail is refused.

    >>> stack = recognised(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.zeros(5, 3))
    >>> [(layer.inputs, layer.outputs, layer.activation) for layer in stack.layers]
    [(3, 2, Tanh())]
    """
    modules = unfolded(net)
    if modules is None or len(inputs) == 0 or not plain_parameters(modules, net, inputs):
        return None
    layers: list[Layer] = []
    dims, flat = inputs.dim(), False
    for module in modules:
        if flat:
            return None
        if isinstance(module, nn.Linear):
            if dims != 2:
                return None
            layers.append(Layer(module.in_features, module.out_features, module.bias is not None, Linear()))
        elif isinstance(module, nn.Flatten):
            flat = (module.start_dim, module.end_dim) == (0, -1) and bool(layers) and layers[-1].outputs == 1
            if not flat and (module.start_dim, module.end_dim) != (1, -1):
                return None
            dims = 2
        elif not isinstance(module, nn.Dropout | nn.Identity):
            activation = activation_of(module)
            if activation is None or not layers or layers[-1].activation != Linear():
                return None
            layers[-1] = Layer(layers[-1].inputs, layers[-1].outputs, layers[-1].bias, activation)
    if not layers or inputs.flatten(1).shape[1] != layers[0].inputs:
        return None
    stack = DenseLayers(tuple(layers), flat)
    return stack if agrees(stack, net, inputs[:4]) else None


def unfolded(net: nn.Module) -> list[nn.Module] | None:
    """The modules of nested Sequentials in order, if all are torch's own classes without hooks or own attributes."""
    if has_hooks(net):
        return None
    if type(net) is nn.Sequential:
        parts = [unfolded(module) for module in net]
        return None if net._parameters or None in parts else [m for part in parts if part for m in part]
    passing = type(net) is nn.Flatten or (type(net) is nn.Dropout and (not net.training or net.p == 0))
    known = type(net) is nn.Linear or passing or activation_of(net) is not None
    return [net] if known else None


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module may do more than its class says."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    )  # fmt: skip
    return any(hooks) or "forward" in vars(module) or "__call__" in vars(module)


def plain_parameters(modules: list[nn.Module], net: nn.Module, inputs: Tensor) -> bool:
    """Whether named_parameters() are the layers' own weights and biases, in order, untied, of the inputs' dtype."""
    own: list[nn.Parameter] = []
    for module in modules:
        if list(module._parameters) not in ([], ["weight", "bias"]) or list(module.buffers()):
            return False
        own += [p for p in module._parameters.values() if p is not None]
    named = list(net.parameters())
    same = len(own) == len(named) and all(a is b for a, b in zip(own, named, strict=True))
    kinds = {(p.dtype, p.device) for p in named} | {(inputs.dtype, inputs.device)}
    storages = {p.data_ptr() for p in named}
    return same and len(kinds) == 1 and inputs.dtype in (torch.float32, torch.float64) and len(storages) == len(named)


def agrees(stack: DenseLayers, net: nn.Module, inputs: Tensor) -> bool:
    """Whether the stack's outputs on a few samples are the network's: a guard against what nobody thought of."""
    with torch.no_grad():
        try:
            expected = net(inputs)
        except RuntimeError:  # sizes that do not fit each other; the network's own error is clearer
            return False
        theta = torch.cat([p.reshape(-1) for p in net.parameters()])
        outputs = stack.forward(stack.matrices(theta), inputs.flatten(1)).values[-1]
        outputs = outputs[:, 0] if stack.flat else outputs
        tolerance = 100 * torch.finfo(outputs.dtype).eps
        return expected.shape == outputs.shape and torch.allclose(
            outputs, expected, rtol=tolerance, atol=tolerance, equal_nan=True
        )
