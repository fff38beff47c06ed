"""Third derivatives of the loss along eigenvectors of its Hessian, from Hessian-vector products."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import FloatArray

RELATIVE_STEP = 1e-4  # central differences: error O(step^2), rounding O(1e-16 / step)


def eigen(model: Any, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, ascending, and eigenvectors (columns) of the mean Hessian."""
    values, vectors = np.linalg.eigh(model.hessian(theta))
    return values, vectors


def third_derivative(model: Any, theta: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray:
    """The vector d^3 L(theta)[u, v, .]; with u = v the top eigenvector it is the gradient of lambda_max."""
    step = RELATIVE_STEP * max(1.0, float(np.abs(theta).max())) / float(np.abs(u).max())
    ahead, behind = model.hvp(theta + step * u, v), model.hvp(theta - step * u, v)
    return np.asarray((ahead - behind) / (2 * step))
