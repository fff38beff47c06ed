"""Distances of samples against double loops, scipy, point masses and the laws of their own p-values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from sgdmodels.distances import (
    Estimate,
    energy_distance,
    energy_test,
    strong_distance,
    wasserstein,
    wasserstein_test,
    weak_error,
)
from sgdmodels.errors import InvalidArgument

TESTS = [energy_test, wasserstein_test]


def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([np.linalg.norm(a - b) for a, b in itertools.product(x, y)]))


@pytest.mark.parametrize("d", [1, 3])
def test_energy_distance_equals_double_loops(d: int) -> None:
    rng = np.random.default_rng(d)
    x, y = rng.standard_normal((9, d)), rng.standard_normal((14, d)) + 0.3
    expected = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert energy_test(x, y, permutations=1)[0] == pytest.approx(expected, rel=1e-12)


def test_energy_distance_is_the_square_of_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(30), 2 * rng.standard_normal(20)
    assert energy_distance(x, y) == pytest.approx(stats.energy_distance(x, y) ** 2, rel=1e-10)


def test_distances_of_point_masses_and_of_equal_samples() -> None:
    a, b = np.zeros((4, 2)), np.tile([3.0, 4.0], (3, 1))
    assert energy_distance(a, b) == 10.0
    assert energy_distance(b, b) == 0.0
    assert wasserstein(np.zeros(5), np.full(2, -7.0)) == 7.0
    assert strong_distance(a[:3], b) == Estimate(5.0, 5.0, 5.0)
    assert strong_distance(b, b) == Estimate(0.0, 0.0, 0.0)
    assert weak_error([1.0, 1.0], [4.0, 4.0]) == Estimate(3.0, 3.0, 3.0)
    for test in TESTS:
        assert test(np.ones(5), np.ones(4)) == (0.0, 1.0)


def test_wasserstein_equals_sorted_differences() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(40), rng.standard_normal(40) + 1
    expected = np.abs(np.sort(x) - np.sort(y)).mean()
    assert wasserstein(x, y) == pytest.approx(expected, rel=1e-12)
    assert wasserstein_test(x, y)[0] == pytest.approx(expected, rel=1e-12)
    x = rng.standard_normal(13)
    assert wasserstein_test(x, y)[0] == pytest.approx(stats.wasserstein_distance(x, y), rel=1e-12)


@pytest.mark.parametrize("test", TESTS)
def test_p_value_equals_the_share_of_all_relabellings(test) -> None:
    """126 relabellings of 4 and 5, ties kept; the sampled share is within 5 standard errors (chance 1e-6)."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal(4), rng.standard_normal(5) + 0.8
    pooled = np.concatenate([x, y])
    distance = energy_distance if test is energy_test else wasserstein
    chosen = [np.isin(np.arange(9), c) for c in itertools.combinations(range(9), 4)]
    exact = np.mean([distance(pooled[c], pooled[~c]) >= distance(x, y) * (1 - 1e-9) for c in chosen])
    assert 0.02 < exact < 0.98
    assert test(x, y, permutations=20_000)[1] == pytest.approx(exact, abs=5 * 0.5 / np.sqrt(20_000))


@pytest.mark.parametrize("test", TESTS)
def test_p_values_are_uniform_when_the_laws_are_equal(test) -> None:
    """Kolmogorov-Smirnov over 300 seeds; fails by chance with probability 1e-3."""
    shape = (25, 2) if test is energy_test else (25,)
    p = []
    for seed in range(300):
        rng = np.random.default_rng([seed, 77])
        p.append(test(rng.standard_normal(shape), rng.standard_normal(shape), permutations=199, seed=seed)[1])
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("test", TESTS)
def test_a_shift_and_a_change_of_spread_are_noticed(test) -> None:
    """Each of 60 tests rejects with probability above 0.95; fewer than 48 do by chance with probability 1e-6."""
    for shift, spread in ((1.0, 1.0), (0.0, 3.0)):
        rejected = 0
        for seed in range(60):
            rng = np.random.default_rng([seed, 5])
            x, y = rng.standard_normal(60), shift + spread * rng.standard_normal(60)
            rejected += test(x, y, permutations=199, seed=seed)[1] <= 0.05
        assert rejected >= 48


@pytest.mark.parametrize("test", TESTS)
def test_the_smallest_p_value_is_reached_and_seeds_repeat(test) -> None:
    x = np.random.default_rng(4).standard_normal(30)
    assert test(x, x + 10, permutations=99)[1] == 0.01
    assert test(x, x + 0.3, seed=1) == test(x, x + 0.3, seed=1)
    assert test(x, x + 0.3, seed=1) != test(x, x + 0.3, seed=2)
    with pytest.raises(InvalidArgument, match="permutations must be at least 1"):
        test(x, x, permutations=0)


