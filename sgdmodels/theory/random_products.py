r"""Growth of random products of steps of SGD, sampled: estimates of Lyapunov exponents and what they can be off by.

Products start from two frames: the slowest directions of the mean step, which are right where noise is weak, and random
ones. QR factorisations keep them orthonormal. An estimate can be off by more than its spread over independent products:

* the start is not forgotten: the two starts, with the same batches, then give different numbers;
* neighbouring exponents are so close that which mode leads still changes by chance. The larger one is then
  overestimated and the smaller one underestimated, each by less than the difference seen between them.

Source: Benettin 1980 for the method; the error budget is this project's.
"""

from __future__ import annotations

import math

import numpy as np

from ..arguments import FloatArray
from .batch_steps import BatchSteps
from .step_moments import mean_step

BURN_IN = 4  # one step in so many more, at the start of each product, is not counted
SINGULAR = 64 * np.finfo(np.float64).eps
STIR = 1e-6  # added to the frame of the mean step, which random steps may leave invariant
RESOLVED = 3.0  # standard deviations over products by which exponents must differ to count as different


def sampled_exponents(
    steps_of: BatchSteps, step_size: float, count: int, steps: int, replicas: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Means over independent products, descending, and their errors.

    Heavy ball multiplies areas dx dv by beta, so its exponents come in pairs of sum log(beta): the smaller one of each
    pair, which rounding would swallow, is the reflection of the larger one.
    """
    rng = np.random.default_rng(seed)
    paired = steps_of.momentum > 0 and not steps_of.nesterov
    free = min(count, steps_of.dim) if paired else count
    width = min(free + 1, steps_of.state)
    starts = [slowest_frame(steps_of, step_size, width, rng), random_frame(steps_of, replicas, width, rng)]
    growth = product_growth(steps_of, step_size, starts, steps, rng)
    leads = growth[..., 0].mean(axis=1)
    best = int(np.argmax(leads))
    values, errors = estimate(growth[best], growth[1 - best])
    order = np.argsort(-values[:free], kind="stable")
    values, errors = values[order], errors[order]
    if count > free:
        values = np.concatenate([values, math.log(steps_of.momentum) - values[::-1]])[:count]
        errors = np.concatenate([errors, errors[::-1]])[:count]
    return values, errors


def estimate(growth: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of `growth` (replicas, width) and their errors, with `other` from another start."""
    values, doubts = growth.mean(axis=0), np.zeros(growth.shape[1])
    alive = int(np.isfinite(values).sum())  # steps that are singular kill the last exponents
    finite, reference = growth[:, :alive], other[:, :alive].mean(axis=0)
    apart = finite[:, :-1] - finite[:, 1:]
    gaps = apart.mean(axis=0)
    gaps = np.where(gaps < RESOLVED * apart.std(axis=0, ddof=1), abs(gaps), 0.0)
    doubts[: alive - 1] = gaps
    doubts[1:alive] = np.maximum(doubts[1:alive], gaps)
    shift = np.where(np.isfinite(reference), abs(values[:alive] - reference), 0.0)
    spread = finite.std(axis=0, ddof=1) / math.sqrt(len(growth))
    errors = np.zeros(growth.shape[1])
    errors[:alive] = np.sqrt(spread**2 + shift**2 + doubts[:alive] ** 2)
    return values, errors


def random_frame(steps_of: BatchSteps, replicas: int, width: int, rng: np.random.Generator) -> FloatArray:
    """Orthonormal columns (replicas, state, width)."""
    frame: FloatArray = np.linalg.qr(rng.standard_normal((replicas, steps_of.state, width)))[0]
    return frame


def slowest_frame(steps_of: BatchSteps, step_size: float, width: int, rng: np.random.Generator) -> FloatArray:
    """The directions (state, width) in which the mean step shrinks least, a little stirred."""
    values, vectors = np.linalg.eig(mean_step(steps_of, step_size))
    columns = np.where(values.imag < 0, vectors.imag, vectors.real)  # of a complex pair, one each
    frame = columns[:, np.argsort(-abs(values), kind="stable")[:width]]
    stirred: FloatArray = np.linalg.qr(frame + STIR * rng.standard_normal(frame.shape))[0]
    return stirred


def product_growth(
    steps_of: BatchSteps, step_size: float, starts: list[FloatArray], steps: int, rng: np.random.Generator
) -> FloatArray:
    """(starts, replicas, width): log R_jj per step of independent random products, whole epochs where there are any.

    The products of all `starts`, (state, width) or (replicas, state, width), meet the same batches.
    """
    unit = steps_of.epoch_steps if steps_of.sampling == "epoch" else 1
    counted, first = (unit * math.ceil(length / unit) for length in (steps, steps / BURN_IN))
    replicas = max(len(start) for start in starts if start.ndim == 3)
    frames = np.array([np.broadcast_to(start, (replicas, *start.shape[-2:])) for start in starts])
    many, _, state, width = frames.shape
    total = np.zeros((many, replicas, width))
    # a step of heavy ball is never singular, however small beta is
    zero = 0.0 if steps_of.momentum > 0 and not steps_of.nesterov else SINGULAR * (1 + steps_of.scale * step_size)
    for t, batches in enumerate(steps_of.draws(rng, replicas, first + counted)):
        side_by_side = frames.transpose(1, 2, 0, 3).reshape(replicas, state, many * width)
        moved = steps_of.advance(side_by_side, batches, step_size).reshape(replicas, state, many, width)
        frames, triangle = np.linalg.qr(moved.transpose(2, 0, 1, 3))
        if t >= first:
            size = abs(np.diagonal(triangle, axis1=2, axis2=3))
            with np.errstate(divide="ignore"):
                total += np.log(np.where(size <= zero, 0.0, size))
    return total / counted
