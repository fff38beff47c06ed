r"""Central flow: the time average of gradient descent at the edge of stability.

.. math:: \dot\theta = -\nabla L - \tfrac12\nabla^3L(\theta)\!:\!\Sigma, \qquad
          0 \preceq \Sigma \perp \tfrac2\eta I - H \succeq 0

The oscillation's covariance Sigma lives in the eigenspace that has reached 2/eta and takes the smallest value that
keeps the sharpness from passing it (one direction: :math:`\Sigma = \sigma^2uu^T`, :math:`\sigma^2 = 2\langle-\nabla L,
\nabla S\rangle/|\nabla S|^2`). Linearly implicit Euler steps of `stride` steps of gradient descent; within each the
complementarity problem is solved for the sharpness at its end. Builds the edge in: it predicts the path, not the level.
Source: Cohen et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..arguments import FloatArray, integer
from ..kernels.batches import full_batch
from .base import Declaration, Dynamics, Plan, checked_step_size, segments
from .schedules import Schedule
from .sharpness_derivatives import eigen, third_derivative

CRITICAL = 0.9  # eigenvalues above this share of 2/eta are watched
ITERATIONS = 500


def advance(model: Any, theta: FloatArray, memory: FloatArray, steps: int, step_size: float, batch_size: int) -> None:
    """One stride of `steps` steps of gradient descent, in place."""
    edge, time = 2.0 / step_size, step_size * steps
    values, vectors = eigen(model, theta)
    damping = (vectors / (1.0 + time * np.maximum(values, 0.0))) @ vectors.T
    drift = -time * damping @ model.gradient(theta)
    watched = [k for k in range(len(values)) if values[k] > CRITICAL * edge][-4:]
    if watched:
        u = vectors[:, watched]
        k = len(watched)
        slopes = np.array([[third_derivative(model, theta, u[:, p], u[:, q]) for q in range(k)] for p in range(k)])
        excess = np.diag(values[watched]) + slopes @ drift - edge * np.eye(k)
        response = 0.5 * time * np.einsum("pqi,ij,rsj->pqrs", slopes, damping, slopes)
        drift = drift - 0.5 * time * damping @ np.einsum("pqi,pq->i", slopes, covariance(excess, response))
    theta += drift


def covariance(excess: FloatArray, response: FloatArray) -> FloatArray:
    """The least Sigma >= 0 with excess - response : Sigma <= 0 (as matrices) and both orthogonal."""
    k = len(excess)
    if k == 1:
        fall = float(response[0, 0, 0, 0])
        return np.array([[max(0.0, float(excess[0, 0])) / fall if fall > 0 else 0.0]])
    flat = response.reshape(k * k, k * k)
    largest = float(np.linalg.norm(flat, 2))
    sigma = np.zeros((k, k))
    for _ in range(ITERATIONS if largest > 0 else 0):
        values, vectors = np.linalg.eigh(sigma + (excess - np.einsum("pqrs,rs->pq", response, sigma)) / largest)
        moved = (vectors * np.maximum(values, 0.0)) @ vectors.T
        if np.abs(moved - sigma).max() <= 1e-10 * np.abs(moved).max():
            return moved
        sigma = moved
    return sigma


@dataclass(frozen=True)
class CentralFlow(Dynamics):
    """Central flow of gradient descent with `step_size`, in strides of `stride` steps.

    >>> import sgdmodels as sm
    >>> sm.CentralFlow(0.1).stride
    10
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    stride: int = 10

    def __post_init__(self) -> None:
        self._set(step_size=checked_step_size(self.step_size), stride=integer("stride", self.stride, 1))

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\dot\theta = -\nabla L - \tfrac12\nabla^3L:X,"
            r"\quad 0 \preceq X \perp \tfrac2\eta I - H \succeq 0",
            weak_order=None, preserves="time-averaged path of GD", edge=r"\lambda_{\max} \le 2/\eta \text{ built in}",
            cost="(n G, n d H, $d^3$) / stride", reference="Cohen et al. 2024", relative_to="GD",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        schedule = segments(self.step_size, ((0, samples),))
        return Plan(full_batch, samples, *schedule, advance=advance, stride=self.stride)
