"""The four ways to draw a batch: laws, coefficients, and the weights a step really uses."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
from scipy import stats

from sgdmodels.kernels.batches import LAWS
from sgdmodels.kernels.draw import draw_weights
from sgdmodels.sampling import SCHEMES, noise_coefficients

from .enumeration import all_batches, batch_sums


def draw(
    sampling: str, samples: int, batch: int, steps: int, *, first: int = 0, replica: int = 0, origin: int = 0
) -> list[list[int]]:
    """Batches of `steps` consecutive steps, checked for their weights."""
    width = samples if sampling == "bernoulli" else batch
    index, weight, count = draw_weights(
        LAWS[sampling], width, samples, batch, steps, first=first, origin=origin, replica=replica, seed=1
    )
    batches = [index[s, : count[s]].tolist() for s in range(steps)]
    assert all((weight[s, : count[s]] == 1 / batch).all() for s in range(steps))
    return batches


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement", "bernoulli"])
@pytest.mark.parametrize(("n", "b"), [(1, 1), (2, 1), (2, 2), (5, 2), (5, 4), (5, 5)])
def test_coefficients_equal_enumeration(sampling: str, n: int, b: int) -> None:
    x = np.random.default_rng(n * 10 + b).standard_normal((n, 3))
    noise = noise_coefficients(n, b, sampling)
    batches = all_batches(n, b, sampling)
    p = np.array([q for _, q in batches])
    mean = x.mean(axis=0)
    deviation = batch_sums(x, b, batches) - mean
    base = x if noise.raw else x - mean
    second = np.einsum("k,ki,kj->ij", p, deviation, deviation)
    np.testing.assert_allclose(second, noise.c2 * base.T @ base / n, atol=1e-14)
    third = np.einsum("k,ki,kj,kl->ijl", p, deviation, deviation, deviation)
    np.testing.assert_allclose(third, noise.c3 * np.einsum("ni,nj,nl->ijl", base, base, base) / n, atol=1e-14)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_blocks_can_be_cut_anywhere(sampling: str) -> None:
    whole = draw(sampling, 7, 3, 40)
    cut = draw(sampling, 7, 3, 17) + draw(sampling, 7, 3, 1, first=17) + draw(sampling, 7, 3, 22, first=18)
    assert cut == whole
    assert draw(sampling, 7, 3, 40, replica=1) != whole


def test_ordered_batches_without_replacement_are_equally_likely() -> None:
    """Chi-square over the 60 ordered triples of 5; fails by chance with probability 1e-4."""
    batches = draw("without_replacement", 5, 3, 60_000)
    assert all(len(set(batch)) == 3 for batch in batches)
    counts = collections.Counter(map(tuple, batches))
    observed = [counts[t] for t in itertools.permutations(range(5), 3)]
    assert stats.chisquare(observed).pvalue > 1e-4


def test_draws_with_replacement_are_uniform_and_independent() -> None:
    """Chi-square over all 49 pairs; fails by chance with probability 1e-4."""
    counts = collections.Counter(map(tuple, draw("with_replacement", 7, 2, 49_000)))
    assert stats.chisquare([counts[t] for t in itertools.product(range(7), repeat=2)]).pvalue > 1e-4


def test_bernoulli_batches_have_binomial_sizes_and_may_be_empty() -> None:
    """Chi-square over all 16 subsets of 4; fails by chance with probability 1e-4."""
    counts = collections.Counter(map(tuple, draw("bernoulli", 4, 1, 40_000)))
    expected = {batch: 40_000 * p for batch, p in all_batches(4, 1, "bernoulli")}
    assert counts[()] > 0
    assert stats.chisquare([counts[t] for t in expected], list(expected.values())).pvalue > 1e-4


def test_an_epoch_uses_each_sample_once_and_leaves_out_the_remainder() -> None:
    batches = draw("epoch", 7, 3, 200)
    for start in range(0, 200, 2):  # 7 // 3 = 2 steps an epoch, one sample sits it out
        assert len({i for batch in batches[start : start + 2] for i in batch}) == 6
    assert len({frozenset(batches[s] + batches[s + 1]) for s in range(0, 200, 2)}) == 7


def test_permutations_of_an_epoch_are_equally_likely() -> None:
    """Chi-square over the 24 permutations of 4; fails by chance with probability 1e-4."""
    batches = draw("epoch", 4, 1, 96_000)
    counts = collections.Counter(tuple(i for (i,) in batches[s : s + 4]) for s in range(0, 96_000, 4))
    assert stats.chisquare([counts[t] for t in itertools.permutations(range(4))]).pvalue > 1e-4


def test_an_epoch_restarts_where_a_schedule_segment_begins() -> None:
    later = draw("epoch", 6, 2, 6, first=10, origin=10)
    for start in (0, 3):
        assert sorted(i for batch in later[start : start + 3] for i in batch) == list(range(6))


def test_batch_sizes_share_their_first_draws() -> None:
    """Common random numbers: the same run with a larger batch sees the same samples first."""
    small, large = draw("with_replacement", 9, 2, 50), draw("with_replacement", 9, 5, 50)
    assert [batch[:2] for batch in large] == small
