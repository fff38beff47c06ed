"""Shared set-up: no display; profiles of property tests; requests that must fail before anything runs."""

from __future__ import annotations

import os
from importlib import import_module

# Before numpy and torch are imported, and for the worker processes: tests run side by side, one thread each.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import hypothesis
import matplotlib
import pytest

matplotlib.use("Agg")

# "ci" finds the same examples in every run; "deep" is asked for by --hypothesis-profile=deep
hypothesis.settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None, database=None)
hypothesis.settings.register_profile(
    "deep", max_examples=1000, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ci")


@pytest.fixture
def no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts fails the test."""

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(import_module("sgdmodels.simulate").Run, "go", started)
