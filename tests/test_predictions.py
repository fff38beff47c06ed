"""Predictions on planted evidence: values, verdicts and reasons for every one of them; truths from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from latex2mathml.converter import convert
from scipy import stats

import sgdmodels as sm
from sgdmodels.distances import Estimate
from sgdmodels.interventions import NUDGES
from sgdmodels.predictions import PREDICTIONS, Evidence, Finding, NoAnswer, Prediction
from sgdmodels.predictions.base import (
    DIVERGED,
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_APPLICABLE,
    NOT_ENTERED,
    VERDICTS,
    mean_interval,
)
from sgdmodels.predictions.gap_exponent import weighted_slope
from sgdmodels.predictions.gradient_growth import growth, random_batch
from sgdmodels.sampling import noise_coefficients

from .enumeration import all_batches, batch_sums, expectations

ETA = 0.1
STEPS = np.arange(0, 10_001, 50)
SAMPLES = 64
SIZES = (2, 4, 16)
BY_NAME = {prediction.name: prediction for prediction in PREDICTIONS}
DIRECTIONS = np.random.default_rng(1).standard_normal((SAMPLES, 5))
MODEL = sm.models.LeastSquares(DIRECTIONS, np.ones(SAMPLES))


def ramp(level: float, *, start: float = 0.3, until: float = 0.4, drift: float = 0.0) -> np.ndarray:
    """Rises linearly to `level` over the share `until` of the run, then moves by `drift` to the end."""
    share = STEPS / STEPS[-1]
    rising = start + (level - start) * np.minimum(share / until, 1.0)
    return rising + drift * np.maximum(share - until, 0.0) / (1 - until)


def series(level: np.ndarray, *, noise: float = 0.01, replicas: int = 4, seed: int = 0) -> np.ndarray:
    """`level` with white noise, (replica, step)."""
    return level + noise * np.random.default_rng(seed).standard_normal((replicas, len(STEPS)))


def planted(
    sharpness: np.ndarray | None = None, top: np.ndarray | None = None, *, gni: float = 1.0, loss: float = 1.0,
    gradient: float = 1.0, batch_size: int = 4, noise: float = 0.01, diverged: tuple[int, ...] = (), seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """A run whose eta BS / 2 and eta lambda_max / 2 are given. `diverged` replicas are NaN from step 500 on."""
    rng = np.random.default_rng(seed + 100)
    sharp = series(ramp(1.0) if sharpness is None else sharpness, noise=noise, seed=seed)
    lam = series(ramp(0.8) if top is None else top, noise=noise, seed=seed + 1)
    swing = 1 + 0.8 * (-1.0) ** np.arange(len(STEPS))  # of |grad|^2, about 1; the mean of 1 / swing is 2.8
    norms = gradient * np.sqrt(swing) * (1 + 0.1 * noise * rng.standard_normal(sharp.shape))
    values = {
        "loss": loss * np.ones_like(sharp),
        "gradient_norm": norms,
        "lambda_max": lam * 2 / ETA,
        "batch_sharpness": (sharp * 2 / ETA)[..., None],
        "gni": (gni / swing * (1 + noise * rng.standard_normal(sharp.shape)) * 2 / ETA)[..., None],
    }
    params = np.zeros((*sharp.shape, MODEL.dim))
    params[..., :] = rng.standard_normal(MODEL.dim)
    lost = np.full(len(sharp), np.nan)
    for r in diverged:
        lost[r] = 500.0
        for array in (*values.values(), params):
            array[r, STEPS >= 500] = np.nan
    return xr.Dataset(
        {
            **{k: (("replica", "step", "batch_size")[: v.ndim], v) for k, v in values.items()},
            "params": (("replica", "step", "parameter"), params),
            "diverged_at": ("replica", lost),
        },
        {"replica": np.arange(len(sharp)), "step": STEPS, "batch_size": [batch_size]},
    )


def edge_test(up: int = 20, down: int = 0, of: int = 20, branches: tuple[str, ...] = NUDGES) -> xr.Dataset:
    """`up` of `of` replicas spike in destabilising branches, `down` in benign ones; exact Clopper-Pearson bounds."""
    names = ["control", *branches]
    spikes = {"control": 0, "step size up": up, "batch size down": up, "step size down": down, "batch size up": down}
    counts = np.array([spikes[name] for name in names])
    ratio = np.where(np.arange(of) < counts[:, None], 10.0, 1.0)
    low, high = clopper_pearson(counts, of)
    return xr.Dataset(
        {
            "spike_ratio": (("branch", "replica"), ratio),
            "probability": ("branch", counts / of),
            "probability_low": ("branch", low),
            "probability_high": ("branch", high),
        },
        {"branch": names},
    )


def clopper_pearson(hits: np.ndarray, of: int) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds from the beta distribution."""
    hits = np.asarray(hits)
    low = np.where(hits == 0, 0.0, stats.beta.ppf(0.025, np.maximum(hits, 1), of - hits + 1))
    high = np.where(hits == of, 1.0, stats.beta.ppf(0.975, hits + 1, np.maximum(of - hits, 1)))
    return low, high


def streaks(excess: float = 0.4, peaks: int = 4, replicas: int = 2) -> xr.Dataset:
    """Losses with `peaks` lone peaks; eta s / 2 is 0.8, and `excess` more in the ten steps before each."""
    length = 100 * peaks
    loss, sharp = np.ones((replicas, length)), np.full((replicas, length), 0.8)
    loss += 1e-3 * np.random.default_rng(3).random(loss.shape)
    for at in range(50, length, 100):
        loss[:, at] = 5.0
        sharp[:, at - 10 : at] += excess
    return xr.Dataset({
        "loss": (("replica", "step"), loss), "step_sharpness": (("replica", "step"), sharp * 2 / ETA),
    })  # fmt: skip


