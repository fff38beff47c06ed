r"""Full-batch gradient descent.

.. math:: v \leftarrow \beta v + \nabla L(\theta), \qquad \theta \leftarrow \theta - \eta v
          \quad(\text{Nesterov: } \theta \leftarrow \theta - \eta(\nabla L + \beta v))

PyTorch's convention: no dampening. On a quadratic of curvature lambda it is stable below :math:`\lambda =
2(1+\beta)/\eta`, with Nesterov
below :math:`2(1+\beta)/(\eta(1+2\beta))`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..kernels.batches import full_batch
from ..kernels.step_loop import walk_momentum
from .base import Declaration, Dynamics, Plan, checked_momentum, checked_step_size, segments
from .schedules import Schedule


@dataclass(frozen=True)
class GD(Dynamics):
    """Gradient descent with `step_size` (a number or a schedule) and heavy-ball or Nesterov momentum.

    >>> import sgdmodels as sm
    >>> sm.GD(step_size=[(0, 0.1), (1000, 0.05)], momentum=0.9, nesterov=True).momentum
    0.9
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        self._set(step_size=checked_step_size(self.step_size), momentum=checked_momentum(self.momentum, self.nesterov))

    @property
    def declaration(self) -> Declaration:
        move = r"(\nabla L + \beta v)" if self.nesterov else " v"
        faster = r"2(1+\beta)/(\eta(1+2\beta))" if self.nesterov else r"2(1+\beta)/\eta"
        return Declaration(
            equation=rf"v \leftarrow \beta v + \nabla L,\quad \theta \leftarrow \theta - \eta{move}"
            if self.momentum else r"\theta \leftarrow \theta - \eta\nabla L",
            weak_order=None if self.momentum else 1,
            preserves="mean",
            edge=r"\lambda_{\max} = " + (faster if self.momentum else r"2/\eta"),
            cost="n G",
            reference="Cohen et al. 2021",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, ((0, samples),))
        return with_momentum(Plan(full_batch, samples, *schedule, in_order=True), self.momentum, self.nesterov)


def with_momentum(plan: Plan, momentum: float, nesterov: bool) -> Plan:
    """The plan with a velocity, if there is momentum."""
    if not momentum:
        return plan
    return replace(
        plan, walk=walk_momentum, single=False, walk_parameters=np.array([momentum, float(nesterov)]),
        memory=lambda _, theta: np.zeros_like(theta),
    )  # fmt: skip
