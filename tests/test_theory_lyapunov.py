"""Lyapunov exponents against exact ones: commuting Hessians, determinants, full batches, one direction."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.lyapunov import lyapunov_exponents
from sgdmodels.theory.lyapunov_edge import lyapunov_max_step_size
from sgdmodels.theory.moment_edges import moment_max_step_size

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")
WITH_EPOCHS = (*SCHEMES, "epoch")
MOMENTA = ({}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True})


def random_hessians(seed: int, n: int = 5, d: int = 3, rank: int = 2) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def commuting(seed: int, n: int = 4, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures (n, d) and the Hessians that have them in one random basis."""
    rng = np.random.default_rng(seed)
    h = rng.exponential(size=(n, d)) * np.array([0.3, 1.0, 3.0])[:d]
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    matrices = (basis * h[:, None, :]) @ basis.T
    return h, (matrices + matrices.transpose(0, 2, 1)) / 2


def mean_log(values: np.ndarray, b: int, sampling: str) -> float:
    """E log|1 - h_B| by enumeration; one batch of an epoch is one without replacement."""
    batches = all_batches(len(values), b, "without_replacement" if sampling == "epoch" else sampling)
    return float(
        sum(p * math.log(abs(1 - x)) for x, (_, p) in zip(batch_sums(values, b, batches), batches, strict=True))
    )


def mean_log_determinant(h: np.ndarray, b: int, sampling: str) -> float:
    batches = all_batches(len(h), b, "without_replacement" if sampling == "epoch" else sampling)
    steps = np.eye(h.shape[1]) - batch_sums(h, b, batches)
    return float(sum(p * np.linalg.slogdet(s)[1] for s, (_, p) in zip(steps, batches, strict=True)))


@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_commuting_hessians_have_the_exponents_of_their_directions(sampling: str) -> None:
    """27 values within 5 standard errors of 32 replicas, a 3e-5 event each under t with 31 degrees of freedom."""
    for seed in range(3):
        h, matrices = commuting(seed)
        for b in (1, 2, 3):
            expected = sorted((mean_log(0.3 * column, b, sampling) for column in h.T), reverse=True)
            found = lyapunov_exponents(matrices, 0.3, b, sampling, count=3, steps=800, seed=seed)
            error = np.maximum(found.standard_errors, 1e-9)
            assert (abs(found.values - expected) <= 5 * error).all(), (seed, b, found, expected)


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


@pytest.mark.slow
def test_standard_errors_have_their_nominal_coverage() -> None:
    """240 seeds: a 95 % t interval covers 216 to 239 times but for a chance of 1e-3 (binomial)."""
    from scipy.stats import t

    h, matrices = commuting(3, d=2)
    exact = max(mean_log(0.3 * column, 2, "without_replacement") for column in h.T)
    runs = [lyapunov_exponents(matrices, 0.3, 2, steps=200, replicas=10, seed=seed) for seed in range(240)]
    covered = sum(abs(run.values[0] - exact) < t.ppf(0.975, 9) * run.standard_errors[0] for run in runs)
    assert 216 <= covered <= 239


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


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_the_edge_lies_beyond_the_mean_square_edge_and_is_a_zero(sampling: str, momentum: dict[str, float]) -> None:
    """Four exponents from new seeds, whose errors and that of the edge are added: 4.5 of them fail 1e-4 of the time."""
    h = random_hessians(7, n=4, d=2)
    edge = lyapunov_max_step_size(h, 2, sampling, steps=500, **momentum)
    assert edge.standard_error > 0
    assert edge.step_size > sm.theory.max_step_size(h, 2, sampling, **momentum)
    below, above = (
        lyapunov_exponents(h, edge.step_size + 4.5 * sign * edge.standard_error, 2, sampling, seed=1, **momentum)
        for sign in (-1, 1)
    )
    assert below.values[0] < 4.5 * below.standard_errors[0]
    assert above.values[0] > -4.5 * above.standard_errors[0]


def test_the_edge_of_commuting_hessians_is_that_of_their_first_unstable_direction() -> None:
    for seed in range(3):
        h, matrices = commuting(seed)
        expected = min(moment_max_step_size(np.ascontiguousarray(column), 1, 0) for column in h.T)
        edge = lyapunov_max_step_size(matrices, 1, steps=500, seed=seed)
        assert abs(edge.step_size - expected) < 5 * edge.standard_error  # 3e-5 a seed, were the curve straight


def test_noise_can_stabilise_beyond_gradient_descent() -> None:
    """Of curvatures 1 and 3 one at a time (edge 4/3) or both at once (edge 1)."""
    h = np.array([1.0, 3.0])[:, None, None]
    assert lyapunov_max_step_size(h, 1).step_size == pytest.approx(4 / 3, rel=1e-9)
    assert lyapunov_max_step_size(h, 2).step_size == pytest.approx(1, rel=1e-9)


def test_what_cannot_be_used_is_an_error() -> None:
    h = random_hessians(8)
    with pytest.raises(sm.errors.InvalidArgument, match="all be zero"):
        lyapunov_exponents(0 * h, 0.1, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="positive in every direction"):
        lyapunov_max_step_size(-h, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="replicas"):
        lyapunov_exponents(h, 0.1, 1, replicas=1)
    with pytest.raises(sm.errors.InvalidArgument, match="momentum"):
        lyapunov_exponents(h, 0.1, 1, momentum=1.0)
