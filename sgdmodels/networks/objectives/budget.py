"""Work in pieces that fit in memory: as large as a budget allows, halved when memory runs out all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


@dataclass
class MemoryBudget:
    """At most `limit` bytes for what a piece of work holds at once.

    >>> list(MemoryBudget(limit=100).over(5, 50, lambda part: (part.start, part.stop)))
    [(0, 2), (2, 4), (4, 5)]
    """

    limit: int

    def fitting(self, bytes_each: int) -> int:
        """How many items of `bytes_each` bytes fit, at least one."""
        return max(1, self.limit // max(1, bytes_each))

    def over(self, count: int, bytes_each: int, compute: Callable[[slice], Result]) -> Iterator[Result]:
        """`compute(part)` for parts that cover 0..count; a part that runs out of memory is tried again at half its
        size.

        What has run out once is not tried again: the limit falls with it. Raises MemoryError if one item is too large.
        """
        start = 0
        while start < count:
            part = slice(start, min(count, start + self.fitting(bytes_each)))
            try:
                result = compute(part)
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem):
                    raise
                if part.stop - part.start == 1:
                    raise MemoryError(
                        f"one item of about {bytes_each / 1e6:.3g} MB does not fit in memory; use a smaller batch size "
                        "or fewer samples, or float32"
                    ) from problem
                self.limit = max(1, (part.stop - part.start) // 2) * max(1, bytes_each)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield result
            start = part.stop


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whichever device."""
    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(problem).lower()
    return "out of memory" in words or "can't allocate memory" in words or "not enough memory" in words


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """The sum of some tensors, one at a time."""
    rest = iter(parts)
    total = next(rest)
    for part in rest:
        total = total + part
    return total
