r"""Full-batch gradient descent.

.. math:: v \leftarrow \beta v + \nabla L(\theta), \qquad \theta \leftarrow \theta - \eta v
          \quad(\text{Nesterov: } \theta \leftarrow \theta - \eta(\nabla L + \beta v))

PyTorch's convention: no dampening. On a quadratic of curvature lambda it is stable below :math:`\lambda =
2(1+\beta)/\eta`, with Nesterov
below :math:`2(1+\beta)/(\eta(1+2\beta))`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels.batches import full_batch
from .base import Dynamics, Plan, checked_momentum, checked_step_size, plain, segments
from .schedules import Schedule


@dataclass(frozen=True)
class GD(Dynamics):
    """Gradient descent with `step_size` (a number or a schedule) and heavy-ball or Nesterov momentum.

    >>> import sgdmodels as sm
    >>> sm.GD(step_size=[(0, 0.1), (1000, 0.05)], momentum=0.9, nesterov=True).momentum
    0.9
    """

    step_size: Schedule
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "step_size", plain(checked_step_size(self.step_size)))
        object.__setattr__(self, "momentum", checked_momentum(self.momentum, self.nesterov))

    def plan(self, samples: int) -> Plan:
        starts, step_sizes, batch_sizes = segments(self.step_size, ((0, samples),))
        return Plan(full_batch, samples, starts, step_sizes, batch_sizes, self.momentum, self.nesterov)
