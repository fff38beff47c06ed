"""B6: GNI is 2/eta wherever the run wobbles: a certificate of oscillation, not of an edge."""

import numpy as np

from ..detectors import ratio_of_time_averages
from ..distances import Estimate
from .base import INCONCLUSIVE, Evidence, NoAnswer, Prediction, without_momentum


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run = evidence.survivors(batch_size)
    late = run.step.values >= 0.6 * run.step.values[-1]
    squares = np.ascontiguousarray(evidence.records(batch_size, "gradient_norm")[:, late] ** 2)
    interaction = np.ascontiguousarray(evidence.scaled(batch_size, "gni")[:, late]) * squares
    if not squares.max() > 0:
        raise NoAnswer(INCONCLUSIVE, "the mean gradient vanishes")
    return ratio_of_time_averages(interaction, squares, run.step.values[late])


GRADIENT_NOISE_INTERACTION = Prediction(
    name="B6",
    title="GNI is 2/eta",
    statement="The ratio of time averages of E[g_B' H g_B] and |grad L|^2 is 2/eta, at an edge or not.",
    formula=r"\frac\eta2\,\frac{E_\pi E_B[g_B^T\bar Hg_B]}{E_\pi|\bar g|^2} = 1",
    reference="Andreyev and Beneventano 2024; an identity on quadratics at stationarity",
    applies="last 40 % of the run, where the loss no longer falls; no momentum",
    quantity="eta GNI / 2",
    band=(0.95, 1.05),
    evaluate=evaluate,
)
