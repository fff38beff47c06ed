"""Mean-square edges against brute force: spectral radii of second-moment matrices over all batches."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.perron import radius_below_one

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")
INSTANCES = 120  # for each optimiser


def hessians(rng: np.random.Generator, trial: int) -> np.ndarray:
    """Full, low and single rank, badly scaled, with negative samples around a positive mean, one dimension, equal."""
    n, d = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    kind = trial % 6
    a = rng.standard_normal((n, d, 1 if kind == 0 else max(1, d - 1) if kind == 1 else d))
    h = np.einsum("nij,nkj->nik", a, a)
    if kind == 2:
        scale = 10.0 ** rng.uniform(-2, 2, d)
        return h * np.multiply.outer(scale, scale)
    if kind == 3:
        noise = rng.standard_normal((n, d, d))
        return 4 * np.eye(d) + noise + noise.transpose(0, 2, 1)
    return np.repeat(h[:1], n, axis=0) if kind == 4 else h


def radius(h: np.ndarray, b: int, sampling: str, eta: float, beta: float, nesterov: bool) -> float:
    """Spectral radius of E[M kron M] over all batches, velocities included."""
    eye = np.eye(h.shape[1])
    batches = all_batches(len(h), b, sampling)
    total: Any = 0.0
    for hb, (_, p) in zip(batch_sums(h, b, batches), batches, strict=True):
        if nesterov:
            step = np.block([[eye - eta * (1 + beta) * hb, -eta * beta**2 * eye], [hb, beta * eye]])
        else:
            step = np.block([[eye - eta * hb, -eta * beta * eye], [hb, beta * eye]]) if beta else eye - eta * hb
        total = total + p * np.kron(step, step)
    return float(abs(np.linalg.eigvals(total)).max())


@pytest.mark.parametrize("optimiser", ["plain", "heavy ball", "nesterov"])
def test_the_edge_is_where_the_spectral_radius_passes_one(optimiser: str) -> None:
    """And radii below and above it are those of the matrix."""
    rng = np.random.default_rng(["plain", "heavy ball", "nesterov"].index(optimiser))
    tested = 0
    for trial in range(INSTANCES):
        h = hessians(rng, trial)
        spectrum = np.linalg.eigvalsh(h.mean(axis=0))
        if spectrum[0] < 1e-9 * spectrum[-1]:
            continue  # flat directions keep the brute-force radius at 1 or more: see the next test
        b, sampling = int(rng.integers(1, len(h) + 1)), SCHEMES[trial // 6 % 3]
        beta = 0.0 if optimiser == "plain" else float(rng.uniform(0.02, 0.98))
        options: dict[str, Any] = {"momentum": beta, "nesterov": optimiser == "nesterov"}
        edge = sm.theory.mean_square_edge(h, b, sampling, **options)
        assert edge.lower <= edge.step_size <= edge.upper
        assert edge.lower > edge.step_size * (1 - 1e-6)
        assert edge.upper < edge.step_size * (1 + 1e-6)
        assert edge.residual < 1e-7
        assert sm.theory.max_step_size(h, b, sampling, **options) == pytest.approx(edge.step_size, rel=1e-11)
        for factor in (0.4, 0.999, 1.001, 1.5):
            expected = radius(h, b, sampling, factor * edge.step_size, beta, options["nesterov"])
            assert (expected < 1) == (factor < 1), (trial, factor, expected)
            found = sm.theory.second_moment_radius(h, factor * edge.step_size, b, sampling, **options)
            assert found == pytest.approx(expected, rel=1e-7)
        tested += 1
    assert tested > INSTANCES / 2


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_flat_directions_are_left_out(momentum: float) -> None:
    h = hessians(np.random.default_rng(4), 5)
    padded = np.zeros((len(h), h.shape[1] + 2, h.shape[1] + 2))
    padded[:, :-2, :-2] = h
    expected = sm.theory.max_step_size(h, 1, momentum=momentum)
    assert sm.theory.max_step_size(padded, 1, momentum=momentum) == pytest.approx(expected, rel=1e-10)


def test_the_one_dimensional_formulas_of_momentum() -> None:
    """1/eta = a / (2 (1 + beta)) + s^2 / (2 a (1 - beta)); and the relation of C1.9 for Nesterov."""
    h = np.array([0.5, 1.0, 3.0])
    a, s2, beta = h.mean(), h.var(), 0.7
    heavy = sm.theory.max_step_size(h[:, None, None], 1, momentum=beta)
    assert 1 / heavy == pytest.approx(a / (2 * (1 + beta)) + s2 / (2 * a * (1 - beta)), rel=1e-12)
    eta = sm.theory.max_step_size(h[:, None, None], 1, momentum=beta, nesterov=True)
    top = a * (1 - beta + a * beta * eta) * (2 * (1 + beta) - a * eta * (1 + 2 * beta))
    assert top / (eta * (1 + beta + a * beta * eta * (1 + 2 * beta))) == pytest.approx(s2, rel=1e-11)


def test_directions_are_hessians_of_rank_one() -> None:
    """The three routes: as matrices, in sample weights (n < d (d + 1) / 2), in matrices from directions."""
    rng = np.random.default_rng(5)
    for n, d in ((3, 5), (9, 2), (12, 12), (20, 9)):
        a = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-1, 1, d)
        h = a[:, :, None] * a[:, None, :]
        for b, sampling in itertools.product((1, n // 2, n), SCHEMES):
            for options in ({}, {"ell": 3}, {"ell": math.inf}, {"momentum": 0.8}):
                found, expected = (sm.theory.mean_square_edge(x, b, sampling, **options) for x in (a, h))
                assert found.step_size == pytest.approx(expected.step_size, rel=1e-9)
                if math.isfinite(found.step_size):
                    np.testing.assert_allclose(found.mode, expected.mode, atol=2e-5)
                    assert found.lower <= expected.upper
                    assert found.upper >= expected.lower


def test_hundreds_of_dimensions_agree_with_a_dense_eigenproblem() -> None:
    """n = d = 40: the pencil on symmetric matrices as an 820 x 820 matrix, by LAPACK."""
    import scipy.linalg

    rng = np.random.default_rng(6)
    a = rng.standard_normal((40, 40)) * np.linspace(0.2, 1, 40)
    i, j = np.tril_indices(40)
    pairs = a[:, i] * a[:, j]
    mean = a.T @ a / 40
    values, vectors = np.linalg.eigh(mean)
    rotated = a @ vectors
    pairs = rotated[:, i] * rotated[:, j] * np.where(i == j, 1, math.sqrt(2))
    for b in (1, 7, 30):
        c2 = (40 - b) / (b * 39)
        d = (1 - c2) * np.diag(values[i] * values[j]) + c2 * pairs.T @ pairs / 40
        expected = scipy.linalg.eigh(d, np.diag((values[i] + values[j]) / 2), eigvals_only=True)[-1]
        assert sm.theory.mean_square_sharpness(a, b) == pytest.approx(expected, rel=1e-9)


def test_the_route_by_samples_knows_bernoulli_batches() -> None:
    """n = 7 < d: against the dense pencil with raw moments."""
    import scipy.linalg

    a = np.random.default_rng(11).standard_normal((7, 7))
    mean, eye = a.T @ a / 7, np.eye(7)
    for b in (1, 3, 7):
        kappa = (1 - b / 7) / b
        raw = np.mean([np.kron(np.outer(x, x), np.outer(x, x)) for x in a], axis=0)
        d, c = np.kron(mean, mean) + kappa * raw, 0.5 * (np.kron(mean, eye) + np.kron(eye, mean))
        expected = scipy.linalg.eigh(d, c, eigvals_only=True)[-1]
        edge = sm.theory.mean_square_edge(a, b, "bernoulli")
        assert edge.unknowns == "samples"
        assert edge.sharpness == pytest.approx(expected, rel=1e-8)


def test_large_least_squares_keep_their_bracket() -> None:
    a = np.random.default_rng(7).standard_normal((150, 200))
    for b in (1, 32, 150):
        edge = sm.theory.mean_square_edge(a, b, tolerance=1e-6)
        assert edge.unknowns == "samples"
        assert edge.step_size * (1 - 2e-6) < edge.lower <= edge.step_size <= edge.upper
        # the mode is no better than the square root of what the edge is
        assert edge.residual < 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_a_loose_tolerance_still_brackets_the_edge(momentum: float) -> None:
    rng = np.random.default_rng(8)
    for trial in range(20):
        a, b = rng.standard_normal((20, 12)), 1 + trial % 20
        exact = sm.theory.max_step_size(a, b, momentum=momentum)
        edge = sm.theory.mean_square_edge(a, b, momentum=momentum, tolerance=1e-2)
        assert edge.lower <= exact <= edge.upper
        assert edge.step_size == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}, {"ell": 2}])
def test_invariances(options: dict[str, Any]) -> None:
    """Rotation, units, and duplicated samples with replacement."""
    rng = np.random.default_rng(9)
    h = np.einsum("nij,nkj->nik", *(2 * [rng.standard_normal((4, 3, 2))]))
    edge = sm.theory.max_step_size(h, 2, "with_replacement", **options)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert sm.theory.max_step_size(turn @ h @ turn.T, 2, "with_replacement", **options) == pytest.approx(
        edge, rel=1e-11
    )
    for factor in (1e-150, 1e-9, 1e9, 1e150):
        scaled = sm.theory.max_step_size(factor * h, 2, "with_replacement", **options)
        assert scaled * factor == pytest.approx(edge, rel=1e-11)
    doubled = np.concatenate([h, h])
    assert sm.theory.max_step_size(doubled, 2, "with_replacement", **options) == pytest.approx(edge, rel=1e-11)
    assert sm.theory.max_step_size(doubled, 2, **options) != pytest.approx(edge, rel=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("sampling", SCHEMES)
def test_degenerate_inputs_have_the_right_limit(sampling: str, momentum: float) -> None:
    deterministic = sampling == "without_replacement"
    full = 2 * (1 + momentum)  # the edge of gradient descent at curvature 1
    one = sm.theory.max_step_size([[[1.0]]], 1, sampling, momentum=momentum)
    assert one == pytest.approx(full, rel=1e-12)  # n = b = 1
    same = sm.theory.max_step_size(np.ones((5, 1, 1)), 2, sampling, momentum=momentum)
    assert same == pytest.approx(full, rel=1e-10) if sampling != "bernoulli" else same < full
    line = np.outer([1.0, 2.0, 3.0], [0.6, 0.8])  # one direction, norms 1, 2, 3
    b = 3 if deterministic else 2
    found = sm.theory.max_step_size(line, b, sampling, momentum=momentum)
    curvature = np.array([1.0, 4.0, 9.0])[:, None, None]
    assert found == pytest.approx(sm.theory.max_step_size(curvature, b, sampling, momentum=momentum), rel=1e-12)
    with pytest.raises(sm.errors.InvalidArgument, match="no minimum to be stable at"):
        sm.theory.max_step_size(np.zeros((3, 2, 2)), 1, sampling, momentum=momentum)


def test_noise_elsewhere_does_not_move_the_noiseless_edge() -> None:
    """Noise along a flat direction only: the edge is that of gradient descent, and still has its bracket."""
    h = np.array([np.diag([4.0, 0.0]), np.diag([4.0, 0.02])])
    for options in ({}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}):
        edge = sm.theory.mean_square_edge(h, 1, **options)
        assert edge.step_size == pytest.approx(sm.theory.max_step_size(h, 2, **options), rel=1e-12)
        assert edge.lower <= edge.step_size <= edge.upper
        assert edge.lower > edge.step_size * (1 - 1e-3)
        np.testing.assert_allclose(edge.mode, np.diag([1.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize("spread", [1e-9, 1e-6, 1e-3])
def test_samples_that_nearly_agree_keep_their_digits(spread: float) -> None:
    """The noise of the SDE is all there is, and of the relative size of the spread: 2 a / s^2 in one dimension."""
    h = np.array([1 + spread * k for k in range(10)])
    deviation = h - h.mean()
    expected = 2 * h.mean() / float(np.mean(deviation**2))
    edge = sm.theory.mean_square_edge(h[:, None, None], 1, ell=math.inf)
    assert edge.step_size == pytest.approx(expected, rel=1e-6)
    assert edge.lower <= expected <= edge.upper * (1 + 1e-9)
    rows = np.sqrt(h)[:, None] * [[0.6, 0.8]]  # rounded as directions: their own spread is known to 1e-16 / spread
    assert sm.theory.max_step_size(rows, 1, ell=math.inf) == pytest.approx(expected, rel=1e-6 + 1e-15 / spread)
    same = np.full((10, 1, 1), 1.0)
    assert sm.theory.max_step_size(same, 1, ell=math.inf) == math.inf


@pytest.mark.parametrize("rest", [1e-3, 1e-6, 1e-9, 1e-12])
def test_momentum_close_to_one_keeps_its_digits(rest: float) -> None:
    """Heavy ball in one dimension: 1/eta = a / (2 (1 + beta)) + s^2 / (2 a (1 - beta)) with a = 2, s^2 = 1."""
    beta = 1 - rest
    expected = 1 / (1 / (1 + beta) + 1 / (4 * (1 - beta)))
    edge = sm.theory.mean_square_edge([[[1.0]], [[3.0]]], 1, momentum=beta)
    assert edge.step_size == pytest.approx(expected, rel=1e-12)
    assert edge.lower <= expected <= edge.upper


@pytest.mark.parametrize("momentum", [1e-300, 0.5])
def test_noise_keeps_second_moments_alive_where_the_mean_dies_at_once(momentum: float) -> None:
    """Nesterov at eta lambda = 1: without noise everything is at the minimum after two steps."""
    h = np.array([1.0, 3.0])[:, None, None]
    found = sm.theory.second_moment_radius(h, 0.5, 1, momentum=momentum, nesterov=True)
    assert found == pytest.approx(radius(h, 1, "without_replacement", 0.5, momentum, True), rel=1e-9)


def test_radii_far_from_the_edge() -> None:
    """Many micro-steps are the SDE: e^(eta (eta s^2 - 2 a)); beyond the range of numbers there is inf."""
    h = np.array([1.0, 3.0])[:, None, None]
    expected = math.exp(0.5 * (0.5 * 1 - 2 * 2))
    for ell in (10**9, 10**13, 10**17, math.inf):
        assert sm.theory.second_moment_radius(h, 0.5, 1, ell=ell) == pytest.approx(expected, rel=1e-8)
    assert sm.theory.second_moment_radius(h, 1e4, 1, ell=math.inf) == math.inf
    assert sm.theory.second_moment_radius(h, 1e4, 1, ell=1000) == math.inf
    assert sm.theory.second_moment_radius(h, 1e6, 1) == pytest.approx((999999**2 + 2999999**2) / 2, rel=1e-9)
    with pytest.raises(sm.errors.InvalidArgument, match="infinite for all purposes"):
        sm.theory.second_moment_radius(h, 1e200, 1, momentum=0.5)


def test_a_proof_of_stability_is_not_given_away() -> None:
    """diag(0.1, 1.5) has the radius 1.5, and conjugate gradients end at a point outside the cone."""
    rates = np.array([0.1, 1.5])

    def inside(y: np.ndarray, rest: np.ndarray) -> bool:
        return bool(y.min() > 0 and rest.min() > 0)

    assert not radius_below_one(lambda y: rates * y, np.ones(2), np.ones(2), inside)
    assert radius_below_one(lambda y: rates * y / 2, np.ones(2), np.ones(2), inside)


def test_the_residual_is_that_of_the_eigenproblem() -> None:
    """In enough dimensions to iterate: small, not zero, and larger for an edge that was found loosely."""
    a = np.random.default_rng(1).standard_normal((80, 60))
    for options in ({}, {"momentum": 0.6}):
        exact, loose = (sm.theory.mean_square_edge(a, 8, tolerance=t, **options) for t in (1e-12, 3e-2))
        assert 0 < exact.residual < 1e-5
        assert exact.residual < loose.residual < 0.5


def test_errors_say_what_to_do() -> None:
    h = np.ones((4, 1, 1))
    edge = sm.theory.mean_square_edge
    for match, call in {
        "epoch_max_step_size": lambda: edge(h, 2, "epoch"),
        "nesterov=True needs momentum": lambda: edge(h, 2, nesterov=True),
        "ell must be 1 with momentum": lambda: edge(h, 2, momentum=0.5, ell=2),
        "ell must be 1 with epochs": lambda: sm.theory.max_step_size(h, 2, "epoch", ell=2),
        "batch_size must be in 1..4": lambda: edge(h, 5),
        "momentum must be": lambda: edge(h, 2, momentum=1.0),
        "ell must be an integer": lambda: edge(h, 2, momentum=0.5, ell=np.array([1, 2])),
        "momentum must be a number": lambda: edge(h, 2, momentum=np.False_),
        "tolerance must be": lambda: edge(h, 2, tolerance=0.0),
        "hessians must be": lambda: edge([[1.0], [1.0, 2.0]], 1),
    }.items():
        with pytest.raises(sm.errors.InvalidArgument, match=match):
            call()


def test_label_noise_adds_to_the_stationary_law_and_not_to_stability() -> None:
    """Against the recursion over all batches and all signs of the label noise: two values have the same covariance."""
    rng = np.random.default_rng(10)
    a, theta, eta, scale = rng.standard_normal((4, 2)), rng.standard_normal(2), 0.05, 0.7
    h = a[:, :, None] * a[:, None, :]
    z = np.append(theta, 1.0)
    for sampling, b in itertools.product(SCHEMES, (1, 2)):
        batches = all_batches(4, b, sampling)
        expected = np.zeros((3, 3))
        for batch, p in batches:
            for signs in itertools.product((-scale, scale), repeat=len(batch)):
                index = list(batch)
                step = a[index].T @ (a[index] @ theta - signs) / b if index else np.zeros(2)
                after = np.append(theta - eta * step, 1.0)
                expected += p / 2 ** len(batch) * np.outer(after, after)
        system = sm.theory.second_moment_system(h, np.zeros((4, 2)))
        noise = sm.sampling.noise_coefficients(4, b, sampling)
        additive = sm.theory.label_noise(a, b, scale)
        advance = sm.theory.second_moment_map(system, eta, noise, additive=additive)
        np.testing.assert_allclose(advance(np.outer(z, z)), expected, rtol=1e-12)
        law = sm.theory.stationary_moment(system, eta, noise, additive=additive)
        np.testing.assert_allclose(advance(law), law, rtol=1e-11, atol=1e-14)
        assert law[0, 0] > 0  # nothing without the noise: the samples share a minimum
        assert abs(sm.theory.stationary_moment(system, eta, noise)[:2, :2]).max() == 0


def test_micro_steps_share_the_additive_noise() -> None:
    """h = 2: m micro-steps of size eta / m with m times the variance each are a sum of geometric shares."""
    system = sm.theory.second_moment_system([[[2.0]], [[2.0]]], np.zeros((2, 1)))
    noise, eta, m = sm.sampling.noise_coefficients(2, 1), 0.3, 3
    advance = sm.theory.second_moment_map(system, eta, noise, m, additive=[[0.5]])
    shrink = (1 - 2 * eta / m) ** 2
    expected = (eta / m) ** 2 * m * 0.5 * (1 + shrink + shrink**2)
    assert advance(np.diag([0.0, 1.0]))[0, 0] == pytest.approx(expected, rel=1e-13)
    law = sm.theory.stationary_moment(system, eta, noise, m, additive=[[0.5]])
    np.testing.assert_allclose(advance(law), law, rtol=1e-12)


def test_bad_systems_and_noise_are_named() -> None:
    system = sm.theory.second_moment_system(np.ones((2, 1, 1)), np.zeros((2, 1)))
    noise = sm.sampling.noise_coefficients(2, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="additive must be a covariance"):
        sm.theory.stationary_moment(system, 0.1, noise, additive=[[-1.0]])
    with pytest.raises(sm.errors.InvalidArgument, match="system must have shape"):
        sm.theory.second_moment_map(np.ones((1, 2, 3)), 0.1, noise)
    with pytest.raises(sm.errors.InvalidArgument, match="zeros in the last rows"):
        sm.theory.second_moment_map(np.ones((1, 2, 2)), 0.1, noise)
    with pytest.raises(sm.errors.InvalidArgument, match="noise must be NoiseCoefficients"):
        sm.theory.second_moment_map(system, 0.1, (1.0, 1.0))