def snapshots(sharpness: float = 1.0, mean_ratio: float = 1.0) -> xr.Dataset:
    dims = ("replica", "step", "batch_size")
    wobble = 0.01 * np.random.default_rng(4).standard_normal((4, 5, 1))
    return xr.Dataset({
        "mean_square_sharpness": (dims, (sharpness + wobble) * 2 / ETA),
        "batch_sharpness_mean_ratio": (dims, (mean_ratio - wobble) * 2 / ETA),
    })  # fmt: skip


def evidence(sharpness: Any = None, top: Any = None, sizes: tuple[int, ...] = (4,), **changes: Any) -> Evidence:
    """Evidence of SGD with the same planted run at every batch size; keywords of `planted` and of `Evidence`."""
    fields = set(Evidence.__dataclass_fields__)
    run = {k: changes.pop(k) for k in list(changes) if k not in fields}
    runs = {b: planted(sharpness, top, batch_size=b, **run) for b in sizes}
    return Evidence(**{"model": MODEL, "dynamics": sm.SGD(ETA, sizes[0]), "step_size": ETA, "runs": runs, **changes})


def complete(**changes: Any) -> Evidence:
    """Evidence on which every prediction but B9 has something to say."""
    everything = {
        "dynamics": sm.NoisyGD(ETA, SIZES[0]),
        "snapshots": {b: snapshots() for b in SIZES},
        "edge_tests": {b: edge_test() for b in SIZES},
        "streaks": {b: streaks() for b in SIZES},
        "directions": DIRECTIONS,
        "reference": evidence(sizes=SIZES),
    }
    return evidence(sizes=SIZES, **{**everything, **changes})


def find(name: str, given: Evidence, batch_size: int = 4) -> Finding:
    prediction = BY_NAME[name]
    return prediction.find(given, batch_size if prediction.per_batch_size else None)


# What a prediction is


def test_names_are_unique_and_texts_complete() -> None:
    assert len(BY_NAME) == len(PREDICTIONS) == 20
    for prediction in PREDICTIONS:
        for text in ("name", "title", "statement", "formula", "reference", "applies", "quantity"):
            value = getattr(prediction, text)
            assert isinstance(value, str)
            assert value.strip() == value != "", (prediction.name, text)
        assert prediction.statement.endswith(".")
        assert prediction.band[0] < prediction.band[1]
        assert prediction.same_within > 0


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_formulas_convert_to_mathml(prediction: Prediction) -> None:
    mathml = convert(prediction.formula)
    assert mathml.startswith("<math")
    assert "\\" not in mathml  # an unknown command would be copied


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.05, HOLDS), (0.9, 1.1, HOLDS), (1.0, 1.0, HOLDS),
        (0.5, 0.89, FAILS), (1.11, 1.2, FAILS), (0.5, 0.5, FAILS),
        (0.85, 0.95, INCONCLUSIVE), (1.05, 1.2, INCONCLUSIVE), (0.5, 1.5, INCONCLUSIVE), (0.5, 0.9, INCONCLUSIVE),
        (-np.inf, np.inf, INCONCLUSIVE),
    ],
)  # fmt: skip
def test_verdict_is_about_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert BY_NAME["B1"].verdict(Estimate((low + high) / 2 if np.isfinite(low) else 1.0, low, high)) == verdict


def test_verdict_of_nothing_is_inconclusive_and_half_open_bands_hold() -> None:
    assert BY_NAME["B1"].verdict(Estimate(np.nan, np.nan, np.nan)) == INCONCLUSIVE
    assert BY_NAME["B10"].verdict(Estimate(3.0, 0.0, np.inf)) == HOLDS
    assert BY_NAME["B3"].verdict(Estimate(-9.0, -np.inf, 0.0)) == HOLDS


def test_mean_interval_is_the_t_interval_of_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=7)
    expected = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert mean_interval([2.0], exact=True) == Estimate(2.0, 2.0, 2.0)  # a deterministic dynamics
    assert mean_interval([2.0]) == Estimate(2.0, -np.inf, np.inf)  # nothing is known of the spread


# Verdicts without an answer, for every prediction

