"""B2: lambda_max of the full loss is held below 2/eta while Batch Sharpness sits there, and at it by the full batch."""

from ..distances import Estimate
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum


def below(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    if batch_size == evidence.model.samples:
        raise NoAnswer(NOT_APPLICABLE, "the full batch is held at 2/eta, not below it")
    return evidence.settled(batch_size, "lambda_max")


def at_edge(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    if batch_size < evidence.model.samples:
        raise NoAnswer(NOT_APPLICABLE, "smaller batches are held below 2/eta, not at it")
    return evidence.settled(batch_size, "lambda_max")


SHARPNESS_BELOW_EDGE = Prediction(
    name="B2",
    title="lambda_max is held below 2/eta",
    statement="At the plateau of Batch Sharpness the full-batch lambda_max lies below 2/eta.",
    formula=r"\tfrac\eta2\lambda_{\max} < 1",
    reference="Andreyev and Beneventano 2024",
    applies="entry into EoSS and a plateau of lambda_max, b < n; no momentum",
    quantity="eta lambda_max / 2",
    band=(0.0, 0.98),
    evaluate=below,
)

FULL_BATCH_AT_EDGE = Prediction(
    name="B2 (full batch)",
    title="the full batch holds lambda_max at 2/eta",
    statement="At b = n lambda_max settles at 2/eta, or slightly above it.",
    formula=r"\tfrac\eta2\lambda_{\max}(n) \to 1",
    reference="Cohen et al. 2021; Andreyev and Beneventano 2024",
    applies="entry into EoSS and a plateau of lambda_max, b = n; no momentum",
    quantity="eta lambda_max / 2",
    band=(0.98, 1.1),
    evaluate=at_edge,
)
