"""When to measure during a training, by steps or by a share of the time, and what it has cost."""

from __future__ import annotations

from time import perf_counter

from ...arguments import integer, real
from ...errors import InvalidArgument


class RecordTimes:
    """A record every `every` steps, or as many as take at most `share` of the wall time; the first in any case.

    >>> times = RecordTimes(every=10, share=None)
    >>> [times.due(before, before + 1) for before in (8, 9, 10)]
    [False, True, False]
    """

    def __init__(self, every: int | None, share: float | None) -> None:
        if (every is None) == (share is None):
            raise InvalidArgument(f"give every= (steps) or share= (of the time), one of them, got {every} and {share}")
        self.every = None if every is None else integer("every", every, 1)
        self.share = None if share is None else real("share", share, 0.0, 1.0, open_low=True)
        self.costs: list[float] = []
        self.began: float | None = None
        self.now = 0.0

    def look(self) -> float:
        """The present time in seconds; the wall time runs from the first look to the last."""
        self.now = perf_counter()
        if self.began is None:
            self.began = self.now
        return self.now

    def due(self, before: int, steps: int) -> bool:
        """Whether to measure, `steps` steps having been made, `before` at the last call.

        By a share of the time: if a record as dear as the last would leave the share spent within bounds.
        """
        if self.every is not None:
            return steps // self.every > before // self.every
        if not self.costs:
            return True
        next_one = self.costs[-1]
        return self.spent + next_one <= (self.share or 0.0) * (self.wall + next_one)

    @property
    def spent(self) -> float:
        return sum(self.costs)

    @property
    def wall(self) -> float:
        return 0.0 if self.began is None else self.now - self.began

    def __str__(self) -> str:
        return f"every {self.every} steps" if self.every else f"for at most {self.share:.1%} of the time"
