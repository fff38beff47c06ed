"""Formulas of the theory pages that no other test compares as they stand there, by enumeration of all batches."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.sampling import noise_coefficients

from .enumeration import all_batches, batch_sums, expectations

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")


class Batches:
    """Five per-sample quadratics of any sign at a random point, and all batches of them."""

    def __init__(self, seed: int, b: int, sampling: str) -> None:
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((5, 3, 3))
        self.h, self.centers, self.theta = a + a.transpose(0, 2, 1), rng.standard_normal((5, 3)), rng.standard_normal(3)
        self.model = sm.models.Quadratics(self.h, self.centers)
        self.g = np.einsum("nij,nj->ni", self.h, self.theta - self.centers)
        self.b, self.batches = b, all_batches(5, b, sampling)
        self.p = np.array([probability for _, probability in self.batches])
        self.gradient, self.hessian = batch_sums(self.g, b, self.batches), batch_sums(self.h, b, self.batches)
        self.square = (self.gradient**2).sum(axis=1)
        self.truth = expectations(self.g, self.h, b, sampling)

    def loss(self, theta: np.ndarray, batch: tuple[int, ...]) -> float:
        away = theta - self.centers[list(batch)]
        return float(np.einsum("ni,nij,nj->", away, self.h[list(batch)], away) / 2 / self.b)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 2, 4])
def test_six_moments_give_batch_sharpness(b: int, sampling: str) -> None:
    """Also the raw form for Bernoulli batches, which the centred one is not."""
    for seed in range(3):
        at = Batches(seed, b, sampling)
        g, h, mean_g, mean_h = at.g, at.h, at.g.mean(axis=0), at.h.mean(axis=0)
        t1 = np.einsum("ni,nij,nj->", g, h, g) / 5
        t2 = np.einsum("i,nij,nj->", mean_g, h, g) / 5
        t3, t4 = np.einsum("ni,ij,nj->", g, mean_h, g) / 5, mean_g @ mean_h @ mean_g
        s1, s2 = (g**2).sum() / 5, mean_g @ mean_g
        noise = noise_coefficients(5, b, sampling)
        c2, c3 = noise.c2, noise.c3
        centred = (t4 + c2 * (2 * t2 + t3 - 3 * t4) + c3 * (t1 - 2 * t2 - t3 + 2 * t4)) / (s2 + c2 * (s1 - s2))
        raw = (t4 + c2 * (2 * t2 + t3) + c3 * t1) / (s2 + c2 * s1)
        right, wrong = (raw, centred) if sampling == "bernoulli" else (centred, raw)
        expected = at.truth["batch_sharpness"]
        assert right == pytest.approx(expected, rel=1e-10)
        assert abs(wrong - expected) > 1e-3 * abs(expected)
        found = sm.measure(at.model, at.theta, b, sampling=sampling, metrics=("batch_sharpness",)).batch_sharpness
        assert float(found[0]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 2, 5])
def test_gradients_of_a_batch_grow_in_its_own_step(b: int, sampling: str) -> None:
    for seed in range(8):
        at = Batches(seed, b, sampling)
        alive = at.square > 0
        for eta in (0.05, 0.5, 3.0):
            later = at.gradient - eta * np.einsum("kij,kj->ki", at.hessian, at.gradient)
            after = (later**2).sum(axis=1)
            bound = (1 - eta * at.truth["batch_sharpness"]) ** 2
            assert at.p @ after >= bound * (at.p @ at.square) * (1 - 1e-10)
            growth = np.average(after[alive] / at.square[alive], weights=at.p[alive])
            assert growth >= (1 - eta * at.truth["batch_sharpness_mean_ratio"]) ** 2 * (1 - 1e-10)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 2, 5])
def test_batch_sharpness_decides_whether_a_step_lowers_its_own_loss(b: int, sampling: str) -> None:
    for seed in range(4):
        at = Batches(10 + seed, b, sampling)
        for eta in (0.05, 0.5, 3.0):
            changes = [
                at.loss(at.theta - eta * gradient, batch) - at.loss(at.theta, batch)
                for gradient, (batch, _) in zip(at.gradient, at.batches, strict=True)
            ]
            expected = -eta * (at.p @ at.square) * (1 - eta * at.truth["batch_sharpness"] / 2)
            assert at.p @ changes == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("b", [1, 2, 3])
def test_below_two_over_eta_a_step_brings_sgd_closer(b: int) -> None:
    """Semi-definite Hessians of rank 1 and 2 that share the minimum 0, just below the edge and far above it."""
    farther = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((4, 3, 1 + seed % 2))
        model = sm.models.Quadratics(a @ a.transpose(0, 2, 1), np.zeros((4, 3)))
        x = rng.standard_normal(3)
        sharpness = float(sm.measure(model, x, b, metrics=("batch_sharpness",)).batch_sharpness[0])
        batches = all_batches(4, b, "without_replacement")
        g = batch_sums(model.sample_gradients(x), b, batches)
        for factor in (0.999, 20.0):
            after = np.mean(((x - factor * 2 / sharpness * g) ** 2).sum(axis=1))
            assert factor > 1 or after < x @ x
            farther += after > x @ x
    assert farther == 40  # all those far above the edge


@pytest.mark.parametrize("b", [1, 2, 4, 5])
def test_in_one_dimension_batch_sharpness_is_the_sharpness(b: int) -> None:
    rng = np.random.default_rng(3)
    curvatures = rng.uniform(0.1, 3, 5)
    model = sm.models.Quadratics(curvatures[:, None, None], rng.standard_normal((5, 1)))
    for theta in rng.standard_normal(4):
        found = sm.measure(model, [theta], b, metrics=("batch_sharpness_mean_ratio",)).batch_sharpness_mean_ratio
        assert float(found[0]) == pytest.approx(curvatures.mean(), rel=1e-12)


def test_noise_can_destabilise_almost_every_path_short_of_gradient_descent() -> None:
    """Curvatures 0.2 and 1.8 one at a time: |(1 - 0.2 eta)(1 - 1.8 eta)| = 1 at 1.308; both at once: edge 2."""
    h = np.array([0.2, 1.8])[:, None, None]
    found = sm.theory.lyapunov_max_step_size(h, 1).step_size
    assert found == pytest.approx((2 - np.sqrt(4 - 8 * 0.36)) / (2 * 0.36), rel=1e-9)
    assert found < sm.theory.lyapunov_max_step_size(h, 2).step_size == pytest.approx(2, rel=1e-9)


def test_the_curvature_of_a_diagonal_network_has_a_floor() -> None:
    """At the least-squares solution, whose residuals are not zero, for imbalances of either sign down to 0."""
    rng = np.random.default_rng(4)
    inputs, targets = rng.standard_normal((12, 4)), rng.standard_normal(12)
    model = sm.models.DiagonalNetwork(inputs, targets)
    w = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    tops = []
    for c in (np.array([3.0, -2.0, 1.0, -0.5]) * shrink for shrink in (1.0, 0.1, 0.0)):
        u = np.sqrt((np.sqrt(c**2 + 4 * w**2) + c) / 2)
        theta = np.concatenate([u, w / u])
        np.testing.assert_allclose(u**2 - (w / u) ** 2, c, atol=1e-12)
        top = np.linalg.eigvalsh(model.sample_hessians(theta).mean(axis=0))[-1]
        assert top == pytest.approx(np.linalg.eigvalsh(inputs * np.sqrt(c**2 + 4 * w**2) @ inputs.T / 12)[-1], rel=1e-9)
        tops.append(top)
    assert tops[0] > tops[1] > tops[2]


def test_the_mirror_identity_holds_for_either_sign_of_the_imbalance() -> None:
    """From c > 0 and c < 0, with steps of |eta q| > 1, which change the sign of c, among them."""
    eta = 0.5
    theta = np.array([1.0, 0.3, 1.0, 0.4, 0.3, 1.0, 0.4, -1.1])
    model = sm.models.DiagonalNetwork(np.diag([0.4, 0.5, 3.0, 2.0]), np.array([1.0, -1.0, 4.0, 3.0]))
    run = sm.simulate(model, sm.GD(eta), 2, theta, record_every=1, metrics=(), keep_params=True)
    u, v = run.params.values[0, :, :4], run.params.values[0, :, 4:]
    c, w = u**2 - v**2, u * v
    q = np.diag(model.inputs) * (np.diag(model.inputs) * w[:-1] - model.targets) / 4  # of the mean loss over 4 samples
    assert (c[0] > 0).any()
    assert (c[0] < 0).any()
    assert (c[:-1] * c[1:] < 0).any()
    moved = np.arcsinh(2 * w[1:] / abs(c[1:])) - np.arcsinh(2 * w[:-1] / abs(c[:-1]))
    expected = np.log(abs((1 - eta * q) / (1 + eta * q)))
    np.testing.assert_allclose(moved, expected, atol=1e-9)
    without = np.arcsinh(2 * w[1:] / c[1:]) - np.arcsinh(2 * w[:-1] / c[:-1])
    assert abs(without - expected)[c[:-1] < 0].max() > 0.01
