"""B10: Theorem 1, the one-sided certificate: after a step, the same batch's gradient has grown by (1 - eta BS)^2."""

import numpy as np

from ..arguments import FloatArray
from ..distances import Estimate
from ..models import Model
from .base import INCONCLUSIVE, NOT_APPLICABLE, Evidence, NoAnswer, Prediction, without_momentum

DRAWS = 200
SNAPSHOTS = 5
SHIFT = 1e-4  # of parameters in the difference of gradients, relative to them
ROUNDING = 1e-8  # the bound is attained where a gradient is an eigenvector


def random_batch(samples: int, batch_size: int, sampling: str, rng: np.random.Generator) -> np.ndarray:
    """Indices of one batch as a step draws it (of a fresh epoch, where there are epochs)."""
    if sampling == "bernoulli":
        return np.flatnonzero(rng.random(samples) < batch_size / samples)
    return rng.choice(samples, batch_size, replace=sampling == "with_replacement")


def growth(
    model: Model, theta: FloatArray, step_size: float, batch_size: int, sampling: str, rng: np.random.Generator
) -> tuple[float, float]:
    """E|grad L_B(theta - eta g_B)|^2 / E|g_B|^2 and BS = E[g_B'H_Bg_B] / E|g_B|^2 over the same random batches.

    Cauchy-Schwarz needs no more than that: on quadratics the bound holds for any set of batches. Curvatures are central
    differences of gradients, exact on quadratics.
    """
    before, after, curvature = 0.0, 0.0, 0.0
    shift = SHIFT * (1 + float(np.linalg.norm(theta)))
    only_one = batch_size == model.samples and sampling != "with_replacement"
    for _ in range(1 if only_one else DRAWS):
        batch = random_batch(model.samples, batch_size, sampling, rng)
        weight = np.full(len(batch), 1 / batch_size)
        g = model.weighted_gradient(theta, batch, weight)
        later = model.weighted_gradient(theta - step_size * g, batch, weight)
        square = float(g @ g)
        if square == 0:
            continue
        aside = shift / np.sqrt(square) * g
        change = model.weighted_gradient(theta + aside, batch, weight)
        change -= model.weighted_gradient(theta - aside, batch, weight)
        before += square
        after += float(later @ later)
        curvature += float(g @ change) * np.sqrt(square) / (2 * shift)
    if before == 0:
        raise NoAnswer(INCONCLUSIVE, "the gradients vanish")
    return after / before, curvature / before


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run = evidence.survivors(batch_size)
    if "params" not in run:
        raise NoAnswer(NOT_APPLICABLE, "the run kept no parameters")
    window = evidence.window(batch_size)
    steps = np.arange(run.sizes["step"])[window]
    chosen = steps[np.linspace(0, len(steps) - 1, SNAPSHOTS).astype(int)]
    rng = np.random.default_rng(0)
    margins = []
    for q in chosen:
        for r in range(run.sizes["replica"]):
            theta = np.ascontiguousarray(run.params.values[r, q])
            grown, sharpness = growth(evidence.model, theta, evidence.step_size, batch_size, evidence.sampling, rng)
            margin = grown - (1 - evidence.step_size * sharpness) ** 2
            margins.append(0.0 if abs(margin) <= ROUNDING * (1 + grown) else margin)
    return Estimate(min(margins), min(margins), max(margins))  # holds at every point, or fails at every one


GRADIENT_GROWTH = Prediction(
    name="B10",
    title="Theorem 1: same-batch gradients grow by at least (1 - eta BS)^2",
    statement=(
        "Mean growth of |grad L_B|^2 in a step along g_B, less (1 - eta BS)^2 of the same batches, is nowhere negative "
        "(exact on quadratics); the interval is from the least to the largest of all points."
    ),
    formula=r"\frac{E_B|\nabla L_B(\theta-\eta g_B)|^2}{E_B|g_B|^2} \ge (1-\eta\mathrm{BS})^2",
    reference="Andreyev and Beneventano 2024, Theorem 1; constants and proof: this project",
    applies="entry into EoSS; no momentum",
    quantity="least growth less (1 - eta BS)^2",
    band=(0.0, np.inf),
    evaluate=evaluate,
    same_within=np.inf,
)
