r"""Batch Sharpness by Monte Carlo over batches, in both definitions, each with its own interval and stopping rule.

.. math:: \mathrm{BS}_R = \frac{E[g_B^TM_Bg_B]}{E|g_B|^2}, \qquad
          \mathrm{BS}_E = E\!\left[\frac{g_B^TM_Bg_B}{|g_B|^2}\,\Big|\,g_B \ne 0\right]

Both are ratios of means over independent units, BS_E that of (sum of ratios, number of ratios), so both have Fieller's
t interval; where every batch has a gradient that of BS_E is Student's.

Without replacement (and for epochs, whose single batches have the same law) a unit is a run of disjoint batches of one
permutation: what one batch has too much of the others lack, which cuts the variance several-fold once a run covers most
of the data. So an adaptive estimate lets its first units grow to whole permutations before it adds more of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...arguments import FloatArray, integer, one_of, real
from ...batches import all_batches, number_of_batches
from ...metrics.batch_average import ENUMERATE_UP_TO, LARGEST_TABLE
from ...sampling import SCHEMES
from ..objectives.objective import Objective
from .batch_units import CAPACITY, BatchUnits, curvatures
from .intervals import LEVEL, Estimate, ratio_interval

RATIO_OF_MEANS, MEAN_OF_RATIOS = "ratio_of_means", "mean_of_ratios"
DEFINITIONS = (RATIO_OF_MEANS, MEAN_OF_RATIOS)
UNITS = 16  # at least: fewer make Student's t wide, and stopping at an error that is low by chance likely
BATCHES = 64  # at least, before the first look: the numerators are heavy-tailed


class BatchEstimates(NamedTuple):
    """Estimates at several batch sizes, each array (batch_sizes,), from `batches` batches in `units` independent units.

    The standard error is zero where all batches were enumerated.
    """

    value: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    batches: NDArray[np.int64]
    units: NDArray[np.int64]


class _At(NamedTuple):
    """An estimate at one batch size."""

    estimate: Estimate
    batches: int
    units: int


def batch_sharpness(
    objective: Objective, theta: Tensor, batch_sizes: Sequence[int], *, definitions: Sequence[str] = DEFINITIONS,
    sampling: str = "without_replacement", relative_error: float | None = None, batches: int = 1000,
    level: float = LEVEL, seed: int = 0, replica: int = 0, step: int = 0,
) -> dict[str, BatchEstimates]:  # fmt: skip
    """Batch Sharpness at theta (d,) and every b of `batch_sizes`, for each of the `definitions`.

    `batches` random batches at each b (rounded down to whole units); or, with `relative_error`, as many as bring the
    standard error of the definition reported to that share of its value, from about 64 on and at most `batches`. Exact
    by enumeration where all batches are few (4096). Definitions share their batches but never a stopping rule. Batches
    are a pure function of (seed, replica, step).

    NaN where no batch has a gradient; Bernoulli batches that are empty count as no gradient. Intervals at `level` are
    (-inf, inf) where too few batches had one. Raises InvalidArgument for bad input.

    >>> import torch
    >>> from sgdmodels.networks.objectives.budget import MemoryBudget
    >>> from sgdmodels.networks.objectives.module_objective import ModuleObjective
    >>> net = torch.nn.Linear(1, 1, bias=False).double()
    >>> x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    >>> objective = ModuleObjective(net, lambda f, y: 0.5 * (f - y).square().sum(1), x, 0 * x, MemoryBudget(2**20))
    >>> found = batch_sharpness(objective, torch.ones(1, dtype=torch.float64), [1])  # g = M = x^2 = 1, 4
    >>> [round(float(found[name].value[0]), 12) for name in ("mean_of_ratios", "ratio_of_means")]  # 5/2, 65/17
    [2.5, 3.823529411765]
    """
    n = objective.samples
    sizes = [integer("batch_size", b, 1, n, why="(the number of samples)") for b in batch_sizes]
    names = [one_of("definitions", name, DEFINITIONS) for name in definitions]
    one_of("sampling", sampling, SCHEMES)
    target = None if relative_error is None else real("relative_error", relative_error, open_low=True)
    most = integer("batches", batches, UNITS, CAPACITY, why="(fewer make no honest interval)")
    real("level", level, 0.0, 1.0, open_low=True)
    key = {name: integer(name, k, 0, 2**64 - 1) for name, k in (("seed", seed), ("replica", replica), ("step", step))}
    rows: dict[str, list[_At]] = {name: [] for name in names}
    for b in sizes:
        if number_of_batches(n, b, sampling) <= min(ENUMERATE_UP_TO, LARGEST_TABLE // b):
            everything = enumerated(objective, theta, b, sampling)
            for name in names:
                rows[name].append(exact(everything, name))
        else:
            units = BatchUnits(objective, theta, b, sampling, **key)
            for name in names:
                rows[name].append(
                    of_fixed_number(units, name, most, level)
                    if target is None
                    else until_precise(units, name, target, most, level)
                )
    return {name: gathered(found) for name, found in rows.items()}


def parts(definition: str, numerators: FloatArray, denominators: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What a definition is the ratio of the means of, batch by batch.

    >>> [x.tolist() for x in parts("mean_of_ratios", np.array([6.0, 0.0]), np.array([2.0, 0.0]))]
    [[3.0, 0.0], [1.0, 0.0]]
    """
    if definition == RATIO_OF_MEANS:
        return numerators, denominators
    alive = denominators != 0  # NaN stays: a point that is not finite must not look like one without gradients
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=alive), alive.astype(np.float64)


