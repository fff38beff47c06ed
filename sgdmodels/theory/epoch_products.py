r"""Moments of the product of the steps of an epoch, :math:`P = M_{B_K}\cdots M_{B_1}`, over random permutations.

Exactly, over sets of samples: given that the first k batches make up S, the last of them is a uniform b-subset B of S
and what comes before is a uniform order of the rest, so

.. math:: T_S(X) = \operatorname{mean}_{B\subset S}\; M_B\,T_{S\setminus B}(X)\,M_B^T, \qquad
          E[PXP^T] = \operatorname{mean}_S T_S(X) \text{ over the sets of Kb samples;}

or as the mean over sampled permutations, each with its reverse, which has the same law. The reverse costs nothing:
:math:`M_B^T S = S M_B` for one symmetric S (the identity without momentum), so its product is :math:`S^{-1}P^TS`, and
the adjoint of :math:`X\mapsto E[PXP^T]` has the eigenvector SXS when X is that of the map. Source: this project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ..arguments import FloatArray
from .batch_steps import BatchSteps, Indices
from .perron import Map

MOST_TRANSITIONS = 30_000
MOST_WORK = 2_000_000  # numbers held by all transitions


@dataclass(frozen=True)
class ExactEpochs:
    """All permutations."""

    steps_of: BatchSteps

    @cached_property
    def batches(self) -> list[tuple[int, ...]]:
        return list(combinations(range(self.steps_of.samples), self.steps_of.batch_size))

    @cached_property
    def levels(self) -> list[tuple[Indices, Indices]]:
        """For each k: (batch B, set S without B) by [set S of k b samples, which of its batches comes last]."""
        n, b = self.steps_of.samples, self.steps_of.batch_size
        number = {batch: i for i, batch in enumerate(self.batches)}
        before: dict[tuple[int, ...], int] = {(): 0}
        levels = []
        for k in range(1, self.steps_of.epoch_steps + 1):
            sets = list(combinations(range(n), k * b))
            last = [[number[batch] for batch in combinations(s, b)] for s in sets]
            rest = [[before[tuple(i for i in s if i not in batch)] for batch in combinations(s, b)] for s in sets]
            levels.append((np.array(last), np.array(rest)))
            before = {s: i for i, s in enumerate(sets)}
        return levels

    def second_moment(self, step_size: float, unit: float = 1.0) -> Map:
        """X -> E[P X P'] for steps divided by `unit`."""
        steps = self.steps_of.matrices(np.array(self.batches), step_size) / unit

        def apply(x: FloatArray) -> FloatArray:
            moments = x[None]
            for last, rest in self.levels:
                step = steps[last]
                moments = np.matmul(np.matmul(step, moments[rest]), step.transpose(0, 1, 3, 2)).mean(axis=1)
            return moments.mean(axis=0)

        return apply

    def mean(self, step_size: float, unit: float = 1.0) -> FloatArray:
        """E[P] for steps divided by `unit`."""
        steps = self.steps_of.matrices(np.array(self.batches), step_size) / unit
        moments = np.eye(self.steps_of.state)[None]
        for last, rest in self.levels:
            moments = np.matmul(steps[last], moments[rest]).mean(axis=1)
        return moments.mean(axis=0)


@dataclass(frozen=True)
class SampledEpochs:
    """Permutations drawn once, the same at every step size: `order` (K, permutations, batch_size)."""

    steps_of: BatchSteps
    order: Indices

    def products(self, step_size: float, unit: float = 1.0) -> FloatArray:
        """P of each permutation, of steps divided by `unit`."""
        size = self.steps_of.state
        product = np.broadcast_to(np.eye(size), (self.order.shape[1], size, size))
        for batches in self.order:
            product = self.steps_of.advance(product, batches, step_size) / unit
        return product

    def second_moment(self, step_size: float, unit: float = 1.0) -> Map:
        """X -> the mean of P X P' over permutations and their reverses, for steps divided by `unit`."""
        form = reversal_form(self.steps_of)
        inverse = np.linalg.inv(form)
        forward = self.products(step_size, unit)
        m, size, _ = forward.shape
        columns = np.concatenate([forward, inverse @ forward.transpose(0, 2, 1) @ form])
        rows = np.ascontiguousarray(columns.transpose(0, 2, 1)).reshape(2 * m * size, size)
        flat = columns.transpose(1, 0, 2).reshape(size, 2 * m * size)

        def apply(x: FloatArray) -> FloatArray:
            # sum over permutations of P X P': two matrix products instead of 4 m small ones
            return flat @ np.matmul(x, rows.reshape(2 * m, size, size)).reshape(2 * m * size, size) / (2 * m)

        return apply

    def mean(self, step_size: float, unit: float = 1.0) -> FloatArray:
        """E[P] for steps divided by `unit`."""
        form = reversal_form(self.steps_of)
        forward = self.products(step_size, unit).mean(axis=0)
        return (forward + np.linalg.solve(form, forward.T @ form)) / 2

    @property
    def single(self) -> bool:
        """Whether one permutation stands for all."""
        return self.order.shape[1] == 1

    def spread(self, step_size: float, mode: FloatArray) -> float:
        """Standard error of the mean of <SXS, P X P'>, X = `mode`: the same for a permutation and its reverse."""
        form = reversal_form(self.steps_of)
        products = self.products(step_size)
        images = products @ mode @ products.transpose(0, 2, 1)
        values = np.einsum("ij,mij->m", form @ mode @ form, images)
        return float(values.std(ddof=1) / math.sqrt(len(values)))


def reversal_form(steps_of: BatchSteps) -> FloatArray:
    """The symmetric S with M_B' S = S M_B for every batch, (state, state)."""
    beta = steps_of.momentum
    if beta == 0:
        return np.eye(steps_of.dim)
    if steps_of.nesterov:
        form = np.array([[-(1 - beta), beta**2], [beta**2, beta**2 * (1 + beta)]])
    else:
        form = np.array([[-(1 - beta), beta], [beta, beta]])
    return np.kron(form, np.eye(steps_of.dim))


def transitions(samples: int, batch_size: int) -> int:
    """Pairs of a set and its last batch, over all levels of the exact recursion."""
    steps = range(batch_size, samples // batch_size * batch_size + 1, batch_size)
    return sum(math.comb(samples, k) * math.comb(k, batch_size) for k in steps)


def affordable(steps_of: BatchSteps) -> bool:
    """Whether all permutations are few enough."""
    count = transitions(steps_of.samples, steps_of.batch_size)
    return count <= MOST_TRANSITIONS and count * steps_of.state**2 <= MOST_WORK
