"""Comparisons of models with SGD: distances that must be zero, shrink or be noise, against hand-made statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import scipy.stats

import sgdmodels as sm
from sgdmodels.compare import compare

simulate_module = import_module("sgdmodels.simulate")  # the attribute of the package is the function


def additive(seed: int = 0) -> sm.models.Quadratics:
    """Gradient noise of the same law everywhere: one Hessian, four centres."""
    centres = np.random.default_rng(seed).standard_normal((4, 2))
    return sm.models.Quadratics(np.tile([[1.5, 0.3], [0.3, 0.5]], (4, 1, 1)), centres - centres.mean(axis=0))


def parabola() -> sm.models.LeastSquares:
    """(theta - 1)^2 / 2 or (theta + 1)^2 / 2: curvature 1, additive noise of variance 1."""
    return sm.models.LeastSquares([[1.0], [1.0]], [1.0, -1.0])


def multiplicative() -> sm.models.LeastSquares:
    return sm.models.LeastSquares([[0.5], [1.5]], [-1.0, 1.0])


def state(points: sm.metrics.Snapshots) -> np.ndarray:
    return points.theta[:, :, 0]


STATE = sm.Metric("state", "first parameter", "1", state)
ONES = np.ones(2)


def test_the_reference_against_itself_is_no_distance() -> None:
    found = compare(
        additive(), sm.SGD(0.2, 1), {"again": sm.SGD(0.2, 1)}, 100, ONES, replicas=100, snapshots=4, seed=3
    )  # fmt: skip
    assert found.attrs["reference"] == "SGD"
    assert found.dynamics.values.tolist() == ["SGD", "again"]
    again = found.sel(dynamics="again")
    for name in ("strong_distance", "strong_distance_high", "weak_error", "weak_error_low", "weak_error_high"):
        np.testing.assert_array_equal(again[name].values, 0.0)
    # halves of one ensemble: the smallest of 8 uniform p-values is below 0.001 with probability 0.8 % at most
    assert found.energy_p_value.sel(dynamics="again").min() > 0.001
    assert found.wasserstein_p_value.sel(dynamics="again").min() > 0.001
    assert np.isnan(found.energy_p_value.sel(dynamics="SGD")).all()  # nothing is tested there
    assert np.isnan(found.wasserstein_p_value.sel(dynamics="SGD")).all()


TWINS: dict[str, tuple[sm.dynamics.Dynamics, sm.dynamics.Dynamics]] = {
    "coupled: the same SGD": (sm.SGD(0.2, 1), sm.SGD(0.2, 1)),
    # One noisy parameter: both covariances are its variance, from normals drawn otherwise.
    "independent: noisy GD of two kinds": (sm.NoisyGD(0.2, 1), sm.NoisyGD(0.2, 1, "isotropic")),
}


@pytest.mark.parametrize("twins", TWINS.values(), ids=TWINS)
def test_p_values_of_equal_laws_are_uniform(twins: tuple[sm.dynamics.Dynamics, sm.dynamics.Dynamics]) -> None:
    """80 seeds; Kolmogorov and Smirnov at 0.1 %. p-values are multiples of 0.01, which moves the distance by 0.01."""
    model = sm.models.LeastSquares(np.linspace(0.5, 1.5, 5)[:, None], np.linspace(-1, 1, 5))
    energy, wasserstein = [], []
    for seed in range(80):
        found = compare(
            model, twins[0], {"twin": twins[1]}, 20, [0.3], replicas=40, snapshots=1, permutations=99, seed=seed,
            threads=1,
        ).sel(dynamics="twin")  # fmt: skip
        energy.append(float(found.energy_p_value[0]))
        wasserstein.append(float(found.wasserstein_p_value[0, 0]))
    for values in (energy, wasserstein):
        assert scipy.stats.kstest(np.array(values) - 0.005, "uniform").pvalue > 0.001


def test_different_laws_are_told_apart() -> None:
    """No noise, and half of it: 0.001 is the least p-value that 999 permutations can give."""
    found = compare(parabola(), sm.SGD(0.2, 1), {"GD": sm.GD(0.2), "half": sm.SGD(0.2, 2)}, 40, [0.0], replicas=64)
    for name in ("GD", "half"):
        assert (found.energy_p_value.sel(dynamics=name) == 0.001).all()
        assert (found.energy_distance.sel(dynamics=name) > 0.01).all()
        assert (found.wasserstein_p_value.sel(dynamics=name) == 0.001).all()


def distances_of_halves(model: sm.models.Model, step_size: float, init: list[float], substeps: list[int]) -> np.ndarray:
    """Strong distance of SDE(m) and SDE(2 m) on one path, for m in `substeps`."""
    out = []
    for m in substeps:
        pair = sm.SDE(step_size, 1, substeps=m), {"finer": sm.SDE(step_size, 1, substeps=2 * m)}
        found = compare(model, *pair, 8, init, replicas=512, snapshots=1, permutations=1, seed=3)
        assert found.coupled.values[1] == found.coupled.values[0] != ""
        out.append(float(found.strong_distance.sel(dynamics="finer")[0]))
    return np.array(out)


def test_strong_order_with_additive_noise_is_one() -> None:
    """Euler-Maruyama is Milstein's scheme there. Ratios of 512 pairs know 2 to 2 % or so; the next order adds h."""
    distances = distances_of_halves(additive(), 0.2, [1.0, 1.0], [2, 4, 8])
    ratios = distances[:-1] / distances[1:]
    assert (ratios > 1.85).all()
    assert (ratios < 2.2).all()


