"""B8: gradient descent with injected noise and SDEs do not hold lambda_max where SGD does."""

import numpy as np

from ..distances import Estimate
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

NOISE_INJECTED = ("NoisyGD", "SDE", "EpochSDE", "LevySDE", "HomogenizedSGD", "OrnsteinUhlenbeck")


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    if evidence.reference is None or type(evidence.dynamics).__name__ not in NOISE_INJECTED:
        raise NoAnswer(NOT_APPLICABLE, "the claim is about gradient descent with injected noise and SDEs")
    own = evidence.late_level(batch_size, "lambda_max")
    try:
        sgd = evidence.reference.late_level(batch_size, "lambda_max")
    except NoAnswer as none:
        raise NoAnswer(NOT_APPLICABLE, f"the reference has no level: {none.reason}") from None
    spread = np.hypot((own.high - own.low) / own.value, (sgd.high - sgd.low) / sgd.value) / 2
    ratio = own.value / sgd.value
    middle, reach = abs(ratio - 1), ratio * float(spread)
    return Estimate(middle, max(0.0, middle - reach), middle + reach)


NOISE_MODELS_MISS = Prediction(
    name="B8",
    title="injected noise and SDEs miss SGD's lambda_max",
    statement="The late level of lambda_max differs from SGD's by more than a tenth.",
    formula=r"|\bar\lambda_{\max} / \bar\lambda_{\max}^{SGD} - 1| > 0.1",
    reference=(
        "Andreyev and Beneventano 2024 (v1 and blog); theory expects the opposite for the full current covariance"
    ),
    applies="gradient descent with injected noise, SDEs; last 40 % of the run; no momentum",
    quantity="relative distance of lambda_max from SGD's",
    band=(0.1, np.inf),
    evaluate=evaluate,
    same_within=np.inf,
    needs=("reference",),
)