MOMENTUM_TOO = {"B2 (order)", "B9"}


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_complete_evidence_has_an_answer(prediction: Prediction) -> None:
    given = complete()
    if prediction.name == "B9":
        given = replace(given, dynamics=sm.SGD(ETA, 4, momentum=0.5))
    if prediction.name == "B2 (full batch)":
        given = evidence(sizes=(SAMPLES,))
    found = find(prediction.name, given, min(given.runs) if prediction.name == "B2 (full batch)" else 4)
    assert found.verdict in (HOLDS, FAILS) or prediction.name == "B2 (order)"  # equal levels: may go either way
    assert found.low <= found.value <= found.high
    assert found.reason == ""


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_claims_about_plain_steps_do_not_apply_with_momentum(prediction: Prediction) -> None:
    found = find(prediction.name, replace(complete(), dynamics=sm.SGD(ETA, 4, momentum=0.9)))
    if prediction.name in MOMENTUM_TOO:
        assert found.verdict != NOT_APPLICABLE
    else:
        assert (found.verdict, found.reason) == (NOT_APPLICABLE, "with momentum the levels are those of B9")
        assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_all_diverged_is_an_answer(prediction: Prediction) -> None:
    given = complete(diverged=(0, 1, 2, 3), streaks={}, edge_tests={}, snapshots={})  # as runs that diverged leave it
    if prediction.name == "B9":
        given = replace(given, dynamics=sm.SGD(ETA, 4, momentum=0.5))
    if prediction.name == "B2 (full batch)":
        given = replace(given, model=sm.models.LeastSquares(DIRECTIONS[:4], np.ones(4)))
    found = find(prediction.name, given)
    assert (found.verdict, found.reason) == (DIVERGED, "all 4 replicas diverged, the first at step 500")


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_most_diverged_is_an_answer(prediction: Prediction) -> None:
    if prediction.name not in ("B9", "B2 (full batch)"):
        found = find(prediction.name, complete(diverged=(0, 1, 3)))
        assert (found.verdict, found.reason) == (DIVERGED, "3 of 4 replicas diverged, the first at step 500")


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_part_diverged_is_judged_by_the_survivors(prediction: Prediction) -> None:
    given = complete(diverged=(1,))
    without = replace(complete(), runs={b: run.isel(replica=[0, 2, 3]) for b, run in complete().runs.items()})
    found, alone = find(prediction.name, given), find(prediction.name, without)
    told = "1 of 4 replicas diverged"
    if not prediction.per_batch_size:
        told = "; ".join(f"b = {b}: {told}" for b in SIZES)
    if found.verdict != NOT_APPLICABLE:
        assert found.reason == f"{alone.reason}; {told}".removeprefix("; ")
    assert repr(replace(found, reason="")) == repr(replace(alone, reason=""))  # NaN equals NaN in words


def test_half_diverged_is_judged_by_the_survivors() -> None:
    found = find("B1", evidence(diverged=(1, 2)))
    assert (found.verdict, found.reason) == (HOLDS, "2 of 4 replicas diverged")


def test_one_survivor_of_two_knows_no_spread() -> None:
    """Where intervals are those of means of replicas; plateaus of one replica have their block bootstrap."""
    run = planted(diverged=(1,)).isel(replica=[0, 1])
    given = evidence(runs={4: run}, snapshots={4: snapshots().isel(replica=[0])}, streaks={4: streaks()})
    for name in ("MS1", "B1 (mean of ratios)", "B3", "B12"):
        found = find(name, given)
        assert (found.low, found.high, found.verdict) == (-np.inf, np.inf, INCONCLUSIVE)
    for name in ("B1", "B2", "B6"):
        assert find(name, given).low < find(name, given).high


ENTRY_NEEDED = {
    "B1", "B1 (mean of ratios)", "B2", "B3", "B4", "B4 (below edge)", "B5 (up)", "B5 (down)", "B10", "B12",
    "MS1", "MS2", "MS3",
}  # fmt: skip


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: p.name)
def test_never_entering_is_an_answer(prediction: Prediction) -> None:
    found = find(prediction.name, complete(sharpness=ramp(0.6)))
    if prediction.name in ENTRY_NEEDED:
        assert found.verdict == NOT_ENTERED
        assert found.reason.startswith("Batch Sharpness stayed below 0.9 (2/eta), at most 0.6")
    else:
        assert found.verdict not in (NOT_ENTERED, DIVERGED)


def test_entering_at_the_end_leaves_no_window() -> None:
    late = np.where(STEPS[-1] - STEPS < 500, 1.0, 0.5)
    found = find("B1", evidence(late))
    assert found.verdict == NOT_ENTERED
    assert "too late" in found.reason


@pytest.mark.parametrize(
    ("name", "metric"),
    [("B1", "batch_sharpness"), ("B2", "lambda_max"), ("B3", "lambda_max"), ("B6", "gni"), ("B6", "gradient_norm"),
     ("B12", "gradient_norm"), ("B12", "loss"), ("MS2", "lambda_max"), ("B2 (order)", "lambda_max"),
     ("B8", "lambda_max"), ("MS3", "batch_sharpness"), ("B4", "lambda_max")],
)  # fmt: skip
def test_missing_metrics_are_named(name: str, metric: str) -> None:
    given = complete()
    found = find(name, replace(given, runs={b: run.drop_vars(metric) for b, run in given.runs.items()}))
    assert (found.verdict, found.reason) == (NOT_APPLICABLE, f"{metric} was not measured")


def test_one_batch_size_has_no_order_and_no_exponent() -> None:
    for name, reason in (("B2 (order)", "two batch sizes"), ("B4", "three batch sizes below n")):
        found = find(name, evidence())
        assert found.verdict == NOT_APPLICABLE
        assert reason in found.reason


def test_dynamics_without_a_batch_size_have_no_order() -> None:
    found = find("B2 (order)", evidence(sizes=SIZES, dynamics=sm.GD(ETA)))
    assert (found.verdict, found.reason) == (NOT_APPLICABLE, "the dynamics has no batch size")


def test_the_full_batch_is_left_out() -> None:
    given = evidence(sizes=(SAMPLES,), streaks={SAMPLES: streaks()})
    assert find("B2", given, SAMPLES).reason == "the full batch is held at 2/eta, not below it"
    assert find("B11", given, SAMPLES).verdict == NOT_APPLICABLE
    four = evidence(sizes=(*SIZES, SAMPLES))
    assert find("B4", four) == find("B4", evidence(sizes=SIZES))


@pytest.mark.parametrize(("top", "verdict"), [(1.0, HOLDS), (1.05, HOLDS), (0.9, FAILS), (1.2, FAILS)])
def test_the_full_batch_sits_at_the_edge(top: float, verdict: str) -> None:
    given = evidence(None, ramp(top), sizes=(4, SAMPLES))
    assert find("B2 (full batch)", given, SAMPLES).verdict == verdict
    assert find("B2 (full batch)", given, 4).verdict == NOT_APPLICABLE


