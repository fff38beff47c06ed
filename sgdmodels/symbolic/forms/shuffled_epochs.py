r"""Shuffled epochs: batches of one permutation are correlated, which regularises and moves the edge of stability.

The samples are put in random order and cut into :math:`K = n/b` batches of b samples, one step is taken on each, and
the next epoch has an order of its own. Two batches of an epoch share no sample, so their noises are anticorrelated;
over a whole epoch they sum to zero. For small steps what remains is a penalty on the batch gradients: the mean of an
epoch follows, up to :math:`\eta^3`, gradient flow on

.. math:: L + \frac{\eta}{4K}\sum_{k=1}^K|\nabla L_k|^2,

with :math:`L_k` the loss of batch k. At the edge what counts is the product of the steps of an epoch; for two samples
:math:`l_i = \tfrac12h_ix^2` in one dimension, both orders give

.. math:: x \mapsto (1-\eta h_1)(1-\eta h_2)\,x.

Sources: Smith et al. 2021; Beneventano 2023.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import WITHOUT, crossing
from .one_dimension import EDGE, eta
from .sampling_moments import b, batch_expectation, coefficient, n

h1, h2 = sp.symbols("h_1 h_2", positive=True)


def epoch_pair_correlation() -> ClosedForm:
    """Two batches of one permutation have no sample in common: only pairs of different indices contribute."""
    variance = sp.Symbol("V", positive=True)
    different = -n * variance  # sum of x_i x_j over i != j of a centred population: (sum)^2 - sum of squares
    covariance = different / (n * (n - 1))
    derived = sp.cancel(covariance / (variance * coefficient(2, WITHOUT)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        size = int(rng.integers(4, 7))
        batch = int(rng.integers(1, size // 2 + 1))
        orders = rng.normal(size=size)[np.array(list(itertools.permutations(range(size))))]
        first, second = orders[:, :batch].mean(axis=1), orders[:, batch : 2 * batch].mean(axis=1)
        return formula(size, batch), np.corrcoef(first, second)[0, 1]

    return ClosedForm(
        name="epoch_pair_correlation",
        title="Correlation of two batches of one epoch",
        statement="The noises of two batches of one shuffled epoch are anticorrelated, most strongly (-1) when two "
        "batches make up the data set.",
        quantity="Corr(x_B, x_B')",
        quantity_latex=r"\operatorname{Corr}(x_B, x_{B'})",
        expression=proven(derived, -b / (n - b)),
        arguments=(n, b),
        assumptions=("B and B' are different batches of b samples of one random permutation",),
        reference="Beneventano 2023",
        route="all permutations",
        compare=compare,
    )


def shuffling_penalty() -> ClosedForm:
    """Every batch of a random permutation is a batch drawn without replacement, so only c2 is needed."""
    batches, s1, s2 = sp.symbols("K S_1 S_2", positive=True)
    derived = batch_expectation(2, lambda blocks: s1 if len(blocks) == 1 else s2, WITHOUT)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        size, batch = ((4, 2), (6, 2), (6, 3), (5, 1))[rng.integers(4)]
        g = rng.normal(size=(size, 3))
        orders = np.array(list(itertools.permutations(range(size))))
        sums = g[orders].reshape(len(orders), size // batch, batch, 3).mean(axis=2)
        samples, full = (g**2).sum(axis=1).mean(), (g.mean(axis=0) ** 2).sum()
        return formula(size, size // batch, samples, full), (sums**2).sum(axis=2).mean()

    return ClosedForm(
        name="shuffling_penalty",
        title="Implicit regulariser of random shuffling",
        statement="SGD over shuffled epochs of K batches follows, to second order and on average, gradient flow on the "
        "loss plus eta/4 times this mean square of the batch gradients: that of the full gradient, and c_2 times the "
        "variance of the samples' gradients.",
        quantity="E[(1/K) sum_k |grad L_k|^2]",
        quantity_latex=r"\mathbb{E}\,\frac1K\sum_{k=1}^K|\nabla L_k|^2",
        expression=proven(derived, s2 + (batches - 1) / (n - 1) * (s1 - s2), [(batches, n / b)]),
        arguments=(n, batches, s1, s2),
        assumptions=(
            "a random permutation cut into K = n/b batches",
            "S_1 is the mean of |g_i|^2, S_2 = |gbar|^2",
            "L_k is the loss of batch k",
        ),
        reference="Smith et al. 2021",
        route="all permutations",
        compare=compare,
    )


def epoch_form(name: str, statement: str, derived: Any, shown: Any, condition: str, apart: bool) -> ClosedForm:
    """The edge of shuffled epochs of two samples; apart: the curvatures differ much."""

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        curvatures = np.array([1.0, rng.uniform(7, 40) if apart else rng.uniform(1.1, 5)]) * rng.uniform(0.5, 2)
        low, high = rng.permutation(curvatures)

        def growth(step: float) -> float:
            orders = [(1 - step * low) * (1 - step * high), (1 - step * high) * (1 - step * low)]
            return float(np.mean(np.square(orders)))

        return formula(low, high), crossing(growth, 0.01 / curvatures.max())

    return ClosedForm(
        name=name,
        title="Edge of shuffled epochs, " + ("curvatures far apart" if apart else "similar curvatures"),
        statement=statement,
        quantity=EDGE[0],
        quantity_latex=EDGE[1],
        expression=proven(derived, shown),
        arguments=(h1, h2),
        assumptions=(
            "one dimension, two samples of curvatures h_1, h_2 > 0, batches of one, shuffled epochs",
            condition,
        ),
        reference="this project",
        route="first step size where the mean square of an epoch over both orders passes 1",
        compare=compare,
    )


def shuffled_edge_far_apart() -> ClosedForm:
    """The product of an epoch falls from 1 as eta grows; its least value is below -1 for curvatures far apart."""
    roots = sp.solve((1 - eta * h1) * (1 - eta * h2) + 1, eta)
    first = min(roots, key=lambda root: float(root.subs({h1: sp.Rational(1, 5), h2: sp.Rational(9, 5)})))
    return epoch_form(
        "shuffled_edge_far_apart",
        "The first step size where shuffled epochs become unstable; it lies beyond the mean-square edge of "
        "independent batches (for curvatures 0.2 and 1.8 it is 1.308, not 1.220), and at still larger steps there "
        "can be stable ones again (between 4.25 and 5.56).",
        first,
        (h1 + h2 - sp.sqrt((h1 + h2) ** 2 - 8 * h1 * h2)) / (2 * h1 * h2),
        "(h_1 + h_2)^2 > 8 h_1 h_2",
        apart=True,
    )


def shuffled_edge_similar() -> ClosedForm:
    (first,) = sp.solve(sp.cancel(((1 - eta * h1) * (1 - eta * h2) - 1) / eta), eta)
    return epoch_form(
        "shuffled_edge_similar",
        "For similar curvatures the product over a shuffled epoch first leaves the unit interval at +1: the edge is "
        "that of the harmonic mean of the curvatures, above the one of gradient descent.",
        first,
        1 / h1 + 1 / h2,
        "(h_1 + h_2)^2 < 8 h_1 h_2",
        apart=False,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    epoch_pair_correlation,
    shuffling_penalty,
    shuffled_edge_far_apart,
    shuffled_edge_similar,
)
