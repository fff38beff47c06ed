"""Property tests of claims about SGD: strategies for hypothesis, contracts, assertions of stability, claims.

Needs hypothesis: ``pip install 'sgdmodels[test]'``.
"""

try:
    import hypothesis  # noqa: F401
except ImportError as missing:
    raise ImportError(
        "sgdmodels.testing draws its examples with hypothesis, which is not installed: pip install 'sgdmodels[test]'"
    ) from missing

from .claim import Claim
from .claims import FALSE, PROVABLE
from .data import datasets
from .draws import batch_sizes, points, sampling_schemes, step_sizes
from .dynamics_contract import check_dynamics
from .laws import dynamics
from .locations import parameters
from .metric_contract import check_metric
from .model_contract import check_model
from .point import Point
from .problems import hessians, least_squares, models, quadratics
from .stability import assert_stable, assert_unstable

__all__ = [
    "FALSE",
    "PROVABLE",
    "Claim",
    "Point",
    "assert_stable",
    "assert_unstable",
    "batch_sizes",
    "check_dynamics",
    "check_metric",
    "check_model",
    "datasets",
    "dynamics",
    "hessians",
    "least_squares",
    "models",
    "parameters",
    "points",
    "quadratics",
    "sampling_schemes",
    "step_sizes",
]
