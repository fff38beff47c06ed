"""The first zero of a curve that starts below zero, found by climbing in strides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..errors import NotConverged

STRIDE = 1.04
MOST_STRIDES, MOST_HALVINGS = 2000, 60


def first_root(excess: Callable[[float], float], start: float, accuracy: float = 1e-10) -> float:
    """The first zero of `excess` to relative `accuracy`, unless it is negative again within a stride of 4 %.

    The search starts at `start` or, where `excess` is not negative there, as many halvings below as it takes. Raises
    NotConverged.

    >>> round(first_root(lambda x: (x - 1) * (x - 2) * (x - 3), start=0.1), 9)
    1.0
    """
    from scipy.optimize import brentq

    value = cache(excess)
    low = start
    for _ in range(MOST_HALVINGS):
        if value(low) < 0:
            break
        low /= 2
    else:
        raise NotConverged(f"no stable step size down to {low:.3g}")
    for _ in range(MOST_STRIDES):
        high = low * STRIDE
        if value(high) >= 0:
            return float(brentq(value, low, high, xtol=accuracy * low, rtol=accuracy))
        low = high
    raise NotConverged(f"no unstable step size up to {low:.3g}")
