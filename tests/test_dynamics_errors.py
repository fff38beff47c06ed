"""Wrong requests to a dynamics fail before anything runs, with a sentence that names the argument and a way out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest

import sgdmodels as sm

from .cases import CASES

simulate_module = import_module("sgdmodels.simulate")

MODEL = CASES["product of 2"](seed=6).model  # 6 samples, 8 parameters
GATED = CASES["gated quadratic"](seed=6).model
QUADRATICS = CASES["quadratics"](seed=6).model
INIT = np.full(8, 0.4)
SUBSTEPS: dict[str, Callable[..., sm.dynamics.Dynamics]] = {
    "SDE": lambda **k: sm.SDE(0.1, 2, **k),
    "EpochSDE": lambda **k: sm.EpochSDE(0.1, 2, **k),
    "OrnsteinUhlenbeck": lambda **k: sm.OrnsteinUhlenbeck(0.1, 2, **k),
    "HomogenizedSGD": lambda **k: sm.HomogenizedSGD(0.1, 2, **k),
    "LevySDE": lambda **k: sm.LevySDE(0.1, 1.5, 0.1, **k),
    "GradientFlow": lambda **k: sm.GradientFlow(0.1, **k),
    "ImplicitRegularizationFlow": lambda **k: sm.ImplicitRegularizationFlow(0.1, **k),
    "ReshufflingFlow": lambda **k: sm.ReshufflingFlow(0.1, 2, **k),
}
BATCHES: dict[str, Callable[[object], sm.dynamics.Dynamics]] = {
    "SGD": lambda b: sm.SGD(0.1, b),
    "NoisyGD": lambda b: sm.NoisyGD(0.1, b),
    "NoisyGD isotropic": lambda b: sm.NoisyGD(0.1, b, "isotropic"),
    "SDE": lambda b: sm.SDE(0.1, b),
    "SVAG": lambda b: sm.SVAG(0.1, b),
    "EpochSDE": lambda b: sm.EpochSDE(0.1, b),
    "ReshufflingFlow": lambda b: sm.ReshufflingFlow(0.1, b),
    "LabelNoiseSGD": lambda b: sm.LabelNoiseSGD(0.1, b, 0.1),
    "OrnsteinUhlenbeck": lambda b: sm.OrnsteinUhlenbeck(0.1, b),
    "HomogenizedSGD": lambda b: sm.HomogenizedSGD(0.1, b),
    "PredictedDynamics": lambda b: sm.PredictedDynamics(0.1, b),
    "StochasticCentralFlow": lambda b: sm.StochasticCentralFlow(0.1, b),
}
SAMPLED: dict[str, Callable[[str], sm.dynamics.Dynamics]] = {
    "SGD": lambda s: sm.SGD(0.1, 2, sampling=s),
    "NoisyGD": lambda s: sm.NoisyGD(0.1, 2, sampling=s),
    "SDE": lambda s: sm.SDE(0.1, 2, sampling=s),
    "SVAG": lambda s: sm.SVAG(0.1, 2, sampling=s),
    "LabelNoiseSGD": lambda s: sm.LabelNoiseSGD(0.1, 2, 0.1, sampling=s),
    "OrnsteinUhlenbeck": lambda s: sm.OrnsteinUhlenbeck(0.1, 2, sampling=s),
    "PredictedDynamics": lambda s: sm.PredictedDynamics(0.1, 2, sampling=s),
    "StochasticCentralFlow": lambda s: sm.StochasticCentralFlow(0.1, 2, sampling=s),
}


def run(dynamics: sm.dynamics.Dynamics, model: sm.models.Model = MODEL) -> object:
    return sm.simulate(model, dynamics, 10, np.full(model.dim, 0.4))


def refused(request: Callable[[], object], *words: str) -> None:
    with pytest.raises(sm.errors.InvalidArgument) as caught:
        request()
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    for word in words:
        assert word in message, message
    assert len(message) < 300


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step taken, or a worker made, fails the test."""

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(simulate_module.Run, "go", started)
    monkeypatch.setattr(simulate_module, "Worker", started)


