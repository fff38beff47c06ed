"""Shared set-up: no display; requests that must fail before anything runs."""

from __future__ import annotations

from importlib import import_module

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture
def no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts fails the test."""

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(import_module("sgdmodels.simulate").Run, "go", started)
