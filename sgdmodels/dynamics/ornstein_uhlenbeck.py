r"""SGD linearised at a point: the Ornstein-Uhlenbeck process.

.. math:: d\theta = -\big(\nabla L(\theta^*) + H(\theta^*)(\theta - \theta^*)\big)\,dt
          + \sqrt{\eta c_2\Sigma(\theta^*)}\,dW

Euler-Maruyama in `substeps` per step of SGD. At a minimum its stationary covariance S solves :math:`HS + SH = \eta
c_2\Sigma` as h goes to 0. Knows neither an edge nor progressive sharpening: noise and curvature never change.
Source: Mandt, Hoffman and Blei 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import float_array
from ..errors import InvalidArgument
from ..kernels.gaussians import SCHEME_CODES, gaussian, law_width
from ..kernels.holes import add_gradient, add_mean_hvp, begin_mean, split
from ..kernels.signatures import MODEL_ROWS
from .base import (
    Declaration,
    Dynamics,
    Plan,
    checked_batch_size,
    checked_sampling,
    checked_step_size,
    checked_substeps,
    fitting_batch_size,
    segments,
)  # fmt: skip
from .schedules import Schedule


def walk_linearised(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: gradients and the mean Hessian at the point in `memory`."""
    size = theta.shape[1]
    change, away = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size]
    for j in range(theta.shape[0]):
        x, point = theta[j], memory[j]
        parts = split(point, inputs, constants)
        change_parts = split(change, inputs, constants)
        for s in range(steps):
            for k in range(size):
                change[k] = 0.0
                away[k] = x[k] - point[k]
            add_gradient(parts, index[j, s], weight[j, s], samples, 1.0, inputs, targets, constants, work, change_parts)
            begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
            add_mean_hvp(
                parts, split(away, inputs, constants), samples, inputs, targets, constants, second_moment, work,
                change_parts,
            )  # fmt: skip
            for k in range(size):
                x[k] -= step_size * change[k]


@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck(Dynamics):
    """SGD with `step_size` and `batch_size` linearised at `point` (d,); without a point, where the run starts.

    >>> import sgdmodels as sm
    >>> sm.OrnsteinUhlenbeck(0.1, batch_size=4, point=[0.0, 1.0]).substeps
    10
    """

    step_size: Schedule
    batch_size: Schedule
    point: Any = None
    substeps: int = 10
    sampling: str = "without_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            point=None if self.point is None else float_array("point", self.point, ("d",)),
            substeps=checked_substeps(self.substeps),
            sampling=checked_sampling(self.sampling),
        )

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"d\theta = -(\nabla L^* + H^*(\theta-\theta^*))\,dt + \sqrt{\eta c_2\Sigma^*}\,dW", weak_order=0,
            preserves="covariance at the point to leading order", edge=r"\text{none}", cost="m (n G, n H, n normals)",
            reference="Mandt, Hoffman and Blei 2017",
        )  # fmt: skip

    def check_model(self, model: Any) -> None:
        if self.point is not None and self.point.shape != (model.dim,):
            raise InvalidArgument(
                f"point must have one entry per parameter of the loss, ({model.dim},), got shape {self.point.shape}"
            )

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        point = self.point
        return Plan(
            gaussian, law_width(samples), *schedule, walk=walk_linearised, inlined=False, micro_steps=self.substeps,
            functions=("split", "add_gradient", "begin_mean", "add_mean_hvp"),
            law_parameters=np.array([float(SCHEME_CODES[self.sampling]), 1.0, 0.0]),
            memory=lambda _, theta: theta.copy() if point is None else np.tile(point, (len(theta), 1)),
        )  # fmt: skip
