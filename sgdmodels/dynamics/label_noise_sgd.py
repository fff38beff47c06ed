r"""SGD with fresh label noise in every step.

.. math:: \theta \leftarrow \theta - \eta\,\tfrac1b\textstyle\sum_{i\in B}
          \nabla l_i(\theta;\, y_i + \sigma\varepsilon_i), \qquad \varepsilon_i \sim \mathcal N(0, 1)

For squared loss the noise is :math:`-\sigma\varepsilon_i\nabla f_i`: it does not vanish at interpolation and so drives
the parameters along the minimisers, to flat ones. The labels are the loss's targets (the offsets of a gated quadratic,
the centres of quadratics). Source: Blanc et al. 2020; Damian, Ma and Lee 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments import real
from ..kernels.batches import LAWS
from ..kernels.holes import add_gradient, split
from ..kernels.random import standard_normal
from .base import (
    Declaration,
    Dynamics,
    Plan,
    checked_batch_size,
    checked_sampling,
    checked_step_size,
    fitting_batch_size,
    segments,
)  # fmt: skip
from .schedules import Schedule


def walk_noisy_labels(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: the targets of a batch, with noise, are written to `memory`, which the loss then reads."""
    scale = parameters[0]
    each = targets.shape[0] // samples
    for s in range(steps):
        for j in range(theta.shape[0]):
            chosen, noisy = index[j, s], memory[j]
            for k in range(count[j, s]):
                for c in range(chosen[k] * each, (chosen[k] + 1) * each):
                    number = (first + s) * targets.shape[0] + c
                    noisy[c] = targets[c] + scale * standard_normal(keys[j, 0], keys[j, 1], number)
            parts = split(theta[j], inputs, constants)
            add_gradient(parts, chosen, weight[j, s], count[j, s], -step_size, inputs, noisy, constants, work, parts)


@dataclass(frozen=True)
class LabelNoiseSGD(Dynamics):
    """SGD with `step_size`, `batch_size`, and label noise of standard deviation `scale`.

    >>> import sgdmodels as sm
    >>> sm.LabelNoiseSGD(0.1, batch_size=4, scale=0.5).scale
    0.5
    """

    step_size: Schedule
    batch_size: Schedule
    scale: float
    sampling: str = "without_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            scale=real("scale", self.scale),
            sampling=checked_sampling(self.sampling),
        )

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\theta \leftarrow \theta"
            r" - \eta\,\tfrac1b\textstyle\sum_{i\in B}\nabla l_i(\theta; y_i + \sigma\varepsilon_i)",
            weak_order=1, preserves="mean (exactly, for squared loss)", edge=r"S_{ms}(b) = 2/\eta",
            cost="b G, b normals", reference="Blanc et al. 2020",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        starts, step_sizes, batch_sizes = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        width = samples if self.sampling == "bernoulli" else int(batch_sizes.max())
        return Plan(
            LAWS[self.sampling], width, starts, step_sizes, batch_sizes, walk=walk_noisy_labels, inlined=False,
            walk_parameters=np.array([self.scale]),
            memory=lambda model, theta: np.tile(model.data[1], (len(theta), 1)),
        )  # fmt: skip
