"""First and second moments of the noise: laws of weights against enumeration, ensembles against exact maps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import sgdmodels as sm
from sgdmodels.kernels.draw import draw_weights
from sgdmodels.kernels.gaussians import SCHEME_CODES, gaussian, law_width, noise_variance
from sgdmodels.sampling import SCHEMES, noise_coefficients

from .cases import CASES
from .enumeration import all_batches, batch_sums

N = 5
FRESH = ("without_replacement", "with_replacement", "bernoulli")


def weights(n: int, b: int, steps: int, scheme: str = "with_replacement", **options: int) -> np.ndarray:
    """Weights of the Gaussian law, shape (steps, n)."""
    refinement = options.pop("refinement", 1)
    parameters = np.array([SCHEME_CODES[scheme], refinement, 0.0])
    return draw_weights(gaussian, law_width(n), n, b, steps, parameters=parameters, **options)[1][:, :n]


def quadratics(seed: int, n: int = N, d: int = 2) -> tuple[sm.models.Quadratics, np.ndarray, np.ndarray]:
    """Curvatures and centres of their own for every sample: the optimum does not interpolate."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, d, d))
    h, c = np.einsum("nij,nkj->nik", a, a), rng.standard_normal((n, d))
    return sm.models.Quadratics(h, c), h, c


