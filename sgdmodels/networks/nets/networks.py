"""Small reference nets of standard modules, all with second derivatives and without batch statistics.

Each takes `seed`, `init` and `init_scale` (see `sgdmodels.networks.nets.initial`), `dtype` and `device`, and leaves the
global random state alone. Images come as (n, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from ...arguments import integer, one_of, real
from ...errors import InvalidArgument
from .blocks import ACTIVATIONS, AttentionBlock, LayerNorm, Patches, Positions, ResidualBlock, TokenMean
from .initial import initialised

Layers = Callable[[int], list[nn.Module]]


def _sizes(name: str, values: Sequence[int], least: int, what: str) -> list[int]:
    """`values` as a list of at least `least` positive integers."""
    if not isinstance(values, list | tuple) or len(values) < least:
        raise InvalidArgument(f"{name} must be a sequence of {what}, got {values!r}")
    return [integer(f"{name}[{i}]", value, 1) for i, value in enumerate(values)]


def _image_shape(shape: Sequence[int]) -> list[int]:
    sizes = _sizes("image_shape", shape, 3, "(channels, height, width)")
    if len(sizes) != 3:
        raise InvalidArgument(f"image_shape must be (channels, height, width) without the samples, got {shape}")
    return sizes


def _divisible(height: int, width: int, by: int, why: str) -> None:
    if height % by or width % by:
        raise InvalidArgument(f"{why} needs images whose sides are multiples of {by}, got {height} x {width}")


def mlp(
    sizes: Sequence[int],
    activation: str = "gelu",
    *,
    bias: bool = True,
    seed: int = 0,
    init: str = "default",
    init_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A multilayer perceptron of widths `sizes` (inputs first, outputs last) on inputs (n, sizes[0]).

    Activations: identity, relu, gelu, silu, tanh, sigmoid, softplus, elu; none after the last layer. Raises
    InvalidArgument.

    >>> sum(p.numel() for p in mlp([64, 32, 32, 10]).parameters())  # 65*32 + 33*32 + 33*10
    3466
    """
    widths = _sizes("sizes", sizes, 2, "two or more widths, inputs first and outputs last")
    kind = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs, bias=bias), kind()]
        return nn.Sequential(*layers[:-1])

    return initialised(build, seed=seed, init=init, init_scale=init_scale, dtype=dtype, device=device)


