r"""Interaction-aware sharpness: the full Hessian along batch gradients.

.. math:: \mathrm{IAS}(\theta) = \frac{E_B[g_B^T \bar H g_B]}{E_B|g_B|^2} \le \lambda_{\max}(\bar H)

Source: Lee and Jang 2023.
"""

from __future__ import annotations

import numpy as np

from ..arguments import FloatArray
from .base import Metric, Snapshots
from .moments import batch_expectations


def interaction_aware_sharpness(snapshots: Snapshots) -> FloatArray:
    moments = batch_expectations(snapshots)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(moments.gradient > 0, moments.interaction / moments.gradient, np.nan)


IAS = Metric(
    "ias", "interaction-aware sharpness E[g'Hbar g] / E|g|^2", "curvature", interaction_aware_sharpness,
    per_batch_size=True,
)  # fmt: skip
