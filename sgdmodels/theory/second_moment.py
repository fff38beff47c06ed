r"""The exact second-moment recursion of SGD on quadratics, additive noise included.

With :math:`z = (\theta, 1)` and :math:`A_i = \begin{pmatrix} H_i & -H_ic_i\\ 0 & 0\end{pmatrix}`, a step is
:math:`z^+ = (I - \eta A_B) z`, so :math:`M = E[zz^T]` obeys

.. math:: M^+ = PMP^T + \eta^2 c_2\Big[\tfrac1n\sum A_iMA_i^T - \bar AM\bar A^T\Big], \qquad P = I - \eta\bar A

for batches that are independent from step to step (raw moments for Bernoulli). It carries mean and covariance at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array
from ..sampling import NoiseCoefficients


def second_moment_system(hessians: ArrayLike, centers: ArrayLike) -> FloatArray:
    """The augmented matrices A_i, shape (n, d+1, d+1)."""
    h = float_array("hessians", hessians, ("samples", "d", "d"))
    c = float_array("centers", centers, h.shape[:2])
    system = np.zeros((len(h), h.shape[1] + 1, h.shape[1] + 1))
    system[:, :-1, :-1] = h
    system[:, :-1, -1] = -np.einsum("nij,nj->ni", h, c)
    return system


def second_moment_step(moment: ArrayLike, system: ArrayLike, step_size: float, noise: NoiseCoefficients) -> FloatArray:
    """M after one step of SGD from M = E[zz'], shape (d+1, d+1), never forming a Kronecker product.

    >>> import numpy as np
    >>> from sgdmodels.sampling import noise_coefficients
    >>> system = second_moment_system([[[1.0]], [[3.0]]], [[0.0], [0.0]])
    >>> moment = second_moment_step(np.diag([1.0, 1.0]), system, 0.1, noise_coefficients(2, 1))
    >>> round(float(moment[0, 0]), 12)  # E[(1 - 0.1 h)^2]
    0.65
    """
    a = float_array("system", system, ("samples", "d+1", "d+1"))
    m = float_array("moment", moment, a.shape[1:])
    mean = a.mean(axis=0)
    step = np.eye(len(m)) - step_size * mean
    spread = np.einsum("nij,njk->ik", np.matmul(a, m), a.transpose(0, 2, 1)) / len(a)
    centre = 0.0 if noise.raw else mean @ m @ mean.T
    return step @ m @ step.T + step_size**2 * noise.c2 * (spread - centre)
