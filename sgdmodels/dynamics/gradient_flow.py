r"""Gradient flow: no step size, no noise, no edge; and the loop that flows on modified losses share.

.. math:: \dot\theta = -\nabla\Big(L + \tfrac\eta4\,\big[|\nabla L|^2 + c_2\,\mathrm{tr}\Sigma\big]\Big), \qquad
          \nabla\tfrac14\big[\ldots\big] = \tfrac12\Big[(1-c_2) H\nabla L + c_2\tfrac1n\textstyle\sum_i H_ig_i\Big]

`GradientFlow` is without the bracket, `ImplicitRegularizationFlow` has its first term, `ReshufflingFlow` both. Time
runs in units of eta: one step of SGD is eta of it, made of `substeps` Runge-Kutta steps of fourth order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..kernels.batches import full_batch
from ..kernels.holes import add_gradient, add_hvp, add_mean_hvp, begin_mean, split
from ..kernels.signatures import MODEL_ROWS
from .base import (
    Declaration,
    Dynamics,
    Plan,
    checked_step_size,
    checked_substeps,
    fitting_batch_size,
    segments,
)  # fmt: skip
from .schedules import Schedule


def walk_flow(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: a Runge-Kutta step of fourth order; parameters: has the first term, has the second term."""
    with_mean, with_noise = parameters[0] != 0.0, parameters[1] != 0.0
    size = theta.shape[1]
    point, total = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size]
    field, curved = work[MODEL_ROWS + 2, :size], work[MODEL_ROWS + 3, :size]
    g = work[MODEL_ROWS + 4, :size]
    one = work[MODEL_ROWS + 5, :1]
    one[0] = 1.0
    c2 = (samples // batch - 1.0) / (samples - 1.0) if with_noise and samples > 1 else 0.0
    half = 0.5 * step_size * micro_steps
    for s in range(steps):
        for j in range(theta.shape[0]):
            x = theta[j]
            for k in range(size):
                point[k] = x[k]
                total[k] = 0.0
            for stage in range(4):
                parts = split(point, inputs, constants)
                for k in range(size):
                    field[k] = 0.0
                    curved[k] = 0.0
                add_gradient(
                    parts, index[j, s], weight[j, s], samples, 1.0, inputs, targets, constants, work,
                    split(field, inputs, constants),
                )  # fmt: skip
                if with_mean:
                    begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
                    add_mean_hvp(
                        parts, split(field, inputs, constants), samples, inputs, targets, constants, second_moment,
                        work, split(curved, inputs, constants),
                    )  # fmt: skip
                    for k in range(size):
                        curved[k] *= 1.0 - c2
                if c2 > 0.0:
                    for i in range(samples):
                        for k in range(size):
                            g[k] = 0.0
                        this = index[j, s, i : i + 1]
                        add_gradient(
                            parts, this, one, 1, 1.0, inputs, targets, constants, work, split(g, inputs, constants)
                        )
                        add_hvp(
                            parts, split(g, inputs, constants), this, one, 1, c2 / samples, inputs, targets, constants,
                            work, split(curved, inputs, constants),
                        )  # fmt: skip
                share = 1.0 / 6.0 if stage == 0 or stage == 3 else 1.0 / 3.0
                ahead = 1.0 if stage == 2 else 0.5
                for k in range(size):
                    slope = field[k] + half * curved[k]
                    total[k] += share * slope
                    point[k] = x[k] - ahead * step_size * slope
            for k in range(size):
                x[k] -= step_size * total[k]


def flow_plan(
    samples: int, step_size: Schedule, batch_size: Schedule | None, substeps: int, mean: bool, noise: bool
) -> Plan:
    """The plan of a flow on a modified loss."""
    sizes = ((0, samples),) if batch_size is None else fitting_batch_size(batch_size, samples)
    return Plan(
        full_batch, samples, *segments(step_size, sizes), walk=walk_flow, inlined=False, micro_steps=substeps,
        functions=("split", "add_gradient", "add_hvp", "begin_mean", "add_mean_hvp"),
        walk_parameters=np.array([float(mean), float(noise)]),
    )  # fmt: skip


@dataclass(frozen=True)
class GradientFlow(Dynamics):
    """Gradient flow; `step_size` is the time of one step of SGD.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares([[1.0]], [0.0])
    >>> run = sm.simulate(model, sm.GradientFlow(0.5), 2, np.ones(1), keep_params=True)
    >>> round(float(run.params[0, -1, 0]), 6)  # exp(-1)
    0.367879
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    substeps: int = 10

    def __post_init__(self) -> None:
        self._set(step_size=checked_step_size(self.step_size), substeps=checked_substeps(self.substeps))

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\dot\theta = -\nabla L", weak_order=1, preserves=r"mean to order $\eta$", edge=r"\text{none}",
            cost="4 m n G", reference="Elkabetz and Cohen 2021",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        return flow_plan(samples, self.step_size, None, self.substeps, mean=False, noise=False)
