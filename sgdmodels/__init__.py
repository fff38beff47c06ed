"""sgdmodels: mathematical models of SGD against SGD itself, at the Edge of Stochastic Stability."""

from . import dynamics, errors, models, recipes, theory
from .dynamics import (
    GD,
    SDE,
    SGD,
    SVAG,
    CentralFlow,
    EpochSDE,
    GradientFlow,
    HomogenizedSGD,
    ImplicitRegularizationFlow,
    LabelNoiseSGD,
    LevySDE,
    NoisyGD,
    OrnsteinUhlenbeck,
    PredictedDynamics,
    ReshufflingFlow,
    StochasticCentralFlow,
)
from .measure import measure
from .metrics import METRICS, Metric
from .simulate import simulate
from .version import __version__

__all__ = [
    "GD",
    "METRICS",
    "SDE",
    "SGD",
    "SVAG",
    "CentralFlow",
    "EpochSDE",
    "GradientFlow",
    "HomogenizedSGD",
    "ImplicitRegularizationFlow",
    "LabelNoiseSGD",
    "LevySDE",
    "Metric",
    "NoisyGD",
    "OrnsteinUhlenbeck",
    "PredictedDynamics",
    "ReshufflingFlow",
    "StochasticCentralFlow",
    "__version__",
    "dynamics",
    "errors",
    "measure",
    "models",
    "plot",
    "recipes",
    "simulate",
    "theory",
]


def __getattr__(name: str) -> object:
    """`sm.plot` pulls in matplotlib, so it is imported when it is first used."""
    if name == "plot":
        import importlib

        return importlib.import_module(".plot", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