def of_units(units: BatchUnits, definition: str, number: int, run: int, level: float) -> _At:
    """The estimate from the first `run` batches of `number` units."""
    top, bottom = parts(definition, *units.table(number, run))
    return _At(ratio_interval(top.sum(axis=1), bottom.sum(axis=1), level), number * run, number)


def of_fixed_number(units: BatchUnits, definition: str, batches: int, level: float) -> _At:
    """The estimate from at most `batches` batches, in runs as long as leave enough units for an interval."""
    run = min(units.length, batches // UNITS)
    return of_units(units, definition, batches // run, run, level)


def until_precise(units: BatchUnits, definition: str, target: float, most: int, level: float) -> _At:
    """The estimate at the first look at which its relative standard error is at most `target`, or at `most` batches.

    Between looks the number of batches grows by what the last error asks for, at most twofold.
    """
    start = min(BATCHES, most)
    run = min(units.length, start // UNITS)
    number = start // run
    while True:
        found = of_units(units, definition, number, run, level)
        value, error = abs(float(found.estimate.value)), float(found.estimate.standard_error)
        if not error > target * value:  # also where there is nothing to estimate
            return found
        factor = min(2.0, (error / (target * value)) ** 2) if value else 2.0
        if run < units.length and number * (run + 1) <= most:
            run = min(units.length, most // number, max(run + 1, math.ceil(run * factor)))
        elif (number + 1) * run <= most:
            number = min(most // run, max(number + 1, math.ceil(number * factor)))
        else:
            return found


def enumerated(
    objective: Objective, theta: Tensor, batch_size: int, sampling: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """g_B' M_B g_B, |g_B|^2 and probability of every batch."""
    batches = all_batches(objective.samples, batch_size, "without_replacement" if sampling == "epoch" else sampling)
    assert batches.probability is not None
    return *curvatures(objective, theta, batches), batches.probability


def exact(everything: tuple[FloatArray, FloatArray, FloatArray], definition: str) -> _At:
    """The estimate from all batches and their probabilities."""
    numerators, denominators, probability = everything
    possible = probability > 0
    top, bottom = parts(definition, numerators[possible], denominators[possible])
    mean = probability[possible] @ bottom
    value = np.asarray(probability[possible] @ top / mean if mean > 0 else np.nan)
    error = np.where(np.isfinite(value), 0.0, np.nan)
    return _At(Estimate(value, error, value, value), len(probability), len(probability))


def gathered(found: list[_At]) -> BatchEstimates:
    """One array over batch sizes of each thing that was found."""
    value, error, low, high = (np.array(column) for column in zip(*(at.estimate for at in found), strict=True))
    counts = [
        np.array(column, dtype=np.int64) for column in zip(*((at.batches, at.units) for at in found), strict=True)
    ]
    return BatchEstimates(value, error, low, high, *counts)
