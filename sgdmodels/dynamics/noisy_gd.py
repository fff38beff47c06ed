r"""Gradient descent with Gaussian noise: which part of the noise of SGD matters?

.. math:: \theta \leftarrow \theta - \eta\,(\nabla L(\theta) + N), \qquad N \sim \mathcal N(0, C)

``covariance``: ``"full"`` is that of a mini-batch gradient, :math:`C = c_2\Sigma(\theta)`, drawn as
:math:`\sqrt{c_2/n}\sum_i(\xi_i - \bar\xi) g_i`; ``"diagonal"`` keeps only its diagonal, ``"isotropic"`` only its trace,
:math:`C = c_2\,\mathrm{tr}\Sigma/d\; I`; ``"constant"`` is :math:`C = c_2\sigma_0^2 I` with :math:`\sigma_0` = `scale`
wherever the parameters are. With `refresh` = k the covariance is that of the parameters every k steps ago. (Bernoulli
batches: raw second moments in place of :math:`\Sigma`.)

On quadratics, full covariance has exactly the mean and second moments of SGD, hence its mean-square edge.
Source: Zhu et al. 2019; Wu et al. 2020; the noise variants of Andreyev and Beneventano 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments import integer, one_of, real
from ..errors import InvalidArgument
from ..kernels.batches import full_batch
from ..kernels.gaussians import BERNOULLI, SCHEME_CODES, gaussian, increments, law_width, noise_variance
from ..kernels.holes import add_gradient, split
from ..kernels.signatures import MODEL_ROWS
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

COVARIANCES = ("full", "diagonal", "isotropic", "constant")
DIAGONAL, ISOTROPIC, CONSTANT = 0, 1, 2
KINDS = {"diagonal": DIAGONAL, "isotropic": ISOTROPIC, "constant": CONSTANT}


def walk_stale(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: mean gradient here, Gaussian noise with the per-sample gradients of the anchor in `memory`."""
    refresh = int(parameters[0])
    second = weight.shape[2] // 2
    for s in range(steps):
        for j in range(theta.shape[0]):
            x, anchor = theta[j], memory[j]
            if (first + s) % refresh == 0:
                for k in range(x.shape[0]):
                    anchor[k] = x[k]
            here = split(x, inputs, constants)
            there = split(anchor, inputs, constants)
            add_gradient(
                here, index[j, s], weight[j, s, second:], samples, -step_size, inputs, targets, constants, work, here
            )
            add_gradient(there, index[j, s], weight[j, s], samples, -step_size, inputs, targets, constants, work, here)


