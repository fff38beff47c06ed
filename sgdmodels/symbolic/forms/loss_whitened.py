r"""Largest eigenvalues of the mean Hessians of losses with a scalar that multiplies all features, on whitened data.

With :math:`\hat H = hI` the mean Hessian is a multiple of the identity across the weights, and a 2 x 2 block of the
weights' direction and the scalar. Proven for two features, where that is its characteristic polynomial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from ...models import LinearNetwork, SharpeningLeastSquares
from ..closed_form import ClosedForm, proven
from .index_algebra import d
from .loss_proof import written_out
from .mean_hessians import FEATURE, SAMPLES, Case, h, sharpness_form, whitened

v, a = sp.symbols("v a", real=True)
slopes = sp.IndexedBase("q", real=True)


def linear_network_sharpness(name: str) -> ClosedForm:
    """Whitened data; the block is the larger eigenvalue as it contains a^2 h."""
    weights = sp.IndexedBase("v", real=True)
    square, cross = _sum(weights[FEATURE] ** 2), _sum((h * a * weights[FEATURE] + slopes[FEATURE]) ** 2)
    centre, radius_squared = h * (a**2 + square) / 2, (h * (a**2 - square) / 2) ** 2 + cross
    expression = _whitened("linear_network", (slopes[0], slopes[1]), centre, radius_squared, h * a**2)

    def draw(rng: np.random.Generator) -> Case:
        inputs, theta = np.linalg.qr(rng.normal(size=(SAMPLES, 3)))[0], rng.normal(size=4)
        model = LinearNetwork(inputs, rng.normal(size=SAMPLES))
        slope = model.residuals(theta) @ inputs / SAMPLES
        return model, theta, (theta[:3], theta[3], 1 / SAMPLES, slope, 3)

    return sharpness_form(
        name, "Sharpness of f(x) = a v . x on whitened data", "The larger eigenvalue of a 2 x 2 block.", expression,
        (weights, a, h, slopes, d), ("whitened data, X'X/n = h I", "q = X'r/n"), draw,
    )  # fmt: skip


def sharpening_least_squares_sharpness(name: str) -> ClosedForm:
    weights = sp.IndexedBase("u", real=True)
    square = _sum(weights[FEATURE] ** 2)
    # X'y = 0 makes q the part of the residual that is the prediction: q = h v u
    slope = (h * v * weights[0], h * v * weights[1])
    centre, inner = (v**2 + square) / 2, ((v**2 - square) / 2) ** 2 + 4 * v**2 * square
    shown = _whitened("sharpening_least_squares", slope, h * centre, h**2 * inner, h * v**2)
    expression = h * (centre + sp.sqrt(inner))
    proven(_two(shown), _two(expression))

    def draw(rng: np.random.Generator) -> Case:
        basis, theta = np.linalg.qr(rng.normal(size=(SAMPLES, SAMPLES)))[0], rng.normal(size=4)
        model = SharpeningLeastSquares(basis[:, :3], basis[:, 3], 0.3)  # y is orthogonal to the inputs
        return model, theta, (theta[:3], theta[3], 1 / SAMPLES, 3)

    return sharpness_form(
        name, "Sharpness of PSL on whitened data", "The larger eigenvalue of a 2 x 2 block.", expression,
        (weights, v, h, d), ("whitened data, X'X/n = h I", "X'y = 0"), draw,
    )  # fmt: skip


def _sum(term: Any) -> Any:
    return sp.Sum(term, (FEATURE, 0, d - 1))


def _two(e: Any) -> Any:
    """A formula with sums for two features, written out."""
    return written_out(e.xreplace({d: sp.Integer(2)}))


def _whitened(prefix: str, slope: tuple[Any, Any], centre: Any, radius_squared: Any, multiple: Any) -> Any:
    """The larger root, with sums over features, once proven for two."""
    whitened(prefix, slope, _two(centre), _two(radius_squared), multiple)
    return centre + sp.sqrt(radius_squared)
