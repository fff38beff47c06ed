r"""Second moments and determinants of one step of SGD with or without momentum, :math:`M_B = M_0 + UH_BW`.

.. math:: E[M_BXM_B^T] = \bar MX\bar M^T + c_2U\Big[\tfrac1n\textstyle\sum H_iWXW^TH_i - \bar HWXW^T\bar H\Big]U^T

(the raw sum for Bernoulli batches). It keeps the cone of positive semi-definite matrices, so its spectral radius is an
eigenvalue. Source: theory of the mean-square edge; det M_B by elimination.
"""

from __future__ import annotations

import math
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from ..arguments import FloatArray
from ..errors import NotConverged
from ..sampling import noise_coefficients
from .batch_steps import BatchSteps, Indices, present
from .perron import Map

DENSE_STATE, SLOW_DENSE_STATE = 12, 40
BASES, ACCURACY = ((24, 12), (120, 30)), 1e-10  # sizes of Krylov bases and their restarts
MOST_BATCHES = 2000


def cone_eigenpair(apply: Map, size: int) -> tuple[float, FloatArray]:
    """Spectral radius of a map on symmetric matrices (size, size) that keeps the cone, and its eigenvector.

    Raises NotConverged.
    """
    if size <= DENSE_STATE:
        return dense_eigenpair(apply, size)
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    def product(flat: FloatArray) -> FloatArray:
        x = flat.reshape(size, size)
        return apply((x + x.T) / 2).ravel()

    operator = LinearOperator((size**2, size**2), matvec=product, dtype=np.float64)
    start = np.eye(size).ravel()
    for basis, restarts in BASES:
        try:
            values, vectors = eigs(operator, 2, which="LM", v0=start, ncv=basis, maxiter=restarts, tol=ACCURACY)
            break
        except ArpackNoConvergence:  # with momentum and little noise, many modes decay alike
            if size <= SLOW_DENSE_STATE:
                return dense_eigenpair(apply, size)
    else:
        raise NotConverged(
            f"the growth factor of second moments of a state of size {size} did not converge; are the Hessians badly "
            "scaled?"
        )
    best = perron_index(values)
    mode = vectors[:, best].real.reshape(size, size)
    return float(abs(values[best])), (mode + mode.T) / 2


def dense_eigenpair(apply: Map, size: int) -> tuple[float, FloatArray]:
    """The same from the matrix of the map."""
    values, vectors = np.linalg.eig(symmetric_matrix(apply, size))
    best = perron_index(values)
    mode = np.zeros((size, size))
    mode[np.triu_indices(size)] = vectors[:, best].real
    return float(abs(values[best])), mode + mode.T - np.diag(np.diagonal(mode))


def perron_index(values: NDArray[np.complex128]) -> int:
    """Which eigenvalue is the spectral radius: of those of the largest modulus, the one furthest to the right."""
    size = abs(values)
    return int(np.argmax(np.where(size >= size.max() * (1 - 1e-9), values.real, -np.inf)))


def symmetric_matrix(apply: Map, size: int) -> FloatArray:
    """The matrix of a map on symmetric matrices, in the coordinates of the upper triangle."""
    row, column = np.triu_indices(size)
    columns = []
    for i, j in zip(row, column, strict=True):
        unit = np.zeros((size, size))
        unit[i, j] = unit[j, i] = 1.0
        columns.append(apply(unit)[row, column])
    return np.array(columns).T


def step_blocks(steps_of: BatchSteps, step_size: float) -> tuple[FloatArray, FloatArray]:
    """(M_0, U) of M_B = M_0 + U H_B W, as small matrices that multiply identities; W picks the positions."""
    eta, beta = steps_of.scale * step_size, steps_of.momentum
    if beta == 0:
        return np.eye(1), np.array([-eta])
    if steps_of.nesterov:
        return np.array([[1.0, -(beta**2)], [0.0, beta]]), np.array([-eta * (1 + beta), eta])
    return np.array([[1.0, -beta], [0.0, beta]]), np.array([-eta, eta])


def mean_step(steps_of: BatchSteps, step_size: float) -> FloatArray:
    """E[M_B], (state, state)."""
    d = steps_of.dim
    constant, u = step_blocks(steps_of, step_size)
    step: FloatArray = np.kron(constant, np.eye(d)).astype(np.float64)
    step[:, :d] += np.kron(u[:, None], steps_of.population.mean)
    return step


def step_second_moment(steps_of: BatchSteps, step_size: float, unit: float = 1.0) -> Map:
    """X -> E[M_B X M_B'] / unit^2 of one batch; "epoch" as "without_replacement"."""
    population, d = steps_of.population, steps_of.dim
    noise = noise_coefficients(steps_of.samples, steps_of.batch_size, steps_of.sampling)
    u = step_blocks(steps_of, step_size)[1] / unit
    mean = population.mean
    step = mean_step(steps_of, step_size) / unit

    def apply(x: FloatArray) -> FloatArray:
        part = x[:d, :d]
        spread = population.sandwich(part) - (0.0 if noise.raw else mean @ part @ mean)
        return step @ x @ step.T + noise.c2 * np.kron(np.outer(u, u), spread)

    return apply


def log_determinant(steps_of: BatchSteps, step_size: float) -> float:
    """E log|det M_B|, exact: d log beta for heavy ball; else by enumeration, -inf beyond 2000 different batches."""
    d, beta = steps_of.dim, steps_of.momentum
    if beta > 0 and not steps_of.nesterov:
        return d * math.log(beta)
    drawn = enumerated_batches(steps_of)
    if drawn is None:
        return -math.inf
    batches, weights = drawn
    plain = BatchSteps(steps_of.population, steps_of.scale, steps_of.batch_size, steps_of.sampling)
    sizes = abs(np.linalg.eigvalsh(plain.matrices(batches, step_size)))
    zero = 64 * np.finfo(np.float64).eps * (1 + steps_of.scale * step_size)
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(sizes <= zero, 0.0, sizes)).sum(axis=1)
    return float(weights @ logs) + (d * math.log(beta) if beta > 0 else 0.0)


def enumerated_batches(steps_of: BatchSteps) -> tuple[Indices, FloatArray] | None:
    """Every batch, filled up with n to one width, and its probability; None if there are too many."""
    n, b = steps_of.samples, steps_of.batch_size
    if steps_of.deterministic:
        return np.arange(b)[None], np.ones(1)
    if steps_of.sampling == "with_replacement":
        if math.comb(n + b - 1, b) > MOST_BATCHES:
            return None
        batches = np.array(list(combinations_with_replacement(range(n), b)))
        repeats = [math.prod(map(math.factorial, np.unique(row, return_counts=True)[1].tolist())) for row in batches]
        return batches, np.array([math.factorial(b) / (same * n**b) for same in repeats])
    if steps_of.sampling == "bernoulli":
        if n > math.log2(MOST_BATCHES):
            return None
        chosen = (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1
        size = chosen.sum(axis=1)
        return present(chosen), (b / n) ** size * (1 - b / n) ** (n - size)
    if math.comb(n, b) > MOST_BATCHES:
        return None
    batches = np.array(list(combinations(range(n), b)))
    return batches, np.full(len(batches), 1 / len(batches))