def test_strong_order_with_noise_that_depends_on_the_state_is_a_half() -> None:
    """Curvatures of mean 0.001 and standard deviation 1: the noise's error leads, and halving h divides it by sqrt 2.

    Fourth moments of log-normal paths: the ratios of 512 pairs are known to 5 % or so.
    """
    model = sm.models.Quadratics(np.array([[[1.001]], [[-0.999]]]), np.zeros((2, 1)))
    distances = distances_of_halves(model, 0.25, [1.0], [2, 4, 8])
    ratios = distances[:-1] / distances[1:]
    assert (ratios > 1.2).all()
    assert (ratios < 1.65).all()


def test_noisy_gradient_descent_is_the_sde_in_one_substep() -> None:
    """Bit by bit, also beside a finer SDE that makes all paths sums of finer ones."""
    others = {"one substep": sm.SDE(0.2, 1, substeps=1), "four": sm.SDE(0.2, 1, substeps=4)}
    found = compare(multiplicative(), sm.NoisyGD(0.2, 1), others, 60, [0.3], replicas=16, permutations=1)
    np.testing.assert_array_equal(found.strong_distance.sel(dynamics="one substep").values, 0.0)
    assert (found.strong_distance.sel(dynamics="four") > 0).all()
    runs = [
        sm.simulate(multiplicative(), dynamics, 60, [0.3], replicas=16, record_every=7, keep_params=True, seed=2).params
        for dynamics in (sm.NoisyGD(0.2, 1), others["one substep"])
    ]
    np.testing.assert_array_equal(*(run.values for run in runs))


def test_a_path_between_two_paths() -> None:
    """Coupled runs of SDEs are far closer than independent ones: sums of the same fine increments."""
    pair = {"other path": sm.SGD(0.2, 1), "same path": sm.SDE(0.2, 1, substeps=8)}
    found = compare(additive(), sm.SDE(0.2, 1, substeps=4), pair, 40, ONES, replicas=64, snapshots=1, permutations=1)
    far, near = (float(found.strong_distance.sel(dynamics=name)[0]) for name in pair)
    assert near < far / 10
    assert found.coupled.values.tolist()[1:] == ["", found.coupled.values[0]]


def means(dynamics: sm.dynamics.Dynamics) -> np.ndarray:
    """The first parameter of 64 replicas after 40 steps, from a plain run."""
    run = sm.simulate(additive(), dynamics, 40, ONES, replicas=64, record_every=40, keep_params=True)
    return run.params.values[:, -1, 0]


