"""Losses, gradients and curvatures of samples as functions of one flat parameter vector."""
