"""A statement about SGD that a program can try to refute: two sides, a relation, and the region it is claimed for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..arguments import one_of, real
from ..errors import InvalidArgument
from ..theory.pencil import NoPositiveCurvature

if TYPE_CHECKING:
    from hypothesis import settings
    from hypothesis.strategies import SearchStrategy

KINDS = ("pointwise", "one-step", "mean", "mean-square", "almost sure", "stationary")
VACUOUS = 1e-3  # of the sides: rounding that may hide more says nothing about the claim
T = TypeVar("T")


@dataclass(frozen=True)
class Survival(Generic[T]):
    """What a claim went through unrefuted: at how many points, and where and how narrowly it held at the tightest.

    `vacuous` of the points could hardly fail: there the tolerated rounding is more than 1e-3 of both sides, or both are
    zero. The smallest margin is that of the others, if there are others.
    """

    points: int
    vacuous: int
    smallest_margin: float
    tightest: T


class Verdict(NamedTuple):
    """The margin in units of the scale; in units of the sides, of entries that may fail; whether there are none."""

    margin: float
    closeness: float
    vacuous: bool


OUTSIDE = Verdict(math.nan, math.nan, True)


@dataclass(frozen=True, repr=False)
class Claim(Generic[T]):
    """An inequality or an identity between two quantities of a point, and where it is claimed to hold.

    ==============  ===============================================================================================
    sides           point -> (left, right), floats or arrays; or (left, right, scale) where `scale` is the largest
                    number that enters by sums and differences: rounding errors are measured against it
    region          () -> hypothesis strategy of points, such as `sgdmodels.testing.points`
    relation        "<=" (left <= right, entry by entry) or "=="
    kind            what kind of stability or quantity it is about, one of `KINDS`
    tolerance       violations up to so much of the scale are rounding
    defined         where the two sides exist; points elsewhere, or with a side that is nan, or where one asks for S_ms
                    of a mean Hessian without a positive eigenvalue, are outside the claim
    counterexample  a stored point of a claim that is known to be false
    ==============  ===============================================================================================

    Without a scale, rounding is measured against the sides, and a zero that comes out as 1e-17 is a violation.
    `test` looks for a violation and raises it, `attack` returns it, both with the simplest violating point that
    hypothesis finds. Sides that raise an error at some points hide no violation at others; where there is none, the
    error is raised with the point as code. Raises InvalidArgument naming the field.

    >>> from hypothesis import settings
    >>> from sgdmodels.testing import points
    >>> fixed = settings(max_examples=200, derandomize=True, database=None)
    >>> claim = Claim(
    ...     "lambda_max <= BS", "Batch Sharpness is never below the sharpness of the full loss.",
    ...     sides=lambda point: (point.lambda_max, point.batch_sharpness), region=points,
    ... )
    >>> found = claim.attack(fixed)
    >>> found.batch_sharpness < found.lambda_max  # print(found) shows the point as code
    True
    >>> claim = Claim(
    ...     "IAS <= lambda_max", "Interaction-aware sharpness is never above the sharpness of the full loss.",
    ...     sides=lambda point: (point.ias, point.lambda_max, abs(point.hessians).max()), region=points,
    ... )
    >>> claim.attack(fixed) is None
    True
    """

    name: str
    statement: str
    sides: Callable[[T], tuple[Any, ...]]
    region: Callable[[], SearchStrategy[T]]
    _: KW_ONLY
    relation: str = "<="
    kind: str = "pointwise"
    formula: str = ""
    assumptions: tuple[str, ...] = ()
    proof: str = ""
    reference: str = ""
    tolerance: float = 1e-9
    defined: Callable[[T], bool] | None = None
    counterexample: T | None = None

    def __post_init__(self) -> None:
        one_of("relation", self.relation, ("<=", "=="))
        one_of("kind", self.kind, KINDS)
        real("tolerance", self.tolerance)
        for field in ("sides", "region"):
            if not callable(getattr(self, field)):
                raise InvalidArgument(f"{field} must be a function, got {getattr(self, field)!r}")

    def __repr__(self) -> str:
        return f"Claim({self.name!r}, {self.statement!r})"

    def margin(self, point: T) -> float:
        """By how much the claim holds, in units of the scale; negative where it fails, nan where it says nothing.

        For "<=" (right - left) / scale, for "==" -|left - right| / scale, of arrays the worst entry.
        """
        return self._evaluated(point).margin

    def _evaluated(self, point: T) -> Verdict:
        try:
            if self.defined is not None and not self.defined(point):
                return OUTSIDE
            left, right, scale = self._sides(point)
        except NoPositiveCurvature:
            return OUTSIDE
        except Exception as error:
            from hypothesis.errors import HypothesisException

            if isinstance(error, HypothesisException | WrongShape):  # the former is how assume() speaks
                raise
            raise NotEvaluated(
                f"the sides of the claim {self.name!r}, or its `defined`, raise {type(error).__name__}: {error}\nat "
                f"{point!r}\nIf they do not exist there, say where they do: Claim(..., defined=lambda point: ...)"
            ) from error
        if not left.size:
            return OUTSIDE
        if not all(np.isfinite(part).all() for part in (left, right, scale)):
            if self.defined is None:
                return OUTSIDE
            raise AssertionError(f"{self._heading()}\n  its sides are not finite where it is defined:\n{point!r}")
        gap = right - left if self.relation == "<=" else -abs(right - left)
        size = np.maximum(abs(left), abs(right))
        telling = (size > 0) & (self.tolerance * scale <= VACUOUS * size)
        closeness = float(np.min((gap[telling] / size[telling]), initial=math.inf))
        return Verdict(float(np.min(gap / np.where(scale > 0, scale, 1.0))), closeness, not telling.any())

    def holds(self, point: T) -> bool:
        """Whether the claim is true at `point`, up to rounding; raises InvalidArgument where it says nothing."""
        margin = self.margin(point)
        if math.isnan(margin):
            raise InvalidArgument(f"the claim {self.name!r} says nothing at this point: a side does not exist there")
        return margin >= -self.tolerance

    def check(self, point: T) -> None:
        """Raise AssertionError with both sides and the point as code unless the claim holds at `point`."""
        if self.holds(point):
            return
        left, right, scale = self._sides(point)
        raise AssertionError(
            f"{self._heading()}\n  left  = {_text(left)}\n  right = {_text(right)}\n"
            f"  violated by {-self.margin(point):.3g} of the scale {float(np.max(scale)):.6g} "
            f"(tolerance {self.tolerance:.0e})\n{point!r}"
        )

    def test(self, settings: settings | None = None) -> Survival[T]:
        """Look for a violation in the region and raise it as `check` does; else say what the claim survived.

        `settings` of hypothesis, by default those of its active profile. Raises hypothesis' own errors if nearly no
        point of the region is inside the claim.
        """
        tightest: list[tuple[bool, float, T]] = []
        count = vacuous = 0

        def tried(point: T, verdict: Verdict) -> None:
            nonlocal count, vacuous
            count += 1
            vacuous += verdict.vacuous
            if verdict.margin < -self.tolerance:
                self.check(point)
            if not tightest or (verdict.vacuous, verdict.margin) < tightest[0][:2]:
                tightest[:] = [(verdict.vacuous, verdict.margin, point)]

        self._search(tried, settings)
        return Survival(count, vacuous, *tightest[0][1:])

    def attack(self, settings: settings | None = None, *, by: float = 0.0) -> T | None:
        """The simplest violating point that hypothesis finds in the region, or None.

        Violations of less than `by`, in units of the scale, do not count.
        """
        violations: list[T] = []

        def tried(point: T, verdict: Verdict) -> None:
            if verdict.margin < -max(self.tolerance, by):
                violations.append(point)
                raise Refuted

        try:
            self._search(tried, settings)
        except Refuted:
            return violations[-1]  # hypothesis runs the simplest one last
        return None

    def _search(self, tried: Callable[[T, Verdict], None], settings: settings | None) -> None:
        """Call `tried(point, verdict)` at points of the region, steered towards small margins.

        Points at which the sides raise are passed over; their simplest error is raised if nothing else was found.
        """
        import hypothesis
        from hypothesis.errors import FailedHealthCheck, Unsatisfiable

        errors: list[Exception] = []

        def claimed(point: T) -> None:
            try:
                verdict = self._evaluated(point)
            except (NotEvaluated, AssertionError) as error:
                errors.append(error)
                hypothesis.reject()
            hypothesis.assume(not math.isnan(verdict.margin))
            if not verdict.vacuous:  # else the search would end where the claim cannot fail
                hypothesis.target(-verdict.closeness, label=self.name)
            tried(point, verdict)

        # hypothesis keeps violations and derives seeds by the name of the test
        claimed.__name__ = claimed.__qualname__ = "claim_" + re.sub(r"\W", "_", self.name)
        chosen = settings or hypothesis.settings()
        slow = hypothesis.HealthCheck.too_slow  # the first point of a new loss may compile
        relaxed = hypothesis.settings(
            chosen,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=(slow, *chosen.suppress_health_check),
            # explaining traces every line: slow, and of no use where all points run the same lines
            phases=[phase for phase in chosen.phases if phase is not hypothesis.Phase.explain],
        )
        try:
            relaxed(hypothesis.given(self.region())(claimed))()
        except (FailedHealthCheck, Unsatisfiable):
            if not errors:
                raise
        if errors:
            raise min(errors, key=lambda error: len(str(error)))

    def _sides(self, point: T) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Both sides and the scale as arrays."""
        given = self.sides(point)
        shape = f"the sides of the claim {self.name!r} must be a pair (left, right) or (left, right, scale)"
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise WrongShape(f"{shape} of floats or arrays, got {given!r}")
        try:
            left, right, *scale = np.broadcast_arrays(*(np.asarray(part) for part in given))
            if any(part.dtype.kind not in "biuf" for part in (left, right, *scale)):
                raise ValueError
        except ValueError:
            raise WrongShape(f"{shape} of real numbers or arrays of shapes that broadcast, got {given!r}") from None
        left, right = left.astype(np.float64), right.astype(np.float64)
        size = np.maximum(abs(left), abs(right))
        return left, right, np.maximum(size, scale[0]) if scale else size

    def _heading(self) -> str:
        lines = [f"{self.name} ({self.kind}): {self.statement}"]
        lines += [f"  formula: {self.formula}"] if self.formula else []
        lines += [f"  assuming: {' '.join(self.assumptions)}"] if self.assumptions else []
        return "\n".join(lines)


class Refuted(Exception):
    """Stops a search at a violation."""


class NotEvaluated(InvalidArgument):
    """The sides of a claim raise an error at a point."""


class WrongShape(InvalidArgument):
    """The sides of a claim are not two."""


def _text(values: np.ndarray) -> str:
    return repr(float(values)) if values.ndim == 0 else np.array2string(values, precision=17, threshold=20)
