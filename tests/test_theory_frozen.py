"""The frozen quadratic model of any loss at any point, and along runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgdmodels as sm

from .cases import CASES
from .enumeration import all_batches, batch_sums


@pytest.mark.parametrize("name", CASES)
def test_the_edge_of_any_loss_is_that_of_its_hessians(name: str) -> None:
    model = CASES[name](seed=1).model
    theta = np.random.default_rng(2).uniform(0.3, 0.9, model.dim)
    h = model.sample_hessians(theta)
    spectrum = np.linalg.eigvalsh(h.mean(axis=0))
    point = sm.theory.edge(model, theta, 2, step_size=0.01)
    assert isinstance(point, sm.theory.FrozenEdge)
    assert point.lambda_max == pytest.approx(spectrum[-1], rel=1e-9)
    assert point.lambda_min == pytest.approx(spectrum[0], abs=1e-9 * spectrum[-1])
    assert point.max_step_size == pytest.approx(sm.theory.max_step_size(h, 2), rel=1e-10)
    assert point.lower <= point.max_step_size <= point.upper
    assert point.oscillation_type == (1 if point.max_step_size > 0.01 else 2)
    assert sm.theory.edge(model, theta, 2).oscillation_type is None


def test_the_radius_is_that_of_the_second_moments_of_sgd_around_the_point() -> None:
    """By enumeration of all batches, in the directions of positive mean curvature."""
    model = CASES["product of 2"](seed=3).model
    theta = np.random.default_rng(4).uniform(0.3, 0.9, model.dim)
    h, eta = model.sample_hessians(theta), 0.2
    values, vectors = np.linalg.eigh(h.mean(axis=0))
    assert values[0] < 0  # a point that is no minimum
    kept = vectors[:, values > 0]
    batches = all_batches(len(h), 2, "without_replacement")
    steps = np.eye(kept.shape[1]) - eta * kept.T @ batch_sums(h, 2, batches) @ kept
    total = sum(p * np.kron(s, s) for s, (_, p) in zip(steps, batches, strict=True))
    point = sm.theory.edge(model, theta, 2, step_size=eta)
    assert point.radius == pytest.approx(abs(np.linalg.eigvals(total)).max(), rel=1e-9)


@pytest.mark.parametrize("options", [{"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"ell": 3}])
def test_the_radius_is_that_of_the_optimiser(options: dict[str, Any]) -> None:
    model = CASES["least squares"](seed=3).model
    h = model.sample_hessians(np.zeros(model.dim))
    point = sm.theory.edge(model, np.ones(model.dim), 2, step_size=0.1, **options)
    assert point.radius == pytest.approx(sm.theory.second_moment_radius(h, 0.1, 2, **options), rel=1e-9)
    assert point.radius != pytest.approx(sm.theory.second_moment_radius(h, 0.1, 2), rel=1e-6)
    assert point.max_step_size == pytest.approx(sm.theory.max_step_size(h, 2, **options), rel=1e-9)


def test_epochs_from_random_permutations_have_two_standard_errors_either_side() -> None:
    a = np.random.default_rng(4).standard_normal((30, 2))
    model = sm.models.LeastSquares(a, np.zeros(30))
    point, direct = sm.theory.edge(model, np.zeros(2), 3, "epoch"), sm.theory.epoch_max_step_size(a, 3)
    assert direct.standard_error > 0
    assert point.max_step_size == pytest.approx(direct.step_size, rel=1e-6)
    assert point.max_step_size - point.lower == pytest.approx(2 * direct.standard_error, rel=1e-3)
    assert point.upper - point.max_step_size == pytest.approx(2 * direct.standard_error, rel=1e-3)


def test_the_frozen_system_takes_the_first_step_of_sgd_exactly() -> None:
    """The first step from theta depends on gradients alone: its second moment by enumeration of batches."""
    model = CASES["difference of cubes"](seed=5).model
    theta = np.random.default_rng(6).standard_normal(model.dim)
    system = sm.theory.frozen_system(model, theta)
    start = np.zeros(model.dim + 1)
    start[-1] = 1.0
    noise = sm.sampling.noise_coefficients(6, 2)
    moment = sm.theory.second_moment_step(np.outer(start, start), system, 0.1, noise)
    batches = all_batches(6, 2, "without_replacement")
    steps = -0.1 * batch_sums(model.sample_gradients(theta), 2, batches)
    expected = sum(p * np.outer(s, s) for s, (_, p) in zip(steps, batches, strict=True))
    np.testing.assert_allclose(moment[:-1, :-1], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("sampling", ["without_replacement", "epoch"])
def test_along_a_run_it_is_the_edge_at_every_snapshot(sampling: str) -> None:
    model = CASES["least squares"](seed=7).model
    h = model.sample_hessians(np.zeros(model.dim))
    edge = sm.theory.max_step_size(h, 2, sampling)
    schedule = [(0, 0.9 * edge), (20, 1.1 * edge)]
    run = sm.simulate(
        model, sm.SGD(schedule, 2, sampling=sampling), 40, np.ones(model.dim), replicas=2, record_every=10,
        metrics=(), keep_params=True,
    )  # fmt: skip
    found = sm.theory.edge(model, run.params, 2, sampling, step_size=run.step_size)
    assert found.max_step_size.dims == ("replica", "step")
    np.testing.assert_allclose(found.max_step_size, edge, rtol=1e-8)
    np.testing.assert_array_equal(found.oscillation_type, np.tile(np.where(run.step_size < edge, 1, 2), (2, 1)))
    assert set(np.unique(found.oscillation_type)) == {1, 2}
    without = sm.theory.edge(model, run.params, 2, sampling)
    assert "radius" not in without


def test_a_diverged_snapshot_is_nan_and_a_hill_has_no_edge() -> None:
    model = CASES["least squares"](seed=8).model
    run = sm.simulate(model, sm.SGD(100.0, 2), 400, np.ones(model.dim), record_every=200, metrics=(), keep_params=True)
    found = sm.theory.edge(model, run.params, 2)
    np.testing.assert_array_equal(np.isnan(found.max_step_size), np.isnan(run.params.values).any(axis=2))
    assert np.isnan(found.max_step_size).any()
    assert np.isfinite(found.max_step_size[0, 0])
    hill = sm.models.Quadratics(-np.ones((2, 1, 1)), np.zeros((2, 1)))
    with pytest.raises(sm.errors.InvalidArgument, match="no minimum to be stable at"):
        sm.theory.edge(hill, [1.0], 1)


def test_epochs_at_a_point_are_those_of_the_product_and_keep_momentum() -> None:
    model = sm.models.LeastSquares(np.sqrt([[0.2], [1.8]]), [0.0, 0.0])
    point = sm.theory.edge(model, [0.5], 1, "epoch", step_size=1.2)
    # (1 - 0.2 eta)(1 - 1.8 eta) = -1 at the first root of 0.36 eta^2 - 2 eta + 2
    assert point.max_step_size == pytest.approx((2 - np.sqrt(4 - 4 * 0.36 * 2)) / (2 * 0.36), rel=1e-8)
    assert point.radius == pytest.approx(abs((1 - 0.24) * (1 - 2.16)), rel=1e-9)
    with pytest.raises(sm.errors.InvalidArgument, match="ell must be 1 with epochs"):
        sm.theory.edge(model, [0.5], 1, "epoch", ell=2)


def test_errors_name_what_was_given() -> None:
    model = CASES["least squares"](seed=9).model
    run = sm.simulate(model, sm.GD(0.01), 5, np.ones(model.dim), metrics=("loss",), record_every=5)
    with pytest.raises(sm.errors.InvalidArgument, match=r"pass run\.params"):
        sm.theory.edge(model, run.loss, 2)
    with pytest.raises(sm.errors.InvalidArgument, match="step_size must be finite"):
        sm.theory.edge(model, np.ones(model.dim), 2, step_size=-1.0)
    kept = sm.simulate(model, sm.GD(0.01), 5, np.ones(model.dim), metrics=("loss",), record_every=1, keep_params=True)
    with pytest.raises(sm.errors.InvalidArgument, match="have the steps of theta"):
        sm.theory.edge(model, kept.params, 2, step_size=kept.step_size[:2])
    for bad in ("0.1", True, np.full((2, 3), 0.1)):
        with pytest.raises(sm.errors.InvalidArgument, match="step_size must be"):
            sm.theory.edge(model, kept.params, 2, step_size=bad)
    one = sm.theory.edge(model, kept.params[0, -1], 2)
    assert one == sm.theory.edge(model, kept.params.values[0, -1], 2)
    assert isinstance(sm.theory.edge(model, kept.params, 2, momentum=0.5, nesterov=np.True_).attrs["nesterov"], int)
