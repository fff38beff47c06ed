r"""Losses of one family: a predictor linear in the data whose weights are a function of the parameters.

.. math:: l_i = \varphi(p_i, y_i) + o(\theta), \qquad p_i = w(\theta)\cdot x_i,\quad r_i = \varphi'(p_i, y_i),\quad
          J = \partial w/\partial\theta
.. math:: g_i = r_i J^T x_i + \nabla o, \qquad H_i = \varphi''_i J^T x_i x_i^T J + r_i K(x_i), \quad K(z) =
          \nabla^2_\theta\, (w(\theta)\cdot z)

with an offset o that is linear in the parameters. The mean Hessian is :math:`J^T \hat H J + K(q)`,
:math:`\hat H = \frac1n\sum \varphi''_i x_ix_i^T`, :math:`q = \frac1n\sum r_i x_i`. The built-in losses have the squared
error :math:`\varphi = \tfrac12(p - y)^2`, for which :math:`\hat H` is data. A loss of the family supplies w, J, K as
device functions for `linear_kernels` (`weights`, `pull` = J' z, `push` = J v, `curve` = K(z) v), a built-in one as
numpy formulas here, too.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array
from .base import Model


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
