"""The same on any torch.nn.Module: measure with a `Probe`, train with `train`, watch your own loop with a `Monitor`."""

from . import data, losses, nets
from .accuracy import Accuracy
from .measurements import METRICS
from .probe import Probe
from .train import train

__all__ = ["METRICS", "Accuracy", "Probe", "data", "losses", "nets", "train"]
