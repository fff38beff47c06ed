r"""A two-layer linear network with one hidden unit: the smallest loss that shows the Edge of Stochastic Stability.

.. math:: l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2}, \quad p_{i} = a \sum_{j} v_{j} x_{ij}
.. math:: f(x) = a\,(v\cdot x), \quad \theta = (v, a), \qquad J = (a I, v), \qquad
          K(z) = \begin{pmatrix} 0 & z \\ z^T & 0 \end{pmatrix}

The output weight a grows while the slow directions of the data are learnt, and with it the curvature a^2 of the rest.
Recipe A (`sgdmodels.recipes.slow_tail_network`) is built on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..kernels.compile import inline
from .base import LossKernels
from .definition import Definition
from .linear_kernels import family_kernels
from .linear_predictor import LinearPredictor


@inline
def split(theta, inputs, constants):
    d = inputs.shape[1]
    return theta[:d], theta[d:]


@inline
def weights(parts, constants, w):
    v, a = parts
    for k in range(w.shape[0]):
        w[k] = a[0] * v[k]


@inline
def pull(parts, z, scale, constants, spare, out):
    v, a = parts
    out_v, out_a = out
    factor = scale * a[0]
    total = 0.0
    for k in range(z.shape[0]):
        total += v[k] * z[k]
    for k in range(z.shape[0]):
        out_v[k] += factor * z[k]
    out_a[0] += scale * total


@inline
def push(parts, vector, constants, t):
    v, a = parts
    dv, da = vector
    for k in range(t.shape[0]):
        t[k] = a[0] * dv[k] + da[0] * v[k]


@inline
def curve(parts, z, vector, scale, constants, out):
    dv, da = vector
    out_v, out_a = out
    total = 0.0
    for k in range(z.shape[0]):
        total += z[k] * dv[k]
        out_v[k] += scale * da[0] * z[k]
    out_a[0] += scale * total


KERNELS = family_kernels(split=split, weights=weights, pull=pull, push=push, curve=curve)


class LinearNetwork(LinearPredictor):
    """f = a (v . x) on `inputs` (n, d) and `targets` (n,); theta = (v, a) has d + 1 entries.

    >>> import numpy as np, sgdmodels as sm
    >>> sm.models.LinearNetwork([[1.0, 1.0]], [0.0]).gradient(np.array([1.0, 0.0, 2.0])).tolist()
    [4.0, 4.0, 2.0]
    """

    def __init__(self, inputs: ArrayLike, targets: ArrayLike) -> None:
        super().__init__(inputs, targets)
        self.dim = self.features + 1
        self._store_family([])

    @property
    def kernels(self) -> LossKernels:
        return KERNELS

    @property
    def definition(self) -> Definition:
        data = {"x": self.inputs, "y": self.targets}
        parameters = {"v": (self.features,), "a": ()}
        return Definition("(p - y)**2/2", parameters, data, predictor="a*sum(x[j]*v[j], j)")

    def weights(self, theta: ArrayLike) -> FloatArray:
        point = np.asarray(theta)
        return point[-1] * point[:-1]

    def jacobian(self, theta: ArrayLike) -> FloatArray:
        point = np.asarray(theta)
        return np.column_stack([point[-1] * np.eye(self.features), point[:-1]])

    def curvature(self, theta: ArrayLike, z: ArrayLike) -> FloatArray:
        matrix = np.zeros((self.dim, self.dim))
        matrix[-1, :-1] = matrix[:-1, -1] = z
        return matrix