def test_weak_error_equals_scipys_intervals() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal(12), 3 * rng.standard_normal(12) + 1
    for paired, result in ((True, stats.ttest_rel(y, x)), (False, stats.ttest_ind(y, x, equal_var=False))):
        found, expected = weak_error(x, y, paired=paired, level=0.9), result.confidence_interval(0.9)
        assert found.value == pytest.approx(y.mean() - x.mean(), rel=1e-12)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


@pytest.mark.parametrize("paired", [False, True])
def test_weak_error_covers_the_difference_of_gaussian_means(paired: bool) -> None:
    """Coverage at level 0.9 over 1000 seeds within one point of nominal plus 3.3 s.e.: chance 1e-3."""
    hits = 0
    for seed in range(1000):
        rng = np.random.default_rng([seed, 9])
        x = rng.standard_normal(10)
        y = 0.5 + (x + 0.2 * rng.standard_normal(10) if paired else 3 * rng.standard_normal(15))
        found = weak_error(x, y, paired=paired, level=0.9)
        hits += found.low <= 0.5 <= found.high
    low, high = stats.binom.ppf([5e-4, 1 - 5e-4], 1000, [0.89, 0.91])
    assert low <= hits <= high


def test_strong_distance_equals_its_definition_and_covers() -> None:
    """Coverage at level 0.95 over 500 seeds in 0.92..0.96 (skewed squares cost a point or two), plus 3.3 s.e."""
    hits = 0
    for seed in range(500):
        rng = np.random.default_rng([seed, 10])
        x, noise = rng.standard_normal((64, 2)), rng.standard_normal((64, 2))
        found = strong_distance(x, x + noise)
        assert found.value == pytest.approx(np.sqrt((noise**2).sum(axis=1).mean()), rel=1e-12)
        hits += found.low <= np.sqrt(2) <= found.high
    low, high = stats.binom.ppf([5e-4, 1 - 5e-4], 500, [0.92, 0.96])
    assert low <= hits <= high


def test_diverged_replicas_are_dropped_alone_or_with_their_partner() -> None:
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((20, 2)), rng.standard_normal((20, 2))
    x[3, 1] = y[8] = np.nan
    some_x, some_y = np.delete(x, 3, axis=0), np.delete(y, 8, axis=0)
    assert energy_distance(x, y) == energy_distance(some_x, some_y)
    assert energy_test(x, y) == energy_test(some_x, some_y)
    both_x, both_y = np.delete(x, [3, 8], axis=0), np.delete(y, [3, 8], axis=0)
    assert strong_distance(x, y) == strong_distance(both_x, both_y)
    u, v = x[:, 1].copy(), y[:, 1].copy()
    a, b = some_x[:, 1].copy(), some_y[:, 1].copy()
    assert wasserstein(u, v) == wasserstein(a, b)
    assert wasserstein_test(u, v) == wasserstein_test(a, b)
    assert weak_error(u, v) == weak_error(a, b)
    assert weak_error(u, v, paired=True) == weak_error(both_x[:, 1].copy(), both_y[:, 1].copy(), paired=True)


def test_fewer_than_two_survivors_give_nan() -> None:
    x, y = [1.0, np.nan, np.nan], [1.0, 2.0, np.nan]
    assert np.isnan([energy_distance(x, y), wasserstein(x, y), *energy_test(x, y), *wasserstein_test(x, y)]).all()
    for found in (weak_error(x, y), weak_error(x, y, paired=True), strong_distance(x, y)):
        assert np.isnan([found.value, found.low, found.high]).all()


def test_samples_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="dimension of x, 2, got 3"):
        energy_distance(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(InvalidArgument, match="paired samples must have one shape"):
        strong_distance(np.ones((4, 2)), np.ones((5, 2)))
    with pytest.raises(InvalidArgument, match="paired samples must have one shape"):
        weak_error([1.0, 2.0], [1.0, 2.0, 3.0], paired=True)
    with pytest.raises(InvalidArgument, match="must be finite, got inf"):
        energy_distance([1.0, np.inf], [1.0, 2.0])
    with pytest.raises(InvalidArgument, match=r"x must have shape \(size,\)"):
        wasserstein(np.ones((4, 2)), np.ones((4, 2)))
    with pytest.raises(InvalidArgument, match="x must be a float64 array"):
        energy_distance([[1.0], [1.0, 2.0]], [[1.0], [2.0]])
    with pytest.raises(InvalidArgument, match="level"):
        weak_error([1.0, 2.0], [1.0, 2.0], level=1.0)
