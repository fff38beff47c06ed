"""The type `Claim` and points: margins, what is undefined, seeds, and code that rebuilds a point."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.sampling import SCHEMES
from sgdmodels.testing import Claim, Point, points
from sgdmodels.testing.claims.transformations import scaled
from sgdmodels.theory import max_step_size

from .cases import CASES
from .enumeration import all_batches, batch_sums

POSITIVE = Claim("x <= 3", "Numbers are at most three.", lambda x: (x, 3.0), lambda: st.integers(0, 10))


def test_attack_returns_the_simplest_violation_and_check_shows_it() -> None:
    assert POSITIVE.attack() == 4
    assert POSITIVE.attack(by=0.5) == 7  # (7 - 3) / 7 is the first above one half
    with pytest.raises(AssertionError, match=r"left  = 4.0\n  right = 3.0"):
        POSITIVE.check(4)
    with pytest.raises(AssertionError, match="Numbers are at most three"):
        POSITIVE.test()


def test_a_true_claim_survives_and_says_where_it_was_tight() -> None:
    claim = replace(POSITIVE, region=lambda: st.integers(0, 3))
    assert claim.attack() is None
    survived = claim.test()
    assert (survived.smallest_margin, survived.tightest) == (0.0, 3)
    assert (survived.points, survived.vacuous) == (4, 0)


def test_points_where_rounding_hides_a_violation_are_counted_and_not_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    sought = []
    monkeypatch.setattr(hypothesis, "target", lambda value, label: sought.append(value))
    # 1e-9 of the scale is the whole side for x > 3, and nothing for the others
    hidden = replace(POSITIVE, sides=lambda x: (x, 10.0, 1e10 if x > 3 else 0.0))
    survived = hidden.test()
    assert (survived.points, survived.vacuous) == (11, 7)
    assert survived.smallest_margin == pytest.approx(0.7)
    assert survived.tightest == 3
    assert sorted(sought) == pytest.approx([-1.0, -0.9, -0.8, -0.7])


def test_an_array_is_vacuous_only_if_all_its_entries_are() -> None:
    region = lambda: st.just(0)  # noqa: E731
    two = replace(POSITIVE, region=region, sides=lambda x: ([1.0, 1.0], [2.0, 2.0], [0.0, 1e9]))
    assert two.test().vacuous == 0
    assert replace(two, sides=lambda x: ([1.0, 0.0], [2.0, 0.0], [1e9, 0.0])).test().vacuous == 1


def test_sides_are_evaluated_once_at_a_point_that_passes() -> None:
    seen = []
    replace(POSITIVE, region=lambda: st.just(0), sides=lambda x: (seen.append(x) or 0.0, 1.0)).test()
    assert seen == [0]


def reciprocal(x: int) -> tuple[float, float]:
    return 1 / (x - 2) / (x - 9), 0.05  # raises at 2 and 9, violated at 0, 1, 10


def test_sides_that_raise_hide_no_violation() -> None:
    claim = replace(POSITIVE, sides=reciprocal)
    assert claim.attack() == 0
    assert replace(claim, region=lambda: st.integers(2, 10)).attack() == 10
    with pytest.raises(AssertionError, match="violated by"):
        claim.test()


@pytest.mark.parametrize("low", [2, 9])  # at one point of seven, and at the only one
@pytest.mark.parametrize("search", [Claim.attack, Claim.test])
def test_sides_that_raise_without_a_violation_say_where_and_what_to_do(low: int, search: Any) -> None:
    claim = replace(POSITIVE, sides=reciprocal, region=lambda: st.integers(low, min(low + 6, 9)))
    with pytest.raises(InvalidArgument, match=rf"(?s)'x <= 3'.* raise ZeroDivisionError.*\nat {low}\n.*defined="):
        search(claim)
    assert replace(claim, region=lambda: st.integers(2, 8), defined=lambda x: x != 2).attack() is None


def test_assumptions_of_hypothesis_may_be_made_in_sides() -> None:
    def sides(x: int) -> tuple[float, float]:
        hypothesis.assume(x < 4)
        return x, 3.0

    assert replace(POSITIVE, sides=sides).attack() is None


def test_where_no_curvature_is_positive_an_edge_says_nothing() -> None:
    def edges(point: Point) -> tuple[float, float]:
        return (max_step_size(point.hessians, point.batch_size, point.sampling, momentum=m) for m in (0.0, 0.5))

    flat = Point(sm.models.LeastSquares([[0.0]], [0.0]), [0.0], 1)
    claim = Claim("heavy ball", "It is better.", lambda point: tuple(edges(point)), lambda: st.just(flat))
    assert math.isnan(claim.margin(flat))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1.0, "must be a pair"),
        (True, "must be a pair"),
        ((1.0,), "must be a pair"),
        ((1.0, None), "real numbers"),
        ((1.0, "a"), "real numbers"),
        ((np.ones(2), np.ones(3)), "shapes that broadcast"),
    ],
)
def test_sides_of_another_shape_are_refused_at_once(given: Any, message: str) -> None:
    tried = []
    claim = replace(POSITIVE, sides=lambda x: tried.append(x) or given)
    with pytest.raises(InvalidArgument, match=message):
        claim.attack(settings(phases=[hypothesis.Phase.generate]))
    assert len(tried) <= 3
    with pytest.raises(InvalidArgument, match=r"'x <= 3' must be .*\(left, right"):
        claim.margin(1)


def test_margins_are_in_units_of_the_scale() -> None:
    assert POSITIVE.margin(4) == -0.25
    assert replace(POSITIVE, sides=lambda x: (x, 3.0, 100.0)).margin(4) == -0.01
    assert replace(POSITIVE, relation="==").margin(2) == pytest.approx(-1 / 3)
    arrays = replace(POSITIVE, sides=lambda x: (np.array([1.0, x]), np.array([2.0, 3.0])))
    assert arrays.margin(6) == -0.5  # the worst entry
    assert replace(POSITIVE, sides=lambda x: (0.0, 0.0)).margin(0) == 0.0


def test_points_where_a_side_does_not_exist_are_outside() -> None:
    claim = replace(POSITIVE, sides=lambda x: (x, math.nan if x > 3 else 3.0))
    assert claim.attack() is None
    assert math.isnan(claim.margin(5))
    with pytest.raises(InvalidArgument, match="says nothing at this point"):
        claim.holds(5)
    with pytest.raises(AssertionError, match="not finite where it is defined"):
        replace(claim, defined=lambda x: True).margin(5)


def test_a_region_without_points_is_not_a_pass() -> None:
    with pytest.raises(FailedHealthCheck):
        replace(POSITIVE, region=lambda: st.integers(0), defined=lambda x: False).test()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relation": "<"}, "relation must be one of"),
        ({"kind": "stable"}, "kind must be one of"),
        ({"tolerance": -1.0}, "tolerance must be"),
        ({"sides": (1, 2)}, "sides must be a function"),
        ({"region": st.integers()}, "region must be a function"),
    ],
)
def test_bad_claims_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        replace(POSITIVE, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_a_point_is_code_that_rebuilds_it(name: str) -> None:
    model = CASES[name](1).model
    point = Point(model, np.arange(model.dim) / 8, 2, "with_replacement", 0.5)
    again = eval(repr(point), {"sm": sm, "Point": Point})
    assert repr(again) == repr(point)
    np.testing.assert_array_equal(again.gradients, point.gradients)
    np.testing.assert_array_equal(again.hessians, point.hessians)
    assert (again.batch_size, again.sampling, again.eta) == (2, "with_replacement", 0.5)


class LeastSquares(sm.models.LeastSquares):
    """Of the user's own, with other gradients."""

    def sample_gradients(self, theta: Any) -> np.ndarray:
        return 7 * super().sample_gradients(theta)


