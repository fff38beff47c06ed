"""Figures show what they say: values times step_size / 2, survivors only, the number of lost replicas."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import sgdmodels as sm


@pytest.fixture(autouse=True)
def close_figures() -> object:
    yield
    plt.close("all")


def run(batch_size: int | None = None, **options: object) -> object:
    model = sm.models.LeastSquares(np.diag([2.0, 1.0]), np.ones(2))
    dynamics = sm.GD(0.3) if batch_size is None else sm.SGD(0.3, batch_size)
    return sm.simulate(model, dynamics, 100, np.zeros(2), replicas=3, record_every=10, **options)  # type: ignore[arg-type]


def test_stability_is_scaled_by_half_the_step_size() -> None:
    data = run(1)
    axes = sm.plot.stability(data)
    lines = {line.get_label(): line for line in axes.get_lines()}
    expected = 0.15 * data.lambda_max.values[0]
    np.testing.assert_allclose(lines[r"$\lambda_{\max}$"].get_ydata(), expected)
    assert "Batch Sharpness" in lines
    assert sm.plot.stability(data, ax=axes) is axes


def test_the_step_size_of_a_schedule_scales_each_stretch() -> None:
    model = sm.models.LeastSquares(np.diag([2.0, 1.0]), np.ones(2))
    data = sm.simulate(model, sm.SGD([(0, 0.3), (50, 0.1)], 1), 100, np.zeros(2), record_every=50)
    np.testing.assert_allclose(sm.plot.scaled(data, "lambda_max").values[0], 2.0 * np.array([0.15, 0.05, 0.05]))


def test_the_metric_follows_the_training_batch_size() -> None:
    model = sm.models.LeastSquares(np.diag([2.0, 1.0]), np.ones(2))
    data = sm.simulate(model, sm.SGD(0.1, [(0, 1), (50, 2)]), 100, np.zeros(2), record_every=50)
    both = data.batch_sharpness.values[0]
    np.testing.assert_allclose(
        sm.plot.scaled(data, "batch_sharpness").values[0], 0.05 * np.array([both[0, 0], both[1, 1], both[2, 1]])
    )


def test_diverged_replicas_are_left_out_whole_and_counted() -> None:
    model = sm.models.LeastSquares([[1.0]], [0.0])
    data = sm.simulate(model, sm.GD(3.0), 100, np.array([[1.0], [0.0]]), replicas=2, record_every=1)
    assert sm.plot.scaled(data, "lambda_max").sizes["replica"] == 1
    assert len(sm.plot.plateau(data, "lambda_max")) == 1
    axes = sm.plot.loss(data)
    assert "(1 of 2 diverged)" in axes.get_lines()[0].get_label()
    lost = sm.simulate(model, sm.GD(3.0), 100, np.ones(1), record_every=10)
    assert sm.plot.plateau(lost, "lambda_max").size == 0
    sm.plot.stability(lost)  # nothing to draw is not an error
    sm.plot.loss(lost)


def test_sharpness_by_batch_size_marks_every_size_and_the_prediction() -> None:
    runs = {1: run(1), 2: run(2)}
    axes = sm.plot.sharpness_by_batch_size(runs, prediction={1: 0.5, 2: 0.7})
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2"]
    assert any(np.array_equal(line.get_ydata(), [0.5, 0.7]) for line in axes.get_lines())


def test_loss_is_logarithmic_where_it_can_be() -> None:
    assert sm.plot.loss(run(1)).get_yscale() == "log"
    drift = sm.models.SharpeningLeastSquares([[1.0]], [0.0], drift=1.0)  # its loss goes below zero
    data = sm.simulate(drift, sm.GD(0.01), 100, np.array([0.0, 1.0]), record_every=10)
    assert sm.plot.loss(data).get_yscale() == "linear"
