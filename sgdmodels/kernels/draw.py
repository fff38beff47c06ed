"""Ask for what kernels draw from Python: the sample weights of some steps, and the random numbers of kicks."""

from __future__ import annotations

import numpy as np
from numba import int64, uint64, void
from numpy.typing import NDArray

from .compile import Kernel, kernel
from .gaussians import increments
from .random import BATCHES, GAUSSIANS, random_bits, standard_normal, stream_keys, uniform
from .signatures import VECTOR

NONE = np.zeros(1)


def draw_weights(
    law: Kernel, width: int, samples: int, batch: int, steps: int, *, first: int = 0, origin: int = 0,
    micro_steps: int = 1, parameters: NDArray[np.float64] = NONE, seed: int = 0, replica: int = 0,
    stream: int = BATCHES,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    """index (steps, width), weight (steps, width) and count (steps,) of `steps` micro-steps from number `first` on."""
    index = np.zeros((steps, width), dtype=np.int32)
    weight, count = np.zeros((steps, width)), np.zeros(steps, dtype=np.int64)
    scratch, sums, state = np.arange(samples, dtype=np.int32), np.zeros(samples), np.full(2, -1)
    law(
        np.uint64(seed), replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
        scratch, sums, state, index, weight, count,
    )  # fmt: skip
    return index, weight, count


@kernel(void(uint64, int64, int64, int64, int64, VECTOR, VECTOR))
def fill_increments(seed, replica, micro_step, refinement, count, out, fine):
    """The normals of one micro-step's kick."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    increments(a, b, micro_step, refinement, count, out, fine)


@kernel(void(uint64, int64, uint64, VECTOR))
def fill_uniforms(seed, replica, first, out):
    """Uniform numbers of the counters from `first` on."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    for k in range(out.shape[0]):
        out[k] = uniform(random_bits(a, b, first + uint64(k)))


@kernel(void(uint64, int64, int64[::1], VECTOR))
def fill_normals_at(seed, replica, counters, out):
    """One standard normal for each counter."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    for k in range(out.shape[0]):
        out[k] = standard_normal(a, b, uint64(counters[k]))


def draw_increments(
    count: int, micro_step: int, *, refinement: int = 1, seed: int = 0, replica: int = 0
) -> NDArray[np.float64]:
    """The `count` standard normals that micro-step number `micro_step` of a replica kicks its parameters with."""
    out, fine = np.empty(count + 1), np.empty(count + 1)
    fill_increments(np.uint64(seed), replica, micro_step, refinement, count, out, fine)
    return out[:count]


def draw_uniforms(count: int, first: int, *, seed: int = 0, replica: int = 0) -> NDArray[np.float64]:
    """`count` uniform numbers of the Gaussian stream, counters `first`, `first` + 1, ..."""
    out = np.empty(count)
    fill_uniforms(np.uint64(seed), replica, np.uint64(first), out)
    return out


def draw_normals_at(counters: NDArray[np.int64], *, seed: int = 0, replica: int = 0) -> NDArray[np.float64]:
    """A standard normal for each counter of the Gaussian stream."""
    flat = np.ascontiguousarray(counters, dtype=np.int64).ravel()
    out = np.empty(flat.size)
    fill_normals_at(np.uint64(seed), replica, flat, out)
    return out.reshape(np.shape(counters))
