"""Monte Carlo estimates of Batch Sharpness and their intervals, against all batches and their own coverage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.estimators.batch_estimates import (
    DEFINITIONS,
    MEAN_OF_RATIOS,
    RATIO_OF_MEANS,
    batch_sharpness,
    parts,
)
from sgdmodels.networks.estimators.batch_units import BatchUnits
from sgdmodels.networks.estimators.intervals import mean_interval, ratio_estimate, ratio_interval
from sgdmodels.networks.estimators.moment_ratios import moment_ratios
from sgdmodels.networks.estimators.sample_moments import sample_moments
from sgdmodels.sampling import SCHEMES

from .enumeration import all_batches, batch_sums, expectations
from .noisy_network import problem


def test_fieller_solves_its_inequality() -> None:
    u, v = np.random.default_rng(0).gamma(2.0, size=(2, 12))
    v += 0.3 * u
    at = ratio_interval(u, v)
    t = stats.t.ppf(0.975, 11)
    for bound in (at.low, at.high):
        residual = u - bound * v
        assert abs(residual.mean()) == pytest.approx(t * residual.std(ddof=1) / np.sqrt(12), rel=1e-12)
    slope = (u - at.value * v).std(ddof=1) / np.sqrt(12) / v.mean()
    assert at.standard_error == pytest.approx(slope, rel=1e-12)
    assert at.low < at.value < at.high


def test_interval_without_a_denominator_is_the_whole_line() -> None:
    at = ratio_interval([1.0, 2.0, 3.0], [1.0, -0.9, 1.0])
    assert (at.low, at.high) == (-np.inf, np.inf)
    none = ratio_estimate(1.0, 0.0, np.zeros((2, 2)), 3)
    assert np.isnan(none).all()
    with pytest.raises(InvalidArgument, match="at least 2 independent units"):
        ratio_interval([1.0], [1.0])
    with pytest.raises(InvalidArgument, match="pairs"):
        ratio_interval([1.0, 2.0], [1.0, 2.0, 3.0])


def test_mean_interval_is_students() -> None:
    x = np.random.default_rng(1).standard_normal((7, 2))
    at = mean_interval(x, 0.9)
    ours = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    np.testing.assert_allclose([at.low, at.high], [ours.low, ours.high], rtol=1e-12)
    ratio = ratio_interval(2 * x, np.full_like(x, 2.0), 0.9)
    np.testing.assert_allclose(np.array(ratio), np.array(at), rtol=1e-12)


def test_fieller_is_exact_for_normal_pairs() -> None:
    """20 000 replicates of 5 units: 95 % +- 4 binomial sd (6e-5); the delta method with normal quantiles is short."""
    rng = np.random.default_rng(2)
    v = 1 + 0.2 * rng.standard_normal((5, 20_000))
    u = 2 * v + rng.standard_normal(v.shape)
    at = ratio_interval(u, v)
    assert abs(((at.low <= 2) & (at.high >= 2)).mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 20_000)
    assert (abs(at.value - 2) < 1.96 * at.standard_error).mean() < 0.9


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 3, 5])
def test_few_batches_are_enumerated(sampling: str, b: int) -> None:
    p = problem(5)
    truth = expectations(p.g, p.h, b, "without_replacement" if sampling == "epoch" else sampling)
    found = batch_sharpness(p.objective, p.theta, [b], sampling=sampling)
    for definition, name in ((RATIO_OF_MEANS, "batch_sharpness"), (MEAN_OF_RATIOS, "batch_sharpness_mean_ratio")):
        at = found[definition]
        np.testing.assert_allclose([at.value[0], at.low[0], at.high[0]], truth[name], rtol=1e-10)
        assert at.standard_error[0] == 0


@pytest.mark.parametrize(("sampling", "n", "b"), [
    ("without_replacement", 16, 6), ("epoch", 16, 6), ("epoch", 16, 9), ("with_replacement", 30, 3),
    ("bernoulli", 13, 1),
])  # fmt: skip
def test_random_batches_agree_with_enumeration(sampling: str, n: int, b: int) -> None:
    """Ten numbers within 4.5 standard errors: fails by chance with probability 1e-4."""
    p = problem(n)
    scheme = "without_replacement" if sampling == "epoch" else sampling
    batches = all_batches(n, b, scheme)
    chance = np.array([probability for _, probability in batches])
    gb, hb = batch_sums(p.g, b, batches), batch_sums(p.h, b, batches)
    top, bottom = np.einsum("bi,bij,bj->b", gb, hb, gb), (gb * gb).sum(axis=1)
    found = batch_sharpness(p.objective, p.theta, [b], sampling=sampling, batches=3000, seed=5)
    for definition in DEFINITIONS:
        u, v = parts(definition, top, bottom)
        at = found[definition]
        assert at.standard_error[0] > 0
        assert abs(at.value[0] - chance @ u / (chance @ v)) < 4.5 * at.standard_error[0]


def test_units_are_disjoint_and_the_same_however_they_are_computed() -> None:
    p = problem(30)
    whole = BatchUnits(p.objective, p.theta, 7, "without_replacement", seed=3, replica=2, step=11)
    at_once = [x.copy() for x in whole.table(6, 4)]
    pieces = BatchUnits(p.objective, p.theta, 7, "epoch", seed=3, replica=2, step=11)
    for units, run in ((2, 1), (4, 1), (4, 3), (4, 4), (6, 4)):
        pieces.table(units, run)
    np.testing.assert_allclose(pieces.table(6, 4), at_once, rtol=1e-12)
    again = BatchUnits(p.objective, p.theta, 7, "without_replacement", seed=3, replica=2, step=11)
    assert np.array_equal(again.table(6, 4), at_once)
    drawn = whole._draw([(u, 0, 4) for u in range(6)]).index.reshape(6, 28)
    assert all(len(set(run)) == 28 for run in drawn.tolist())
    for change in ({"seed": 4}, {"replica": 3}, {"step": 12}):
        other = BatchUnits(
            p.objective, p.theta, 7, "without_replacement", **({"seed": 3, "replica": 2, "step": 11} | change)
        )
        assert not np.isin(other.table(6, 4)[0], at_once[0]).any()


@pytest.mark.parametrize("sampling", SCHEMES)
def test_each_definition_stops_by_its_own_error(sampling: str) -> None:
    p = problem(30)
    both = batch_sharpness(p.objective, p.theta, [8], sampling=sampling, relative_error=0.04, batches=20_000)
    for name, at in both.items():
        assert at.standard_error[0] <= 0.04 * at.value[0]
        assert at.batches[0] < 20_000
        alone = batch_sharpness(
            p.objective, p.theta, [8], sampling=sampling, relative_error=0.04, batches=20_000, definitions=[name]
        )[name]
        np.testing.assert_allclose(np.array(alone), np.array(at), rtol=1e-10)
    assert both[RATIO_OF_MEANS].batches[0] != both[MEAN_OF_RATIOS].batches[0]
    few = batch_sharpness(p.objective, p.theta, [8], sampling=sampling, relative_error=1e-3, batches=300)
    assert all(at.batches[0] <= 300 for at in few.values())


def test_adaptive_intervals_cover() -> None:
    """300 adaptive estimates to 10 %, at a true coverage of 90 % or more below 85 % with probability 4e-3."""
    p = problem(30)
    exact = moment_ratios(sample_moments(p.objective, p.theta), [6]).batch_sharpness.value[0]
    hits = 0
    for seed in range(300):
        at = batch_sharpness(
            p.objective, p.theta, [6], definitions=[RATIO_OF_MEANS], relative_error=0.1, batches=5000, seed=seed
        )[RATIO_OF_MEANS]
        hits += bool(at.low[0] <= exact <= at.high[0])
    assert hits >= 0.85 * 300


def test_no_gradient_is_no_number_and_precision_follows_the_network() -> None:
    p = problem(9)
    single = problem(9, dtype=torch.float32)
    at64, at32 = (batch_sharpness(q.objective, q.theta, [2, 9]) for q in (p, single))
    for name in DEFINITIONS:
        assert at32[name].value.dtype == np.float64
        np.testing.assert_allclose(at32[name].value, at64[name].value, rtol=1e-3)
    still = torch.zeros(17, dtype=torch.float64)
    p.objective.targets = torch.zeros_like(p.objective.targets)
    for at in batch_sharpness(p.objective, still, [3]).values():
        assert np.isnan(at.value).all()
    assert np.isnan(moment_ratios(sample_moments(p.objective, still), [3]).batch_sharpness.value).all()


def test_nothing_global_is_changed() -> None:
    p = problem(9)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sample_moments(p.objective, p.theta, subset=torch.arange(5), probes=2)
    batch_sharpness(p.objective, p.theta, [2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize(("options", "words"), [
    ({"batch_sizes": [10]}, r"batch_size must be in 1..9 \(the number of samples\), got 10"),
    ({"definitions": ["mean_ratio"]}, "mean_of_ratios"),
    ({"sampling": "epochs"}, "did you mean 'epoch'"),
    ({"relative_error": 0.0}, "relative_error must be finite, > 0"),
    ({"batches": 8}, "batches must be at least 16|batches must be in 16"),
])  # fmt: skip
def test_estimates_refuse(options: dict[str, object], words: str) -> None:
    p = problem(9)
    with pytest.raises(InvalidArgument, match=words):
        batch_sharpness(p.objective, p.theta, **({"batch_sizes": [2]} | options))  # type: ignore[arg-type]
