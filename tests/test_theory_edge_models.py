"""High-dimensional least squares and the self-stabilisation model, against exact recursions, spectra and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import sgdmodels as sm

SPECTRA = {
    "one": np.array([2.0]),
    "flat": np.full(20, 0.5),
    "power": np.arange(1, 41.0) ** -1.2,
    "spread": np.logspace(-8, 2, 15),
    "kernel": np.array([3.0, 1.0, 0.0]),
}


def gaussian_matrix(values: np.ndarray, eta: float, b: int) -> np.ndarray:
    """The recursion of E[x_i^2] under fresh Gaussian data, by Isserlis' theorem."""
    own = 1 - 2 * eta * values + eta**2 * (1 + 1 / b) * values**2
    return np.diag(own) + eta**2 / b * np.multiply.outer(values, values)


def volterra_matrix(values: np.ndarray, eta: float, b: int) -> np.ndarray:
    return np.diag((1 - eta * values) ** 2) + eta**2 / b * np.multiply.outer(values, values)


def homogenised_generator(values: np.ndarray, eta: float, b: int) -> np.ndarray:
    """Ito's formula for E[x_i^2] of dX = -HX dt + sqrt(eta X'HX H / b) dW."""
    return -2 * np.diag(values) + eta / b * np.multiply.outer(values, values)


def growth(matrix: np.ndarray) -> float:
    """The largest eigenvalue on the modes that move at all."""
    moving = np.abs(matrix - np.diag(np.diag(matrix))).any(axis=0) | (len(matrix) == 1)
    return float(np.linalg.eigvalsh(matrix[np.ix_(moving, moving)]).max())


@pytest.mark.parametrize("b", [1, 2, 3, 50])
@pytest.mark.parametrize("name", SPECTRA)
def test_edges_are_where_recursions_have_the_eigenvalue_one(name: str, b: int) -> None:
    """The eigenvalue is 1 to rounding of a matrix whose entries may reach eta^2 lambda_1^2, here below 10."""
    values = SPECTRA[name]
    for edge, matrix in (
        (sm.theory.gaussian_max_step_size(values, b), gaussian_matrix),
        (sm.theory.volterra_max_step_size(values, b), volterra_matrix),
    ):
        radii = [growth(matrix(values, edge * factor, b)) for factor in (0.999, 1, 1.001)]
        assert radii[1] == pytest.approx(1, abs=1e-13)
        assert radii[0] < 1 < radii[2]
    edge = sm.theory.homogenized_max_step_size(values, b)
    rates = [growth(homogenised_generator(values, edge * factor, b)) for factor in (0.999, 1, 1.001)]
    assert rates[1] == pytest.approx(0, abs=1e-13 * values.max())
    assert rates[0] < 0 < rates[2]


