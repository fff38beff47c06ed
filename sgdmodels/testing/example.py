"""The loss that contracts are checked on where none is given."""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from ..models import DiagonalNetwork

SAMPLES, FEATURES = 6, 4
REPLICAS = 9


def example() -> tuple[DiagonalNetwork, FloatArray]:
    """A diagonal network on normal data, and starting points (replica, d) from which no ordinary step size diverges."""
    rng = np.random.default_rng(6)
    model = DiagonalNetwork(rng.standard_normal((SAMPLES, FEATURES)), rng.standard_normal(SAMPLES))
    return model, np.random.default_rng(2).uniform(0.2, 0.5, (REPLICAS, model.dim))
