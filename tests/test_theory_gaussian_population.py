"""Gaussian least squares against quadrature that is exact for polynomials of the data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import sgdmodels as sm

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(4)  # exact to degree 7 in each normal number
WEIGHTS = WEIGHTS / math.sqrt(2 * math.pi)


def expectation(values: np.ndarray, error: np.ndarray, noise: float, b: int) -> dict[str, float]:
    """Over b samples with two features and a label each, every normal number by quadrature."""
    h = np.diag(values)
    total = dict.fromkeys(("g", "t", "a", "loss"), 0.0)
    for index in itertools.product(range(4), repeat=3 * b):
        z, p = NODES[list(index)].reshape(b, 3), float(np.prod(WEIGHTS[list(index)]))
        a = z[:, :2] * np.sqrt(values)
        g = a.T @ (a @ error - math.sqrt(noise) * z[:, 2]) / b
        total["g"] += p * float(g @ g)
        total["t"] += p * float(g @ (a.T @ (a @ g))) / b
        total["a"] += p * float(g @ h @ g)
        after = error - 0.1 * g
        total["loss"] += p * 0.5 * (float(after @ h @ after) + noise)
    return total


@pytest.mark.parametrize("b", [1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_expectations_equal_quadrature(b: int, noise: float) -> None:
    values, error = np.array([0.5, 2.0]), np.array([1.5, -0.8])
    truth = expectation(values, error, noise, b)
    found = sm.theory.gaussian_expectations(error, values, b, noise)
    assert found.batch_gradient_square == pytest.approx(truth["g"], rel=1e-11)
    assert found.batch_curvature == pytest.approx(truth["t"], rel=1e-11)
    assert found.interaction == pytest.approx(truth["a"], rel=1e-11)
    assert found.mean_gradient_square == pytest.approx(float(values**2 @ error**2), rel=1e-12)
    loss = sm.theory.gaussian_loss(error**2, values, 0.1, b, 1, noise)
    assert loss[1] == pytest.approx(truth["loss"], rel=1e-11)


def test_larger_batches_extend_the_formula() -> None:
    """b^2 T is a polynomial of degree 2 in b; its value at b = 3 by quadrature in one dimension."""
    value, error = np.array([1.3]), np.array([0.9])
    total = 0.0
    for index in itertools.product(range(4), repeat=3):
        a, p = NODES[list(index)] * math.sqrt(1.3), float(np.prod(WEIGHTS[list(index)]))
        g = float(np.mean(a**2)) * 0.9
        total += p * g * g * float(np.mean(a**2))
    assert sm.theory.gaussian_expectations(error, value, 3).batch_curvature == pytest.approx(total, rel=1e-11)


def test_the_loss_grows_beyond_the_gaussian_edge_and_not_below() -> None:
    values = np.array([0.2, 1.0, 3.0])
    edge = sm.theory.gaussian_max_step_size(values, 4)
    below, above = (sm.theory.gaussian_loss(np.ones(3), values, f * edge, 4, 4000) for f in (0.98, 1.02))
    assert below[-1] < 1e-6
    assert above[-1] > 1e3
    assert np.isinf(sm.theory.gaussian_loss(np.ones(3), values, 10.0, 4, 4000)[-1])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(sm.errors.InvalidArgument, match="error must have shape"):
        sm.theory.gaussian_expectations([1.0], [1.0, 2.0], 1)
    with pytest.raises(sm.errors.InvalidArgument, match="squares must not be negative"):
        sm.theory.gaussian_loss([-1.0], [1.0], 0.1, 1, 1)
