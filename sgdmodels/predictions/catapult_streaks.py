"""B11: spikes of the loss follow streaks of sharp batches."""

import numpy as np

from ..distances import Estimate
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

BEFORE = 10  # steps that lead up to a peak
PEAKS = 0.99  # quantile of the loss that counts as a peak


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    if batch_size == evidence.model.samples or batch_size not in evidence.streaks:
        raise NoAnswer(NOT_APPLICABLE, "needs steps that are the gradient of a weighted batch")
    path = evidence.streaks[batch_size]
    excess = []
    for loss, sharpness in zip(path.loss.values, path.step_sharpness.values, strict=True):
        if not np.isfinite(loss).all():
            continue
        high = np.flatnonzero(loss[BEFORE:] > np.quantile(loss, PEAKS)) + BEFORE
        onsets = high[np.diff(high, prepend=-BEFORE) > BEFORE]
        before = [sharpness[t - BEFORE : t].mean() for t in onsets]
        excess.append((np.mean(before) - sharpness.mean()) * evidence.step_size / 2 if before else np.nan)
    values = np.array(excess)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        raise NoAnswer(INCONCLUSIVE, "too few replicas with peaks of the loss")
    reach = 2 * float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), float(values.mean()) - reach, float(values.mean()) + reach)


CATAPULT_STREAKS = Prediction(
    name="B11",
    title="peaks of the loss follow streaks of sharp batches",
    statement="In the ten steps before the loss enters its top percentile, the curvature of the batches along their gradients is above its mean.",
    formula=r"E\Big[\tfrac\eta2\frac{g_B^TH_Bg_B}{|g_B|^2}\,\Big|\,\text{10 steps before a peak}\Big] > E\Big[\ldots\Big]",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="end of the run; one weighted batch per step; no momentum",
    quantity="excess of eta s_B / 2 before peaks",
    band=(0.0, np.inf),
    evaluate=evaluate,
    same_within=0.1,
    needs=("streaks",),
)
