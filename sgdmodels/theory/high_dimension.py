r"""High-dimensional approximations of the mean-square edge of finite data, with their errors against the exact edge.

They see the data through the spectrum of the mean Hessian only:

.. math:: \sum_i\frac{\eta\lambda_i}{b(2-\eta\lambda_i)} = 1, \qquad
          \sum_i\frac{\eta\lambda_i}{2b-\eta(b+1)\lambda_i} = 1, \qquad \frac{\eta\,\mathrm{tr}\bar H}{2b} = 1,

the K criterion of the Volterra recursion, Gaussian data with that spectrum, and homogenised SGD. All assume batches of
fresh samples (so with replacement) and Hessians of rank one; errors of the first two vanish as the dimension grows with
the number of samples if no sample stands out. Homogenised SGD is a diffusion in continuous time: its error vanishes
only where the edge lies far below 2 / lambda_1. Source: Paquette et al. 2021; Agarwala and Pennington 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .mean_square import max_step_size
from .pencil import hessian_population
from .volterra import gaussian_max_step_size, homogenized_max_step_size, volterra_max_step_size

ROUNDING = 1e-12
APPROXIMATIONS = {
    "volterra": volterra_max_step_size,
    "gaussian": gaussian_max_step_size,
    "homogenized": homogenized_max_step_size,
}


@dataclass(frozen=True)
class ApproximateEdge:
    """The edge that the approximation `name` gives, and the `exact` mean-square edge of the data."""

    name: str
    step_size: float
    exact: float

    @property
    def relative_error(self) -> float:
        """step_size / exact - 1: positive where the approximation promises too much."""
        return self.step_size / self.exact - 1


def high_dimensional_edges(
    hessians: ArrayLike, batch_size: int, sampling: str = "with_replacement"
) -> tuple[ApproximateEdge, ...]:
    r"""The approximations "volterra" (K criterion), "gaussian" and "homogenized" next to the exact edge.

    `hessians` (n, d, d), or a_i (n, d) for :math:`H_i = a_ia_i^T`; positive semi-definite. `sampling` is that of the
    exact edge: for anything but ``"with_replacement"`` the approximations know nothing of it.

    Raises InvalidArgument, NotConverged.

    >>> for edge in high_dimensional_edges([[1.0]], batch_size=1):  # gradient descent, exact edge 2
    ...     print(edge.name, round(edge.step_size, 12), round(edge.relative_error, 12))
    volterra 1.0 -0.5
    gaussian 0.666666666667 -0.666666666667
    homogenized 2.0 0.0
    """
    spectrum = np.linalg.eigvalsh(hessian_population(hessians).mean)
    spectrum = np.where(abs(spectrum) <= ROUNDING * abs(spectrum).max(), 0.0, spectrum)
    exact = max_step_size(hessians, batch_size, sampling)
    return tuple(ApproximateEdge(name, edge(spectrum, batch_size), exact) for name, edge in APPROXIMATIONS.items())
