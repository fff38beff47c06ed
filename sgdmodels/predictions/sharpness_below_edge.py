"""B2: lambda_max of the full loss is held below 2/eta while Batch Sharpness sits there."""

from ..distances import Estimate
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    if batch_size == evidence.model.samples:
        raise NoAnswer(NOT_APPLICABLE, "the full batch is held at 2/eta, not below it")
    return evidence.level(batch_size, "lambda_max")


SHARPNESS_BELOW_EDGE = Prediction(
    name="B2",
    title="lambda_max is held below 2/eta",
    statement="At the plateau of Batch Sharpness the full-batch lambda_max lies below 2/eta.",
    formula=r"\tfrac\eta2\lambda_{\max} < 1",
    reference="Andreyev and Beneventano 2024",
    applies="entry into EoSS, b < n; no momentum",
    quantity="eta lambda_max / 2",
    band=(0.0, 0.98),
    evaluate=evaluate,
)
