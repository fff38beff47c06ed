"""Direct tests, at fixed seeds, of what is built on the random bits: uniform integers, batch laws, normals, keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations

import numpy as np
from numba import float64, int64, uint64, void
from numpy.typing import NDArray
from scipy import special, stats

from sgdmodels.kernels.batches import bernoulli, epoch, with_replacement, without_replacement
from sgdmodels.kernels.compile import Kernel, kernel
from sgdmodels.kernels.draw import draw_weights
from sgdmodels.kernels.random import BATCHES, GAUSSIANS, below, random_bits, standard_normal, stream_keys, uniform

SEED = 20260101
Row = tuple[str, str, float]  # what was tested, the evidence in numbers, p-value


@kernel(void(uint64, uint64, int64, uint64, int64[::1]))
def count_below(seed, stride, draws, n, counts):
    """Histogram of `below` at counters 0, stride, 2 stride, ..."""
    a, b = stream_keys(seed, 0, BATCHES)
    for i in range(draws):
        counts[below(random_bits(a, b, uint64(i) * stride), n)] += 1


@kernel(void(uint64, int64, int64[::1]))
def count_uniform(seed, draws, counts):
    """Histogram of `uniform` over equal cells."""
    a, b = stream_keys(seed, 0, BATCHES)
    for i in range(draws):
        counts[int64(uniform(random_bits(a, b, uint64(i))) * counts.size)] += 1


@kernel(void(uint64, uint64, uint64, float64[::1]))
def fill_normals(seed, replica, first, out):
    """Normals of one replica at consecutive counters."""
    a, b = stream_keys(seed, replica, GAUSSIANS)
    for i in range(out.size):
        out[i] = standard_normal(a, b, first + uint64(i))


@kernel(void(uint64[::1], int64, int64[:, ::1]))
def count_flips(seeds, flipped, counts):
    """How often output bit j changes when bit i of one input does: of the seed, replica, stream or counter (0 to 3)."""
    for s in range(seeds.size):
        replica, stream, counter = uint64(s & 1023), uint64(s % 3), uint64(s >> 10)
        a, b = stream_keys(seeds[s], replica, stream)
        base = random_bits(a, b, counter)
        for i in range(64):
            bit = uint64(1) << uint64(i)
            a, b = stream_keys(
                seeds[s] ^ (bit if flipped == 0 else uint64(0)),
                replica ^ (bit if flipped == 1 else uint64(0)),
                stream ^ (bit if flipped == 2 else uint64(0)),
            )
            change = base ^ random_bits(a, b, counter ^ (bit if flipped == 3 else uint64(0)))
            for j in range(64):
                counts[i, j] += int64((change >> uint64(j)) & uint64(1))


def draw(
    law: Kernel, samples: int, batch: int, steps: int, replica: int = 0, first: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Batches (step, k) and their sizes, as a law of batches.py draws them."""
    index, _, count = draw_weights(law, samples, samples, batch, steps, first=first, seed=SEED, replica=replica)
    return index, count


def chi_square(counts: NDArray[np.int64], probabilities: NDArray[np.float64] | None = None) -> tuple[str, float]:
    """Pearson's test of counts against cell probabilities, equal ones by default."""
    total = int(counts.sum())
    expected = total * (np.full(counts.size, 1 / counts.size) if probabilities is None else probabilities)
    statistic, p = stats.chisquare(counts, expected)
    return f"{total:.3g} draws, {counts.size} cells, chi2 = {statistic:.1f}", float(p)


def cells(rows: NDArray[np.int32], outcomes: list[tuple[int, ...]]) -> NDArray[np.int64]:
    """How often each outcome stands in the rows; no row may hold anything else."""
    base = int(rows.max()) + 1
    powers = base ** np.arange(rows.shape[1])
    counts = np.bincount(rows @ powers, minlength=base ** rows.shape[1])
    chosen = counts[np.array(outcomes) @ powers]
    assert chosen.sum() == len(rows), "an impossible batch"
    return chosen


def gaussian(total: float, variance: float) -> tuple[str, float]:
    """Whether a sum of mean zero is as small as it should be, two-sided."""
    z = total / np.sqrt(variance)
    return f"z = {z:+.2f}", float(2 * stats.norm.sf(abs(z)))


def integers() -> Iterator[Row]:
    """`below` and `uniform`."""
    for n in (7, 60, 100):
        for stride in (1, n):
            counts = np.zeros(n, np.int64)
            count_below(np.uint64(SEED), np.uint64(stride), 10**9, np.uint64(n), counts)
            yield f"below: n = {n}, counter stride {stride}", *chi_square(counts)
    counts = np.zeros(1000, np.int64)
    count_uniform(np.uint64(SEED), 10**9, counts)
    yield "uniform: 1000 equal cells", *chi_square(counts)


