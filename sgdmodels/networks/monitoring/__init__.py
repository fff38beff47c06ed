"""Watching a training loop that is not ours."""