@pytest.mark.parametrize(("name", "size"), [("B2", 4), ("B2 (full batch)", SAMPLES), ("MS2", 4), ("MS3", 4)])
def test_levels_that_drift_are_no_levels(name: str, size: int) -> None:
    given = evidence(ramp(1.0, drift=0.4), ramp(0.7, drift=-0.4), sizes=(size,), directions=DIRECTIONS)
    found = find(name, given, size)
    assert found.verdict == INCONCLUSIVE
    assert found.reason.startswith("no plateau: " + ("batch_sharpness" if name == "MS3" else "lambda_max"))


def test_what_was_not_made_does_not_apply() -> None:
    given = evidence()
    for name, reason in (
        ("B1 (mean of ratios)", "batch_sharpness_mean_ratio was not measured"), ("B11", "weighted batch"),
        ("MS1", "mean_square_sharpness was not measured"), ("MS2", "no closed form"), ("MS3", "no closed form"),
        ("B5 (up)", "no edge test"), ("B5 (down)", "no edge test"), ("B7", "no edge test"),
        ("B8", "injected noise"), ("B9", "no momentum"),
    ):  # fmt: skip
        found = find(name, given)
        assert found.verdict == NOT_APPLICABLE
        assert reason in found.reason
    assert find("B10", evidence(), 4).verdict in (HOLDS, FAILS)
    bare = evidence()
    bare = replace(bare, runs={4: bare.runs[4].drop_vars("params")})
    assert find("B10", bare).reason == "the run kept no parameters"


def test_vanished_gradients_are_inconclusive_and_not_an_error() -> None:
    """Where gradients vanish for good, Batch Sharpness and GNI are NaN: gradient descent that has converged."""
    run = planted()
    known = STEPS < 5000
    for name in ("batch_sharpness", "gni"):
        run[name] = run[name].where(xr.DataArray(known, dims="step"))
    run["gradient_norm"] = run.gradient_norm.where(xr.DataArray(known, dims="step"), 0.0)
    given = evidence(runs={4: run})
    assert find("B1", given).verdict == INCONCLUSIVE
    assert find("B6", given).reason == "the mean gradient vanishes"
    nothing = run.assign(batch_sharpness=run.batch_sharpness * np.nan)
    assert find("B1", evidence(runs={4: nothing})).verdict == NOT_ENTERED


# Values and verdicts, one prediction after the other


@pytest.mark.parametrize(("level", "verdict"), [(1.0, HOLDS), (0.95, HOLDS), (1.3, FAILS), (1.1, INCONCLUSIVE)])
def test_b1_reads_the_level(level: float, verdict: str) -> None:
    found = find("B1", evidence(ramp(level), noise=0.05))
    assert found.verdict == verdict
    assert found.value == pytest.approx(level, abs=0.02)  # 4 replicas x 48 records of noise 0.05: 5 standard errors


@pytest.mark.parametrize("drift", [0.5, -0.3])
def test_b1_needs_a_plateau(drift: float) -> None:
    found = find("B1", evidence(ramp(1.0, drift=drift)))
    assert found.verdict == INCONCLUSIVE
    assert found.reason.startswith(f"no plateau: batch_sharpness eta/2 moves by {np.sign(drift):+.0f}"[:-1])


def test_b1_of_one_replica_and_of_a_small_drift() -> None:
    given = evidence(ramp(1.0, drift=0.03))  # 0.02 in the window
    assert find("B1", given).verdict == HOLDS
    alone = replace(given, runs={4: given.runs[4].isel(replica=[0])}, dynamics=sm.GD(ETA))
    assert find("B1", alone).verdict == HOLDS


@pytest.mark.parametrize(("level", "verdict"), [(1.0, HOLDS), (1.2, FAILS), (0.5, FAILS), (1.1, INCONCLUSIVE)])
def test_b1_mean_of_ratios_reads_snapshots(level: float, verdict: str) -> None:
    found = find("B1 (mean of ratios)", evidence(snapshots={4: snapshots(mean_ratio=level)}))
    assert found.verdict == verdict
    assert found.value == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(("level", "verdict"), [(1.0, HOLDS), (1.2, FAILS), (0.5, FAILS), (1.05, INCONCLUSIVE)])
def test_ms1_reads_snapshots(level: float, verdict: str) -> None:
    found = find("MS1", evidence(snapshots={4: snapshots(sharpness=level)}))
    assert found.verdict == verdict
    assert found.value == pytest.approx(level, abs=0.01)


def test_few_snapshots_are_inconclusive() -> None:
    dear = snapshots()
    few = (xr.DataArray(np.arange(5), dims="step") < 2) | (xr.DataArray(np.arange(4), dims="replica") > 0)
    dear["mean_square_sharpness"] = dear.mean_square_sharpness.where(few)
    found = find("MS1", evidence(snapshots={4: dear}))
    assert found.verdict == INCONCLUSIVE
    assert found.reason == "mean_square_sharpness is finite at fewer than 3 snapshots of a replica"


def test_snapshots_of_one_replica_are_not_independent() -> None:
    """Replicas that wander as slowly as the window is long: 95 % of t-intervals of their means cover the truth, 0, and
    far fewer of those of all snapshots. 400 sets: a share below 0.9 has a chance of 1e-5."""
    rng, hits, given = np.random.default_rng(7), 0, evidence()
    for _ in range(400):
        values = rng.standard_normal((4, 1, 1)) + 0.3 * rng.standard_normal((4, 5, 1))
        dear = xr.Dataset({"mean_square_sharpness": (("replica", "step", "batch_size"), values)})
        level = replace(given, snapshots={4: dear}).snapshot_level(4, "mean_square_sharpness")
        hits += level.low <= 0 <= level.high
    assert hits / 400 > 0.9


