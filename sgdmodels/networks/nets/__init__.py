"""Small reference networks without batch statistics, with the published initialisations."""

from .networks import cnn, mlp, resnet, transformer

__all__ = ["cnn", "mlp", "resnet", "transformer"]