def test_weak_error_of_a_metric_of_ones_own_is_the_difference_of_means() -> None:
    """With Welch's interval where replicas are independent, and that of the mean difference where they are pairs."""
    candidates = {"noisy": sm.NoisyGD(0.2, 1), "labels": sm.LabelNoiseSGD(0.2, 1, 0.5)}
    found = compare(additive(), sm.SGD(0.2, 1), candidates, 40, ONES, replicas=64, snapshots=1, observables=[STATE])
    assert found.observable.values.tolist() == ["state"]
    x, noisy, labels = (means(dynamics) for dynamics in (sm.SGD(0.2, 1), *candidates.values()))
    welch = scipy.stats.ttest_ind(noisy, x, equal_var=False).confidence_interval()
    paired = scipy.stats.ttest_rel(labels, x).confidence_interval()
    for name, y, interval in (("noisy", noisy, welch), ("labels", labels, paired)):
        entry = found.sel(dynamics=name, observable="state").isel(step=0)
        expected = [y.mean() - x.mean(), interval.low, interval.high]
        got = [float(entry[word]) for word in ("weak_error", "weak_error_low", "weak_error_high")]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
        assert float(entry["mean"]) == pytest.approx(y.mean(), rel=1e-12)


def test_one_metric_needs_no_list() -> None:
    found = compare(additive(), sm.SGD(0.2, 1), [], 20, ONES, replicas=4, observables="lambda_max", permutations=1)
    assert found.observable.values.tolist() == ["lambda_max"]
    assert found.sizes["dynamics"] == 1


@pytest.mark.parametrize(
    ("dynamics", "expected"),
    [
        (sm.SDE(1.9, 1, substeps=1), "not converged"),  # variance 1 / (2 - h): 10, and 0.95 with half the step
        (sm.SDE(1.9, 1, substeps=16), "converged"),  # 0.53 and 0.515
        (sm.HomogenizedSGD(1.9, 1, substeps=1), "not converged"),
        (sm.NoisyGD(1.9, 1), ""),
        (sm.SGD(1.9, 1), ""),
        (sm.GradientFlow(1.9), "converged"),
    ],
    ids=str,
)
def test_integrators_are_checked_by_halving(dynamics: sm.dynamics.Dynamics, expected: str) -> None:
    """Curvature 1, so that h lambda is 1.9 in one substep: second moments of the coarse one are 10 times too large."""
    found = compare(parabola(), sm.NoisyGD(1.9, 1), {"it": dynamics}, 200, [0.0], replicas=128, permutations=1)
    assert found.converged.sel(dynamics="it").item() == expected


def test_an_integrator_beyond_its_own_edge_is_not_converged() -> None:
    """h lambda = 2.5 diverges, its half does not; an SDE that diverges as fast in both is a matter of the SDE."""
    found = compare(
        parabola(), sm.SGD(2.5, 1), {"coarse": sm.SDE(2.5, 1, substeps=1)}, 400, [0.1], replicas=16, permutations=1
    )  # fmt: skip
    assert found.converged.sel(dynamics="coarse").item() == "not converged"


def test_diverged_replicas_are_left_out_and_counted() -> None:
    """(xy - 1)^2 / 2 is too steep for the step size far out: of a wide start some replicas escape, others settle."""
    model = sm.models.ScalarProduct([1.0, 1.0], [1.5, 0.5])
    rng = np.random.default_rng(0)
    init = rng.uniform(0.5, 3.0, (40, 2))
    found = compare(model, sm.SGD(0.5, 1), {"noisy": sm.NoisyGD(0.5, 1)}, 640, init, replicas=40, snapshots=2, seed=1)
    for name, dynamics in {"SGD": sm.SGD(0.5, 1), "noisy": sm.NoisyGD(0.5, 1)}.items():
        run = sm.simulate(model, dynamics, 640, init, replicas=40, seed=1, metrics=("loss",), record_every=320)
        lost = run.diverged_at.notnull().values
        assert 0 < lost.sum() < 40
        entry = found.sel(dynamics=name)
        assert float(entry.diverged_fraction) == pytest.approx(lost.mean(), abs=0.2 if name == "noisy" else 1e-12)
        assert np.isfinite(entry["mean"]).all()
        if name == "SGD":
            np.testing.assert_allclose(entry["mean"][0], run.loss[~lost, 1:].mean("replica"), rtol=1e-12)
    for name in ("strong_distance", "weak_error", "energy_distance", "wasserstein_distance"):
        assert np.isfinite(found[name]).all()


def test_if_all_diverge_there_is_no_distance_and_no_nonsense() -> None:
    lost = compare(parabola(), sm.SGD(3.0, 1), {"GD": sm.GD(3.0)}, 640, [0.1], replicas=4, snapshots=1, permutations=1)
    assert (lost.diverged_fraction == 1).all()
    for name in ("strong_distance", "weak_error", "energy_distance", "energy_p_value", "mean"):
        assert np.isnan(lost[name]).all()


