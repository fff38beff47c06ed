r"""Stochastic variance amplified gradient: a discrete path from SGD (ell = 1) to the SDE (ell to infinity).

.. math:: \theta \leftarrow \theta - \frac\eta\ell\Big(\frac{1+s}2 g_{B_1}(\theta) + \frac{1-s}2 g_{B_2}(\theta)\Big),
          \qquad s = \sqrt{2\ell - 1}

with two independent batches; ell such micro-steps make one step of SGD. The covariance of a micro-step's gradient is
ell times that of SGD. On quadratics of one dimension (mean curvature a, batch variance s^2) stable iff
:math:`\eta(a^2/\ell + s^2) < 2a`. Source: Li, Malladi and Arora 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import integer
from ..errors import InvalidArgument
from ..kernels.compile import inline, kernel
from ..kernels.random import SECOND_BATCHES, below, random_bits, stream_keys
from ..kernels.signatures import LAW
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

INDEPENDENT = ("without_replacement", "with_replacement")


@inline
def draw_batch(first_key, second_key, base, replacing, samples, batch, scratch, index):
    """A batch as `kernels.batches` draws it from the same counters."""
    for k in range(batch):
        bits = random_bits(first_key, second_key, base + np.uint64(k))
        index[k] = below(bits, samples) if replacing else k + below(bits, samples - k)
    if not replacing:
        for k in range(batch):
            j = index[k]
            index[k] = scratch[j]
            scratch[j] = scratch[k]
            scratch[k] = index[k]
        for k in range(batch):
            scratch[index[k]] = index[k]
            scratch[k] = k


@kernel(LAW)
def amplified(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """Two batches, the first one that of SGD where ell = 1."""
    a, b = stream_keys(seed, replica, stream)
    c, d = stream_keys(seed, replica, stream + SECOND_BATCHES)
    replacing = parameters[0] != 0.0
    spread = math.sqrt(2.0 * micro_steps - 1.0)
    for s in range(steps):
        base = np.uint64(first + s) * np.uint64(samples)
        draw_batch(a, b, base, replacing, samples, batch, scratch, index[s])
        draw_batch(c, d, base, replacing, samples, batch, scratch, index[s, batch:])
        count[s] = 2 * batch
        for k in range(batch):
            weight[s, k] = 0.5 * (1.0 + spread) / batch
            weight[s, batch + k] = 0.5 * (1.0 - spread) / batch


@dataclass(frozen=True)
class SVAG(Dynamics):
    """SVAG with `step_size`, `batch_size`, and `ell` micro-steps per step of SGD.

    >>> import sgdmodels as sm
    >>> sm.SVAG(0.1, batch_size=4, ell=16).ell
    16
    """

    step_size: Schedule
    batch_size: Schedule
    ell: int = 4
    sampling: str = "without_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            ell=checked_ell(self.ell),
            sampling=checked_sampling(self.sampling),
        )
        if self.sampling not in INDEPENDENT:
            raise InvalidArgument(
                f"SVAG needs two independent batches: sampling must be one of {INDEPENDENT}, got {self.sampling!r}"
            )

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\theta \leftarrow \theta - \tfrac\eta\ell(\tfrac{1+\sqrt{2\ell-1}}2 g_{B_1}"
            r" + \tfrac{1-\sqrt{2\ell-1}}2 g_{B_2})",
            weak_order=1,
            preserves=r"mean to order $\eta$, covariance to order $\eta^2$",
            edge=r"\text{one dimension: } \eta = 2a/(a^2/\ell + s^2)",
            cost=r"$2\ell b$ G",
            reference="Li, Malladi and Arora 2021",
        )

    def plan(self, samples: int) -> Plan:
        starts, step_sizes, batch_sizes = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        replacing = np.array([float(self.sampling == "with_replacement")])
        return Plan(
            amplified, 2 * int(batch_sizes.max()), starts, step_sizes, batch_sizes,
            micro_steps=self.ell, law_parameters=replacing,
        )  # fmt: skip


def checked_ell(ell: Any) -> int:
    if isinstance(ell, float) and math.isinf(ell):
        raise InvalidArgument("ell must be finite, got inf; the limit of SVAG is sm.SDE(step_size, batch_size)")
    return integer("ell", ell, 1, 2**20, "(1 is SGD itself)")
