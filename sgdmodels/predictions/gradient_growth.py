"""B10: Theorem 1, the one-sided certificate: after a step, the same batch's gradient has grown by (1 - eta BS)^2."""

import numpy as np

from ..arguments import FloatArray
from ..distances import Estimate
from ..models import Model
from .base import NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

DRAWS = 200
SNAPSHOTS = 5


def growth(model: Model, theta: FloatArray, step_size: float, batch_size: int, rng: np.random.Generator) -> float:
    """E|grad L_B(theta - eta g_B)|^2 / E|g_B|^2 over random batches without replacement."""
    before, after = 0.0, 0.0
    weight = np.full(batch_size, 1 / batch_size)
    for _ in range(DRAWS if batch_size < model.samples else 1):
        batch = rng.choice(model.samples, batch_size, replace=False)
        g = model.weighted_gradient(theta, batch, weight)
        later = model.weighted_gradient(theta - step_size * g, batch, weight)
        before += float(g @ g)
        after += float(later @ later)
    return after / before


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run = evidence.survivors(batch_size)
    if "params" not in run:
        raise NoAnswer(NOT_APPLICABLE, "the run kept no parameters")
    window = evidence.window(batch_size)
    steps = np.arange(run.sizes["step"])[window]
    chosen = steps[np.linspace(0, len(steps) - 1, SNAPSHOTS).astype(int)]
    sharpness = 2 * evidence.scaled(batch_size, "batch_sharpness")  # eta BS
    rng = np.random.default_rng(0)
    margins = []
    for q in chosen:
        for r in range(run.sizes["replica"]):
            theta = np.ascontiguousarray(run.params.values[r, q])
            grown = growth(evidence.model, theta, evidence.step_size, batch_size, rng)
            margins.append(grown - (1 - sharpness[r, q]) ** 2)
    reach = 2 * float(np.std(margins, ddof=1) / np.sqrt(len(margins))) if len(margins) > 1 else 0.0
    middle = float(np.mean(margins))
    return Estimate(middle, middle - reach, middle + reach)


GRADIENT_GROWTH = Prediction(
    name="B10",
    title="Theorem 1: same-batch gradients grow by at least (1 - eta BS)^2",
    statement="Mean growth of |grad L_B|^2 in a step along g_B, less (1 - eta BS)^2, is not negative (exact on quadratics).",
    formula=r"\frac{E_B|\nabla L_B(\theta-\eta g_B)|^2}{E_B|g_B|^2} \ge (1-\eta\mathrm{BS})^2",
    reference="Andreyev and Beneventano 2024, Theorem 1; constants and proof: this project",
    applies="entry into EoSS; no momentum",
    quantity="growth less (1 - eta BS)^2",
    band=(0.0, np.inf),
    evaluate=evaluate,
    same_within=np.inf,
)
