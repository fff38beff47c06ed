r"""Curvature ratios averaged over a law of the parameters, from its second moments alone.

On quadratics :math:`g_i = G_iz` with :math:`z = (\theta, 1)` and :math:`G_i = (H_i, -H_ic_i)`, so every quantity below
is a trace with :math:`M = E[zz^T]`, batches integrated out by c_2 and c_3. At the stationary law of SGD,

.. math:: \frac{E[g_B^T\bar Hg_B]}{E\|\bar g\|^2} = \frac2\eta \quad\text{for every stable step size and batch size,}

because the mean loss does not change on average. For m micro-steps of size eta / m the ratio is larger by
:math:`(1 - \tfrac1m)\,E[\bar g^T\bar H\bar g] / E\|\bar g\|^2`; m = inf is the SDE.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import float_array
from ..sampling import NoiseCoefficients
from .second_moment import checked_noise, checked_system


@dataclass(frozen=True)
class GradientExpectations:
    """Expectations over parameters and batches; ratios are ratios of expectations, in units of curvature."""

    mean_gradient_square: float  # E |gbar|^2
    batch_gradient_square: float  # E |g_B|^2
    mean_curvature: float  # E gbar' Hbar gbar
    interaction: float  # E g_B' Hbar g_B
    batch_curvature: float  # E g_B' H_B g_B

    @property
    def gni(self) -> float:
        """Gradient-noise interaction E[g_B' Hbar g_B] / E|gbar|^2; nan where the mean gradient vanishes."""
        return self.interaction / self.mean_gradient_square if self.mean_gradient_square > 0 else float("nan")

    @property
    def ias(self) -> float:
        """E[g_B' Hbar g_B] / E|g_B|^2; nan where all gradients vanish."""
        return self.interaction / self.batch_gradient_square if self.batch_gradient_square > 0 else float("nan")

    @property
    def batch_sharpness(self) -> float:
        """Batch Sharpness E[g_B' H_B g_B] / E|g_B|^2; nan where all gradients vanish."""
        return self.batch_curvature / self.batch_gradient_square if self.batch_gradient_square > 0 else float("nan")


def gradient_expectations(moment: ArrayLike, system: ArrayLike, noise: NoiseCoefficients) -> GradientExpectations:
    """Expectations for parameters with second moment `moment` (d+1, d+1) and batches with `noise`.

    `system` (n, d+1, d+1) as of `second_moment_system`. `noise` is that of the batches measured with, whatever model
    of SGD the moment is of. Raises InvalidArgument.

    >>> from sgdmodels.theory import second_moment_system, stationary_moment
    >>> system = second_moment_system([[[1.0]], [[2.0]]], [[-1.0], [1.0]])
    >>> noise = NoiseCoefficients(1.0, 1.0)
    >>> round(gradient_expectations(stationary_moment(system, 0.25, noise), system, noise).gni, 9)  # 2 / 0.25
    8.0
    """
    a = checked_system(system)
    checked_noise(noise)
    m = float_array("moment", moment, a.shape[1:])
    rows = a[:, :-1]
    mean = rows.mean(axis=0)
    h = mean[:, :-1]
    gradient = mean @ m
    deviation = rows if noise.raw else rows - mean
    curvature = deviation[:, :, :-1]
    product = deviation @ m
    n = len(a)
    square = float(np.vdot(gradient, mean))
    variance = float(np.vdot(product, deviation)) / n
    mean_curvature = float(np.vdot(h @ gradient, mean))
    noise_curvature = float(np.vdot(h @ product, deviation)) / n
    cross = float(np.vdot(curvature @ gradient, deviation)) / n
    cube = float(np.vdot(curvature @ product, deviation)) / n
    interaction = mean_curvature + noise.c2 * noise_curvature
    return GradientExpectations(
        mean_gradient_square=square,
        batch_gradient_square=square + noise.c2 * variance,
        mean_curvature=mean_curvature,
        interaction=interaction,
        batch_curvature=interaction + 2 * noise.c2 * cross + noise.c3 * cube,
    )
