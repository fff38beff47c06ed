"""B3: lambda_max increases only as long as Batch Sharpness does."""

import numpy as np

from ..detectors import slope
from ..distances import Estimate
from .base import INCONCLUSIVE, Evidence, NoAnswer, Prediction, mean_interval, without_momentum

CROSSING = 0.95  # of 2/eta


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run, window = evidence.survivors(batch_size), evidence.window(batch_size)
    steps = run.step.values
    sharpness = evidence.scaled(batch_size, "lambda_max")
    crossed = np.flatnonzero(evidence.middle(batch_size) > CROSSING)
    if len(crossed) == 0 or crossed[0] < 3:
        raise NoAnswer(INCONCLUSIVE, "Batch Sharpness crosses 0.95 (2/eta) too early, or not at all, to compare slopes")
    before = slice(0, crossed[0] + 1)
    ratios = []
    for series in sharpness:
        rise = slope(steps[before], series[before])
        if rise > 0:
            ratios.append(slope(steps[window], series[window]) / rise)
    if len(ratios) < len(sharpness):
        raise NoAnswer(INCONCLUSIVE, "lambda_max does not rise before Batch Sharpness reaches 2/eta")
    return mean_interval(ratios, exact=evidence.dynamics.deterministic)


SHARPENING_STOPS = Prediction(
    name="B3",
    title="lambda_max stops rising when Batch Sharpness reaches 2/eta",
    statement=(
        "The slope of lambda_max over the plateau is at most a tenth of its slope before Batch Sharpness reached "
        "0.95 (2/eta)."
    ),
    formula=r"\frac{d\lambda_{\max}/dt\ (\text{plateau})}{d\lambda_{\max}/dt\ (\text{before})} \le 0.1",
    reference="Andreyev and Beneventano 2024 (blog)",
    applies="progressive sharpening, then entry into EoSS; no momentum",
    quantity="slope after / slope before",
    band=(-np.inf, 0.1),
    evaluate=evaluate,
    same_within=0.1,
)
