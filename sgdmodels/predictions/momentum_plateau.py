"""B9: with momentum Batch Sharpness settles between 2 (1 - beta) / eta and 2 (1 + beta) / eta."""

from ..distances import Estimate
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction

SMALL, LARGE = 0.1, 0.5  # b / n


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    """Level over the predicted one; the two predictions are for small and for large batches."""
    beta = evidence.momentum
    if not beta:
        raise NoAnswer(NOT_APPLICABLE, "the dynamics has no momentum")
    share = batch_size / evidence.model.samples
    if SMALL < share < LARGE:
        raise NoAnswer(NOT_APPLICABLE, f"b/n = {share:.2g} is neither small (below {SMALL}) nor large (above {LARGE})")
    large = 1 + beta if not evidence.dynamics.nesterov else (1 + beta) / (1 + 2 * beta)
    expected = 1 - beta if share <= SMALL else large
    level = evidence.late_level(batch_size, "batch_sharpness")
    return Estimate(level.value / expected, level.low / expected, level.high / expected)


MOMENTUM_PLATEAU = Prediction(
    name="B9",
    title="momentum: BS at 2(1-beta)/eta (small b) or 2(1+beta)/eta (large b)",
    statement=(
        "Batch Sharpness settles at 2(1-beta)/eta for small batches and at 2(1+beta)/eta for large ones (Nesterov: "
        "2(1+beta)/(eta(1+2beta)))."
    ),
    formula=r"\mathrm{BS} \to \tfrac{2(1-\beta)}\eta\ (b \ll n), \quad \tfrac{2(1+\beta)}\eta\ (b \to n)",
    reference="Andreyev et al. 2026",
    applies="momentum > 0; b <= n/10 or b >= n/2; last 40 % of the run",
    quantity="BS over its predicted level",
    band=(0.9, 1.1),
    evaluate=evaluate,
    needs=("momentum",),
)
