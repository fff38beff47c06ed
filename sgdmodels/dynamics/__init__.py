"""Models of SGD. One file is one dynamics; a new one is a file here and a line below."""

from .base import Dynamics, Plan
from .gd import GD
from .sgd import SGD

__all__ = ["GD", "SGD", "Dynamics", "Plan"]
