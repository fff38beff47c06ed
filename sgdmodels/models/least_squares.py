r"""Linear least squares.

.. math:: l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2}, \quad p_{i} = \sum_{j} w_{j} x_{ij}
.. math:: r_i = p_i - y_i, \qquad g_i = r_i x_i, \qquad H_i = x_i x_i^T

With a batch of one, the curvature along any gradient is :math:`|x_i|^2` whatever the parameters. Source: textbook; Ma
and Belkin 2018 for its mean-square edge with mini-batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..kernels.compile import inline
from .base import LossKernels, whole
from .definition import Definition
from .linear_kernels import family_kernels
from .linear_predictor import LinearPredictor


@inline
def weights(parts, constants, w):
    (u,) = parts
    for k in range(w.shape[0]):
        w[k] = u[k]


@inline
def pull(parts, z, scale, constants, spare, out):
    (o,) = out
    for k in range(z.shape[0]):
        o[k] += scale * z[k]


@inline
def push(parts, vector, constants, t):
    (v,) = vector
    for k in range(t.shape[0]):
        t[k] = v[k]


@inline
def curve(parts, z, vector, scale, constants, out):
    """K = 0."""


KERNELS = family_kernels(split=whole, weights=weights, pull=pull, push=push, curve=curve)


class LeastSquares(LinearPredictor):
    """Linear least squares on `inputs` (n, d) and `targets` (n,); theta is the weight vector (d,).

    >>> import numpy as np, sgdmodels as sm
    >>> float(sm.models.LeastSquares([[1.0, 0.0], [0.0, 2.0]], [1.0, 0.0]).loss(np.zeros(2)))
    0.25
    """

    def __init__(self, inputs: ArrayLike, targets: ArrayLike) -> None:
        super().__init__(inputs, targets)
        self.dim = self.features
        self._store_family([])

    @property
    def kernels(self) -> LossKernels:
        return KERNELS

    @property
    def definition(self) -> Definition:
        data = {"x": self.inputs, "y": self.targets}
        return Definition("(p - y)**2/2", {"w": (self.dim,)}, data, predictor="sum(x[j]*w[j], j)")

    def sample_directions(self, theta: ArrayLike) -> FloatArray:
        self.check_parameters("theta", theta)
        return self.inputs

    def weights(self, theta: ArrayLike) -> FloatArray:
        return np.asarray(theta)

    def jacobian(self, theta: ArrayLike) -> FloatArray:
        return np.eye(self.dim)

    def curvature(self, theta: ArrayLike, z: ArrayLike) -> FloatArray:
        return np.zeros((self.dim, self.dim))
