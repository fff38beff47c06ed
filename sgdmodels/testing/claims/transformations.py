"""The same loss in other units, other coordinates, or with every sample several times over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...arguments import FloatArray
from ...errors import InvalidArgument
from ...models import LeastSquares, Model, Quadratics
from ..point import Point, constructor_arguments

ROOT_SCALED = ("inputs", "targets", "directions", "offsets")  # a loss of these times sqrt(k) is k times the loss
SCALED = ("hessians", "drift", "stiffness")


def rebuilt(model: Model, change: Callable[[str, Any], Any]) -> Model:
    """A loss of the same class whose arguments are `change(name, value)`."""
    arguments = constructor_arguments(model)
    if arguments is None:
        raise InvalidArgument(f"model must be a built-in loss to be changed, got {model!r}")
    return type(model)(**{name: change(name, value) for name, value in arguments.items()})


def scaled(model: Model, factor: float) -> Model:
    """`factor` times the loss."""

    def change(name: str, value: Any) -> Any:
        if name in ROOT_SCALED:
            return np.sqrt(factor) * value
        return factor * value if name in SCALED else value

    return rebuilt(model, change)


def replicated(model: Model, times: int) -> Model:
    """The same loss with every sample `times` times."""
    return rebuilt(model, lambda _, value: np.concatenate([value] * times) if isinstance(value, np.ndarray) else value)


def reflection(direction: FloatArray) -> FloatArray:
    """The orthogonal matrix I - 2 v v' / |v|^2."""
    return np.eye(len(direction)) - 2 / (direction @ direction) * np.outer(direction, direction)


def turned(point: Point, directions: list[list[float]]) -> Point:
    """A quadratic or least-squares point in coordinates reflected along one direction after the other.

    Two reflections are a rotation in a plane, and all orthogonal matrices of d dimensions are products of d.
    """
    q, model = np.eye(point.model.dim), point.model
    for direction in directions:
        q = reflection(np.array(direction)) @ q
    if isinstance(model, Quadratics):
        h = q @ model.hessians @ q.T
        other: Model = Quadratics((h + h.transpose(0, 2, 1)) / 2, model.centers @ q.T)
    elif isinstance(model, LeastSquares):
        other = LeastSquares(model.inputs @ q.T, model.targets)
    else:
        raise InvalidArgument(f"model must be Quadratics or LeastSquares to be turned, got {model!r}")
    return replace(point, model=other, theta=q @ point.theta)
