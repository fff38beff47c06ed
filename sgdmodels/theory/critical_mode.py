r"""The critical mode of the mean-square edge, and what Batch Sharpness reads on it.

At eta S_ms = 2 second moments stop contracting along one positive semi-definite matrix X*, the Perron matrix of the
pencil: :math:`E_B[H_BX^*H_B] = S_{ms}\tfrac12(\bar HX^* + X^*\bar H)`. For an error x with :math:`E[xx^T] = X^*` and
:math:`g_B = H_Bx`, Batch Sharpness is

.. math:: \frac{E[g_B^TH_Bg_B]}{E\|g_B\|^2} = \frac{\mathrm{tr}(E[H_B^3]X^*)}{\mathrm{tr}(E[H_B^2]X^*)}
          \;\ge\; S_{ms} \quad\text{(all } H_i \text{ positive semi-definite)},

.. math:: E[H_B^2] = \bar H^2 + c_2\overline{\Delta\Delta}, \qquad E[H_B^3] = \bar H^3 + c_2(\bar H\,\overline{\Delta
          \Delta} + \overline{\Delta\bar H\Delta} + \overline{\Delta\Delta}\,\bar H) + c_3\overline{\Delta\Delta\Delta}

with bars for means over samples and :math:`\Delta_i = H_i - \bar H` (H_i itself for Bernoulli batches). So Batch
Sharpness reaches 2 / eta no later than mean-square instability; the ratio of the two is a spectral-spread factor.
Source: moment log-convexity batch by batch, Cauchy-Schwarz over batches, and the trace of the Perron equation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..sampling import NoiseCoefficients
from .pencil import batch_noise, direction_population, hessian_population, pencil
from .population import Population


def critical_mode(
    hessians: ArrayLike, batch_size: int, sampling: str = "without_replacement"
) -> tuple[float, FloatArray]:
    """(S_ms, X*) of per-sample `hessians` (n, d, d): X* (d, d) is positive semi-definite with trace 1.

    Where the top eigenvalue is multiple, X* is what power iteration from the identity would find. Directions without
    positive mean curvature are left out. Raises InvalidArgument, NotConverged.

    >>> critical_mode([[[2.0, 0.0], [0.0, 1.0]]], batch_size=1)[1].round(9).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    population = hessian_population(hessians)
    return perron_matrix(population, batch_noise(population, batch_size, sampling))


def perron_matrix(population: Population, noise: NoiseCoefficients) -> tuple[float, FloatArray]:
    """S_ms and X* in the original coordinates."""
    system = pencil(population, noise)
    sharpness, mode = system.top()
    values, vectors = np.linalg.eigh(mode)
    factor = (system.vectors @ vectors) * np.sqrt(np.maximum(values, 0))  # negative ones are rounding
    matrix = factor @ factor.T
    return sharpness, matrix / np.trace(matrix)


def batch_moments(population: Population, noise: NoiseCoefficients) -> tuple[FloatArray, FloatArray]:
    """E[H_B^2] and E[H_B^3] of symmetric matrices, each (d, d)."""
    mean = population.mean
    square, middle, cube = population.sandwich(np.eye(len(mean))), population.sandwich(mean), population.cube()
    if not noise.raw:  # from moments about zero to moments about the mean
        power = mean @ mean @ mean
        cube = cube - square @ mean - mean @ square - middle + 2 * power
        square, middle = square - mean @ mean, middle - power
    second = mean @ mean + noise.c2 * square
    third = mean @ mean @ mean + noise.c2 * (mean @ square + middle + square @ mean) + noise.c3 * cube
    return second, third


def sharpness_pair(population: Population, batch_size: int, sampling: str) -> tuple[float, float]:
    """Batch Sharpness on the critical mode, and S_ms."""
    noise = batch_noise(population, batch_size, sampling)
    scale = float(abs(population.mean).max()) or 1.0  # in units of it, third powers stay in range
    population = population.scaled(1 / scale)
    sharpness, mode = perron_matrix(population, noise)
    second, third = batch_moments(population, noise)
    return scale * float(np.vdot(third, mode) / np.vdot(second, mode)), scale * sharpness


def critical_batch_sharpness(hessians: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    """Batch Sharpness (ratio of expectations) averaged over the critical mode, in units of curvature.

    `hessians` has shape (n, d, d). At least S_ms if all are positive semi-definite. Raises InvalidArgument,
    NotConverged.

    >>> round(critical_batch_sharpness([[[1.0]], [[3.0]]], batch_size=1), 12)  # E[h^3] / E[h^2] = 14 / 5
    2.8
    """
    return sharpness_pair(hessian_population(hessians), batch_size, sampling)[0]


def batch_sharpness_factor(directions: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    """The spectral-spread factor: critical Batch Sharpness over S_ms when H_i is proportional to a_i a_i'.

    At least 1. `directions` has shape (n, d); the scale of the curvature cancels. 1 at the full batch, and for equal
    norms at batch size 1. Raises InvalidArgument, NotConverged.

    >>> round(batch_sharpness_factor(np.sqrt([[1.0], [3.0]]), batch_size=1), 12)  # 2.8 / 2.5
    1.12
    """
    sharpness, edge = sharpness_pair(direction_population(directions), batch_size, sampling)
    return sharpness / edge
