"""Findings of all predictions on all dynamics, and whether models agree with the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arguments import FloatArray
from .collect import Experiment
from .detectors import disagreement
from .predictions import Evidence, Finding, NoAnswer, Prediction
from .predictions.base import DIVERGED, NOT_APPLICABLE, NOT_ENTERED

if TYPE_CHECKING:
    import xarray as xr

AGREES, DIFFERS, UNCLEAR = "agrees", "differs", "unclear"
ALL = 0  # the batch_size of a prediction that is one number for all of them


def judged(evidence: Mapping[str, Evidence], chosen: Sequence[Prediction], experiment: Experiment) -> xr.Dataset:
    """The table of findings."""
    import xarray as xr

    sizes = [*experiment.batch_sizes, ALL]
    shape = (len(chosen), len(evidence), len(sizes))
    numbers = {name: np.full(shape, np.nan) for name in ("value", "low", "high")}
    words = {name: np.full(shape, "", dtype=object) for name in ("verdict", "agreement", "reason")}
    for p, prediction in enumerate(chosen):
        for s, b in enumerate(sizes):
            if (b == ALL) == prediction.per_batch_size:
                continue
            findings = [prediction.find(one, None if b == ALL else b) for one in evidence.values()]
            for d, finding in enumerate(findings):
                for name in numbers:
                    numbers[name][p, d, s] = getattr(finding, name)
                words["verdict"][p, d, s] = finding.verdict
                words["reason"][p, d, s] = finding.reason
                words["agreement"][p, d, s] = agreement(prediction, finding, findings[0]) if d else ""
    dims = ("prediction", "dynamics", "batch_size")
    lost = [
        [int(one.runs[b].diverged_at.notnull().sum()) for b in experiment.batch_sizes] + [0]
        for one in evidence.values()
    ]
    return xr.Dataset(
        {
            **{name: (dims, values) for name, values in numbers.items()},
            **{name: (dims, values.astype(str)) for name, values in words.items()},
            "diverged": (("dynamics", "batch_size"), lost, {"long_name": "replicas that diverged"}),
            "type_2_fraction": (("dynamics", "batch_size"), type_2(evidence, sizes)),
            "opposite_sides": (("dynamics", "batch_size"), opposite(evidence, sizes).astype(str)),
            "converged": (
                ("dynamics", "batch_size"),
                [[one.convergence.get(b, "") for b in sizes] for one in evidence.values()],
                {"long_name": "whether an SDE integrated with half the step has the same late levels"},
            ),
        },
        {
            "prediction": [prediction.name for prediction in chosen],
            "dynamics": list(evidence),
            "batch_size": ("batch_size", sizes, {"long_name": "batch size; 0: one number for all"}),
            "replicas": (
                "dynamics",
                [one.runs[experiment.batch_sizes[0]].sizes["replica"] for one in evidence.values()],
            ),
        },
        {"steps": experiment.steps, "seed": str(experiment.seed)},
    )


def agreement(prediction: Prediction, own: Finding, reference: Finding) -> str:
    """Whether a model's number is that of the reference, whatever the verdicts: agrees, differs, unclear, or ''."""
    if NOT_APPLICABLE in (own.verdict, reference.verdict):
        return ""
    answers = (DIVERGED, NOT_ENTERED)
    if own.verdict in answers or reference.verdict in answers:
        return AGREES if own.verdict == reference.verdict else DIFFERS
    if np.isnan(own.value) or np.isnan(reference.value):
        return UNCLEAR
    if np.isinf(prediction.same_within):
        decided = {own.verdict, reference.verdict} <= {"holds", "fails"}
        return UNCLEAR if not decided else AGREES if own.verdict == reference.verdict else DIFFERS
    gap = abs(own.value - reference.value)
    reach = float(np.hypot(own.high - own.low, reference.high - reference.low)) / 2
    if gap + reach <= prediction.same_within:
        return AGREES
    return DIFFERS if gap - reach > prediction.same_within else UNCLEAR


def type_2(evidence: Mapping[str, Evidence], sizes: Sequence[int]) -> FloatArray:
    """Share of snapshots in the window with an unstable frozen second-moment map (theory J7); NaN if unknown."""
    shares = np.full((len(evidence), len(sizes)), np.nan)
    for d, one in enumerate(evidence.values()):
        for s, b in enumerate(sizes):
            if b in one.snapshots:
                values = one.snapshots[b].mean_square_sharpness.values * one.step_size / 2
                if np.isfinite(values).any():
                    shares[d, s] = np.mean(values[np.isfinite(values)] >= 1)
    return shares


def opposite(evidence: Mapping[str, Evidence], sizes: Sequence[int]) -> np.ndarray:
    """Which of BS (ratio of means), BS_E (mean of ratios) and S_ms lie on opposite sides of 2/eta (theory J8)."""
    words = np.full((len(evidence), len(sizes)), "", dtype=object)
    for d, one in enumerate(evidence.values()):
        for s, b in enumerate(sizes):
            if b in one.snapshots:
                dear = one.snapshots[b] * one.step_size / 2
                try:
                    level = one.level(b, "batch_sharpness").value
                except NoAnswer:
                    level = np.nan  # on no side
                sides = disagreement({
                    "BS": level,
                    "BS_E": float(dear.batch_sharpness_mean_ratio.mean()),
                    "S_ms": float(dear.mean_square_sharpness.mean()),
                })  # fmt: skip
                words[d, s] = " < 2/eta < ".join(", ".join(side) for side in sides)
    return words
