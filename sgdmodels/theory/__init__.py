"""Closed forms and exact recursions. Nothing here simulates."""

from .mean_square import edge_sharpness, max_step_size, mean_square_sharpness
from .second_moment import second_moment_step, second_moment_system

__all__ = ["edge_sharpness", "max_step_size", "mean_square_sharpness", "second_moment_step", "second_moment_system"]
