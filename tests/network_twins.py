"""Losses of sgdmodels.models once more as torch modules, written from their definitions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import sgdmodels as sm
from sgdmodels.networks import Accuracy, Probe, losses


class LinearPredictor(nn.Module):
    """f = theta . x."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(features, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.theta


class DiagonalPredictor(nn.Module):
    """f = (u1 * ... * uD) . x."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        self.factors = nn.ParameterList([nn.Parameter(torch.ones(features, dtype=torch.float64)) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.stack(list(self.factors)).prod(0)


class DeepLinearPredictor(nn.Module):
    """f = w (v . x)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.ones(features, dtype=torch.float64))
        self.w = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * (x @ self.v)


def twins(
    name: str, samples: int = 12, features: int = 4, seed: int = 0, accuracy: Accuracy | None = None
) -> tuple[sm.models.Model, Probe, np.ndarray]:
    """A loss, the same as a Probe, and a point."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((samples, features)), rng.standard_normal(samples)
    model, net = {
        "least squares": lambda: (sm.models.LeastSquares(x, y), LinearPredictor(features)),
        "diagonal": lambda: (sm.models.DiagonalNetwork(x, y), DiagonalPredictor(features, 2)),
        "diagonal, depth 3": lambda: (sm.models.DiagonalNetwork(x, y, depth=3), DiagonalPredictor(features, 3)),
        "linear": lambda: (sm.models.LinearNetwork(x, y), DeepLinearPredictor(features)),
    }[name]()
    return model, Probe(net, losses.squared_error, x, y, accuracy=accuracy), 0.5 * rng.standard_normal(model.dim)


NAMES = ("least squares", "diagonal", "diagonal, depth 3", "linear")
