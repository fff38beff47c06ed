"""A small network with noisy targets, and its samples' gradients and matrices by other means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sgdmodels.networks.objectives.budget import MemoryBudget
from sgdmodels.networks.objectives.module_objective import ModuleObjective
from sgdmodels.networks.objectives.objective import HESSIAN


class Problem(NamedTuple):
    """A small network with noisy targets, a point, and the samples' gradients and matrices there."""

    objective: ModuleObjective
    theta: torch.Tensor
    g: np.ndarray
    h: np.ndarray


def problem(n: int, matrix: str = HESSIAN, dtype: torch.dtype = torch.float64) -> Problem:
    """2-3-2 tanh network (17 parameters) with inputs of very different length: heavy-tailed curvatures."""
    generator = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs, targets = normal(n, 2) * normal(n, 1).exp(), normal(n, 2)
    inputs, targets = inputs.to(dtype), targets.to(dtype)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).to(dtype)
    objective = ModuleObjective(net, squared_error, inputs, targets, MemoryBudget(2**24), matrix)
    theta = normal(17).to(dtype)
    theta -= 0.3 * objective.gradient(theta)

    def output(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ t[:6].view(3, 2).T + t[6:9]) @ t[9:15].view(2, 3).T + t[15:]

    def loss(t: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return squared_error(output(t, x), y)

    g = torch.stack([torch.func.grad(loss)(theta, x, y) for x, y in zip(inputs, targets, strict=True)])
    if matrix == HESSIAN:
        h = torch.stack([torch.func.hessian(loss)(theta, x, y) for x, y in zip(inputs, targets, strict=True)])
    else:
        h = torch.stack([(j := torch.func.jacrev(output)(theta, x)).T @ j for x in inputs])
    return Problem(objective, theta, g.double().numpy(), h.double().numpy())


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 0.5 * (outputs - targets).square().sum(-1)
