r"""The exact second-moment recursion of SGD on quadratics, additive noise included.

With :math:`z = (\theta, 1)` and :math:`A_i = \begin{pmatrix} H_i & -H_ic_i\\ 0 & 0\end{pmatrix}`, a step is
:math:`z^+ = (I - \eta A_B) z`, so :math:`M = E[zz^T]` obeys

.. math:: M^+ = PMP^T + \eta^2 c_2\Big[\tfrac1n\sum A_iMA_i^T - \bar AM\bar A^T\Big], \qquad P = I - \eta\bar A

for batches that are independent from step to step (raw moments for Bernoulli). It carries mean and covariance at once.
A model that takes m micro-steps of size eta / m with m times the noise variance for each step of SGD (SVAG(m), or
Euler-Maruyama for the SDE with m substeps) obeys the same with eta / m and m c_2, m times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, real
from ..errors import InvalidArgument
from ..sampling import NoiseCoefficients
from .momentum import MomentumMap, checked_momentum
from .pencil import batch_noise, checked_micro_steps, hessian_population, pencil
from .population import Population

FAR_BEYOND = 1e50
LARGEST_LOG = 709.0  # of a number that is not inf


def second_moment_system(hessians: ArrayLike, centers: ArrayLike) -> FloatArray:
    """The augmented matrices A_i, shape (n, d+1, d+1), of `hessians` (n, d, d) and `centers` (n, d).

    >>> second_moment_system([[[2.0]]], [[3.0]]).tolist()
    [[[2.0, -6.0], [0.0, 0.0]]]
    """
    h = float_array("hessians", hessians, ("samples", "d", "d"))
    c = float_array("centers", centers, h.shape[:2])
    system = np.zeros((len(h), h.shape[1] + 1, h.shape[1] + 1))
    system[:, :-1, :-1] = h
    system[:, :-1, -1] = -np.einsum("nij,nj->ni", h, c)
    return system


def micro_noise(noise: NoiseCoefficients, micro_steps: int) -> NoiseCoefficients:
    """The noise of one of `micro_steps` micro-steps that stand for one step of SGD with `noise`: m times its variance.

    c3 is 0, that of a Gaussian (the SDE); second moments never use it. (SVAG(m) has c3 (3m - 1) / 2.)

    >>> micro_noise(NoiseCoefficients(0.25, 0.1), 4)
    NoiseCoefficients(c2=1.0, c3=0.0, raw=False)
    """
    return NoiseCoefficients(integer("micro_steps", micro_steps, 1) * noise.c2, 0.0, noise.raw)


def second_moment_map(
    system: ArrayLike,
    step_size: float,
    noise: NoiseCoefficients,
    micro_steps: int = 1,
    *,
    additive: ArrayLike | None = None,
) -> Callable[[FloatArray], FloatArray]:
    """The function M -> M after one step of SGD, or after the `micro_steps` micro-steps that stand for one.

    `system` (n, d+1, d+1) as of `second_moment_system`, `noise` that of an SGD step; `additive` (d, d): covariance of
    further gradient noise in an SGD step, whatever the parameters (`label_noise`). Arguments are checked once, here;
    the function takes a float64 array (d+1, d+1) and costs O(n d^3), or O(n d^2) if all H_i have rank one.

    >>> system = second_moment_system([[[1.0]], [[3.0]]], [[0.0], [0.0]])
    >>> half = second_moment_map(system, 0.1, NoiseCoefficients(1.0, 1.0), micro_steps=2)
    >>> round(float(half(np.diag([1.0, 1.0]))[0, 0]), 12)  # (0.9^2 + 2 * 0.05^2)^2
    0.664225
    """
    population = Population.of(checked_system(system))
    mean = population.mean
    micro = micro_noise(checked_noise(noise), micro_steps)
    h = real("step_size", step_size) / micro_steps
    step = np.eye(len(mean)) - h * mean
    constant = np.zeros_like(mean)
    if additive is not None:
        constant[:-1, :-1] = micro_steps * h**2 * covariance("additive", additive, len(mean) - 1)

    def advance(moment: FloatArray) -> FloatArray:
        for _ in range(micro_steps):
            centre = 0.0 if noise.raw else mean @ moment @ mean.T
            spread = population.sandwich(moment) - centre
            moment = step @ moment @ step.T + h**2 * micro.c2 * spread + constant
        return moment

    return advance


def checked_system(system: Any) -> FloatArray:
    """`system` as augmented matrices (n, d+1, d+1) whose last rows are zero."""
    a = float_array("system", system, ("samples", "d+1", "d+1"))
    if a.shape[1] != a.shape[2] or a.shape[1] < 2 or a[:, -1].any():
        raise InvalidArgument(
            f"system must have shape (samples, d+1, d+1) and zeros in the last rows, got shape {a.shape}; build it "
            "with second_moment_system(hessians, centers)"
        )
    return a


def checked_noise(noise: Any) -> NoiseCoefficients:
    """`noise` if it is that of a sampling scheme."""
    if not isinstance(noise, NoiseCoefficients):
        raise InvalidArgument(
            f"noise must be NoiseCoefficients, got {noise!r}; use sgdmodels.sampling.noise_coefficients(samples, "
            "batch_size, sampling)"
        )
    return noise


def covariance(name: str, value: ArrayLike, dim: int) -> FloatArray:
    """`value` as a symmetric matrix without negative variances."""
    matrix = float_array(name, value, (dim, dim))
    size = abs(matrix).max()
    if abs(matrix - matrix.T).max() > 1e-9 * size or np.linalg.eigvalsh((matrix + matrix.T) / 2)[0] < -1e-9 * size:
        raise InvalidArgument(f"{name} must be a covariance, symmetric and without negative eigenvalues")
    return (matrix + matrix.T) / 2


def second_moment_step(moment: ArrayLike, system: ArrayLike, step_size: float, noise: NoiseCoefficients) -> FloatArray:
    """M after one step of SGD from M = E[zz'], shape (d+1, d+1), never forming a Kronecker product.

    >>> from sgdmodels.sampling import noise_coefficients
    >>> system = second_moment_system([[[1.0]], [[3.0]]], [[0.0], [0.0]])
    >>> moment = second_moment_step(np.diag([1.0, 1.0]), system, 0.1, noise_coefficients(2, 1))
    >>> round(float(moment[0, 0]), 12)  # E[(1 - 0.1 h)^2]
    0.65
    """
    advance = second_moment_map(system, step_size, noise)
    return advance(float_array("moment", moment, np.shape(system)[1:]))


def second_moment_radius(
    hessians: ArrayLike,
    step_size: float,
    batch_size: int,
    sampling: str = "without_replacement",
    ell: float = 1,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> float:
    r"""Growth factor of second moments per SGD step around a frozen quadratic: below 1 iff the step size is stable.

    .. math:: \rho = \Big(1 + \tfrac{\eta\mu}{\ell}\Big)^\ell, \qquad \mu = \lambda_{\max}(-2C + \eta D_\ell)

    is the spectral radius of the homogeneous second-moment map (its ell-th power for SVAG(ell), e^(eta mu) for the
    SDE, ell = math.inf); with momentum, that of parameters and velocity together (`momentum`). Additive noise adds the
    eigenvalue 1 of the stationary law: the affine recursion converges iff the radius is below 1. An oscillation at a
    checkpoint with these per-sample `hessians` (n, d, d), or a_i (n, d) for a_i a_i', is of type 1, a stationary
    wobble, iff the radius is below 1, and of type 2, an instability, otherwise. Directions without positive mean
    curvature are left out, as in `mean_square_sharpness`: with them the radius is at least 1 at every step size.

    Raises InvalidArgument, NotConverged.

    >>> round(second_moment_radius([[[1.0]], [[3.0]]], 0.1, batch_size=1), 12)  # E[(1 - 0.1 h)^2]
    0.65
    >>> round(second_moment_radius([[[1.0]], [[1.0]]], 1.0, batch_size=1, momentum=0.25), 12)  # beta: |roots|^2
    0.25
    """
    population = hessian_population(hessians)
    eta = real("step_size", step_size, open_low=True)
    micro_steps = checked_micro_steps("ell", ell)
    optimiser = checked_momentum(momentum, nesterov, micro_steps)
    system = pencil(population, batch_noise(population, batch_size, sampling), micro_steps)
    if optimiser is not None:
        if eta * system.scale > FAR_BEYOND:
            raise InvalidArgument(
                f"step_size must not be more than {FAR_BEYOND:g} / lambda_max with momentum, got {eta:.6g} at "
                f"lambda_max = {system.scale:.6g}; the radius there is infinite for all purposes"
            )
        return MomentumMap(system, optimiser).growth_factor(eta * system.scale)
    return growth_factor(eta * system.growth(eta), micro_steps)


def growth_factor(growth: float, micro_steps: float) -> float:
    """(1 + growth / m)^m for m micro-steps, e^growth for m = inf; inf beyond the largest float."""
    if micro_steps < math.inf:
        share = growth / micro_steps
        if share <= -1:  # by rounding: the factor of a micro-step is not negative
            return 0.0
        growth = micro_steps * math.log1p(share)
    return math.exp(growth) if growth < LARGEST_LOG else math.inf
