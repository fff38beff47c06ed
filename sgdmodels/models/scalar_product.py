r"""Scalar products: f(x) = (theta_1 ... theta_D) x with scalar data, the smallest losses with a moving edge.

.. math:: l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2}, \quad p_{i} = u v x_{i}

for two factors, and for any number of them

.. math:: L = \frac{1}{2n} \sum_i (\theta_1\cdots\theta_D\, x_i - y_i)^2

With one sample x = y = 1, depth 2 is :math:`\tfrac12(xy-1)^2`, whose sharpness on xy = 1 is :math:`x^2+y^2`. Depth 4
started at (x, x, y, y) stays there and follows the gradient descent of :math:`\tfrac14(1-x^2y^2)^2` of Zhu et al. 2023,
which converges to the edge of stability; its sharpness on xy = 1 is :math:`2(x^2+y^2)` in both. One data direction:
Batch Sharpness equals lambda_max at interpolation for every batch size, a negative control for separation by batch
size.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ..arguments import float_array
from .definition import Definition
from .diagonal_network import DiagonalNetwork


class ScalarProduct(DiagonalNetwork):
    """Product of `depth` scalars on scalar `inputs` (n,) and `targets` (n,); theta has `depth` entries.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.ScalarProduct([1.0], [1.0])
    >>> sorted(float(v) for v in np.linalg.eigvalsh(model.hessian(np.array([2.0, 0.5]))))
    [0.0, 4.25]
    """

    def __init__(self, inputs: ArrayLike, targets: ArrayLike, depth: int = 2) -> None:
        column = float_array("inputs", inputs, ("samples",))[:, None]
        super().__init__(column, targets, depth=depth)
        self.settings = {"depth": self.depth}

    def arguments(self) -> dict[str, Any]:
        return {"inputs": self.inputs[:, 0], "targets": self.targets, "depth": self.depth}

    @property
    def definition(self) -> Definition:
        names = self.factor_names
        return Definition(
            "(p - y)**2/2",
            dict.fromkeys(names, ()),
            {"x": self.inputs[:, 0], "y": self.targets},
            predictor="*".join([*names, "x"]),
        )
