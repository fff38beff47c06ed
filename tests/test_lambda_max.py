"""Lanczos against LAPACK: along runs, across crossings of eigenvalues, on hard spectra."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm


def diagonal_model(spectrum: np.ndarray) -> sm.models.Quadratics:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((len(spectrum), len(spectrum))))
    h = (rotation * spectrum) @ rotation.T
    return sm.models.Quadratics((h + h.T)[None] / 2, np.zeros((1, len(spectrum))))


@pytest.mark.parametrize(
    "spectrum",
    [
        np.linspace(-1, 1, 40),
        np.append(np.zeros(39), 1e-8),
        np.append(-np.geomspace(1, 1e6, 39), 0.5),  # the largest in size is at the other end
        np.append(np.linspace(0, 1, 38), [2.0, 2.0]),  # a double top
        np.append(np.linspace(0, 1, 39), 1 + 1e-7),  # nearly no gap
        -np.linspace(1, 2, 40),
        np.full(40, 3.0),
        np.zeros(40),
    ],
    ids=["even", "one", "negative", "double", "gapless", "all negative", "constant", "zero"],
)
def test_hard_spectra(spectrum: np.ndarray) -> None:
    value = float(sm.measure(diagonal_model(spectrum), np.zeros(40), metrics=("lambda_max",)).lambda_max)
    assert value == pytest.approx(spectrum.max(), rel=1e-6, abs=1e-12 * np.abs(spectrum).max())


def test_along_a_run_it_equals_the_dense_solver() -> None:
    rng = np.random.default_rng(1)
    model = sm.models.DiagonalNetwork(rng.standard_normal((30, 12)), rng.standard_normal(30))
    init = np.concatenate([np.full(12, 0.8), np.full(12, 0.3)])
    run = sm.simulate(model, sm.SGD(0.01, 2), 2_000, init, record_every=10, metrics=("lambda_max",), keep_params=True)
    dense = [np.linalg.eigvalsh(model.hessian(theta))[-1] for theta in run.params.values[0]]
    np.testing.assert_allclose(run.lambda_max.values[0], dense, rtol=1e-8)


def test_a_warm_start_does_not_miss_an_eigenvalue_that_overtakes() -> None:
    """Two eigenvalues in orthogonal blocks cross while the old eigenvector stays an exact eigenvector."""
    inputs = np.diag(np.sqrt([20.0] * 20))
    model = sm.models.DiagonalNetwork(inputs, np.ones(20))
    n = 81
    grow = np.linspace(0, 1, n)
    theta = np.full((1, n, 40), 0.5)
    theta[0, :, 0], theta[0, :, 20] = 1.5, 1 / 1.5
    theta[0, :, 1] = 1 + grow
    theta[0, :, 21] = 1 / (1 + grow)
    import xarray as xr

    params = xr.DataArray(theta, dims=("replica", "step", "parameter"), coords={"replica": [0], "step": np.arange(n)})
    values = sm.measure(model, params, metrics=("lambda_max",)).lambda_max.values[0]
    dense = [np.linalg.eigvalsh(model.hessian(point))[-1] for point in theta[0]]
    assert dense[-1] > 1.3 * dense[0]
    np.testing.assert_allclose(values, dense, rtol=1e-8)


def test_diverged_snapshots_are_nan_and_do_not_spoil_the_next() -> None:
    import xarray as xr

    rng = np.random.default_rng(2)
    model = sm.models.LeastSquares(rng.standard_normal((30, 20)), rng.standard_normal(30))
    theta = np.zeros((1, 3, 20))
    theta[0, 1] = np.nan
    params = xr.DataArray(theta, dims=("replica", "step", "parameter"), coords={"replica": [0], "step": [0, 1, 2]})
    point = sm.measure(model, params, batch_size=3)
    for name in point.data_vars:
        values = point[name].values.reshape(3, -1)
        assert np.isnan(values[1]).all(), name
        assert np.isfinite(values[[0, 2]]).all(), name