def test_snapshots_of_a_deterministic_dynamics_are_exact() -> None:
    alone = snapshots().isel(replica=[0])
    found = find("MS1", evidence(dynamics=sm.GD(ETA), snapshots={4: alone}))
    assert found.low == found.value == found.high == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("top", "verdict"), [(0.7, HOLDS), (1.02, FAILS), (0.98, INCONCLUSIVE)])
def test_b2_reads_lambda_max(top: float, verdict: str) -> None:
    found = find("B2", evidence(None, ramp(top), noise=0.03))
    assert found.verdict == verdict
    assert found.value == pytest.approx(top, abs=0.015)


def test_b2_order_is_decided_by_the_least_rise() -> None:
    def given(*tops: float) -> Evidence:
        runs = {b: planted(None, ramp(top), batch_size=b) for b, top in zip(SIZES, tops, strict=True)}
        return evidence(runs=runs)

    up, down = find("B2 (order)", given(0.5, 0.7, 0.8)), find("B2 (order)", given(0.5, 0.8, 0.7))
    assert (up.verdict, down.verdict) == (HOLDS, FAILS)
    assert (up.value, down.value) == pytest.approx((0.1, -0.1), abs=0.01)
    assert find("B2 (order)", replace(given(0.5, 0.7, 0.8), dynamics=sm.SGD(ETA, 2, momentum=0.5))) == up


def test_b3_compares_slopes() -> None:
    rises = 0.5 / (0.4 * STEPS[-1])  # of lambda_max before
    for drift, verdict in ((0.0, HOLDS), (0.75, FAILS), (-0.3, HOLDS)):
        found = find("B3", evidence(None, ramp(0.8, drift=drift)))
        assert found.verdict == verdict
        assert found.value == pytest.approx(drift / (0.6 * STEPS[-1]) / rises, abs=0.03)


def test_b3_needs_a_rise_and_a_crossing() -> None:
    flat = find("B3", evidence(None, ramp(0.8, start=1.2)))
    assert (flat.verdict, "does not rise" in flat.reason) == (INCONCLUSIVE, True)
    at_once = find("B3", evidence(np.ones(len(STEPS))))
    assert (at_once.verdict, "too early" in at_once.reason) == (INCONCLUSIVE, True)


@pytest.mark.parametrize(("power", "verdict"), [(1.0, HOLDS), (2.0, FAILS), (0.5, FAILS)])
def test_b4_is_the_exponent_of_c2(power: float, verdict: str) -> None:
    sizes = (1, 2, 4, 8, 16, 32)
    gaps = [0.8 * noise_coefficients(SAMPLES, b, "without_replacement").c2 ** power for b in sizes]
    runs = {b: planted(None, ramp(1.0 - g), batch_size=b, noise=1e-6) for b, g in zip(sizes, gaps, strict=True)}
    found = find("B4", evidence(runs=runs))
    assert found.verdict == verdict
    assert found.value == pytest.approx(power, abs=1e-3)
    below = find("B4 (below edge)", evidence(runs=runs))  # Batch Sharpness sits at 2/eta: both gaps are one
    assert (below.verdict, below.value) == (verdict, pytest.approx(power, abs=1e-3))


def test_b4_of_three_batch_sizes_has_a_usable_interval() -> None:
    """It covers in 95 % of noises; 20 sets, at most 4 of which miss by a chance of 0.3 %."""
    c2 = [noise_coefficients(SAMPLES, b, "without_replacement").c2 for b in SIZES]
    misses = {"B4": 0, "B4 (below edge)": 0}
    for seed in range(20):
        runs = {
            b: planted(None, ramp(1.0 - 0.8 * c), batch_size=b, noise=0.03, seed=10 * seed + 1000 * b)
            for b, c in zip(SIZES, c2, strict=True)
        }
        for name in misses:
            found = find(name, evidence(runs=runs))
            assert found.high - found.low < 0.6
            misses[name] += not found.low <= 1 <= found.high
    assert max(misses.values()) <= 4


def test_weighted_slope_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    x, error = np.array([0.0, 1.0, 3.0, 4.0]), np.array([0.1, 0.3, 0.1, 0.2])
    y = 2 * x + 0.3 * rng.standard_normal(4)
    (slope, _), covariance = np.polyfit(x, y, 1, w=1 / error, cov="unscaled")
    misfit = np.sum(((y - np.polyval(np.polyfit(x, y, 1, w=1 / error), x)) / error) ** 2) / 2
    found = weighted_slope(x, y, error)
    assert found.value == pytest.approx(slope)
    assert found.high - slope == pytest.approx(1.959964 * np.sqrt(covariance[0, 0] * max(1, misfit)))


def test_b4_without_a_gap_is_inconclusive() -> None:
    found = find("B4", evidence(None, ramp(1.1), sizes=SIZES))
    assert found.verdict == INCONCLUSIVE
    assert found.reason.startswith("the gap is -0.")


@pytest.mark.parametrize("spikes", [0, 3, 10, 17, 20])
def test_b5_has_clopper_pearson_intervals(spikes: int) -> None:
    given = evidence(edge_tests={4: edge_test(up=spikes, down=spikes)})
    low, high = clopper_pearson(np.array(spikes), 20)
    for name in ("B5 (up)", "B5 (down)"):
        found = find(name, given)
        assert (found.value, found.low, found.high) == pytest.approx((spikes / 20, float(low), float(high)), abs=1e-12)
    up, down = find("B5 (up)", given).verdict, find("B5 (down)", given).verdict
    assert (up, down) == {0: (FAILS, HOLDS), 3: (FAILS, HOLDS), 10: (INCONCLUSIVE, INCONCLUSIVE)}.get(
        spikes, (HOLDS, FAILS)
    )


