r"""Every batch of a sampling scheme with its probability: what expectations over batches mean, written out.

.. math:: g_B = \sum_i w_{Bi}\, g_i, \qquad H_B = \sum_i w_{Bi} H_i, \qquad
          w_{Bi} = \frac{\#\{i \in B\}}{b}

A Bernoulli batch, too, is divided by b, not by its own size; its empty batch has gradient and Hessian zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arguments import FloatArray
from ..batches import all_batches, number_of_batches, weight_table
from ..errors import InvalidArgument

LARGEST_NUMBER = 4096  # of batches: that many the exact metrics enumerate, too


@dataclass(frozen=True)
class BatchTable:
    """All m batches: weights (m, n), gradients (m, d), Hessians (m, d, d) and probabilities (m,), which sum to 1."""

    weights: FloatArray
    gradients: FloatArray
    hessians: FloatArray
    probability: FloatArray

    def mean(self, values: FloatArray) -> FloatArray:
        """The expectation of `values` (m, ...), one for each batch."""
        return np.tensordot(self.probability, values, axes=1)


def batch_weights(samples: int, batch_size: int, sampling: str) -> tuple[FloatArray, FloatArray]:
    """Weights (m, n) and probabilities (m,) of all batches; repeated draws are one batch with repeated samples.

    Raises InvalidArgument if there are more than 4096.

    >>> weights, probability = batch_weights(2, 2, "with_replacement")
    >>> weights.tolist(), probability.tolist()
    ([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], [0.25, 0.5, 0.25])
    """
    count = number_of_batches(samples, batch_size, sampling)
    if count > LARGEST_NUMBER:
        raise InvalidArgument(
            f"there are {count} batches of {batch_size} out of {samples} samples (sampling {sampling!r}), too many to "
            f"enumerate; at most {LARGEST_NUMBER} are possible: use fewer samples"
        )
    return _weights(samples, batch_size, sampling)


@lru_cache(maxsize=512)
def _weights(samples: int, batch_size: int, sampling: str) -> tuple[FloatArray, FloatArray]:
    batches = all_batches(samples, batch_size, sampling)
    assert batches.probability is not None
    possible = batches.probability > 0
    weights, probability = weight_table(batches, samples)[possible], batches.probability[possible]
    weights.flags.writeable = probability.flags.writeable = False
    return weights, probability


def batch_table(gradients: FloatArray, hessians: FloatArray, batch_size: int, sampling: str) -> BatchTable:
    """All batches of samples with `gradients` (n, d) and `hessians` (n, d, d).

    >>> table = batch_table(np.array([[1.0], [3.0]]), np.array([[[1.0]], [[5.0]]]), 2, "without_replacement")
    >>> table.gradients.tolist(), table.hessians.tolist(), table.probability.tolist()
    ([[2.0]], [[[3.0]]], [1.0])
    """
    weights, probability = batch_weights(len(gradients), batch_size, sampling)
    return BatchTable(weights, weights @ gradients, np.tensordot(weights, hessians, axes=1), probability)
