r"""Losses of one family: a predictor linear in the data whose weights are a function of the parameters.

.. math:: l_i = \tfrac12 (w(\theta)\cdot x_i - y_i)^2 + o(\theta), \qquad r_i = w\cdot x_i - y_i,\ J = \partial
          w/\partial\theta
.. math:: g_i = r_i J^T x_i + \nabla o, \qquad H_i = J^T x_i x_i^T J + r_i K(x_i), \quad K(z) = \nabla^2_\theta\,
          (w(\theta)\cdot z)

with an offset o that is linear in the parameters. The mean Hessian is :math:`J^T \hat H J + K(q)`,
:math:`\hat H = X^TX/n`, :math:`q = \frac1n\sum r_i x_i`. A loss of the family supplies w, J, K twice: as numpy formulas
(`weights`, `jacobian`, `curvature`) and as device functions (`weights`, `pull` = J' z, `push` = J v, `curve` = K(z) v).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numba import uint32
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array
from ..kernels.compile import inline, rebind
from ..kernels.holes import correlate, curve, offset, pick, pull, push, tilt, weights
from .base import LossKernels, Model


@inline
def no_offset(parts, constants):
    return 0.0


@inline
def no_tilt(constants, total, scale, out):
    """The gradient of a zero offset."""


@inline
def predict(x, w):
    """x . w"""
    total = 0.0
    for k in range(w.shape[0]):
        total += x[k] * w[k]
    return total


def mean_loss(parts, samples, inputs, targets, constants, work):
    """Template: (1/n) sum_i (w . x_i - y_i)^2 / 2 + offset."""
    w = work[0, : inputs.shape[1]]
    weights(parts, constants, w)
    total = 0.0
    for i in range(samples):
        r = predict(inputs[i], w) - targets[i]
        total += r * r
    return 0.5 * total / samples + offset(parts, constants)


@inline
def by_index(index, m):
    """The sample that entry m names."""
    return uint32(index[m])


@inline
def in_order(index, m):
    """Sample m, whatever the index: where all take part in their order, looking it up would cost a quarter."""
    return m


def weighted_residuals(index, weight, count, inputs, targets, w, z):
    """Template: z = sum_k weight_k r_(index_k) x_(index_k); four samples at a time, to read and write z less often."""
    d = w.shape[0]
    if count == 1:
        i = pick(index, 0)
        x = inputs[i]
        r = weight[0] * (predict(x, w) - targets[i])
        for k in range(d):
            z[k] = r * x[k]
        return
    for k in range(d):
        z[k] = 0.0
    quads = count - count % 4
    for m in range(0, quads, 4):
        i0, i1, i2, i3 = pick(index, m), pick(index, m + 1), pick(index, m + 2), pick(index, m + 3)
        x0, x1, x2, x3 = inputs[i0], inputs[i1], inputs[i2], inputs[i3]
        r0, r1, r2, r3 = -targets[i0], -targets[i1], -targets[i2], -targets[i3]
        for k in range(d):
            r0 += x0[k] * w[k]
            r1 += x1[k] * w[k]
            r2 += x2[k] * w[k]
            r3 += x3[k] * w[k]
        r0 *= weight[m]
        r1 *= weight[m + 1]
        r2 *= weight[m + 2]
        r3 *= weight[m + 3]
        for k in range(d):
            z[k] += (r0 * x0[k] + r1 * x1[k]) + (r2 * x2[k] + r3 * x3[k])
    for m in range(quads, count):
        i = pick(index, m)
        x = inputs[i]
        r = weight[m] * (predict(x, w) - targets[i])
        for k in range(d):
            z[k] += r * x[k]


CORRELATE = inline(rebind(weighted_residuals, pick=by_index))
CORRELATE_IN_ORDER = inline(rebind(weighted_residuals, pick=in_order))


def add_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * (J' sum_k weight_k r_k x_k + (sum_k weight_k) grad o)."""
    d = inputs.shape[1]
    w, z = work[0, :d], work[1, :d]
    weights(parts, constants, w)
    correlate(index, weight, count, inputs, targets, w, z)
    total = 0.0
    for k in range(count):
        total += weight[k]
    pull(parts, z, scale, constants, work[5], out)
    tilt(constants, total, scale, out)