@pytest.mark.parametrize("b", [1, 2, 5])
def test_the_gaussian_edge_is_that_of_gaussian_data(b: int) -> None:
    """Gauss-Hermite nodes integrate polynomials of degree 9 exactly: E[aa' kron aa'] is of degree 4 in a coordinate."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    values = np.array([1.0, 0.4, 0.1])
    points = np.array(list(itertools.product(nodes, repeat=3))) * np.sqrt(values)
    p = np.array([math.prod(w) for w in itertools.product(weights, repeat=3)])
    outer = points[:, :, None] * points[:, None, :]
    single = np.einsum("k,kij,klm->iljm", p, outer, outer).reshape(9, 9)
    mean, eye = np.diag(values), np.eye(3)
    second = (1 - 1 / b) * np.kron(mean, mean) + single / b  # b independent draws
    edge = sm.theory.gaussian_max_step_size(values, b)
    step = np.eye(9) - edge * (np.kron(mean, eye) + np.kron(eye, mean)) + edge**2 * second
    assert np.linalg.eigvalsh(step).max() == pytest.approx(1, abs=1e-12)
    assert 0 < edge < 2 * b / ((b + 1) * values[0])


def test_edges_are_ordered_and_meet_for_large_batches() -> None:
    values = SPECTRA["power"]
    for b in (1, 4, 64):
        gaussian, volterra = sm.theory.gaussian_max_step_size(values, b), sm.theory.volterra_max_step_size(values, b)
        assert gaussian < volterra < min(2 / values[0], sm.theory.homogenized_max_step_size(values, b))
    assert sm.theory.gaussian_max_step_size(values, 10**9) == pytest.approx(2 / values[0], rel=1e-8)
    for f in (
        sm.theory.gaussian_max_step_size, sm.theory.volterra_max_step_size, sm.theory.homogenized_max_step_size,
    ):  # fmt: skip
        assert f(1e-200 * values, 4) == pytest.approx(1e200 * f(values, 4), rel=1e-12)


@pytest.mark.parametrize("b", [1, 4, 50])
def test_the_loss_diverges_exactly_where_the_criterion_passes_one(b: int) -> None:
    values = SPECTRA["flat"]  # one moving mode besides 1 - eta lambda: no slow transients
    edge = sm.theory.volterra_max_step_size(values, b)
    assert sm.theory.volterra_criterion(values, edge, b) == pytest.approx(1, rel=1e-12)
    for factor, diverges in ((0.999, False), (1.001, True)):
        assert (sm.theory.volterra_criterion(values, factor * edge, b) > 1) == diverges
        loss = sm.theory.volterra_loss(np.ones(20), values, factor * edge, b, 4000)
        assert (loss[-1] > loss[0]) == diverges
        assert (np.diff(loss) > 0).all() == diverges
    assert sm.theory.volterra_criterion(values, 2 / 0.5, b) == math.inf


def test_the_loss_curve_is_the_power_of_the_recursion_matrix() -> None:
    values, p = SPECTRA["power"], np.random.default_rng(0).uniform(0, 2, 40)
    eta, b, noise = 0.4, 3, 0.3
    loss = sm.theory.volterra_loss(p, values, eta, b, 30, noise)
    assert loss.shape == (31,)
    fixed = np.linalg.solve(np.eye(40) - volterra_matrix(values, eta, b), eta**2 / b * noise * values)
    for t in (0, 1, 7, 30):
        power = np.linalg.matrix_power(volterra_matrix(values, eta, b), t)
        assert loss[t] == pytest.approx((values @ (fixed + power @ (p - fixed)) + noise) / 2, rel=1e-12)
    k = sm.theory.volterra_criterion(values, eta, b)  # the stationary excess loss is noise K / (1 - K)
    late = sm.theory.volterra_loss(fixed, values, eta, b, 1, noise)[-1]
    assert late == pytest.approx(noise / 2 / (1 - k), rel=1e-12)


def test_gaussian_data_follow_it_in_high_dimension() -> None:
    r"""With E = eta^2 / b diag(lambda^2) <= eps V entry by entry, V^t <= (V + E)^t <= (1 + eps)^t V^t, eps ~ 1 / d."""
    for d in (100, 1000):
        values = np.random.default_rng(d).uniform(0.5, 1.5, d)
        b, eta, steps, noise = d // 4, 0.3, 25, 0.1
        p = np.ones(d)
        volterra = sm.theory.volterra_loss(p, values, eta, b, steps, noise)
        matrix, exact = gaussian_matrix(values, eta, b), np.empty(steps + 1)
        for t in range(steps + 1):
            exact[t] = (values @ p + noise) / 2
            p = matrix @ p + eta**2 / b * noise * values
        eps = (eta**2 * values**2 / b / (1 - eta * values) ** 2).max()
        assert eps < 3 / d
        assert (volterra <= exact * (1 + 1e-12)).all()
        assert (exact <= volterra * (1 + eps) ** np.arange(steps + 1)).all()


def test_spectra_are_checked() -> None:
    for bad in ([1.0, -0.1], [0.0, 0.0], [math.nan]):
        with pytest.raises(sm.errors.InvalidArgument, match="eigenvalues"):
            sm.theory.volterra_criterion(bad, 0.1, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="squares"):
        sm.theory.volterra_loss([-1.0], [1.0], 0.1, 1, 3)
    loss = sm.theory.volterra_loss([1.0, 1.0], [1.0, 0.0], 100.0, 1, 400)
    assert loss[-1] == math.inf  # divergence is data


def self_stabilisation(eta, alpha, beta, sigma, s, *, replicas, burn, steps, seed):  # type: ignore[no-untyped-def]
    """Time averages of x^2, y, yx^2, y^2x^2, x^4 in each replica, shape (5, replicas); and y at both ends."""
    rng = np.random.default_rng(seed)
    x, y = np.sqrt(2 * alpha / beta) * rng.standard_normal(replicas), np.zeros(replicas)
    sums, start = np.zeros((5, replicas)), y
    for t in range(burn + steps):
        if t == burn:
            start = y
        square = x * x
        if t >= burn:
            sums += (square, y, y * square, y * y * square, square * square)
        zeta, xi = rng.standard_normal((2, replicas))
        x, y = -(1 + eta * y + eta * s * zeta) * x - eta * sigma * xi, y + eta * (alpha - beta * square / 2)
    return sums / steps, start, y


def standard_score(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / math.sqrt(len(values))))


@pytest.mark.parametrize(("eta", "sigma", "s"), [(0.02, 5.0, 0.0), (0.02, 3.0, 3.0), (0.05, 2.0, 1.0)])
def test_the_gap_is_the_exact_balance_of_a_simulation(eta: float, sigma: float, s: float) -> None:
    """1000 stationary replicas: two scores within 4 fail by chance with probability 1.3e-4 a case."""
    alpha, beta, steps = 1.0, 1.5, 6000
    sums, start, end = self_stabilisation(
        eta, alpha, beta, sigma, s, replicas=1000, burn=3000, steps=steps, seed=12
    )  # fmt: skip
    square, y, weighted, twice, fourth = sums
    # x^2 averages to 2 alpha / beta path by path, up to what y moved
    np.testing.assert_allclose(square, 2 * (alpha - (end - start) / (eta * steps)) / beta, rtol=1e-9)
    gap = sm.theory.sharpness_gap(eta, alpha, beta, sigma**2, s**2)
    # -E[y x^2] = gap E[x^2] + eta / 2 E[y^2 x^2], and E[y] = beta / (2 alpha) E[y x^2] - eta beta^2 / (8 alpha) Var x^2
    exact = 2 * alpha / beta
    assert abs(standard_score(weighted + gap * exact + eta / 2 * twice)) < 4
    centred = fourth - 2 * exact * square + exact**2
    assert abs(standard_score(y + gap + eta / 2 * twice / exact + eta * beta**2 / (8 * alpha) * centred)) < 4
    # a lower bound of the weighted gap, which the plain mean exceeds
    assert gap < -weighted.mean() / exact < -y.mean()


def test_the_root_balances_growth_and_noise_exactly() -> None:
    """With y at minus the root, enumeration of zeta, xi in {-1, 1} leaves E[x^2] = 2 alpha / beta where it is."""
    eta, alpha, beta, sigma, s = 0.1, 0.7, 1.3, 2.0, 3.0
    y, square = -sm.theory.sharpness_gap_root(eta, alpha, beta, sigma**2, s**2), 2 * alpha / beta
    x = math.sqrt(square)
    after = [-(1 + eta * y + eta * s * zeta) * x - eta * sigma * xi for zeta in (-1, 1) for xi in (-1, 1)]
    assert np.mean(np.square(after)) == pytest.approx(square, rel=1e-14)
    first = sm.theory.sharpness_gap(eta, alpha, beta, sigma**2, s**2)
    assert first < -y
    noise = 2 * eta * first
    assert -y == pytest.approx((1 - math.sqrt(1 - noise)) / eta, rel=1e-12)
    tiny = sm.theory.sharpness_gap_root(1e-9, alpha, beta, sigma**2, s**2)
    assert tiny == pytest.approx(sm.theory.sharpness_gap(1e-9, alpha, beta, sigma**2, s**2), rel=1e-14)
    with pytest.raises(sm.errors.InvalidArgument, match="no curvature balances"):
        sm.theory.sharpness_gap_root(1.0, alpha, beta, sigma**2, s**2)
