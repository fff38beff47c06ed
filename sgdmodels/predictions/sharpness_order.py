"""B2, second half: the smaller the batch, the lower lambda_max."""

from itertools import pairwise

import numpy as np

from ..distances import Estimate
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction


def evaluate(evidence: Evidence, batch_size: None) -> Estimate:
    sizes = sorted(evidence.runs)
    if len(sizes) < 2:
        raise NoAnswer(NOT_APPLICABLE, "needs runs at two batch sizes or more")
    if not hasattr(evidence.dynamics, "batch_size"):
        raise NoAnswer(NOT_APPLICABLE, "the dynamics has no batch size")
    levels = [evidence.late_level(b, "lambda_max") for b in sizes]
    rises = []
    for smaller, larger in pairwise(levels):
        reach = np.hypot(smaller.high - smaller.value, larger.value - larger.low)
        other = np.hypot(smaller.value - smaller.low, larger.high - larger.value)
        rise = larger.value - smaller.value
        rises.append(Estimate(rise, rise - float(reach), rise + float(other)))
    return min(rises, key=lambda rise: rise.low)


SHARPNESS_ORDER = Prediction(
    name="B2 (order)",
    title="lambda_max rises with the batch size",
    statement=(
        "The late level of lambda_max does not fall from one batch size to the next larger one; the rise whose "
        "interval reaches lowest counts."
    ),
    formula=r"\min_k \tfrac\eta2\big(\bar\lambda_{\max}(b_{k+1}) - \bar\lambda_{\max}(b_k)\big) > 0",
    reference="Andreyev and Beneventano 2024",
    applies="two batch sizes or more; last 40 % of the run",
    quantity="least rise of eta lambda_max / 2",
    band=(0.0, np.inf),
    evaluate=evaluate,
    per_batch_size=False,
)
