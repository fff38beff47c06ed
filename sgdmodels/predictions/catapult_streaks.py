"""B11: spikes of the loss follow streaks of sharp batches."""

import numpy as np

from ..distances import Estimate
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, mean_interval, without_momentum

BEFORE = 10  # steps that lead up to a peak
PEAKS = 0.99  # quantile of the loss that counts as a peak
PEAKS_NEEDED = 3  # in all replicas; peaks are more than BEFORE steps apart and count as independent


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    evidence.survivors(batch_size)
    if batch_size == evidence.model.samples or batch_size not in evidence.streaks:
        raise NoAnswer(NOT_APPLICABLE, "needs steps that are the gradient of a weighted batch")
    path = evidence.streaks[batch_size]
    excess = []
    for loss, sharpness in zip(path.loss.values, path.step_sharpness.values, strict=True):
        if not np.isfinite(loss).all():
            continue
        high = np.flatnonzero(loss[BEFORE:] > np.quantile(loss, PEAKS)) + BEFORE
        onsets = high[np.diff(high, prepend=-BEFORE) > BEFORE]
        usual = np.nanmean(sharpness) if np.isfinite(sharpness).any() else np.nan
        excess += [sharpness[t - BEFORE : t].mean() - usual for t in onsets]
    values = np.array(excess) * evidence.step_size / 2
    values = values[np.isfinite(values)]
    if len(values) < PEAKS_NEEDED:
        raise NoAnswer(INCONCLUSIVE, f"{len(values)} peaks of the loss are too few")
    return mean_interval(values)


CATAPULT_STREAKS = Prediction(
    name="B11",
    title="peaks of the loss follow streaks of sharp batches",
    statement=(
        "In the ten steps before the loss enters its top percentile, the curvature of the batches along their "
        "gradients is above its mean."
    ),
    formula=(
        r"E\Big[\tfrac\eta2\frac{g_B^TH_Bg_B}{|g_B|^2}\,\Big|\,\text{10 steps before a peak}\Big]"
        r" > E\Big[\ldots\Big]"
    ),
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="end of the run; one weighted batch per step; no momentum",
    quantity="excess of eta s_B / 2 before peaks",
    band=(0.0, np.inf),
    evaluate=evaluate,
    same_within=0.1,
    needs=("streaks",),
)