def test_b5_is_decided_by_the_worst_branch() -> None:
    mixed = edge_test(up=0, down=0)
    mixed["probability"].loc[{"branch": ["batch size down", "step size down"]}] = 0.8
    given = evidence(edge_tests={4: mixed})
    assert find("B5 (up)", given).value == find("B5 (down)", given).value == 0.8


@pytest.mark.parametrize(
    ("sharpness", "spikes", "value"), [(1.0, 20, 1.0), (1.0, 2, 0.1), (0.5, 0, 1.0), (0.5, 20, 0.0), (0.5, 5, 0.75)]
)
def test_b7_asks_whether_batch_sharpness_knows(sharpness: float, spikes: int, value: float) -> None:
    found = find("B7", evidence(ramp(sharpness), edge_tests={4: edge_test(up=spikes)}))
    low, high = clopper_pearson(np.array(round(20 * value)), 20)
    assert (found.value, found.low, found.high) == pytest.approx((value, float(low), float(high)), abs=1e-12)
    assert found.verdict == (HOLDS if low >= 0.5 else FAILS)


def test_b7_of_one_deterministic_run_is_exact() -> None:
    alone = edge_test(up=1, of=1, branches=("step size up", "step size down"))
    given = evidence(edge_tests={4: alone}, dynamics=sm.GD(ETA))
    assert find("B7", given) == Finding(1.0, 1.0, 1.0, HOLDS)


def test_edge_tests_without_knobs_or_control() -> None:
    """At b = 1 no batch is smaller; where the control diverged nothing can be said."""
    given = evidence(edge_tests={4: edge_test(branches=("step size down", "batch size up"))})
    assert find("B5 (up)", given).reason == "the dynamics has neither of step size up, batch size down"
    assert find("B7", given).verdict == NOT_APPLICABLE
    assert find("B5 (down)", given).verdict == HOLDS
    only = evidence(edge_tests={4: edge_test(branches=("batch size down",))})
    assert find("B5 (down)", only).verdict == NOT_APPLICABLE
    lost = edge_test()
    lost["probability"][:] = np.nan
    for name in ("B5 (up)", "B5 (down)", "B7"):
        found = find(name, evidence(edge_tests={4: lost}))
        assert (found.verdict, found.reason) == (DIVERGED, "most replicas of the control diverged")


def test_b5_compares_with_a_control_that_spikes_by_itself() -> None:
    def given(control: int, up: int, **attrs: Any) -> Evidence:
        test = edge_test(up=up)
        low, high = clopper_pearson(np.array(control), 20)
        for name, value in (("probability", control / 20), ("probability_low", low), ("probability_high", high)):
            test[name].loc[{"branch": "control"}] = value
        return evidence(edge_tests={4: test.assign_attrs(attrs)})

    assert find("B5 (up)", given(2, 20)).verdict == HOLDS
    for control, up in ((9, 16), (10, 20), (10, 2)):
        found = find("B5 (up)", given(control, up))
        assert found.verdict == INCONCLUSIVE
        assert found.reason == f"the control spikes by itself, with probability {control / 20:.2g}"
    assert find("B5 (up)", given(2, 2)).verdict == FAILS
    for reason, verdict in (
        ("most replicas of the control diverged", DIVERGED), ("the loss of the control is zero", INCONCLUSIVE),
    ):  # fmt: skip
        for name in ("B5 (up)", "B5 (down)", "B7"):
            found = find(name, given(0, 20, no_answer=reason))
            assert (found.verdict, found.reason) == (verdict, reason)
    assert find("B7", given(0, 20, no_answer="", kappa=20.0)).value == 0.0  # the planted ratio is 10


@pytest.mark.parametrize(("gni", "verdict"), [(1.0, HOLDS), (0.8, FAILS), (1.2, FAILS), (1.05, INCONCLUSIVE)])
def test_b6_is_a_ratio_of_time_averages(gni: float, verdict: str) -> None:
    """The planted numerator is constant while |grad|^2 swings: the mean of the ratios would be 2.8 times too large."""
    given = evidence(gni=gni)
    found = find("B6", given)
    assert found.verdict == verdict
    assert given.scaled(4, "gni").mean() > 2.7 * gni
    assert found.value == pytest.approx(gni, rel=0.01)


@pytest.mark.parametrize(("fall", "stationary"), [(-0.2, False), (0.2, False), (0.02, True)])
@pytest.mark.parametrize("level", [1.0, -500.0])
def test_b6_needs_a_loss_that_no_longer_falls(fall: float, stationary: bool, level: float) -> None:
    """The loss moves by a share of eta sum |grad|^2, which is eta T here; its level, and sign, do not matter."""
    given = evidence(gni=1.0)
    run = given.runs[4]
    noise = 0.1 * np.random.default_rng(8).standard_normal(run.loss.shape)
    given = replace(given, runs={4: run.assign(loss=run.loss * 0 + level + fall * ETA * STEPS + noise)})
    found = find("B6", given)
    assert found.verdict == (HOLDS if stationary else INCONCLUSIVE)
    assert stationary or found.reason.startswith(f"not stationary: the loss moves by {np.sign(fall):+.0f}"[:-1])


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, FAILS), (1.3, HOLDS), (0.7, HOLDS), (1.1, INCONCLUSIVE)])
def test_b8_is_the_distance_from_sgd(ratio: float, verdict: str) -> None:
    given = evidence(None, ramp(0.6 * ratio), dynamics=sm.SDE(ETA, 4), reference=evidence(None, ramp(0.6), seed=9))
    found = find("B8", given)
    assert found.verdict == verdict
    assert found.value == pytest.approx(abs(ratio - 1), abs=0.01)


