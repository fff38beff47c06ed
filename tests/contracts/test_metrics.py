"""The contract of a metric: on every loss, at every batch size and scheme, the value by enumeration of all batches."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.testing import check_metric

from ..cases import CASES
from ..enumeration import expectations

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")
ENUMERATED = ("batch_sharpness", "ias", "gni", "batch_sharpness_mean_ratio", "minibatch_lambda_max")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CASES)
def test_metrics_equal_enumeration_over_all_batches(name: str, scheme: str) -> None:
    model = CASES[name](seed=2).model
    theta = np.random.default_rng(8).standard_normal(model.dim)
    sizes = range(1, 5) if scheme == "with_replacement" else range(1, model.samples + 1)
    point = sm.measure(model, theta, batch_size=list(sizes), sampling=scheme, metrics=ENUMERATED)
    g, h = model.sample_gradients(theta), model.sample_hessians(theta)
    for b in sizes:
        expected = expectations(g, h, b, scheme)
        for metric in ENUMERATED:
            value = float(point[metric].sel(batch_size=b))
            assert value == pytest.approx(expected[metric], rel=1e-12, abs=1e-12 * np.abs(h).max()), (metric, b)


@pytest.mark.parametrize("name", CASES)
def test_full_batch_metrics_equal_numpy(name: str) -> None:
    model = CASES[name](seed=3).model
    theta = np.random.default_rng(9).standard_normal(model.dim)
    point = sm.measure(model, theta, metrics=("loss", "gradient_norm", "lambda_max", "trace_hessian"))
    hessian = model.sample_hessians(theta).mean(axis=0)
    assert float(point.loss) == pytest.approx(model.sample_losses(theta).mean(), rel=1e-12)
    assert float(point.gradient_norm) == pytest.approx(np.linalg.norm(model.sample_gradients(theta).mean(axis=0)))
    assert float(point.lambda_max) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-9)
    assert float(point.trace_hessian) == pytest.approx(np.trace(hessian), rel=1e-12)


@pytest.mark.parametrize("metric", sm.METRICS, ids=lambda metric: metric.name)
def test_it_keeps_the_contract(metric: sm.Metric) -> None:
    """Shapes, labels, NaN where snapshots are, and the same inside simulate; on two losses."""
    check_metric(metric)
    check_metric(metric, CASES["least squares"](seed=4).model, batch_sizes=[3, 1])


def test_monte_carlo_means_agree_with_enumeration_within_their_standard_error() -> None:
    """15504 batches are sampled; |z| < 4 fails by chance with probability 6e-5 a value, 2 values."""
    rng = np.random.default_rng(12)
    model = sm.models.DiagonalNetwork(rng.standard_normal((20, 3)), rng.standard_normal(20))
    theta = rng.standard_normal(model.dim)
    expected = expectations(model.sample_gradients(theta), model.sample_hessians(theta), 5, "without_replacement")
    for name in ("batch_sharpness_mean_ratio", "minibatch_lambda_max"):
        point = sm.measure(model, theta, batch_size=5, metrics=(name,), seed=3)
        error = float(point[f"{name}_standard_error"][0])
        assert 0 < error < 0.05 * expected[name]
        assert abs(float(point[name][0]) - expected[name]) < 4 * error


def test_a_standard_error_has_its_nominal_size() -> None:
    """Spread of 200 independent estimates against their own standard errors: the ratio is 1 +- 0.05 (one sd)."""
    rng = np.random.default_rng(13)
    model = sm.models.LeastSquares(rng.standard_normal((30, 3)), rng.standard_normal(30))
    theta = rng.standard_normal(3)
    points = [
        sm.measure(model, theta, batch_size=4, metrics=("batch_sharpness_mean_ratio",), seed=s) for s in range(200)
    ]
    values = np.array([float(p.batch_sharpness_mean_ratio[0]) for p in points])
    errors = np.array([float(p.batch_sharpness_mean_ratio_standard_error[0]) for p in points])
    assert 0.8 < values.std(ddof=1) / errors.mean() < 1.2


def test_least_squares_surprises_with_one_sample() -> None:
    """b = 1: the mean ratio is tr H wherever no residual vanishes; with equal norms all definitions and S_ms agree."""
    rng = np.random.default_rng(14)
    inputs = rng.standard_normal((7, 3))
    model = sm.models.LeastSquares(inputs, rng.standard_normal(7))
    trace = (inputs**2).sum() / 7
    theta = rng.standard_normal(3)
    ratio = sm.measure(model, theta, metrics=("batch_sharpness_mean_ratio",)).batch_sharpness_mean_ratio
    assert float(ratio[0]) == pytest.approx(trace, rel=1e-12)
    unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    equal = sm.measure(sm.models.LeastSquares(unit, rng.standard_normal(7)), theta)
    for name in ("batch_sharpness", "batch_sharpness_mean_ratio", "mean_square_sharpness"):
        assert float(equal[name][0]) == pytest.approx(1.0, rel=1e-9), name


def test_a_vanishing_gradient_gives_nan_not_a_number_from_rounding() -> None:
    model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    point = sm.measure(model, np.zeros(2), batch_size=[1, 2])
    for name in ("batch_sharpness", "batch_sharpness_mean_ratio", "ias", "gni"):
        assert np.isnan(point[name].values).all(), name
    assert float(point.lambda_max) == pytest.approx(0.5)


def test_no_mean_square_sharpness_where_there_is_no_minimum() -> None:
    model = sm.models.Quadratics(-np.eye(2)[None], np.zeros((1, 2)))
    assert np.isnan(sm.measure(model, np.ones(2)).mean_square_sharpness.values).all()


def test_batches_without_probability_are_no_batches() -> None:
    """Bernoulli at b = n is the full batch, whose gradient vanishes here: undefined, not an error."""
    model = sm.models.LeastSquares([[1.0], [1.0]], [1.0, -1.0])
    point = sm.measure(model, [0.0], batch_size=2, sampling="bernoulli")
    assert np.isnan(point.batch_sharpness_mean_ratio.values).all()
    assert float(point.minibatch_lambda_max[0]) == pytest.approx(1.0)


def test_a_users_metric_runs_inside_simulate_and_on_a_stored_run() -> None:
    distance = sm.Metric("distance", "distance from 0", "1", lambda s: np.linalg.norm(s.theta, axis=2))
    model = sm.models.LeastSquares(np.eye(2), np.zeros(2))
    run = sm.simulate(model, sm.GD(0.5), 10, np.ones(2), record_every=5, metrics=(distance,), keep_params=True)
    assert float(run.distance[0, 0]) == pytest.approx(np.sqrt(2))
    np.testing.assert_array_equal(sm.measure(model, run.params, metrics=(distance,)).distance, run.distance)
