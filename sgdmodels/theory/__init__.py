"""Closed forms and exact recursions. Nothing here simulates."""

from .critical_mode import batch_sharpness_factor, critical_batch_sharpness, critical_mode
from .gradient_expectations import GradientExpectations, gradient_expectations
from .mean_square import edge_sharpness, max_step_size, mean_square_sharpness
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
    "GradientExpectations",
    "batch_sharpness_factor",
    "critical_batch_sharpness",
    "critical_mode",
    "edge_sharpness",
    "gaussian_max_step_size",
    "gradient_expectations",
    "homogenized_max_step_size",
    "max_step_size",
    "mean_square_sharpness",
    "micro_noise",
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
