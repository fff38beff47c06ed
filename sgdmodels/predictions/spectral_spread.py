"""MS3: Batch Sharpness exceeds 2/eta by a factor that the spread of the spectrum fixes."""

from ..distances import Estimate
from ..theory import batch_sharpness_factor
from .base import Evidence, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    return evidence.against_closed_form(batch_size, "batch_sharpness", batch_sharpness_factor)


SPECTRAL_SPREAD = Prediction(
    name="MS3",
    title="BS is 2/eta times its spectral-spread factor",
    statement=(
        "Batch Sharpness averaged over the critical mode is tr(E[H^3]X)/tr(E[H^2]X) >= S_ms = 2/eta; it settles within "
        "10 % of that."
    ),
    formula=r"\mathrm{BS} \to \frac{\mathrm{tr}(E[H_B^3]X^*)}{\mathrm{tr}(E[H_B^2]X^*)} \ge S_{ms} = \frac2\eta",
    reference="moment inequality on the critical mode (this project)",
    applies="entry into EoSS and a plateau; curvature a moving scalar times a_i a_i'; no momentum",
    quantity="BS over its predicted level",
    band=(0.9, 1.1),
    evaluate=evaluate,
)
