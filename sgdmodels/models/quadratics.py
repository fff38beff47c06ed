r"""Per-sample quadratics: the frozen model at any point of any loss, and the one where every moment is exact.

.. math:: l_{i} = \tfrac{1}{2} \sum_{jk} H_{ijk} \left(\theta_{j} - c_{ij}\right) \left(\theta_{k} - c_{ik}\right),
          \qquad g_i = H_i(\theta - c_i)

The Hessians may be indefinite. The loss interpolates when all centres coincide (or lie in each other's kernels'
translates).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array
from ..errors import InvalidArgument
from ..kernels.compile import inline
from .base import LossKernels, Model, whole
from .definition import Definition
from .linear_kernels import add_product


@inline
def mean_loss(parts, samples, inputs, targets, constants, work):
    (x,) = parts
    d = x.shape[0]
    y, z = work[0, :d], work[1, :d]
    total = 0.0
    for i in range(samples):
        center = targets[i * d : (i + 1) * d]
        for k in range(d):
            y[k] = x[k] - center[k]
            z[k] = 0.0
        add_product(inputs[i * d : (i + 1) * d], y, z)
        for k in range(d):
            total += y[k] * z[k]
    return 0.5 * total / samples


@inline
def add_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    (x,) = parts
    (o,) = out
    d = x.shape[0]
    y, z = work[0, :d], work[1, :d]
    if count == 1:  # o may be x: y is complete before o changes
        i, factor = index[0], scale * weight[0]
        center = targets[i * d : (i + 1) * d]
        for k in range(d):
            y[k] = factor * (x[k] - center[k])
        add_product(inputs[i * d : (i + 1) * d], y, o)
        return
    for k in range(d):
        z[k] = 0.0
    for m in range(count):
        i, factor = index[m], scale * weight[m]
        center = targets[i * d : (i + 1) * d]
        for k in range(d):
            y[k] = factor * (x[k] - center[k])
        add_product(inputs[i * d : (i + 1) * d], y, z)
    for k in range(d):
        o[k] += z[k]


@inline
def add_hvp(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
    (v,) = vector
    (o,) = out
    d = v.shape[0]
    y = work[0, :d]
    for m in range(count):
        i = index[m]
        for k in range(d):
            y[k] = (scale * weight[m]) * v[k]
        add_product(inputs[i * d : (i + 1) * d], y, o)


@inline
def begin_mean(parts, samples, inputs, targets, constants, second_moment, work):
    """The mean Hessian is data."""


@inline
def add_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    (v,) = vector
    (o,) = out
    add_product(second_moment, v, o)


KERNELS = LossKernels(whole, mean_loss, add_gradient, add_hvp, begin_mean, add_mean_hvp)


class Quadratics(Model):
    """n quadratics in d dimensions: symmetric `hessians` (n, d, d) and `centers` (n, d); theta has d entries.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.Quadratics([[[2.0]], [[4.0]]], [[0.0], [1.0]])
    >>> model.sample_gradients(np.array([1.0])).tolist()
    [[2.0], [0.0]]
    """

    def __init__(self, hessians: ArrayLike, centers: ArrayLike) -> None:
        self.hessians = float_array("hessians", hessians, ("samples", "d", "d"))
        self.samples, self.dim, columns = self.hessians.shape
        if columns != self.dim:
            raise InvalidArgument(f"hessians must have shape (samples, d, d), got {self.hessians.shape}")
        asymmetry = np.abs(self.hessians - self.hessians.transpose(0, 2, 1)).max()
        if asymmetry > 1e-12 * np.abs(self.hessians).max():
            raise InvalidArgument(
                f"hessians must be symmetric, got a largest asymmetry of {asymmetry:.3g}; "
                "pass (H + H.transpose(0, 2, 1)) / 2"
            )
        self.centers = float_array("centers", centers, (self.samples, self.dim))
        self.settings = {}
        stacked = self.hessians.reshape(self.samples * self.dim, self.dim)
        self._store(stacked, self.centers.ravel(), [], self.hessians.mean(axis=0))

    @property
    def kernels(self) -> LossKernels:
        return KERNELS

    @property
    def definition(self) -> Definition:
        return Definition(
            "sum((theta[j] - c[j])*H[j, k]*(theta[k] - c[k]), j, k)/2",
            {"theta": (self.dim,)},
            {"H": self.hessians, "c": self.centers},
        )

    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        shift = self.check_parameters("theta", theta) - self.centers
        return 0.5 * np.einsum("ni,nij,nj->n", shift, self.hessians, shift)

    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        shift = self.check_parameters("theta", theta) - self.centers
        return np.einsum("nij,nj->ni", self.hessians, shift)

    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        self.check_parameters("theta", theta)
        return self.hessians.copy()
