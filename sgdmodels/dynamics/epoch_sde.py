r"""SDE for SGD without replacement: the noise of an epoch adds up to nothing.

.. math:: d\theta = -\nabla\big(L + [\tfrac\eta4|\nabla L|^2]\big)dt + \sqrt{\eta\tfrac{n}{n-b}c_2\Sigma}\;d\beta

beta is a concatenation of independent Brownian bridges, one for each epoch of K = n // b steps: to first order every
sample has its say once. The factor n/(n-b) gives a single step the covariance of a batch; two steps of an epoch are
then correlated as batches of one permutation are, by -b/(n-b). (Where b does not divide n, an epoch leaves samples
out, and the bridge is only pulled back by the share kappa of its mean with 2 kappa - kappa^2 = K b / n.) The term in
brackets belongs to order 2. The bridge itself shifts the mean by :math:`-\tfrac\eta4 c_2\nabla\mathrm{tr}\Sigma`,
Smith's noise term, up to a factor that is 1 for one substep and n/(n-b) in the limit of many, so that weak order 2 is
reached with one substep only. Source: Perko 2025 ("epoched Brownian motion"); Smith et al. 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InvalidArgument
from ..kernels.compile import kernel
from ..kernels.gaussians import NOISE_ONLY, WITHOUT_REPLACEMENT, increments, law_width, noise_variance
from ..kernels.random import GAUSSIANS, stream_keys
from ..kernels.signatures import LAW
from .base import (
    Declaration,
    Dynamics,
    Plan,
    checked_batch_size,
    checked_step_size,
    checked_substeps,
    fitting_batch_size,
    segments,
)  # fmt: skip
from .schedules import Schedule
from .sde import walk_corrected


@kernel(LAW)
def bridges(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """All samples with the increments of Brownian bridges as weights; `sums` holds the mean increments of the epoch."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    length = samples // batch * micro_steps
    epochs = samples // batch
    separate = parameters[NOISE_ONLY] != 0.0
    mean = 1.0 / samples
    variance = noise_variance(WITHOUT_REPLACEMENT, samples, batch)
    inflation = samples / (samples - batch + 0.0) if samples > batch else 0.0
    pull = 1.0 - math.sqrt(max(0.0, 1.0 - epochs * batch / samples))
    scale = math.sqrt(micro_steps * variance * inflation * mean)
    second = 2 * ((samples + 1) // 2)
    for s in range(steps):
        start = first + s - (first + s - origin) % length
        xi, fine = weight[s], weight[s, second:]
        if state[0] != replica or state[1] != start:
            state[0], state[1] = replica, start
            for k in range(samples):
                sums[k] = 0.0
            for t in range(start, start + length):
                increments(a, b, t, 1, samples, xi, fine)
                for k in range(samples):
                    sums[k] += xi[k] / length
        increments(a, b, first + s, 1, samples, xi, fine)
        shift = 0.0
        for k in range(samples):
            index[s, k] = k
            xi[k] -= pull * sums[k]
            shift += xi[k]
        shift *= mean
        count[s] = samples
        for k in range(samples):
            xi[k] = scale * (xi[k] - shift)
            if separate:
                xi[second + k] = mean
            else:
                xi[k] += mean


@dataclass(frozen=True)
class EpochSDE(Dynamics):
    """Bridge-driven SDE with `step_size` and `batch_size`, a model of SGD(sampling="epoch").

    `order` 2 adds the drift (eta/2) H grad L and integrates it by Heun's rule. Epochs restart where a schedule changes.

    >>> import sgdmodels as sm
    >>> sm.EpochSDE(0.1, batch_size=4).order
    1
    """

    step_size: Schedule
    batch_size: Schedule
    order: int = 1
    substeps: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.order, bool) or self.order not in (1, 2):
            raise InvalidArgument(f"order must be 1 or 2 (with the drift correction), got {self.order!r}")
        self._set(
            step_size=checked_step_size(self.step_size), batch_size=checked_batch_size(self.batch_size),
            substeps=checked_substeps(self.substeps),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        second = self.order == 2
        drift = r"\nabla(L + \tfrac\eta4|\nabla L|^2)" if second else r"\nabla L"
        return Declaration(
            equation=rf"d\theta = -{drift}\,dt + \sqrt{{\eta\tfrac{{n}}{{n-b}}c_2\Sigma}}\,dW^\circ",
            weak_order=2 if self.substeps == 1 else 1,
            preserves="covariance of a step and between steps of an epoch, to leading order",
            edge=r"\text{no closed form}", cost=f"m ({'3n G, n H' if second else 'n G'}, 2n normals)",
            reference="Perko 2025; Smith et al. 2021",
            relative_to='SGD(sampling="epoch")',
        )  # fmt: skip

    @property
    def sampling(self) -> str:
        """The scheme it models, for metrics that depend on it."""
        return "epoch"

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        plan = Plan(
            bridges, law_width(samples), *schedule, micro_steps=self.substeps, in_order=True,
            law_parameters=np.array([0.0, 1.0, float(self.order == 2)]),
        )  # fmt: skip
        if self.order == 1:
            return plan
        return replace(
            plan, walk=walk_corrected, functions=("split", "add_gradient", "begin_mean", "add_mean_hvp"), inlined=False,
            walk_parameters=np.array([1.0, 1.0]),
        )  # fmt: skip
