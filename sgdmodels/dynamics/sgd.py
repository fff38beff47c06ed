r"""Mini-batch stochastic gradient descent.

.. math:: v \leftarrow \beta v + g_B(\theta), \qquad \theta \leftarrow \theta - \eta v
          \quad(\text{Nesterov: } \theta \leftarrow \theta - \eta(g_B + \beta v)), \qquad g_B =
          \tfrac1b\textstyle\sum_{i\in B} g_i

Sampling schemes: ``"without_replacement"`` draws b distinct samples afresh each step; ``"with_replacement"`` b
independent ones; ``"epoch"`` walks through a permutation drawn afresh each epoch of n // b steps, whose last n mod b
samples are left out (an epoch also restarts where a schedule changes); ``"bernoulli"`` takes each sample with
probability b/n and divides by b. On an interpolating quadratic SGD is mean-square stable exactly when :math:`\eta
S_{ms}(b) < 2` (`sgdmodels.theory.mean_square_sharpness`; with momentum or epochs: `max_step_size`). Momentum follows
PyTorch: no dampening.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels.batches import LAWS
from .base import (
    Declaration,
    Dynamics,
    Plan,
    checked_batch_size,
    checked_momentum,
    checked_sampling,
    checked_step_size,
    fitting_batch_size,
    segments,
)  # fmt: skip
from .gd import with_momentum
from .schedules import Schedule


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
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            sampling=checked_sampling(self.sampling),
            momentum=checked_momentum(self.momentum, self.nesterov),
        )

    @property
    def declaration(self) -> Declaration:
        move = r"(g_B + \beta v)" if self.nesterov else " v"
        return Declaration(
            equation=rf"v \leftarrow \beta v + g_B,\quad \theta \leftarrow \theta - \eta{move}"
            if self.momentum else r"\theta \leftarrow \theta - \eta g_B",
            weak_order=None,
            preserves="everything: it is what the others model",
            edge=self._edge,
            cost="b G",
            reference="Robbins and Monro 1951; edge: Mulayoff and Michaeli 2024",
        )  # fmt: skip

    @property
    def _edge(self) -> str:
        """`sgdmodels.theory.max_step_size` computes all of them."""
        if self.sampling == "epoch":
            return r"\rho(E[P\otimes P]) = 1 \text{ for products } P \text{ over an epoch}"
        if self.nesterov:
            return r"\text{no closed form}"
        if self.momentum:
            return r"\text{one dimension: } \tfrac1\eta = \tfrac a{2(1+\beta)} + \tfrac{s^2}{2a(1-\beta)}"
        return r"S_{ms}(b) = 2/\eta"

    def plan(self, samples: int) -> Plan:
        starts, step_sizes, batch_sizes = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        bernoulli = self.sampling == "bernoulli"
        width = samples if bernoulli else int(batch_sizes.max())
        plan = Plan(LAWS[self.sampling], width, starts, step_sizes, batch_sizes, single=not bernoulli)
        return with_momentum(plan, self.momentum, self.nesterov)
