r"""Gradient flow driven by a symmetric stable Levy process: a heuristic for heavy-tailed gradient noise.

.. math:: \theta \leftarrow \theta - h\nabla L + \eta\,\sigma\, m^{-1/\alpha}\, S_\alpha, \qquad h = \eta/m,\quad
          E e^{itS_\alpha} = e^{-|t|^\alpha}

with independent coordinates, m = `substeps`, and `scale` sigma: the noise of a whole step is :math:`\eta\sigma
S_\alpha` for every m. (In time of the SDE: :math:`h^{1/\alpha}\eta^{(\alpha-1)/\alpha}\sigma S_\alpha`.) alpha = 2 is
Gaussian of variance 2. Infinite variance for alpha < 2: no mean-square edge exists, and no limit theorem leads here
from SGD with bounded per-sample gradients. Source: Simsekli, Sagun and Gurbuzbalaban 2019; variates by Chambers,
Mallows and Stuck 1976.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arguments import real
from ..errors import InvalidArgument
from ..kernels.batches import full_batch
from ..kernels.compile import inline
from ..kernels.holes import add_gradient, split
from ..kernels.random import random_bits, uniform
from .base import Declaration, Dynamics, Plan, checked_step_size, checked_substeps, segments
from .schedules import Schedule


@inline
def stable(alpha, u, v):
    """A symmetric alpha-stable number from two uniform ones."""
    angle = math.pi * (u - 0.5)
    exponential = -math.log(v)
    tail = (math.cos((1.0 - alpha) * angle) / exponential) ** ((1.0 - alpha) / alpha)
    return math.sin(alpha * angle) / math.cos(angle) ** (1.0 / alpha) * tail


def walk_levy(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: mean gradient and stable kicks. parameters: alpha, scale."""
    alpha, size = parameters[0], theta.shape[1]
    scale = step_size * micro_steps * parameters[1] * micro_steps ** (-1.0 / alpha)
    for s in range(steps):
        for j in range(theta.shape[0]):
            x = theta[j]
            parts = split(x, inputs, constants)
            add_gradient(parts, index[j, s], weight[j, s], samples, -step_size, inputs, targets, constants, work, parts)
            base = np.uint64(first + s) * np.uint64(2 * size)
            for k in range(size):
                u = uniform(random_bits(keys[j, 0], keys[j, 1], base + np.uint64(2 * k)))
                v = uniform(random_bits(keys[j, 0], keys[j, 1], base + np.uint64(2 * k + 1)))
                x[k] += scale * stable(alpha, u, v)


@dataclass(frozen=True)
class LevySDE(Dynamics):
    """Levy-driven SDE (heuristic) with `step_size`, stability index `alpha` in (0, 2], and noise `scale`.

    >>> import sgdmodels as sm
    >>> sm.LevySDE(0.1, alpha=1.8, scale=0.01).declaration.heuristic
    True
    """

    step_size: Schedule
    alpha: float
    scale: float
    substeps: int = 10

    def __post_init__(self) -> None:
        alpha = real("alpha", self.alpha, open_low=True)
        if alpha > 2:
            raise InvalidArgument(f"alpha must be in (0, 2], got {alpha}: there are no stable laws beyond the Gaussian")
        self._set(
            step_size=checked_step_size(self.step_size), alpha=alpha, scale=real("scale", self.scale),
            substeps=checked_substeps(self.substeps),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"d\theta = -\nabla L\,dt + \eta^{(\alpha-1)/\alpha}\sigma\,dL^\alpha", weak_order=None,
            preserves=r"mean (if $\alpha > 1$)", edge=r"\text{none: no second moment}", cost="m (n G, 2d uniforms)",
            reference="Simsekli, Sagun and Gurbuzbalaban 2019", heuristic=True,
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        return Plan(
            full_batch, samples, *segments(self.step_size, ((0, samples),)), walk=walk_levy, inlined=False,
            micro_steps=self.substeps, walk_parameters=np.array([self.alpha, self.scale]),
        )  # fmt: skip
