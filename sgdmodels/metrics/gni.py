r"""Gradient-noise interaction.

.. math:: \mathrm{GNI}(\theta) = \frac{E_B[g_B^T \bar H g_B]}{|\bar g|^2}

On quadratics the ratio of *time averages* is 2/eta at stationarity for every stable step size: it certifies
oscillation, not an edge. Average numerator and denominator apart: the pointwise ratio diverges where the mean gradient
vanishes (NaN at zero).
Source: Andreyev and Beneventano 2024.
"""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from .base import Metric, Snapshots
from .moments import S2, batch_expectations


def gradient_noise_interaction(snapshots: Snapshots) -> FloatArray:
    mean_square = snapshots.moments[..., S2, None]
    interaction = batch_expectations(snapshots).interaction
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean_square > 0, interaction / mean_square, np.nan)


GNI = Metric(
    "gni", "gradient-noise interaction E[g'Hbar g] / |E g|^2", "curvature", gradient_noise_interaction,
    per_batch_size=True,
)  # fmt: skip
