"""Second moments of SGD, SVAG and the SDE against enumeration, Kronecker matrices and spectral radii."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg

import sgdmodels as sm
from sgdmodels.sampling import NoiseCoefficients, noise_coefficients
from sgdmodels.theory import sde_moments

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")


def random_hessians(seed: int, n: int = 4, d: int = 2, rank: int = 2) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def random_system(seed: int, n: int = 4, d: int = 2, rank: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Hessians, and the augmented matrices with centres of their own: the optimum does not interpolate."""
    h = random_hessians(seed, n, d, rank)
    centers = np.random.default_rng(seed + 1000).standard_normal((n, d)) + 1
    return h, sm.theory.second_moment_system(h, centers)


def svag_map(a: np.ndarray, b: int, sampling: str, eta: float, ell: int) -> np.ndarray:
    """E[Z kron Z] of one micro-step of SVAG(ell), by enumeration of its two batches; ell = 1 is SGD."""
    batches = all_batches(len(a), b, sampling)
    sums, p = batch_sums(a, b, batches), np.array([q for _, q in batches])
    spread = math.sqrt(2 * ell - 1)
    first, second = (1 + spread) / 2 * sums[:, None], (1 - spread) / 2 * sums[None, :]
    steps = (np.eye(a.shape[1]) - eta / ell * (first + second)).reshape(-1, *a.shape[1:])
    weights = np.outer(p, p).ravel()
    size = a.shape[1] ** 2
    return np.einsum("k,kij,klm->iljm", weights, steps, steps, optimize=True).reshape(size, size)


def sde_generator(a: np.ndarray, b: int, sampling: str, eta: float) -> np.ndarray:
    """The generator of vec M, with the covariance of the batch mean from enumeration."""
    batches = all_batches(len(a), b, sampling)
    sums = batch_sums(a, b, batches)
    mean, eye = a.mean(axis=0), np.eye(a.shape[1])
    second = sum(p * np.kron(s, s) for s, (_, p) in zip(sums, batches, strict=True))
    return eta * (second - np.kron(mean, mean)) - np.kron(mean, eye) - np.kron(eye, mean)


@pytest.mark.parametrize("ell", [1, 2, 7])
@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 2, 3])
def test_the_edge_of_svag_is_where_the_spectral_radius_is_one(b: int, sampling: str, ell: int) -> None:
    h = random_hessians(b)
    eta = sm.theory.max_step_size(h, b, sampling, ell=ell)
    radii = [
        np.abs(np.linalg.eigvals(svag_map(h, b, sampling, eta * factor, ell))).max() for factor in (0.999, 1, 1.001)
    ]
    assert radii[0] < 1 < radii[2]
    assert radii[1] == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 2, 3])
def test_the_edge_of_the_sde_is_where_its_generator_has_a_zero_eigenvalue(b: int, sampling: str) -> None:
    h = random_hessians(b + 10)
    eta = sm.theory.max_step_size(h, b, sampling, ell=math.inf)
    values = np.linalg.eigvals(sde_generator(h, b, sampling, eta))
    assert values.real.max() == pytest.approx(0, abs=1e-11 * np.abs(values).max())


def test_edges_in_one_dimension_have_a_closed_form() -> None:
    curvature = np.array([0.5, 1.0, 4.0])
    a, s2 = curvature.mean(), noise_coefficients(3, 2).c2 * curvature.var()
    for ell in (1, 2, 5, 10**6, math.inf):
        edge = sm.theory.max_step_size(curvature[:, None, None], 2, ell=ell)
        assert edge == pytest.approx(2 * a / (a**2 / ell + s2), rel=1e-12)


def test_without_noise_only_the_sde_has_no_edge() -> None:
    h = random_hessians(3)
    top = np.linalg.eigvalsh(h.mean(axis=0))[-1]
    assert sm.theory.max_step_size(h, 4, ell=math.inf) == math.inf
    assert sm.theory.max_step_size(h, 4, ell=5) == pytest.approx(10 / top, rel=1e-12)
    same = np.repeat(h[:1], 4, axis=0)
    assert sm.theory.max_step_size(same, 1, "with_replacement", ell=math.inf) == math.inf
    twins = np.repeat(np.array([[[3.0, 4.0]]]), 4, axis=0)  # of rank one: their spread is a difference of products
    twins = twins.transpose(0, 2, 1) * twins
    assert sm.theory.max_step_size(twins, 1, "with_replacement", ell=math.inf) == math.inf


@pytest.mark.parametrize("ell", [0, 1.5, -math.inf, math.nan, True, "2"])
def test_ell_is_a_number_of_steps(ell: object) -> None:
    with pytest.raises(sm.errors.InvalidArgument, match="ell"):
        sm.theory.max_step_size(random_hessians(0), 2, ell=ell)  # type: ignore[arg-type]


