"""MS2: lambda_max stands where the closed form of the mean-square edge says."""

from ..distances import Estimate
from ..theory import edge_sharpness
from .base import Evidence, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    return evidence.against_closed_form(batch_size, "lambda_max", edge_sharpness)


MEAN_SQUARE_EDGE = Prediction(
    name="MS2",
    title="lambda_max(b) is its closed form",
    statement="lambda_max settles within 6 % of (2/eta) lambda_1 / S_ms(b), a closed form of the data.",
    formula=r"\lambda_{\max} \to \frac2\eta\,\frac{\lambda_1(\hat H)}{S_{ms}(\hat H, b)}",
    reference="mean-square edge, Mulayoff and Michaeli 2024",
    applies="entry into EoSS and a plateau; curvature a moving scalar times a_i a_i'; no momentum",
    quantity="lambda_max over its closed form",
    band=(0.94, 1.06),
    evaluate=evaluate,
)