def augmented(h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """A_i with g_i = (A_i z)[:-1] for z = (theta, 1)."""
    a = np.zeros((len(h), h.shape[1] + 1, h.shape[1] + 1))
    a[:, :-1, :-1], a[:, :-1, -1] = h, -np.einsum("nij,nj->ni", h, c)
    return a


def moment_map(a: np.ndarray, b: int, sampling: str, eta: float, micro_steps: int = 1) -> np.ndarray:
    """Kronecker matrix of E[z z'] of one micro-step, of length eta / m and with m times the covariance of a batch."""
    batches = all_batches(len(a), b, sampling)
    sums, p = batch_sums(a, b, batches), np.array([q for _, q in batches])
    mean, eye = np.einsum("k,kij->ij", p, sums), np.eye(a.shape[1])
    fluctuation = np.einsum("k,kij,klm->iljm", p, sums - mean, sums - mean).reshape(len(eye) ** 2, -1)
    h = eta / micro_steps
    return np.kron(eye - h * mean, eye - h * mean) + h**2 * micro_steps * fluctuation


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The fixed point M of a moment map with M[-1, -1] = 1."""
    size = math.isqrt(len(matrix))
    fixed = scipy.linalg.null_space(matrix - np.eye(len(matrix)), rcond=1e-10)
    assert fixed.shape[1] == 1
    return (fixed[:, 0] / fixed[-1, 0]).reshape(size, size)


def scores(theta: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """(sample moments of (theta, 1) - moment) / standard error, upper triangle without the constant corner."""
    z = np.column_stack([theta, np.ones(len(theta))])
    i, j = np.triu_indices(z.shape[1])
    products = (z[:, i] * z[:, j])[:, :-1]
    return (products.mean(axis=0) - moment[i, j][:-1]) / (products.std(axis=0) / math.sqrt(len(theta)))


def ensemble(
    model: sm.models.Model, dynamics: sm.dynamics.Dynamics, steps: int, init: np.ndarray, replicas: int
) -> np.ndarray:
    run = sm.simulate(
        model,
        dynamics,
        steps,
        init,
        replicas=replicas,
        record_every=steps,
        metrics=(),
        keep_params=True,
        seed=3,
    )
    return run.params.values[:, -1]


# the law of Gaussian weights


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_variance_of_the_law_is_that_of_batches(scheme: str) -> None:
    for n, b in itertools.combinations_with_replacement(range(1, 8), 2):
        n, b = max(n, b), min(n, b)
        expected = noise_coefficients(n, b, scheme).c2
        assert noise_variance.py_func(SCHEME_CODES[scheme], n, b) == pytest.approx(expected, rel=1e-15)
        if n == 1:
            continue
        unit = weights(n, 1, 3) - 1 / n  # with replacement, b = 1: c2 = 1
        if scheme != "bernoulli":
            np.testing.assert_allclose(weights(n, b, 3, scheme) - 1 / n, math.sqrt(expected) * unit, atol=1e-15)
        doubled = weights(n, b, 3, scheme, micro_steps=4) - 1 / n
        np.testing.assert_allclose(doubled, 2 * (weights(n, b, 3, scheme) - 1 / n), atol=1e-14)


@pytest.mark.parametrize("n", [4, 5])
def test_weights_have_the_covariance_of_a_batch(n: int) -> None:
    """2e5 draws; 14 and 20 entries within 4.5 standard errors: fails by chance once in 7000."""
    w = weights(n, 1, 200_000)
    np.testing.assert_allclose(w.sum(axis=1), 1, atol=1e-14)
    expected = (np.eye(n) - 1 / n) / n
    i, j = np.triu_indices(n)
    away = w - 1 / n
    products = away[:, i] * away[:, j]
    z = (products.mean(axis=0) - expected[i, j]) / (products.std(axis=0) / math.sqrt(len(w)))
    assert np.abs(z).max() < 4.5
    assert np.abs(away.mean(axis=0) / np.sqrt(np.diag(expected) / len(w))).max() < 4.5
    kurtosis = (away**4).mean(axis=0) / (away**2).mean(axis=0) ** 2
    assert np.abs(kurtosis - 3).max() < 4.5 * math.sqrt(96 / len(w))  # of a Gaussian: (8th - 4th^2 ...) = 96


def test_weights_of_bernoulli_batches_are_not_centred() -> None:
    """2e5 draws; 15 entries within 4.5 standard errors: fails by chance once in 10000."""
    n, b = 5, 2
    away = weights(n, b, 200_000, "bernoulli") - 1 / n
    expected = noise_coefficients(n, b, "bernoulli").c2 / n * np.eye(n)
    i, j = np.triu_indices(n)
    products = away[:, i] * away[:, j]
    z = (products.mean(axis=0) - expected[i, j]) / (products.std(axis=0) / math.sqrt(len(away)))
    assert np.abs(z).max() < 4.5


def test_micro_steps_are_independent() -> None:
    """Products of neighbouring rows of 2e5, 25 entries within 4.5 standard errors: fails by chance once in 6000."""
    away = weights(5, 1, 200_001) - 0.2
    products = away[:-1, :, None] * away[1:, None, :]
    z = products.mean(axis=0) / (products.std(axis=0) / math.sqrt(200_000))
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize(("coarse", "fine"), [(1, 6), (2, 3), (3, 2)])
def test_refined_weights_are_sums_of_fine_ones(coarse: int, fine: int, n: int) -> None:
    """m micro-steps with refinement r against m r with refinement 1, for whole steps too: noisy GD has m = 1."""
    steps = 4
    rough = weights(n, 2, coarse * steps, "without_replacement", micro_steps=coarse, refinement=fine)
    exact = weights(n, 2, coarse * fine * steps, "without_replacement", micro_steps=coarse * fine)
    np.testing.assert_allclose(rough, exact.reshape(-1, fine, n).mean(axis=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("refined", "plain"), [
    (lambda e: sm.SDE(e, 2, substeps=2, refinement=3), lambda e: sm.SDE(e, 2, substeps=6)),
    (lambda e: sm.SDE(e, 2, order=2, substeps=1, refinement=4), lambda e: sm.SDE(e, 2, order=2, substeps=4)),
    (lambda e: sm.NoisyGD(e, 2, refinement=5), lambda e: sm.SDE(e, 2, substeps=5)),
])  # fmt: skip
def test_refined_runs_follow_the_same_brownian_path(refined, plain) -> None:  # type: ignore[no-untyped-def]
    """Where the drift is small the same path, where seeds differ another one."""
    model, eta = CASES["linear network"](seed=3).model, 1e-6
    init = np.random.default_rng(0).standard_normal(model.dim)
    moved = [ensemble(model, make(eta), 10, init, 6) - init for make in (refined, plain)]
    np.testing.assert_allclose(moved[0], moved[1], rtol=0, atol=1e-5 * np.abs(moved[0]).max())
    assert np.abs(moved[0] - moved[0].mean(axis=0)).max() > 0.1 * np.abs(moved[0]).max()


# SVAG


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement"])
def test_svag_of_one_is_sgd(sampling: str) -> None:
    """The batches and weights bit for bit, and paths to rounding: the sum over a batch has b more terms of weight 0."""
    model = CASES["product of 2"](seed=1).model
    init = np.random.default_rng(1).uniform(0.2, 0.5, model.dim)
    for b in (1, 2, 5):
        svag, sgd = sm.SVAG(0.05, b, ell=1, sampling=sampling), sm.SGD(0.05, b, sampling=sampling)
        pairs = []
        for plan in (svag.plan(6), sgd.plan(6)):
            index, weight, _ = draw_weights(
                plan.law, plan.width, 6, b, 50, parameters=plan.law_parameters, seed=3, replica=2
            )
            assert (weight[:, b:] == 0).all()
            pairs.append((index[:, :b], weight[:, :b]))
        np.testing.assert_array_equal(pairs[0], pairs[1])
        np.testing.assert_allclose(ensemble(model, svag, 100, init, 5), ensemble(model, sgd, 100, init, 5), rtol=1e-12)


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement"])
@pytest.mark.parametrize("ell", [1, 2, 9])
def test_svag_draws_every_pair_of_batches_alike_and_amplifies_their_covariance(ell: int, sampling: str) -> None:
    """The covariance by enumeration of pairs with the law's weights; the chi-square tests of 24000 draws reject the
    truth once in 10^5 each."""
    n, b, draws = 4, 2, 24_000
    plan = sm.SVAG(0.1, b, ell=ell, sampling=sampling).plan(n)
    index, weight, count = draw_weights(
        plan.law, plan.width, n, b, draws, micro_steps=ell, parameters=plan.law_parameters, seed=8
    )
    assert (count == 2 * b).all()
    assert (weight == weight[0]).all()
    assert weight[0].sum() == pytest.approx(1, abs=1e-14)
    spread = math.sqrt(2 * ell - 1)
    np.testing.assert_allclose(weight[0], np.repeat([(1 + spread) / 2 / b, (1 - spread) / 2 / b], b), rtol=1e-15)
    pairs = list(itertools.product(itertools.product(range(n), repeat=b), repeat=2))
    if sampling == "without_replacement":
        pairs = [pair for pair in pairs if all(len(set(batch)) == b for batch in pair)]
    codes = index @ n ** np.arange(2 * b)
    known = {int(np.concatenate(pair) @ n ** np.arange(2 * b)): k for k, pair in enumerate(pairs)}
    observed = np.bincount([known[code] for code in codes.tolist()], minlength=len(pairs))
    assert scipy.stats.chisquare(observed).pvalue > 1e-5
    g = np.random.default_rng(2).standard_normal((n, 3))
    steps = np.array([weight[0, :b] @ g[list(one)] + weight[0, b:] @ g[list(two)] for one, two in pairs])
    batches = all_batches(n, b, sampling)
    sums, p = batch_sums(g, b, batches), np.array([q for _, q in batches])
    np.testing.assert_allclose(steps.mean(axis=0), g.mean(axis=0), atol=1e-14)
    covariance = np.cov(sums.T, aweights=p, bias=True)
    np.testing.assert_allclose(np.cov(steps.T, bias=True), ell * covariance, atol=1e-12)


# bridges


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("n", [6, 7])
def test_epoch_weights_are_those_of_a_permutation_to_second_order(n: int, substeps: int) -> None:
    """Sums over an epoch vanish where b divides n; 2e4 epochs' covariances within and between steps, -b / (n - b) of
    them: 112 entries within 4.5 standard errors, fails by chance once in 1000."""
    b, epochs = 2, 20_000
    length = n // b
    plan = sm.EpochSDE(0.1, b, substeps=substeps).plan(n)
    micro_steps = length * substeps * epochs
    _, weight, _ = draw_weights(
        plan.law, plan.width, n, b, micro_steps, micro_steps=substeps, parameters=plan.law_parameters, seed=4
    )
    away = weight[:, :n].reshape(epochs, length, substeps, n) - 1 / n
    if n % b == 0:
        np.testing.assert_allclose(away.sum(axis=(1, 2)), 0, atol=1e-13)
    np.testing.assert_allclose(away.sum(axis=3), 0, atol=1e-13)
    steps = away.mean(axis=2)  # a step of SGD: eta / m times the sum
    one = noise_coefficients(n, b).c2 * (np.eye(n) - 1 / n) / n
    for first, second, factor in ((0, 0, 1.0), (1, 1, 1.0), (0, 1, -b / (n - b)), (0, 2, -b / (n - b))):
        products = steps[:, first, :, None] * steps[:, second, None, :]
        error = products.std(axis=0) / math.sqrt(epochs)
        i, j = np.triu_indices(n)
        z = ((products.mean(axis=0) - factor * one) / error)[i, j]
        assert np.abs(z).max() < 4.5, (first, second, z)
    neighbours = steps[:-1, -1, :, None] * steps[1:, 0, None, :]  # of two epochs: independent
    assert np.abs(neighbours.mean(axis=0) / (neighbours.std(axis=0) / math.sqrt(epochs - 1))).max() < 4.5


@pytest.mark.parametrize("b", [1, 2])
def test_batches_of_a_permutation_have_the_covariance_that_the_bridge_copies(b: int) -> None:
    """By enumeration of all orders: c2 Sigma within a step, -c2 Sigma / (K - 1) between two, K b = n."""
    n = 6
    g = np.random.default_rng(3).standard_normal(n)
    orders = np.array(list(itertools.permutations(g)))
    means = orders.reshape(len(orders), n // b, b).mean(axis=2)
    covariance = np.cov(means.T, bias=True)
    c2, k = noise_coefficients(n, b).c2, n // b
    expected = c2 * g.var() * (np.eye(k) * k / (k - 1) - 1 / (k - 1))
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


# second moments on quadratics


@pytest.mark.parametrize("sampling", FRESH)
def test_noisy_gd_has_the_second_moments_of_sgd_exactly(sampling: str) -> None:
    """One step from any point, every b: from the covariance of the weights against enumeration of batches."""
    model, h, c = quadratics(0)
    theta, eta = np.array([0.7, -1.1]), 0.13
    g = model.sample_gradients(theta)
    for b in range(1, N + 1):
        noise = noise_coefficients(N, b, sampling)
        spread = noise.c2 / N * (np.eye(N) - (0 if noise.raw else 1 / N))
        mean = theta - eta * g.mean(axis=0)
        noisy = np.outer(mean, mean) + eta**2 * g.T @ spread @ g
        batches = all_batches(N, b, sampling)
        after = theta - eta * batch_sums(g, b, batches)
        sgd = sum(p * np.outer(a, a) for a, (_, p) in zip(after, batches, strict=True))
        np.testing.assert_allclose(noisy, sgd, rtol=1e-12, atol=1e-13)
        z = np.append(theta, 1)
        mapped = (moment_map(augmented(h, c), b, sampling, eta) @ np.kron(z, z)).reshape(3, 3)[:2, :2]
        np.testing.assert_allclose(noisy, mapped, rtol=1e-12, atol=1e-13)


FOLLOWERS = {
    "noisy GD": (lambda eta, b, sampling: sm.NoisyGD(eta, b, sampling=sampling), 1),
    "SDE": (lambda eta, b, sampling: sm.SDE(eta, b, substeps=3, sampling=sampling), 3),
    "SVAG": (lambda eta, b, sampling: sm.SVAG(eta, b, ell=3, sampling=sampling), 3),
}


@pytest.mark.parametrize(
    ("name", "sampling"), [(f, s) for f in FOLLOWERS for s in FRESH if (f, s) != ("SVAG", "bernoulli")]
)
def test_ensembles_follow_the_exact_second_moments(name: str, sampling: str) -> None:
    """2e5 replicas after 6 steps; 5 entries within 4 standard errors: fails by chance once in 3000 per case."""
    make, micro_steps = FOLLOWERS[name]
    model, h, c = quadratics(1)
    eta = 0.5 / sm.theory.mean_square_sharpness(h, 2, sampling)
    init = np.array([2.0, -1.0])
    z = np.append(init, 1)
    matrix = moment_map(augmented(h, c), 2, sampling, eta, micro_steps)
    moment = (np.linalg.matrix_power(matrix, 6 * micro_steps) @ np.kron(z, z)).reshape(3, 3)
    assert np.abs(scores(ensemble(model, make(eta, 2, sampling), 6, init, 200_000), moment)).max() < 4


STATIONARY = {
    "SGD": (lambda eta, b: sm.SGD(eta, b), 1),
    "noisy GD": (lambda eta, b: sm.NoisyGD(eta, b), 1),
    "SDE": (lambda eta, b: sm.SDE(eta, b, substeps=4), 4),
}


@pytest.mark.parametrize("name", STATIONARY)
def test_stationary_moments_and_gradient_noise_interaction(name: str) -> None:
    """3e4 replicas after at least 12 relaxation times; 5 entries within 4 standard errors fail by chance once in 3000.

    GNI at stationarity is 2 / eta whatever the noise, for single steps: a ratio of means, within 1 % (about 4 standard
    errors and more: its own scatter over replicas is 0.2 %).
    """
    make, micro_steps = STATIONARY[name]
    model, h, c = quadratics(2)
    a = augmented(h, c)
    for fraction in (0.2, 0.5):
        eta = 2 * fraction / sm.theory.mean_square_sharpness(h, 2)
        matrix = moment_map(a, 2, "without_replacement", eta, micro_steps)
        rates = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
        assert rates[0] == pytest.approx(1, abs=1e-9)
        steps = math.ceil(12 / (-math.log(rates[1]) * micro_steps))
        theta = ensemble(
            model, make(eta, 2), steps, np.linalg.solve(h.mean(0), np.einsum("nij,nj->i", h, c) / N), 30_000
        )
        assert np.abs(scores(theta, stationary(matrix))).max() < 4
        if micro_steps > 1:
            continue
        g = np.einsum("nij,rnj->rni", h, theta[:, None] - c)
        batches = np.stack([g[:, list(batch)].mean(axis=1) for batch, _ in all_batches(N, 2, "without_replacement")])
        numerator = np.einsum("bri,ij,brj->", batches, h.mean(axis=0), batches) / len(batches)
        assert numerator / (g.mean(axis=1) ** 2).sum() == pytest.approx(2 / eta, rel=0.01)


@pytest.mark.parametrize("substeps", [1, 4])
def test_the_stationary_covariance_of_the_ornstein_uhlenbeck_process(substeps: int) -> None:
    """S solves HS + SH - h HSH = eta c2 Sigma for Euler's rule; 3e4 replicas, 3 entries of a Gaussian within 4 standard
    errors: fails by chance once in 5000."""
    model, h, c = quadratics(4)
    mean = h.mean(axis=0)
    point = np.linalg.solve(mean, np.einsum("nij,nj->i", h, c) / N)
    eta = 1 / np.linalg.eigvalsh(mean)[-1]
    step = eta / substeps
    g = model.sample_gradients(point)
    sigma = noise_coefficients(N, 2).c2 * g.T @ g / N
    eye = np.eye(2)
    operator = np.kron(mean, eye) + np.kron(eye, mean) - step * np.kron(mean, mean)
    expected = np.linalg.solve(operator, eta * sigma.ravel()).reshape(2, 2)
    slowest = eta * np.linalg.eigvalsh(mean)[0]
    theta = (
        ensemble(model, sm.OrnsteinUhlenbeck(eta, 2, point, substeps), math.ceil(8 / slowest), point, 30_000) - point
    )
    error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 30_000)
    assert np.abs((theta.T @ theta / 30_000 - expected) / error).max() < 4
    assert np.abs(theta.mean(axis=0) / np.sqrt(np.diag(expected) / 30_000)).max() < 4


# edges in one dimension


EDGES = {
    "SGD": (lambda eta: sm.SGD(eta, 1), 1),
    "noisy GD": (lambda eta: sm.NoisyGD(eta, 1), 1),
    "SVAG": (lambda eta: sm.SVAG(eta, 1, ell=3), 3),
    "SDE": (lambda eta: sm.SDE(eta, 1, substeps=32), 32),
}


@pytest.mark.parametrize("ratio", [0.9, 1.1])
@pytest.mark.parametrize("name", EDGES)
def test_edges_in_one_dimension(name: str, ratio: float) -> None:
    """Mean squares of 2e5 replicas after a step at 0.9 and 1.1 of the edge 2a / (a^2 / m + s^2), within 4 standard
    errors of the exact factor (fails by chance once in 16000), which itself is below and above 1. m to infinity is the
    SDE's edge 2a / s^2. One sample of 25 is curved, so that even there a mean square is no affair of rare paths."""
    make, m = EDGES[name]
    x = np.zeros((25, 1))
    x[0] = 5.0
    model = sm.models.LeastSquares(x, np.zeros(25))
    a, s2 = 1.0, noise_coefficients(25, 1).c2 * np.var(x**2)
    edge = 2 * a / (a**2 / m + s2)
    assert edge == pytest.approx(2 * a / s2, rel=1.1 / (m * 24))
    eta = ratio * edge
    factor = ((1 - eta * a / m) ** 2 + eta**2 * s2 / m) ** m
    assert (factor < 1) == (ratio < 1)
    squares = ensemble(model, make(eta), 1, np.ones(1), 200_000)[:, 0] ** 2
    error = squares.std() / math.sqrt(200_000)
    assert error < 0.2 * abs(factor - 1)  # the mean square tells on which side of the edge it is
    assert abs(squares.mean() - factor) < 4 * error
