"""What a prediction is: a claim with a formula and a band, evaluated on the runs of one dynamics, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import FloatArray
from ..detectors import FLAT, Plateau, entered_at, eoss_window, plateau, slope
from ..distances import Estimate
from ..models import Model
from ..sampling import noise_coefficients

if TYPE_CHECKING:
    import xarray as xr

HOLDS = "holds"
FAILS = "fails"
INCONCLUSIVE = "inconclusive"
NOT_APPLICABLE = "not applicable"
NOT_ENTERED = "EoSS never entered"
DIVERGED = "diverged"
VERDICTS = (HOLDS, FAILS, INCONCLUSIVE, NOT_APPLICABLE, NOT_ENTERED, DIVERGED)


class NoAnswer(Exception):
    """Why a prediction has no value here: one of the last three verdicts, and the reason."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict, self.reason = verdict, reason


@dataclass(frozen=True)
class Finding:
    """What a prediction found for one dynamics: a value with its 95 % interval, the verdict, and why."""

    value: float
    low: float
    high: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Evidence:
    """The runs of one dynamics at several batch sizes, and what was measured on them.

    runs: by batch size, with loss, gradient_norm, batch_sharpness, lambda_max and gni at that batch size.
    snapshots: dear metrics at a few steps of the window of each run. edge_tests: results of
    `sgdmodels.interventions.edge_test`. streaks: loss and step sharpness of some last steps, one by one. directions:
    the a_i where the curvature is a moving scalar times a_i a_i'. reference: the evidence of SGD, for its models.
    """

    model: Model
    dynamics: Any
    step_size: float
    runs: Mapping[int, xr.Dataset]
    sampling: str = "without_replacement"
    snapshots: Mapping[int, xr.Dataset] = field(default_factory=dict)
    edge_tests: Mapping[int, xr.Dataset] = field(default_factory=dict)
    streaks: Mapping[int, xr.Dataset] = field(default_factory=dict)
    convergence: Mapping[int, str] = field(default_factory=dict)
    directions: FloatArray | None = None
    reference: Evidence | None = None
    memory: dict[tuple[str, int, str], Plateau] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def momentum(self) -> float:
        return float(getattr(self.dynamics, "momentum", 0.0))

    def survivors(self, batch_size: int) -> xr.Dataset:
        """The run at `batch_size` without its diverged replicas; no answer if more than half of them are."""
        run = self.runs[batch_size]
        alive = np.isnan(run.diverged_at.values)
        lost = int((~alive).sum())
        if 2 * lost > len(alive):
            share = f"{lost} of" if alive.any() else "all"
            first = int(run.diverged_at.min())
            raise NoAnswer(DIVERGED, f"{share} {len(alive)} replicas diverged, the first at step {first}")
        return run.isel(replica=alive)

    def losses(self, batch_size: int) -> str:
        """How many replicas diverged, in words; empty if none did."""
        lost = self.runs[batch_size].diverged_at.notnull().values
        return f"{lost.sum()} of {lost.size} replicas diverged" if lost.any() else ""

    def records(self, batch_size: int, metric: str) -> FloatArray:
        """A metric of the survivors, shape (replica, step)."""
        run = self.survivors(batch_size)
        if metric not in run:
            raise NoAnswer(NOT_APPLICABLE, f"{metric} was not measured")
        values = run[metric]
        if "batch_size" in values.dims:
            values = values.sel(batch_size=batch_size)
        return np.ascontiguousarray(values.transpose("replica", "step").values)

    def scaled(self, batch_size: int, metric: str) -> FloatArray:
        """step_size * metric / 2 of the survivors, shape (replica, step)."""
        return self.records(batch_size, metric) * self.step_size / 2

    def middle(self, batch_size: int) -> FloatArray:
        """step_size * Batch Sharpness / 2, median over survivors, (step,); NaN where all their gradients vanish."""
        values = self.scaled(batch_size, "batch_sharpness")
        known = ~np.isnan(values).all(axis=0)
        middle = np.full(values.shape[1], np.nan)
        middle[known] = np.nanmedian(values[:, known], axis=0)
        return middle

    def entry(self, batch_size: int) -> int:
        """The step at which Batch Sharpness enters EoSS; no answer if it never does."""
        steps = self.survivors(batch_size).step.values
        middle = self.middle(batch_size)
        entered = entered_at(steps, middle)
        if entered is None:
            most = np.max(middle, where=~np.isnan(middle), initial=-np.inf)
            raise NoAnswer(NOT_ENTERED, f"Batch Sharpness stayed below 0.9 (2/eta), at most {most:.3g}")
        return entered

    def window(self, batch_size: int) -> slice:
        """Records of the last 40 % of the steps since entry (theory J1)."""
        self.entry(batch_size)
        steps = self.survivors(batch_size).step.values
        first = eoss_window(steps, self.middle(batch_size))
        assert first is not None
        if len(steps) - first < 10:
            raise NoAnswer(
                NOT_ENTERED, f"EoSS was entered too late: {len(steps) - first} records are left of the window"
            )
        return slice(first, None)

    def level(self, batch_size: int, metric: str) -> Plateau:
        """Plateau of step_size * metric / 2 over the window, with its block-bootstrap interval."""
        return self._plateau("window", batch_size, metric, self.window(batch_size))

    def settled(self, batch_size: int, metric: str) -> Plateau:
        """`level`, if it is a plateau."""
        drift = self.drifts(batch_size, metric)
        if drift:
            raise NoAnswer(INCONCLUSIVE, drift)
        return self.level(batch_size, metric)

    def drifts(self, batch_size: int, metric: str) -> str:
        """Why there is no plateau (theory J3: the level moves by 0.05 or more in the window), or an empty string.

        A noisy series has a noisy slope, so that replicas must agree on it: the interval of their mean drift must lie
        beyond 0.05. One replica agrees with itself, and J3 is taken at its word.
        """
        window = self.window(batch_size)
        steps = self.survivors(batch_size).step.values[window]
        series = [row for row in self.scaled(batch_size, metric)[:, window] if np.isfinite(row).sum() > 1]
        if not series:
            return f"{metric} is not known in the window"
        moves = mean_interval([slope(steps, row) * float(steps[-1] - steps[0]) for row in series], exact=True)
        beyond = moves.low > FLAT or moves.high < -FLAT
        return f"no plateau: {metric} eta/2 moves by {moves.value:+.2g} in the window" if beyond else ""

    def against_closed_form(self, batch_size: int, metric: str, closed_form: Callable[..., float]) -> Estimate:
        """The settled level of a metric, over `closed_form(directions, batch_size, sampling)`."""
        if self.directions is None:
            raise NoAnswer(NOT_APPLICABLE, "no closed form: the curvature is not known to be a scalar times a_i a_i'")
        expected = closed_form(self.directions, batch_size, self.sampling)
        level = self.settled(batch_size, metric)
        return Estimate(level.value / expected, level.low / expected, level.high / expected)

    def late_level(self, batch_size: int, metric: str) -> Plateau:
        """The same over the last 40 % of the run, whether or not EoSS was entered."""
        steps = self.survivors(batch_size).step.values
        return self._plateau("late", batch_size, metric, slice(int(np.argmax(steps >= 0.6 * steps[-1])), None))

    def _plateau(self, where: str, batch_size: int, metric: str, records: slice) -> Plateau:
        """A level, computed once: several predictions ask for the same."""
        key = (where, batch_size, metric)
        if key not in self.memory:
            steps = self.survivors(batch_size).step.values[records]
            values = self.scaled(batch_size, metric)[:, records].copy()
            if np.isfinite(values).sum(axis=1).min() < 3:  # as where gradients vanish
                raise NoAnswer(INCONCLUSIVE, f"{metric} is known at fewer than 3 records of a replica")
            self.memory[key] = plateau(steps, values)
        return self.memory[key]

    def snapshot_level(self, batch_size: int, metric: str) -> Estimate:
        """Mean of a dear metric over the snapshots of the window, times step_size / 2.

        Snapshots of a replica are correlated, so that the t-interval is that of the means of replicas; one replica of
        a stochastic dynamics has an interval without bounds.
        """
        self.window(batch_size)
        if batch_size not in self.snapshots or metric not in self.snapshots[batch_size]:
            raise NoAnswer(NOT_APPLICABLE, f"{metric} was not measured")
        values = self.snapshots[batch_size][metric] * self.step_size / 2
        rows = values.transpose("replica", ...).values.reshape(values.sizes["replica"], -1)
        finite = np.isfinite(rows)
        if finite.sum(axis=1).min() < 3:
            raise NoAnswer(INCONCLUSIVE, f"{metric} is finite at fewer than 3 snapshots of a replica")
        return mean_interval(np.mean(rows, axis=1, where=finite), exact=self.dynamics.deterministic)

    def c2(self, batch_size: int) -> float:
        return noise_coefficients(self.model.samples, batch_size, self.sampling).c2


