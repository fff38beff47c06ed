"""Contenders that take turns, and how much their times scatter."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from report import spread

Contenders = dict[str, Callable[[], object]]
spreads: list[float] = []


def interleave(contenders: Contenders, rounds: int) -> dict[str, float]:
    """Median seconds of each contender; they take turns, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, go in contenders.items():
            start = time.perf_counter()
            go()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    spreads.extend(map(spread, seconds.values()))
    return {name: median(values) for name, values in seconds.items()}


def noise(rounds: int, load: float) -> str:
    """What the scatter and the load of the machine say of all the lines so far."""
    ordered = sorted(spreads)
    return (
        f"Half the interquartile range of a contender's times over their median: {100 * median(ordered):.1f} % "
        f"(median over the lines above), {100 * ordered[-1]:.0f} % at worst; {rounds} rounds. "
        f"Load of the machine before the start (0 is idle): {load:.1f}."
    )
