r"""The stationary law's first two moments, of SGD, SVAG and the SDE on quadratics.

Around the minimum :math:`x^*` of the mean loss the covariance S of the stationary law solves, in the notation of
`pencil` and with the gradient noise :math:`\Sigma^* = \tfrac1n\sum \nabla l_i(x^*)\nabla l_i(x^*)^T`,

.. math:: (2C - \eta D_\ell)(S) = \eta (c_2\Sigma^* + \text{additive noise})

(the fixed point of the second-moment recursion, divided by the step size of a micro-step). Preconditioned by C this is
:math:`1 - \tfrac{\eta}{2}C^{-1/2}D_\ell C^{-1/2}`, positive definite exactly if the model is mean-square stable:
conjugate gradients solve it for every dimension. With equal Hessians,
:math:`S_{jk} = \eta c_2\Sigma^*_{jk} / (\lambda_j + \lambda_k - \tfrac{\eta}{\ell}\lambda_j\lambda_k)`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, real
from ..errors import InvalidArgument, NotConverged
from ..sampling import NoiseCoefficients
from .pencil import checked_micro_steps, hessian_population, pencil
from .second_moment import checked_noise, checked_system, covariance

BACKWARD_ERROR = 1e-12  # what a solution must meet; refinement goes on to rounding
SWEEPS = 4


def stationary_moment(
    system: ArrayLike,
    step_size: float,
    noise: NoiseCoefficients,
    micro_steps: float = 1,
    *,
    additive: ArrayLike | None = None,
) -> FloatArray:
    """M = E[zz'] (d+1, d+1) of the stationary law, M[-1, -1] = 1: the fixed point of `second_moment_map`.

    `system` (n, d+1, d+1) as of `second_moment_system`, with symmetric Hessians; `noise` that of one SGD step, of which
    `micro_steps` micro-steps make one (math.inf for the SDE); `additive` (d, d) as of `second_moment_map`.
    Raises InvalidArgument if there is no such law (mean-square unstable, or a mean Hessian that is not positive
    definite), NotConverged if the solver fails.

    >>> from sgdmodels.theory import second_moment_system
    >>> system = second_moment_system([[[1.0]], [[1.0]]], [[-1.0], [1.0]])  # noise of variance 1
    >>> round(float(stationary_moment(system, 0.5, NoiseCoefficients(1.0, 1.0))[0, 0]), 12)  # 0.5 / (2 - 0.5)
    0.333333333333
    """
    return fixed_point(system, step_size, noise, checked_micro_steps("micro_steps", micro_steps), additive)


def fixed_point(
    system: ArrayLike, step_size: float, noise: NoiseCoefficients, ell: float, additive: ArrayLike | None = None
) -> FloatArray:
    """The stationary moment for `ell` micro-steps, math.inf for the SDE."""
    a = checked_system(system)
    eta = real("step_size", step_size, open_low=True)
    hessians = np.ascontiguousarray(a[:, :-1, :-1])
    operator = pencil(hessian_population(hessians), checked_noise(noise), ell)
    if len(operator.values) < a.shape[1] - 1:
        raise InvalidArgument(
            f"system must have a positive definite mean Hessian, got {len(operator.values)} positive eigenvalues of "
            f"{a.shape[1] - 1}: the other directions have no stationary law; leave them out"
        )
    sharpness = operator.top()[0]
    if eta * sharpness >= 2:
        raise InvalidArgument(
            f"step_size {eta:.6g} is mean-square unstable, second moments grow: it must be below 2 / S_ms = "
            f"{2 / sharpness:.6g}"
        )
    values, vectors, root = operator.scale * operator.values, operator.vectors, operator.root()
    centre = -vectors @ ((vectors.T @ a[:, :-1, -1].mean(axis=0)) / values)
    residuals = (hessians @ centre + a[:, :-1, -1]) @ vectors  # per-sample gradients at the minimum
    # In the units of the pencil, C and D are smaller by `scale` and its square, and eta is larger by `scale`.
    half = operator.scale * eta / 2
    kicks = noise.c2 * residuals.T @ residuals / len(a)
    if additive is not None:
        kicks = kicks + vectors.T @ covariance("additive", additive, len(centre)) @ vectors
    source = eta / (2 * operator.scale) * kicks
    y = solve_positive(lambda y: y - half * root * operator.numerator(root * y), root * source)
    spread = vectors @ (root * y) @ vectors.T
    moment = np.ones(a.shape[1:])
    moment[:-1, :-1] = (spread + spread.T) / 2 + np.outer(centre, centre)
    moment[:-1, -1] = moment[-1, :-1] = centre
    return moment


def solve_positive(apply: Callable[[FloatArray], FloatArray], right: FloatArray) -> FloatArray:
    """x with apply(x) = right for a symmetric positive definite map, to rounding: conjugate gradients, refined."""
    x = np.zeros_like(right)
    size = float(np.linalg.norm(right))
    residual, error = right, size
    for _ in range(SWEEPS):
        correction = conjugate_gradients(apply, residual)
        candidate = right - apply(x + correction)
        if not np.linalg.norm(candidate) < error:
            break
        x, residual, error = x + correction, candidate, float(np.linalg.norm(candidate))
    if error > BACKWARD_ERROR * (size + np.linalg.norm(x)):  # the norm of the map is about 1
        raise NotConverged(
            f"the equation of the stationary moment has a residual of {error / size:.1e} of its right-hand side; "
            "is step_size at the edge?"
        )
    return x


def conjugate_gradients(apply: Callable[[FloatArray], FloatArray], right: FloatArray) -> FloatArray:
    """One run of conjugate gradients from zero, down to 1e-13 of the right-hand side or to the rounding of x."""
    x, residual = np.zeros_like(right), right
    direction, square = residual, float(np.vdot(residual, residual))
    target = 1e-26 * square
    for _ in range(2 * right.size + 20):
        if square <= max(target, 1e-32 * float(np.vdot(x, x))):
            break
        image = apply(direction)
        length = square / float(np.vdot(direction, image))
        x, residual = x + length * direction, residual - length * image
        square, before = float(np.vdot(residual, residual)), square
        direction = residual + (square / before) * direction
    return x
