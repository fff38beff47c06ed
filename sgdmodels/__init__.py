"""sgdmodels: mathematical models of SGD against SGD itself, at the Edge of Stochastic Stability."""

from . import detectors, distances, dynamics, errors, models, recipes, specs, theory
from .citations import citations
from .compare import compare
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
from .interventions import edge_test, fork
from .measure import measure
from .metrics import METRICS, Metric
from .predictions import PREDICTIONS
from .scorecard import ScoreCard, scorecard
from .simulate import simulate
from .sweeps import Grid, open_sweep, run_sweep
from .version import __version__

__all__ = [
    "GD",
    "METRICS",
    "PREDICTIONS",
    "SDE",
    "SGD",
    "SVAG",
    "CentralFlow",
    "EpochSDE",
    "GradientFlow",
    "Grid",
    "HomogenizedSGD",
    "ImplicitRegularizationFlow",
    "LabelNoiseSGD",
    "LevySDE",
    "Metric",
    "NoisyGD",
    "OrnsteinUhlenbeck",
    "PredictedDynamics",
    "ReshufflingFlow",
    "ScoreCard",
    "StochasticCentralFlow",
    "SymbolicModel",
    "__version__",
    "citations",
    "compare",
    "detectors",
    "distances",
    "dynamics",
    "edge_test",
    "errors",
    "fork",
    "measure",
    "models",
    "open_sweep",
    "plot",
    "recipes",
    "run_sweep",
    "scorecard",
    "simulate",
    "specs",
    "symbolic",
    "testing",
    "theory",
]


def __getattr__(name: str) -> object:
    """What is dear to import, when it is first used: matplotlib in `sm.plot`, sympy, hypothesis in `sm.testing`."""
    import importlib

    if name in ("plot", "symbolic", "testing"):
        return importlib.import_module(f".{name}", __name__)
    if name == "SymbolicModel":
        return importlib.import_module(".symbolic", __name__).SymbolicModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
