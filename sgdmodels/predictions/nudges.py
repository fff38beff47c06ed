"""B5 and B7: what a sudden change of step size or batch size does at the plateau."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ..distances import Estimate
from .base import DIVERGED, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

if TYPE_CHECKING:
    import xarray as xr

DESTABILISING = ("step size up", "batch size down")
BENIGN = ("step size down", "batch size up")


def tested(evidence: Evidence, batch_size: int) -> xr.Dataset:
    """The edge test of one run, if it was made and its control survived."""
    without_momentum(evidence)
    evidence.survivors(batch_size)
    if batch_size not in evidence.edge_tests:
        raise NoAnswer(
            NOT_APPLICABLE, "no edge test was made: the dynamics has no knob to turn, or interventions are off"
        )
    test = evidence.edge_tests[batch_size]
    if not np.isfinite(test.probability.sel(branch="control")):
        raise NoAnswer(DIVERGED, "most replicas of the control diverged")
    return test


def share_of_spikes(names: tuple[str, ...], choose: Callable[[list[Estimate]], Estimate]) -> Callable[..., Estimate]:
    """Probability of a spike in the branches `names`, the decisive one of them, with its Clopper-Pearson interval."""

    def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
        test = tested(evidence, batch_size)
        branches = [test.sel(branch=name) for name in names if name in test.branch.values]
        if not branches:
            raise NoAnswer(NOT_APPLICABLE, f"the dynamics has neither of {', '.join(names)}")
        return choose(
            [Estimate(*(float(b[v]) for v in ("probability", "probability_low", "probability_high"))) for b in branches]
        )

    return evaluate


def most(estimates: list[Estimate]) -> Estimate:
    return max(estimates, key=lambda e: e.value)


def least(estimates: list[Estimate]) -> Estimate:
    return min(estimates, key=lambda e: e.value)


def only_at_the_edge(evidence: Evidence, batch_size: int) -> Estimate:
    """Share of nudged replicas that do what Batch Sharpness says: spike if it sits at 2/eta, none if it is below."""
    test = tested(evidence, batch_size)
    saturated = evidence.late_level(batch_size, "batch_sharpness").value > 0.9
    names = [name for name in DESTABILISING if name in test.branch.values]
    if not names:
        raise NoAnswer(NOT_APPLICABLE, "the dynamics has no step size or batch size to nudge")
    spiked = (test.spike_ratio.sel(branch=names) > 3.0).any("branch").values
    right = int(spiked.sum() if saturated else (~spiked).sum())
    if evidence.dynamics.deterministic:
        return Estimate(right / spiked.size, right / spiked.size, right / spiked.size)
    bounds = stats.binomtest(right, spiked.size).proportion_ci(0.95, "exact")
    return Estimate(right / spiked.size, bounds.low, bounds.high)


DESTABILISING_SPIKES = Prediction(
    name="B5 (up)",
    title="larger steps or smaller batches set off a spike",
    statement=(
        "At the plateau, step size x 1.3 or batch size / 4 raises the loss above three times the control's in most "
        "replicas."
    ),
    formula=r"P(\max L > 3\,\mathrm{median}\max L_{\mathrm{control}}) > \tfrac12",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="end of the run; at least one of the two knobs; no momentum",
    quantity="probability of a spike",
    band=(0.5, 1.0),
    evaluate=share_of_spikes(DESTABILISING, most),
    same_within=0.25,
    needs=("edge_tests",),
)

BENIGN_SWITCH = Prediction(
    name="B5 (down)",
    title="smaller steps or larger batches set off none",
    statement=(
        "At the plateau, step size / 1.3 and batch size x 4 leave the loss below three times the control's in most "
        "replicas."
    ),
    formula=r"P(\max L > 3\,\mathrm{median}\max L_{\mathrm{control}}) < \tfrac12",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="end of the run; at least one of the two knobs; no momentum",
    quantity="probability of a spike",
    band=(0.0, 0.5),
    evaluate=share_of_spikes(BENIGN, most),
    same_within=0.25,
    needs=("edge_tests",),
)

EDGE_TEST = Prediction(
    name="B7",
    title="a nudge sets off a spike exactly where Batch Sharpness is saturated",
    statement=(
        "If Batch Sharpness is above 0.9 (2/eta), a destabilising nudge causes a spike; if it is below, it does not."
    ),
    formula=r"\text{spike} \iff \tfrac\eta2\mathrm{BS} > 0.9",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="end of the run; at least one of the two knobs; no momentum",
    quantity="share of replicas that do as Batch Sharpness says",
    band=(0.5, 1.0),
    evaluate=only_at_the_edge,
    same_within=0.25,
    needs=("edge_tests",),
)
