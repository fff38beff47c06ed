"""Which of torch's transforms give right numbers for a network: tried on a few samples against plain loops.

Not every layer goes through vmap: some have no batching rule (recurrent layers, values read by `.item()`), some a wrong
one (GroupNorm for stacked vectors, padding rows of embeddings from the second member on). Where a transform fails or
disagrees with the loop, the loop is used: slower, and right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from ...errors import InvalidArgument
from .budget import is_out_of_memory
from .objective import Objective

SAMPLES = 3
# Mapped and looped work sum in another order, on GPUs with 10-bit factors (TF32); wrong rules are off by far more.
AGREEMENT = {torch.float32: 1e-2, torch.float64: 1e-6}
SHIFT = 0.02  # of the parameters' size: away from interpolating points, where gradients are rounding errors


class Small(Protocol):
    """Objective of the samples `index` that maps all transforms, or none."""

    def __call__(self, index: Tensor, mapped: bool) -> Objective: ...


def ensembles(objective: Objective, thetas: Tensor) -> list[Tensor]:
    """Gradients of two members at once: of their own batches, of all samples, of targets of their own."""
    count = objective.samples
    order = torch.arange(count, device=thetas.device)
    index, weight = torch.stack([order, order.flip(0)]), _varied(2, count, thetas)
    targets = torch.stack([objective.targets, objective.targets])
    return [
        objective.gradients(thetas, index, weight),
        objective.gradients(thetas, None, weight),
        objective.gradients(thetas, None, weight, targets),
    ]


def batches(objective: Objective, thetas: Tensor) -> list[Tensor]:
    """Gradients and products of two batches at once."""
    order = torch.arange(objective.samples, device=thetas.device)
    found = objective.batch_curvatures(thetas[0], torch.stack([order, order.flip(0)]), _varied(2, len(order), thetas))
    return [*found, *objective.directional(thetas[0], thetas[1])]


def projections(objective: Objective, thetas: Tensor) -> list[Tensor]:
    """Products of each sample with several vectors at once."""
    return [objective.projected(thetas[0], torch.stack([thetas[1], thetas[1].flip(0)]))]


def vectors(objective: Objective, thetas: Tensor) -> list[Tensor]:
    """Products of the mean with several vectors at once."""
    return [objective.operator(thetas[0])(torch.stack([thetas[1], thetas[1].flip(0)]))]


Trial = Callable[[Objective, Tensor], list[Tensor]]
TRIALS: dict[str, Trial] = {
    "ensembles": ensembles, "batches": batches, "projections": projections, "vectors": vectors
}  # fmt: skip


def right_transforms(net: nn.Module, objective: Objective, small: Small, wanted: tuple[str, ...]) -> dict[str, bool]:
    """For each name in TRIALS: whether it is `wanted` and, mapped, gives what a loop gives at the net's parameters.

    Raises InvalidArgument if the loop itself fails.
    """
    chosen = chosen_samples(objective.inputs)
    looped, mapped = small(chosen, mapped=False), small(chosen, mapped=True)
    thetas = _points(net)
    padded = any(getattr(module, "padding_idx", None) is not None for module in net.modules())
    answers = {}
    for name, trial in TRIALS.items():
        if name in wanted:
            expected = _looped(net, trial, looped, thetas)
            answers[name] = not padded and _agrees(trial, mapped, thetas, expected)  # few samples may have no padding
        else:
            answers[name] = False
    return answers


def chosen_samples(inputs: Tensor) -> Tensor:
    """A few samples, evenly spread; of integers also those with the smallest and largest (padding is either)."""
    few = torch.linspace(0, len(inputs) - 1, min(SAMPLES, len(inputs)), device=inputs.device).round().long()
    if inputs.is_floating_point() or inputs.dtype == torch.bool:
        return few
    flat = inputs.flatten(1) if inputs.ndim > 1 else inputs[:, None]
    return torch.cat([few, flat.amin(1).argmin()[None], flat.amax(1).argmax()[None]])


def _varied(rows: int, columns: int, like: Tensor) -> Tensor:
    """Weights that all differ, of both signs."""
    steps = torch.arange(1, rows * columns + 1, device=like.device, dtype=like.dtype)
    return (steps.cos() + 0.1 * steps).view(rows, columns)


def _points(net: nn.Module) -> Tensor:
    """Two points near the parameters (2, d)."""
    theta = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    generator = torch.Generator(theta.device).manual_seed(0)
    noise = torch.randn((2, len(theta)), generator=generator, dtype=theta.dtype, device=theta.device)
    size = theta.square().mean().sqrt()
    return theta + SHIFT * torch.where(size > 0, size, torch.ones_like(size)) * noise


def _looped(net: nn.Module, trial: Trial, objective: Objective, thetas: Tensor) -> list[Tensor]:
    try:
        return trial(objective, thetas)
    except Exception as problem:
        if is_out_of_memory(problem):
            raise
        raise InvalidArgument(
            f"derivatives of {type(net).__name__} cannot be computed, not even one batch and one vector at a time: "
            f"{problem}; replace the layer that this names by differentiable operations"
        ) from problem


def _agrees(trial: Trial, objective: Objective, thetas: Tensor, expected: list[Tensor]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # vmap warns where it would loop by itself, and slowly
            actual = trial(objective, thetas)
    except Exception as problem:
        if is_out_of_memory(problem):
            raise
        return False
    return all(_close(a, b) for a, b in zip(actual, expected, strict=True))


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding of the largest, and not finite in the same places."""
    finite = expected.isfinite()
    if not torch.equal(actual.isfinite(), finite):
        return False
    difference, size = (actual - expected)[finite].abs(), expected[finite].abs()
    return len(size) == 0 or bool(difference.max() <= AGREEMENT[expected.dtype] * size.max())
