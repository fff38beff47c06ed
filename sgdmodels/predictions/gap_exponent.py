"""B4 (theory J6): how the gaps of lambda_max to Batch Sharpness and to 2/eta shrink with the batch size: like c2(b)."""

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray
from ..distances import Estimate
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

EXACT = 1e-6  # least relative error of a gap: no point may outweigh all others


def to_batch_sharpness(evidence: Evidence, batch_size: int) -> Estimate:
    sharp, top = evidence.level(batch_size, "batch_sharpness"), evidence.level(batch_size, "lambda_max")
    gap, reach = sharp.value - top.value, float(np.hypot(sharp.high - sharp.low, top.high - top.low)) / 2
    return Estimate(gap, gap - reach, gap + reach)


def to_edge(evidence: Evidence, batch_size: int) -> Estimate:
    top = evidence.level(batch_size, "lambda_max")
    return Estimate(1 - top.value, 1 - top.high, 1 - top.low)


def exponent_of(gap: Callable[[Evidence, int], Estimate]) -> Callable[..., Estimate]:
    """Slope of log gap on log c2(b), each gap weighted by its own interval."""

    def evaluate(evidence: Evidence, batch_size: None) -> Estimate:
        from scipy import stats

        without_momentum(evidence)
        sizes = [b for b in sorted(evidence.runs) if b < evidence.model.samples]
        if len(sizes) < 3:
            raise NoAnswer(NOT_APPLICABLE, "needs runs at three batch sizes below n or more")
        gaps = [gap(evidence, b) for b in sizes]
        least = min(g.value for g in gaps)
        if least <= 0:
            raise NoAnswer(INCONCLUSIVE, f"the gap is {least:.3g} at one batch size: it has no logarithm")
        error = np.array([(g.high - g.low) / 2 / g.value for g in gaps]) / stats.norm.ppf(0.975)
        return weighted_slope(
            np.log([evidence.c2(b) for b in sizes]), np.log([g.value for g in gaps]), np.maximum(error, EXACT)
        )

    return evaluate


def weighted_slope(x: FloatArray, y: FloatArray, error: FloatArray) -> Estimate:
    """Slope of y on x by weighted least squares with its 95 % interval, `error` one standard deviation of each y.

    Where points miss the line by more than their errors, errors are scaled up to the misfit (Birge's ratio).
    """
    from scipy import stats

    weight = error**-2
    dx, dy = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    spread = float(weight @ dx**2)
    slope = float(weight @ (dx * dy)) / spread
    misfit = float(weight @ (dy - slope * dx) ** 2) / (len(x) - 2)
    reach = float(stats.norm.ppf(0.975)) * np.sqrt(max(1.0, misfit) / spread)
    return Estimate(slope, slope - reach, slope + reach)


GAP_EXPONENT = Prediction(
    name="B4",
    title="the gap BS - lambda_max shrinks like c2(b)",
    statement=(
        "log(BS - lambda_max) is a line of slope one in log c2(b): the gap is proportional to 1/b for b well below n."
    ),
    formula=r"\log(\mathrm{BS}-\lambda_{\max}) = \log c_2(b) + \mathrm{const}",
    reference="Andreyev and Beneventano 2024",
    applies="entry into EoSS at three batch sizes or more; no momentum",
    quantity="slope of log gap on log c2",
    band=(0.7, 1.3),
    evaluate=exponent_of(to_batch_sharpness),
    same_within=0.2,
    per_batch_size=False,
)

EDGE_GAP_EXPONENT = Prediction(
    name="B4 (below edge)",
    title="the gap 2/eta - lambda_max shrinks like c2(b)",
    statement="log(2/eta - lambda_max) is a line of slope one in log c2(b).",
    formula=r"\log\Big(\frac2\eta-\lambda_{\max}\Big) = \log c_2(b) + \mathrm{const}",
    reference="Liao et al. 2026 (theory -1 in b, fitted -1.27)",
    applies="entry into EoSS at three batch sizes or more; no momentum",
    quantity="slope of log gap on log c2",
    band=(0.7, 1.3),
    evaluate=exponent_of(to_edge),
    same_within=0.2,
    per_batch_size=False,
)
