r"""Stochastic modified equations: SDEs that stay close to SGD in law.

.. math:: d\theta = -\nabla\big(L + [\tfrac\eta4|\nabla L|^2]\big)\,dt + \sqrt{\eta c_2\Sigma(\theta)}\,dW

Order 1 is without the term in brackets; in one substep of Euler it is `NoisyGD`, which is of order 2. Time runs in
units of eta, so that a step of SGD is eta of it, integrated in `substeps` m of h = eta / m. ``integrator="euler"``
(Euler-Maruyama, weak order 1 in h) or ``"heun"``: Heun's rule for the drift and Euler for the noise, whose weak error
O(h^2 + eta h) is of second order in eta for every m because the noise is small (Milstein and Tretyakov 1997); it is the
default where order = 2, which Euler would spoil. h must stay below 2 / lambda_max, or the integrator and not the SDE is
unstable.

On quadratics the SDE knows no edge at lambda_max = 2/eta: only the multiplicative part of the noise can make it
unstable. Source: Li, Tai and E 2017, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..arguments import integer, one_of
from ..errors import InvalidArgument
from ..kernels.gaussians import SCHEME_CODES, gaussian, law_width
from ..kernels.holes import add_gradient, add_mean_hvp, begin_mean, split
from ..kernels.signatures import MODEL_ROWS
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

INTEGRATORS = ("euler", "heun")


def walk_corrected(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: drift -(grad L + (eta/2) H grad L) if parameters[0], Heun's rule for grad L if parameters[1]."""
    corrected, heun = parameters[0] != 0.0, parameters[1] != 0.0
    size = theta.shape[1]
    mean, curved, noise = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size], work[MODEL_ROWS + 2, :size]
    ahead, later = work[MODEL_ROWS + 3, :size], work[MODEL_ROWS + 4, :size]
    second = weight.shape[2] // 2
    half = 0.5 * step_size * micro_steps if corrected else 0.0
    for s in range(steps):
        for j in range(theta.shape[0]):
            x, chosen, uniform = theta[j], index[j, s], weight[j, s, second:]
            parts = split(x, inputs, constants)
            for k in range(size):
                mean[k] = 0.0
                curved[k] = 0.0
                noise[k] = 0.0
                later[k] = 0.0
            add_gradient(
                parts, chosen, uniform, samples, 1.0, inputs, targets, constants, work, split(mean, inputs, constants)
            )
            add_gradient(
                parts, chosen, weight[j, s], samples, 1.0, inputs, targets, constants, work,
                split(noise, inputs, constants),
            )  # fmt: skip
            if corrected:
                begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
                add_mean_hvp(
                    parts, split(mean, inputs, constants), samples, inputs, targets, constants, second_moment, work,
                    split(curved, inputs, constants),
                )  # fmt: skip
            if heun:
                for k in range(size):
                    ahead[k] = x[k] - step_size * (mean[k] + half * curved[k])
                add_gradient(
                    split(ahead, inputs, constants), chosen, uniform, samples, 1.0, inputs, targets, constants, work,
                    split(later, inputs, constants),
                )  # fmt: skip
                for k in range(size):
                    mean[k] = 0.5 * (mean[k] + later[k])
            for k in range(size):
                x[k] -= step_size * (mean[k] + half * curved[k] + noise[k])


@dataclass(frozen=True)
class SDE(Dynamics):
    """SDE of `order` 1 or 2 with `step_size` eta and `batch_size`, integrated in `substeps` per step of SGD.

    `integrator` is "euler" or "heun" (None: by the order). `sampling` sets c2(b). SDE(substeps=m, refinement=r) and
    SDE(substeps=m r) with one seed see the same Brownian path, NoisyGD(refinement=m) too: the difference of two such
    runs is the integrator's error.

    >>> import sgdmodels as sm
    >>> sm.SDE(0.1, batch_size=4, order=2).integrator
    'heun'
    """

    step_size: Schedule
    batch_size: Schedule
    order: int = 1
    substeps: int = 10
    integrator: str | None = None
    sampling: str = "without_replacement"
    refinement: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.order, bool) or self.order not in (1, 2):
            raise InvalidArgument(
                f"order must be 1 or 2, got {self.order!r}: no SDE with Gaussian noise is closer to SGD than order 2 "
                "(Li, Tai and E); for a finer integrator raise substeps"
            )
        default = "euler" if self.order == 1 else "heun"
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            substeps=checked_substeps(self.substeps),
            integrator=one_of("integrator", default if self.integrator is None else self.integrator, INTEGRATORS),
            sampling=checked_sampling(self.sampling),
            refinement=integer("refinement", self.refinement, 1),
        )

    @property
    def declaration(self) -> Declaration:
        second = self.order == 2
        gradients = (1 if not second and self.integrator == "euler" else 2) + (self.integrator == "heun")
        return Declaration(
            equation=r"d\theta = -\nabla(L + \tfrac\eta4|\nabla L|^2)\,dt + \sqrt{\eta c_2\Sigma}\,dW"
            if second else r"d\theta = -\nabla L\,dt + \sqrt{\eta c_2\Sigma}\,dW",
            weak_order=2 if (self.integrator == "heun" if second else self.is_noisy_gd) else 1,
            preserves="mean, covariance" if self.is_noisy_gd
            else r"mean and covariance to order $\eta^2$" if second
            else r"mean to order $\eta$, covariance to order $\eta^2$",
            edge=r"S_{ms}(b) = 2/\eta" if self.is_noisy_gd
            else r"\text{one dimension: none if } s^2 \le a^2, \text{ else } \eta = 2a/(s^2 - a^2)" if second
            else r"\text{one dimension: } \eta = 2a/s^2",
            cost=f"m ({'' if gradients == 1 else gradients}n G{', n H' if second else ''}, n normals)",
            reference="Li, Tai and E 2017",
        )  # fmt: skip

    @property
    def is_noisy_gd(self) -> bool:
        return self.order == 1 and self.integrator == "euler" and self.substeps == 1

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        simple = self.order == 1 and self.integrator == "euler"
        noise = np.array([float(SCHEME_CODES[self.sampling]), self.refinement, float(not simple)])
        plan = Plan(
            gaussian, law_width(samples, 1 if simple and self.refinement == 1 else 2), *schedule,
            micro_steps=self.substeps, law_parameters=noise, refinement=self.refinement, in_order=True,
        )  # fmt: skip
        if simple:
            return plan
        return replace(
            plan, walk=walk_corrected, functions=("split", "add_gradient", "begin_mean", "add_mean_hvp"), inlined=False,
            walk_parameters=np.array([float(self.order == 2), float(self.integrator == "heun")]),
        )  # fmt: skip
