r"""The second moments of the SDE of SGD on quadratics, exactly: the limit of infinitely many micro-steps.

For :math:`d\theta = -\nabla L\,dt + \sqrt{\eta\Sigma_b(\theta)}\,dW` (order-1 stochastic modified equation),
:math:`M = E[zz^T]` in the notation of `second_moment` obeys

.. math:: \dot M = -(\bar AM + M\bar A^T) + \eta c_2\Big[\tfrac1n\sum A_iMA_i^T - \bar AM\bar A^T\Big]

(raw moments for Bernoulli). Times are given in SGD steps: eta units of the time of the SDE each. There is no
deterministic edge: second moments are stable iff 2 / eta exceeds S_ms for ell = inf. Source: Ito's formula; Li, Tai
and E 2017 for the equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, real
from ..sampling import NoiseCoefficients
from .population import Population
from .second_moment import checked_noise, checked_system
from .stationary import fixed_point

DENSE_ORDER = 1000  # of the generator on symmetric matrices; d = 43


def sde_second_moment(
    moment: ArrayLike, system: ArrayLike, step_size: float, noise: NoiseCoefficients, time: float
) -> FloatArray:
    """M of the SDE (d+1, d+1) after `time` SGD steps, which may be fractional, from M = E[zz'] at `moment`.

    `system` (n, d+1, d+1) as of `second_moment_system`, `noise` that of one SGD step. Exact up to rounding: the matrix
    exponential of the generator, up to d = 43 as a dense matrix, beyond by its action. Raises InvalidArgument.

    >>> from sgdmodels.theory import second_moment_system
    >>> system = second_moment_system([[[1.0]], [[3.0]]], [[0.0], [0.0]])
    >>> after = sde_second_moment(np.diag([1.0, 1.0]), system, 0.1, NoiseCoefficients(1.0, 1.0), time=5)
    >>> bool(np.isclose(after[0, 0], np.exp(0.5 * (-2 * 2 + 0.1 * 1))))  # t = 0.5, growth -2 a + eta s^2
    True
    """
    a = checked_system(system)
    checked_noise(noise)
    m = float_array("moment", moment, a.shape[1:])
    eta = real("step_size", step_size, open_low=True)
    duration = eta * real("time", time)
    population = Population.of(a)
    p = len(m)
    if p * (p + 1) // 2 <= DENSE_ORDER:
        import scipy.linalg

        i, j = np.tril_indices(p)
        after = scipy.linalg.expm(duration * symmetric_matrix(a, eta, noise)) @ ((m + m.T) / 2)[i, j]
        result = np.empty((p, p))
        result[i, j] = result[j, i] = after
        return result
    return exponential_action(population, eta, noise, duration, (m + m.T) / 2)


def sde_stationary_moment(system: ArrayLike, step_size: float, noise: NoiseCoefficients) -> FloatArray:
    """M (d+1, d+1) of the SDE's stationary law, M[-1, -1] = 1; arguments and errors as of `stationary_moment`.

    >>> from sgdmodels.theory import second_moment_system
    >>> system = second_moment_system([[[1.0]], [[1.0]]], [[-1.0], [1.0]])  # noise of variance 1
    >>> round(float(sde_stationary_moment(system, 0.5, NoiseCoefficients(1.0, 1.0))[0, 0]), 12)  # 0.5 / 2
    0.25
    """
    return fixed_point(system, step_size, noise, math.inf)


def generator(population: Population, step_size: float, noise: NoiseCoefficients) -> Callable[[FloatArray], FloatArray]:
    """M -> dM/dt; of the transposed population, its adjoint."""
    mean = population.mean

    def rate(moment: FloatArray) -> FloatArray:
        centre = 0.0 if noise.raw else mean @ moment @ mean.T
        drift = mean @ moment + moment @ mean.T
        return step_size * noise.c2 * (population.sandwich(moment) - centre) - drift

    return rate


def symmetric_matrix(system: FloatArray, step_size: float, noise: NoiseCoefficients) -> FloatArray:
    """The generator as a matrix on the lower triangles of symmetric matrices."""
    n, p, _ = system.shape
    mean, eye = system.mean(axis=0), np.eye(p)
    flat = system.reshape(n, p * p)
    gram = (flat.T @ flat / n).reshape(p, p, p, p)  # [i, k, j, l]: the mean of A_ik A_jl
    if not noise.raw:
        gram = gram - np.multiply.outer(mean, mean)
    drift = np.multiply.outer(mean, eye) + np.multiply.outer(eye, mean)
    full = (step_size * noise.c2 * gram - drift).transpose(0, 2, 1, 3)  # [i, j, k, l]
    i, j = np.tril_indices(p)
    lower = full[i, j]
    return lower[:, i, j] + np.where(i == j, 0.0, lower[:, j, i])


def exponential_action(
    population: Population, step_size: float, noise: NoiseCoefficients, duration: float, moment: FloatArray
) -> FloatArray:
    """exp(duration * generator) applied to `moment` without forming a matrix."""
    import scipy.sparse.linalg as sparse

    p = len(moment)
    forward = generator(population, step_size, noise)
    backward = generator(population.transposed(), step_size, noise)

    def flattened(rate: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray], FloatArray]:
        return lambda x: duration * rate(x.reshape(p, p)).ravel()

    operator = sparse.LinearOperator((p * p, p * p), flattened(forward), flattened(backward), dtype=np.float64)
    # The trace would only shift the spectrum for speed; 0 keeps scipy from estimating it at random.
    after = sparse.expm_multiply(operator, moment.ravel(), traceA=0.0).reshape(p, p)
    return (after + after.T) / 2
