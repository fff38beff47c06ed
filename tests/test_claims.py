"""Claims: the provable ones survive, the false ones fail by enumeration of all batches, and mutants are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels.testing import Point
from sgdmodels.testing.claim import Claim
from sgdmodels.testing.claims import FALSE, PROVABLE, crossings, one_step, symmetries

from .enumeration import all_batches, batch_sums, expectations


@pytest.mark.parametrize("claim", PROVABLE, ids=lambda claim: claim.name)
def test_provable_claims_survive_where_they_could_fail(claim: Claim[Any]) -> None:
    survived = claim.test(settings(max_examples=2 * settings().max_examples))
    assert survived.points >= 10
    assert survived.vacuous < 0.5 * survived.points


def test_points_that_the_deep_profile_found() -> None:
    """Residuals that cancel to nine digits, and steps from a point where all batch gradients vanish."""
    cancelled = Point(
        sm.models.GatedQuadratic([[3.0, 1.0, 0.0]], [0.0], 0.0, 1.0),
        [-0.8999999991618097, 2.7000000002793967, 0.0, -1.846925938860985e-24],
        batch_size=1,
        sampling="with_replacement",
    )
    assert symmetries.DUPLICATES.holds(cancelled)
    hessian = [[0.3600000000000001, -0.4800000000000001], [-0.4800000000000001, 0.6400000000000001]]
    vanishing = Point(
        sm.models.Quadratics([hessian], [[1.0, 3.0]]), [-3.0, 0.0], batch_size=1, step_size=6.944444444444443
    )
    assert np.isnan(crossings.GROWTH_R.margin((vanishing, 0.5))) or crossings.GROWTH_R.holds((vanishing, 0.5))
    assert np.isnan(one_step.CATAPULT_R.margin(replace(vanishing, theta=np.array([1.0, 3.0]))))


def batches(point: Point, size: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, gradients and Hessians of all batches."""
    b = size or point.batch_size
    drawn = all_batches(point.model.samples, b, point.sampling)
    g, h = (batch_sums(x, b, drawn) for x in (point.gradients, point.hessians))
    return np.array([p for _, p in drawn]), g, h


def enumerated(name: str, size: int = 0, copies: int = 1) -> Callable[[Point], float]:
    """A ratio of definition, by enumeration, with `size` more samples in the batch and `copies` of the data."""

    def value(point: Point) -> float:
        g, h = np.tile(point.gradients, (copies, 1)), np.tile(point.hessians, (copies, 1, 1))
        return expectations(g, h, point.batch_size + size, point.sampling)[name]

    return value


def sharpness(point: Point) -> float:
    return float(np.linalg.eigvalsh(point.hessians.mean(axis=0))[-1])


def radius(point: Point, step_size: float) -> float:
    """Spectral radius of E[(I - eta H_B) x (I - eta H_B)] in directions of positive mean curvature."""
    values, vectors = np.linalg.eigh(point.hessians.mean(axis=0))
    p, _, h = batches(point)
    h = vectors[:, values > 1e-9].T @ h @ vectors[:, values > 1e-9]
    steps = np.eye(h.shape[1]) - step_size * h
    return float(max(abs(np.linalg.eigvals(sum(q * np.kron(s, s) for q, s in zip(p, steps, strict=True))))))


def edge_sharpness(point: Point) -> float:
    """2 / eta where that radius crosses 1, by bisection."""
    low, high = 0.0, 2 / sharpness(point)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if radius(point, middle) < 1 else (low, middle)
    return 2 / low


def after_step(point: Point, statistic: Callable[[np.ndarray], float]) -> float:
    """E[statistic(theta+)] over all batches."""
    p, g, _ = batches(point)
    return float(sum(q * statistic(point.theta - point.step_size * step) for q, step in zip(p, g, strict=True)))


def mean_loss(point: Point, theta: np.ndarray) -> float:
    return float(point.model.sample_losses(theta).mean())


def loss_after(point: Point) -> float:
    return after_step(point, lambda x: mean_loss(point, x))


def loss_before(point: Point) -> float:
    return mean_loss(point, point.theta)


def distance_after(point: Point) -> float:
    return after_step(point, lambda x: float(x @ x))


def distance_before(point: Point) -> float:
    return float(point.theta @ point.theta)


def trace(point: Point) -> float:
    return float(np.trace(point.hessians.mean(axis=0)))


def log_growth(point: Point) -> float:
    """E log|1 - eta h_B| in one dimension."""
    p, _, h = batches(point)
    return float(p @ np.log(abs(1 - point.step_size * h[:, 0, 0])))


def one(point: Point) -> float:
    return 1.0


def two_over_step(point: Point) -> float:
    return 2 / point.step_size


def sharpest(point: Point) -> float:
    return float(np.linalg.eigvalsh(batches(point)[2]).max())


