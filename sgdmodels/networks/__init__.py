"""The same on any torch.nn.Module: measure with a `Probe`, train with `train`, watch your own loop with a `Monitor`."""

from . import losses
from .accuracy import Accuracy
from .probe import Probe
from .train import train

__all__ = ["Accuracy", "Probe", "losses", "train"]
