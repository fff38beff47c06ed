r"""The mean-square edge of SGD on quadratics: exact for every batch size.

.. math:: S_{ms}(b) = \lambda_{\max}(C^{-1}D), \quad C = \tfrac12(\bar H\otimes I + I\otimes\bar H), \quad
          D = E_B[H_B\otimes H_B] = (1-c_2)\,\bar H\otimes\bar H + c_2\tfrac1n\textstyle\sum H_i\otimes H_i

SGD is mean-square stable at an interpolating minimum iff eta S_ms < 2. Source: Mulayoff and Michaeli 2024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import float_array, integer, one_of
from ..errors import InvalidArgument, NotConverged
from ..sampling import SCHEMES, noise_coefficients

RANK_TOLERANCE = 1e-12


def mean_square_sharpness(hessians: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    """S_ms of per-sample `hessians` (n, d, d) at `batch_size`, in units of curvature: the edge is S_ms = 2 / step_size.

    Directions in which the mean Hessian is not positive (relative eigenvalue below 1e-12) are left out: no step size is
    mean-square stable along negative ones. ``"epoch"`` gets the value of ``"without_replacement"``: the correlation
    between the batches of one epoch shifts the true edge.

    Raises InvalidArgument for bad input, NotConverged if the eigen-solver fails.

    >>> round(mean_square_sharpness([[[1.0]], [[3.0]]], batch_size=1), 12)  # E[h^2] / E[h]
    2.5
    """
    import scipy.sparse.linalg as sparse

    h = float_array("hessians", hessians, ("samples", "d", "d"))
    n = len(h)
    if h.shape[1] != h.shape[2] or abs(h - h.transpose(0, 2, 1)).max() > 1e-9 * abs(h).max():
        raise InvalidArgument(f"hessians must be symmetric matrices (samples, d, d), got shape {h.shape}")
    scale = float(abs(h).max()) or 1.0
    h = h / scale
    b = integer("batch_size", batch_size, 1, n, "(the number of samples)")
    noise = noise_coefficients(n, b, one_of("sampling", sampling, SCHEMES))
    values, vectors = np.linalg.eigh(h.mean(axis=0))
    keep = values > RANK_TOLERANCE * abs(values).max()
    if not keep.any():
        raise InvalidArgument(
            "hessians must have a mean with a positive eigenvalue, got a largest one of "
            f"{scale * values[-1]:.3g}; there is no minimum to be stable at"
        )
    values, vectors = values[keep], vectors[:, keep]
    rank = len(values)
    samples = np.matmul(vectors.T, np.matmul(h, vectors))
    mean_part = 1.0 if noise.raw else 1.0 - noise.c2
    root = np.sqrt(2 / (values[:, None] + values[None, :]))  # C^(-1/2) in the mean Hessian's eigenbasis

    def symmetrised(flat: np.ndarray) -> np.ndarray:
        x = root * flat.reshape(rank, rank)
        y = mean_part * values[:, None] * x * values[None, :]
        if noise.c2 > 0:
            y = y + noise.c2 * np.einsum("nij,njk->ik", np.matmul(samples, x), samples, optimize=True) / n
        return (root * y).ravel()

    if rank == 1:
        return scale * float(symmetrised(np.ones(1))[0])
    operator = sparse.LinearOperator((rank**2, rank**2), matvec=symmetrised, dtype=np.float64)
    start = (np.eye(rank) / root).ravel()  # in the cone that holds the top eigenvector
    try:
        top = sparse.eigsh(operator, k=1, which="LA", v0=start, tol=1e-11, return_eigenvectors=False)
    except sparse.ArpackError as problem:
        raise NotConverged(f"S_ms: the eigen-solver gave up ({problem}); are the Hessians badly scaled?") from None
    return scale * float(top[0])


def max_step_size(hessians: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    """The exact mean-square edge 2 / S_ms of plain SGD: the largest stable step size.

    >>> round(max_step_size([[[1.0]], [[3.0]]], batch_size=2), 12)
    1.0
    """
    return 2.0 / mean_square_sharpness(hessians, batch_size, sampling)


def edge_sharpness(directions: ArrayLike, batch_size: int, sampling: str = "without_replacement") -> float:
    r"""Where the mean-square edge holds lambda_max, as eta lambda_max / 2, when H_i is proportional to a_i a_i'.

    .. math:: \frac{\eta\lambda_{\max}}{2} = \frac{\lambda_1(\hat H)}{S_{ms}(\hat H, b)}, \qquad
              \hat H = \tfrac1n\textstyle\sum a_ia_i^T

    The closed-form prediction for recipes A, C and P: their curvature is one moving scalar times a_i a_i', and
    the plateau sits where S_ms = 2 / eta. `directions` has shape (n, d); 1 at the full batch.

    >>> import numpy as np
    >>> round(edge_sharpness(np.sqrt([[1.0], [3.0]]), batch_size=1), 12)  # 2 / 2.5
    0.8
    """
    a = float_array("directions", directions, ("samples", "d"))
    hessians = a[:, :, None] * a[:, None, :]
    top = np.linalg.eigvalsh(a.T @ a / len(a))[-1]
    return float(top) / mean_square_sharpness(hessians, batch_size, sampling)
