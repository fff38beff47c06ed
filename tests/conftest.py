"""Shared set-up: no display, and tests of one loss in one worker, so that its kernels are compiled once."""

from __future__ import annotations

import matplotlib
import pytest

from .cases import CASES

matplotlib.use("Agg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups = {name: f"kernels {id(make(0).model.kernels)}" for name, make in CASES.items()}
    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params.values()
        for value in values or ():
            if isinstance(value, str) and value in groups:
                item.add_marker(pytest.mark.xdist_group(groups[value]))
