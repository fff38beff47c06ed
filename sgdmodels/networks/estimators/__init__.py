"""Estimates at one point, each with its error: moments, means over batches, eigenvalues, traces."""
