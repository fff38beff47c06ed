"""B1: Batch Sharpness rises, then hovers at 2/eta."""

from ..distances import Estimate
from .base import Evidence, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    return evidence.settled(batch_size, "batch_sharpness")


BATCH_SHARPNESS_PLATEAU = Prediction(
    name="B1",
    title="Batch Sharpness settles at 2/eta",
    statement="The ratio of means E[g'Hg]/E|g|^2 over batches settles at 2/eta.",
    formula=r"\frac\eta2\,\frac{E_B[g_B^TH_Bg_B]}{E_B|g_B|^2} \to 1",
    reference="Andreyev and Beneventano 2024",
    applies="entry into EoSS (0.9 of 2/eta) and a plateau after it; no momentum",
    quantity="eta BS / 2",
    band=(0.9, 1.1),
    evaluate=evaluate,
)
