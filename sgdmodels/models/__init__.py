"""Losses with closed-form curvature. One file is one loss; a new one is a file here and a line in CONTRACT."""

from .base import LossKernels, Model
from .diagonal_network import DiagonalNetwork
from .gated_quadratic import GatedQuadratic
from .least_squares import LeastSquares
from .linear_network import LinearNetwork
from .quadratics import Quadratics
from .scalar_product import ScalarProduct
from .sharpening_least_squares import SharpeningLeastSquares

__all__ = [
    "DiagonalNetwork",
    "GatedQuadratic",
    "LeastSquares",
    "LinearNetwork",
    "LossKernels",
    "Model",
    "Quadratics",
    "ScalarProduct",
    "SharpeningLeastSquares",
]
