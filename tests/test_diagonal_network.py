"""Exact identities of diagonal networks along real SGD runs, and closed forms on orthogonal data."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm

STEPS = 10_000
ETA = 0.02


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_imbalance_contracts_exactly_as_the_batches_say(batch_size: int) -> None:
    """c = u^2 - v^2 maps to c (1 - eta^2 q_B^2) at every step; q_B is rebuilt from u v and the recorded parameters."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((10, 4)), rng.standard_normal(10)
    model = sm.models.DiagonalNetwork(inputs, targets)
    init = np.concatenate([rng.uniform(0.8, 1.2, 4), rng.uniform(0.1, 0.4, 4)])
    run = sm.simulate(model, sm.SGD(ETA, batch_size), STEPS, init, record_every=1, metrics=(), keep_params=True, seed=2)
    u, v = run.params.values[0, :, :4], run.params.values[0, :, 4:]
    # one step maps (u, v) to (u - eta q v, v - eta q u): q from the better conditioned of the two
    q = np.where(np.abs(v[:-1]) > np.abs(u[:-1]), -np.diff(u, axis=0) / v[:-1], -np.diff(v, axis=0) / u[:-1]) / ETA
    c = u**2 - v**2
    predicted = c[0] * np.prod(1 - ETA**2 * q**2, axis=0)
    scale = (u**2 + v**2).max(axis=0)
    assert np.abs(c[-1] - predicted).max() < 1e-11 * scale.max()
    residual = c[1:] - c[:-1] * (1 - ETA**2 * q**2)
    assert np.abs(residual).max() < 1e-11 * scale.max()


def test_the_mirror_coordinate_moves_by_the_sum_of_its_increments() -> None:
    """arcsinh(2 w / c) changes by sum log |(1 - eta q) / (1 + eta q)| where c keeps its sign."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.standard_normal((8, 3)), rng.standard_normal(8)
    model = sm.models.DiagonalNetwork(inputs, targets)
    init = np.concatenate([np.full(3, 1.0), np.full(3, 0.3)])
    run = sm.simulate(model, sm.SGD(ETA, 2), 2_000, init, record_every=1, metrics=(), keep_params=True)
    u, v = run.params.values[0, :, :3], run.params.values[0, :, 3:]
    q = -np.diff(v, axis=0) / u[:-1] / ETA
    c, w = u**2 - v**2, u * v
    assert (c > 0).all()
    change = np.arcsinh(2 * w[-1] / c[-1]) - np.arcsinh(2 * w[0] / c[0])
    np.testing.assert_allclose(change, np.log(np.abs((1 - ETA * q) / (1 + ETA * q))).sum(axis=0), atol=1e-9)


def test_orthogonal_data_split_the_hessian_into_two_by_two_blocks() -> None:
    rng = np.random.default_rng(2)
    h = rng.uniform(0.5, 2.0, 3)
    inputs, targets = np.diag(np.sqrt(3 * h)), rng.standard_normal(3)
    model = sm.models.DiagonalNetwork(inputs, targets)
    theta = rng.standard_normal(6)
    u, v = theta[:3], theta[3:]
    q = model.residuals(theta) @ inputs / 3
    middle, root = h * (u**2 + v**2) / 2, np.sqrt((h * (u**2 - v**2) / 2) ** 2 + (u * v * h + q) ** 2)
    expected = np.sort(np.concatenate([middle - root, middle + root]))
    np.testing.assert_allclose(np.linalg.eigvalsh(model.hessian(theta)), expected, rtol=1e-12, atol=1e-13)


def test_depth_four_follows_the_minimal_example_of_zhu_et_al() -> None:
    """(x, x, y, y) in depth 4 descends (1 - x^2 y^2)^2 / 4, whose sharpness at xy = 1 is 2 (x^2 + y^2)."""
    model = sm.models.ScalarProduct([1.0], [1.0], depth=4)
    x, y, eta = 2.0, 0.4, 0.05
    run = sm.simulate(model, sm.GD(eta), 100, np.array([x, x, y, y]), metrics=(), keep_params=True)
    for _ in range(100):
        slope = x**2 * y**2 - 1
        x, y = x - eta * slope * x * y**2, y - eta * slope * x**2 * y
    np.testing.assert_allclose(run.params.values[0, -1], [x, x, y, y], rtol=1e-10)
    point = sm.measure(model, np.array([2.0, 2.0, 0.5, 0.5]), metrics=("lambda_max",))
    assert float(point.lambda_max) == pytest.approx(2 * (2.0**2 + 0.5**2), rel=1e-12)


def test_gradient_descent_ends_at_the_edge_in_zhus_example() -> None:
    """theory.md C3.2: from sharpness 1.02, 1.2, 1.5 times the edge, eta = 0.2 ends in (0.99, 1)."""
    model = sm.models.ScalarProduct([1.0], [1.0], depth=4)
    eta = 0.2
    for start in (1.02, 1.2, 1.5):
        total = start * 2 / eta / 2  # x^2 + 1 / x^2
        x = np.sqrt((total + np.sqrt(total**2 - 4)) / 2)
        init = np.array([x, x, 1 / x, 1 / x]) * (1 + 1e-3)
        run = sm.simulate(model, sm.GD(eta), 200_000, init, record_every=200_000, metrics=("lambda_max",))
        assert 0.99 <= float(run.lambda_max[0, -1]) * eta / 2 < 1.0
