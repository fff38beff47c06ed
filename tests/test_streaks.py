"""The curvature each step met, against Hessians of the batches that the steps reveal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.interventions import checkpoint
from sgdmodels.streaks import has_batches, step_sharpness, step_sharpness_path

from .cases import CASES

SAMPLES, ETA, SEED, AT, STEPS = 6, 0.05, 11, 64, 12


def by_hessians(model: sm.models.Model, theta: np.ndarray, weights: np.ndarray) -> float:
    """g'Hg / |g|^2 of the batch with these weights on all samples, from per-sample gradients and Hessians."""
    g = weights @ model.sample_gradients(theta)
    h = np.einsum("n,nij->ij", weights, model.sample_hessians(theta))
    return float(g @ h @ g / (g @ g))


def uninterrupted(
    model: sm.models.Model, dynamics: sm.dynamics.Dynamics, init: np.ndarray, replicas: int
) -> xr.Dataset:
    return sm.simulate(
        model, dynamics, AT + STEPS, init, replicas=replicas, record_every=1, metrics=("loss",), seed=SEED,
        keep_params=True, progress=False,
    )  # fmt: skip


def subsets(b: int, sampling: str) -> np.ndarray:
    """Weights (batch, sample) of all batches of b samples, or of any number where it is drawn."""
    sizes = range(SAMPLES + 1) if sampling == "bernoulli" else (b,)
    pick = itertools.combinations_with_replacement if sampling == "with_replacement" else itertools.combinations
    batches = [batch for k in sizes for batch in pick(range(SAMPLES), k)]
    return np.array([np.bincount(np.array(batch, int), minlength=SAMPLES) / b for batch in batches])


@pytest.mark.parametrize("name", ["linear network", "gated quadratic", "quadratics", "product of 3"])
def test_step_sharpness_is_that_of_the_batch_written_out(name: str) -> None:
    model = CASES[name](3).model
    rng = np.random.default_rng(0)
    for b in (1, 2, SAMPLES):
        theta, batch = rng.standard_normal(model.dim), rng.choice(SAMPLES, b, replace=False).astype(np.int32)
        weight = np.full(b, 1 / b)
        expected = by_hessians(model, theta, np.bincount(batch, weight, SAMPLES))
        assert step_sharpness(model, theta, batch, weight) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_step_sharpness_does_not_depend_on_scale(scale: float) -> None:
    """l(theta) = (scale theta)^2 / 2 and weights of either sign: curvature scale^2."""
    model = sm.models.LeastSquares(np.full((2, 1), scale), np.zeros(2))
    for weights in ([0.5, 0.5], [2.0, -1.0]):
        found = step_sharpness(model, np.array([3.0]), np.arange(2, dtype=np.int32), np.array(weights))
        assert found == pytest.approx(scale**2, rel=1e-6)
    assert np.isnan(step_sharpness(model, np.zeros(1), np.arange(2, dtype=np.int32), np.full(2, 0.5)))


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement", "bernoulli", "epoch"])
@pytest.mark.parametrize("b", [1, 2, 4])
def test_the_path_is_that_of_the_run_and_its_batches_those_of_the_steps(sampling: str, b: int) -> None:
    """The batch of a step is found by trying all: the one whose gradient explains the step (6 samples, 12 steps)."""
    case = CASES["linear network"](1)
    model, dynamics = case.model, sm.SGD(ETA, b, sampling=sampling)
    init = 0.5 * np.random.default_rng(2).standard_normal(model.dim)
    start = checkpoint(model, dynamics, AT, init, replicas=2, seed=SEED)
    path = step_sharpness_path(model, dynamics, start, STEPS, replicas=2, seed=SEED)
    whole = uninterrupted(model, dynamics, init, 2)
    assert path.loss.dims == path.step_sharpness.dims == ("replica", "step")
    assert path.step.values.tolist() == list(range(AT, AT + STEPS))
    np.testing.assert_array_equal(path.loss.values, whole.loss.values[:, AT:-1])
    candidates = subsets(b, sampling)
    for r in range(2):
        thetas = whole.params.values[r, AT:]
        for t in range(STEPS):
            gradient = (thetas[t] - thetas[t + 1]) / ETA
            errors = np.abs(candidates @ model.sample_gradients(thetas[t]) - gradient).max(axis=1)
            weights = candidates[errors.argmin()]
            assert errors.min() < 1e-12 * max(1.0, np.abs(gradient).max()) / ETA
            found = float(path.step_sharpness[r, t])
            if weights.any():
                assert found == pytest.approx(by_hessians(model, thetas[t], weights), rel=1e-5, abs=1e-7)
            else:
                assert np.isnan(found)  # an empty Bernoulli batch


