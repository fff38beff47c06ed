r"""The mean-square edge on quadratics: exact for every batch size, for SGD and for its models SVAG and the SDE.

.. math:: S_{ms} = \lambda_{\max}(C^{-1}D_\ell), \quad C = \tfrac12(\bar H\otimes I + I\otimes\bar H), \quad
          D_\ell = \tfrac1\ell\bar H\otimes\bar H + c_2\tfrac1n\textstyle\sum (H_i-\bar H)\otimes(H_i-\bar H)

(raw :math:`H_i\otimes H_i` for Bernoulli batches). SVAG(ell) takes ell micro-steps of size eta / ell with ell times the
noise variance for each step of SGD; ell = 1 is SGD, where :math:`D_1 = E_B[H_B\otimes H_B]`, ell = inf the SDE, which
has no deterministic edge. All are mean-square stable at an interpolating minimum iff eta S_ms < 2. Euler-Maruyama
with ell substeps has the second moments of SVAG(ell), hence its edge. Source: Mulayoff and Michaeli 2024 for ell = 1.

Hessians are given as matrices (n, d, d), or, where they are a_i a_i' (least squares), as a_i (n, d); then n = d = 2000
takes half a minute on one core, and memory for a few arrays of d^2 numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import one_of, real
from ..errors import InvalidArgument
from ..sampling import SCHEMES
from .edges import TOLERANCE, sharpness_of
from .epochs import epoch_max_step_size
from .momentum import MomentumMap, checked_momentum
from .pencil import batch_noise, checked_micro_steps, direction_population, hessian_population, pencil


def mean_square_sharpness(
    hessians: ArrayLike,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    ell: float = 1,
    tolerance: float = TOLERANCE,
) -> float:
    """S_ms of per-sample `hessians` at `batch_size`, in units of curvature: the edge is S_ms = 2 / step_size.

    Directions in which the mean Hessian is not positive (relative eigenvalue below 1e-12) are left out: no step size is
    mean-square stable along negative ones. ``"epoch"`` gets the value of ``"without_replacement"``: the correlation
    between the batches of one epoch shifts the true edge (`max_step_size`). `ell` is the number of micro-steps of
    SVAG(ell), an integer or math.inf for the SDE (where S_ms is 0 if there is no noise). `tolerance` is relative.

    Raises InvalidArgument for bad input, NotConverged if the eigen-solver fails.

    >>> round(mean_square_sharpness([[[1.0]], [[3.0]]], batch_size=1), 12)  # E[h^2] / E[h]
    2.5
    >>> round(mean_square_sharpness([[[1.0]], [[3.0]]], batch_size=1, ell=4), 12)  # (E[h]^2 / 4 + Var h) / E[h]
    1.0
    """
    accuracy = real("tolerance", tolerance, 0.0, 0.1, open_low=True)
    return sharpness_of(hessian_population(hessians), batch_size, sampling, ell, accuracy)


def max_step_size(
    hessians: ArrayLike,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    ell: float = 1,
    tolerance: float = TOLERANCE,
) -> float:
    """The exact mean-square edge: the largest stable step size of SGD, with momentum, or of SVAG(ell) and the SDE.

    Without momentum it is 2 / S_ms, and inf for the SDE (ell = math.inf) without noise. ``"epoch"`` takes the product
    over an epoch, by `epoch_max_step_size` (which see: for many samples it samples permutations). `mean_square_edge`
    adds a residual and a bracket. Arguments and errors are those of `mean_square_sharpness`; momentum and ell exclude
    each other.

    >>> round(max_step_size([[[1.0]], [[3.0]]], batch_size=2), 12)
    1.0
    >>> round(max_step_size([[[1.0]], [[3.0]]], batch_size=2, momentum=0.5), 12)  # 2 (1 + beta) / lambda
    1.5
    >>> max_step_size([[[1.0]], [[3.0]]], batch_size=2, ell=math.inf)
    inf
    """
    micro_steps = checked_micro_steps("ell", ell)
    optimiser = checked_momentum(momentum, nesterov, micro_steps)
    accuracy = real("tolerance", tolerance, 0.0, 0.1, open_low=True)
    if one_of("sampling", sampling, SCHEMES) == "epoch":
        if micro_steps != 1:
            raise InvalidArgument(
                f"ell must be 1 with epochs, got ell={ell}: SVAG and the SDE have independent batches"
            )
        return epoch_max_step_size(hessians, batch_size, momentum=momentum, nesterov=nesterov).step_size
    if optimiser is not None:
        population = hessian_population(hessians)
        system = pencil(population, batch_noise(population, batch_size, sampling))
        return MomentumMap(system, optimiser).edge(accuracy)[0] / system.scale
    sharpness = mean_square_sharpness(hessians, batch_size, sampling, ell=ell, tolerance=accuracy)
    return 2.0 / sharpness if sharpness > 0 else math.inf


def edge_sharpness(directions: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    r"""Where the mean-square edge holds lambda_max, as eta lambda_max / 2, when H_i is proportional to a_i a_i'.

    .. math:: \frac{\eta\lambda_{\max}}{2} = \frac{\lambda_1(\hat H)}{S_{ms}(\hat H, b)}, \qquad
              \hat H = \tfrac1n\textstyle\sum a_ia_i^T

    The closed-form prediction for recipes A, C and P: their curvature is one moving scalar times a_i a_i', and
    the plateau sits where S_ms = 2 / eta. `directions` has shape (n, d); 1 at the full batch.

    >>> round(edge_sharpness(np.sqrt([[1.0], [3.0]]), batch_size=1), 12)  # 2 / 2.5
    0.8
    """
    population = direction_population(directions)
    top = np.linalg.eigvalsh(population.mean)[-1]
    return float(top) / sharpness_of(population, batch_size, sampling, 1, TOLERANCE)