@pytest.mark.parametrize("ell", [1, 3])
@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_radius_is_that_of_the_kronecker_matrix(sampling: str, ell: int) -> None:
    h = random_hessians(20)
    edge = sm.theory.max_step_size(h, 2, sampling, ell=ell)
    for fraction in (0.01, 0.5, 0.999, 1.001, 3):
        eta = fraction * edge
        expected = np.abs(np.linalg.eigvals(svag_map(h, 2, sampling, eta, ell))).max() ** ell
        radius = sm.theory.second_moment_radius(h, eta, 2, sampling, ell)
        assert radius == pytest.approx(expected, rel=1e-11)
        assert (radius < 1) == (fraction < 1)


def test_the_radius_of_the_sde_is_the_exponential_of_its_top_eigenvalue() -> None:
    h = random_hessians(21)
    for eta in (0.01, 0.5, 3.0):
        top = np.linalg.eigvals(sde_generator(h, 2, "without_replacement", eta)).real.max()
        radius = sm.theory.second_moment_radius(h, eta, 2, ell=math.inf)
        assert radius == pytest.approx(np.exp(eta * top), rel=1e-11)


def test_the_radius_of_badly_conditioned_and_noiseless_problems() -> None:
    values = np.logspace(-6, 0, 7)
    h = np.diag(values)[None]
    for eta, ell, expected in (
        (1.0, 1, (1 - 1e-6) ** 2), (2.5, 1, 1.5**2), (1e-3, 1, (1 - 1e-9) ** 2), (1.0, math.inf, np.exp(-2e-6)),
    ):  # fmt: skip
        assert sm.theory.second_moment_radius(h, eta, 1, ell=ell) == pytest.approx(expected, abs=2e-16 + 1e-12 * eta)


def test_the_radius_leaves_flat_and_negative_directions_out() -> None:
    h = random_hessians(22, d=2)
    padded = np.zeros((4, 4, 4))
    padded[:, :2, :2] = h
    padded[:, 3, 3] = -1.0
    assert sm.theory.second_moment_radius(padded, 0.1, 2) == pytest.approx(
        sm.theory.second_moment_radius(h, 0.1, 2), rel=1e-12
    )


