"""simulate: what it records, divergence as data, interruption, and what the dataset says of itself."""

from __future__ import annotations

import json
import warnings
from importlib import import_module

import numpy as np
import pytest

import sgdmodels as sm

simulate_module = import_module("sgdmodels.simulate")


def least_squares() -> sm.models.LeastSquares:
    rng = np.random.default_rng(0)
    return sm.models.LeastSquares(rng.standard_normal((12, 3)), rng.standard_normal(12))


def test_a_recorded_run_equals_sgd_written_out() -> None:
    """Ten steps of plain numpy with the batches that the law draws."""
    from .test_sampling import draw

    model, theta = least_squares(), np.ones(3)
    run = sm.simulate(model, sm.SGD(0.1, 4), 10, theta, record_every=1, metrics=("loss",), keep_params=True, seed=1)
    for step, batch in enumerate(draw("without_replacement", 12, 4, 10)):
        np.testing.assert_allclose(run.params.values[0, step], theta, rtol=1e-12)
        assert float(run.loss[0, step]) == pytest.approx(model.loss(theta), rel=1e-12)
        theta = theta - 0.1 * model.sample_gradients(theta)[batch].mean(axis=0)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(10, 5, [0, 5, 10]), (10, 4, [0, 4, 8, 10]), (3, 100, [0, 3]), (0, 1, [0])],
)
def test_recorded_steps(steps: int, every: int, expected: list[int]) -> None:
    run = sm.simulate(least_squares(), sm.GD(0.1), steps, np.ones(3), record_every=every)
    assert run.step.values.tolist() == expected
    assert not run.loss.isnull().any()


def test_dims_coordinates_and_units() -> None:
    run = sm.simulate(
        least_squares(), sm.SGD(0.1, [(0, 4), (50, 2)]), 100, np.ones((5, 3)) * 0.5, replicas=5, record_every=10
    )
    assert run.batch_sharpness.dims == ("replica", "step", "batch_size")
    assert run.batch_size.values.tolist() == [2, 4]
    assert run.training_batch_size.values.tolist() == [4] * 5 + [2] * 6
    assert run.lambda_max.dims == run.loss.dims == ("replica", "step")
    for name in run.data_vars:
        assert {"long_name", "units"} <= run[name].attrs.keys(), name
    for attribute in run.attrs.values():
        assert isinstance(attribute, str | int | float)  # what netCDF and Zarr can hold
    assert json.loads(run.attrs["model"])["samples"] == 12
    assert json.loads(run.attrs["dynamics"])["batch_size"] == [[0, 4], [50, 2]]
    assert run.attrs["sgdmodels_version"] == sm.__version__


def test_the_provenance_identifies_the_data() -> None:
    one = sm.simulate(least_squares(), sm.GD(0.1), 1, np.ones(3)).attrs["data_sha256"]
    other = sm.models.LeastSquares(least_squares().inputs, least_squares().targets + 1e-9)
    assert one == sm.simulate(least_squares(), sm.GD(0.2), 5, np.zeros(3)).attrs["data_sha256"]
    assert one != sm.simulate(other, sm.GD(0.1), 1, np.ones(3)).attrs["data_sha256"]


