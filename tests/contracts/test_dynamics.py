"""The contract of a dynamics: the same bits for any threads, chunks and subsets of replicas; the step it declares."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.testing import check_dynamics

from ..cases import CASES

DYNAMICS: dict[str, sm.dynamics.Dynamics] = {
    "GD": sm.GD(0.02),
    "GD Nesterov": sm.GD(0.02, momentum=0.5, nesterov=True),
    "SGD b=1": sm.SGD(0.02, 1),
    "SGD b=2 with replacement": sm.SGD(0.02, 2, sampling="with_replacement"),
    "SGD b=4 epochs": sm.SGD(0.02, 4, sampling="epoch"),
    "SGD b=3 Bernoulli": sm.SGD(0.02, 3, sampling="bernoulli"),
    "SGD heavy ball": sm.SGD(0.02, 2, momentum=0.9),
    "SGD schedules": sm.SGD([(0, 0.02), (77, 0.01)], [(0, 3), (130, 1)]),
    "noisy GD": sm.NoisyGD(0.02, 2),
    "noisy GD stale": sm.NoisyGD(0.02, 2, refresh=30),
    "noisy GD diagonal": sm.NoisyGD(0.02, 2, "diagonal"),
    "noisy GD isotropic stale": sm.NoisyGD(0.02, 2, "isotropic", refresh=7),
    "noisy GD constant": sm.NoisyGD(0.02, 2, "constant", scale=0.1),
    "noisy GD Bernoulli refined": sm.NoisyGD(0.02, 2, sampling="bernoulli", refinement=3),
    "SDE": sm.SDE(0.02, 2, substeps=3),
    "SDE of order 2, schedules": sm.SDE([(0, 0.02), (77, 0.01)], [(0, 3), (130, 1)], order=2, substeps=2),
    "SVAG": sm.SVAG(0.02, 2, ell=3),
    "gradient flow": sm.GradientFlow(0.02, substeps=2),
    "implicit regularization flow": sm.ImplicitRegularizationFlow(0.02, substeps=2),
    "reshuffling flow": sm.ReshufflingFlow(0.02, 2, substeps=2),
    "Ornstein-Uhlenbeck": sm.OrnsteinUhlenbeck(0.02, 2, substeps=2),
    "label noise": sm.LabelNoiseSGD(0.02, 2, scale=0.1),
    "Levy": sm.LevySDE(0.02, alpha=1.7, scale=0.001, substeps=2),
    "epoch SDE": sm.EpochSDE(0.02, 2, substeps=3),
    "epoch SDE of order 2": sm.EpochSDE(0.02, 2, order=2, substeps=2),
    "homogenized SGD": sm.HomogenizedSGD(0.02, 2, substeps=2),
    "predicted dynamics": sm.PredictedDynamics(0.1, 5),
    "central flow": sm.CentralFlow(0.02),
    "stochastic central flow": sm.StochasticCentralFlow(0.02, 2),
}


def test_every_dynamics_is_under_contract() -> None:
    public = {c for c in vars(sm).values() if isinstance(c, type) and issubclass(c, sm.dynamics.Dynamics)}
    assert {type(d) for d in DYNAMICS.values()} == public


@pytest.fixture(params=DYNAMICS, ids=str)
def dynamics(request: pytest.FixtureRequest) -> sm.dynamics.Dynamics:
    return DYNAMICS[request.param]


def test_it_keeps_the_contract(dynamics: sm.dynamics.Dynamics) -> None:
    """The same bits for threads, chunks, subsets and resumption; seeds; the declaration and the moments it declares."""
    check_dynamics(dynamics)


@pytest.mark.parametrize("case", CASES)
def test_it_runs_on_every_loss(dynamics: sm.dynamics.Dynamics, case: str) -> None:
    """Five steps; a loss that a dynamics has no meaning on is refused with a sentence."""
    model = CASES[case](seed=6).model
    init = np.random.default_rng(2).uniform(0.2, 0.5, model.dim)
    if isinstance(dynamics, sm.HomogenizedSGD) and not model.squared_error:
        with pytest.raises(sm.errors.InvalidArgument, match="HomogenizedSGD needs"):
            sm.simulate(model, dynamics, 5, init)
        return
    if isinstance(dynamics, sm.PredictedDynamics):
        with suppress(sm.errors.InvalidArgument):  # without progressive sharpening near 2/eta
            sm.simulate(model, dynamics, 5, init, metrics=("loss",))
        return
    run = sm.simulate(model, dynamics, 5, init, metrics=("loss",), keep_params=True)
    assert np.isfinite(run.params.values).all()
    assert (run.params.values[0, -1] != init).any()


def test_the_step_size_is_in_force_where_the_schedule_says() -> None:
    model = sm.models.LeastSquares([[1.0]], [0.0])  # theta <- (1 - eta) theta
    dynamics = sm.GD([(0, 0.5), (3, 0.1), (4, 0.25)])
    run = sm.simulate(model, dynamics, 6, np.ones(1), record_every=1, metrics=(), keep_params=True)
    factors = run.params.values[0, 1:, 0] / run.params.values[0, :-1, 0]
    np.testing.assert_allclose(factors, [0.5, 0.5, 0.5, 0.9, 0.75, 0.75], rtol=1e-15)
    assert run.step_size.values.tolist() == [0.5, 0.5, 0.5, 0.1, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("name", ["product of 2", "gated quadratic", "quadratics"])
def test_momentum_follows_pytorch(name: str, nesterov: bool) -> None:
    import torch

    case = CASES[name](seed=7)
    init = np.random.default_rng(3).uniform(0.2, 0.5, case.model.dim)
    theta = torch.nn.Parameter(torch.from_numpy(init.copy()))
    optimizer = torch.optim.SGD([theta], lr=0.01, momentum=0.9, nesterov=nesterov)
    for _ in range(30):
        optimizer.zero_grad()
        case.losses(theta).mean().backward()
        optimizer.step()
    run = sm.simulate(case.model, sm.GD(0.01, momentum=0.9, nesterov=nesterov), 30, init, metrics=(), keep_params=True)
    np.testing.assert_allclose(run.params.values[0, -1], theta.detach().numpy(), rtol=1e-11)
