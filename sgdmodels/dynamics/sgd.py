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

from ..arguments import integer, one_of
from ..kernels.batches import LAWS
from ..sampling import SCHEMES
from .base import Dynamics, Plan, checked_momentum, checked_step_size, plain, segments
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

    def __post_init__(self) -> None:
        batch_size = checked_schedule("batch_size", self.batch_size, lambda name, b: integer(name, b, 1))
        object.__setattr__(self, "step_size", plain(checked_step_size(self.step_size)))
        object.__setattr__(self, "batch_size", plain(batch_size))
        object.__setattr__(self, "momentum", checked_momentum(self.momentum, self.nesterov))
        one_of("sampling", self.sampling, SCHEMES)

    def plan(self, samples: int) -> Plan:
        why = "(the number of samples; use sm.GD for the full batch)"
        schedule = checked_schedule("batch_size", self.batch_size, lambda name, b: integer(name, b, 1, samples, why))
        starts, step_sizes, batch_sizes = segments(self.step_size, schedule)
        width = samples if self.sampling == "bernoulli" else int(batch_sizes.max())
        single = self.sampling != "bernoulli"
        return Plan(LAWS[self.sampling], width, starts, step_sizes, batch_sizes, self.momentum, self.nesterov, single)
