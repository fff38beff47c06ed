r"""Batch Sharpness as a ratio of means, exact for every batch size.

.. math:: \mathrm{BS}(\theta) = \frac{E_B[g_B^T H_B g_B]}{E_B|g_B|^2}

The expected loss change of a step on its own batch (of a quadratic) is :math:`-\eta E|g_B|^2(1 -
\eta\,\mathrm{BS}/2)`: it vanishes at BS = 2/eta.
Source: Andreyev and Beneventano 2024 (the appendix's definition; the main text has the mean of the ratio,
`batch_sharpness_mean_ratio`).
"""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from .base import Metric, Snapshots
from .moments import batch_expectations


def ratio_of_means(snapshots: Snapshots) -> FloatArray:
    moments = batch_expectations(snapshots)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(moments.gradient > 0, moments.curvature / moments.gradient, np.nan)


BATCH_SHARPNESS = Metric(
    "batch_sharpness", "Batch Sharpness E[g'Hg] / E|g|^2", "curvature", ratio_of_means, per_batch_size=True
)