def trace_ratio(point: Point) -> float:
    p, _, h = batches(point)
    return float(p @ np.einsum("mij,mji->m", h, h) / np.trace(point.hessians.mean(axis=0)))


def over_epoch(point: Point) -> float:
    """Mean growth of x^2 over all orders of an epoch at the edge of independent batches."""
    eta = 2 / edge_sharpness(replace(point, sampling="without_replacement"))
    orders = list(itertools.permutations(point.hessians[:, 0, 0]))
    return float(np.mean([np.prod([(1 - eta * h) ** 2 for h in order]) for order in orders]))


def first_crossing(growth: Callable[[float], float], point: Point) -> float:
    """The first step size, on a grid of 1e-3 of 1/lambda_max and then by bisection, at which growth exceeds 0."""
    stride = 1e-3 / sharpness(point)
    high = next(k * stride for k in range(1, 100_000) if growth(k * stride) > 1e-12)
    low = high - stride
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if growth(middle) > 0 else (middle, high)
    return low


def shuffled_edge(point: Point) -> float:
    """Where the mean growth of x^2 over all orders of an epoch is 1, in one dimension."""
    b, orders = point.batch_size, list(itertools.permutations(point.hessians[:, 0, 0]))
    steps = np.array([[np.mean(order[k : k + b]) for k in range(0, len(order) - b + 1, b)] for order in orders])
    return first_crossing(lambda eta: float(np.mean(np.prod((1 - eta * steps) ** 2, axis=1))) - 1, point)


def path_edge(more: int) -> Callable[[Point], float]:
    """Where E log|1 - eta h_B| vanishes for independent batches of `more` samples more."""

    def edge(point: Point) -> float:
        p, _, h = batches(replace(point, sampling="without_replacement"), point.batch_size + more)

        def exponent(eta: float) -> float:
            with np.errstate(divide="ignore"):
                return float(p @ np.log(abs(1 - eta * h[:, 0, 0])))

        return first_crossing(exponent, point)

    return edge


def mirror_after(point: Point) -> float:
    u, v = point.theta - point.step_size * point.model.sample_gradients(point.theta)[0]
    return float(np.arcsinh(2 * u * v / (u**2 - v**2)))


def mirror_before(point: Point) -> float:
    (u, v), x, y = point.theta, point.model.inputs[0, 0], point.model.targets[0]
    push = point.step_size * (u * v * x - y) * x
    return float(np.arcsinh(2 * u * v / (u**2 - v**2)) + np.log(abs((1 - push) / (1 + push))))


def step_times(value: Callable[[Point], float]) -> Callable[[Point], float]:
    return lambda point: point.step_size * value(point)


RATIO, MEAN_RATIO = enumerated("batch_sharpness"), enumerated("batch_sharpness_mean_ratio")
TIMES_EDGE = step_times(edge_sharpness)
# the two sides of every false claim by enumeration; for an implication also what must be below its last entry
TRUTH: dict[str, tuple[Any, ...]] = {
    "lambda_max <= BS_E": (sharpness, MEAN_RATIO),
    "lambda_max <= BS_R": (sharpness, RATIO),
    "IAS <= BS_R": (enumerated("ias"), RATIO),
    "BS_E <= BS_R": (MEAN_RATIO, RATIO),
    "BS_R falls with b": (enumerated("batch_sharpness", 1), RATIO),
    "BS_E falls with b": (enumerated("batch_sharpness_mean_ratio", 1), MEAN_RATIO),
    "IAS falls with b": (enumerated("ias", 1), enumerated("ias")),
    "BS_E <= E lambda_max(H_B)": (MEAN_RATIO, enumerated("minibatch_lambda_max")),
    "without replacement: duplicates change no BS_R": (enumerated("batch_sharpness", copies=2), RATIO),
    "least squares, b = 1: BS_E = trace, everywhere": (MEAN_RATIO, trace),
    "d = 1, H_B > 0: BS_E = lambda_max": (MEAN_RATIO, sharpness),
    "tr E[H_B^2] / tr Hbar <= S_ms, any sign": (trace_ratio, edge_sharpness),
    "S_ms <= max lambda_max(H_B), any sign": (edge_sharpness, sharpest),
    "b = 1: max lambda_max(H_i) <= S_ms": (sharpest, edge_sharpness),
    "BS_R < 2/eta implies S_ms <= 2/eta": (edge_sharpness, two_over_step, step_times(RATIO), 2),
    "S_ms < 2/eta implies BS_R <= 2/eta": (RATIO, two_over_step, TIMES_EDGE, 2),
    "BS_R < 2/eta implies E L(theta+) <= L(theta)": (loss_after, loss_before, step_times(RATIO), 2),
    "S_ms < 2/eta implies E L(theta+) <= L(theta)": (loss_after, loss_before, TIMES_EDGE, 2),
    "S_ms < 2/eta implies E|x+|^2 <= |x|^2": (distance_after, distance_before, TIMES_EDGE, 2),
    "BS_E < 2/eta implies E|x+|^2 <= |x|^2": (distance_after, distance_before, step_times(MEAN_RATIO), 2),
    "lambda_max < 2/eta implies S_ms <= 2/eta": (edge_sharpness, two_over_step, step_times(sharpness), 2),
    "E log|1 - eta h_B| < 0 implies S_ms <= 2/eta": (edge_sharpness, two_over_step, log_growth, 0),
    "epochs of shuffled samples have the edge of independent batches": (over_epoch, one),
    "edge of independent batches <= edge of shuffled epochs": (
        lambda point: 2 / edge_sharpness(replace(point, sampling="without_replacement")), shuffled_edge,
    ),
    "edge of shuffled epochs <= 2 / lambda_max": (shuffled_edge, lambda point: 2 / sharpness(point)),
    "almost-sure edge <= 2 / lambda_max": (path_edge(0), lambda point: 2 / sharpness(point)),
    "almost-sure edge at b <= almost-sure edge at b + 1": (path_edge(0), path_edge(1)),
    "arcsinh(2w+/c+) = arcsinh(2w/c) + log|(1 - eta q)/(1 + eta q)|": (mirror_after, mirror_before),
}  # fmt: skip


