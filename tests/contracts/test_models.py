"""The contract of a loss: numpy formulas and kernels agree with automatic differentiation of its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sgdmodels.testing import check_model

from ..cases import CASES, Case

POINTS = 3


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param](seed=11)


def points(case: Case) -> list[np.ndarray]:
    return list(np.random.default_rng(5).standard_normal((POINTS, case.model.dim)))


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_it_keeps_the_contract(case: Case) -> None:
    """Finite differences, kernels against numpy, shapes, errors: what a user can ask of a loss of his own."""
    check_model(case.model, seed=5)
    check_model(case.model, np.zeros(case.model.dim))


def test_losses_gradients_and_hessians_match_automatic_differentiation(case: Case) -> None:
    model = case.model
    for theta in points(case):
        t = torch.from_numpy(theta)
        close(model.sample_losses(theta), case.losses(t).numpy(), 1e-12)
        close(model.sample_gradients(theta), torch.func.jacrev(case.losses)(t).numpy(), 1e-10)
        hessians = torch.func.jacfwd(torch.func.jacrev(case.losses))(t).numpy()
        close(model.sample_hessians(theta), hessians, 1e-10)
        vector = np.cos(np.arange(model.dim))
        close(model.hvp(theta, vector), hessians.mean(axis=0) @ vector, 1e-10)


def test_kernels_match_the_numpy_formulas(case: Case) -> None:
    model = case.model
    for theta in points(case):
        gradients, hessians = model.sample_gradients(theta), model.sample_hessians(theta)
        close(model.gradient(theta), gradients.mean(axis=0), 1e-12)
        close(model.hessian(theta), hessians.mean(axis=0), 1e-12)
        for index in ([2], [0, 3], [5, 1, 1, 4], [4, 3, 2, 1, 0, 5, 5]):  # one, few, repeats, more than a block of four
            weight = np.linspace(-0.5, 1.0, len(index))
            close(model.weighted_gradient(theta, index, weight), weight @ gradients[index], 1e-12)


def test_kernel_of_the_batch_hessian_matches(case: Case) -> None:
    """Through the metric that forms E_B lambda_max(H_B): b = n has one batch, the mean Hessian."""
    import sgdmodels as sm

    theta = points(case)[0]
    n = case.model.samples
    point = sm.measure(case.model, theta, batch_size=n, metrics=("minibatch_lambda_max", "trace_hessian"))
    mean = case.model.sample_hessians(theta).mean(axis=0)
    close(point.minibatch_lambda_max.values[0], np.linalg.eigvalsh(mean)[-1], 1e-12)
    close(point.trace_hessian.values, np.trace(mean), 1e-12)


def test_overparametrised_data_takes_the_other_route() -> None:
    """More than twice as many features as samples: X'X is not kept, products go through X."""
    import sgdmodels as sm

    rng = np.random.default_rng(0)
    model = sm.models.DiagonalNetwork(rng.standard_normal((3, 9)), rng.standard_normal(3))
    theta, vector = rng.standard_normal((2, model.dim))
    assert model.data[3].size == 0
    close(model.hvp(theta, vector), model.sample_hessians(theta).mean(axis=0) @ vector, 1e-12)


def test_a_step_in_place_equals_a_step_out_of_place(case: Case) -> None:
    """The step loop lets add_gradient write into the parameters that it reads."""
    import sgdmodels as sm

    model = case.model
    theta = points(case)[0]
    for b in (1, 5):
        run = sm.simulate(
            model, sm.SGD(1e-3, b, momentum=1e-300), 1, theta, metrics=(), keep_params=True, record_every=1
        )  # momentum uses a separate gradient
        plain = sm.simulate(model, sm.SGD(1e-3, b), 1, theta, metrics=(), keep_params=True, record_every=1)
        close(plain.params.values, run.params.values, 1e-14)
