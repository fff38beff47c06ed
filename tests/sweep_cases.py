"""Small sweeps, and what it means that two stores hold the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import sgdmodels as sm
from sgdmodels.sweeps import journal


def small_grid(**changed: Any) -> sm.Grid:
    """Six cells of two dynamics, one of them without a batch size, 200 steps each."""
    given: dict[str, Any] = {
        "model": sm.recipes.gated_quadratic,
        "dynamics": {"SGD": sm.SGD(0.4, 8), "GD": sm.GD(0.4)},
        "step_size": 0.4,
        "batch_size": [2, 8],
        "seed": [0, 1],
        "steps": 200,
        "replicas": 2,
    }
    given |= changed
    return sm.Grid(given.pop("model"), given.pop("dynamics"), **given)


def constant_grid(**changed: Any) -> sm.Grid:
    """Least squares with data of its own, below and far above the edge."""
    rng = np.random.default_rng(0)
    model = sm.models.LeastSquares(rng.standard_normal((20, 3)), rng.standard_normal(20))
    given = {"step_size": [0.1, 3.0], "batch_size": [1, 5], "steps": 300, "init": np.ones(3)} | changed
    return sm.Grid(model, [sm.SGD(0.1, 1), sm.NoisyGD(0.1, 1)], **given)


def contents(store: Path) -> dict[str, str]:
    """Every file that holds results or says what they are, by its hash."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.relative_to(store).parts[0] not in ("journal", "claims")
    }


def events(store: Path, kind: str) -> list[str]:
    """Cells of which the journal says so, in the order of the files."""
    return [line["cell"] for line in journal.entries(store) if line["event"] == kind]


def marked(store: Path) -> list[str]:
    """Cells that are whole."""
    return sorted(json.loads(file.read_bytes())["cell"] for file in (store / "cells").glob("*.json"))