def batches() -> Iterator[Row]:
    """The laws of batches.py, along steps of one replica and across replicas at one step."""
    steps, replicas = 2_000_000, 500_000

    sets = np.sort(draw(without_replacement, 6, 3, steps)[0][:, :3], axis=1)
    yield "without_replacement: subsets, b = 3 of n = 6", *chi_square(cells(sets, list(combinations(range(6), 3))))
    triples = list(permutations(range(5), 3))
    rows = draw(without_replacement, 5, 3, steps)[0][:, :3]
    yield "without_replacement: orderings, b = 3 of n = 5", *chi_square(cells(rows, triples))
    rows = np.array([draw(without_replacement, 5, 3, 1, replica, 7)[0][0, :3] for replica in range(replicas)])
    yield "without_replacement: the same at step 7 of every replica", *chi_square(cells(rows, triples))

    first = draw(with_replacement, 10, 1, steps)[0][:, 0]
    pairs = np.bincount(first[:-1] * 10 + first[1:], minlength=100)
    # Overlapping pairs: pairs less singles is the chi-square statistic (Good 1953), with 100 - 10 degrees of freedom.
    singles = stats.chisquare(np.bincount(first)).statistic
    statistic = stats.chisquare(pairs).statistic - singles
    evidence = f"{pairs.sum():.3g} draws, 100 cells, chi2 = {statistic:.1f}"
    yield "with_replacement: successive steps, b = 1 of n = 10", evidence, float(stats.chi2.sf(statistic, 90))
    pairs = np.zeros(100, np.int64)
    for replica in range(0, 2000, 2):
        left, right = (draw(with_replacement, 10, 1, 1000, r)[0][:, 0] for r in (replica, replica + 1))
        pairs += np.bincount(left * 10 + right, minlength=100)
    yield "with_replacement: neighbouring replicas, b = 1 of n = 10", *chi_square(pairs)

    rows = draw(epoch, 4, 1, 4 * steps)[0][:, 0].reshape(-1, 4)
    yield "epoch: permutations of n = 4, b = 1", *chi_square(cells(rows, list(permutations(range(4)))))
    rows = draw(epoch, 5, 2, 2 * steps)[0][:, :2].reshape(-1, 4)
    yield "epoch: n = 5, b = 2, one sits out", *chi_square(cells(rows, list(permutations(range(5), 4))))

    sizes = np.bincount(draw(bernoulli, 20, 5, steps)[1], minlength=21)
    probabilities = stats.binom.pmf(np.arange(21), 20, 0.25)
    last = int(np.flatnonzero(steps * probabilities > 10)[-1])
    pooled = np.append(sizes[:last], sizes[last:].sum())
    tail = np.append(probabilities[:last], probabilities[last:].sum())
    yield "bernoulli: sizes binomial, b = 5 of n = 20", *chi_square(pooled, tail)
    index, count = draw(bernoulli, 4, 2, steps)
    masks = np.where(np.arange(4) < count[:, None], 1 << index, 0).sum(axis=1)
    yield "bernoulli: subsets, b = 2 of n = 4", *chi_square(np.bincount(masks, minlength=16))


def normals() -> Iterator[Row]:
    """`standard_normal`: distribution, tails, independence of the two halves of a pair and of neighbouring replicas."""
    block, blocks = 2**22, 48
    total = block * blocks
    counts = np.zeros(1000, np.int64)
    beyond = {4: 0, 5: 0}
    product = squares = 0.0
    x = np.empty(block)
    for k in range(blocks):
        fill_normals(np.uint64(SEED), np.uint64(0), np.uint64(k * block), x)
        if k == 0:
            statistic, p = stats.kstest(x, "norm")
            yield "standard_normal: Kolmogorov-Smirnov", f"{block:.3g} normals, D = {statistic:.2e}", float(p)
        counts += np.bincount((special.ndtr(x) * 1000).astype(np.int64), minlength=1000)
        for sigma in beyond:
            beyond[sigma] += int(np.count_nonzero(np.abs(x) > sigma))
        product += float(x[::2] @ x[1::2])
        squares += float((x[::2] ** 2 - 1) @ (x[1::2] ** 2 - 1))
    yield "standard_normal: 1000 equiprobable cells", *chi_square(counts)
    for sigma, seen in beyond.items():
        mass = 2 * stats.norm.sf(sigma)
        evidence = f"{total:.3g} normals, {seen} seen, {total * mass:.1f} expected"
        yield f"standard_normal: beyond {sigma} sigma", evidence, float(stats.binomtest(seen, total, mass).pvalue)
    yield "standard_normal: the two of a pair uncorrelated", *gaussian(product, total / 2)
    yield "standard_normal: their squares uncorrelated", *gaussian(squares, 4 * total / 2)
    left, right = np.empty(1000), np.empty(1000)
    product = 0.0
    for replica in range(0, 20000, 2):
        fill_normals(np.uint64(SEED), np.uint64(replica), np.uint64(0), left)
        fill_normals(np.uint64(SEED), np.uint64(replica + 1), np.uint64(0), right)
        product += float(left @ right)
    yield "standard_normal: neighbouring replicas uncorrelated", *gaussian(product, 10**7)


def avalanche() -> Iterator[Row]:
    """Flipping one bit of an input flips each output bit with probability 1/2: 64 x 64 counts per input."""
    trials = 2**18
    seeds = np.random.default_rng(SEED).integers(0, 2**64, trials, np.uint64)
    for flipped, name in enumerate(("seed", "replica", "stream", "counter")):
        counts = np.zeros((64, 64), np.int64)
        count_flips(seeds, flipped, counts)
        z = (counts - trials / 2) / np.sqrt(trials / 4)
        statistic = float((z**2).sum())
        evidence = f"{trials} flips of each bit, chi2 = {statistic:.0f} (4096 cells), largest z = {abs(z).max():.2f}"
        yield f"avalanche: one bit of the {name}", evidence, float(stats.chi2.sf(statistic, 4096))


GROUPS: tuple[Callable[[], Iterator[Row]], ...] = (integers, batches, normals, avalanche)


def rows() -> Iterator[Row]:
    """All direct tests."""
    for group in GROUPS:
        yield from group()
