"""Closed forms by computer algebra: derive them, prove them, print them, compile them. Nothing here simulates."""

from .closed_form import Check, ClosedForm, DerivationError
from .functions import sigmoid, softplus
from .grammar import FormulaError, parse, total
from .model import SymbolicModel

__all__ = [
    "Check",
    "ClosedForm",
    "DerivationError",
    "FormulaError",
    "SymbolicModel",
    "parse",
    "sigmoid",
    "softplus",
    "total",
]
