"""MS1: what is pinned is the mean-square sharpness S_ms."""

from ..distances import Estimate
from .base import Evidence, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    return evidence.snapshot_level(batch_size, "mean_square_sharpness")


MEAN_SQUARE_PLATEAU = Prediction(
    name="MS1",
    title="S_ms settles at 2/eta",
    statement="The mean-square sharpness of the frozen quadratic model settles at 2/eta.",
    formula=r"\tfrac\eta2 S_{ms}(\theta, b) \to 1",
    reference="Mulayoff and Michaeli 2024 for the edge; that runs are held there is our reading",
    applies="entry into EoSS, near interpolation (flat directions inflate S_ms elsewhere); no momentum",
    quantity="eta S_ms / 2",
    band=(0.9, 1.05),
    evaluate=evaluate,
    needs=("mean_square_sharpness",),
)
