"""The type `Claim` and points: margins, what is undefined, seeds, and code that rebuilds a point."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import find, settings
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.sampling import SCHEMES
from sgdmodels.testing import Claim, Point, points

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
    assert survived.points == 4


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
