"""B1 with the other definition of Batch Sharpness: the mean over batches of the ratio."""

from ..distances import Estimate
from .base import Evidence, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    return evidence.snapshot_level(batch_size, "batch_sharpness_mean_ratio")


MEAN_RATIO_PLATEAU = Prediction(
    name="B1 (mean of ratios)",
    title="Batch Sharpness, mean of ratios, settles at 2/eta",
    statement="The mean over batches of g'Hg/|g|^2 (Definition 3 of the paper) settles at 2/eta.",
    formula=r"\frac\eta2\,E_B\Big[\frac{g_B^TH_Bg_B}{|g_B|^2}\Big] \to 1",
    reference="Andreyev and Beneventano 2024, Definition 3",
    applies="entry into EoSS; no momentum; misleading at the full batch, where most steps go along flat directions",
    quantity="eta BS_E / 2",
    band=(0.9, 1.1),
    evaluate=evaluate,
    needs=("batch_sharpness_mean_ratio",),
)