def test_a_loss_of_the_users_own_is_not_shown_as_the_built_in_one() -> None:
    shown = repr(Point(LeastSquares([[1.0]], [2.0]), [0.0], 1))
    assert shown.startswith("Point(<tests.test_claim_type.LeastSquares: ")
    assert "sm.models" not in shown
    with pytest.raises(InvalidArgument, match="built-in loss"):
        scaled(LeastSquares([[1.0]], [2.0]), 4.0)


def test_hypothesis_shows_points_as_code() -> None:
    pretty = pytest.importorskip("hypothesis.vendor.pretty")
    point = find(points(), lambda point: True, settings=settings(max_examples=10))
    assert pretty.pretty(point).startswith("Point(sm.models.")


@pytest.mark.parametrize("sampling", SCHEMES)
def test_batches_of_a_point_are_all_batches(sampling: str) -> None:
    model = CASES["quadratics"](1).model
    point = Point(model, np.ones(model.dim), 2, sampling)
    drawn = all_batches(model.samples, 2, sampling)
    table = point.batches()
    chances = np.array([p for _, p in drawn])
    for values, mine in ((point.gradients, table.gradients), (point.hessians, table.hessians)):
        theirs = batch_sums(values, 2, drawn)
        for power in (1, 2, 3):  # with replacement, the package counts multisets, not ordered draws
            expected = np.tensordot(chances, theirs**power, axes=1)
            np.testing.assert_allclose(table.mean(mine**power), expected, rtol=1e-12, atol=1e-12)
    assert table.probability.sum() == pytest.approx(1.0)


def test_bad_points_are_refused() -> None:
    model = sm.models.LeastSquares([[1.0], [2.0]], [0.0, 0.0])
    for arguments, message in (
        ((model, [1.0, 2.0], 1), "theta"),
        ((model, [1.0], 3), "batch_size"),
        ((model, [1.0], 1, "random"), "sampling"),
        ((model, [1.0], 1, "epoch", 0.0), "step_size"),
        (("model", [1.0], 1), "model"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Point(*arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="no step size"):
        _ = Point(model, [1.0], 1).eta
    big = sm.models.LeastSquares(np.ones((40, 1)), np.ones(40))
    with pytest.raises(InvalidArgument, match="too many to enumerate"):
        _ = Point(big, [0.0], 20).batch_sharpness_mean_ratio
    with pytest.raises(InvalidArgument, match="too many to enumerate"):
        Point(big, [0.0], 20).batches()


def test_quantities_that_do_not_exist_are_nan() -> None:
    point = Point(sm.models.LeastSquares([[0.0]], [0.0]), [0.0], 1)
    assert all(math.isnan(getattr(point, name)) for name in ("batch_sharpness", "gni", "mean_square_sharpness"))
    assert point.lambda_max == 0.0
    # the largest eigenvalue of the mean Hessian is zero, and comes out as 2e-16
    rounding = Point(sm.models.Quadratics([[[-1.25, -6.25], [-6.25, -31.25]]], [[0.0, 0.0]]), [0.0, 0.0], 1)
    assert math.isnan(rounding.mean_square_sharpness)
