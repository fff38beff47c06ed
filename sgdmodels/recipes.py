"""Ready-made experiments: data, loss and start in one call, all from one seed.

Each returns a `Recipe` to run with any dynamics. `slow_tail_network` (A) shows the Edge of Stochastic Stability in 21
parameters; `gated_quadratic` (C) holds it for as long as one likes; `sharpening_least_squares` (P) has a full theory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arguments import FloatArray, integer
from .models import GatedQuadratic, LinearNetwork, Model, SharpeningLeastSquares


@dataclass(frozen=True)
class Recipe:
    """A loss, where to start, the step size and the number of steps to a plateau.

    `directions` are the a_i (n, d) of its curvature: a moving scalar times a_i a_i', which is what the closed-form
    prediction `sgdmodels.theory.edge_sharpness` needs.
    """

    model: Model
    init: FloatArray
    directions: FloatArray
    step_size: float
    steps: int


def slow_tail_network(
    seed: int, *, samples: int = 100, head: int = 15, tail: int = 5, tail_scale: float = 0.03,
    tail_norm: float = 120.0, label_noise: float = 0.003, step_size: float = 0.4, steps: int = 100_000,
) -> Recipe:  # fmt: skip
    """Recipe A: f = a (v . x) on unit-norm data whose slow tail directions take long to learn.

    Learning the tail makes a grow, and with it the curvature of the head: progressive sharpening in closed form.

    >>> slow_tail_network(0).model.dim
    21
    """
    rng = np.random.default_rng(integer("seed", seed, 0))
    features = head + tail
    inputs = rng.standard_normal((samples, features))
    inputs[:, head:] *= tail_scale
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    teacher = rng.standard_normal(features)
    teacher[:head] /= np.linalg.norm(teacher[:head])
    teacher[head:] *= tail_norm / np.linalg.norm(teacher[head:])
    rotation, _ = np.linalg.qr(rng.standard_normal((features, features)))
    inputs, teacher = inputs @ rotation, rotation.T @ teacher
    targets = inputs @ teacher + label_noise * rng.standard_normal(samples)
    init = np.append(0.3 * rng.standard_normal(features), 0.5)
    return Recipe(LinearNetwork(inputs, targets), init, inputs, step_size, steps)


def gated_quadratic(seed: int, *, samples: int = 100, features: int = 20, step_size: float = 0.4) -> Recipe:
    """Recipe C: curvature as a parameter, pulled up by a force that never runs out.

    >>> gated_quadratic(0).steps
    60000
    """
    rng = np.random.default_rng(integer("seed", seed, 0))
    directions = rng.standard_normal((samples, features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = 0.03 * rng.standard_normal(samples)
    init = np.append(0.05 * rng.standard_normal(features), 0.5)
    model = GatedQuadratic(directions, offsets, stiffness=1e-4, target=200.0)
    return Recipe(model, init, directions, step_size, 60_000)


def sharpening_least_squares(
    seed: int, *, samples: int = 200, features: int = 40, label_noise: float = 0.05, drift: float = 0.02,
    step_size: float = 0.02, steps: int = 60_000,
) -> Recipe:  # fmt: skip
    """Recipe P: Gaussian data and labels without a linear part; samples=60, features=8, label_noise=0.3 is the small
    one.

    >>> recipe = sharpening_least_squares(0)
    >>> float(abs(recipe.model.inputs.T @ recipe.model.targets).max()) < 1e-12
    True
    """
    rng = np.random.default_rng(integer("seed", seed, 0))
    inputs = rng.standard_normal((samples, features))
    labels = rng.standard_normal(samples)
    labels -= inputs @ np.linalg.lstsq(inputs, labels, rcond=None)[0]
    labels *= label_noise
    init = np.append(0.05 * rng.standard_normal(features), 1.0)
    return Recipe(SharpeningLeastSquares(inputs, labels, drift), init, inputs, step_size, steps)
