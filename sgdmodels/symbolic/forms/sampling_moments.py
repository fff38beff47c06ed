r"""Moments of batch means: the sampling coefficients, from how often samples enter a batch.

A batch mean of numbers or vectors :math:`x_1, \dots, x_n` is :math:`x_B = \frac1b\sum_i m_ix_i`, with the random
multiplicity :math:`m_i` of sample i in the batch. Its central moments are those of the samples times coefficients,

.. math:: \mathbb{E}(x_B - \bar x)^2 = c_2\,\tfrac1n\sum_i(x_i - \bar x)^2, \qquad
          \mathbb{E}(x_B - \bar x)^3 = c_3\,\tfrac1n\sum_i(x_i - \bar x)^3,

and for Bernoulli batches (every sample enters with probability :math:`b/n`, sums are divided by b) raw moments of the
samples take the place of central ones, with the coefficients :math:`\kappa_2, \kappa_3`. All of them follow from

.. math:: \mathbb{E}[x_By_Bz_B] = b^{-3}\sum_\pi\mathbb{E}\Big[\prod_{P\in\pi}m_{i_P}^{|P|}\Big]
          \sum_{i_P\ \text{distinct}}\ \prod_{P\in\pi}\prod_{x\in P}x_{i_P},

a sum over the set partitions of the factors: factors in one part P share a sample, different parts have different
samples. The joint factorial moments of the multiplicities are :math:`b(b-1)\cdots(b-k+1)` over
:math:`n(n-1)\cdots(n-k+1)` without replacement and over :math:`n^k` with replacement, and :math:`(b/n)^k` for Bernoulli
batches; sums over distinct indices come from free sums by Moebius inversion. Source: elementary sampling theory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from sympy.functions.combinatorial.numbers import stirling
from sympy.utilities.iterables import multiset_partitions

from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import BERNOULLI, WITH, WITHOUT, batch_means

b, n = sp.symbols("b n", positive=True)
Partition = list[list[int]]


def batch_expectation(order: int, mean: Callable[[Partition], Any], scheme: str) -> Any:
    """E of a product of `order` batch means.

    mean(partition): the product over blocks of the population mean of the factors (numbered from 0) in the block.
    """
    total = 0
    for blocks in multiset_partitions(list(range(order))):
        sums = 0  # over distinct indices, one for each block
        for merged in multiset_partitions(list(range(len(blocks)))):
            moebius = math.prod((-1) ** (len(group) - 1) * math.factorial(len(group) - 1) for group in merged)
            sums += moebius * n ** len(merged) * mean([[i for k in group for i in blocks[k]] for group in merged])
        total += multiplicity_moment([len(block) for block in blocks], scheme) * sums
    return sp.factor(total / b**order)


def multiplicity_moment(powers: list[int], scheme: str) -> Any:
    """E of the product of m_i^power over different samples i, through factorial moments."""
    if scheme != WITH:  # a sample enters once or not at all, so powers do not matter
        k = len(powers)
        return (b / n) ** k if scheme == BERNOULLI else sp.ff(b, k) / sp.ff(n, k)
    orders = itertools.product(*(range(1, power + 1) for power in powers))
    return sum(
        math.prod(int(stirling(power, k)) for power, k in zip(powers, ks, strict=True))
        * sp.ff(b, sum(ks))
        / n ** sum(ks)
        for ks in orders
    )


def central_moment(order: int, scheme: str) -> Any:
    """The second or third central moment of a batch mean, in the raw moments m1, m2, m3 of the population."""
    m = sp.symbols("m1:4")

    def mean(partition: Partition) -> Any:
        return math.prod(m[len(block) - 1] for block in partition)

    square = batch_expectation(2, mean, scheme)
    if order == 2:
        return square - m[0] ** 2
    return batch_expectation(3, mean, scheme) - 3 * m[0] * square + 2 * m[0] ** 3


def coefficient(order: int, scheme: str) -> Any:
    """How many times the population's moment (central; raw for Bernoulli batches) the central moment is."""
    m1, m2, m3 = sp.symbols("m1:4")
    if scheme == BERNOULLI:
        return sp.cancel(central_moment(order, scheme) / (m2 if order == 2 else m3))
    return sp.cancel(central_moment(order, scheme) / (m2 - m1**2 if order == 2 else m3 - 3 * m1 * m2 + 2 * m1**3))


def coefficient_form(name: str, order: int, scheme: str, shown: Any, arguments: tuple[Any, ...]) -> ClosedForm:
    """The closed form of one coefficient, whatever the scheme."""
    words = {WITHOUT: "without replacement", WITH: "with replacement", BERNOULLI: "Bernoulli"}[scheme]
    raw = scheme == BERNOULLI
    ordinal = {2: "second", 3: "third"}[order]
    drawn = "Bernoulli batches, whose sums are divided by b," if raw else f"the mean of b draws {words}"

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        size = int(rng.integers(3, 7))
        batch = int(rng.choice([k for k in range(1, min(size, 5)) if 2 * k != size]))  # c3 is zero at n = 2b
        x = rng.exponential(size=size) ** 2
        means, p = batch_means(x, batch, scheme)
        population = x if raw else x - x.mean()
        numbers = {b: batch, n: size}
        truth = p @ (means - x.mean()) ** order / np.mean(population**order)
        return formula(*(numbers[argument] for argument in arguments)), truth

    symbol = "kappa" if raw else "c"
    return ClosedForm(
        name=name,
        title=f"{ordinal.capitalize()} sampling coefficient, {words}",
        statement=f"The {ordinal} central moments of {drawn} are this many times the {'raw' if raw else 'central'} "
        f"{ordinal} moments of the n samples.",
        quantity=f"{symbol}_{order}",
        quantity_latex=rf"\kappa_{order}" if raw else f"c_{order}",
        expression=proven(coefficient(order, scheme), shown),
        arguments=arguments,
        assumptions=(
            f"batches drawn {words}"
            if not raw
            else "every sample enters with probability b/n, independently of the others",
        )
        + (("n >= 3 (the third central moments of two samples vanish)",) if order == 3 and scheme == WITHOUT else ()),
        reference="elementary sampling theory",
        route="all batches of a random population",
        compare=compare,
    )


def c2_without_replacement() -> ClosedForm:
    return coefficient_form("c2_without_replacement", 2, WITHOUT, (n - b) / (b * (n - 1)), (n, b))


def c3_without_replacement() -> ClosedForm:
    shown = (n - b) * (n - 2 * b) / (b**2 * (n - 1) * (n - 2))
    return coefficient_form("c3_without_replacement", 3, WITHOUT, shown, (n, b))


def c2_with_replacement() -> ClosedForm:
    return coefficient_form("c2_with_replacement", 2, WITH, 1 / b, (b,))


def c3_with_replacement() -> ClosedForm:
    return coefficient_form("c3_with_replacement", 3, WITH, 1 / b**2, (b,))


def kappa2_bernoulli() -> ClosedForm:
    return coefficient_form("kappa2_bernoulli", 2, BERNOULLI, (1 - b / n) / b, (n, b))


def kappa3_bernoulli() -> ClosedForm:
    return coefficient_form("kappa3_bernoulli", 3, BERNOULLI, (1 - b / n) * (1 - 2 * b / n) / b**2, (n, b))


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    c2_without_replacement,
    c3_without_replacement,
    c2_with_replacement,
    c3_with_replacement,
    kappa2_bernoulli,
    kappa3_bernoulli,
)
