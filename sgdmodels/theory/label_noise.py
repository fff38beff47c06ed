r"""What fresh label noise adds to the gradient noise of least squares: a covariance, and nothing to stability.

With targets :math:`y_i + \sigma\varepsilon_i`, drawn anew for every sample of every batch, the batch gradient is that
of SGD less :math:`\tfrac\sigma b\sum_{i\in B}\varepsilon_ia_i`, of covariance

.. math:: \frac{\sigma^2}{b}\,\frac1n\sum_i a_ia_i^T

in every sampling scheme. It does not depend on the parameters, so the homogeneous second-moment map and its edge are
SGD's. Source: Blanc et al. 2020 (the dynamics); independence of the noise from the batch.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, real


def label_noise(directions: ArrayLike, batch_size: int, scale: float) -> FloatArray:
    """Covariance (d, d) of the gradient noise of labels with noise of standard deviation `scale`.

    `directions` (n, d): the gradients a_i of the predictions. The argument `additive` of `second_moment_map` and
    `stationary_moment`. Raises InvalidArgument.

    >>> label_noise([[2.0], [0.0]], batch_size=2, scale=3.0).tolist()  # 9 / 2 * (4 + 0) / 2
    [[9.0]]
    """
    a = float_array("directions", directions, ("samples", "d"))
    b = integer("batch_size", batch_size, 1, len(a), "(the number of samples)")
    covariance: FloatArray = real("scale", scale) ** 2 / (b * len(a)) * a.T @ a
    return covariance