@dataclass(frozen=True)
class Prediction:
    """A testable claim: `evaluate(evidence, batch_size)` gives a number that must lie in `band`.

    `per_batch_size=False`: one number from the runs at all batch sizes (batch_size is then None). `same_within`: two
    dynamics agree if their numbers differ by less than this. `evaluate` raises NoAnswer where the claim has no value.
    """

    name: str
    title: str
    statement: str
    formula: str
    reference: str
    applies: str
    quantity: str
    band: tuple[float, float]
    evaluate: Callable[[Evidence, Any], Estimate]
    same_within: float = 0.05
    per_batch_size: bool = True
    needs: tuple[str, ...] = ()

    def find(self, evidence: Evidence, batch_size: int | None) -> Finding:
        """The number, its interval and the verdict for one dynamics at one batch size."""
        if batch_size is None:
            lost = "; ".join(f"b = {b}: {words}" for b in sorted(evidence.runs) if (words := evidence.losses(b)))
        else:
            lost = evidence.losses(batch_size)
        try:
            estimate = self.evaluate(evidence, batch_size)
        except NoAnswer as none:
            told = none.verdict in (DIVERGED, NOT_APPLICABLE) or not lost
            return Finding(np.nan, np.nan, np.nan, none.verdict, none.reason if told else f"{none.reason}; {lost}")
        return Finding(estimate.value, estimate.low, estimate.high, self.verdict(estimate), lost)

    def verdict(self, estimate: Estimate) -> str:
        """holds: the interval lies in the band; fails: it lies outside; inconclusive: it does neither."""
        low, high = self.band
        if np.isnan(estimate.value):
            return INCONCLUSIVE
        if low <= estimate.low and estimate.high <= high:
            return HOLDS
        if estimate.high < low or estimate.low > high:
            return FAILS
        return INCONCLUSIVE


def mean_interval(values: Sequence[float] | FloatArray, *, exact: bool = False) -> Estimate:
    """Mean of independent numbers with its 95 % t-interval: without bounds for one number, unless it is `exact`."""
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    middle, reach = float(array.mean()), 0.0 if exact else np.inf
    if len(array) > 1:
        reach = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(middle, middle - reach, middle + reach)


def without_momentum(evidence: Evidence) -> None:
    """Claims about 2/eta are about plain steps."""
    if evidence.momentum:
        raise NoAnswer(NOT_APPLICABLE, "with momentum the levels are those of B9")