def test_b8_without_a_level_of_the_reference_does_not_blame_the_model() -> None:
    given = evidence(dynamics=sm.NoisyGD(ETA, 4), reference=evidence(diverged=(0, 1, 2, 3)))
    found = find("B8", given)
    assert (found.verdict, "the reference has no level: all 4" in found.reason) == (NOT_APPLICABLE, True)
    for dynamics in (sm.GD(ETA), sm.SVAG(ETA, 4, ell=2), sm.SGD(ETA, 4)):
        assert find("B8", evidence(dynamics=dynamics, reference=evidence())).verdict == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("size", "nesterov", "expected"),
    [(4, False, 0.5), (6, False, 0.5), (32, False, 1.5), (64, False, 1.5), (64, True, 0.75)],
)
def test_b9_levels(size: int, nesterov: bool, expected: float) -> None:
    dynamics = sm.SGD(ETA, size, momentum=0.5, nesterov=nesterov)
    at = find("B9", evidence(ramp(expected), sizes=(size,), dynamics=dynamics), size)
    off = find("B9", evidence(ramp(1.2 * expected), sizes=(size,), dynamics=dynamics), size)
    assert (at.verdict, off.verdict) == (HOLDS, FAILS)
    assert (at.value, off.value) == pytest.approx((1.0, 1.2), abs=0.02)


def test_b9_says_nothing_in_between() -> None:
    found = find("B9", evidence(sizes=(16,), dynamics=sm.SGD(ETA, 16, momentum=0.5)), 16)
    assert (found.verdict, found.reason.startswith("b/n = 0.25")) == (NOT_APPLICABLE, True)


@pytest.mark.parametrize(("excess", "verdict"), [(0.4, HOLDS), (-0.4, FAILS)])
def test_b11_reads_the_steps_before_peaks(excess: float, verdict: str) -> None:
    found = find("B11", evidence(streaks={4: streaks(excess)}))
    assert found.verdict == verdict
    assert found.value == pytest.approx(0.9 * excess, rel=1e-9)  # less the mean, which contains it


def test_b11_needs_peaks_and_skips_what_diverged() -> None:
    few = find("B11", evidence(streaks={4: streaks(peaks=1, replicas=2)}))
    assert (few.verdict, few.reason) == (INCONCLUSIVE, "2 peaks of the loss are too few")
    part = streaks(replicas=3)
    part["loss"][2, 50:] = np.nan
    assert find("B11", evidence(streaks={4: part})).value == find("B11", evidence(streaks={4: streaks()})).value


@pytest.mark.parametrize(("gradient", "verdict"), [(1.0, HOLDS), (0.01, FAILS)])
def test_b12_is_the_fall_over_a_thousand_steps(gradient: float, verdict: str) -> None:
    given = evidence(gradient=gradient, loss=2.0)
    found = find("B12", given)
    middle = np.median(given.scaled(4, "batch_sharpness"), axis=0)
    at = int(np.argmax(middle > 0.9))
    expected = (1000 * ETA * given.runs[4].gradient_norm.values[:, at] ** 2 / 2.0).mean()
    assert found.value == pytest.approx(expected)
    assert found.verdict == verdict
    assert find("B12", evidence(gradient=gradient, loss=-2.0)).value == pytest.approx(expected)
    assert find("B12", evidence(loss=0.0)).reason == "the loss is zero at entry"


def test_ms2_and_ms3_divide_by_the_closed_forms() -> None:
    for b in SIZES:
        edge = sm.theory.edge_sharpness(DIRECTIONS, b)
        factor = sm.theory.batch_sharpness_factor(DIRECTIONS, b)
        assert 0.3 < edge < 1 < factor
        given = evidence(ramp(factor), ramp(edge), sizes=(b,), directions=DIRECTIONS)
        for name in ("MS2", "MS3"):
            found = find(name, given, b)
            assert found.verdict == HOLDS
            assert found.value == pytest.approx(1.0, abs=0.01)
        off = evidence(ramp(1.3 * factor), ramp(1.3 * edge), sizes=(b,), directions=DIRECTIONS)
        assert [find(name, off, b).verdict for name in ("MS2", "MS3")] == [FAILS, FAILS]
        other = replace(given, sampling="with_replacement")
        edge_of_other = sm.theory.edge_sharpness(DIRECTIONS, b, "with_replacement")
        assert find("MS2", other, b).value == pytest.approx(edge / edge_of_other, abs=0.01)


# Truths from elsewhere


