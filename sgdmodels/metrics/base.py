"""What a metric is: a function of parameter snapshots. The step loop knows none, and a new one runs on a stored run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..kernels.compile import Kernel, bind, outlined
from ..models import Model


@dataclass
class Snapshots:
    """Parameters of some replicas at some steps, and how batches would be drawn there.

    theta has shape (replica, step, parameter); rows that are not finite (diverged) yield NaN. `memory` outlives
    the snapshots: what a metric keeps there (a warm start) serves the next stretch of the same replicas. `shared` is
    for what several metrics need of the same snapshots.
    """

    model: Model
    theta: FloatArray
    replicas: np.ndarray
    steps: np.ndarray
    batch_sizes: tuple[int, ...]
    sampling: str
    seed: int
    memory: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.theta.shape[0], self.theta.shape[1]

    @cached_property
    def alive(self) -> np.ndarray:
        """Which snapshots are finite, shape (replica, step)."""
        return np.asarray(np.isfinite(self.theta).all(axis=2))

    @cached_property
    def uniform(self) -> tuple[np.ndarray, FloatArray]:
        """All samples and their weights 1/n."""
        n = self.model.samples
        return np.arange(n, dtype=np.int32), np.full(n, 1 / n)

    @cached_property
    def work(self) -> FloatArray:
        return self.model.workspace()

    def kernel(self, template: Callable[..., Any], signature: Any, *names: str) -> Kernel:
        """`template` bound to the named device functions of this loss."""
        return bind(template, signature, **{name: outlined(getattr(self.model.kernels, name)) for name in names})

    @cached_property
    def moments(self) -> FloatArray:
        """The six per-sample moments of every snapshot, shape (replica, step, 6); see `metrics.moments`."""
        from .moments import sample_moments

        return sample_moments(self)


@dataclass(frozen=True)
class Metric:
    """A measurement with its name, unit and formula.

    `evaluate(snapshots)` returns an array of shape (replica, step), with a further axis batch_size if
    `per_batch_size`; or a pair of such arrays (value, standard error); or a mapping of them, the value under "" and
    what belongs to it under the name it gets after the metric's: "standard_error", "low", "high", "samples", ...
    """

    name: str
    long_name: str
    units: str
    evaluate: Callable[[Snapshots], Any]
    per_batch_size: bool = False
