"""Curvatures of random batches in independent units, drawn when they are asked for.

A unit is one batch, or a run of disjoint batches of one permutation where samples are drawn without replacement.
Batches are those of the measurement stream, keyed by (seed; replica, step, unit, place in the run): never those a run
trains on, and the same however many are computed at once.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...arguments import FloatArray
from ...batches import Batches
from ...kernels.batches import LAWS
from ...kernels.draw import draw_weights
from ...kernels.random import MEASUREMENT
from ..objectives.objective import Curvatures, Objective

CAPACITY = 2**24  # batches that one (replica, step) may draw before it would meet those of the next step


class BatchUnits:
    """g_B' M_B g_B and |g_B|^2 of batches of one size at theta (d,): a table (units, run) that grows.

    `length` is the longest run: n // b batches of a permutation, or 1 where batches are independent anyway.
    """

    def __init__(
        self, objective: Objective, theta: Tensor, batch_size: int, sampling: str, *, seed: int = 0, replica: int = 0,
        step: int = 0,
    ) -> None:  # fmt: skip
        self.objective, self.theta, self.batch_size, self.sampling = objective, theta, batch_size, sampling
        disjoint = sampling in ("without_replacement", "epoch")
        self.length = objective.samples // batch_size if disjoint else 1
        self.seed, self.replica = seed, replica
        self.first = step * (CAPACITY // self.length * self.length)  # epochs must start at multiples of their length
        self.known: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # batches of each unit computed so far
        self.numerators = self.denominators = np.zeros((0, 0))

    def table(self, units: int, run: int) -> tuple[FloatArray, FloatArray]:
        """The first `run` batches of the first `units` units: g_B' M_B g_B and |g_B|^2, each (units, run)."""
        self._make_room(units, run)
        missing = [(u, int(self.known[u]), run) for u in range(units) if self.known[u] < run]
        if missing:
            row = np.concatenate([np.full(stop - start, u) for u, start, stop in missing])
            column = np.concatenate([np.arange(start, stop) for _, start, stop in missing])
            curvature, square = curvatures(self.objective, self.theta, self._draw(missing))
            self.numerators[row, column], self.denominators[row, column] = curvature, square
            self.known[:units] = np.maximum(self.known[:units], run)
        return self.numerators[:units, :run], self.denominators[:units, :run]

    def _make_room(self, units: int, run: int) -> None:
        have = self.numerators.shape
        more = ((0, max(0, units - have[0])), (0, max(0, run - have[1])))
        self.numerators, self.denominators = np.pad(self.numerators, more), np.pad(self.denominators, more)
        self.known = np.pad(self.known, more[0])

    def _draw(self, missing: list[tuple[int, int, int]]) -> Batches:
        """The batches start..stop of each unit in `missing`, one below the other."""
        law = LAWS["epoch" if self.length > 1 else "without_replacement" if self.sampling == "epoch" else self.sampling]
        n, b = self.objective.samples, self.batch_size
        if self.length == 1:
            blocks = [(missing[0][0], len(missing))]  # units are added in order, so those missing are consecutive
        else:
            blocks = [(u * self.length + start, stop - start) for u, start, stop in missing]
        drawn = [
            draw_weights(
                law, n if self.sampling == "bernoulli" else b, n, b, steps, first=self.first + first, seed=self.seed,
                replica=self.replica, stream=MEASUREMENT,
            )
            for first, steps in blocks
        ]  # fmt: skip
        index, weight, count = (np.concatenate(pieces) for pieces in zip(*drawn, strict=True))
        return Batches(index, weight, count, None)


def curvatures(objective: Objective, theta: Tensor, batches: Batches) -> tuple[FloatArray, FloatArray]:
    """g_B' M_B g_B and |g_B|^2 of each batch, zero for empty ones."""
    width = max(1, int(batches.count.max()))
    present = np.arange(width) < batches.count[:, None]
    index = torch.as_tensor(np.where(present, batches.index[:, :width], 0), device=objective.device).long()
    table = np.where(present, batches.weight[:, :width], 0.0)
    weight = None
    if (table != 1 / width).any():
        weight = torch.as_tensor(table, dtype=objective.dtype, device=objective.device)
    result: Curvatures = objective.batch_curvatures(theta, index, weight)
    return result.curvature.detach().double().cpu().numpy(), result.square.detach().double().cpu().numpy()