@pytest.mark.parametrize("value", [0, -1, -10])
@pytest.mark.parametrize("name", SUBSTEPS)
def test_too_few_substeps(name: str, value: int) -> None:
    refused(lambda: SUBSTEPS[name](substeps=value), "substeps", "at least 1", str(value), "substeps=1")


@pytest.mark.parametrize("value", [2.5, "4", None, True])
@pytest.mark.parametrize("name", SUBSTEPS)
def test_substeps_are_whole(name: str, value: object) -> None:
    refused(lambda: SUBSTEPS[name](substeps=value), "substeps", "integer", repr(value))


@pytest.mark.parametrize("name", BATCHES)
def test_batches_fit_the_samples(name: str) -> None:
    refused(lambda: BATCHES[name](0), "batch_size", "at least 1", "got 0")
    refused(lambda: BATCHES[name](2.5), "batch_size", "integer", "2.5")
    refused(lambda: run(BATCHES[name](7)), "batch_size", "1..6", "got 7", "sm.GD")
    refused(lambda: run(BATCHES[name]([(0, 2), (5, 9)])), "batch_size", "1..6", "got 9")


@pytest.mark.parametrize("name", SAMPLED)
def test_sampling_schemes_are_known(name: str) -> None:
    refused(lambda: SAMPLED[name]("with_replacment"), "sampling", "did you mean 'with_replacement'", "bernoulli")
    refused(lambda: SAMPLED[name](3), "sampling", "got 3")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [*BATCHES.values(), *(lambda b, m=m: m() for m in SUBSTEPS.values())])
def test_step_sizes_are_positive(make: Callable[[object], sm.dynamics.Dynamics]) -> None:
    kind, fields = type(make(2)), {k: v for k, v in vars(make(2)).items() if k != "step_size"}
    for value, word in (
        (0.0, "> 0"),
        (-0.1, "-0.1"),
        (np.nan, "nan"),
        (np.inf, "inf"),
        ("0.1", "number"),
        (True, "True"),
    ):
        refused(lambda value=value: kind(step_size=value, **fields), "step_size", word)


