"""Lyapunov exponents against exact ones: commuting Hessians, determinants, full batches, one direction."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.batch_steps import batch_steps
from sgdmodels.theory.lyapunov import lyapunov_exponents
from sgdmodels.theory.lyapunov_edge import lyapunov_max_step_size
from sgdmodels.theory.random_products import estimate, product_growth, random_frame, sampled_exponents

from .frozen_hessians import (
    MOMENTA,
    WITH_EPOCHS,
    commuting,
    mean_log,
    mean_log_determinant,
    random_hessians,
    turned,
    turned_exponents,
)


@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_commuting_hessians_have_the_exponents_of_their_directions(sampling: str) -> None:
    """They are exact; sampled ones lie within 5 standard errors of 32 replicas, 3e-5 each under t (31 degrees)."""
    for seed in range(3):
        h, matrices = commuting(seed)
        for b in (1, 2, 3):
            expected = sorted((mean_log(0.3 * column, b, sampling) for column in h.T), reverse=True)
            found = lyapunov_exponents(matrices, 0.3, b, sampling, count=3)
            assert found.values == pytest.approx(expected, rel=1e-10)
            assert (found.standard_errors == 0).all()
            values, errors = sampled_exponents(batch_steps(matrices, b, sampling), 0.3, 3, 800, 32, seed)
            assert (abs(values - expected) <= np.maximum(5 * errors, 1e-12)).all(), (seed, b, values, errors, expected)


def test_modes_that_take_turns_at_the_lead_have_honest_errors() -> None:
    """Two modes of equal exponents: which one leads is a random walk that never settles.

    40 seeds, two exponents each: at most 2 of 80 may lie outside 2 errors; without the gap, most did.
    """
    h = np.array([np.diag(x) for x in ([1.0, 3.0], [3.0, 1.0], [1.0, 1.0], [3.0, 3.0])])
    exact = float(np.log(abs(1 - 0.45 * np.array([1.0, 3.0]))).mean())
    assert lyapunov_exponents(h, 0.45, 1, count=2).values == pytest.approx([exact, exact], rel=1e-12)
    steps_of, misses = batch_steps(h, 1, "without_replacement"), 0
    for seed in range(40):
        values, errors = sampled_exponents(steps_of, 0.45, 2, 300, 32, seed)
        misses += int((abs(values - exact) > 2 * errors).sum())
    assert misses <= 2


def test_badly_scaled_data_have_honest_errors() -> None:
    """Least squares with columns from 1 to 10^-1.5: a product forgets its start in 10^4 steps, the default has 2500.

    The reference is ten times as long. A start that is not forgotten, if nobody looks, was 2.3 to 4.4 errors off for
    each of ten seeds.
    """
    a = np.random.default_rng(0).standard_normal((60, 6)) * np.logspace(0, -1.5, 6)
    eta = 0.5 * sm.theory.max_step_size(a, 4)
    long = lyapunov_exponents(a, eta, 4, steps=20_000, replicas=4, seed=99)
    for seed in range(3):
        found = lyapunov_exponents(a, eta, 4, seed=seed)
        off = abs(found.values[0] - long.values[0])
        assert off < 2 * math.hypot(found.standard_errors[0], long.standard_errors[0])
        assert found.values[0] == pytest.approx(long.values[0], rel=0.02)  # the start is the slow mode: nearly right
        assert found.lower <= found.values[0] <= found.upper


def test_a_start_that_is_not_forgotten_widens_the_error() -> None:
    rng = np.random.default_rng(0)
    growth = np.array([-0.1, -0.5]) + 1e-4 * rng.standard_normal((20, 2))
    assert estimate(growth, growth)[1] == pytest.approx(growth.std(axis=0, ddof=1) / math.sqrt(20), rel=1e-12)
    assert (estimate(growth, growth - [0.02, 0.03])[1] > [0.02, 0.03]).all()


def test_nearly_identical_samples_stay_below_the_certain_bound() -> None:
    h = np.array([np.diag([1.0, 0.3])] * 6) + 1e-9 * random_hessians(3, 6, 2)
    for seed in range(12):
        found = lyapunov_exponents(h, 0.4, 1, steps=50, seed=seed)
        assert found.lower <= found.values[0] <= found.upper


@pytest.mark.parametrize("sampling", WITH_EPOCHS)
@pytest.mark.parametrize("momentum", MOMENTA)
def test_all_exponents_sum_to_the_mean_log_determinant(momentum: dict[str, float], sampling: str) -> None:
    h, eta, b = random_hessians(1), 0.2, 2
    size = 6 if momentum else 3
    found = lyapunov_exponents(h, eta, b, sampling, count=size, replicas=16, steps=1000, **momentum)
    expected = 0.0 if momentum and not momentum.get("nesterov") else mean_log_determinant(eta * h, b, sampling)
    expected += 3 * math.log(0.5) if momentum else 0.0
    assert found.lower == pytest.approx(expected / size, rel=1e-9)
    if momentum and not momentum.get("nesterov"):  # not random at all
        assert found.values.sum() == pytest.approx(expected, rel=1e-9)
    else:  # the sum of their errors bounds that of correlated exponents; 5 of them fail 2e-4 of the time
        assert abs(found.values.sum() - expected) < 5 * found.standard_errors.sum()
    assert found.lower < found.values[0] + 5 * found.standard_errors[0]
    assert found.values[0] - 5 * found.standard_errors[0] < found.upper


def test_standard_errors_have_their_nominal_coverage() -> None:
    """120 seeds: a 95 % t interval covers 102 to 119 times but for a chance of 3e-3 (binomial; 120 of 120: 2e-3)."""
    from scipy.stats import t

    h, eta = turned((1.0, 3.2)), 0.3
    exact = turned_exponents((1.0, 3.2), eta)
    runs = [lyapunov_exponents(h, eta, 1, count=2, steps=200, replicas=10, seed=seed) for seed in range(120)]
    z = np.array([(run.values - exact) / run.standard_errors for run in runs])
    assert z[:, 0] == pytest.approx(-z[:, 1], abs=1e-6)  # their sum is not random
    assert 102 <= (abs(z[:, 0]) < t.ppf(0.975, 9)).sum() <= 119


def test_heavy_ball_has_pairs_of_exponents_that_sum_to_log_beta() -> None:
    """All four by QR against the two reflected ones; sums of errors bound that of differences."""
    h = random_hessians(1)[:, :2, :2].copy()
    steps_of = batch_steps(h, 2, "without_replacement", 0.5)
    rng = np.random.default_rng(0)
    growth = product_growth(steps_of, 0.3, [random_frame(steps_of, 32, 4, rng)], 2000, rng)[0]
    spread = growth.std(axis=0, ddof=1) / math.sqrt(32)
    found = lyapunov_exponents(h, 0.3, 2, momentum=0.5, count=4, seed=1)
    assert (abs(found.values - growth.mean(axis=0)) < 5 * (spread + found.standard_errors)).all()
    pairs = growth + growth[:, ::-1]
    assert pairs.mean(axis=0) == pytest.approx([math.log(0.5)] * 4, abs=5e-3)


def test_momentum_near_rounding_does_not_look_singular() -> None:
    h = random_hessians(1)[:, :2, :2].copy()
    for beta in (1e-15, 1e-30):
        found = lyapunov_exponents(h, 0.2, 2, momentum=beta, count=4, steps=200)
        assert found.values.sum() == pytest.approx(2 * math.log(beta), rel=1e-9)
        plain = lyapunov_exponents(h, 0.2, 2, count=2, steps=200)
        spread = found.standard_errors[:2] + plain.standard_errors
        assert (abs(found.values[:2] - plain.values) < 5 * spread).all()
    with pytest.raises(sm.errors.InvalidArgument, match="rounding swallows"):
        lyapunov_exponents(h, 0.2, 2, momentum=1e-15, nesterov=True, count=4)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_steps_that_are_always_the_same_have_exact_exponents(momentum: dict[str, float]) -> None:
    h = random_hessians(2)
    same = np.broadcast_to(h.mean(axis=0), (6, 3, 3)).copy()
    one = np.eye(3)
    step = one - 0.3 * h.mean(axis=0)
    if momentum:
        gain = 1.5 if momentum.get("nesterov") else 1.0
        fade = 0.25 if momentum.get("nesterov") else 0.5
        mean = h.mean(axis=0)
        step = np.block([[one - 0.3 * gain * mean, -0.3 * fade * one], [mean, 0.5 * one]])
    expected = np.sort(np.log(abs(np.linalg.eigvals(step))))[::-1]
    for hessians, b in ((h, 5), (same, 2), (h.mean(axis=0)[None], 1)):
        found = lyapunov_exponents(hessians, 0.3, b, count=len(step), **momentum)
        np.testing.assert_allclose(found.values, expected, rtol=1e-8)
        assert (found.standard_errors == 0).all()
        assert found.upper == pytest.approx(expected[0], rel=1e-8)


@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_one_direction_is_exact(sampling: str) -> None:
    h = np.array([0.5, 1.0, 2.5])
    along = np.array([1.0, -2.0, 0.5])
    matrices = h[:, None, None] * np.outer(along, along) / (along @ along)
    for b in (1, 2):
        found = lyapunov_exponents(matrices, 0.7, b, sampling)
        assert found.values[0] == pytest.approx(mean_log(0.7 * h, b, sampling), rel=1e-9)
        assert found.standard_errors[0] == 0
        edge = lyapunov_max_step_size(matrices, b, sampling)
        assert edge.standard_error == 0
        assert mean_log(edge.step_size * h, b, sampling) == pytest.approx(0, abs=1e-9)


def test_singular_steps_have_exponent_minus_infinity() -> None:
    assert lyapunov_exponents([[[2.0]], [[1.0]]], 0.5, 1).values[0] == -math.inf
    h = np.array([np.diag([2.0, 1.0]), np.diag([1.0, 1.0])])
    found = lyapunov_exponents(h, 0.5, 1, count=2)  # the first direction dies, the second halves
    assert found.values[0] == pytest.approx(math.log(0.5), abs=1e-9)
    assert found.values[1] == -math.inf
    assert found.standard_errors[1] == 0
    assert found.lower == -math.inf


def test_a_step_size_of_zero_moves_nothing() -> None:
    h = random_hessians(4)
    assert lyapunov_exponents(h, 0.0, 2, count=3).values == pytest.approx([0, 0, 0], abs=1e-12)
    found = lyapunov_exponents(h, 0.0, 2, count=6, momentum=0.5, steps=100)
    assert found.values == pytest.approx([0, 0, 0, *[math.log(0.5)] * 3], abs=0.02)


def test_flat_directions_are_left_out_and_factors_do_as_matrices() -> None:
    a = np.random.default_rng(5).standard_normal((5, 3))
    matrices = a[:, :, None] * a[:, None, :]
    padded = np.zeros((5, 4, 4))
    padded[:, 1:, 1:] = matrices
    runs = [lyapunov_exponents(h, 0.2, 2, seed=1) for h in (matrices, a, padded)]
    for run in runs[1:]:  # the same batches from starts that differ at most by signs and rounding
        assert run.values == pytest.approx(runs[0].values, abs=1e-3)
        assert run.upper == pytest.approx(runs[0].upper, rel=1e-9)
    with pytest.raises(sm.errors.InvalidArgument, match=r"count must be in 1\.\.3"):
        lyapunov_exponents(padded, 0.2, 2, count=4)


def test_equal_seeds_give_equal_numbers() -> None:
    h = random_hessians(6)
    runs = [lyapunov_exponents(h, 0.2, 2, "epoch", steps=50, seed=seed).values[0] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("scale", [1e-200, 1e-29, 1e200])
def test_units_do_not_matter(scale: float) -> None:
    h = np.array([[[1.0]], [[2.0]]])
    expected = (math.log(0.3) + math.log(0.4)) / 2
    assert lyapunov_exponents(h * scale, 0.7 / scale, 1).values[0] == pytest.approx(expected, rel=1e-12)
    a = np.random.default_rng(5).standard_normal((5, 2))
    matrices = a[:, :, None] * a[:, None, :]
    runs = [lyapunov_exponents(m, 0.2 / s, 2, steps=100) for m, s in ((matrices, 1.0), (matrices * scale, scale))]
    assert runs[1].values == pytest.approx(runs[0].values, rel=1e-6)


def test_samples_that_differ_a_little_are_not_the_same() -> None:
    factors = 1 - 0.9999 * np.array([1.0, 1.0005])
    found = lyapunov_exponents([[[1.0]], [[1.0005]]], 0.9999, 1)
    assert found.values[0] == pytest.approx(np.log(abs(factors)).mean(), rel=1e-9)


def test_huge_step_sizes_have_finite_exponents() -> None:
    h = np.array([[[1.0]], [[3.0]]])
    found = lyapunov_exponents(h, 1e300, 1)
    assert found.values[0] == pytest.approx(300 * math.log(10) + math.log(3) / 2, rel=1e-12)
    assert found.upper == pytest.approx(300 * math.log(10) + math.log(5) / 2, rel=1e-12)
    found = lyapunov_exponents(random_hessians(1), 1e300, 1, momentum=0.5, steps=20)
    assert 600 < found.values[0] <= found.upper


def test_what_cannot_be_used_is_an_error() -> None:
    h = random_hessians(8)
    with pytest.raises(sm.errors.InvalidArgument, match="all be zero"):
        lyapunov_exponents(0 * h, 0.1, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="positive eigenvalue"):
        lyapunov_max_step_size(-h, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="replicas"):
        lyapunov_exponents(h, 0.1, 1, replicas=1)
    with pytest.raises(sm.errors.InvalidArgument, match="momentum"):
        lyapunov_exponents(h, 0.1, 1, momentum=1.0)
    with pytest.raises(sm.errors.InvalidArgument, match="nesterov"):
        lyapunov_exponents(h, 0.1, 1, momentum=0.5, nesterov="no")
    for seed in (-1, "a", None):
        with pytest.raises(sm.errors.InvalidArgument, match="seed"):
            lyapunov_exponents(h, 0.1, 1, seed=seed)
    with pytest.raises(sm.errors.InvalidArgument, match="other units"):
        lyapunov_exponents(np.full((3, 2), 1e-200), 0.1, 1)