def quadratic(seed: int, samples: int = 6, features: int = 3) -> sm.models.Quadratics:
    """Positive definite quadratics of different centres."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((samples, features, features))
    return sm.models.Quadratics(a @ a.transpose(0, 2, 1), rng.standard_normal((samples, features)))


@pytest.mark.parametrize(("share", "size"), [(0.2, 1), (0.8, 1), (0.5, 2)])
def test_gni_is_two_over_eta_on_any_stationary_quadratic(share: float, size: int) -> None:
    """B6 is an identity there, far from the edge and near it. Fixed seed; the 95 % interval, widened by 0.02, misses in
    less than 1 % of seeds."""
    model = quadratic(0)
    eta = share * sm.theory.max_step_size(model.hessians, size)
    run = sm.simulate(
        model, sm.SGD(eta, size), 40_000, np.zeros(3), replicas=8, record_every=20, seed=5,
        metrics=("loss", "gradient_norm", "gni"), progress=False,
    )  # fmt: skip
    found = find("B6", Evidence(model, sm.SGD(eta, size), eta, {size: run}), size)
    assert found.value == pytest.approx(1.0, abs=0.05)
    assert found.low - 0.02 < 1 < found.high + 0.02


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement", "bernoulli"])
def test_theorem_1_by_enumeration(sampling: str) -> None:
    """Growth of same-batch gradients is at least (1 - eta BS)^2 on quadratics of any sign, whatever eta.

    `growth`, which draws 200 batches, agrees within 5 standard errors (fixed seeds; a chance of about 1e-5 in all).
    """
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((5, 3, 3))
        model = sm.models.Quadratics(a + a.transpose(0, 2, 1), rng.standard_normal((5, 3)))
        theta = rng.standard_normal(3)
        g, h = model.sample_gradients(theta), model.sample_hessians(theta)
        for b in (1, 2, 5):
            batches = all_batches(5, b, sampling)
            p = np.array([probability for _, probability in batches])
            gb, hb = batch_sums(g, b, batches), batch_sums(h, b, batches)
            sharpness = expectations(g, h, b, sampling)["batch_sharpness"]
            for eta in (0.1, 1.0):
                later = gb - eta * np.einsum("kij,kj->ki", hb, gb)
                before, after = (gb**2).sum(axis=1), (later**2).sum(axis=1)
                exact = p @ after / (p @ before)
                assert exact >= (1 - eta * sharpness) ** 2 - 1e-12 * exact
                spread = np.sqrt(p @ (after - exact * before) ** 2 / 200) / (p @ before)
                drawn, curvature = growth(model, theta, eta, b, sampling, np.random.default_rng(seed))
                assert drawn >= (1 - eta * curvature) ** 2 - 1e-9 * drawn  # also of the batches drawn
                if b == 5 and sampling == "without_replacement":
                    assert curvature == pytest.approx(sharpness, rel=1e-9)
                assert abs(drawn - exact) <= 5 * spread + 1e-9 * exact


@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement", "bernoulli", "epoch"])
def test_random_batches_have_the_mean_and_noise_of_their_scheme(sampling: str) -> None:
    """Mean and variance of the batch mean of numbers, 4000 draws: 5 standard errors, a chance of 1e-5 in all."""
    values, rng = np.random.default_rng(0).standard_normal(8) + 1.0, np.random.default_rng(1)
    means = np.array([values[random_batch(8, 3, sampling, rng)].sum() / 3 for _ in range(4000)])
    noise = noise_coefficients(8, 3, sampling)
    variance = noise.c2 * (np.mean(values**2) if noise.raw else values.var())
    assert means.mean() == pytest.approx(values.mean(), abs=5 * np.sqrt(variance / 4000))
    assert means.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / 4000) * 1.5)


@pytest.mark.parametrize(("seed", "size"), [(3, 2), (4, 1), (4, 12)])
def test_b10_holds_on_a_simulated_quadratic(seed: int, size: int) -> None:
    """Near the edge growth exceeds its bound by more than Monte Carlo noise (fixed seeds); at b = n there is none."""
    model = quadratic(seed, samples=12)
    eta = 0.98 * sm.theory.max_step_size(model.hessians, size)
    run = sm.simulate(
        model, sm.SGD(eta, size), 300, np.ones(3), replicas=2, record_every=3, seed=1, keep_params=True,
        metrics=("batch_sharpness",), progress=False,
    )  # fmt: skip
    found = find("B10", Evidence(model, sm.SGD(eta, size), eta, {size: run}), size)
    assert found.verdict == HOLDS


@pytest.mark.parametrize("seed", range(3))
def test_b10_is_never_negative_on_quadratics(seed: int) -> None:
    """One sample at a time, of indefinite curvature, at random points: sharing the batches drawn suffices."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((50, 5, 5))
    model = sm.models.Quadratics(a + a.transpose(0, 2, 1), rng.standard_normal((50, 5)))
    run = planted()
    given = evidence(model=model, runs={1: run.assign_coords(batch_size=[1])})
    given = replace(given, runs={1: given.runs[1].assign(params=run.params + rng.standard_normal(run.params.shape))})
    found = find("B10", given, 1)
    assert found.verdict == HOLDS
    assert 0 <= found.low == found.value <= found.high


def test_b10_says_nothing_where_gradients_vanish() -> None:
    given = evidence(model=sm.models.LeastSquares(DIRECTIONS, np.zeros(SAMPLES)))
    still = given.runs[4].assign(params=given.runs[4].params * 0.0)
    found = find("B10", replace(given, runs={4: still}))
    assert (found.verdict, found.reason) == (INCONCLUSIVE, "the gradients vanish")


def test_levels_are_kept_but_not_shared_between_runs() -> None:
    """`dataclasses.replace` must not carry the levels of one set of runs over to another."""
    given = evidence()
    before = given.late_level(4, "batch_sharpness")
    assert given.late_level(4, "batch_sharpness") is before
    other = replace(given, runs={4: planted(ramp(2.0))})
    assert other.late_level(4, "batch_sharpness").value == pytest.approx(2.0, abs=0.02)


def test_no_answer_carries_verdict_and_reason() -> None:
    problem = NoAnswer(DIVERGED, "why")
    assert (problem.verdict, problem.reason, str(problem)) == (DIVERGED, "why", "why")
    assert len(set(VERDICTS)) == 6
