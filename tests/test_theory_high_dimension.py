"""High-dimensional edges against the exact one: their errors fall with the dimension."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.high_dimension import high_dimensional_edges


def mean_errors(d: int, batch_size: int, seeds: range) -> dict[str, float]:
    """Mean absolute relative errors for 4 d Gaussian samples."""
    errors: dict[str, list[float]] = {}
    for seed in seeds:
        a = np.random.default_rng(seed).standard_normal((4 * d, d))
        for edge in high_dimensional_edges(a, batch_size):
            errors.setdefault(edge.name, []).append(abs(edge.relative_error))
    return {name: float(np.mean(values)) for name, values in errors.items()}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_errors_fall_as_the_dimension_grows(batch_size: int) -> None:
    """Seeds 0..5; errors fall about as 1 / d: a factor of 8 in d leaves a wide margin to the fall of 3 asked for."""
    small, large = (mean_errors(d, batch_size, range(6)) for d in (5, 40))
    for name in ("volterra", "gaussian", "homogenized"):
        assert large[name] < small[name] / 3, name
    assert large["gaussian"] < large["volterra"] < large["homogenized"]


def test_they_are_the_edges_of_the_empirical_spectrum() -> None:
    a = np.random.default_rng(1).standard_normal((12, 4))
    spectrum = np.linalg.eigvalsh(a.T @ a / 12)
    edges = {edge.name: edge for edge in high_dimensional_edges(a, 3)}
    assert edges["volterra"].step_size == pytest.approx(sm.theory.volterra_max_step_size(spectrum, 3), rel=1e-9)
    assert edges["gaussian"].step_size == pytest.approx(sm.theory.gaussian_max_step_size(spectrum, 3), rel=1e-9)
    assert edges["homogenized"].step_size == pytest.approx(6 / spectrum.sum(), rel=1e-9)
    matrices = a[:, :, None] * a[:, None, :]
    exact = sm.theory.max_step_size(matrices, 3, "with_replacement")
    assert all(edge.exact == pytest.approx(exact, rel=1e-9) for edge in edges.values())


def test_the_gaussian_edge_is_the_limit_of_many_samples() -> None:
    """Of 20,000 samples in 3 dimensions the fourth moments are known to a few per cent."""
    a = np.random.default_rng(2).standard_normal((20_000, 3)) * np.sqrt([1.0, 2.0, 3.0])
    edges = {edge.name: edge.relative_error for edge in high_dimensional_edges(a, 1)}
    assert abs(edges["gaussian"]) < 0.05
    assert abs(edges["volterra"]) > 0.1


def test_more_dimensions_than_samples_and_other_schemes() -> None:
    a = np.random.default_rng(3).standard_normal((5, 12))
    for sampling in ("with_replacement", "without_replacement", "bernoulli"):
        for edge in high_dimensional_edges(a, 2, sampling):
            assert np.isfinite(edge.relative_error)
            assert edge.exact == pytest.approx(sm.theory.max_step_size(a, 2, sampling), rel=1e-12)
    with pytest.raises(sm.errors.InvalidArgument):
        high_dimensional_edges(np.zeros((3, 2)), 1)
