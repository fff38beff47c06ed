"""Closed forms against brute force: spectral radii, enumeration, and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

import sgdmodels as sm
from sgdmodels.sampling import noise_coefficients

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")


def random_hessians(seed: int, n: int = 5, d: int = 3, rank: int = 2) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def second_moment_map(h: np.ndarray, b: int, sampling: str, eta: float) -> np.ndarray:
    """E_B[(I - eta H_B) kron (I - eta H_B)] by enumeration."""
    batches = all_batches(len(h), b, sampling)
    steps = np.eye(h.shape[1]) - eta * batch_sums(h, b, batches)
    return sum(p * np.kron(s, s) for s, (_, p) in zip(steps, batches, strict=True))


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("seed", range(20))
def test_mean_square_sharpness_is_where_the_spectral_radius_is_one(seed: int, sampling: str) -> None:
    h = random_hessians(seed)
    for b in range(1, 5 if sampling == "with_replacement" else 6):
        eta = 2 / sm.theory.mean_square_sharpness(h, b, sampling)
        radii = [
            np.abs(np.linalg.eigvals(second_moment_map(h, b, sampling, eta * factor))).max()
            for factor in (0.999, 1.001)
        ]
        assert radii[0] < 1 < radii[1], (b, radii)


@pytest.mark.parametrize("seed", range(5))
def test_mean_square_sharpness_equals_the_dense_pencil(seed: int) -> None:
    h = random_hessians(seed, n=6, d=4)
    for b in (1, 3, 5):
        batches = all_batches(6, b, "without_replacement")
        d = np.mean([np.kron(x, x) for x in batch_sums(h, b, batches)], axis=0)
        mean = h.mean(axis=0)
        c = 0.5 * (np.kron(mean, np.eye(4)) + np.kron(np.eye(4), mean))
        expected = scipy.linalg.eigh(d, c, eigvals_only=True)[-1]
        assert sm.theory.mean_square_sharpness(h, b) == pytest.approx(expected, rel=1e-9)


def test_mean_square_sharpness_restricts_a_singular_mean_to_its_range() -> None:
    h = random_hessians(3)
    padded = np.zeros((5, 4, 4))
    padded[:, :3, :3] = h
    assert sm.theory.mean_square_sharpness(padded, 2) == pytest.approx(sm.theory.mean_square_sharpness(h, 2), rel=1e-9)


def test_mean_square_sharpness_limits() -> None:
    h = random_hessians(4)
    top = np.linalg.eigvalsh(h.mean(axis=0))[-1]
    values = [sm.theory.mean_square_sharpness(h, b) for b in range(1, 6)]
    assert values[-1] == pytest.approx(top, rel=1e-9)
    assert all(a >= b * (1 - 1e-12) for a, b in itertools.pairwise(values))
    with pytest.raises(sm.errors.InvalidArgument, match="positive eigenvalue"):
        sm.theory.mean_square_sharpness(-h, 2)


def test_the_edge_fraction_is_one_at_full_batch_and_matches_its_definition() -> None:
    a = np.random.default_rng(5).standard_normal((8, 3))
    assert sm.theory.edge_sharpness(a, 8) == pytest.approx(1, rel=1e-9)
    h = a[:, :, None] * a[:, None, :]
    scale = 2 / 0.1 / sm.theory.mean_square_sharpness(h, 2)  # curvature at which S_ms = 2 / eta for eta = 0.1
    top = np.linalg.eigvalsh(scale * h.mean(axis=0))[-1]
    assert sm.theory.edge_sharpness(a, 2) == pytest.approx(0.1 * top / 2, rel=1e-9)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_second_moment_step_equals_enumeration(sampling: str) -> None:
    rng = np.random.default_rng(6)
    h, c, theta = random_hessians(6), rng.standard_normal((5, 3)), rng.standard_normal(3)
    model = sm.models.Quadratics(h, c)
    g = model.sample_gradients(theta)
    z = np.append(theta, 1)
    system = sm.theory.second_moment_system(h, c)
    for b in (1, 2, 4):
        batches = all_batches(5, b, sampling)
        after = [np.append(theta - 0.1 * s, 1) for s in batch_sums(g, b, batches)]
        expected = sum(p * np.outer(a, a) for a, (_, p) in zip(after, batches, strict=True))
        moment = sm.theory.second_moment_step(np.outer(z, z), system, 0.1, noise_coefficients(5, b, sampling))
        np.testing.assert_allclose(moment, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SCHEMES)
def test_sgd_follows_the_exact_second_moment_recursion(sampling: str) -> None:
    """10^5 replicas; 15 entries within 4 standard errors fail by chance with probability 1e-3 a scheme."""
    rng = np.random.default_rng(7)
    h, c = random_hessians(7, n=5, d=2), rng.standard_normal((5, 2))
    eta = 0.5 / sm.theory.mean_square_sharpness(h, 2, sampling)
    run = sm.simulate(
        sm.models.Quadratics(h, c), sm.SGD(eta, 2, sampling=sampling), 9, np.array([2.0, -1.0]),
        replicas=100_000, record_every=3, metrics=(), keep_params=True, seed=1,
    )  # fmt: skip
    system, noise = sm.theory.second_moment_system(h, c), noise_coefficients(5, 2, sampling)
    z = np.array([2.0, -1.0, 1.0])
    moment = np.outer(z, z)
    for record in range(1, 4):
        for _ in range(3):
            moment = sm.theory.second_moment_step(moment, system, eta, noise)
        theta = np.column_stack([run.params.values[:, record], np.ones(100_000)])
        products = theta[:, :, None] * theta[:, None, :]
        error = products.std(axis=0, ddof=1) / np.sqrt(100_000)
        i, j = np.triu_indices(3)
        keep = error[i, j] > 0  # all but the constant corner
        z_scores = (products.mean(axis=0) - moment)[i, j][keep] / error[i, j][keep]
        assert np.abs(z_scores).max() < 4, z_scores
