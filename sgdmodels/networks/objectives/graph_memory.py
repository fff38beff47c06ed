"""Memory that the graph of a gradient holds, measured on a few samples: a part for each sample, a part for all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .automatic import Automatic


class GraphMemory(NamedTuple):
    """Bytes for each sample, and bytes whatever the number of samples (the parameters', mostly)."""

    sample: int
    fixed: int


def graph_memory(automatic: Automatic, inputs: Tensor, targets: Tensor, dtype: torch.dtype) -> GraphMemory:
    """By the graphs of two and four samples: what the former holds, and what two more samples add to it."""
    two, four = (_held(automatic, inputs, targets, dtype, count) for count in (2, 4))
    data = sum(tensor[:1].numel() * tensor.element_size() for tensor in (inputs, targets))
    sample = max((four - two) // 2, data)
    return GraphMemory(sample, max(two - 2 * sample, 0))


def _held(automatic: Automatic, inputs: Tensor, targets: Tensor, dtype: torch.dtype, count: int) -> int:
    """Bytes of all storages that the graph of a gradient of `count` samples keeps, each counted once."""
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    chosen = torch.arange(count, device=inputs.device) % len(inputs)
    point = torch.cat([p.detach().reshape(-1) for p in automatic.net.parameters()]).requires_grad_()
    weight = torch.ones(count, dtype=dtype, device=inputs.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = automatic.weighted_loss(point, inputs[chosen], targets[chosen], weight)
        (slope,) = torch.autograd.grad(value, point, create_graph=True)
    keep(slope.detach())
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())
