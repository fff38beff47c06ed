"""The same on any torch.nn.Module: measure with a `Probe`, train with `train`, watch your own loop with a `Monitor`."""

from . import data, losses, nets, recipes
from .accuracy import Accuracy
from .measurements import METRICS
from .monitoring.monitor import Monitor
from .monitoring.optimizer_sharpness import optimizer_sharpness
from .probe import Probe
from .training.train import train

__all__ = [
    "METRICS", "Accuracy", "Monitor", "Probe", "data", "losses", "nets", "optimizer_sharpness", "recipes", "train",
]  # fmt: skip
