"""Closed forms, exact recursions, and the stability of random products. Nothing here runs SGD on a loss."""

from .criteria import CRITERIA, Criterion, criteria
from .critical_mode import batch_sharpness_factor, critical_batch_sharpness, critical_mode
from .edges import MeanSquareEdge, mean_square_edge
from .epochs import EpochEdge, epoch_max_step_size, epoch_mean_radius, epoch_radius
from .frozen import FrozenEdge, edge, frozen_system
from .gaussian_population import gaussian_expectations, gaussian_loss
from .gradient_expectations import GradientExpectations, gradient_expectations
from .high_dimension import ApproximateEdge, high_dimensional_edges
from .label_noise import label_noise
from .lyapunov import LyapunovExponents, lyapunov_exponents
from .lyapunov_edge import LyapunovEdge, lyapunov_max_step_size
from .mean_square import edge_sharpness, max_step_size, mean_square_sharpness
from .moment_edges import moment_max_step_size, moment_radius
from .sde_moments import sde_second_moment, sde_stationary_moment
from .second_moment import (
    micro_noise,
    second_moment_map,
    second_moment_radius,
    second_moment_step,
    second_moment_system,
)
from .self_stabilisation import sharpness_gap, sharpness_gap_root
from .stationary import stationary_moment
from .volterra import (
    gaussian_max_step_size,
    homogenized_max_step_size,
    volterra_criterion,
    volterra_loss,
    volterra_max_step_size,
)

__all__ = [
    "CRITERIA",
    "ApproximateEdge",
    "Criterion",
    "EpochEdge",
    "FrozenEdge",
    "GradientExpectations",
    "LyapunovEdge",
    "LyapunovExponents",
    "MeanSquareEdge",
    "batch_sharpness_factor",
    "criteria",
    "critical_batch_sharpness",
    "critical_mode",
    "edge",
    "edge_sharpness",
    "epoch_max_step_size",
    "epoch_mean_radius",
    "epoch_radius",
    "frozen_system",
    "gaussian_expectations",
    "gaussian_loss",
    "gaussian_max_step_size",
    "gradient_expectations",
    "high_dimensional_edges",
    "homogenized_max_step_size",
    "label_noise",
    "lyapunov_exponents",
    "lyapunov_max_step_size",
    "max_step_size",
    "mean_square_edge",
    "mean_square_sharpness",
    "micro_noise",
    "moment_max_step_size",
    "moment_radius",
    "sde_second_moment",
    "sde_stationary_moment",
    "second_moment_map",
    "second_moment_radius",
    "second_moment_step",
    "second_moment_system",
    "sharpness_gap",
    "sharpness_gap_root",
    "stationary_moment",
    "volterra_criterion",
    "volterra_loss",
    "volterra_max_step_size",
]
