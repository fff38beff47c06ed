r"""The largest eigenvalue of the full-batch Hessian ("sharpness").

Up to `DENSE_UP_TO` parameters by LAPACK, else by Lanczos with full reorthogonalisation, started from the last
snapshot's eigenvector mixed with a fixed direction (so that an eigenvalue that overtakes is seen) and stopped by the
residual :math:`|Hy - \theta y| \le` `TOLERANCE` :math:`|\theta|`. Some eigenvalue is then that close; in general it is
the largest, with an error of the residual squared over the gap. Within the tolerance of a crossing the one that was
largest before may still be reported for a snapshot or two. A pair that fails the test within `LARGEST_BASIS` steps,
restarted `RESTARTS` times, falls back to LAPACK.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, void

from ..arguments import FloatArray, aligned
from ..kernels.compile import inline
from ..kernels.holes import add_mean_hvp, begin_mean, split
from ..kernels.signatures import DATA, MATRIX, VECTOR
from .base import Metric, Snapshots
from .hessians import dense_hessians, largest_eigenvalues

DENSE_UP_TO = 12
TOLERANCE = 1e-6
LARGEST_BASIS = 48
RESTARTS = 8
MIXING = 0.25
FLOOR = 1e-6  # an eigenvalue this much smaller than the spectrum is accurate to the spectrum only


@inline
def top_of_tridiagonal(alpha, beta, m):
    """Largest eigenvalue of an m x m tridiagonal matrix: Laguerre's iteration from above, monotone and cubic."""
    x = -np.inf
    for j in range(m):
        radius = (beta[j - 1] if j > 0 else 0.0) + (beta[j] if j < m - 1 else 0.0)
        x = max(x, alpha[j] + radius)
    size = 0.0
    for j in range(m):
        size = max(size, abs(alpha[j]) + (beta[j] if j < m - 1 else 0.0))
    for _ in range(100):
        pivot, first, second = 1.0, 0.0, 0.0  # the last pivot of x - T and its derivatives in x
        slope, bend = 0.0, 0.0  # p'/p and (p'/p)^2 - p''/p of the characteristic polynomial
        for j in range(m):
            b2 = beta[j - 1] * beta[j - 1] if j > 0 else 0.0
            inverse = 1.0 / pivot
            new_pivot = (x - alpha[j]) - b2 * inverse
            new_first = 1.0 + b2 * first * inverse * inverse
            new_second = b2 * (second - 2.0 * first * first * inverse) * inverse * inverse
            pivot, first, second = new_pivot, new_first, new_second
            if not pivot > 0.0:
                break
            ratio = first / pivot
            slope += ratio
            bend += ratio * ratio - second / pivot
        if not pivot > 0.0:  # at the eigenvalue to rounding
            break
        root = (m - 1) * (m * bend - slope * slope)
        step = m / (slope + np.sqrt(max(root, 0.0)))
        x -= step
        if step <= 1e-15 * size:
            break
    return x


@inline
def eigenvector_of_tridiagonal(alpha, beta, m, value, s, pivots):
    """Its unit eigenvector by inverse iteration just above the eigenvalue (positive definite, no pivoting)."""
    size = 0.0
    for j in range(m):
        size = max(size, abs(alpha[j]) + (beta[j] if j < m - 1 else 0.0))
        s[j] = 1.0
    shift = value + 4e-15 * size + 1e-300
    for _ in range(3):
        pivots[0] = max(shift - alpha[0], 1e-17 * size + 1e-300)
        for j in range(1, m):
            factor = beta[j - 1] / pivots[j - 1]
            pivots[j] = max(shift - alpha[j] - beta[j - 1] * factor, 1e-17 * size + 1e-300)
            s[j] += factor * s[j - 1]
        s[m - 1] /= pivots[m - 1]
        for j in range(m - 2, -1, -1):
            s[j] = (s[j] + beta[j] * s[j + 1]) / pivots[j]
        largest = 0.0
        for j in range(m):
            largest = max(largest, abs(s[j]))
        norm = 0.0
        for j in range(m):
            s[j] /= largest
            norm += s[j] * s[j]
        norm = np.sqrt(norm)
        for j in range(m):
            s[j] /= norm


