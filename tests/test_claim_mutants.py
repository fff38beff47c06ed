"""The power of the search: claims that are slightly wrong are refuted, and false claims are refuted again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings

from sgdmodels.testing import Point
from sgdmodels.testing.claim import Claim
from sgdmodels.testing.claims import FALSE, PROVABLE, crossings

UNSHRUNK = (Phase.generate, Phase.target)  # any violation will do


def times_the_profile(factor: int, **changes: Any) -> settings:
    """Settings for so many times the examples of the active profile."""
    return settings(max_examples=factor * settings().max_examples, **changes)


@pytest.mark.parametrize("claim", PROVABLE, ids=lambda claim: claim.name)
def test_claims_with_a_left_side_one_percent_larger_are_refuted(claim: Claim[Any]) -> None:
    def more(point: Any) -> tuple[Any, ...]:
        left, right, *scale = claim.sides(point)
        if claim.relation == "==":
            return 1.01 * np.asarray(left), right, *scale
        return left + 0.01 * np.maximum(abs(left), abs(right)), right, *scale

    assert replace(claim, sides=more).attack(times_the_profile(6, phases=UNSHRUNK)) is not None


@pytest.mark.parametrize("claim", [c for c in PROVABLE if c.relation == "<="], ids=lambda claim: claim.name)
def test_inequalities_with_their_sides_swapped_are_refuted(claim: Claim[Any]) -> None:
    def swapped(point: Any) -> tuple[Any, ...]:
        left, right, *scale = claim.sides(point)
        return right, left, *scale

    assert replace(claim, sides=swapped).attack(settings(phases=UNSHRUNK)) is not None


SIGNS = (
    (crossings.SAME_BATCH_SIGN, crossings.same_batch_identity, crossings.batch_sharpness),
    (crossings.FULL_SIGN, crossings.full_identity, crossings.gni),
    (crossings.DISTANCE_SIGN, crossings.distance_change_identity, crossings.square_ratio),
)


@pytest.mark.parametrize("factor", [0.98, 1.02])
@pytest.mark.parametrize(("claim", "change", "sharpness"), SIGNS, ids=lambda value: getattr(value, "name", ""))
def test_a_crossing_two_percent_off_is_refuted(
    claim: Claim[Point], change: Callable[..., Any], sharpness: Callable[[Point], float], factor: float
) -> None:
    wrong = replace(claim, sides=crossings.signs(change, lambda point: factor * sharpness(point)))
    assert wrong.attack(times_the_profile(2, phases=UNSHRUNK)) is not None


@pytest.mark.parametrize(("claim", "change", "sharpness"), SIGNS, ids=lambda value: getattr(value, "name", ""))
def test_a_change_that_is_always_zero_is_refuted(
    claim: Claim[Point], change: Callable[..., Any], sharpness: Callable[[Point], float]
) -> None:
    unmoved = replace(claim, sides=crossings.signs(lambda point: (0.0, *change(point)[1:]), sharpness))
    assert unmoved.attack(settings(phases=UNSHRUNK)) is not None


RARE = (  # their violations are found, too, but it takes hundreds of examples
    "BS_E falls with b",
    "BS_R < 2/eta implies E L(theta+) <= L(theta)",
    "S_ms < 2/eta implies E L(theta+) <= L(theta)",
    "S_ms < 2/eta implies E|x+|^2 <= |x|^2",
)
FOUND = tuple(claim for claim in FALSE if claim.name not in RARE)


@pytest.mark.parametrize("claim", FOUND, ids=lambda claim: claim.name)
def test_attack_refutes_false_claims_again(claim: Claim[Point]) -> None:
    found = claim.attack(settings(max_examples=300, phases=UNSHRUNK))
    assert found is not None
    assert not claim.holds(found)
