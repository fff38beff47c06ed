"""Detectors against planted truths: plateaus of AR(1) noise, catapults, windows by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats

from sgdmodels.bootstrap import autocorrelation_time
from sgdmodels.detectors import (
    catapults,
    disagreement,
    entered_at,
    eoss_window,
    log_log_slope,
    plateau,
    ratio_of_time_averages,
    slope,
    spike_ratio,
)
from sgdmodels.errors import InvalidArgument


def ar1(phi: float, replicas: int, records: int, rng: np.random.Generator) -> np.ndarray:
    """Stationary AR(1) series of unit variance, (replica, T)."""
    noise = rng.standard_normal((replicas, records + 300))
    return np.sqrt(1 - phi**2) * signal.lfilter([1], [1, -phi], noise, axis=1)[:, 300:]


def assert_covers(hits: int, trials: int, level: float) -> None:
    """Fails by chance with probability at most 1e-3 if the true coverage is within 5 points of nominal."""
    low, high = stats.binom.ppf(5e-4, trials, level - 0.05), stats.binom.ppf(1 - 5e-4, trials, level + 0.05)
    assert low <= hits <= high, hits / trials


# Windows: J1


def test_window_is_the_last_two_fifths_of_the_steps_since_entry() -> None:
    sharpness = np.full(101, 0.5)
    sharpness[50:] = 1.0
    steps = np.arange(0, 1010, 10)  # entered at 500, ends at 1000: from 800 on
    assert entered_at(steps, sharpness) == 500
    assert eoss_window(steps, sharpness) == 80
    sharpness[3] = np.nan
    assert eoss_window(steps, sharpness) == 80
    sharpness[0] = 0.91  # one record is enough: 400 of 1000 steps
    assert eoss_window(steps, sharpness) == 60


def test_window_counts_steps_and_not_records() -> None:
    steps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 200]
    assert eoss_window(steps, [1.0] * 12) == 11  # from step 120 on
    assert eoss_window(steps, [0.0] * 11 + [1.0]) == 11


@pytest.mark.parametrize("sharpness", [[0.1, 0.9, 0.5], [np.nan, np.nan, np.nan], [0.1, np.nan, 0.9]])
def test_never_entered_is_an_answer(sharpness: list[float]) -> None:
    assert entered_at([0, 1, 2], sharpness) is None
    assert eoss_window([0, 1, 2], sharpness) is None


def test_steps_must_increase_and_shapes_agree() -> None:
    with pytest.raises(InvalidArgument, match="increase"):
        entered_at([0, 2, 1], [1.0, 1.0, 1.0])
    with pytest.raises(InvalidArgument, match="scaled_batch_sharpness must have shape"):
        entered_at([0, 1, 2], [1.0, 1.0])
    with pytest.raises(InvalidArgument, match="must be finite, got inf"):
        entered_at([0, 1, 2], [1.0, 1.0, np.inf])
    with pytest.raises(InvalidArgument, match="inhomogeneous"):
        plateau([0, 1, 2], [[1.0], [1.0, 2.0]])


# Plateaus and ratios: J2, J3, J5


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(
    ("phi", "replicas", "records", "between"), [(0.9, 1, 400, 0.0), (0.8, 8, 200, 0.0), (0.8, 5, 150, 0.5)]
)
def test_plateau_interval_covers_the_true_level(
    phi: float, replicas: int, records: int, between: float, level: float
) -> None:
    """Skewed AR(1) of median one, in steps of 20; `between` is the spread of the levels of single replicas."""
    trials, hits = 80, 0
    for seed in range(trials):
        rng = np.random.default_rng([seed, 2024])
        noise = ar1(phi, replicas, records, rng) + between * rng.standard_normal((replicas, 1))
        found = plateau(np.arange(records) * 20, np.exp(0.3 * noise), level=level, draws=200, seed=seed)
        hits += found.low <= 1 <= found.high
        assert found.low <= found.value <= found.high
    assert_covers(hits, trials, level)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_ratio_interval_covers_where_the_mean_of_ratios_is_far_off(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sgdmodels.detectors.DRAWS", 200)  # for speed
    trials, hits = 80, 0
    for seed in range(trials):
        rng = np.random.default_rng([seed, 2025])
        below = ar1(0.8, 6, 200, rng) ** 2  # reaches zero, as the squared gradient does
        above = 1.5 * below + 0.1 * ar1(0.5, 6, 200, rng)
        found = ratio_of_time_averages(above, below, np.arange(200) * 20, level=level, seed=seed)
        hits += found.low <= 1.5 <= found.high
    assert_covers(hits, trials, level)


def test_plateau_value_is_the_mean_of_medians_and_drops_missing_records() -> None:
    values = np.random.default_rng(1).standard_normal((3, 50))
    values[0, ::7] = np.nan
    values[1, 30:] = np.nan  # diverged
    found = plateau(np.arange(50) * 30, values)
    assert found.value == pytest.approx(np.mean([np.median(row[~np.isnan(row)]) for row in values]), rel=1e-14)
    assert found == plateau(np.arange(50) * 30, values)
    assert found != plateau(np.arange(50) * 30, values, seed=1)


def test_existence_is_a_matter_of_drift_over_the_window() -> None:
    steps = np.arange(0, 2000, 10)
    wave = 0.3 * np.where(np.arange(200) % 2, 1.0, -1.0)
    for drift, exists in ((0.0, True), (0.04, True), (-0.06, False), (0.2, False)):
        found = plateau(steps, np.stack([1 + drift * steps / 1990 + 0.0 * wave] * 2))
        assert found.slope_times_window == pytest.approx(drift, abs=1e-12)
        assert found.exists is exists
    assert plateau(steps, np.stack([1 + wave] * 2)).exists


def test_replicas_that_stop_at_other_levels_do_not_make_a_drift() -> None:
    values = np.array([[1.0] * 100, [2.0] * 50 + [np.nan] * 50])
    found = plateau(np.arange(100), values)
    assert found.exists
    assert (found.value, found.slope_times_window) == (1.5, 0.0)


@pytest.mark.parametrize(("spacing", "block"), [(1, 100), (7, 15), (100, 1), (1000, 1)])
def test_blocks_span_a_hundred_steps(spacing: int, block: int) -> None:
    assert plateau(np.arange(400) * spacing, np.full((2, 400), 1.0)).block == max(block, 5)  # 5 times a tau of one


def test_blocks_are_at_most_a_third_of_the_series() -> None:
    assert plateau(np.arange(30), np.full((2, 30), 1.0)).block == 10
    assert plateau(np.arange(3), np.full((1, 3), 1.0)).block == 1


def test_a_replica_without_records_is_refused() -> None:
    values = np.ones((2, 20))
    values[1] = np.nan
    with pytest.raises(InvalidArgument, match="got 0 in replica 1"):
        plateau(np.arange(20), values)
    with pytest.raises(InvalidArgument, match="got 0 in replica 1"):
        ratio_of_time_averages(values, np.ones((2, 20)), np.arange(20))
    with pytest.raises(InvalidArgument, match="3 or more"):
        plateau([0, 1], np.ones((2, 2)))


def test_long_series_are_resampled_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).standard_normal((2, 60))
    whole = plateau(np.arange(60) * 50, values)
    monkeypatch.setattr("sgdmodels.bootstrap.SHARE", 100)
    assert plateau(np.arange(60) * 50, values) == whole


def test_ratio_drops_records_that_miss_either_part() -> None:
    above, below = np.array([[2.0, np.nan, 4.0, 6.0, 8.0]]), np.array([[1.0, 5.0, np.nan, 3.0, 4.0]])
    found = ratio_of_time_averages(above, below, np.arange(5))
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_ratio_is_unknown_where_the_denominator_may_be_zero() -> None:
    rng = np.random.default_rng(0)
    found = ratio_of_time_averages(rng.standard_normal((2, 60)), rng.standard_normal((2, 60)), np.arange(60) * 50)
    assert (found.low, found.high) == (-np.inf, np.inf)
    with pytest.raises(InvalidArgument, match="must not sum to zero"):
        ratio_of_time_averages(np.ones((1, 4)), np.zeros((1, 4)), np.arange(4))


@pytest.mark.parametrize("phi", [0.9, 0.5, 0.0, -0.5, -0.9])
def test_autocorrelation_time_of_ar1(phi: float) -> None:
    """(1 + phi) / (1 - phi). The band is four standard errors or wider: fails by chance with probability 1e-4."""
    values = ar1(phi, 8, 20_000, np.random.default_rng(7))
    assert autocorrelation_time(values) == pytest.approx((1 + phi) / (1 - phi), rel=0.2)


def test_autocorrelation_time_of_special_series() -> None:
    values = ar1(0.7, 2, 500, np.random.default_rng(8))
    shifted = values + np.array([[10.0], [-3.0]])  # about the mean of each replica
    assert autocorrelation_time(shifted) == pytest.approx(autocorrelation_time(values), rel=1e-9)
    assert autocorrelation_time(values[0]) == autocorrelation_time(values[:1])
    gapped = np.insert(values[0], 3, np.nan)
    assert autocorrelation_time(gapped) == autocorrelation_time(values[0])
    assert autocorrelation_time([0.1] * 10) == 1.0
    assert autocorrelation_time([3.0]) == 1.0


# Catapults: J4, B7


def spiked(steps: np.ndarray, onsets: list[int], height: float, length: int, seed: int = 0) -> np.ndarray:
    """Lognormal noise of spread 0.2, which passes 3 with probability 2e-8, and spikes that begin at `onsets`."""
    loss = np.exp(0.2 * np.random.default_rng(seed).standard_normal(len(steps)))
    for onset in onsets:
        loss[(steps >= onset) & (steps < onset + length)] *= height
    return loss


@pytest.mark.parametrize("spacing", [1, 10, 100, 500])
def test_catapults_are_found_where_they_were_planted_and_nowhere_else(spacing: int) -> None:
    """Fails by chance with probability 1e-3, from noise beyond three or a spike below three medians."""
    steps = np.arange(0, 20_000, spacing)
    onsets = [4000, 9000, 14_000]
    assert catapults(steps, spiked(steps, onsets, 12.0, 1000)) == onsets
    assert catapults(steps, spiked(steps, [], 1.0, 1)) == []


def test_what_does_not_come_back_is_no_catapult() -> None:
    steps = np.arange(0, 10_000, 10)
    step_up = np.where(steps < 3000, 1.0, 5.0)
    assert catapults(steps, step_up) == []
    assert catapults(steps, np.where(steps < 9000, 1.0, 5.0)) == []  # may come back, but that is not on record
    blown = np.where(steps < 3000, 1.0, np.nan)
    assert catapults(steps, blown) == []
    rising = np.where(steps < 3000, 1.0, np.exp((steps - 3000) / 10.0).clip(max=1e300))
    rising[rising >= 1e300] = np.inf
    assert catapults(steps, rising) == []
    beyond = np.where((steps >= 3000) & (steps < 3100), 2e6, 1.0)
    assert catapults(steps, beyond) == []
    assert catapults(steps, np.where(beyond > 1, 9e5, 1.0)) == [3000]


def test_an_event_lasts_until_it_is_back_and_the_next_one_counts_again() -> None:
    steps = np.arange(0, 6000, 10)
    loss = np.ones(600)
    loss[200:215] = [4.0, 2.0, 5.0] * 5  # below 3 but not below 1.5 in between
    loss[216:220] = 4.0
    assert catapults(steps, loss) == [2000, 2160]
    for length, expected in ((200, [2000]), (201, [])):  # the record 2000 steps later is the last that counts
        loss = np.ones(600)
        loss[200 : 200 + length] = 4.0
        assert catapults(steps, loss) == expected


def test_the_median_needs_500_steps_of_history() -> None:
    loss = np.ones(300)
    loss[[40, 60]] = 10.0
    assert catapults(np.arange(0, 3000, 10), loss) == [600]
    assert catapults([0], [1.0]) == []


@pytest.mark.parametrize("seed", range(6))
def test_catapults_equal_a_literal_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.integers(1, 120, size=400))
    loss = np.exp(0.8 * ar1(0.8, 1, 400, rng)[0])
    expected, resume = [], steps[0] + 500
    for t, now in enumerate(steps):
        before = loss[(steps >= now - 500) & (steps < now)]
        if now < resume or loss[t] <= 3 * np.median(before):
            continue
        later = [s for s, value in zip(steps, loss, strict=True) if s > now and value < 1.5 * np.median(before)]
        if later and later[0] <= now + 2000:
            expected.append(now)
            resume = later[0]
        else:
            resume = now + 2001
    assert catapults(steps, loss) == expected
    assert len(expected) > 3


def test_catapults_refuse_sparse_records_and_negative_losses() -> None:
    with pytest.raises(InvalidArgument, match="at most 500 apart, got 501"):
        catapults([0, 501], [1.0, 1.0])
    with pytest.raises(InvalidArgument, match="nonnegative, got -1"):
        catapults([0, 1], [1.0, -1.0])
    with pytest.raises(InvalidArgument, match="loss must have shape"):
        catapults([0, 1], [1.0, 1.0, 1.0])


def test_spike_ratio_needs_a_control_that_lives() -> None:
    np.testing.assert_array_equal(spike_ratio([2.0, np.inf, np.nan], [1.0, 4.0, np.nan]), [0.5, np.inf, np.inf])
    for control in ([1.0, np.nan, np.inf], [0.0], []):
        with pytest.raises(InvalidArgument, match="positive finite median"):
            spike_ratio([2.0], control)


# Slopes and disagreements: J3, J6, J8


def test_slope_is_exact_on_lines_and_blind_to_outliers() -> None:
    steps = np.array([0, 3, 10, 11, 40, 90])
    line = 0.25 * steps - 7.0
    assert slope(steps, line) == pytest.approx(0.25, rel=1e-13)
    line[1] = np.nan
    assert slope(steps, line) == pytest.approx(0.25, rel=1e-13)
    long = np.arange(3000)
    bent = 0.5 * long
    bent[::10] = 1e9
    assert slope(long, bent) == pytest.approx(0.5, rel=1e-9)
    with pytest.raises(InvalidArgument, match="got 1"):
        slope([0, 1], [1.0, np.nan])


def test_log_log_slope_covers_the_exponent_of_a_power_law() -> None:
    x = np.array([1.0, 0.5, 0.25, 0.1, 0.05])
    trials, hits = 1000, 0
    for seed in range(trials):
        found = log_log_slope(x, 3 * x**1.2 * np.exp(0.2 * np.random.default_rng(seed).standard_normal(5)), level=0.9)
        hits += found.low <= 1.2 <= found.high
    low, high = stats.binom.ppf([5e-4, 1 - 5e-4], trials, 0.9)  # exact: fails by chance with probability 1e-3
    assert low <= hits <= high
    for wrong in ([1.0, 2.0, 0.0], [1.0, 2.0, -1.0]):
        with pytest.raises(InvalidArgument, match="positive"):
            log_log_slope([1.0, 2.0, 3.0], wrong)
    with pytest.raises(InvalidArgument, match="3 points"):
        log_log_slope([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InvalidArgument, match="not all equal"):
        log_log_slope([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])


def test_disagreement_is_empty_unless_there_are_two_sides() -> None:
    assert disagreement({"a": 1.2, "b": 0.9, "c": 1.0, "d": np.nan}) == (("b",), ("a",))
    assert not disagreement({"a": 1.2, "b": 1.0, "d": np.nan})
    assert not disagreement({})
