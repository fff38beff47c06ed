r"""Progressively sharpening least squares (PSL): a loss whose Edge of Stochastic Stability has a full theory.

.. math:: l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2} - \alpha v, \quad p_{i} = v \sum_{j} u_{j} x_{ij},
          \qquad \theta = (u, v)

At fixed v the loss is an exact quadratic in u with Hessian :math:`v^2 \hat H`; the drift :math:`\alpha` raises v, and
the oscillation of u pushes it back. With :math:`X^Ty = 0` the mean drift of v is :math:`\eta(\alpha - v\, u^T\hat Hu)`,
so a run settles where :math:`v\,\mathrm{tr}(\hat H S_u(v)) = \alpha`, S_u the stationary covariance of u. The
per-sample curvature is that of `LinearNetwork` with (v, a) = (u, v).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, real
from ..kernels.compile import inline
from .base import LossKernels
from .definition import Definition
from .linear_kernels import family_kernels
from .linear_network import LinearNetwork, curve, pull, push, split, weights


@inline
def offset(parts, constants):
    _, v = parts
    return -constants[0] * v[0]


@inline
def tilt(constants, total, scale, out):
    _, v = out
    v[0] -= scale * total * constants[0]


KERNELS = family_kernels(split=split, weights=weights, pull=pull, push=push, curve=curve, offset=offset, tilt=tilt)


class SharpeningLeastSquares(LinearNetwork):
    """PSL on `inputs` (n, d), `targets` (n,) and sharpening force `drift` > 0; theta = (u, v) has d + 1 entries.

    The closed forms of the theory need inputs' @ targets = 0; the loss itself does not.

    >>> import numpy as np, sgdmodels as sm
    >>> sm.models.SharpeningLeastSquares([[1.0]], [0.0], 0.5).gradient(np.array([0.0, 3.0])).tolist()
    [0.0, -0.5]
    """

    squared_error = False

    def __init__(self, inputs: ArrayLike, targets: ArrayLike, drift: float) -> None:
        super().__init__(inputs, targets)
        self.drift = real("drift", drift)
        self.settings = {"drift": self.drift}
        self._store_family([self.drift])

    @property
    def kernels(self) -> LossKernels:
        return KERNELS

    @property
    def definition(self) -> Definition:
        return Definition(
            "(p - y)**2/2 - alpha*v",
            {"u": (self.features,), "v": ()},
            {"x": self.inputs, "y": self.targets},
            predictor="v*sum(x[j]*u[j], j)",
            constants={"alpha": self.drift},
        )

    def offset_gradient(self) -> FloatArray:
        gradient = np.zeros(self.dim)
        gradient[-1] = -self.drift
        return gradient