def test_divergence_is_exact_data_and_is_never_averaged_in() -> None:
    """theta doubles in size each step under eta = 3: |theta| = 2^t first exceeds 1e6 at t = 20."""
    model = sm.models.LeastSquares([[1.0]], [0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = sm.simulate(
            model, sm.GD(3.0), 100, np.array([[1.0], [0.0], [1e-3]]), replicas=3, record_every=1, keep_params=True
        )
    assert run.diverged_at.values[0] == 20
    assert np.isnan(run.diverged_at.values[1])
    assert run.diverged_at.values[2] == 30  # 2^30 / 1000 > 1e6 max(1, 1e-3)
    assert np.isfinite(run.loss.values[0, :20]).all()
    assert np.isnan(run.loss.values[0, 20:]).all()
    assert np.isnan(run.params.values[0, 20:]).all()
    assert (run.loss.values[1] == 0).all()
    np.testing.assert_allclose(run.params.values[0, :20, 0], (-2.0) ** np.arange(20))


def test_divergence_does_not_depend_on_how_the_run_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sm.recipes.gated_quadratic(0)
    init = recipe.init.copy()
    init[-1] = 12.0  # far past the edge for b = 1, so that replicas leave at different times
    runs = []
    for seconds, threads in ((0.25, 1), (0.0, 1), (0.0, 2)):
        monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", seconds)
        runs.append(
            sm.simulate(
                recipe.model, sm.SGD(0.4, 1), 300, init, replicas=12, record_every=7, threads=threads, metrics=("loss",)
            )
        )
    assert runs[0].diverged_at.notnull().any()
    for run in runs[1:]:
        np.testing.assert_array_equal(run.diverged_at, runs[0].diverged_at)
        np.testing.assert_array_equal(run.loss, runs[0].loss)


def test_an_excursion_that_returns_is_no_divergence_however_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either of two samples: h = 1e7 throws theta out, h = 1 puts it to 0; only the 64-step looks decide."""
    model = sm.models.Quadratics(np.array([[[1e7]], [[1.0]]]), np.zeros((2, 1)))
    outcomes = []
    for every, seconds in ((1, 0.25), (7, 0.25), (64, 0.25), (1000, 0.25), (7, 0.0)):
        monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", seconds)
        run = sm.simulate(
            model, sm.SGD(1.0, 1), 200, np.ones(1), replicas=40, record_every=every, metrics=(), keep_params=True
        )
        outcomes.append((run.diverged_at.values, run.params.values[:, -1]))
    for diverged_at, last in outcomes[1:]:
        np.testing.assert_array_equal(diverged_at, outcomes[0][0])
        np.testing.assert_array_equal(last, outcomes[0][1])


def test_a_chunk_limited_by_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((200, 40))
    inputs[0, 0] = np.sqrt(1e7)
    model = sm.models.LeastSquares(inputs, np.ones(200))
    runs = []
    for size in (2**25, 2**12):
        monkeypatch.setattr(simulate_module, "CHUNK_BYTES", size)
        runs.append(
            sm.simulate(model, sm.SGD(1e-2, 1), 500, np.zeros(40), replicas=30, record_every=50, metrics=("loss",))
        )
    np.testing.assert_array_equal(runs[0].diverged_at, runs[1].diverged_at)
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)


def test_numpy_numbers_are_numbers() -> None:
    for b in np.array([2, 3]):
        dynamics = sm.SGD(np.float32(0.125), b, momentum=np.float64(0.5))
        run = sm.simulate(least_squares(), dynamics, np.int64(10), np.ones(3), metrics=())
        assert json.loads(run.attrs["dynamics"])["batch_size"] == int(b)
        assert hash(dynamics) == hash(sm.SGD(0.125, int(b), momentum=0.5))


def test_a_dynamics_keeps_its_own_copy_of_a_schedule() -> None:
    schedule = [(0, 0.1), (5, 0.2)]
    dynamics = sm.GD(schedule)
    schedule[0] = (0, -1.0)
    assert dynamics.step_size == ((0, 0.1), (5, 0.2))


def test_a_loss_keeps_its_own_copy_of_the_data() -> None:
    inputs, targets = np.eye(2), np.ones(2)
    model = sm.models.LeastSquares(inputs, targets)
    inputs *= 2
    targets *= 3
    assert model.loss(np.zeros(2)) == 0.5
    assert float(sm.measure(model, np.zeros(2), metrics=("loss",)).loss) == 0.5


def test_overflow_on_the_way_out_neither_raises_nor_warns() -> None:
    rng = np.random.default_rng(1)
    model = sm.models.DiagonalNetwork(rng.standard_normal((20, 7)), np.ones(20), depth=32, form="difference")
    metrics = [m.name for m in sm.METRICS]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = sm.simulate(
            model, sm.SGD(1e-6, 2), 40, np.full(14, 1.2) + 0.1 * rng.random(14), record_every=1, metrics=metrics
        )
    for name in metrics:
        assert not np.isinf(run[name].values).any(), name


def test_super_exponential_divergence_stays_quiet() -> None:
    """A cubic gradient overflows within a few steps: inf and NaN must not raise, warn or stop the others."""
    model = sm.models.DiagonalNetwork([[1.0], [2.0]], [1.0, 1.0], depth=4)
    init = np.array([[9.0] * 4, [0.9] * 4])
    run = sm.simulate(model, sm.SGD(0.1, 1), 200, init, replicas=2, record_every=10)
    assert run.diverged_at.values[0] <= 3
    assert np.isnan(run.diverged_at.values[1])
    assert np.isfinite(run.lambda_max.values[1]).all()


def test_interruption_returns_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def interrupt_later(snapshots: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return np.zeros(snapshots.shape)  # type: ignore[attr-defined]

    monkeypatch.setattr(simulate_module, "CHUNK_SECONDS", 0.0)
    metric = sm.Metric("probe", "probe", "1", interrupt_later)
    run = sm.simulate(least_squares(), sm.GD(0.1), 1000, np.ones(3), record_every=32, metrics=("loss", metric))
    assert run.attrs["interrupted"] == 1
    assert run.step.values.tolist() == [0, 32, 64, 96, 128]
    assert np.isfinite(run.loss.values).all()
    whole = sm.simulate(least_squares(), sm.GD(0.1), 128, np.ones(3), record_every=32)
    assert whole.attrs["interrupted"] == 0
    np.testing.assert_array_equal(run.loss, whole.loss)


def test_control_c_in_a_terminal(tmp_path: object) -> None:
    """A real SIGINT to a real process: the records made so far come back, flagged."""
    import signal
    import subprocess
    import sys

    code = (
        "import numpy as np, sgdmodels as sm\n"
        "m = sm.models.LeastSquares(np.eye(3), np.ones(3))\n"
        "sm.simulate(m, sm.SGD(0.1, 1), 10, np.zeros(3)); print('ready', flush=True)\n"
        "run = sm.simulate(m, sm.SGD(0.1, 1), 10**12, np.zeros(3), replicas=8, record_every=10**6, metrics=('loss',))\n"
        "print(run.attrs['interrupted'], run.sizes['step'] > 1, bool(run.loss.notnull().all()))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    import time

    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["1", "True", "True"]


def test_progress_is_silent_unless_in_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sm.simulate(least_squares(), sm.GD(0.1), 100, np.ones(3))
    assert capfd.readouterr() == ("", "")
    sm.simulate(least_squares(), sm.GD(0.1), 100, np.ones(3), progress=True)
    assert capfd.readouterr() == ("", "")  # a log gets a line every half a minute
    monkeypatch.setattr("sgdmodels.progress.EVERY", 0.0)
    sm.simulate(least_squares(), sm.GD(0.1), 100, np.ones(3), progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert " GD: 100 of 100 steps (100 %), " in lines[-1]
    monkeypatch.setattr("sgdmodels.progress.APPEARS_AFTER", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    sm.simulate(least_squares(), sm.GD(0.1), 100, np.ones(3))
    assert "100/100" in capfd.readouterr().err


def test_no_metrics_and_no_parameters_still_say_what_diverged() -> None:
    run = sm.simulate(least_squares(), sm.GD(1e3), 100, np.ones(3), metrics=())
    assert list(run.data_vars) == ["diverged_at"]
    assert float(run.diverged_at[0]) > 0


def test_full_batch_sgd_is_gradient_descent() -> None:
    model = least_squares()
    one = sm.simulate(model, sm.SGD(0.1, 12), 50, np.ones(3), keep_params=True)
    two = sm.simulate(model, sm.GD(0.1), 50, np.ones(3), keep_params=True)
    np.testing.assert_allclose(one.params, two.params, rtol=1e-12)
