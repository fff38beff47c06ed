"""The built-in losses whose closed forms are derived, with how to show them and how to draw instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...models import (
    DiagonalNetwork,
    GatedQuadratic,
    LeastSquares,
    LinearNetwork,
    Quadratics,
    ScalarProduct,
    SharpeningLeastSquares,
)
from ...models.base import Model
from .loss_calculus import LossCalculus
from .loss_forms import LossForms
from .loss_quantities import Instance, defined

NETWORKS = "Woodworth et al. 2020; Even, Pesme, Gunasekar and Flammarion 2023"
Maker = Callable[[np.random.Generator], Model]


def _inputs(rng: np.random.Generator) -> tuple[Any, Any]:
    """Data of 3 to 6 samples with 1 to 3 features."""
    samples, features = rng.integers(3, 7), rng.integers(1, 4)
    return rng.normal(size=(samples, features)), rng.normal(size=samples)


def product_network(depth: int) -> Maker:
    return lambda rng: DiagonalNetwork(*_inputs(rng), depth=depth)


def difference_network(rng: np.random.Generator) -> Model:
    return DiagonalNetwork(*_inputs(rng), form="difference")


def power_network(rng: np.random.Generator) -> DiagonalNetwork:
    return DiagonalNetwork(*_inputs(rng), depth=int(rng.integers(3, 6)), form="difference")


def scalar_product(depth: int) -> Maker:
    def make(rng: np.random.Generator) -> Model:
        inputs, targets = _inputs(rng)
        return ScalarProduct(inputs[:, 0], targets, depth=depth)

    return make


def sharpening(rng: np.random.Generator) -> Model:
    return SharpeningLeastSquares(*_inputs(rng), drift=rng.uniform(0.2, 1.0))


def gated(rng: np.random.Generator) -> Model:
    return GatedQuadratic(*_inputs(rng), stiffness=rng.uniform(0.2, 1.0), target=rng.uniform(1.0, 3.0))


def quadratics(rng: np.random.Generator) -> Model:
    centers, _ = _inputs(rng)
    h = rng.normal(size=(*centers.shape, centers.shape[1]))
    return Quadratics(h + h.transpose(0, 2, 1), centers)


def drawn(make: Maker) -> Callable[[np.random.Generator], Instance]:
    """Random instances: the loss at a random point."""

    def draw(rng: np.random.Generator) -> Instance:
        model = make(rng)
        return instance(model, rng.normal(size=model.dim))

    return draw


def instance(model: Model, theta: Any, **more: Any) -> Instance:
    definition, start = defined(model), 0
    values: dict[str, Any] = {**definition.data, **definition.constants, **more}
    for name, shape in definition.parameters.items():
        size = int(np.prod(shape))
        values[name] = theta[start : start + size] if shape else theta[start]
        start += size
    samples, *features = next(iter(definition.data.values())).shape
    return Instance(model, theta, {**values, "n": samples, "d": features[0] if features else 1})


def _power_draw(rng: np.random.Generator) -> Instance:
    network = power_network(rng)
    return instance(network, rng.uniform(0.4, 1.3, network.dim), D=network.depth)


def _loss(
    prefix: str, words: str, make: Maker, arrays: tuple[str, ...], source: str = "", **calculus: Any
) -> LossForms:
    definition = defined(make(np.random.default_rng(0)))
    return LossForms(prefix, words, LossCalculus(definition, **calculus), drawn(make), arrays, source)


def _collinear(*loss: Any) -> LossForms:
    return dataclasses.replace(_loss(*loss), collinear=True)


def _power_loss() -> LossForms:
    """The depth as a symbol."""
    given = defined(difference_network(np.random.default_rng(0)))
    symbolic = dataclasses.replace(given, predictor="sum((u[j]**D - v[j]**D)*x[j], j)", constants={"D": 3.0})
    calculus = LossCalculus(symbolic)
    return LossForms(
        "power_network", "w = u^D - v^D", calculus, _power_draw, ("u", "v"), NETWORKS, ("u, v > 0", "D at least 2")
    )


def _quadratic_loss() -> LossForms:
    shown: dict[str, Any] = {"residual": None, "symmetric": ("H",), "named": (("theta", "g"),)}
    forms = _loss("quadratics", "per-sample quadratics", quadratics, ("theta",), **shown)
    return dataclasses.replace(forms, assumptions=("every H_i is symmetric",))


LOSSES: dict[str, tuple[LossForms, ...]] = {
    "least_squares": (_loss("least_squares", "least squares", lambda rng: LeastSquares(*_inputs(rng)), ("w",)),),
    "diagonal_network": (
        _loss("diagonal_network", "w = u v", product_network(2), ("u", "v"), NETWORKS),
        _loss("cubic_network", "w = u1 u2 u3", product_network(3), ("u1", "u2"), NETWORKS),
        _loss("difference_network", "w = u^2 - v^2", difference_network, ("u", "v"), NETWORKS),
        _power_loss(),
    ),
    "scalar_product": (
        _collinear("scalar_product", "f(x) = u v x", scalar_product(2), ("u", "v")),
        _collinear("fourfold_product", "f(x) = u1 u2 u3 u4 x", scalar_product(4), ("u1", "u2"), "Zhu et al. 2023"),
    ),
    "linear_network": (
        _loss("linear_network", "f(x) = a v . x", lambda rng: LinearNetwork(*_inputs(rng)), ("v", "a")),
    ),
    "sharpening_least_squares": (
        _loss("sharpening_least_squares", "PSL", sharpening, ("u", "v"), named=(("v", "g_v"),)),
    ),
    "gated_quadratic": (
        _loss(
            "gated_quadratic", "the gated quadratic", gated, ("x", "s"), residual=("rho", "e"), named=(("s", "g_s"),)
        ),
    ),
    "quadratics": (_quadratic_loss(),),
}
