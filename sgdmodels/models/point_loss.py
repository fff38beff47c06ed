"""What a loss charges for a prediction: phi(p, y), and its slope and bend in p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..kernels.compile import inline


@dataclass(frozen=True)
class PointLoss:
    """phi(p, y) and its first two derivatives in p, as device functions (p, y, constants)."""

    value: Any
    slope: Any
    bend: Any


@inline
def half_square(p, y, constants):
    """The squared error."""
    return 0.5 * (p - y) * (p - y)


@inline
def residual(p, y, constants):
    """Its derivative in p."""
    return p - y


@inline
def unit_bend(p, y, constants):
    """Its second derivative in p."""
    return 1.0


SQUARED_ERROR = PointLoss(half_square, residual, unit_bend)