@pytest.mark.parametrize("claim", FALSE, ids=lambda claim: claim.name)
def test_counterexamples_of_false_claims_hold_by_enumeration(claim: Claim[Point]) -> None:
    point = claim.counterexample
    assert point is not None
    left_of, right_of, *premise = TRUTH[claim.name]
    left, right = left_of(point), right_of(point)
    gap = left - right if claim.relation == "<=" else abs(left - right)
    assert gap > 0.05 * max(abs(left), abs(right))
    if premise:
        sharp, limit = premise
        assert sharp(point) < limit - 1e-3
    assert claim.sides(point)[0] == pytest.approx(left, rel=1e-9)
    assert claim.sides(point)[1] == pytest.approx(right, rel=1e-9)
    assert not claim.holds(point)
    with pytest.raises(AssertionError, match=r"Point\(sm\."):
        claim.check(point)


@pytest.mark.parametrize("claim", FALSE, ids=lambda claim: claim.name)
def test_counterexamples_lie_in_the_class_of_the_claim(claim: Claim[Point]) -> None:
    point = claim.counterexample
    assert point is not None
    assert claim.defined is None or claim.defined(point)
    said = " ".join(claim.assumptions)
    if "semi-definite" in said:
        assert np.linalg.eigvalsh(point.hessians).min() >= -1e-12
    if "share a minimum" in said:
        assert not point.model.sample_gradients(np.zeros(point.model.dim)).any()
    if "ndependent batches" in said or claim.kind == "almost sure":
        assert point.sampling != "epoch"


@pytest.mark.parametrize("claim", FALSE, ids=lambda claim: claim.name)
def test_step_sizes_of_counterexamples_are_short(claim: Claim[Point]) -> None:
    assert claim.counterexample is not None
    step_size = claim.counterexample.step_size
    assert step_size is None or len(repr(step_size)) <= 5


@pytest.mark.parametrize("claim", PROVABLE, ids=lambda claim: claim.name)
@settings(max_examples=20)
@given(data=st.data())
def test_cases_are_code_and_batches_independent_where_s_ms_is_an_edge(claim: Claim[Any], data: st.DataObject) -> None:
    case = data.draw(claim.region())
    point = case[0] if isinstance(case, tuple) else case
    assert repr(eval(repr(case), {"sm": sm, "Point": Point})) == repr(case)  # all digits, also of arrays
    if claim.kind in ("mean-square", "mean", "almost sure", "stationary"):
        assert point.sampling != "epoch" or point.batch_size == point.model.samples


def test_an_edge_claim_compares_what_its_formula_says() -> None:
    claim = next(claim for claim in FALSE if claim.name == "S_ms < 2/eta implies BS_R <= 2/eta")
    point = claim.counterexample
    assert point is not None
    assert claim.sides(point)[1] == 2 / point.eta
    assert claim.sides(point)[0] == pytest.approx(RATIO(point), rel=1e-9)


@pytest.mark.parametrize("claim", [*PROVABLE, *FALSE], ids=lambda claim: claim.name)
def test_every_claim_says_what_it_claims(claim: Claim[Any]) -> None:
    assert claim.statement.endswith(".")
    assert claim.formula
    assert claim.assumptions
    assert (claim in PROVABLE) == bool(claim.proof)
    assert (claim in FALSE) == (claim.counterexample is not None)


def test_names_tell_claims_apart() -> None:
    names = [claim.name for claim in (*PROVABLE, *FALSE)]
    assert len(set(names)) == len(names)
    assert set(TRUTH) == {claim.name for claim in FALSE}