def cnn(
    image_shape: Sequence[int],
    classes: int,
    *,
    widths: Sequence[int] = (8, 16),
    activation: str = "gelu",
    seed: int = 0,
    init: str = "default",
    init_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A convolutional net: per width a 3x3 convolution, activation and 2x2 average pooling, then one linear layer.

    Average pooling is smooth where maximum pooling has kinks. Sides must be multiples of 2^len(widths). Raises
    InvalidArgument.

    >>> sum(p.numel() for p in cnn((1, 8, 8), 10, widths=[4]).parameters())  # 4*(9 + 1) + 10*(4*16 + 1)
    690
    """
    channels, height, width = _image_shape(image_shape)
    stages = _sizes("widths", widths, 1, "one or more numbers of channels")
    kind = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
    classes = integer("classes", classes, 1)
    shrink = 2 ** len(stages)
    _divisible(height, width, shrink, f"pooling {len(stages)} times")

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([channels, *stages]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), kind(), nn.AvgPool2d(2)]
        features = stages[-1] * (height // shrink) * (width // shrink)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))

    return initialised(build, seed=seed, init=init, init_scale=init_scale, dtype=dtype, device=device)


def resnet(
    image_shape: Sequence[int],
    classes: int,
    *,
    widths: Sequence[int] = (8, 16),
    blocks: int = 1,
    residual_scale: float | None = None,
    activation: str = "gelu",
    seed: int = 0,
    init: str = "default",
    init_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    r"""A residual net without batch norm: :math:`x + s\,\mathrm{conv}(\phi(\mathrm{conv}(\phi(x))))` per block.

    One stage of `blocks` blocks per width; between stages 2x2 average pooling and a 1x1 convolution; at the end an
    average over pixels and a linear layer. `residual_scale` s is by default 1/sqrt(number of blocks), which keeps
    the outputs' size whatever the depth (the role of batch norm at the start). Raises InvalidArgument.

    >>> sum(p.numel() for p in resnet((1, 4, 4), 2, widths=[3]).parameters())  # 30 + 2*(27 + 1)*3 + 2*(3 + 1)
    206
    """
    channels, height, width = _image_shape(image_shape)
    stages = _sizes("widths", widths, 1, "one or more numbers of channels")
    kind = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
    classes, blocks = integer("classes", classes, 1), integer("blocks", blocks, 1)
    scale = (blocks * len(stages)) ** -0.5 if residual_scale is None else real("residual_scale", residual_scale)
    _divisible(height, width, 2 ** (len(stages) - 1), f"pooling {len(stages) - 1} times")

    def build() -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(channels, stages[0], 3, padding=1)]
        for stage, outputs in enumerate(stages):
            if stage:
                layers += [nn.AvgPool2d(2), nn.Conv2d(stages[stage - 1], outputs, 1)]
            layers += [ResidualBlock(outputs, kind, scale) for _ in range(blocks)]
        layers += [kind(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(stages[-1], classes)]
        return nn.Sequential(*layers)

    return initialised(build, seed=seed, init=init, init_scale=init_scale, dtype=dtype, device=device)


def _tokens(shape: Sequence[int], patch: int, vocabulary: int | None) -> tuple[int, Layers]:
    """Length of the sequence, and what makes the layers from inputs of `shape` to tokens of a given width."""
    sizes = _sizes("input_shape", shape, 1, "(channels, height, width), (length, features) or (length,)")
    if (len(sizes) == 1) != (vocabulary is not None):
        raise InvalidArgument(
            f"vocabulary goes with input_shape (length,), for integer tokens, and with no other; "
            f"got input_shape {tuple(shape)} and vocabulary {vocabulary}"
        )
    if vocabulary is not None:
        words = integer("vocabulary", vocabulary, 1)
        return sizes[0], lambda width: [nn.Embedding(words, width)]
    if len(sizes) == 2:
        return sizes[0], lambda width: [nn.Linear(sizes[1], width)]
    channels, height, across = _image_shape(sizes)
    patch = integer("patch", patch, 1)
    _divisible(height, across, patch, f"patch={patch}")
    features = channels * patch * patch
    return (height // patch) * (across // patch), lambda width: [Patches(patch), nn.Linear(features, width)]


def transformer(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int = 16,
    heads: int = 2,
    blocks: int = 1,
    patch: int = 4,
    vocabulary: int | None = None,
    activation: str = "gelu",
    seed: int = 0,
    init: str = "default",
    init_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> nn.Sequential:
    """A tiny pre-norm transformer with learnt positions; the mean over tokens goes to a linear layer.

    `input_shape` is an image's (channels, height, width), cut into squares of side `patch`; a sequence's (length,
    features); or (length,) for integer tokens below `vocabulary`. Attention is matmul and softmax: fused kernels have
    no second derivative. Raises InvalidArgument.

    >>> net = transformer((1, 8, 8), 10, width=8, blocks=2)
    >>> net(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    length, embed = _tokens(input_shape, patch, vocabulary)
    width, heads, blocks = integer("width", width, 1), integer("heads", heads, 1), integer("blocks", blocks, 1)
    outputs = integer("outputs", outputs, 1)
    kind = ACTIVATIONS[one_of("activation", activation, ACTIVATIONS)]
    if width % heads:
        raise InvalidArgument(f"width must be a multiple of heads, got width {width} and heads {heads}")

    def build() -> nn.Sequential:
        layers = [*embed(width), Positions(length, width)]
        layers += [AttentionBlock(width, heads, kind) for _ in range(blocks)]
        return nn.Sequential(*layers, LayerNorm(width), TokenMean(), nn.Linear(width, outputs))

    return initialised(build, seed=seed, init=init, init_scale=init_scale, dtype=dtype, device=device)
