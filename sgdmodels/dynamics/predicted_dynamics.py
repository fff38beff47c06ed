r"""Self-stabilisation at the edge in two numbers: Damian's predicted dynamics with the noise of mini-batches.

.. math:: x^+ = -(1 + \eta y)x - \eta s\zeta x - \eta\sigma_u\xi, \qquad
          y^+ = y + \eta\big(\alpha - \tfrac\beta2 x^2\big), \qquad \xi, \zeta \sim \mathcal N(0, 1)

x is the displacement along the top eigenvector u from a reference point on S = 2/eta, y the sharpness beyond 2/eta;
:math:`\alpha = -\nabla L\cdot\nabla S^\perp` (progressive sharpening), :math:`\beta = |\nabla S^\perp|^2`,
:math:`\sigma_u^2 = c_2 u^T\Sigma u` and :math:`s^2 = c_2\mathrm{Var}_i(u^TH_iu)`. The path in parameters is
:math:`\theta^* + x u + (y/\beta)\nabla S^\perp`. All coefficients are those of the reference point, so it is a local
theory: start it near the edge. In a fork with another step size :math:`\eta'` that point and y stay what they are, and
x is multiplied by :math:`1 - \eta'(S^* + y + s\zeta)` with :math:`S^* = 2/\eta` of the run that was forked. The mean
sharpness gap is `sgdmodels.theory.sharpness_gap`.
Source: Damian, Nichani and Lee 2023; gradient noise: Liao et al. 2026; the noise of batch Hessians is our addition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import FloatArray
from ..errors import InvalidArgument
from ..kernels.batches import full_batch
from ..kernels.gaussians import SCHEME_CODES, noise_variance
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
from .sharpness_derivatives import eigen, third_derivative

PROJECTIONS = 50  # Newton steps to the surface S = 2 / eta
NUMBERS = 7  # x, y, alpha, beta, u'Sigma u, Var(u'H_i u), S at the reference point; then three vectors in memory


def walk_predicted(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """The recursion of x and y, and where it lies in parameter space."""
    size = theta.shape[1]
    c2 = noise_variance(int(parameters[0]), samples, batch)
    for j in range(theta.shape[0]):
        m = memory[j]
        x, y, alpha, beta = m[0], m[1], m[2], m[3]
        sigma, s, edge = np.sqrt(c2 * m[4]), np.sqrt(c2 * m[5]), m[6]
        for t in range(first, first + steps):
            xi = standard_normal(keys[j, 0], keys[j, 1], 2 * t)
            zeta = standard_normal(keys[j, 0], keys[j, 1], 2 * t + 1)
            before = x
            x = (1.0 - step_size * (edge + y + s * zeta)) * x - step_size * sigma * xi
            y += step_size * (alpha - 0.5 * beta * before * before)
        m[0], m[1] = x, y
        for k in range(size):
            theta[j, k] = m[NUMBERS + k] + x * m[NUMBERS + size + k] + y / beta * m[NUMBERS + 2 * size + k]


@dataclass(frozen=True)
class PredictedDynamics(Dynamics):
    """Predicted dynamics with `step_size` and `batch_size`, about the point of S = 2/eta nearest to its start.

    >>> import sgdmodels as sm
    >>> sm.PredictedDynamics(0.1, batch_size=4).sampling
    'without_replacement'
    """

    step_size: float
    batch_size: Schedule
    sampling: str = "without_replacement"

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size), batch_size=checked_batch_size(self.batch_size),
            sampling=checked_sampling(self.sampling),
        )  # fmt: skip
        if not isinstance(self.step_size, float):
            raise InvalidArgument(
                "step_size must be one number for PredictedDynamics, got a schedule: its coefficients belong to the "
                "edge 2 / step_size"
            )

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"x^+ = -(1+\eta y)x - \eta s\zeta x - \eta\sigma_u\xi,"
            r"\quad y^+ = y + \eta(\alpha-\tfrac\beta2x^2)",
            weak_order=0, preserves="gradient and curvature noise along the top eigenvector",
            edge=r"\text{built in: mean } \lambda_{\max}"
            r" = 2/\eta - \tfrac{\eta s^2}2 - \tfrac{\eta\beta\sigma_u^2}{4\alpha}",
            cost="2 normals",
            reference="Damian, Nichani and Lee 2023; Liao et al. 2026",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        edge = 2.0 / self.step_size
        raw = self.sampling == "bernoulli"
        return Plan(
            full_batch, samples, *segments(self.step_size, fitting_batch_size(self.batch_size, samples)),
            walk=walk_predicted, functions=(), walk_parameters=np.array([float(SCHEME_CODES[self.sampling])]),
            memory=lambda model, theta: np.array([reference_point(model, start, edge, raw) for start in theta]),
        )  # fmt: skip


def reference_point(model: Any, start: FloatArray, edge: float, raw: bool) -> FloatArray:
    """The numbers and vectors of the recursion about the point of S = `edge` reached from `start` along grad S."""
    theta = start.copy()
    for _ in range(PROJECTIONS):
        values, vectors = eigen(model, theta)
        u = vectors[:, -1]
        slope = third_derivative(model, theta, u, u)
        steepness = float(slope @ slope)
        if not np.isfinite(steepness) or steepness == 0.0 or abs(values[-1] - edge) <= 1e-9 * edge:
            break
        theta = theta + (edge - values[-1]) / steepness * slope
    if not np.isfinite(theta).all() or abs(values[-1] - edge) > 1e-6 * edge:
        raise InvalidArgument(
            f"PredictedDynamics found no point with lambda_max = 2/step_size = {edge:.4g} near init (lambda_max there "
            f"is {eigen(model, start)[0][-1]:.4g}); start it at a plateau, or change step_size"
        )
    across = slope - (slope @ u) * u
    gradients, hessians = model.sample_gradients(theta), model.sample_hessians(theta)
    mean = gradients.mean(axis=0)
    alpha, beta = float(-mean @ across), float(across @ across)
    if not alpha > 0:
        raise InvalidArgument(
            f"PredictedDynamics needs progressive sharpening at the edge, alpha = -grad L . grad S > 0, got "
            f"{alpha:.3g}; start it where the sharpness still rises"
        )
    along, curvatures = gradients @ u, np.einsum("i,nij,j->n", u, hessians, u)
    spread = (np.mean(along**2), np.mean(curvatures**2)) if raw else (along.var(), curvatures.var())
    away = start - theta
    return np.concatenate([[u @ away, across @ away, alpha, beta, *spread, edge], theta, u, across])
