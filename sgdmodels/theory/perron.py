r"""The top eigenpair of a symmetric map that preserves a cone, and a proof that its spectral radius is below 1.

The cones are those of positive semi-definite matrices and of vectors without negative entries. Such a map has its
spectral radius as an eigenvalue, with an eigenvector in the cone (Perron-Frobenius, Krein-Rutman). Lanczos with full
reorthogonalisation starts inside the cone and never leaves the Krylov space of its start: where the top eigenvalue is
multiple, it returns what power iteration would converge to, which again lies in the cone. (ARPACK continues with a
random vector there.) In low dimension the matrix of the map is diagonalised, and the start is projected instead.

A point y inside the cone proves that the radius is below 1 if y - apply(y) lies inside, too (Collatz and Wielandt).
Below 1 there is one for every right-hand side: (1 - apply)^(-1) is the sum of the powers of the map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray
from ..errors import NotConverged

Map = Callable[[FloatArray], FloatArray]
TOLERANCE = 1e-12  # of the residual, relative to the eigenvalue
INVARIANT = 1e-14
BASIS, RESTARTS, CHECK_EVERY = 80, 60, 4
BASIS_BYTES = 2**29
DENSE = 64
SAME = 1e-12  # eigenvalues this close are taken for one
PROOF_PRODUCTS = 300


def top_eigenpair(
    apply: Map, start: FloatArray, floor: float = 0.0, tolerance: float = TOLERANCE
) -> tuple[float, FloatArray]:
    """Largest eigenvalue of `apply` and its eigenvector (shape of `start`, Frobenius norm 1) seen from `start`.

    `tolerance` of the residual, relative to the eigenvalue; `floor` is a residual that is small enough however small
    the eigenvalue is. Raises NotConverged.

    >>> top_eigenpair(lambda x: np.diag([1.0, 3.0]) @ x, np.eye(2))[0]
    3.0
    """
    if start.size <= DENSE:
        return dense_top(apply, start)
    vector = start.ravel() / np.linalg.norm(start)
    size = min(BASIS, vector.size, max(12, BASIS_BYTES // vector.nbytes))
    for _ in range(RESTARTS):
        basis = np.empty((size, vector.size))
        small = np.zeros((size, size))
        for k in range(size):
            basis[k] = vector
            image = apply(vector.reshape(start.shape)).ravel()
            small[k, k] = vector @ image
            for _ in range(2):  # once is not enough: twice is (Kahan)
                image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
            rest = float(np.linalg.norm(image))
            last = k + 1 == size
            closed = rest <= INVARIANT * abs(small).max()  # the Krylov space is invariant: nothing more to be found
            if last or closed or (k + 1) % CHECK_EVERY == 0:
                values, vectors = np.linalg.eigh(small[: k + 1, : k + 1])
                ritz = basis[: k + 1].T @ vectors[:, -1]
                if closed or rest * abs(vectors[-1, -1]) <= max(tolerance * abs(values[-1]), floor):
                    return float(values[-1]), ritz.reshape(start.shape)
            if not last:
                small[k, k + 1] = small[k + 1, k] = rest
                vector = image / rest
        vector = ritz / np.linalg.norm(ritz)
    raise NotConverged(
        f"the top eigenvalue of a map on arrays of shape {start.shape} did not converge in {size * RESTARTS} products; "
        "are the Hessians badly scaled?"
    )


def dense_top(apply: Map, start: FloatArray) -> tuple[float, FloatArray]:
    """The same from the matrix of `apply`: the start projected to the top eigenspace.

    >>> dense_top(lambda x: np.array([3.0, 3.0, 1.0]) * x, np.ones(3))[1].round(3).tolist()
    [0.707, 0.707, 0.0]
    """
    size = start.size
    matrix = np.array([apply(unit.reshape(start.shape)).ravel() for unit in np.eye(size)])
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    seen = vectors.T @ start.ravel()
    reachable = abs(seen) > INVARIANT * np.linalg.norm(start)  # antisymmetric matrices are not
    top = values[reachable].max()
    space = reachable & (values >= top - SAME * abs(values).max())
    mode = vectors[:, space] @ seen[space]
    return float(top), (mode / np.linalg.norm(mode)).reshape(start.shape)


def radius_below_one(
    apply: Map, source: FloatArray, start: FloatArray, inside: Callable[[FloatArray, FloatArray], bool]
) -> bool:
    """Whether a proof is found that the spectral radius of `apply` is below 1; `inside(y, y - apply(y))` accepts it.

    Conjugate gradients for y - apply(y) = source, a point inside the cone, from `start`; with the top eigenvector in
    `start` they converge as if it were not there.
    """
    y = start
    residual = source - (y - apply(y))
    direction, square = residual, float(np.vdot(residual, residual))
    size = float(np.linalg.norm(source))
    for k in range(PROOF_PRODUCTS):
        done = square <= (1e-15 * size) ** 2
        look = done or (square <= size**2 and k % CHECK_EVERY == 0)
        if look and inside(y, source - residual) and inside(y, y - apply(y)):
            return True  # the first test is free, the second does not trust the recursion
        if done:
            return False
        image = direction - apply(direction)
        curvature = float(np.vdot(direction, image))
        if not curvature > 0:
            return False  # 1 - apply is not positive definite: the radius is at least 1
        length = square / curvature
        y, residual = y + length * direction, residual - length * image
        square, before = float(np.vdot(residual, residual)), square
        direction = residual + (square / before) * direction
    return False


def definite(matrix: FloatArray) -> bool:
    """Whether a symmetric matrix is positive definite."""
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
