"""B6: GNI is 2/eta wherever the run wobbles: a certificate of oscillation, not of an edge.

On quadratics eta GNI / 2 - 1 = (change of E[L]) / (eta sum of |grad L|^2) over any stretch of steps. So that quotient
says whether the loss still falls: it needs no level of the loss, which may be negative, and at stationarity it vanishes
with the length of the stretch.
"""

import numpy as np

from ..arguments import FloatArray
from ..detectors import ratio_of_time_averages
from ..distances import Estimate
from .base import INCONCLUSIVE, Evidence, NoAnswer, Prediction, mean_interval, without_momentum

NET = 0.05  # change of the loss, in units of what steps along the mean gradient alone would do, that is still a trend


def evaluate(evidence: Evidence, batch_size: int) -> Estimate:
    without_momentum(evidence)
    run = evidence.survivors(batch_size)
    late = run.step.values >= 0.6 * run.step.values[-1]
    squares = np.ascontiguousarray(evidence.records(batch_size, "gradient_norm")[:, late] ** 2)
    interaction = np.ascontiguousarray(evidence.scaled(batch_size, "gni")[:, late]) * squares
    if not squares.max() > 0:
        raise NoAnswer(INCONCLUSIVE, "the mean gradient vanishes")
    steps = run.step.values[late]
    losses, time = evidence.records(batch_size, "loss")[:, late], evidence.step_size * float(steps[-1] - steps[0])
    net = net_change(losses, squares, time)
    if abs(net.value) > NET and not net.low <= 0 <= net.high:
        raise NoAnswer(INCONCLUSIVE, f"not stationary: the loss moves by {net.value:+.2g} of eta sum |grad L|^2")
    return ratio_of_time_averages(interaction, squares, steps)


def net_change(losses: FloatArray, squares: FloatArray, time: float) -> Estimate:
    """Change of the loss over a window, mean over replicas, by time times the mean of |grad L|^2.

    Twice the difference of the means of the halves is that of a line, and robust to noise. One replica: as it is.
    """
    half = losses.shape[1] // 2
    change = 2 * (losses[:, -half:].mean(axis=1) - losses[:, :half].mean(axis=1))
    return mean_interval(change / (time * squares.mean()), exact=True)


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
