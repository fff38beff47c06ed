r"""Laws of Gaussian sample weights: noise with the covariance of a mini-batch gradient, and no d x d square root.

.. math:: \sum_i w_i g_i, \quad w_i = \tfrac1n + \sqrt{m c_2/n}\,(\xi_i - \bar\xi)

has mean :math:`\nabla L` and covariance :math:`m c_2 \Sigma`, m being the micro-steps that make a step. Schemes whose
coefficients are raw moments (Bernoulli batches, homogenized SGD) leave :math:`\xi` uncentred.

Micro-step t uses the normals t r, ..., t r + r - 1 of the Gaussian stream and adds them up, so that m micro-steps with
refinement r and m r micro-steps with refinement 1 see the same Brownian path.
"""

from __future__ import annotations

import math

from numba import uint64

from .compile import inline, kernel
from .random import GAUSSIANS, fill_normals, stream_keys
from .signatures import LAW

# parameters of the laws below
SCHEME = 0  # how c2 follows from n and b
REFINEMENT = 1
NOISE_ONLY = 2  # if not 0: the first n weights are without their mean 1/n, which stands after them; 2: nor centred

WITHOUT_REPLACEMENT, WITH_REPLACEMENT, BERNOULLI = 0, 1, 2
SCHEME_CODES = {
    "without_replacement": WITHOUT_REPLACEMENT,
    "epoch": WITHOUT_REPLACEMENT,
    "with_replacement": WITH_REPLACEMENT,
    "bernoulli": BERNOULLI,
}


@inline
def noise_variance(scheme, samples, batch):
    """c2 of `sgdmodels.sampling` as a device function."""
    if scheme == WITHOUT_REPLACEMENT:
        return (samples - batch) / (batch * (samples - 1.0)) if samples > batch else 0.0
    if scheme == BERNOULLI:
        return (1.0 - batch / samples) / batch
    return 1.0 / batch


@inline
def increments(first_key, second_key, micro_step, refinement, count, out, fine):
    """out[:count] = standard normals of one micro-step; both arrays have room for an even number, `fine` is scratch.

    Returns their sum.
    """
    even = 2 * ((count + 1) // 2)
    base = uint64(micro_step * refinement) * uint64(even)
    total = fill_normals(first_key, second_key, base, count, out)
    if refinement > 1:
        for q in range(1, refinement):
            total += fill_normals(first_key, second_key, base + uint64(q) * uint64(even), count, fine)
            for k in range(count):
                out[k] += fine[k]
        scale = 1.0 / math.sqrt(float(refinement))
        total *= scale
        for k in range(count):
            out[k] *= scale
    return total


def law_width(samples: int, rows: int = 2) -> int:
    """Width of the weights that `gaussian` needs: two rows of normals, one if it is neither refined nor noise only."""
    return 2 * rows * ((samples + 1) // 2)


@kernel(LAW)
def gaussian(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """All samples with Gaussian weights."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    scheme = int(parameters[SCHEME])
    refinement = int(parameters[REFINEMENT])
    separate = parameters[NOISE_ONLY] != 0.0
    raw = scheme == BERNOULLI or parameters[NOISE_ONLY] == 2.0
    mean = 1.0 / samples
    scale = math.sqrt(micro_steps * noise_variance(scheme, samples, batch) * mean)
    second = 2 * ((samples + 1) // 2)
    if state[0] != samples:  # the indices never change
        state[0] = samples
        for s in range(index.shape[0]):
            for k in range(samples):
                index[s, k] = k
    for s in range(steps):
        xi = weight[s]
        count[s] = samples
        shift = mean * increments(a, b, first + s, refinement, samples, xi, xi[second:])
        if raw:
            shift = 0.0
        if separate:
            for k in range(samples):
                xi[k] = scale * (xi[k] - shift)
                xi[second + k] = mean
        else:
            for k in range(samples):
                xi[k] = mean + scale * (xi[k] - shift)
