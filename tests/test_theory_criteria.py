"""The zoo of criteria: each against its definition, written out over all batches, and the order between them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg

import sgdmodels as sm

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")


def population(seed: int, rank: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Hessians (5, 3, 3), positive semi-definite, and gradients (5, 3)."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((5, 3, rank))
    return np.einsum("nij,nkj->nik", a, a), rng.standard_normal((5, 3))


def by_definition(h: np.ndarray, g: np.ndarray, b: int, sampling: str) -> dict[str, float]:
    """Every criterion from the batch Hessians and gradients; means of ratios over batches with a gradient."""
    batches = all_batches(len(h), b, sampling)
    p = np.array([probability for _, probability in batches])
    hb, gb = batch_sums(h, b, batches), batch_sums(g, b, batches)
    mean = h.mean(axis=0)
    values, vectors = np.linalg.eigh(mean)
    top, square = vectors[:, -1], np.einsum("m,mij,mjk->ik", p, hb, hb)
    d = np.einsum("m,mij,mkl->ikjl", p, hb, hb).reshape(9, 9)
    c = 0.5 * (np.kron(mean, np.eye(3)) + np.kron(np.eye(3), mean))
    tops = np.linalg.eigvalsh(hb)[:, -1]
    curvature, norm = np.einsum("mi,mij,mj->m", gb, hb, gb), (gb**2).sum(axis=1)
    alive = norm > 0
    # E_B of the loss of the step's noise part: x'(E[H_B Hbar H_B] - Hbar^3)x against x'Hbar x
    noise = np.einsum("m,mij,jk,mkl->il", p, hb, mean, hb) - mean @ mean @ mean
    least = scipy.linalg.eigh(noise, mean, eigvals_only=True)[0]
    return {
        "lambda_max": values[-1],
        "top_mode_bound": float(p @ np.einsum("i,mij,j->m", top, hb, top) ** 2) / values[-1],
        "trace_bound": np.trace(square) / np.trace(mean),
        "mean_square_sharpness": scipy.linalg.eigh(d, c, eigvals_only=True)[-1],
        "monotone_bound": scipy.linalg.eigh(square, mean, eigvals_only=True)[-1],
        "worst_batch": tops.max(),
        "minibatch_lambda_max": float(p @ tops),
        "batch_sharpness": float(p @ curvature) / float(p @ norm),
        "batch_sharpness_mean_ratio": float(np.average(curvature[alive] / norm[alive], weights=p[alive])),
        "alignment_bound": 2 * math.sqrt(max(least, 0)),
    }


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("rank", [1, 3])
def test_every_criterion_is_its_definition(sampling: str, rank: int) -> None:
    h, g = population(1, rank)
    directions = np.linalg.eigh(h)[1][:, :, -1] * np.sqrt(np.linalg.eigvalsh(h)[:, -1:])
    for b in (1, 2, 3, 5)[: 3 if sampling == "with_replacement" else 4]:
        expected = by_definition(h, g, b, sampling)
        forms = [h, directions] if rank == 1 else [h]
        for given in forms:
            zoo = sm.theory.criteria(given, b, sampling, gradients=g)
            for name, value in expected.items():
                assert zoo[name] == pytest.approx(value, rel=1e-8, abs=1e-7 * expected["lambda_max"]), (name, b)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_necessary_is_below_and_sufficient_above(sampling: str) -> None:
    for seed, b in itertools.product(range(30), (1, 2, 4, 5)):
        h, g = population(seed, 1 + seed % 3)
        zoo = sm.theory.criteria(h, b, sampling, gradients=g)
        exact = zoo["mean_square_sharpness"] * (1 + 1e-9)
        for criterion in sm.theory.CRITERIA:
            if "mean square" in criterion.of and criterion.meaning == "necessary":
                assert zoo[criterion.name] <= exact, criterion.name
            if "mean square" in criterion.of and criterion.meaning == "sufficient":
                assert zoo[criterion.name] >= zoo["mean_square_sharpness"] * (1 - 1e-9), criterion.name
        assert zoo["lambda_max"] <= zoo["top_mode_bound"] * (1 + 1e-12)
        assert zoo["monotone_bound"] <= zoo["worst_batch"] * (1 + 1e-9)


def test_the_alignment_bound_is_reached_in_one_dimension() -> None:
    """2 s <= a + s^2 / a with equality at s = a: E12 is not loose there."""
    zoo = sm.theory.criteria(np.array([0.0, 2.0])[:, None, None], 1)
    assert zoo["alignment_bound"] == pytest.approx(2.0, rel=1e-12)
    assert zoo["mean_square_sharpness"] == pytest.approx(2.0, rel=1e-12)


def test_the_lyapunov_criterion_is_asked_for_by_name() -> None:
    h = np.array([1.0, 3.0])[:, None, None]
    assert "lyapunov" not in sm.theory.criteria(h, 1)
    zoo = sm.theory.criteria(h, 1, names=("lyapunov", "mean_square_sharpness"))
    assert zoo["lyapunov"] == pytest.approx(1.5, rel=1e-9)  # (eta - 1)(3 eta - 1) = 1 at eta = 4/3
    assert list(zoo) == ["lyapunov", "mean_square_sharpness"]


def test_what_is_not_defined_is_nan() -> None:
    h, g = population(2)
    zoo = sm.theory.criteria(h, 2)
    assert math.isnan(zoo["batch_sharpness"])
    assert math.isnan(zoo["batch_sharpness_mean_ratio"])
    still = sm.theory.criteria(h, 2, gradients=np.zeros((5, 3)))
    assert math.isnan(still["batch_sharpness"])
    assert math.isnan(still["batch_sharpness_mean_ratio"])
    indefinite = sm.theory.criteria(h - 0.3 * np.eye(3), 2, gradients=g)
    assert math.isnan(indefinite["worst_batch"])
    assert math.isfinite(indefinite["mean_square_sharpness"])


@pytest.mark.parametrize("sampling", SCHEMES)
def test_random_batches_stand_in_where_they_are_too_many(sampling: str) -> None:
    """Means over 1000 random batches of 40 samples against 20000 others: within 5 standard errors (p = 6e-7 each)."""
    rng = np.random.default_rng(3)
    a, g, b = rng.standard_normal((40, 3)), rng.standard_normal((40, 3)), 30
    zoo = sm.theory.criteria(a, b, sampling, gradients=g, seed=1)
    if sampling == "bernoulli":
        counts = (rng.random((20_000, 40)) < b / 40).astype(float)
    elif sampling == "with_replacement":
        counts = rng.multinomial(b, np.full(40, 1 / 40), size=20_000).astype(float)
    else:
        counts = (rng.random((20_000, 40)).argsort(axis=1) < b).astype(float)
    hb, gb = np.einsum("mn,ni,nj->mij", counts / b, a, a), counts / b @ g
    tops = np.linalg.eigvalsh(hb)[:, -1]
    ratios = np.einsum("mi,mij,mj->m", gb, hb, gb) / (gb**2).sum(axis=1)
    for name, sample in (("minibatch_lambda_max", tops), ("batch_sharpness_mean_ratio", ratios)):
        error = sample.std() * math.sqrt(1 / 1000 + 1 / 20_000)
        assert abs(zoo[name] - sample.mean()) < 5 * error
    assert zoo["worst_batch"] >= tops.max()
    sharpest, spread = float((a**2).sum(axis=1).max()), 40 / b * zoo["lambda_max"]
    bound = {"bernoulli": spread, "with_replacement": sharpest}.get(sampling, min(sharpest, spread))
    assert zoo["worst_batch"] == pytest.approx(bound, rel=1e-12)
    assert spread < sharpest


def test_batch_sharpness_has_no_units() -> None:
    h, g = population(5)
    expected = sm.theory.criteria(h, 2, gradients=g)
    for size in (1e-200, 1e-151, 1e200):
        found = sm.theory.criteria(h, 2, gradients=size * g)
        for name in ("batch_sharpness", "batch_sharpness_mean_ratio"):
            assert found[name] == pytest.approx(expected[name], rel=1e-12)


def test_few_directions_in_many_dimensions_take_the_overlaps_of_samples() -> None:
    """n = 5 samples in 6 dimensions against the same as matrices."""
    a = np.random.default_rng(6).standard_normal((5, 6))
    h = a[:, :, None] * a[:, None, :] + 1e-30  # not of rank one to the letter
    for sampling, b in itertools.product(SCHEMES, (1, 2, 4)):
        found, expected = (sm.theory.criteria(x, b, sampling, names=["minibatch_lambda_max"]) for x in (a, h))
        assert found["minibatch_lambda_max"] == pytest.approx(expected["minibatch_lambda_max"], rel=1e-12)


def test_the_table_is_complete_and_its_names_known() -> None:
    labels = [criterion.label for criterion in sm.theory.CRITERIA]
    assert sorted(set(labels), key=lambda label: int(label[1:])) == [f"E{k}" for k in range(1, 13)]
    for criterion in sm.theory.CRITERIA:
        assert criterion.meaning in ("exact", "necessary", "sufficient", "approximation", "diagnostic")
        assert criterion.cost
        assert criterion.reference
        assert criterion.formula
    h, _ = population(4)
    with pytest.raises(sm.errors.UnknownName, match="did you mean 'lambda_max'"):
        sm.theory.criteria(h, 1, names=["lamda_max"])
    with pytest.raises(sm.errors.InvalidArgument, match="names must be a sequence"):
        sm.theory.criteria(h, 1, names="lambda_max")
    with pytest.raises(sm.errors.InvalidArgument, match="names must be a sequence"):
        sm.theory.criteria(h, 1, names=3)
