"""Building blocks of the reference nets: activations, residual and attention blocks, patches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
}


class LayerNorm(nn.Module):
    r"""Each token less its mean, over its deviation, times a weight plus a bias; parameters as in torch's LayerNorm.

    By plain operations: nn.LayerNorm's second derivatives are wrong, without an error, in nested `torch.func.jvp`, in
    gradients of jvp, and in vmapped vjp, thus `torch.func.hessian`, on sequences (pytorch issues 196700, 198017).
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.eps = eps

    def reset_parameters(self) -> None:
        """The identity: weight 1, bias 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape, (..., width)."""
        centred = tokens - tokens.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return self.weight * (centred * scale) + self.bias


class ResidualBlock(nn.Module):
    r""":math:`x + s\,\mathrm{conv}(\phi(\mathrm{conv}(\phi(x))))` with 3x3 convolutions that keep the shape."""

    def __init__(self, width: int, activation: Callable[[], nn.Module], scale: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            activation(), nn.Conv2d(width, width, 3, padding=1), activation(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shape, (n, width, height, width of the image)."""
        return inputs + self.scale * self.branch(inputs)


class Patches(nn.Module):
    """Cuts images (n, c, h, w) into squares: (n, h w / side^2, c side^2), row by row."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """One flattened square per token."""
        n, channels, height, width = images.shape
        rows, columns = height // self.side, width // self.side
        squares = images.reshape(n, channels, rows, self.side, columns, self.side).permute(0, 2, 4, 1, 3, 5)
        return squares.reshape(n, rows * columns, channels * self.side**2)


class Positions(nn.Module):
    """Adds one learnt vector to each place of a sequence (n, length, width)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens` with their positions, of the same shape."""
        return tokens + self.weight


class TokenMean(nn.Module):
    """Mean over the tokens of (n, length, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape (n, width)."""
        return tokens.mean(1)


class Attention(nn.Module):
    r"""Multi-head self-attention :math:`\mathrm{softmax}(QK^T/\sqrt{w/h})V`, by matmul and softmax.

    Queries, keys and values have no bias: a bias on keys adds the same to a whole row before the softmax, which
    would be a direction of exactly zero curvature.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.triple = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape, (n, length, width)."""
        n, length, width = tokens.shape
        split = self.triple(tokens).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = split[0], split[1], split[2]
        scores = queries @ keys.transpose(-1, -2) * (width // self.heads) ** -0.5
        mixed = torch.softmax(scores, -1) @ values
        return self.mix(mixed.transpose(1, 2).reshape(n, length, width))


class AttentionBlock(nn.Module):
    """Attention and a two-layer perceptron of four times the width, each after a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.attention = nn.Sequential(LayerNorm(width), Attention(width, heads))
        self.perceptron = nn.Sequential(
            LayerNorm(width), nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """The same shape, (n, length, width)."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.perceptron(tokens)