BAD: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "order 3": (lambda: sm.SDE(0.1, 2, order=3), ("order", "1 or 2", "got 3", "substeps")),
    "order true": (lambda: sm.SDE(0.1, 2, order=True), ("order", "1 or 2", "True")),
    "order of the epoch SDE": (lambda: sm.EpochSDE(0.1, 2, order=0), ("order", "1 or 2", "got 0")),
    "unknown integrator": (lambda: sm.SDE(0.1, 2, integrator="huen"), ("integrator", "euler", "did you mean 'heun'")),
    "refinement 0": (lambda: sm.SDE(0.1, 2, refinement=0), ("refinement", "at least 1", "got 0")),
    "refinement of noisy GD": (lambda: sm.NoisyGD(0.1, 2, refinement=1.5), ("refinement", "integer", "1.5")),
    "ell 0": (lambda: sm.SVAG(0.1, 2, ell=0), ("ell", "1..", "1 is SGD itself", "got 0")),
    "ell 1.5": (lambda: sm.SVAG(0.1, 2, ell=1.5), ("ell", "integer", "1.5")),
    "ell infinite": (lambda: sm.SVAG(0.1, 2, ell=np.inf), ("ell", "finite", "sm.SDE")),
    "SVAG in epochs": (lambda: sm.SVAG(0.1, 2, sampling="epoch"), ("sampling", "two independent batches", "'epoch'")),
    "SVAG of Bernoulli": (lambda: sm.SVAG(0.1, 2, sampling="bernoulli"), ("independent", "with_replacement")),
    "unknown covariance": (lambda: sm.NoisyGD(0.1, 2, "isotrope"), ("covariance", "did you mean 'isotropic'")),
    "constant without scale": (lambda: sm.NoisyGD(0.1, 2, "constant"), ("scale", "constant", "scale=0.01")),
    "negative scale": (lambda: sm.NoisyGD(0.1, 2, "constant", scale=-1.0), ("scale", ">= 0", "-1.0")),
    "scale elsewhere": (lambda: sm.NoisyGD(0.1, 2, scale=0.1), ("scale", "covariance='full'", "drop it")),
    "scale of diagonal": (lambda: sm.NoisyGD(0.1, 2, "diagonal", scale=0.1), ("scale", "'diagonal'", "drop it")),
    "refresh 0": (lambda: sm.NoisyGD(0.1, 2, refresh=0), ("refresh", "at least 1", "got 0")),
    "refresh of a constant": (
        lambda: sm.NoisyGD(0.1, 2, "constant", scale=0.1, refresh=5), ("refresh", "constant", "got 5", "leave it out")
    ),
    "point too short": (lambda: run(sm.OrnsteinUhlenbeck(0.1, 2, [0.0, 1.0])), ("point", "(8,)", "(2,)")),
    "point of two axes": (lambda: sm.OrnsteinUhlenbeck(0.1, 2, np.zeros((2, 8))), ("point", "(2, 8)")),
    "point not finite": (lambda: sm.OrnsteinUhlenbeck(0.1, 2, [np.nan] * 8), ("point", "finite", "nan")),
    "point in single": (lambda: sm.OrnsteinUhlenbeck(0.1, 2, np.zeros(8, np.float32)), ("point", "float32", "astype")),
    "alpha 2.5": (lambda: sm.LevySDE(0.1, 2.5, 0.1), ("alpha", "(0, 2]", "2.5")),
    "alpha 0": (lambda: sm.LevySDE(0.1, 0.0, 0.1), ("alpha", "> 0", "0.0")),
    "alpha NaN": (lambda: sm.LevySDE(0.1, np.nan, 0.1), ("alpha", "nan")),
    "negative Levy scale": (lambda: sm.LevySDE(0.1, 1.5, -0.1), ("scale", ">= 0", "-0.1")),
    "negative label noise": (lambda: sm.LabelNoiseSGD(0.1, 2, -0.1), ("scale", ">= 0", "-0.1")),
    "homogenized gate": (
        lambda: run(sm.HomogenizedSGD(0.1, 2), GATED), ("HomogenizedSGD", "GatedQuadratic", "sm.SDE", "sm.NoisyGD")
    ),
    "homogenized quadratics": (lambda: run(sm.HomogenizedSGD(0.1, 2), QUADRATICS), ("(f - y)^2 / 2", "Quadratics")),
    "predicted schedule": (
        lambda: sm.PredictedDynamics([(0, 0.1), (5, 0.2)], 2), ("step_size", "one number", "schedule", "2 / step_size")
    ),  # type: ignore[arg-type]
    "predicted nowhere near": (
        lambda: run(sm.PredictedDynamics(0.1, 2), sm.models.LeastSquares(np.eye(6), np.zeros(6))),
        ("PredictedDynamics", "lambda_max", "step_size"),
    ),
    "predicted without sharpening": (
        lambda: sm.simulate(
            sm.models.GatedQuadratic(np.ones((6, 1)), np.zeros(6), 0.01, -9.0), sm.PredictedDynamics(0.5, 2), 10,
            np.array([0.0, 3.0]),
        ),
        ("PredictedDynamics", "progressive sharpening", "alpha"),
    ),
    "stride 0": (lambda: sm.CentralFlow(0.1, stride=0), ("stride", "at least 1", "got 0")),
    "stride 2.5": (lambda: sm.StochasticCentralFlow(0.1, 2, stride=2.5), ("stride", "integer", "2.5")),
    "cutoff 1": (lambda: sm.StochasticCentralFlow(0.1, 2, cutoff=1.0), ("cutoff", "< 1", "1.0")),
    "no dynamics": (lambda: sm.simulate(MODEL, "sgd", 10, INIT), ("dynamics", "sm.SGD", "'sgd'")),
    "a class": (lambda: sm.simulate(MODEL, sm.SGD, 10, INIT), ("dynamics", "sm.SGD(...)")),
    "too many numbers": (
        lambda: sm.simulate(MODEL, sm.SDE(0.1, 2, substeps=10**6), 10**12, INIT, record_every=10**12),
        ("steps", "counter"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_request_says_what_to_do(name: str) -> None:
    request, words = BAD[name]
    refused(request, *words)


def test_fields_cannot_be_changed_afterwards() -> None:
    """A checked dynamics stays checked."""
    dynamics = sm.SDE(0.1, 2)
    with pytest.raises(AttributeError):
        dynamics.substeps = 0  # type: ignore[misc]
