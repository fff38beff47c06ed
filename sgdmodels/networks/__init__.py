"""The same on any torch.nn.Module: measure with a `Probe`, train with `train`, watch your own loop with a `Monitor`."""

from . import data, losses, nets, recipes
from .accuracy import Accuracy
from .measurements import METRICS
from .monitor import Monitor
from .optimizer_sharpness import optimizer_sharpness
from .probe import Probe
from .train import train

__all__ = [
    "METRICS", "Accuracy", "Monitor", "Probe", "data", "losses", "nets", "optimizer_sharpness", "recipes", "train",
]  # fmt: skip
