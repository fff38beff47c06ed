"""B12: stabilisation happens where the loss still falls, not at minima."""

import numpy as np

from ..distances import Estimate
from .base import INCONCLUSIVE, Evidence, NoAnswer, Prediction, mean_interval, without_momentum

STEPS = 1000


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run = evidence.survivors(batch_size)
    at = int(np.searchsorted(run.step.values, evidence.entry(batch_size)))
    squares = evidence.records(batch_size, "gradient_norm")[:, at] ** 2
    losses = np.abs(evidence.records(batch_size, "loss")[:, at])
    if not losses.min() > 0:
        raise NoAnswer(INCONCLUSIVE, "the loss is zero at entry")
    return mean_interval(evidence.step_size * STEPS * squares / losses, exact=evidence.dynamics.deterministic)


NON_STATIONARY_POINTS = Prediction(
    name="B12",
    title="the edge is met at non-stationary points",
    statement=(
        "Where Batch Sharpness reaches 0.9 (2/eta), 1000 steps along the mean gradient would still change the loss by "
        "more than a tenth."
    ),
    formula=r"1000\,\eta\,|\nabla L|^2 / L > 0.1",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="entry into EoSS; no momentum",
    quantity="1000 eta |grad L|^2 / L at entry",
    band=(0.1, np.inf),
    evaluate=evaluate,
    same_within=np.inf,
)
