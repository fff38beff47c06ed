"""Predictions of the Edge of Stochastic Stability. One file is one claim; a new one is a file here and a line below."""

from .base import Evidence, Finding, NoAnswer, Prediction
from .batch_sharpness_plateau import BATCH_SHARPNESS_PLATEAU
from .catapult_streaks import CATAPULT_STREAKS
from .gap_exponent import EDGE_GAP_EXPONENT, GAP_EXPONENT
from .gradient_growth import GRADIENT_GROWTH
from .gradient_noise_interaction import GRADIENT_NOISE_INTERACTION
from .mean_ratio_plateau import MEAN_RATIO_PLATEAU
from .mean_square_edge import MEAN_SQUARE_EDGE
from .mean_square_plateau import MEAN_SQUARE_PLATEAU
from .momentum_plateau import MOMENTUM_PLATEAU
from .noise_models_miss import NOISE_MODELS_MISS
from .non_stationary_points import NON_STATIONARY_POINTS
from .nudges import BENIGN_SWITCH, DESTABILISING_SPIKES, EDGE_TEST
from .sharpening_stops import SHARPENING_STOPS
from .sharpness_below_edge import FULL_BATCH_AT_EDGE, SHARPNESS_BELOW_EDGE
from .sharpness_order import SHARPNESS_ORDER
from .spectral_spread import SPECTRAL_SPREAD

PREDICTIONS: tuple[Prediction, ...] = (
    BATCH_SHARPNESS_PLATEAU,
    MEAN_RATIO_PLATEAU,
    SHARPNESS_BELOW_EDGE,
    FULL_BATCH_AT_EDGE,
    SHARPNESS_ORDER,
    SHARPENING_STOPS,
    GAP_EXPONENT,
    EDGE_GAP_EXPONENT,
    DESTABILISING_SPIKES,
    BENIGN_SWITCH,
    GRADIENT_NOISE_INTERACTION,
    EDGE_TEST,
    NOISE_MODELS_MISS,
    MOMENTUM_PLATEAU,
    GRADIENT_GROWTH,
    CATAPULT_STREAKS,
    NON_STATIONARY_POINTS,
    MEAN_SQUARE_PLATEAU,
    MEAN_SQUARE_EDGE,
    SPECTRAL_SPREAD,
)

__all__ = ["PREDICTIONS", "Evidence", "Finding", "NoAnswer", "Prediction"]