def walk_kick(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: mean gradient and independent Gaussian kicks; `memory` holds their standard deviations.

    parameters: kind, refresh, scale, sampling scheme, refinement.
    """
    kind, refresh, scheme, refinement = int(parameters[0]), int(parameters[1]), int(parameters[3]), int(parameters[4])
    size = theta.shape[1]
    g, mean, squares = work[MODEL_ROWS, :size], work[MODEL_ROWS + 1, :size], work[MODEL_ROWS + 2, :size]
    xi, fine = work[MODEL_ROWS + 3], work[MODEL_ROWS + 4]
    one = work[MODEL_ROWS + 5, :1]
    one[0] = 1.0
    c2 = noise_variance(scheme, samples, batch)
    for s in range(steps):
        for j in range(theta.shape[0]):
            x, deviation = theta[j], memory[j]
            parts = split(x, inputs, constants)
            if kind == CONSTANT:
                for k in range(size):
                    deviation[k] = parameters[2] * math.sqrt(c2)
            elif (first + s) % refresh == 0:
                for k in range(size):
                    mean[k] = 0.0
                    squares[k] = 0.0
                for i in range(samples):
                    for k in range(size):
                        g[k] = 0.0
                    add_gradient(
                        parts, index[j, s, i : i + 1], one, 1, 1.0, inputs, targets, constants, work,
                        split(g, inputs, constants),
                    )  # fmt: skip
                    for k in range(size):
                        mean[k] += g[k]
                        squares[k] += g[k] * g[k]
                total = 0.0
                for k in range(size):
                    centre = 0.0 if scheme >= BERNOULLI else (mean[k] / samples) * (mean[k] / samples)
                    deviation[k] = c2 * max(0.0, squares[k] / samples - centre)
                    total += deviation[k]
                for k in range(size):
                    deviation[k] = math.sqrt(total / size if kind == ISOTROPIC else deviation[k])
            add_gradient(parts, index[j, s], weight[j, s], samples, -step_size, inputs, targets, constants, work, parts)
            increments(keys[j, 0], keys[j, 1], first + s, refinement, size, xi, fine)
            for k in range(size):
                x[k] -= step_size * deviation[k] * xi[k]


@dataclass(frozen=True)
class NoisyGD(Dynamics):
    """Noisy gradient descent with `step_size`, `batch_size`, and the `covariance` of the noise.

    `sampling` sets c2(b). `scale` belongs to covariance="constant": the standard deviation of one sample's gradient
    noise in every coordinate. `refinement` joins Brownian paths: see `sgdmodels.SDE`.

    >>> import sgdmodels as sm
    >>> sm.NoisyGD(0.1, batch_size=4, covariance="isotropic", refresh=30).refresh
    30
    """

    step_size: Schedule
    batch_size: Schedule
    covariance: str = "full"
    scale: float | None = None
    refresh: int = 1
    sampling: str = "without_replacement"
    refinement: int = 1

    def __post_init__(self) -> None:
        one_of("covariance", self.covariance, COVARIANCES)
        self._set(
            step_size=checked_step_size(self.step_size),
            batch_size=checked_batch_size(self.batch_size),
            scale=checked_scale(self.scale, self.covariance),
            refresh=integer("refresh", self.refresh, 1),
            sampling=checked_sampling(self.sampling),
            refinement=integer("refinement", self.refinement, 1),
        )
        if self.covariance == "constant" and self.refresh > 1:
            raise InvalidArgument(f'refresh must be 1 with covariance="constant", got {self.refresh}; leave it out')

    @property
    def declaration(self) -> Declaration:
        full = self.covariance == "full" and self.refresh == 1
        return Declaration(
            equation=r"\theta \leftarrow \theta - \eta(\nabla L + N),\quad N\sim\mathcal N(0, c_2"
            + {"full": r"\Sigma", "diagonal": r"\,\mathrm{diag}\,\Sigma",
               "isotropic": r"\,\tfrac{\mathrm{tr}\Sigma}{d} I", "constant": r"\sigma_0^2 I"}[self.covariance] + ")",
            weak_order=2 if self.covariance == "full" else 1,  # the age of the noise costs O(step_size^3) a step
            preserves={"full": "mean, covariance", "diagonal": "mean, variances", "isotropic": "mean, total variance",
                       "constant": "mean"}[self.covariance] + ("" if self.refresh == 1 else " (at the last refresh)"),
            edge=r"S_{ms}(b) = 2/\eta" if full
                 else r"\lambda_{\max} = 2/\eta" if self.covariance == "constant" else r"\text{no closed form}",
            cost="n G, n normals" if self.covariance == "full" else "n G, d normals"
                 if self.covariance == "constant" else "2n G, d normals",
            reference="Zhu et al. 2019; Wu et al. 2020",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, fitting_batch_size(self.batch_size, samples))
        scheme = float(SCHEME_CODES[self.sampling])
        if self.covariance == "full":
            stale = self.refresh > 1
            noise = np.array([scheme, self.refinement, float(stale)])
            width = law_width(samples, 2 if stale or self.refinement > 1 else 1)
            plan = Plan(
                gaussian, width, *schedule, law_parameters=noise, refinement=self.refinement, in_order=True
            )  # fmt: skip
            if not stale:
                return plan
            return replace(
                plan, walk=walk_stale, inlined=False, walk_parameters=np.array([float(self.refresh)]),
                memory=lambda _, theta: theta.copy(),
            )  # fmt: skip
        settings = [KINDS[self.covariance], self.refresh, self.scale or 0.0, scheme, self.refinement]
        return Plan(
            full_batch, samples, *schedule, walk=walk_kick, inlined=False, walk_parameters=np.array(settings, float),
            memory=lambda _, theta: np.zeros_like(theta), refinement=self.refinement,
        )  # fmt: skip


def checked_scale(scale: Any, covariance: str) -> float | None:
    """The standard deviation of constant noise: needed there, and meaningless elsewhere."""
    if covariance != "constant":
        if scale is not None:
            raise InvalidArgument(
                f'scale belongs to covariance="constant", got scale={scale!r} with covariance={covariance!r}; drop it'
            )
        return None
    if scale is None:
        raise InvalidArgument(
            'covariance="constant" needs scale=, the standard deviation of one sample\'s gradient noise in every '
            "coordinate, got None; pass scale=0.01, say"
        )
    return real("scale", scale)
