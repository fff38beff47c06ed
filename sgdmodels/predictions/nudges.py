"""B5 and B7: what a sudden change of step size or batch size does, at the plateau (B5) or anywhere (B7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..distances import Estimate
from .base import DIVERGED, INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

if TYPE_CHECKING:
    import xarray as xr

DESTABILISING = ("step size up", "batch size down")
BENIGN = ("step size down", "batch size up")
CONTROL_LOST = "most replicas of the control diverged"
KAPPA = 3.0  # ratio of losses that is a spike, unless the test says otherwise


def tested(evidence: Evidence, batch_size: int) -> xr.Dataset:
    """The edge test of one run, if it was made and its control is one to compare with."""
    without_momentum(evidence)
    evidence.survivors(batch_size)
    if batch_size not in evidence.edge_tests:
        raise NoAnswer(
            NOT_APPLICABLE, "no edge test was made: the dynamics has no knob to turn, or interventions are off"
        )
    test = evidence.edge_tests[batch_size]
    why = test.attrs.get("no_answer", "")
    if why or not np.isfinite(test.probability.sel(branch="control")):
        why = why or CONTROL_LOST
        raise NoAnswer(DIVERGED if why == CONTROL_LOST else INCONCLUSIVE, why)
    return test


def probability(test: xr.Dataset, branch: str) -> Estimate:
    """Probability of a spike in one branch, with its Clopper-Pearson interval."""
    one = test.sel(branch=branch)
    return Estimate(float(one.probability), float(one.probability_low), float(one.probability_high))


def most_spikes(names: tuple[str, ...]) -> Callable[[Evidence, int], Estimate]:
    """Probability of a spike in that of the branches `names` where it is highest."""

    def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
        test = tested(evidence, batch_size)
        branches = [name for name in names if name in test.branch.values]
        if not branches:
            raise NoAnswer(NOT_APPLICABLE, f"the dynamics has neither of {', '.join(names)}")
        evidence.window(batch_size)
        return max((probability(test, name) for name in branches), key=lambda e: e.value)

    return evaluate


def more_than_the_control(evidence: Evidence, batch_size: int) -> Estimate:
    """`most_spikes` of destabilising branches, unless the control spikes about as often by itself."""
    nudged = most_spikes(DESTABILISING)(evidence, batch_size)
    control = probability(evidence.edge_tests[batch_size], "control")
    if control.value >= 0.5 or control.high >= nudged.low >= 0.5:
        raise NoAnswer(INCONCLUSIVE, f"the control spikes by itself, with probability {control.value:.2g}")
    return nudged


def only_at_the_edge(evidence: Evidence, batch_size: int) -> Estimate:
    """Share of nudged replicas that do what Batch Sharpness says: spike if it sits at 2/eta, none if it is below.

    Whether it sits there is asked of the mean over replicas, of the last 40 % of the run: of single ones it is noisy.
    """
    from scipy import stats

    test = tested(evidence, batch_size)
    saturated = evidence.late_level(batch_size, "batch_sharpness").value > 0.9
    names = [name for name in DESTABILISING if name in test.branch.values]
    if not names:
        raise NoAnswer(NOT_APPLICABLE, "the dynamics has no step size or batch size to nudge")
    spiked = (test.spike_ratio.sel(branch=names) > test.attrs.get("kappa", KAPPA)).any("branch").values
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
    applies="entry into EoSS; end of the run; at least one of the two knobs; no momentum",
    quantity="probability of a spike",
    band=(0.5, 1.0),
    evaluate=more_than_the_control,
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
    applies="entry into EoSS; end of the run; at least one of the two knobs; no momentum",
    quantity="probability of a spike",
    band=(0.0, 0.5),
    evaluate=most_spikes(BENIGN),
    same_within=0.25,
    needs=("edge_tests",),
)

EDGE_TEST = Prediction(
    name="B7",
    title="a nudge sets off a spike exactly where Batch Sharpness is saturated",
    statement=(
        "If the late level of Batch Sharpness (mean over replicas) is above 0.9 (2/eta), a destabilising nudge causes "
        "a spike; if it is below, it does not."
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
