r"""The mean over batches of the largest eigenvalue of the batch's own matrix.

.. math:: E_B[\lambda_{\max}(M_B)] \ge \lambda_{\max}(\bar M)

All batches where they are few, else a Monte Carlo mean over random ones until its standard error is small enough. Every
batch starts from the same vectors, those of the mean matrix, so that a value depends on its batch alone. Random batches
come from the measurement stream of random numbers, never those that a run trains on.
Source: Andreyev and Beneventano 2024, first version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arguments import integer, one_of, real
from ...batches import Batches, all_batches, number_of_batches
from ...kernels.batches import LAWS
from ...kernels.draw import draw_weights
from ...kernels.random import MEASUREMENT
from ...sampling import SCHEMES
from ..objectives.objective import Objective
from .lanczos import Eigenpairs, largest_eigenvalues

TOLERANCE = 0.01  # of the mean
RESIDUAL = 1e-5  # of every eigenvalue; a start with less than that of the top eigenvector would miss it
LEAST, MOST = 20, 512
BLOCK = 10  # batches between two looks at the standard error


class MinibatchLambdaMax(NamedTuple):
    """The mean, its standard error (0 if all batches were taken), batches, products with one batch's matrix each.

    converged: whether every eigenvalue passed its residual test.
    """

    value: float
    standard_error: float
    batches: int
    products: int
    converged: bool


def minibatch_lambda_max(
    objective: Objective,
    theta: Tensor,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    tolerance: float = TOLERANCE,
    least: int = LEAST,
    most: int = MOST,
    start: Tensor | None = None,
    seed: int = 0,
    replica: int = 0,
    step: int = 0,
) -> MinibatchLambdaMax:
    """E_B[lambda_max(M_B)] at theta (d,) until the standard error is within tolerance |mean|, or `most` batches.

    Exact where there are no more than `most` batches; an empty Bernoulli batch counts as 0. `start` (m, d): leading
    eigenvectors of the mean matrix, the `space` of `largest_eigenvalues`. (seed, replica, step) fix the batches.
    A theta that is not finite gives NaN. Raises InvalidArgument.

    >>> from sgdmodels.networks.objectives.budget import MemoryBudget
    >>> from sgdmodels.networks.objectives.module_objective import ModuleObjective
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 3.0**0.5]])  # curvatures 1 and 3, in two directions
    >>> net, loss = torch.nn.Linear(2, 1, bias=False), lambda f, y: 0.5 * (f - y).square().sum(1)
    >>> objective = ModuleObjective(net, loss, x, x[:, :1], MemoryBudget(2**20))
    >>> [round(minibatch_lambda_max(objective, torch.zeros(2), b).value, 5) for b in (1, 2)]
    [2.0, 1.5]
    """
    size = integer("batch_size", batch_size, 1, objective.samples, "(the number of samples)")
    one_of("sampling", sampling, SCHEMES)
    accuracy = real("tolerance", tolerance)
    fewest = integer("least", least, 2)
    limit = integer("most", most, fewest)
    if not torch.isfinite(theta).all():
        return MinibatchLambdaMax(math.nan, math.nan, 0, 0, False)
    scheme = "without_replacement" if sampling == "epoch" else sampling
    if number_of_batches(objective.samples, size, scheme) <= limit:
        table = all_batches(objective.samples, size, scheme)
        pairs = [top_pair(objective, theta, table, row, start) for row in range(len(table.count))]
        value = float(np.average([float(p.values[0]) for p in pairs], weights=table.probability))
        return summary(pairs, value, 0.0)
    pairs = []
    first = step * limit
    for batches in random_batches(objective.samples, size, scheme, limit, first, seed, replica):
        pairs += [top_pair(objective, theta, batches, row, start) for row in range(len(batches.count))]
        values = np.array([float(p.values[0]) for p in pairs])
        mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
        if not math.isfinite(mean) or (len(pairs) >= fewest and error <= accuracy * abs(mean)):
            break
    return summary(pairs, mean, error)


def random_batches(
    samples: int, batch_size: int, scheme: str, count: int, first: int, seed: int, replica: int
) -> Iterator[Batches]:
    """Batches number first .. first + count - 1 of the measurement stream, a few at a time."""
    width = samples if scheme == "bernoulli" else batch_size
    for done in range(0, count, BLOCK):
        index, weight, number = draw_weights(
            LAWS[scheme], width, samples, batch_size, min(BLOCK, count - done),
            first=first + done, seed=seed, replica=replica, stream=MEASUREMENT,
        )  # fmt: skip
        yield Batches(index, weight, number, None)


def top_pair(objective: Objective, theta: Tensor, batches: Batches, row: int, start: Tensor | None) -> Eigenpairs:
    """The largest eigenvalue of one batch's matrix."""
    members = slice(0, int(batches.count[row]))
    index = torch.as_tensor(batches.index[row, members].astype(np.int64), device=theta.device)
    weight = torch.as_tensor(batches.weight[row, members]).to(theta)
    product = objective.operator(theta, index, weight) if len(index) > 0 else torch.zeros_like
    return largest_eigenvalues(
        product, objective.dim, start=start, tolerance=RESIDUAL, dtype=theta.dtype, device=theta.device
    )


def summary(pairs: list[Eigenpairs], value: float, error: float) -> MinibatchLambdaMax:
    converged = all(bool(p.converged.all()) for p in pairs)
    return MinibatchLambdaMax(value, error, len(pairs), sum(p.products for p in pairs), converged)
