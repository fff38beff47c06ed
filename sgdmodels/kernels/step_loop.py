"""The loop over steps. Weights of samples do not depend on the parameters, so a law fills a block of steps and the
loss walks it with its gradient inlined; both meet here as first-class functions, once per block."""

from __future__ import annotations

import numpy as np
from numba import float64, int32, int64, uint64, void

from .compile import inline, kernel
from .holes import add_gradient, split
from .random import BATCHES, GAUSSIANS, stream_keys
from .signatures import DATA, LAW_FUNCTION, MATRIX, VECTOR, WALK_FUNCTION, WORK_ROWS

GROUP = 4  # replicas walked together: their independent chains hide each other's latency
CHECK_EVERY = 64  # steps between two looks for divergence


def walk_single(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: plain descent with batches of one sample (a known count lets the loss fuse its loops)."""
    for s in range(steps):
        for j in range(theta.shape[0]):
            parts = split(theta[j], inputs, constants)
            add_gradient(parts, index[j, s], weight[j, s], 1, -step_size, inputs, targets, constants, work, parts)


def walk(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: plain descent, theta <- theta - step_size * sum_k weight_k g_(index_k), in place."""
    for j in range(theta.shape[0]):
        parts = split(theta[j], inputs, constants)
        for s in range(steps):
            add_gradient(
                parts, index[j, s], weight[j, s], count[j, s], -step_size, inputs, targets, constants, work, parts
            )


def walk_momentum(
    theta, memory, index, weight, count, first, steps, micro_steps, step_size, samples, batch, parameters, keys,
    inputs, targets, constants, second_moment, work,
):  # fmt: skip
    """Template: v <- momentum v + g, then theta <- theta - step_size v, or (Nesterov) - step_size (g + momentum v).

    parameters: momentum, nesterov (0 or 1). memory: v.
    """
    size = theta.shape[1]
    gradient = work[WORK_ROWS - 1, :size]
    momentum, nesterov = parameters[0], parameters[1] != 0.0
    for s in range(steps):
        for j in range(theta.shape[0]):
            for k in range(size):
                gradient[k] = 0.0
            add_gradient(
                split(theta[j], inputs, constants), index[j, s], weight[j, s], count[j, s], 1.0,
                inputs, targets, constants, work, split(gradient, inputs, constants),
            )  # fmt: skip
            x, v = theta[j], memory[j]
            for k in range(size):
                v[k] = momentum * v[k] + gradient[k]
                x[k] -= step_size * ((gradient[k] + momentum * v[k]) if nesterov else v[k])


@inline
def outside(theta, limit):
    """Whether a replica has left the ball |theta|_inf <= limit or is no longer finite."""
    largest = 0.0
    total = 0.0
    for k in range(theta.shape[0]):
        largest = max(largest, abs(theta[k]))
        total += theta[k]
    return not (np.isfinite(total) and largest <= limit)


@inline
def copy_into(target, source):
    """target[:] = source, which as a slice assignment would allocate."""
    for k in range(source.shape[0]):
        target[k] = source[k]


@inline
def record(theta, diverged_at, group, width, slot, snapshots):
    """Copy the replicas of a group to their snapshots, NaN for those that have diverged."""
    if slot >= 0:
        for j in range(width):
            for k in range(theta.shape[1]):
                snapshots[group + j, slot, k] = theta[group + j, k] if diverged_at[group + j] < 0 else np.nan


@kernel(
    void(
        LAW_FUNCTION, WALK_FUNCTION, WALK_FUNCTION,
        uint64, int64[::1], int64, int64[::1], int64[::1],
        int64[::1], VECTOR, int64[::1], int64, int64, int64, VECTOR, VECTOR,
        MATRIX, MATRIX, VECTOR, int64[::1], float64[:, :, ::1],
        *DATA,
        int32[:, ::1], MATRIX, int64[:, ::1], int32[:, :, ::1], float64[:, :, ::1], int64[:, ::1],
        uint64[:, ::1], MATRIX, MATRIX, MATRIX,
    )
)  # fmt: skip
def drive(
    law, walk_one, walk_many,
    seed, replicas, start, stops, slots,
    segment_starts, step_sizes, batch_sizes, samples, single, micro_steps, law_parameters, walk_parameters,
    theta, memory, limit, diverged_at, snapshots,
    inputs, targets, constants, second_moment,
    scratch, sums, state, index, weight, count,
    keys, saved, saved_memory, work,
):  # fmt: skip
    """Take all replicas from step `start` (a multiple of CHECK_EVERY) through stops[-1]; after step stops[q] copy theta
    to snapshots[:, slots[q]].

    Divergence is looked for at multiples of CHECK_EVERY and at the last stop, whatever the stops, blocks and calls in
    between; the stretch since the last look is then walked again one step at a time to find the first step outside.
    An excursion that is back by then is a catapult. A diverged replica stays where its last stretch began.
    """
    m = micro_steps
    block = index.shape[1] // m
    last = stops[stops.shape[0] - 1]
    for group in range(0, theta.shape[0], index.shape[0]):
        width = min(index.shape[0], theta.shape[0] - group)
        for j in range(width):
            keys[j, 0], keys[j, 1] = stream_keys(seed, replicas[group + j], GAUSSIANS)
        step, q, segment = start, 0, 0
        if stops[0] == start:
            record(theta, diverged_at, group, width, slots[0], snapshots)
            q = 1
        while step < last:
            begin, first_stop = step, q
            look = min(last, begin + CHECK_EVERY)
            alive = 0
            for j in range(width):
                alive += diverged_at[group + j] < 0
                copy_into(saved[j], theta[group + j])
                copy_into(saved_memory[j], memory[group + j])
            while step < look:
                while segment + 1 < segment_starts.shape[0] and segment_starts[segment + 1] <= step:
                    segment += 1
                end = min(look, stops[q], step + block)
                if segment + 1 < segment_starts.shape[0]:
                    end = min(end, segment_starts[segment + 1])
                if alive > 0:
                    batch = batch_sizes[segment]
                    origin = segment_starts[segment] * m
                    for j in range(width):
                        law(
                            seed, replicas[group + j], BATCHES, step * m, (end - step) * m, origin, m, samples, batch,
                            law_parameters, scratch[j], sums[j], state[j], index[j], weight[j], count[j],
                        )  # fmt: skip
                    walk_group = walk_one if single and batch == 1 else walk_many
                    walk_group(
                        theta[group : group + width], memory[group : group + width], index, weight, count,
                        step * m, (end - step) * m, m, step_sizes[segment] / m, samples, batch, walk_parameters, keys,
                        inputs, targets, constants, second_moment, work,
                    )  # fmt: skip
                step = end
                if step == stops[q]:
                    record(theta, diverged_at, group, width, slots[q], snapshots)
                    q += 1
            for j in range(width):
                r = group + j
                if diverged_at[r] < 0 and outside(theta[r], limit[r]):
                    copy_into(theta[r], saved[j])
                    copy_into(memory[r], saved_memory[j])
                    part = 0
                    for s in range(begin, look):
                        while part + 1 < segment_starts.shape[0] and segment_starts[part + 1] <= s:
                            part += 1
                        batch = batch_sizes[part]
                        law(
                            seed, replicas[r], BATCHES, s * m, m, segment_starts[part] * m, m, samples, batch,
                            law_parameters, scratch[j], sums[j], state[j], index[j], weight[j], count[j],
                        )  # fmt: skip
                        walk_group = walk_one if single and batch == 1 else walk_many
                        walk_group(
                            theta[r : r + 1], memory[r : r + 1], index[j : j + 1], weight[j : j + 1],
                            count[j : j + 1], s * m, m, m, step_sizes[part] / m, samples, batch, walk_parameters,
                            keys[j : j + 1], inputs, targets, constants, second_moment, work,
                        )  # fmt: skip
                        if outside(theta[r], limit[r]):
                            diverged_at[r] = s + 1
                            break
                    for p in range(first_stop, q):
                        if stops[p] >= diverged_at[r] and slots[p] >= 0:
                            for k in range(snapshots.shape[2]):
                                snapshots[r, slots[p], k] = np.nan
                if diverged_at[r] >= 0:
                    copy_into(theta[r], saved[j])
                    copy_into(memory[r], saved_memory[j])