def test_the_same_batches_make_the_same_path() -> None:
    """Label noise of scale 0 and SVAG of one micro-step are SGD, replica by replica."""
    same = {"labels": sm.LabelNoiseSGD(0.2, 2, 0.0), "SVAG": sm.SVAG(0.2, 2, ell=1)}
    found = compare(additive(), sm.SGD(0.2, 2), same, 64, ONES, replicas=16, snapshots=2, permutations=1)
    for name in same:
        assert (found.strong_distance.sel(dynamics=name) < 1e-12).all()  # sums of a batch in another order
        assert np.abs(found.weak_error.sel(dynamics=name)).max() < 1e-12
        assert found.coupled.sel(dynamics=name).item() == found.coupled.values[0]


def test_snapshots_are_how_many_or_which() -> None:
    def steps(snapshots: object, count: int = 60) -> list[int]:
        found = compare(
            additive(), sm.SGD(0.2, 1), [], count, ONES, replicas=4, snapshots=snapshots, permutations=1, threads=1
        )
        return found.step.values.tolist()

    assert steps(3) == [20, 40, 60]
    assert steps(1) == [60]
    assert steps([20, 40, 60]) == [20, 40, 60]
    assert set(steps([30, 45])) >= {30, 45}
    assert steps(60) == list(range(1, 61))


def test_results_depend_on_the_seed_and_on_nothing_else() -> None:
    def found(seed: int, threads: int) -> object:
        return compare(
            additive(), sm.SGD(0.2, 1), [sm.NoisyGD(0.2, 1), sm.SDE(0.2, 1, substeps=2)], 32, ONES, replicas=20,
            permutations=49, seed=seed, threads=threads,
        )  # fmt: skip

    first = found(5, 1)
    assert first.identical(found(5, 3))
    assert not first.equals(found(6, 1))


def test_results_survive_netcdf(tmp_path: object) -> None:
    import xarray as xr

    found = compare(additive(), sm.SGD(0.2, 1), [sm.SDE(0.2, 1, substeps=2)], 32, ONES, replicas=8, permutations=9)
    found.to_netcdf(f"{tmp_path}/compare.nc", engine="scipy")
    with xr.open_dataset(f"{tmp_path}/compare.nc", engine="scipy") as back:
        xr.testing.assert_equal(back.load(), found)


WRONG: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "one dynamics for a list": (lambda: request(candidates=sm.GD(0.1)), ("candidates", "list")),
    "no dynamics": (lambda: request(candidates=["SGD"]), ("dynamics", "'SGD'")),
    "reference no dynamics": (lambda: request(reference=3), ("dynamics", "3")),
    "two of one name": (lambda: request(candidates=[sm.SGD(0.1, 1)]), ("'SGD'", "distinct names")),
    "schedule": (lambda: request(candidates=[sm.GD([(0, 0.1), (9, 0.2)])]), ("GD", "schedule")),
    "step sizes": (lambda: request(candidates=[sm.GD(0.2)]), ("one step_size", "0.1", "0.2")),
    "steps": (lambda: request(steps=0), ("steps", "0")),
    "no snapshots": (lambda: request(snapshots=0), ("snapshots", "0")),
    "too many snapshots": (lambda: request(snapshots=41), ("snapshots", "41")),
    "snapshot beyond the end": (lambda: request(snapshots=[10, 50]), ("snapshots", "50")),
    "empty snapshots": (lambda: request(snapshots=[]), ("snapshots", "empty")),
    "observable": (lambda: request(observables=["los"]), ("los", "loss")),
    "observable twice": (lambda: request(observables=["loss", "loss"]), ("distinct",)),
    "permutations": (lambda: request(permutations=0), ("permutations",)),
    "tolerance": (lambda: request(tolerance=0.0), ("tolerance",)),
    "batch size": (lambda: request(batch_size=5), ("batch_size", "5")),
    "batch size of a candidate": (lambda: request(candidates=[sm.NoisyGD(0.1, 5)]), ("batch_size", "5")),
    "init": (lambda: request(init=np.ones(3)), ("init",)),
    "replicas": (lambda: request(replicas=0), ("replicas",)),
    "seed": (lambda: request(seed=-1), ("seed",)),
    "loss": (lambda: request(candidates=[sm.HomogenizedSGD(0.1, 1)]), ("HomogenizedSGD", "Quadratics")),
}


