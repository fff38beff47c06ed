r"""Gated quadratic: least squares whose curvature s is a parameter pulled upwards by hand (stationary EoSS).

.. math:: l_{i} = \tfrac{1}{2} \kappa \left(s - s^{*}\right)^{2} + \tfrac{1}{2} s \left(p_{i} - e_{i}\right)^{2},
          \quad p_{i} = \sum_{j} a_{ij} x_{j}, \qquad \theta = (x, s)
.. math:: \rho_i = p_i - e_i, \qquad g_i = (s\rho_i a_i,\ \tfrac12\rho_i^2 + \kappa(s - s^*)), \qquad
          H_i = \begin{pmatrix} s\,a_ia_i^T & \rho_i a_i\\ \rho_i a_i^T & \kappa\end{pmatrix}

The force kappa (s* - s) never runs out, so the edge is held for as long as one likes. Recipe C.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, real
from ..kernels.compile import inline
from .base import LossKernels, Model
from .definition import Definition
from .linear_kernels import add_product, predict


@inline
def split(theta, inputs, constants):
    d = inputs.shape[1]
    return theta[:d], theta[d:]


@inline
def mean_loss(parts, samples, inputs, targets, constants, work):
    x, s = parts
    total = 0.0
    for i in range(samples):
        rho = predict(inputs[i], x) - targets[i]
        total += rho * rho
    gap = s[0] - constants[1]
    return 0.5 * (s[0] * total / samples + constants[0] * gap * gap)


@inline
def add_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    x, s = parts
    out_x, out_s = out
    d = inputs.shape[1]
    z = work[0, :d]
    for k in range(d):
        z[k] = 0.0
    squares, total = 0.0, 0.0
    for m in range(count):
        a = inputs[index[m]]
        rho = predict(a, x) - targets[index[m]]
        squares += weight[m] * rho * rho
        total += weight[m]
        rho = weight[m] * rho
        for k in range(d):
            z[k] += rho * a[k]
    stiff = constants[0] * (s[0] - constants[1])
    factor = scale * s[0]
    for k in range(d):
        out_x[k] += factor * z[k]
    out_s[0] += scale * (0.5 * squares + total * stiff)


@inline
def add_hvp(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
    x, s = parts
    dx, ds = vector
    out_x, out_s = out
    cross = 0.0
    for m in range(count):
        a = inputs[index[m]]
        rho, slope = 0.0, 0.0
        for k in range(a.shape[0]):
            rho += a[k] * x[k]
            slope += a[k] * dx[k]
        rho = rho - targets[index[m]]
        c = scale * weight[m]
        factor = c * (s[0] * slope + rho * ds[0])
        for k in range(a.shape[0]):
            out_x[k] += factor * a[k]
        cross += c * (rho * slope + constants[0] * ds[0])
    out_s[0] += cross


@inline
def begin_mean(parts, samples, inputs, targets, constants, second_moment, work):
    """(1/n) sum_i rho_i a_i, kept in row 4."""
    x, _ = parts
    d = inputs.shape[1]
    q = work[4, :d]
    for k in range(d):
        q[k] = 0.0
    for i in range(samples):
        a = inputs[i]
        rho = (predict(a, x) - targets[i]) / samples
        for k in range(d):
            q[k] += rho * a[k]


@inline
def add_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    _, s = parts
    dx, ds = vector
    out_x, out_s = out
    d = inputs.shape[1]
    z, q = work[1, :d], work[4, :d]
    for k in range(d):
        z[k] = 0.0
    add_product(second_moment, dx, z)
    for k in range(d):
        out_x[k] += s[0] * z[k] + ds[0] * q[k]
    out_s[0] += predict(q, dx) + constants[0] * ds[0]


KERNELS = LossKernels(split, mean_loss, add_gradient, add_hvp, begin_mean, add_mean_hvp)


class GatedQuadratic(Model):
    """Gated quadratic with `directions` a_i (n, d), `offsets` e_i (n,), `stiffness` kappa, `target` s*; theta = (x, s).

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.GatedQuadratic([[1.0]], [0.0], stiffness=0.1, target=10.0)
    >>> model.gradient(np.array([2.0, 3.0])).round(6).tolist()  # (s rho a, rho^2/2 + 0.1 (3 - 10))
    [6.0, 1.3]
    """

    def __init__(self, directions: ArrayLike, offsets: ArrayLike, stiffness: float, target: float) -> None:
        self.directions = float_array("directions", directions, ("samples", "features"))
        self.samples, features = self.directions.shape
        self.dim = features + 1
        self.offsets = float_array("offsets", offsets, (self.samples,))
        self.stiffness = real("stiffness", stiffness)
        self.target = real("target", target, low=-np.finfo(float).max)
        self.settings = {"stiffness": self.stiffness, "target": self.target}
        moment = self.directions.T @ self.directions / self.samples
        self._store(self.directions, self.offsets, [self.stiffness, self.target], moment)

    @property
    def kernels(self) -> LossKernels:
        return KERNELS

    @property
    def definition(self) -> Definition:
        return Definition(
            "s*(p - e)**2/2 + kappa*(s - s_star)**2/2",
            {"x": (self.dim - 1,), "s": ()},
            {"a": self.directions, "e": self.offsets},
            predictor="sum(a[j]*x[j], j)",
            constants={"kappa": self.stiffness, "s_star": self.target},
        )

    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        rho = self.directions @ point[:-1] - self.offsets
        return 0.5 * point[-1] * rho**2 + 0.5 * self.stiffness * (point[-1] - self.target) ** 2

    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        rho = self.directions @ point[:-1] - self.offsets
        last = 0.5 * rho**2 + self.stiffness * (point[-1] - self.target)
        return np.column_stack([point[-1] * rho[:, None] * self.directions, last])

    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        rho = self.directions @ point[:-1] - self.offsets
        hessians = np.zeros((self.samples, self.dim, self.dim))
        hessians[:, :-1, :-1] = point[-1] * self.directions[:, :, None] * self.directions[:, None, :]
        hessians[:, :-1, -1] = hessians[:, -1, :-1] = rho[:, None] * self.directions
        hessians[:, -1, -1] = self.stiffness
        return hessians
