"""Models of SGD. One file is one dynamics; a new one is a file here and a line below."""

from .base import Declaration, Dynamics, Plan
from .central_flow import CentralFlow
from .epoch_sde import EpochSDE
from .gd import GD
from .gradient_flow import GradientFlow
from .homogenized_sgd import HomogenizedSGD
from .implicit_regularization_flow import ImplicitRegularizationFlow
from .label_noise_sgd import LabelNoiseSGD
from .levy_sde import LevySDE
from .noisy_gd import NoisyGD
from .ornstein_uhlenbeck import OrnsteinUhlenbeck
from .predicted_dynamics import PredictedDynamics
from .reshuffling_flow import ReshufflingFlow
from .sde import SDE
from .sgd import SGD
from .stochastic_central_flow import StochasticCentralFlow
from .svag import SVAG

__all__ = [
    "GD",
    "SDE",
    "SGD",
    "SVAG",
    "CentralFlow",
    "Declaration",
    "Dynamics",
    "EpochSDE",
    "GradientFlow",
    "HomogenizedSGD",
    "ImplicitRegularizationFlow",
    "LabelNoiseSGD",
    "LevySDE",
    "NoisyGD",
    "OrnsteinUhlenbeck",
    "Plan",
    "PredictedDynamics",
    "ReshufflingFlow",
    "StochasticCentralFlow",
]
