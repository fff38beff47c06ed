"""Imports go one way: errors <- kernels <- models, dynamics, metrics <- simulate <- collect <- scorecard <- cli."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sgdmodels

PACKAGE = Path(sgdmodels.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "version", "arguments", "sampling", "progress"}
ALLOWED: dict[str, set[str] | None] = {
    "errors": set(),
    "version": set(),
    "progress": set(),
    "arguments": {"errors"},
    "sampling": {"errors", "arguments"},
    "kernels": {"errors"},
    "models": {"errors", "arguments", "kernels"},
    "dynamics": {"errors", "arguments", "kernels", "sampling"},
    "batches": {"arguments"},
    "theory": {"errors", "arguments", "sampling", "batches"},
    "symbolic": {"errors", "arguments", "sampling", "kernels", "models", "theory"},
    "metrics": {"errors", "arguments", "kernels", "sampling", "models", "theory", "batches"},
    "specs": BASE | {"models", "dynamics", "metrics", "simulate"},  # simulate for types only
    "dataset": {"arguments", "metrics", "models", "specs", "version", "simulate"},  # simulate for types only
    "measure": {"errors", "arguments", "sampling", "models", "metrics", "dataset"},
    "worker": {"arguments", "kernels", "dynamics", "metrics", "measure", "simulate"},  # simulate for types only
    "capacity": {"errors", "kernels", "simulate"},  # here and in the next four simulate for types only
    "run_file": {"errors", "kernels", "simulate"},
    "run_identity": {"errors", "dataset", "run_file", "version", "simulate"},
    "warm_starts": {"errors", "simulate"},
    "journey": {"errors", "arguments", "run_file", "run_identity", "warm_starts", "simulate"},
    "simulate": BASE
    | {"kernels", "models", "dynamics", "metrics", "measure", "dataset", "worker", "capacity", "journey"},
    "sweeps": BASE
    | {"specs", "capacity", "dataset", "labels", "measure", "run_file", "models", "dynamics", "metrics", "simulate"},
    "recipes": {"arguments", "models"},
    "bootstrap": {"errors", "arguments"},
    "distances": {"errors", "arguments"},
    "detectors": {"errors", "arguments", "bootstrap", "distances"},
    "predictions": {"arguments", "sampling", "models", "theory", "detectors", "distances"},
    "checkpoints": {"errors", "arguments", "kernels", "models", "dynamics", "simulate"},
    "interventions": {"errors", "arguments", "models", "dynamics", "metrics", "measure", "detectors", "checkpoints"},
    "streaks": {"errors", "arguments", "kernels", "models", "dynamics", "checkpoints"},
    "refine": {"dynamics"},
    "labels": {"errors", "dynamics"},
    "declarations": {"dynamics"},
    "citations": BASE | {"declarations", "metrics", "predictions", "scorecard", "theory", "version"},
    "compare": BASE
    | {"checkpoints", "models", "dynamics", "metrics", "measure", "distances", "labels", "refine", "simulate"},
    "collect": {
        "arguments",
        "checkpoints",
        "models",
        "detectors",
        "dynamics",
        "measure",
        "predictions",
        "interventions",
        "refine",
    }
    | {"simulate", "streaks"},
    "judge": {"arguments", "detectors", "predictions", "collect"},
    "scorecard": BASE
    | {"models", "dynamics", "measure", "recipes", "predictions", "labels", "collect", "judge"}
    | {"report", "scorecard_figures"},  # which render a card when its methods are called
    "survey": {"dynamics", "recipes", "scorecard"},
    "report": {"version", "predictions", "judge", "scorecard", "scorecard_figures"},
    "figure_style": set(),
    "scorecard_figures": {"figure_style", "plot", "theory", "predictions", "scorecard"},  # scorecard for types only
    "sweep_report": BASE
    | {"models", "dynamics", "theory", "specs", "sweeps", "distances", "predictions", "judge", "report", "plot"}
    | {"figure_style"},
    "plot": {"errors", "arguments"},
    "testing": BASE | {"kernels", "models", "dynamics", "metrics", "theory", "measure", "simulate", "batches"},
    "networks": BASE
    | {"kernels", "batches", "models", "dynamics", "metrics", "theory", "measure", "dataset", "simulate", "journey"},
    "demo": {"plot", "dynamics", "recipes", "simulate", "theory"},
    "cli": {"errors", "arguments", "version", "simulate", "specs", "sweeps", "sweep_report"}
    | {"demo", "plot", "report", "scorecard", "survey", "symbolic"},
    "__main__": {"cli"},
    "__init__": None,
}


def imported(path: Path) -> set[str]:
    """Layers (top-level modules of the package) that a file imports, its own left out."""
    depth = len(path.relative_to(PACKAGE).parts) - 1
    layers = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level > depth:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            layers.update(names)
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
            assert "sgdmodels" not in text or node.level, f"{path}: import the package relatively"  # type: ignore[union-attr]
    return layers


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert layer in ALLOWED, f"{layer} is new: say what it may import"
    allowed: set[str] | None = ALLOWED[layer]
    if allowed is not None:
        assert imported(path) - {layer} <= allowed


def test_only_kernels_spell_numba_options() -> None:
    for path in FILES:
        if path.parent.name != "kernels":
            assert "njit" not in path.read_text(), path


def test_files_stay_small() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path