def request(**changed: object) -> object:
    given: dict[str, object] = {
        "reference": sm.SGD(0.1, 1), "candidates": [sm.SDE(0.1, 1)], "steps": 40, "init": ONES, "replicas": 4,
        **changed,
    }  # fmt: skip
    return compare(additive(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_fail_before_anything_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr(simulate_module.Run, "go", started)
    make, words = WRONG[name]
    with pytest.raises(sm.errors.InvalidArgument) as caught:
        make()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 300


def test_dynamics_are_not_changed() -> None:
    sde = sm.SDE(0.2, 1, substeps=2)
    before = dataclasses.asdict(sde)
    compare(additive(), sm.SGD(0.2, 1), [sde], 20, ONES, replicas=4, permutations=1)
    assert dataclasses.asdict(sde) == before


# Known to be wrong: see the reasons.

STRANGE: dict[str, tuple[Callable[[], object], str]] = {
    "no loss": (lambda: compare("least squares", sm.SGD(0.1, 1), [], 40, ONES), "model must be a loss"),  # type: ignore[arg-type]
    "schedule of batch sizes": (lambda: request(reference=sm.SGD(0.1, [(0, 1), (9, 2)])), "constant batch_size"),
    "several batch sizes": (lambda: request(batch_size=[1, 2]), "batch_size must be an integer"),
    "one replica": (lambda: request(replicas=1), "replicas must be at least 2"),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.usefixtures("no_runs")
def test_strange_requests_fail_before_anything_runs(name: str) -> None:
    make, words = STRANGE[name]
    with pytest.raises(sm.errors.InvalidArgument, match=words):
        make()


def test_runs_shorter_than_the_default_number_of_snapshots() -> None:
    found = compare(additive(), sm.SGD(0.2, 1), [], 8, ONES, replicas=4, permutations=1)
    assert found.step.values.tolist() == list(range(1, 9))


@pytest.mark.parametrize(
    ("snapshots", "steps", "expected"), [([30, 45], 60, [30, 45]), ([30], 60, [30]), (10, 64, 10)], ids=str
)
def test_snapshots_are_no_more_than_asked_for(snapshots: object, steps: int, expected: object) -> None:
    found = compare(
        additive(), sm.SGD(0.2, 1), [], steps, ONES, replicas=4, snapshots=snapshots, permutations=1  # type: ignore[arg-type]
    )  # fmt: skip
    got = found.step.values.tolist()
    assert (got if isinstance(expected, list) else len(got)) == expected
    assert isinstance(expected, list) or got[-1] == steps


@pytest.mark.parametrize(
    ("reference", "dynamics"),
    [
        (sm.SGD(0.2, 1), sm.OrnsteinUhlenbeck(0.2, 1, substeps=1)),
        (sm.SGD(0.2, 1, "epoch"), sm.EpochSDE(0.2, 1, substeps=1)),
    ],
    ids=["Ornstein-Uhlenbeck", "epoch SDE"],
)
def test_gaussian_models_share_no_batches(reference: sm.SGD, dynamics: sm.dynamics.Dynamics) -> None:
    found = compare(additive(), reference, {"it": dynamics}, 20, ONES, replicas=4, permutations=1)
    assert found.coupled.sel(dynamics="it").item() == ""


def test_equal_paths_are_coupled() -> None:
    """As independent samples they would be a permutation test on ties."""
    other = {"it": sm.SGD(0.2, 1, "with_replacement")}
    found = compare(additive(), sm.SGD(0.2, 1), other, 20, ONES, replicas=16, permutations=1)
    assert (found.strong_distance.sel(dynamics="it") == 0).all()
    assert found.coupled.sel(dynamics="it").item() != ""
    assert (found.weak_error_high.sel(dynamics="it") == 0).all()


def test_energy_and_wasserstein_distances_of_the_reference_to_itself_are_zero() -> None:
    found = compare(additive(), sm.SGD(0.2, 1), {"it": sm.SGD(0.2, 1)}, 20, ONES, replicas=16, permutations=1)
    assert (found.energy_distance == 0).all()
    assert (found.wasserstein_distance == 0).all()
