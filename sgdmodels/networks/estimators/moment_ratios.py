r"""Batch Sharpness, IAS and GNI at every batch size from the six moments, with standard errors and intervals.

.. math:: \mathrm{BS}_R = \frac{E[g_B^TM_Bg_B]}{E|g_B|^2}, \qquad \mathrm{IAS} = \frac{E[g_B^T\bar Mg_B]}{E|g_B|^2},
          \qquad \mathrm{GNI} = \frac{E[g_B^T\bar Mg_B]}{|\bar g|^2}

Each expectation is linear in the moments; standard errors of ratios are by the delta method, intervals by Fieller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...arguments import FloatArray, integer, one_of
from ...sampling import SCHEMES
from .intervals import LEVEL, Estimate, ratio_estimate, student_quantile
from .population_moments import expectation_weights
from .sample_moments import SampleMoments

GRADIENT, CURVATURE, INTERACTION, MEAN = range(4)


class MomentRatios(NamedTuple):
    """Six estimates, each (batch_sizes,): three batch expectations and the three ratios made of them."""

    gradient: Estimate  # E|g_B|^2
    curvature: Estimate  # E[g_B' M_B g_B]
    interaction: Estimate  # E[g_B' Mbar g_B]
    batch_sharpness: Estimate
    ias: Estimate
    gni: Estimate


def moment_ratios(
    moments: SampleMoments, batch_sizes: Sequence[int], sampling: str = "without_replacement", level: float = LEVEL
) -> MomentRatios:
    """The batch expectations and their ratios for batches drawn from the whole population, 1 <= b <= n.

    NaN where the estimate of a denominator is not positive. Raises InvalidArgument for other batch sizes.

    >>> exact = SampleMoments(np.array([32.5, 21.25, 21.25, 15.625, 8.5, 6.25]), np.zeros((6, 6)), 2, 2, np.inf)
    >>> moment_ratios(exact, [2]).batch_sharpness.value.tolist()  # g = M = 1, 4: the full batch has M = 2.5
    [2.5]
    """
    one_of("sampling", sampling, SCHEMES)
    n = moments.population
    sizes = [integer("batch_size", b, 1, n, why="(the number of samples)") for b in batch_sizes]
    full = np.eye(6)[5:]
    weights = np.array([np.vstack([expectation_weights(n, b, sampling), full]) for b in sizes])  # (sizes, 4, 6)
    values = weights @ moments.values
    covariance = weights @ moments.covariance @ weights.transpose(0, 2, 1)

    def mean(which: int) -> Estimate:
        return mean_estimate(
            values[:, which], covariance[:, which, which], student_quantile(moments.degrees_of_freedom, level)
        )

    def ratio(top: int, bottom: int) -> Estimate:
        pair = covariance[:, [[top], [bottom]], [top, bottom]]
        return ratio_estimate(values[:, top], values[:, bottom], pair, moments.degrees_of_freedom, level)

    return MomentRatios(
        mean(GRADIENT), mean(CURVATURE), mean(INTERACTION),
        ratio(CURVATURE, GRADIENT), ratio(INTERACTION, GRADIENT), ratio(INTERACTION, MEAN),
    )  # fmt: skip


def mean_estimate(value: FloatArray, variance: FloatArray, quantile: float) -> Estimate:
    """A mean with the symmetric interval of `quantile` standard errors."""
    error = np.sqrt(np.maximum(variance, 0.0))
    return Estimate(value, error, value - quantile * error, value + quantile * error)
