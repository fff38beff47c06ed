"""Ask a law for the sample weights of some steps from Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compile import Kernel
from .random import BATCHES

NONE = np.zeros(1)


def draw_weights(
    law: Kernel, width: int, samples: int, batch: int, steps: int, *, first: int = 0, origin: int = 0,
    micro_steps: int = 1, parameters: NDArray[np.float64] = NONE, seed: int = 0, replica: int = 0,
    stream: int = BATCHES,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    """index (steps, width), weight (steps, width) and count (steps,) of `steps` micro-steps from number `first` on."""
    index = np.zeros((steps, width), dtype=np.int32)
    weight, count = np.zeros((steps, width)), np.zeros(steps, dtype=np.int64)
    scratch, sums, state = np.arange(samples, dtype=np.int32), np.zeros(samples), np.full(2, -1)
    law(
        np.uint64(seed), replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
        scratch, sums, state, index, weight, count,
    )  # fmt: skip
    return index, weight, count
