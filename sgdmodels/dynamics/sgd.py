r"""Mini-batch stochastic gradient descent.

.. math:: v \leftarrow \beta v + g_B(\theta), \qquad \theta \leftarrow \theta - \eta v
          \quad(\text{Nesterov: } \theta \leftarrow \theta - \eta(g_B + \beta v)), \qquad g_B =
          \tfrac1b\textstyle\sum_{i\in B} g_i

Sampling schemes: ``"without_replacement"`` draws b distinct samples afresh each step; ``"with_replacement"`` b
independent ones;
``"epoch"`` walks through a permutation drawn afresh each epoch of n // b steps, whose last n mod b samples are left out
(an epoch also restarts where a schedule changes); ``"bernoulli"`` takes each sample with probability b/n and divides
by b.
On an interpolating quadratic SGD is mean-square stable exactly when :math:`\eta S_{ms}(b) < 2`
(`sgdmodels.theory.mean_square_sharpness`). Momentum follows PyTorch: no dampening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..arguments import integer, one_of
from ..kernels.batches import LAWS
from ..sampling import SCHEMES
from .base import Dynamics, Plan, checked_momentum, checked_step_size, segments
from .schedules import Schedule, checked_schedule


@dataclass(frozen=True)
class SGD(Dynamics):
    """SGD with `step_size` and `batch_size` (numbers or schedules), a sampling scheme and momentum.

    >>> import sgdmodels as sm
    >>> sm.SGD(step_size=0.1, batch_size=[(0, 8), (5000, 2)], sampling="epoch").sampling
    'epoch'
    """

    step_size: Schedule
    batch_size: Schedule
    sampling: str = "without_replacement"
    momentum: float = 0.0
    nesterov: bool = False
    name: ClassVar[str] = "SGD"

    def __post_init__(self) -> None:
        checked_step_size(self.step_size)
        checked_schedule("batch_size", self.batch_size, lambda name, b: integer(name, b, 1))
        one_of("sampling", self.sampling, SCHEMES)
        checked_momentum(self.momentum, self.nesterov)

    def plan(self, samples: int) -> Plan:
        why = "(the number of samples; use sm.GD for the full batch)"
        schedule = checked_schedule("batch_size", self.batch_size, lambda name, b: integer(name, b, 1, samples, why))
        starts, step_sizes, batch_sizes = segments(self.step_size, schedule)
        width = samples if self.sampling == "bernoulli" else int(batch_sizes.max())
        single = self.sampling != "bernoulli"
        return Plan(
            LAWS[self.sampling], width, starts, step_sizes, batch_sizes, float(self.momentum), self.nesterov, single
        )
