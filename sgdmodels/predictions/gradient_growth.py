"""B10: Theorem 1, the one-sided certificate: after a step, the same batch's gradient has grown by (1 - eta BS)^2."""

import numpy as np

from ..arguments import FloatArray
from ..distances import Estimate
from ..models import Model
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, mean_interval, without_momentum

DRAWS = 200
SNAPSHOTS = 5
ROUNDING = 1e-9  # the bound is attained where a gradient is an eigenvector


def random_batch(samples: int, batch_size: int, sampling: str, rng: np.random.Generator) -> np.ndarray:
    """Indices of one batch as a step draws it (of a fresh epoch, where there are epochs)."""
    if sampling == "bernoulli":
        return np.flatnonzero(rng.random(samples) < batch_size / samples)
    return rng.choice(samples, batch_size, replace=sampling == "with_replacement")


def growth(
    model: Model, theta: FloatArray, step_size: float, batch_size: int, sampling: str, rng: np.random.Generator
) -> float:
    """E|grad L_B(theta - eta g_B)|^2 / E|g_B|^2 over random batches."""
    before, after = 0.0, 0.0
    only_one = batch_size == model.samples and sampling != "with_replacement"
    for _ in range(1 if only_one else DRAWS):
        batch = random_batch(model.samples, batch_size, sampling, rng)
        weight = np.full(len(batch), 1 / batch_size)
        g = model.weighted_gradient(theta, batch, weight)
        later = model.weighted_gradient(theta - step_size * g, batch, weight)
        before += float(g @ g)
        after += float(later @ later)
    if before == 0:
        raise NoAnswer(INCONCLUSIVE, "the gradients vanish")
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
            grown = growth(evidence.model, theta, evidence.step_size, batch_size, evidence.sampling, rng)
            margin = grown - (1 - sharpness[r, q]) ** 2
            margins.append(0.0 if abs(margin) <= ROUNDING * grown else margin)
    mean = mean_interval(margins)
    return Estimate(mean.value, max(mean.low, min(margins)), mean.high)  # the claim is about every point


GRADIENT_GROWTH = Prediction(
    name="B10",
    title="Theorem 1: same-batch gradients grow by at least (1 - eta BS)^2",
    statement=(
        "Mean growth of |grad L_B|^2 in a step along g_B, less (1 - eta BS)^2, is not negative (exact on quadratics)."
    ),
    formula=r"\frac{E_B|\nabla L_B(\theta-\eta g_B)|^2}{E_B|g_B|^2} \ge (1-\eta\mathrm{BS})^2",
    reference="Andreyev and Beneventano 2024, Theorem 1; constants and proof: this project",
    applies="entry into EoSS; no momentum",
    quantity="growth less (1 - eta BS)^2",
    band=(0.0, np.inf),
    evaluate=evaluate,
    same_within=np.inf,
)