@pytest.mark.parametrize("micro_steps", [1, 3])
@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("rank", [1, 2])
def test_the_second_moment_map_is_that_of_svag(rank: int, sampling: str, micro_steps: int) -> None:
    _, system = random_system(30, d=3, rank=rank)
    z = np.append(np.random.default_rng(31).standard_normal(3), 1)
    kron = np.linalg.matrix_power(svag_map(system, 2, sampling, 0.2, micro_steps), micro_steps)
    expected = (kron @ np.outer(z, z).ravel()).reshape(4, 4)
    advance = sm.theory.second_moment_map(system, 0.2, noise_coefficients(4, 2, sampling), micro_steps)
    np.testing.assert_allclose(advance(np.outer(z, z)), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("micro_steps", [1, 3])
@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_stationary_moment_is_the_eigenvector_of_eigenvalue_one(sampling: str, micro_steps: int) -> None:
    h, system = random_system(40)
    edge = sm.theory.max_step_size(h, 2, sampling, ell=micro_steps)
    for fraction in (0.1, 0.6, 0.95):
        values, vectors = np.linalg.eig(svag_map(system, 2, sampling, fraction * edge, micro_steps))
        expected = vectors[:, np.abs(values - 1).argmin()].real.reshape(3, 3)
        moment = sm.theory.stationary_moment(
            system, fraction * edge, noise_coefficients(4, 2, sampling), micro_steps
        )  # fmt: skip
        np.testing.assert_allclose(moment, expected / expected[-1, -1], rtol=1e-9)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_stationary_moment_of_the_sde_is_in_the_null_space_of_its_generator(sampling: str) -> None:
    h, system = random_system(41)
    eta = 0.7 * sm.theory.max_step_size(h, 2, sampling, ell=math.inf)
    expected = scipy.linalg.null_space(sde_generator(system, 2, sampling, eta))
    assert expected.shape[1] == 1
    moment = sm.theory.sde_stationary_moment(system, eta, noise_coefficients(4, 2, sampling))
    np.testing.assert_allclose(moment, (expected / expected[-1]).reshape(3, 3), rtol=1e-9)


def test_stationary_covariances_of_additive_noise_have_a_closed_form() -> None:
    rng = np.random.default_rng(42)
    values = np.array([0.3, 1.0, 2.5])
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    h = np.ascontiguousarray(np.broadcast_to(q @ np.diag(values) @ q.T, (6, 3, 3)))
    centers = rng.standard_normal((6, 3))
    noise, eta = noise_coefficients(6, 2), 0.6
    system = sm.theory.second_moment_system(h, centers)
    gradients = (centers - centers.mean(axis=0)) @ h[0] @ q
    sigma = noise.c2 * gradients.T @ gradients / 6
    total, product = np.add.outer(values, values), np.multiply.outer(values, values)
    mean = np.outer(centers.mean(axis=0), centers.mean(axis=0))
    for moment, ell in (
        (sm.theory.stationary_moment(system, eta, noise), 1),
        (sm.theory.stationary_moment(system, eta, noise, 4), 4),
        (sm.theory.sde_stationary_moment(system, eta, noise), math.inf),
    ):
        expected = q @ (eta * sigma / (total - eta / ell * product)) @ q.T
        np.testing.assert_allclose(moment[:3, :3] - mean, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("rank", [1, 3])
def test_gradient_noise_interaction_is_two_over_eta_at_every_stable_step_size(rank: int, sampling: str) -> None:
    h, system = random_system(43, n=12, d=5, rank=rank)
    for b in range(1, 12 + (sampling == "with_replacement")):
        noise = noise_coefficients(12, b, sampling)
        for fraction in (1e-3, 0.2, 0.9, 0.999):
            eta = fraction * sm.theory.max_step_size(h, b, sampling)
            moment = sm.theory.stationary_moment(system, eta, noise)
            assert sm.theory.gradient_expectations(moment, system, noise).gni * eta / 2 == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("micro_steps", [2, 5, math.inf])
def test_models_with_smaller_steps_exceed_it_by_the_rayleigh_quotient(micro_steps: float) -> None:
    h, system = random_system(44, n=8, d=3)
    for b in (1, 3, 7):
        noise = noise_coefficients(8, b)
        eta = 0.6 * sm.theory.max_step_size(h, b, ell=micro_steps)
        found = sm.theory.gradient_expectations(
            sm.theory.stationary_moment(system, eta, noise, micro_steps), system, noise
        )
        rayleigh = found.mean_curvature / found.mean_gradient_square
        assert found.gni == pytest.approx(2 / eta + (1 - 1 / micro_steps) * rayleigh, rel=1e-10)
        assert rayleigh > 0


def test_laws_that_do_not_exist_are_refused() -> None:
    h, system = random_system(46)
    noise = noise_coefficients(4, 2)
    with pytest.raises(sm.errors.InvalidArgument, match="mean-square unstable"):
        sm.theory.stationary_moment(system, 1.001 * sm.theory.max_step_size(h, 2), noise)
    with pytest.raises(sm.errors.InvalidArgument, match="mean-square unstable"):
        sm.theory.sde_stationary_moment(system, 1.001 * sm.theory.max_step_size(h, 2, ell=math.inf), noise)
    flat = np.zeros((4, 3, 3))
    flat[:, :2, :2] = h
    with pytest.raises(sm.errors.InvalidArgument, match="2 positive eigenvalues of 3"):
        sm.theory.stationary_moment(sm.theory.second_moment_system(flat, np.zeros((4, 3))), 0.01, noise)
    with pytest.raises(sm.errors.InvalidArgument, match="second_moment_system"):
        sm.theory.sde_second_moment(np.eye(2), h, 0.1, noise, 1.0)
    with pytest.raises(sm.errors.InvalidArgument, match="micro_steps"):
        sm.theory.micro_noise(noise, 0)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("dense", [True, False])
def test_the_sde_moves_by_the_exponential_of_its_generator(
    dense: bool, rank: int, sampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not dense:
        monkeypatch.setattr(sde_moments, "DENSE_ORDER", 0)
    _, system = random_system(50, rank=rank)
    z = np.array([2.0, -1.0, 1.0])
    noise = noise_coefficients(4, 2, sampling)
    for time in (0.0, 0.3, 25.0):
        expected = scipy.linalg.expm(0.2 * time * sde_generator(system, 2, sampling, 0.2)) @ np.outer(z, z).ravel()
        moment = sm.theory.sde_second_moment(np.outer(z, z), system, 0.2, noise, time)
        np.testing.assert_allclose(moment.ravel(), expected, rtol=1e-10, atol=1e-11)


def test_the_sde_is_the_limit_of_many_micro_steps() -> None:
    """Errors fall as 1 / m, and as 1 / m^2 after Richardson: ratios 2 and 4 up to the next order, a few times 1 / m."""
    _, system = random_system(51, n=5, d=3)
    noise, z = noise_coefficients(5, 2), np.array([1.0, -2.0, 0.5, 1.0])
    steps, eta = 4, 0.1
    limit = sm.theory.sde_second_moment(np.outer(z, z), system, eta, noise, steps)

    def model(m: int) -> np.ndarray:
        advance, moment = sm.theory.second_moment_map(system, eta, noise, m), np.outer(z, z)
        for _ in range(steps):
            moment = advance(moment)
        return moment

    runs = [model(m) for m in (100, 200, 400, 800)]
    plain = [np.abs(run - limit).max() for run in runs]
    refined = [np.abs(2 * fine - coarse - limit).max() for coarse, fine in itertools.pairwise(runs)]
    assert plain[1] / plain[2] == pytest.approx(2, abs=0.05)
    assert refined[0] / refined[1] == pytest.approx(4, abs=0.2)
    assert refined[2] < 1e-3 * plain[2]


def test_the_sde_forgets_its_start() -> None:
    _, system = random_system(52, n=9, d=6)
    noise = NoiseCoefficients(0.25, 0.0)
    z = np.append(np.full(6, 3.0), 1)
    late = sm.theory.sde_second_moment(np.outer(z, z), system, 0.05, noise, 1e4)
    np.testing.assert_allclose(late, sm.theory.sde_stationary_moment(system, 0.05, noise), rtol=1e-9, atol=1e-11)
