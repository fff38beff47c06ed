"""Measurements at parameter snapshots. One file is one metric; a new one is a file here and a line in METRICS."""

from .base import Metric, Snapshots
from .batch_sharpness import BATCH_SHARPNESS
from .batch_sharpness_mean_ratio import BATCH_SHARPNESS_MEAN_RATIO
from .gni import GNI
from .gradient_norm import GRADIENT_NORM
from .ias import IAS
from .lambda_max import LAMBDA_MAX
from .loss import LOSS
from .mean_square_sharpness import MEAN_SQUARE_SHARPNESS
from .minibatch_lambda_max import MINIBATCH_LAMBDA_MAX
from .trace_hessian import TRACE_HESSIAN

METRICS: tuple[Metric, ...] = (
    LOSS,
    GRADIENT_NORM,
    LAMBDA_MAX,
    TRACE_HESSIAN,
    BATCH_SHARPNESS,
    BATCH_SHARPNESS_MEAN_RATIO,
    IAS,
    GNI,
    MEAN_SQUARE_SHARPNESS,
    MINIBATCH_LAMBDA_MAX,
)

__all__ = ["METRICS", "Metric", "Snapshots"]
