"""Elementwise activations with the derivatives that gradients and curvatures of a stack of layers need, by hand.

First derivatives go through the kernels that autograd itself calls, so that gradients agree to the last bits; second
ones are spelled out. Where a kink has no derivative, autograd's choice is taken. Third derivatives are never needed:
products with a Hessian differentiate a gradient once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

kernels = torch.ops.aten


class Activation(ABC):
    """a = act(z), elementwise."""

    curved = True  # False: piecewise linear, act'' = 0
    straight = False  # True: act' = 1

    @abstractmethod
    def value(self, z: Tensor) -> Tensor:
        """act(z)."""

    @abstractmethod
    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """cotangent * act'(z), with a = act(z) already known."""

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        """act''(z)."""
        return torch.zeros_like(z)


@dataclass(frozen=True)
class Linear(Activation):
    """act(z) = z."""

    curved = False
    straight = True

    def value(self, z: Tensor) -> Tensor:
        return z

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return cotangent


@dataclass(frozen=True)
class Rectifier(Activation):
    """max(z, 0) + negative_slope * min(z, 0)."""

    negative_slope: float
    curved = False

    def value(self, z: Tensor) -> Tensor:
        if self.negative_slope == 0:
            return torch.relu(z)
        return nn.functional.leaky_relu(z, self.negative_slope)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        if self.negative_slope == 0:
            return kernels.threshold_backward(cotangent, z, 0)
        return kernels.leaky_relu_backward(cotangent, z, self.negative_slope, False)


@dataclass(frozen=True)
class GaussianGate(Activation):
    """z Phi(z), Phi the normal distribution function: the exact GELU."""

    def value(self, z: Tensor) -> Tensor:
        return nn.functional.gelu(z)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.gelu_backward(cotangent, z)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        square = z.clamp(-40, 40).square()  # beyond, the density is zero and the square might be infinite
        density = square.mul(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        return density.mul_(square.neg_().add_(2))


@dataclass(frozen=True)
class TanhGate(Activation):
    """z (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (z + 0.044715 z^3): GELU's tanh form."""

    def value(self, z: Tensor) -> Tensor:
        return nn.functional.gelu(z, approximate="tanh")

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.gelu_backward(cotangent, z, approximate="tanh")

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        scale, cube = math.sqrt(2 / math.pi), 0.044715
        z = z.clamp(-30, 30)  # beyond, tanh(u) is one to the last bit
        square = z * z
        u = scale * z * (1 + cube * square)
        first = scale * (1 + 3 * cube * square)
        decay = 4 * torch.sigmoid(2 * u) * torch.sigmoid(-2 * u)  # 1 - tanh(u)^2 without its cancellation
        return decay * (first + scale * 3 * cube * square - z * torch.tanh(u) * first * first)


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh(z)."""

    def value(self, z: Tensor) -> Tensor:
        return torch.tanh(z)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.tanh_backward(cotangent, a)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        return -2 * kernels.tanh_backward(a, a)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-z))."""

    def value(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.sigmoid_backward(cotangent, a)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        return kernels.sigmoid_backward(1 - 2 * a, a)


@dataclass(frozen=True)
class SigmoidGate(Activation):
    """z / (1 + exp(-z)): SiLU."""

    def value(self, z: Tensor) -> Tensor:
        return nn.functional.silu(z)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.silu_backward(cotangent, z)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        s = torch.sigmoid(z)
        return kernels.sigmoid_backward(2 + z * (1 - 2 * s), s)


@dataclass(frozen=True)
class Softplus(Activation):
    """log(1 + exp(beta z)) / beta, and z itself where beta z > threshold."""

    beta: float
    threshold: float

    def value(self, z: Tensor) -> Tensor:
        return nn.functional.softplus(z, self.beta, self.threshold)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.softplus_backward(cotangent, z, self.beta, self.threshold)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        s = torch.sigmoid(self.beta * z)
        return torch.where(self.beta * z > self.threshold, 0.0, self.beta * s * (1 - s))


@dataclass(frozen=True)
class ExponentialUnit(Activation):
    """z for z > 0, alpha (exp(z) - 1) below: ELU."""

    alpha: float

    def value(self, z: Tensor) -> Tensor:
        return nn.functional.elu(z, self.alpha)

    def pull(self, cotangent: Tensor, z: Tensor, a: Tensor) -> Tensor:
        return kernels.elu_backward(cotangent, self.alpha, 1, 1, False, z)

    def bend(self, z: Tensor, a: Tensor) -> Tensor:
        return torch.where(z < 0, self.alpha * z.clamp(max=0).exp(), 0.0)


def activation_of(module: nn.Module) -> Activation | None:
    """The activation that a module of one of torch's own classes computes; None for any other module.

    >>> activation_of(nn.LeakyReLU(0.1))
    Rectifier(negative_slope=0.1)
    """
    kind = type(module)
    if kind is nn.Identity:
        return Linear()
    if kind is nn.ReLU:
        return Rectifier(0.0)
    if isinstance(module, nn.LeakyReLU) and kind is nn.LeakyReLU:
        return Rectifier(module.negative_slope)
    if isinstance(module, nn.GELU) and kind is nn.GELU:
        return {"none": GaussianGate(), "tanh": TanhGate()}.get(module.approximate)
    if kind is nn.Tanh:
        return Tanh()
    if kind is nn.Sigmoid:
        return Sigmoid()
    if kind is nn.SiLU:
        return SigmoidGate()
    if isinstance(module, nn.Softplus) and kind is nn.Softplus:
        return Softplus(module.beta, module.threshold)
    if isinstance(module, nn.ELU) and kind is nn.ELU:
        return ExponentialUnit(module.alpha)
    return None
