"""B4: the gap between Batch Sharpness and lambda_max shrinks with the batch size, like c2(b)."""

from ..detectors import log_log_slope
from ..distances import Estimate
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: None) -> Estimate:
    without_momentum(evidence)
    sizes = [b for b in sorted(evidence.runs) if b < evidence.model.samples]
    if len(sizes) < 3:
        raise NoAnswer(NOT_APPLICABLE, "needs runs at three batch sizes below n or more")
    levels = [(evidence.level(b, "batch_sharpness").value, evidence.level(b, "lambda_max").value) for b in sizes]
    gaps = [sharp - top for sharp, top in levels]
    if min(gaps) <= 0:
        raise NoAnswer(INCONCLUSIVE, f"the gap is {min(gaps):.3g} at one batch size: it has no logarithm")
    return log_log_slope([evidence.c2(b) for b in sizes], gaps)


GAP_EXPONENT = Prediction(
    name="B4",
    title="the gap BS - lambda_max shrinks like c2(b)",
    statement=(
        "log(BS - lambda_max) is a line of slope one in log c2(b): the gap is proportional to 1/b for b well below n."
    ),
    formula=r"\log(\mathrm{BS}-\lambda_{\max}) = \log c_2(b) + \mathrm{const}",
    reference="Liao et al. 2026 (theory -1 in b, fitted -1.27); Andreyev and Beneventano 2024",
    applies="entry into EoSS at three batch sizes or more; no momentum",
    quantity="slope of log gap on log c2",
    band=(0.7, 1.3),
    evaluate=evaluate,
    same_within=0.2,
    per_batch_size=False,
)
