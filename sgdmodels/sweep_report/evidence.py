"""The runs of a row as predictions ask for them, with what several predictions need worked out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import FloatArray
from ..distances import Estimate
from ..predictions import Evidence, NoAnswer
from ..predictions.base import NOT_APPLICABLE

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class SweptEvidence(Evidence):
    """Evidence whose seeds may have losses of their own: closed forms are then averaged over replicas, as levels are.

    by_replica: for each batch size the a_i of every replica.
    """

    by_replica: Mapping[int, list[FloatArray]] = field(default_factory=dict)
    known: dict[tuple[Any, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def survivors(self, batch_size: int) -> xr.Dataset:
        if batch_size not in self.runs:  # as of a reference whose cell is still to be computed
            raise NoAnswer(NOT_APPLICABLE, f"not computed at b = {batch_size}")
        return self._once(super().survivors, batch_size)

    def middle(self, batch_size: int) -> FloatArray:
        return self._once(super().middle, batch_size)

    def window(self, batch_size: int) -> slice:
        return self._once(super().window, batch_size)

    def drifts(self, batch_size: int, metric: str) -> str:
        return self._once(super().drifts, batch_size, metric)

    def _once(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """An answer, or why there is none, worked out the first time."""
        key = ask.__name__, *arguments
        if key not in self.known:
            try:
                self.known[key] = ask(*arguments)
            except NoAnswer as none:
                self.known[key] = none
        answer = self.known[key]
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def against_closed_form(self, batch_size: int, metric: str, closed_form: Callable[..., float]) -> Estimate:
        if batch_size not in self.by_replica:
            return super().against_closed_form(batch_size, metric, closed_form)
        level = self.settled(batch_size, metric)
        alive = np.isnan(self.runs[batch_size].diverged_at.values)
        chosen = [a for a, lives in zip(self.by_replica[batch_size], alive, strict=True) if lives]
        values = {id(a): closed_form(a, batch_size, self.sampling) for a in {id(a): a for a in chosen}.values()}
        expected = float(np.mean([values[id(a)] for a in chosen]))
        return Estimate(level.value / expected, level.low / expected, level.high / expected)
