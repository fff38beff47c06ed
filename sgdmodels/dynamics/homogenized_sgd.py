r"""Homogenized SGD: the diffusion that SGD follows on high-dimensional least squares.

.. math:: d\theta = -\nabla L\,dt + \sqrt{\tfrac\eta b\, 2L(\theta)\, \hat H}\,dW, \qquad
          \hat H = \tfrac1n\textstyle\sum_i\nabla f_i\nabla f_i^T

The noise :math:`\sqrt{2L\eta/(bn)}\sum_i\nabla f_i\,dW_i` is formed from samples. For other squared losses the
Gauss-Newton matrix stands for the Hessian. Unstable (continuous time) where :math:`\eta\,\mathrm{tr}\hat H > 2b`.
Source: Paquette, Paquette, Adlam and Pennington 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from ..kernels.gaussians import SCHEME_CODES, gaussian, law_width
from ..kernels.holes import add_gradient, mean_loss, split
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


def walk_homogenized(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: grad f_i is the gradient with the target lowered by one (`memory`), less the gradient itself."""
    second = weight.shape[2] // 2
    size = theta.shape[1]
    change = work[work.shape[0] - 1, :size]
    for s in range(steps):
        for j in range(theta.shape[0]):
            x, chosen, noise = theta[j], index[j, s], weight[j, s]
            parts = split(x, inputs, constants)
            out = split(change, inputs, constants)
            for k in range(size):
                change[k] = 0.0
            spread = math.sqrt(2.0 * mean_loss(parts, samples, inputs, targets, constants, work))
            lowered = memory[j]
            add_gradient(parts, chosen, noise, samples, spread, inputs, lowered, constants, work, out)
            add_gradient(parts, chosen, noise, samples, -spread, inputs, targets, constants, work, out)
            uniform = weight[j, s, second:]
            add_gradient(parts, chosen, uniform, samples, 1.0, inputs, targets, constants, work, out)
            for k in range(size):
                x[k] -= step_size * change[k]


@dataclass(frozen=True)
class HomogenizedSGD(Dynamics):
    """Homogenized SGD with `step_size` and `batch_size`; needs a loss that is a squared error and nothing else.

    `sampling` sets c2(b), which is 1/b as published by default; "without_replacement" has the correction for finite n.

    >>> import sgdmodels as sm
    >>> sm.HomogenizedSGD(0.1, batch_size=1).substeps
    10
    """

    step_size: Schedule
    batch_size: Schedule
    substeps: int = 10
    sampling: str = "with_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size), batch_size=checked_batch_size(self.batch_size),
            substeps=checked_substeps(self.substeps), sampling=checked_sampling(self.sampling),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"d\theta = -\nabla L\,dt + \sqrt{\tfrac\eta b\,2L\hat H}\,dW", weak_order=1,
            preserves=r"mean to order $\eta$; covariance in high dimension", edge=r"\eta\,\mathrm{tr}\hat H = 2b",
            cost="m (3n G, n normals)", reference="Paquette et al. 2022",
        )  # fmt: skip

    def check_model(self, model: Any) -> None:
        if not model.squared_error:
            raise InvalidArgument(
                f"HomogenizedSGD needs a loss (f - y)^2 / 2 and nothing else, got {type(model).__name__}; "
                "use sm.SDE or sm.NoisyGD, whose noise is that of any loss"
            )

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        return Plan(
            gaussian, law_width(samples), *schedule, walk=walk_homogenized, inlined=False, micro_steps=self.substeps,
            functions=("split", "add_gradient", "mean_loss"),
            law_parameters=np.array([float(SCHEME_CODES[self.sampling]), 1.0, 2.0]),
            memory=lambda model, theta: np.tile(model.data[1] - 1.0, (len(theta), 1)),
        )  # fmt: skip
