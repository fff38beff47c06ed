"""Mean-square edges of least squares: `sgdmodels.theory` against ARPACK and cone power iteration with its products."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import scipy.sparse.linalg as sparse

import sgdmodels as sm

TOLERANCE = 1e-6
Product = Callable[[np.ndarray], np.ndarray]


def directions(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d))


def symmetric_product(a: np.ndarray, batch_size: int) -> tuple[Product, np.ndarray]:
    """X -> C^-1/2 D C^-1/2 X in the eigenbasis of the mean, and C^-1/2, entry by entry: O(n d^2) a product."""
    n = len(a)
    c2 = (n - batch_size) / (batch_size * (n - 1))
    values, vectors = np.linalg.eigh(a.T @ a / n)
    keep = values > 1e-12 * values[-1]
    values, rotated = values[keep], a @ vectors[:, keep]
    root = np.sqrt(2 / (values[:, None] + values))

    def product(x: np.ndarray) -> np.ndarray:
        y = root * x
        weights = np.einsum("ni,ni->n", rotated @ y, rotated)
        noise = (rotated * weights[:, None]).T @ rotated / n
        return root * ((1 - c2) * values[:, None] * y * values + c2 * noise)

    return product, root


def by_arpack(a: np.ndarray, batch_size: int) -> float:
    product, root = symmetric_product(a, batch_size)
    d = len(root)
    operator = sparse.LinearOperator((d * d, d * d), matvec=lambda x: product(x.reshape(d, d)).ravel(), dtype=float)
    start = (np.eye(d) / root).ravel()
    return float(sparse.eigsh(operator, 1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])


def by_power_iteration(a: np.ndarray, batch_size: int) -> float:
    """Until the eigenvalue moves by less than a thousandth of the tolerance."""
    product, root = symmetric_product(a, batch_size)
    x, value = np.eye(len(root)) / root, 0.0
    while True:
        x = product(x)
        before, value = value, float(np.linalg.norm(x))
        x /= value
        if abs(value - before) < 1e-3 * TOLERANCE * value:
            return value


def contenders(n: int, d: int, batch_size: int) -> dict[str, Callable[[], float]]:
    a = directions(n, d)
    return {
        "theory": lambda: sm.theory.mean_square_sharpness(a, batch_size, tolerance=TOLERANCE),
        "ARPACK on d x d unknowns": lambda: by_arpack(a, batch_size),
        "cone power iteration": lambda: by_power_iteration(a, batch_size),
    }


def agreement(n: int, d: int, batch_size: int) -> float:
    """The largest relative difference between the three."""
    values = [go() for go in contenders(n, d, batch_size).values()]
    return max(abs(value / values[0] - 1) for value in values)


def large(d: int, batch_size: int) -> tuple[float, float, float]:
    """Seconds for S_ms and for the edge with its bracket at n = d on one core, and megabytes beyond the data's."""
    script = f"from edges import time_large; print(*time_large({d}, {batch_size}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    sharpness, edge, memory = map(float, done.stdout.split())
    return sharpness, edge, memory


def time_large(d: int, batch_size: int) -> tuple[float, float, float]:
    import time

    from threadpoolctl import threadpool_limits

    a = directions(d, d)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with threadpool_limits(1):
        start = time.perf_counter()
        sm.theory.mean_square_sharpness(a, batch_size, tolerance=TOLERANCE)
        middle = time.perf_counter()
        sm.theory.mean_square_edge(a, batch_size, tolerance=TOLERANCE)
        end = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return middle - start, end - middle, (after - before) / 1024
