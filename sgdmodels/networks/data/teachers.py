"""Synthetic data whose law is known: a random teacher network, and Gaussian clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arguments import integer, real
from ...errors import InvalidArgument
from .images import ImageData

REGRESSION, CLUSTERS = 3, 4  # streams of one seed


class Regression(NamedTuple):
    """`inputs` float32 (n, features) and `targets` float32 (n, outputs)."""

    inputs: NDArray[np.float32]
    targets: NDArray[np.float32]


def teacher_regression(
    samples: int, features: int, seed: int, *, hidden: int = 32, outputs: int = 1, noise: float = 0.0
) -> Regression:
    r"""Outputs of a random two-layer teacher, plus noise.

    .. math:: y = W_2\tanh(W_1x) + \sigma\varepsilon, \qquad x, \varepsilon \sim N(0, I)

    The weights are N(0, 1/features) and N(0, 1/hidden); `noise` is sigma, on which inputs and teacher do not depend.
    Raises InvalidArgument.

    >>> data = teacher_regression(6, 3, seed=0)
    >>> data.inputs.shape, data.targets.shape
    ((6, 3), (6, 1))
    """
    samples, features = integer("samples", samples, 1), integer("features", features, 1)
    hidden, outputs = integer("hidden", hidden, 1), integer("outputs", outputs, 1)
    noise = real("noise", noise)
    rng = np.random.default_rng((integer("seed", seed, 0), REGRESSION))
    inputs = rng.standard_normal((samples, features))
    first = rng.standard_normal((features, hidden)) / np.sqrt(features)
    second = rng.standard_normal((hidden, outputs)) / np.sqrt(hidden)
    targets = np.tanh(inputs @ first) @ second + noise * rng.standard_normal((samples, outputs))
    return Regression(inputs.astype(np.float32), targets.astype(np.float32))


def gaussian_clusters(
    samples: int, features: int, seed: int, *, classes: int = 2, separation: float = 4.0
) -> ImageData:
    r"""Clusters N(mu_k, I) whose centres all lie `separation` apart, in random directions; sizes differ by at most 1.

    The centres are :math:`\mu_k = s\,q_k/\sqrt2` with orthonormal q_k, so classes <= features. Two classes overlap by a
    Bayes error of :math:`\Phi(-s/2)`. Raises InvalidArgument.

    >>> np.bincount(gaussian_clusters(10, 4, seed=0, classes=3).labels).tolist()
    [4, 3, 3]
    """
    samples, features, classes = (
        integer("samples", samples, 1),
        integer("features", features, 1),
        integer("classes", classes, 1),
    )
    if classes > features:
        raise InvalidArgument(f"classes must be at most features ({features}), got {classes}: centres are orthogonal")
    separation = real("separation", separation)
    rng = np.random.default_rng((integer("seed", seed, 0), CLUSTERS))
    directions = np.linalg.qr(rng.standard_normal((features, classes))).Q.T
    labels = rng.permutation(np.arange(samples) % classes)
    inputs = separation / np.sqrt(2) * directions[labels] + rng.standard_normal((samples, features))
    return ImageData(inputs.astype(np.float32), labels.astype(np.int64), classes, "gaussian clusters")
