"""Batch Sharpness on the critical mode and on any law, against enumeration; the averages they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import sgdmodels as sm
from sgdmodels.sampling import noise_coefficients
from sgdmodels.theory.critical_mode import batch_moments
from sgdmodels.theory.population import Population

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")


def random_hessians(seed: int, n: int = 5, d: int = 3, rank: int = 2) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def enumerated(h: np.ndarray, b: int, sampling: str) -> tuple[np.ndarray, np.ndarray]:
    """Batch Hessians and their probabilities."""
    batches = all_batches(len(h), b, sampling)
    return batch_sums(h, b, batches), np.array([p for _, p in batches])


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("rank", [1, 2])
def test_the_critical_mode_solves_the_pencil_and_lies_in_the_cone(rank: int, sampling: str) -> None:
    h = random_hessians(1, rank=rank)
    for b in (1, 2, 4):
        sharpness, mode = sm.theory.critical_mode(h, b, sampling)
        hb, p = enumerated(h, b, sampling)
        left = np.einsum("k,kij,jl,klm->im", p, hb, mode, hb, optimize=True)
        mean = h.mean(axis=0)
        np.testing.assert_allclose(left, sharpness * (mean @ mode + mode @ mean) / 2, atol=1e-10 * sharpness)
        assert np.trace(mode) == pytest.approx(1, rel=1e-14)
        assert np.linalg.eigvalsh(mode)[0] > -1e-15
        assert sharpness == pytest.approx(sm.theory.mean_square_sharpness(h, b, sampling), rel=1e-13)


def test_a_multiple_eigenvalue_gives_the_mode_of_power_iteration() -> None:
    """Orthogonal directions do not interact: for each, E[h_B^2] / E[h_B] is the same, and none is preferred."""
    directions = np.eye(12)
    h = directions[:, :, None] * directions[:, None, :]
    sharpness, mode = sm.theory.critical_mode(h, 3)
    batches = all_batches(12, 3, "without_replacement")
    first = np.array([(0 in batch) / 3 for batch, _ in batches])  # the curvature along direction 0
    assert sharpness == pytest.approx((first**2).mean() / first.mean(), rel=1e-12)
    np.testing.assert_allclose(mode, np.eye(12) / 12, atol=1e-14)


def test_the_critical_mode_lives_where_the_mean_curvature_is_positive() -> None:
    h = np.zeros((5, 4, 4))
    h[:, 1:, 1:] = random_hessians(2)
    _, mode = sm.theory.critical_mode(h, 2)
    assert np.abs(mode[0]).max() < 1e-14
    np.testing.assert_allclose(
        mode[1:, 1:], sm.theory.critical_mode(np.ascontiguousarray(h[:, 1:, 1:]), 2)[1], atol=1e-11
    )


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("kind", ["factored", "dense", "indefinite"])
def test_second_and_third_powers_of_batch_hessians_equal_enumeration(kind: str, sampling: str) -> None:
    h = random_hessians(3, rank=1 if kind == "factored" else 2) - (0.5 * np.eye(3) if kind == "indefinite" else 0)
    population = Population.of(h)
    assert population.factored == (kind == "factored")
    for b in range(1, 6):
        hb, p = enumerated(h, b, sampling)
        second, third = batch_moments(population, noise_coefficients(5, b, sampling))
        square = np.matmul(hb, hb)
        np.testing.assert_allclose(second, np.tensordot(p, square, axes=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(third, np.tensordot(p, np.matmul(square, hb), axes=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("seed", range(4, 8))
def test_critical_batch_sharpness_equals_enumeration_on_the_dense_eigenvector(seed: int, sampling: str) -> None:
    h = random_hessians(seed)
    for b in (1, 2, 4):
        hb, p = enumerated(h, b, sampling)
        mean, eye = h.mean(axis=0), np.eye(3)
        d = np.einsum("k,kij,klm->iljm", p, hb, hb).reshape(9, 9)
        values, vectors = scipy.linalg.eigh(d, (np.kron(mean, eye) + np.kron(eye, mean)) / 2)
        square, cube = (
            np.einsum("k,kij,ji->", p, power, vectors[:, -1].reshape(3, 3)) for power in (hb @ hb, hb @ hb @ hb)
        )
        found = sm.theory.critical_batch_sharpness(h, b, sampling)
        assert found == pytest.approx(cube / square, rel=1e-9)
        assert found >= values[-1] * (1 - 1e-12)  # never below the mean-square sharpness


def test_the_spectral_spread_factor() -> None:
    a = np.random.default_rng(9).standard_normal((9, 4))
    h = a[:, :, None] * a[:, None, :]
    for b in (1, 3, 9):
        expected = sm.theory.critical_batch_sharpness(h, b) / sm.theory.mean_square_sharpness(h, b)
        assert sm.theory.batch_sharpness_factor(a, b) == pytest.approx(expected, rel=1e-10)
        for scale in (1e-60, 1e60):
            assert sm.theory.batch_sharpness_factor(scale * a, b) == pytest.approx(expected, rel=1e-10)
    assert sm.theory.batch_sharpness_factor(a, 9) == pytest.approx(1, rel=1e-12)
    equal = 3 * a / np.linalg.norm(a, axis=1, keepdims=True)
    assert sm.theory.batch_sharpness_factor(equal, 1) == pytest.approx(1, rel=1e-12)
    h = equal[:, :, None] * equal[:, None, :]
    assert sm.theory.mean_square_sharpness(h, 1) == pytest.approx(9, rel=1e-12)  # the squared norm


@pytest.mark.parametrize("sampling", SCHEMES)
def test_gradient_expectations_equal_enumeration(sampling: str) -> None:
    rng = np.random.default_rng(45)
    h, c = random_hessians(45, n=5, d=3), rng.standard_normal((5, 3))
    h -= 0.4 * np.eye(3)  # some curvatures are negative: nothing here needs a minimum
    points, weights = rng.standard_normal((4, 3)), np.array([0.1, 0.2, 0.3, 0.4])
    z = np.column_stack([points, np.ones(4)])
    system = sm.theory.second_moment_system(h, c)
    for b in (1, 2, 4):
        batches = all_batches(5, b, sampling)
        hb, p = batch_sums(h, b, batches), np.array([q for _, q in batches])
        g = np.einsum("nij,pnj->pni", h, points[:, None] - c)
        gb = np.array([batch_sums(values, b, batches) for values in g])  # (point, batch, d)
        mean, mh = g.mean(axis=1), h.mean(axis=0)
        joint = np.outer(weights, p)
        found = sm.theory.gradient_expectations(
            z.T @ (weights[:, None] * z), system, noise_coefficients(5, b, sampling)
        )
        square = (joint * (gb**2).sum(axis=2)).sum()
        interaction = (joint * np.einsum("pki,ij,pkj->pk", gb, mh, gb)).sum()
        curvature = (joint * np.einsum("pki,kij,pkj->pk", gb, hb, gb)).sum()
        assert found.mean_gradient_square == pytest.approx(weights @ (mean**2).sum(axis=1), rel=1e-12)
        assert found.mean_curvature == pytest.approx(weights @ np.einsum("pi,ij,pj->p", mean, mh, mean), rel=1e-12)
        assert found.batch_gradient_square == pytest.approx(square, rel=1e-12)
        assert found.interaction == pytest.approx(interaction, rel=1e-12)
        assert found.batch_curvature == pytest.approx(curvature, rel=1e-12)
        assert found.batch_sharpness == pytest.approx(curvature / square, rel=1e-12)
        assert found.ias == pytest.approx(interaction / square, rel=1e-12)


def test_arguments_are_checked() -> None:
    with pytest.raises(sm.errors.InvalidArgument, match="directions"):
        sm.theory.batch_sharpness_factor(np.ones(3), 1)
    with pytest.raises(sm.errors.InvalidArgument, match="positive eigenvalue"):
        sm.theory.critical_batch_sharpness(np.zeros((2, 2, 2)), 1)
    with pytest.raises(sm.errors.InvalidArgument, match="batch_size"):
        sm.theory.critical_mode(random_hessians(0), 6)


@pytest.mark.parametrize("factored", [True, False])
def test_averages_over_a_population_equal_loops(factored: bool) -> None:
    rng = np.random.default_rng(10)
    left, right = rng.standard_normal((6, 3, 1)), rng.standard_normal((6, 1, 3))
    a = left * right if factored else rng.standard_normal((6, 3, 3))
    population = Population.of(a)
    assert population.factored == factored
    x, basis = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    close = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(population.mean, sum(a) / 6, **close)
    np.testing.assert_allclose(population.sandwich(x), sum(m @ x @ m.T for m in a) / 6, **close)
    np.testing.assert_allclose(population.transposed().sandwich(x), sum(m.T @ x @ m for m in a) / 6, **close)
    np.testing.assert_allclose(population.cube(), sum(m @ m @ m for m in a) / 6, **close)
    np.testing.assert_allclose(population.scaled(2.0).cube(), 8 * population.cube(), **close)
    np.testing.assert_allclose(population.projected(basis).mean, basis.T @ a.mean(axis=0) @ basis, **close)


def test_matrices_of_zero_have_rank_one_and_nearly_rank_one_is_not_enough() -> None:
    a = np.random.default_rng(11).standard_normal((3, 2))
    h = a[:, :, None] * a[:, None, :]
    h[1] = 0
    assert Population.of(h).factored
    h[2, 0, 0] *= 1 + 1e-12
    assert not Population.of(h).factored
