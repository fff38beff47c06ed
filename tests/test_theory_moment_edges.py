"""Moments of one-dimensional SGD against the enumeration of all batches, and their edges against dense scans."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.batch_curvatures import curvature_law
from sgdmodels.theory.moment_edges import BatchCurvature, moment_max_step_size, moment_radius

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")
POWERS = (0, 0.3, 0.7, 1, 1.5, 2, 3, 4, 7, math.inf)


def enumerated_law(h: np.ndarray, b: int, sampling: str) -> tuple[np.ndarray, np.ndarray]:
    """h_B of every batch, and its probability."""
    batches = all_batches(len(h), b, sampling)
    weights = np.array([probability for _, probability in batches])
    return batch_sums(h, b, batches)[weights > 0], weights[weights > 0]


def enumerated_radius(law: tuple[np.ndarray, np.ndarray], step_sizes: np.ndarray, p: float) -> np.ndarray:
    factors = abs(1 - np.multiply.outer(step_sizes, law[0]))
    if p == math.inf:
        return factors.max(axis=-1)
    if p == 0:
        return np.prod(factors ** law[1], axis=-1)
    return (factors**p @ law[1]) ** (1 / p)


def curvatures(seed: int) -> np.ndarray:
    """Positive ones, ones of both signs, and ones with ties and zeros, all of positive mean."""
    rng = np.random.default_rng(seed)
    kinds = (rng.exponential(size=5), rng.normal(1, 1.5, size=5), rng.integers(0, 3, size=5) + 0.0)
    h = kinds[seed % 3]
    return h + max(0.0, 0.1 - h.mean())


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("seed", range(9))
def test_the_radius_of_every_moment_equals_enumeration(seed: int, sampling: str) -> None:
    h = curvatures(seed)
    for b in range(1, 6):
        law = enumerated_law(h, b, sampling)
        for p, eta in itertools.product(POWERS, (0.0, 0.37, 1.9)):
            expected = float(enumerated_radius(law, np.array(eta), p))
            assert moment_radius(h, eta, b, p, sampling) == pytest.approx(expected, rel=1e-10, abs=1e-12), (b, p, eta)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("seed", range(9))
def test_the_edge_is_the_first_step_size_where_the_enumerated_moment_stops_shrinking(seed: int, sampling: str) -> None:
    """p = inf is left out: with zero curvatures or the full range of batches the worst run only ever marks time."""
    h = curvatures(seed)
    for b in (1, 2, 4):
        law = enumerated_law(h, b, sampling)
        for p in POWERS[:-1]:
            edge = moment_max_step_size(h, b, p, sampling)
            assert enumerated_radius(law, edge * np.linspace(0.002, 0.9999, 500), p).max() < 1, (b, p)
            at, above = enumerated_radius(law, edge * np.array([1, 1 + 1e-6]), p)
            assert at == pytest.approx(1, abs=1e-9)
            assert above > 1, (b, p)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("seed", range(9))
def test_edges_fall_with_p_and_two_is_the_mean_square_edge(seed: int, sampling: str) -> None:
    h = curvatures(seed)
    for b in range(1, 6):
        edges = [moment_max_step_size(h, b, p, sampling) for p in POWERS]
        assert all(high >= low * (1 - 1e-12) for high, low in itertools.pairwise(edges)), edges
        expected = sm.theory.max_step_size(np.ascontiguousarray(h[:, None, None]), b, sampling)
        assert moment_max_step_size(h, b, 2, sampling) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_worst_run_is_bounded_by_the_sharpest_batch(sampling: str) -> None:
    h = np.array([0.5, 1.0, 4.0])
    sharpest = max(batch_sums(h, 2, all_batches(3, 2, sampling)))
    assert moment_max_step_size(h, 2, math.inf, sampling) == pytest.approx(2 / sharpest, rel=1e-12)
    assert moment_max_step_size(np.array([-0.5, 1.0, 4.0]), 1, math.inf, sampling) == 0  # it grows at any step size
    assert moment_max_step_size(np.array([-0.5, 1.0, 4.0]), 1, 50, sampling) > 0


@pytest.mark.parametrize("sampling", SCHEMES)
def test_fourth_moments_of_large_batches_equal_the_law_of_two_valued_curvatures(sampling: str) -> None:
    """A hypergeometric or binomial number of sharp samples: the law needs no formula for moments."""
    h = np.where(np.arange(300) < 70, 3.0, 0.5)
    for b in (1, 2, 3, 40, 299, 300):
        values, weights = curvature_law(h, b, sampling)
        for eta in (0.2, 1.1):
            expected = float(weights @ (1 - eta * values) ** 4) ** 0.25
            assert moment_radius(h, eta, b, 4, sampling) == pytest.approx(expected, rel=1e-9), b


def test_p_two_and_four_need_no_enumeration() -> None:
    h = np.random.default_rng(0).exponential(size=400)
    assert 0 < moment_max_step_size(h, 50, 4) < moment_max_step_size(h, 50, 2)
    with pytest.raises(sm.errors.InvalidArgument, match="p = 2 and 4 have closed forms"):
        moment_max_step_size(h, 50, 1)


def test_the_zeroth_moment_finds_an_edge_between_two_poles() -> None:
    """|(1 - eta)(1 - 7 eta)| rises to 9/7 between its zeros: it first reaches 1 at 7 eta^2 - 8 eta + 2 = 0."""
    assert moment_max_step_size([1.0, 7.0], 1, 0) == pytest.approx((8 - math.sqrt(8)) / 14, rel=1e-12)
    assert moment_max_step_size([1.0, 5.0], 1, 0) == pytest.approx(1.2, rel=1e-12)  # 4/5 between: beyond both


def test_epochs_of_single_samples_are_one_product_for_every_p() -> None:
    h = np.array([0.2, 1.8])
    for p in (0, 1, 2, 4):
        edge = moment_max_step_size(h, 1, p, "epoch")
        assert (1 - edge * h).prod() == pytest.approx(-1, rel=1e-12)
        assert moment_radius(h, 1.0, 1, p, "epoch") == pytest.approx(0.8, rel=1e-12)  # sqrt(0.8 * 0.8)
    assert moment_max_step_size(h, 2, 2, "epoch") == pytest.approx(2, rel=1e-12)
    with pytest.raises(sm.errors.InvalidArgument, match="epoch_max_step_size"):
        moment_radius([1.0, 2.0, 3.0], 0.1, 2, 2, "epoch")
    assert moment_radius([1.0, 2.0, 3.0], 0.1, 2, 0, "epoch") == moment_radius([1.0, 2.0, 3.0], 0.1, 2, 0)


@pytest.mark.parametrize("p", POWERS)
def test_degenerate_curvatures_have_the_edge_of_gradient_descent(p: float) -> None:
    for h, b in (([4.0], 1), ([4.0, 4.0, 4.0], 2), ([1.0, 7.0], 2)):
        assert moment_max_step_size(h, b, p) == pytest.approx(0.5, rel=1e-12)
        assert moment_radius(h, 0.0, b, p) == 1
        assert moment_radius(h, 0.25, b, p) == 0  # every step is singular


def test_what_has_no_edge_is_an_error() -> None:
    for h in ([0.0, 0.0], [-1.0, 1.0], [-2.0, 1.0]):
        with pytest.raises(sm.errors.InvalidArgument, match="positive mean"):
            moment_max_step_size(h, 1, 2)
    with pytest.raises(sm.errors.InvalidArgument, match="p must be"):
        moment_max_step_size([1.0], 1, -1)
    with pytest.raises(sm.errors.InvalidArgument, match="batch_size"):
        moment_max_step_size([1.0], 2, 2)


def test_a_million_outcomes_are_the_limit_and_ties_cost_nothing() -> None:
    ties = np.repeat([1.0, 2.0, 3.0], 200)
    values, weights = curvature_law(ties, 300, "without_replacement")
    assert len(values) == 401  # sums from 200 + 100 * 2 to 200 * 3 + 100 * 2
    assert weights @ values == pytest.approx(2, rel=1e-12)
    batch = BatchCurvature(ties, 300, "without_replacement")
    assert weights @ (values - 2) ** 2 == pytest.approx(batch.central[0], rel=1e-9)


@pytest.mark.parametrize("p", [1e-6, 1e-12, 1e-15, 1e-18, 1e-300, 5e-324])
def test_small_powers_approach_the_geometric_mean(p: float) -> None:
    """|1 - 1.1| and |1 - 3.3|: r_p = r_0 (1 + p Var(log) / 2 + ...)."""
    logs = np.log([0.1, 2.3])
    expected = math.exp(logs.mean() + p * logs.var() / 2)
    assert moment_radius([1.0, 3.0], 1.1, 1, p) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_units_do_not_matter(scale: float) -> None:
    for p in (0, 0.5, 1, 2, 4, math.inf):
        expected = moment_max_step_size([1.0, 3.0], 1, p)
        assert moment_max_step_size(scale * np.array([1.0, 3.0]), 1, p) * scale == pytest.approx(expected, rel=1e-12)


def test_huge_step_sizes_and_powers() -> None:
    for p, size in ((0, math.sqrt(3)), (1, 2), (2, math.sqrt(5)), (4, 41**0.25), (math.inf, 3)):
        assert moment_radius([1.0, 3.0], 1e200, 1, p) == pytest.approx(size * 1e200, rel=1e-12)
        assert moment_radius([1.0, 3.0], 1.5e308, 1, p) == math.inf
        assert moment_radius([1e200, 3e200], 1e200, 1, p) == math.inf
    assert moment_radius([1.0, 3.0], 0.1, 1, 1e308) == pytest.approx(0.9, rel=1e-12)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_large_laws_equal_counting(sampling: str) -> None:
    """Two values, 150 of 400 samples are sharp, in batches of 180: exact fractions of binomial coefficients."""
    n, sharp, b = 400, 150, 180
    h = np.where(np.arange(n) < sharp, 3.0, 1.0)
    values, weights = curvature_law(h, b, sampling)
    if sampling == "without_replacement":
        chances = {k: Fraction(math.comb(sharp, k) * math.comb(n - sharp, b - k), math.comb(n, b)) for k in range(151)}
        expected = {1 + 2 * k / b: chance for k, chance in chances.items()}
    elif sampling == "with_replacement":
        q = Fraction(sharp, n)
        expected = {1 + 2 * k / b: math.comb(b, k) * q**k * (1 - q) ** (b - k) for k in range(b + 1)}
    else:
        q, expected = Fraction(b, n), {}
        for j in range(sharp + 1):
            first = math.comb(sharp, j) * q**j * (1 - q) ** (sharp - j)
            if first < 1e-14:
                continue
            for k in range(n - sharp + 1):
                chance = float(first * math.comb(n - sharp, k) * q**k * (1 - q) ** (n - sharp - k))
                expected[(3 * j + k) / b] = expected.get((3 * j + k) / b, 0.0) + chance
    found = dict(zip(values.round(9).tolist(), weights.tolist(), strict=True))
    for value, chance in expected.items():
        assert found.get(round(value, 9), 0.0) == pytest.approx(float(chance), rel=1e-11, abs=1e-13)
