r"""A central flow for mini-batch SGD, held at the mean-square edge.

.. math:: \dot\theta = -\nabla L - \tfrac\nu2\nabla^3L(\theta)\!:\!X^*(\theta), \qquad
          0 \le \nu \perp \tfrac2\eta - S_{ms}(\theta, b) \ge 0

The oscillation of SGD at its edge has the covariance nu X*, X* being the critical mode of the frozen second-moment map
(`sgdmodels.theory.critical_mode`); its strength nu is the least that keeps S_ms from passing 2/eta. The force uses the
third derivative of the full loss alone, since a batch drawn afresh is independent of where the oscillation is. At the
full batch X* is the projector on the top eigenvector and this is `CentralFlow`. Additive noise is left out, so that the
level is an upper bound where residuals persist.

Directions with less than `cutoff` of the top curvature are left out of S_ms: they would need 1 / (cutoff eta
lambda_max) steps to lose stability, and move meanwhile. Linearly implicit Euler steps of `stride` steps of SGD. Source:
our proposal, after Cohen et al. 2024 and Mulayoff and Michaeli 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..arguments import FloatArray, integer, real
from ..kernels.batches import full_batch
from ..sampling import noise_coefficients
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
from .sharpness_derivatives import RELATIVE_STEP, eigen, third_derivative

CRITICAL = 0.9  # S_ms above this share of 2/eta is watched
ITERATIONS = 10  # a stride: the mode starts from that of the last one
TOLERANCE = 1e-8
SMALLEST = 1e-4  # modes of X* with less of its trace are left out of the force


def advance(
    model: Any, theta: FloatArray, memory: FloatArray, steps: int, step_size: float, batch_size: int,
    sampling: str, cutoff: float,
) -> None:  # fmt: skip
    """One stride of `steps` steps of SGD, in place; `memory` holds the critical mode of the last one."""
    edge, time = 2.0 / step_size, step_size * steps
    noise = noise_coefficients(model.samples, batch_size, sampling)
    mean_part = 1.0 if noise.raw else 1.0 - noise.c2
    mode = memory.reshape(model.dim, model.dim)
    values, vectors = eigen(model, theta)
    damping = (vectors / (1.0 + time * np.maximum(values, 0.0))) @ vectors.T
    drift = -time * damping @ model.gradient(theta)
    if values[-1] > 0:
        steep = values > cutoff * values[-1]
        basis = vectors[:, steep]
        hessians = basis.T @ model.sample_hessians(theta) @ basis
        sharpness, critical = critical_pair(hessians, values[steep], mean_part, noise.c2, basis.T @ mode @ basis)
        mode[...] = basis @ critical @ basis.T
        if sharpness > CRITICAL * edge:
            force = -0.5 * time * damping @ third_derivative_along(model, theta, mode)
            rise = [sharpness_change(model, theta, mode, way, mean_part, noise.c2) for way in (drift, force)]
            excess = sharpness + rise[0] - edge
            if excess > 0 and rise[1] < 0:
                drift = drift + excess / -rise[1] * force
    theta += drift


def critical_pair(
    hessians: FloatArray, values: FloatArray, mean_part: float, c2: float, start: FloatArray
) -> tuple[float, FloatArray]:
    """S_ms and the critical mode (trace 1) by iterating the positive map X -> C^-1 D(X) from `start`."""
    k = len(values)
    x = start + (1e-3 * max(float(np.trace(start)), 1e-300)) * np.eye(k)
    x /= np.trace(x)
    pairs = 2.0 / (values[:, None] + values[None, :])
    weights = mean_part * values[:, None] * values[None, :]
    sharpness = 0.0
    stacked = np.ascontiguousarray(hessians).reshape(-1, k)
    for _ in range(ITERATIONS):
        spread = stacked.T @ (x @ hessians).reshape(-1, k)  # sum_i H_i X H_i as one product
        x = pairs * (weights * x + c2 * spread / len(hessians))
        size = float(np.trace(x))
        x = 0.5 * (x + x.T) / size
        if abs(size - sharpness) <= TOLERANCE * size:
            break
        sharpness = size
    products = hessians @ x
    top = np.sum(weights * x * x) + c2 * np.einsum("nij,nji->", products, products) / len(hessians)
    return float(top / np.sum(x * x / pairs)), x  # the quotient: its error is that of the mode squared


def third_derivative_along(model: Any, theta: FloatArray, mode: FloatArray) -> FloatArray:
    """The vector sum_ij X_ij d^3 L[e_i, e_j, .]."""
    weights, vectors = np.linalg.eigh(mode)
    heavy = np.flatnonzero(weights > SMALLEST * weights.sum())
    terms = [weights[k] * third_derivative(model, theta, vectors[:, k], vectors[:, k]) for k in heavy]
    return np.asarray(sum(terms))


def sharpness_change(
    model: Any, theta: FloatArray, mode: FloatArray, way: FloatArray, mean_part: float, c2: float
) -> float:
    """First-order change of S_ms along `way`: that of the quotient <X, D X> / <X, C X> at the critical mode X."""
    length = float(np.abs(way).max())
    if length == 0.0:
        return 0.0
    step = RELATIVE_STEP * max(1.0, float(np.abs(theta).max())) / length

    def quotient(point: FloatArray) -> float:
        products = model.sample_hessians(point) @ mode
        mean = products.mean(axis=0)
        top = mean_part * np.sum(mean * mean.T) + c2 * np.einsum("nij,nji->", products, products) / len(products)
        return float(top / np.sum(mean * mode.T))

    return (quotient(theta + step * way) - quotient(theta - step * way)) / (2 * step)


@dataclass(frozen=True)
class StochasticCentralFlow(Dynamics):
    """Central flow of SGD with `step_size` and `batch_size`, held at S_ms = 2/eta.

    >>> import sgdmodels as sm
    >>> sm.StochasticCentralFlow(0.1, batch_size=4).stride
    50
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    batch_size: Schedule
    stride: int = 50
    cutoff: float = 0.02
    sampling: str = "without_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size), batch_size=checked_batch_size(self.batch_size),
            stride=integer("stride", self.stride, 1), cutoff=real("cutoff", self.cutoff, 0.0, 1.0),
            sampling=checked_sampling(self.sampling),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\dot\theta = -\nabla L - \tfrac\nu2\nabla^3L:X^*,"
            r"\quad 0 \le \nu \perp \tfrac2\eta - S_{ms}(b) \ge 0",
            weak_order=None, preserves="time-averaged path of SGD", edge=r"S_{ms}(b) \le 2/\eta \text{ built in}",
            cost="(n G, n d H, n $d^3$) / stride", reference="proposal of this package, after Cohen et al. 2024",
            heuristic=True,
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        return Plan(
            full_batch, samples, *segments(self.step_size, fitting_batch_size(self.batch_size, samples)),
            advance=partial(advance, sampling=self.sampling, cutoff=self.cutoff), stride=self.stride,
            memory=lambda model, theta: np.tile(np.eye(model.dim).ravel(), (len(theta), 1)),
        )  # fmt: skip