def add_hvp(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * (J' sum_k weight_k x_k (x_k . J v) + K(sum_k weight_k r_k x_k) v)."""
    d = inputs.shape[1]
    w, z, t, q = work[0, :d], work[1, :d], work[2, :d], work[3, :d]
    weights(parts, constants, w)
    push(parts, vector, constants, t)
    for k in range(d):
        z[k] = 0.0
        q[k] = 0.0
    for m in range(count):
        x = inputs[index[m]]
        r, a = 0.0, 0.0
        for k in range(d):
            r += x[k] * w[k]
            a += x[k] * t[k]
        r = weight[m] * (r - targets[index[m]])
        a = weight[m] * a
        for k in range(d):
            z[k] += a * x[k]
            q[k] += r * x[k]
    pull(parts, z, scale, constants, work[5], out)
    curve(parts, q, vector, scale, constants, out)


def begin_mean(parts, samples, inputs, targets, constants, second_moment, work):
    """Template: q = (1/n) sum_i r_i x_i, kept in row 4."""
    d = inputs.shape[1]
    w, q = work[0, :d], work[4, :d]
    weights(parts, constants, w)
    for k in range(d):
        q[k] = 0.0
    for i in range(samples):
        x = inputs[i]
        r = (predict(x, w) - targets[i]) / samples
        for k in range(d):
            q[k] += r * x[k]


def add_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    """Template: out += J' (X'X/n) J v + K(q) v."""
    d = inputs.shape[1]
    z, t, q = work[1, :d], work[2, :d], work[4, :d]
    push(parts, vector, constants, t)
    for k in range(d):
        z[k] = 0.0
    if second_moment.shape[0] == d:
        add_product(second_moment, t, z)
    else:  # more dimensions than twice the samples: X'(X t) is cheaper, and X'X would not be kept
        for i in range(samples):
            x = inputs[i]
            a = predict(x, t) / samples
            for k in range(d):
                z[k] += a * x[k]
    pull(parts, z, 1.0, constants, work[5], out)
    curve(parts, q, vector, 1.0, constants, out)


@inline
def add_product(matrix, vector, out):
    """out += matrix @ vector, four rows at a time: their sums run side by side in registers."""
    d = vector.shape[0]
    quads = d - d % 4
    for j in range(0, quads, 4):
        m0, m1, m2, m3 = matrix[j], matrix[j + 1], matrix[j + 2], matrix[j + 3]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for k in range(d):
            s0 += m0[k] * vector[k]
            s1 += m1[k] * vector[k]
            s2 += m2[k] * vector[k]
            s3 += m3[k] * vector[k]
        out[j] += s0
        out[j + 1] += s1
        out[j + 2] += s2
        out[j + 3] += s3
    for j in range(quads, d):
        out[j] += predict(matrix[j], vector)


def family_kernels(
    *, split: Any, weights: Any, pull: Any, push: Any, curve: Any, offset: Any = no_offset, tilt: Any = no_tilt
) -> LossKernels:
    """The kernels of one loss of the family. `pull` must be right also when it writes into its own `parts`."""
    return LossKernels(
        split=split,
        mean_loss=inline(rebind(mean_loss, weights=weights, offset=offset)),
        add_gradient=inline(rebind(add_gradient, correlate=CORRELATE, weights=weights, pull=pull, tilt=tilt)),
        add_in_order=inline(rebind(add_gradient, correlate=CORRELATE_IN_ORDER, weights=weights, pull=pull, tilt=tilt)),
        add_hvp=inline(rebind(add_hvp, weights=weights, push=push, pull=pull, curve=curve)),
        begin_mean=inline(rebind(begin_mean, weights=weights)),
        add_mean_hvp=inline(rebind(add_mean_hvp, push=push, pull=pull, curve=curve)),
    )


class LinearPredictor(Model):
    """Numpy formulas shared by the family."""

    squared_error = True

    def __init__(self, inputs: ArrayLike, targets: ArrayLike) -> None:
        self.inputs = float_array("inputs", inputs, ("samples", "features"))
        self.samples, self.features = self.inputs.shape
        self.targets = float_array("targets", targets, (self.samples,))
        self.settings = {}

    def _store_family(self, constants: list[float]) -> None:
        keep = self.features <= 2 * self.samples
        moment = self.inputs.T @ self.inputs / self.samples if keep else np.zeros((0, 0))
        self._store(self.inputs, self.targets, constants, moment)

    @abstractmethod
    def weights(self, theta: ArrayLike) -> FloatArray:
        """w(theta), shape (features,)."""

    @abstractmethod
    def jacobian(self, theta: ArrayLike) -> FloatArray:
        """J = dw/dtheta, shape (features, dim)."""

    @abstractmethod
    def curvature(self, theta: ArrayLike, z: ArrayLike) -> FloatArray:
        """K(z), the Hessian of w(theta) . z, shape (dim, dim)."""

    def offset_gradient(self) -> FloatArray:
        """The constant gradient of the offset, shape (dim,)."""
        return np.zeros(self.dim)

    def residuals(self, theta: ArrayLike) -> FloatArray:
        """r_i = w(theta) . x_i - y_i, shape (n,)."""
        return self.inputs @ self.weights(theta) - self.targets

    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        return 0.5 * self.residuals(point) ** 2 + point @ self.offset_gradient()

    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        return self.residuals(point)[:, None] * (self.inputs @ self.jacobian(point)) + self.offset_gradient()

    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        point = self.check_parameters("theta", theta)
        a = self.inputs @ self.jacobian(point)
        k = np.array([self.curvature(point, x) for x in self.inputs])
        return a[:, :, None] * a[:, None, :] + self.residuals(point)[:, None, None] * k
