"""Every loss once more, written in torch from its definition: the independent truth of the contract tests.

A new loss joins the battery with one line in CASES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import sgdmodels as sm

Losses = Callable[[torch.Tensor], torch.Tensor]  # theta -> per-sample losses


@dataclass(frozen=True)
class Case:
    """A small instance of a loss, and its per-sample losses in torch."""

    model: sm.models.Model
    losses: Losses


def _data(seed: int, samples: int = 6, features: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((samples, features)), rng.standard_normal(samples)


def _half_square(
    predictor: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: np.ndarray, y: np.ndarray
) -> Losses:
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    return lambda theta: 0.5 * (predictor(theta, tx) - ty) ** 2


def least_squares(seed: int) -> Case:
    x, y = _data(seed)
    return Case(sm.models.LeastSquares(x, y), _half_square(lambda t, x: x @ t, x, y))


def product_network(depth: int) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        x, y = _data(seed)
        losses = _half_square(lambda t, x: x @ t.reshape(depth, -1).prod(dim=0), x, y)
        return Case(sm.models.DiagonalNetwork(x, y, depth=depth), losses)

    return make


def difference_network(depth: int) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        x, y = _data(seed)
        losses = _half_square(lambda t, x: x @ (t[:4] ** depth - t[4:] ** depth), x, y)
        return Case(sm.models.DiagonalNetwork(x, y, depth=depth, form="difference"), losses)

    return make


def linear_network(seed: int) -> Case:
    x, y = _data(seed)
    return Case(sm.models.LinearNetwork(x, y), _half_square(lambda t, x: t[-1] * (x @ t[:-1]), x, y))


def sharpening_least_squares(seed: int) -> Case:
    x, y = _data(seed)
    square = _half_square(lambda t, x: t[-1] * (x @ t[:-1]), x, y)
    return Case(sm.models.SharpeningLeastSquares(x, y, drift=0.3), lambda t: square(t) - 0.3 * t[-1])


def scalar_product(depth: int) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        x, y = _data(seed, features=1)
        losses = _half_square(lambda t, x: x[:, 0] * t.prod(), x, y)
        return Case(sm.models.ScalarProduct(x[:, 0].copy(), y, depth=depth), losses)

    return make


def quadratics(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((6, 4, 4))
    h, c = a + a.transpose(0, 2, 1), rng.standard_normal((6, 4))  # indefinite on purpose
    th, tc = torch.from_numpy(h), torch.from_numpy(c)
    return Case(sm.models.Quadratics(h, c), lambda t: 0.5 * torch.einsum("ni,nij,nj->n", t - tc, th, t - tc))


def gated_quadratic(seed: int) -> Case:
    a, e = _data(seed)
    ta, te = torch.from_numpy(a), torch.from_numpy(e)
    model = sm.models.GatedQuadratic(a, e, stiffness=0.2, target=3.0)
    return Case(model, lambda t: 0.5 * t[-1] * (ta @ t[:-1] - te) ** 2 + 0.1 * (t[-1] - 3.0) ** 2)


def logistic_formula(seed: int) -> Case:
    """Linear in the data, but no squared error."""
    x, y = _data(seed)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    model = sm.SymbolicModel(
        "log(1 + exp(-p*y)) - alpha*v", predictor="v * sum(w[j]*x[j], j)",
        parameters={"w": 4, "v": ()}, data={"x": x, "y": y}, constants={"alpha": 0.3},
    )  # fmt: skip
    return Case(model, lambda t: torch.nn.functional.softplus(-ty * t[-1] * (tx @ t[:-1])) - 0.3 * t[-1])


def two_layer_formula(seed: int) -> Case:
    """Not linear in the data: sample by sample."""
    x, y = _data(seed, features=2)
    model = sm.SymbolicModel(
        predictor="sum(a[k] * tanh(sum(w[k, j]*x[j], j)), k)",
        parameters={"a": 2, "w": (2, 2)}, data={"x": x, "y": y},
    )  # fmt: skip
    return Case(model, _half_square(lambda t, x: torch.tanh(x @ t[2:].reshape(2, 2).T) @ t[:2], x, y))


CASES: dict[str, Callable[[int], Case]] = {
    "least squares": least_squares,
    "product of 2": product_network(2),
    "product of 3": product_network(3),
    "difference of squares": difference_network(2),
    "difference of cubes": difference_network(3),
    "linear network": linear_network,
    "sharpening least squares": sharpening_least_squares,
    "scalar product of 2": scalar_product(2),
    "scalar product of 4": scalar_product(4),
    "quadratics": quadratics,
    "gated quadratic": gated_quadratic,
    "formula, logistic": logistic_formula,
    "formula, two layers": two_layer_formula,
}
