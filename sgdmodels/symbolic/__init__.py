"""Closed forms by computer algebra: derive them, prove them, print them, compile them. Nothing here simulates."""

from .closed_form import Check, ClosedForm, DerivationError
from .derive import derive
from .functions import sigmoid, softplus
from .grammar import FormulaError, parse, total
from .model import SymbolicModel
from .typeset import latex, text

__all__ = [
    "Check",
    "ClosedForm",
    "DerivationError",
    "FormulaError",
    "SymbolicModel",
    "derive",
    "latex",
    "parse",
    "sigmoid",
    "softplus",
    "text",
    "total",
]
