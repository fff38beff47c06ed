"""Moments, ratios and Monte Carlo estimates of a network against dense Hessians, enumeration and their own coverage."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.batch_estimates import DEFINITIONS, MEAN_OF_RATIOS, RATIO_OF_MEANS, batch_sharpness, parts
from sgdmodels.networks.batch_units import BatchUnits
from sgdmodels.networks.budget import MemoryBudget
from sgdmodels.networks.intervals import mean_interval, ratio_estimate, ratio_interval
from sgdmodels.networks.module_objective import ModuleObjective
from sgdmodels.networks.moment_ratios import MomentRatios, moment_ratios
from sgdmodels.networks.objective import GAUSS_NEWTON, HESSIAN
from sgdmodels.networks.sample_moments import SampleMoments, sample_moments
from sgdmodels.sampling import SCHEMES

from .enumeration import all_batches, batch_sums, expectations

EXPECTATIONS = ("gradient", "curvature", "interaction")
RATIOS = ("batch_sharpness", "ias", "gni")


class Problem(NamedTuple):
    """A small network with noisy targets, a point, and the samples' gradients and matrices there."""

    objective: ModuleObjective
    theta: torch.Tensor
    g: np.ndarray
    h: np.ndarray


def problem(n: int, matrix: str = HESSIAN, dtype: torch.dtype = torch.float64) -> Problem:
    """2-3-2 tanh network (17 parameters) with inputs of very different length: heavy-tailed curvatures."""
    generator = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs, targets = normal(n, 2) * normal(n, 1).exp(), normal(n, 2)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).to(dtype)
    objective = ModuleObjective(
        net,
        lambda f, y: 0.5 * (f - y).square().sum(-1),
        inputs.to(dtype),
        targets.to(dtype),
        MemoryBudget(2**24),
        matrix,
    )
    theta = normal(17).to(dtype)
    theta -= 0.3 * objective.gradient(theta)

    def loss(t: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return objective.loss_function(objective.outputs(t, x), y)

    def jacobian(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.func.jacrev(objective.outputs)(t, x)

    x, y = objective.inputs, objective.targets
    g = torch.stack([torch.func.grad(loss)(theta, a, c) for a, c in zip(x, y, strict=True)])
    if matrix == HESSIAN:
        h = torch.stack([torch.func.hessian(loss)(theta, a, c) for a, c in zip(x, y, strict=True)])
    else:
        h = torch.stack([(j := jacobian(theta, a)).T @ j for a in x])
    return Problem(objective, theta, g.double().numpy(), h.double().numpy())


def dense_moments(g: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(T1, T2, T3, T4, S1, S2) by their definition."""
    mean_g, mean_h = g.mean(axis=0), h.mean(axis=0)
    curved = np.einsum("nij,nj->ni", h, g)
    return np.array([
        (g * curved).sum(1).mean(), (curved @ mean_g).mean(), np.einsum("ni,ij,nj->n", g, mean_h, g).mean(),
        mean_g @ mean_h @ mean_g, (g * g).sum(1).mean(), mean_g @ mean_g,
    ])  # fmt: skip


def enumerated(g: np.ndarray, h: np.ndarray, b: int, sampling: str) -> np.ndarray:
    """E|g_B|^2, E[g_B' H_B g_B], E[g_B' Hbar g_B] over all batches."""
    batches = all_batches(len(g), b, "without_replacement" if sampling == "epoch" else sampling)
    p = np.array([probability for _, probability in batches])
    gb, hb = batch_sums(g, b, batches), batch_sums(h, b, batches)
    return np.array([
        p @ (gb * gb).sum(axis=1), p @ np.einsum("bi,bij,bj->b", gb, hb, gb),
        p @ np.einsum("bi,ij,bj->b", gb, h.mean(axis=0), gb),
    ])  # fmt: skip


def expected(ratios: MomentRatios) -> np.ndarray:
    return np.array([getattr(ratios, name).value for name in EXPECTATIONS])


@pytest.mark.parametrize("matrix", [HESSIAN, GAUSS_NEWTON])
def test_all_samples_give_the_exact_moments(matrix: str) -> None:
    p = problem(9, matrix)
    moments = sample_moments(p.objective, p.theta)
    np.testing.assert_allclose(moments.values, dense_moments(p.g, p.h), rtol=1e-11)
    assert not moments.covariance.any()
    assert moments.degrees_of_freedom == np.inf


@pytest.mark.parametrize("sampling", SCHEMES)
def test_ratios_of_all_samples_equal_enumeration(sampling: str) -> None:
    p = problem(5)
    sizes = [1, 2, 3, 4, 5]
    ratios = moment_ratios(sample_moments(p.objective, p.theta), sizes, sampling)
    for k, b in enumerate(sizes):
        truth = expectations(p.g, p.h, b, "without_replacement" if sampling == "epoch" else sampling)
        for name in RATIOS:
            at = getattr(ratios, name)
            np.testing.assert_allclose([at.value[k], at.low[k], at.high[k]], truth[name], rtol=1e-10)
            assert at.standard_error[k] == 0


@pytest.mark.parametrize("m", [3, 4])
def test_subsets_are_unbiased_for_the_population(m: int) -> None:
    """The mean over all subsets is the population's value, for every scheme and b up to n > m; the plug-in's is not."""
    n = 6
    p = problem(n)
    subsets = [torch.tensor(s) for s in itertools.combinations(range(n), m)]
    found = [sample_moments(p.objective, p.theta, subset=s) for s in subsets]
    plug_in = [dense_moments(p.g[s.numpy()], p.h[s.numpy()]) for s in subsets]
    plain = [SampleMoments(v, np.zeros((6, 6)), m, n, np.inf) for v in plug_in]
    sizes = range(1, n + 1)
    biases = []
    for sampling in SCHEMES:
        truth = np.array([enumerated(p.g, p.h, b, sampling) for b in sizes]).T
        mean = np.mean([expected(moment_ratios(moments, sizes, sampling)) for moments in found], axis=0)
        np.testing.assert_allclose(mean, truth, rtol=1e-9)
        biases.append(
            np.mean([expected(moment_ratios(moments, sizes, sampling)) for moments in plain], axis=0) / truth - 1
        )
    largest = np.max(biases, axis=(0, 2))
    assert (largest > 0.07).all(), largest  # the published range of the plug-in's bias starts at 7 %


def test_signs_are_unbiased_and_their_variance_is_known() -> None:
    """300 draws of signs: the mean within 4.5 standard errors (1e-5), the variance within 35 % (its own sd is 8 %)."""
    p = problem(40)
    truth = moment_ratios(sample_moments(p.objective, p.theta), [4]).batch_sharpness.value[0]
    found = [moment_ratios(sample_moments(p.objective, p.theta, probes=8, seed=k), [4]) for k in range(300)]
    values = np.array([r.batch_sharpness.value[0] for r in found])
    variance = np.mean([r.batch_sharpness.standard_error[0] ** 2 for r in found])
    assert abs(values.mean() - truth) < 4.5 * values.std() / np.sqrt(300)
    assert values.std() > 0
    assert 0.65 < variance / values.var() < 1.35
    most = sample_moments(p.objective, p.theta, probes=1000)  # as many as samples, and more: no signs are needed
    np.testing.assert_allclose(most.values, dense_moments(p.g, p.h), rtol=1e-11)


@pytest.mark.parametrize("probes", [16, None])
def test_standard_errors_equal_the_spread_over_subsets(probes: int | None) -> None:
    """120 random halves of 160 samples: the standard deviation is good to 6.5 % (tails: 9 %), the band is 30 %.

    Without the factor 1 - m/n the ratio would be 1.41. Nominal 95 % intervals, pooled over b >= 4, cover 88 % or more;
    at b = 1 this population is too heavy-tailed for 80 samples: only the standard errors are right.
    """
    n, m, sizes = 160, 80, [1, 4, 16, 64, 150]
    p = problem(n)
    truth = moment_ratios(sample_moments(p.objective, p.theta), sizes)
    found = []
    for k in range(120):
        subset = torch.as_tensor(np.random.default_rng([k, 1]).permutation(n)[:m])
        found.append(moment_ratios(sample_moments(p.objective, p.theta, subset=subset, probes=probes, seed=k), sizes))
    for name in (*EXPECTATIONS, *RATIOS):
        exact = getattr(truth, name).value
        value, error, low, high = (np.array(column) for column in zip(*(getattr(r, name) for r in found), strict=True))
        ratio = np.sqrt((error**2).mean(axis=0)) / value.std(axis=0)
        assert (abs(ratio - 1) < 0.3).all(), (name, ratio)
        assert ((low <= exact) & (exact <= high))[:, 1:].mean() > 0.88, name


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
    ({"subset": torch.tensor([0, 1])}, "3 samples or more"),
    ({"subset": torch.tensor([0, 1, 1, 2])}, "without replacement, got 4 samples of which 3 are distinct"),
    ({"subset": torch.tensor([0, 1, 9])}, r"in 0..8, got 0..9"),
    ({"subset": torch.tensor([0.0, 1.0, 2.0])}, "sample numbers"),
    ({"probes": 1}, "probes must be at least 2"),
    ({"seed": -1}, "seed must be at least 0"),
])  # fmt: skip
def test_moments_refuse(options: dict[str, object], words: str) -> None:
    p = problem(9)
    with pytest.raises(InvalidArgument, match=words):
        sample_moments(p.objective, p.theta, **options)  # type: ignore[arg-type]


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
    with pytest.raises(InvalidArgument, match="batch_size must be"):
        moment_ratios(sample_moments(p.objective, p.theta), [0])
