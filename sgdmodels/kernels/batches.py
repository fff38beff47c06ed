"""Laws of sample weights: how a block of steps draws its (index, weight) pairs. None depends on the parameters.

Draw k of step t uses counter t * n + k, so a step's batch is the same however a run is cut into blocks, and
two schedules that differ only in batch size share their first draws.
"""

from __future__ import annotations

from numba import uint64

from .compile import kernel
from .random import below, random_bits, stream_keys, uniform
from .signatures import LAW


@kernel(LAW)
def full_batch(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """Every sample with weight 1/n."""
    for s in range(steps):
        count[s] = samples
        for k in range(samples):
            index[s, k] = k
            weight[s, k] = 1.0 / samples


@kernel(LAW)
def with_replacement(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """b independent draws with weight 1/b."""
    a, b = stream_keys(seed, replica, stream)
    for s in range(steps):
        base = uint64(first + s) * uint64(samples)
        count[s] = batch
        for k in range(batch):
            index[s, k] = below(random_bits(a, b, base + uint64(k)), samples)
            weight[s, k] = 1.0 / batch


@kernel(LAW)
def without_replacement(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """b distinct samples with weight 1/b: a partial Fisher-Yates shuffle of `scratch`, undone after each step."""
    a, b = stream_keys(seed, replica, stream)
    if batch == 1:  # one flat loop, which vectorises
        for s in range(steps):
            index[s, 0] = below(random_bits(a, b, uint64(first + s) * uint64(samples)), samples)
            weight[s, 0] = 1.0
            count[s] = 1
        return
    for s in range(steps):
        base = uint64(first + s) * uint64(samples)
        count[s] = batch
        for k in range(batch):
            index[s, k] = k + below(random_bits(a, b, base + uint64(k)), samples - k)
            weight[s, k] = 1.0 / batch
    for s in range(steps):
        for k in range(batch):
            j = index[s, k]
            index[s, k] = scratch[j]
            scratch[j] = scratch[k]
            scratch[k] = index[s, k]
        for k in range(batch):  # every place that moved is below b or now stands in the batch
            scratch[index[s, k]] = index[s, k]
            scratch[k] = k


@kernel(LAW)
def epoch(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """Consecutive stretches of a permutation drawn afresh each epoch of n // b steps; n mod b samples sit it out.

    Epochs start at the first step of a schedule segment. The permutation of an epoch is keyed by its first step.
    """
    a, b = stream_keys(seed, replica, stream)
    length = samples // batch
    for s in range(steps):
        since = first + s - origin
        start = first + s - since % length
        if state[0] != replica or state[1] != start:  # else scratch still holds this epoch's permutation
            state[0], state[1] = replica, start
            base = uint64(start) * uint64(samples)
            for k in range(samples):
                scratch[k] = k
            for k in range(length * batch):
                j = k + below(random_bits(a, b, base + uint64(k)), samples - k)
                scratch[k], scratch[j] = scratch[j], scratch[k]
        count[s] = batch
        offset = since % length * batch
        for k in range(batch):
            index[s, k] = scratch[offset + k]
            weight[s, k] = 1.0 / batch


@kernel(LAW)
def bernoulli(
    seed, replica, stream, first, steps, origin, micro_steps, samples, batch, parameters,
    scratch, sums, state, index, weight, count,
):  # fmt: skip
    """Each sample with probability b/n and weight 1/b, so that the mean gradient is unbiased; a batch may be empty."""
    a, b = stream_keys(seed, replica, stream)
    probability = batch / samples
    for s in range(steps):
        base = uint64(first + s) * uint64(samples)
        taken = 0
        for k in range(samples):
            index[s, taken] = k
            weight[s, taken] = 1.0 / batch
            if uniform(random_bits(a, b, base + uint64(k))) < probability:
                taken += 1
        count[s] = taken


LAWS = {
    "without_replacement": without_replacement,
    "with_replacement": with_replacement,
    "epoch": epoch,
    "bernoulli": bernoulli,
}