def lanczos(theta, warm, probe, samples, inputs, targets, constants, second_moment, work, basis, small, out, residual):
    """Template: largest eigenvalue at theta[r, k] for all r, k; warm[r] carries the eigenvector from k to k + 1."""
    size = theta.shape[2]
    alpha, beta, s, pivots = small[0], small[1], small[2], small[3]
    limit = min(size, basis.shape[0] - 2)
    y, image = basis[basis.shape[0] - 1], basis[basis.shape[0] - 2]
    for r in range(theta.shape[0]):
        for q in range(theta.shape[1]):
            check = 0.0
            for k in range(size):
                check += theta[r, q, k]
            if not np.isfinite(check):
                out[r, q] = np.nan
                residual[r, q] = 0.0
                continue
            parts = split(theta[r, q], inputs, constants)
            begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
            for k in range(size):
                y[k] = warm[r, k] + MIXING * probe[k]
            value, miss, scale = 0.0, np.inf, 0.0
            for _ in range(RESTARTS):
                norm = 0.0
                for k in range(size):
                    norm += y[k] * y[k]
                norm = 1.0 / np.sqrt(norm)
                for k in range(size):
                    basis[0, k] = y[k] * norm
                m = 0
                while m < limit:
                    v = basis[m]
                    for k in range(size):
                        image[k] = 0.0
                    add_mean_hvp(
                        parts, split(v, inputs, constants), samples, inputs, targets, constants,
                        second_moment, work, split(image, inputs, constants),
                    )  # fmt: skip
                    overlap = 0.0
                    for k in range(size):
                        overlap += v[k] * image[k]
                    alpha[m] = overlap
                    for _again in range(2):
                        for j in range(m + 1):
                            u = basis[j]
                            overlap = 0.0
                            for k in range(size):
                                overlap += u[k] * image[k]
                            for k in range(size):
                                image[k] -= overlap * u[k]
                    norm = 0.0
                    for k in range(size):
                        norm += image[k] * image[k]
                    norm = np.sqrt(norm)
                    beta[m] = norm
                    scale = max(scale, abs(alpha[m]) + norm)
                    m += 1
                    if m == limit or norm <= 1e-14 * scale or (m >= 4 and m % 2 == 0):
                        value = top_of_tridiagonal(alpha, beta, m)
                        eigenvector_of_tridiagonal(alpha, beta, m, value, s, pivots)
                        miss = norm * abs(s[m - 1])
                        if miss <= TOLERANCE * max(abs(value), FLOOR * scale) or norm <= 1e-14 * scale:
                            break
                    if m < limit:
                        for k in range(size):
                            basis[m, k] = image[k] / norm
                for k in range(size):
                    y[k] = 0.0
                for j in range(m):
                    u = basis[j]
                    for k in range(size):
                        y[k] += s[j] * u[k]
                if miss <= TOLERANCE * max(abs(value), FLOOR * scale):
                    break
            # the residual that counts is the true one, not the recurrence's estimate
            for k in range(size):
                image[k] = 0.0
            add_mean_hvp(
                parts, split(y, inputs, constants), samples, inputs, targets, constants,
                second_moment, work, split(image, inputs, constants),
            )  # fmt: skip
            miss = 0.0
            for k in range(size):
                gap = image[k] - value * y[k]
                miss += gap * gap
                warm[r, k] = y[k]
            out[r, q] = value
            residual[r, q] = np.sqrt(miss) / max(abs(value), FLOOR * scale) if scale > 0 else 0.0


LANCZOS = void(
    float64[:, :, ::1], MATRIX, VECTOR, int64, *DATA, MATRIX, MATRIX, MATRIX, MATRIX, MATRIX
)  # fmt: skip


def largest_eigenvalue(snapshots: Snapshots) -> FloatArray:
    model = snapshots.model
    if model.dim <= DENSE_UP_TO:
        return dense_largest(snapshots)
    warm = snapshots.memory.setdefault("lambda_max", np.zeros((snapshots.shape[0], model.dim)))
    basis = aligned((LARGEST_BASIS + 2, model.dim))
    probe = np.sin(1.0 + np.arange(model.dim) ** 2)  # fixed, and aligned with nothing
    probe /= np.linalg.norm(probe)
    out, residual = np.empty(snapshots.shape), np.empty(snapshots.shape)
    kernel = snapshots.kernel(lanczos, LANCZOS, "split", "begin_mean", "add_mean_hvp")
    small = np.empty((4, LARGEST_BASIS + 2))
    kernel(snapshots.theta, warm, probe, model.samples, *model.data, snapshots.work, basis, small, out, residual)
    failed = np.argwhere(~(residual <= 10 * TOLERANCE))
    for r, q in failed:
        out[r, q] = largest_eigenvalues(model.hessian(snapshots.theta[r, q])[None])[0]
    return out


def dense_largest(snapshots: Snapshots) -> FloatArray:
    hessians = dense_hessians(snapshots)
    return largest_eigenvalues(hessians.reshape(-1, *hessians.shape[2:])).reshape(snapshots.shape)


LAMBDA_MAX = Metric("lambda_max", "largest eigenvalue of the full-batch Hessian", "curvature", largest_eigenvalue)