def test_gaussian_weights_are_those_of_the_steps() -> None:
    """Noisy GD with fewer samples than parameters: the step determines the weights of all per-sample gradients."""
    rng = np.random.default_rng(4)
    model = sm.models.LinearNetwork(rng.standard_normal((3, 4)), rng.standard_normal(3))
    dynamics, init = sm.NoisyGD(ETA, 2), 0.5 * rng.standard_normal(5)
    start = checkpoint(model, dynamics, AT, init, replicas=2, seed=SEED)
    path = step_sharpness_path(model, dynamics, start, STEPS, replicas=2, seed=SEED)
    whole = uninterrupted(model, dynamics, init, 2)
    np.testing.assert_array_equal(path.loss.values, whole.loss.values[:, AT:-1])
    for r in range(2):
        thetas = whole.params.values[r, AT:]
        for t in range(STEPS):
            weights = np.linalg.lstsq(model.sample_gradients(thetas[t]).T, (thetas[t] - thetas[t + 1]) / ETA)[0]
            assert weights.min() < 1 / 3 < weights.max()
            expected = by_hessians(model, thetas[t], weights)
            assert float(path.step_sharpness[r, t]) == pytest.approx(expected, rel=1e-5)


def test_the_mean_over_steps_is_batch_sharpness_as_a_mean_of_ratios() -> None:
    """Frozen by a tiny step size, the mean step sharpness is E_B[g'Hg / |g|^2]: within 5 standard errors."""
    model = CASES["linear network"](1).model
    theta = 0.5 * np.random.default_rng(2).standard_normal(model.dim)
    dynamics = sm.SGD(1e-12, 2)
    start = checkpoint(model, dynamics, 0, theta, replicas=1, seed=5)
    values = step_sharpness_path(model, dynamics, start, 1500).step_sharpness.values
    expected = np.mean([by_hessians(model, theta, weights) for weights in subsets(2, "epoch")])
    assert values.mean() == pytest.approx(expected, abs=5 * values.std() / np.sqrt(1500))


def test_what_has_diverged_is_missing() -> None:
    model = sm.models.LeastSquares([[1.0], [2.0]], [0.0, 0.0])
    dynamics = sm.SGD(5.0, 1)
    start = checkpoint(model, dynamics, 0, np.ones(1), replicas=1)
    path = step_sharpness_path(model, dynamics, start, 200, replicas=1)
    lost = np.isnan(path.loss.values[0])
    assert lost.any()
    assert not lost[0]
    np.testing.assert_array_equal(np.isnan(path.step_sharpness.values[0]), lost)
    assert set(np.round(path.step_sharpness.values[0, ~lost], 4)) == {1.0, 4.0}


@pytest.mark.parametrize(
    ("dynamics", "has"),
    [
        (sm.SGD(ETA, 2), True), (sm.SGD(ETA, 2, sampling="epoch"), True), (sm.NoisyGD(ETA, 2), True),
        (sm.SGD(ETA, 2, momentum=0.9), False), (sm.GD(ETA), False), (sm.SVAG(ETA, 2, ell=4), False),
        (sm.SDE(ETA, 2), False), (sm.NoisyGD(ETA, 2, "diagonal"), False), (sm.NoisyGD(ETA, 2, refresh=3), False),
        (sm.LabelNoiseSGD(ETA, 2, scale=0.1), False), (sm.GradientFlow(ETA), False), (sm.CentralFlow(ETA), False),
    ],
)  # fmt: skip
def test_which_dynamics_step_by_weighted_batches(dynamics: sm.dynamics.Dynamics, has: bool) -> None:
    assert has_batches(dynamics, SAMPLES) is has


def test_refuses_more_replicas_than_there_are_and_schedules_that_change() -> None:
    model = CASES["linear network"](1).model
    start = checkpoint(model, sm.SGD(ETA, 2), 64, np.full(model.dim, 0.1), replicas=2)
    with pytest.raises(InvalidArgument, match=r"replicas must be in 1\.\.2"):
        step_sharpness_path(model, sm.SGD(ETA, 2), start, 5, replicas=3)
    changing = sm.SGD(ETA, [(0, 2), (66, 3)])
    with pytest.raises(InvalidArgument, match="before the schedule changes at step 66"):
        step_sharpness_path(model, changing, start, 5, replicas=1)
    assert step_sharpness_path(model, changing, start, 2, replicas=1).sizes["step"] == 2


def test_the_path_takes_seed_and_ids_from_the_checkpoint_and_leaves_lost_replicas_out() -> None:
    model, dynamics = CASES["linear network"](1).model, sm.SGD(ETA, 2)
    init = np.full(model.dim, 0.1)
    start = checkpoint(model, dynamics, AT, init, replicas=[4, 9], seed=SEED)
    path = step_sharpness_path(model, dynamics, start, STEPS)
    alone = step_sharpness_path(model, dynamics, checkpoint(model, dynamics, AT, init, replicas=[9], seed=SEED), STEPS)
    assert path.replica.values.tolist() == [4, 9]
    np.testing.assert_array_equal(path.step_sharpness.values[1:], alone.step_sharpness.values)
    whole = sm.simulate(
        model, dynamics, AT + STEPS, init, replicas=[4, 9], record_every=1, metrics=("loss",), seed=SEED, progress=False
    )
    np.testing.assert_array_equal(path.loss.values, whole.loss.values[:, AT:-1])
    lost = replace(start, diverged=np.array([True, False]), diverged_at=None)
    half = step_sharpness_path(model, dynamics, lost, STEPS)
    assert half.step_sharpness[0].isnull().all()
    np.testing.assert_array_equal(half.step_sharpness[1], path.step_sharpness[1])
    with pytest.raises(InvalidArgument, match="seed must be that of the checkpoint, 11"):
        step_sharpness_path(model, dynamics, start, STEPS, seed=0)
