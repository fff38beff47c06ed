r"""The top eigenpair of a symmetric map on matrices that preserves the cone of positive semi-definite ones.

Such a map has its spectral radius as an eigenvalue, with an eigenvector in the cone (Perron-Frobenius, Krein-Rutman).
Lanczos with full reorthogonalisation starts inside the cone and never leaves the Krylov space of its start: where the
top eigenvalue is multiple, it returns what power iteration would converge to, which again lies in the cone. (ARPACK
continues with a random vector there.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arguments import FloatArray
from ..errors import NotConverged

TOLERANCE = 1e-12  # of the residual, relative to the eigenvalue
INVARIANT = 1e-14
BASIS, RESTARTS, CHECK_EVERY = 80, 60, 4


def top_eigenpair(
    apply: Callable[[FloatArray], FloatArray], start: FloatArray, floor: float = 0.0
) -> tuple[float, FloatArray]:
    """Largest eigenvalue of `apply` and its eigenvector (shape of `start`, Frobenius norm 1) seen from `start`.

    `floor` is a residual that is small enough however small the eigenvalue is. Raises NotConverged.

    >>> top_eigenpair(lambda x: np.diag([1.0, 3.0]) @ x, np.eye(2))[0]
    3.0
    """
    vector = start.ravel() / np.linalg.norm(start)
    size = min(BASIS, vector.size)
    for _ in range(RESTARTS):
        basis = np.zeros((size, vector.size))
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
                if closed or rest * abs(vectors[-1, -1]) <= max(TOLERANCE * abs(values[-1]), floor):
                    return float(values[-1]), ritz.reshape(start.shape)
            if not last:
                small[k, k + 1] = small[k + 1, k] = rest
                vector = image / rest
        vector = ritz / np.linalg.norm(ritz)
    raise NotConverged(
        f"the top eigenvalue of a map on {start.shape} matrices did not converge in {size * RESTARTS} products; "
        "are the Hessians badly scaled?"
    )
