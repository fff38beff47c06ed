"""The replicas of one or several runs on a network, stepped together and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ...measure import evaluate
from ...metrics import Snapshots
from ...simulate import Run
from .stack import Member, Stack


class Worker:
    """All replicas of `runs`, which share the network, the recorded steps and nothing else."""

    def __init__(self, *runs: Run) -> None:
        self.runs = runs
        probe: Any = runs[0].model
        probe.check_ready()
        members = [
            Member(run, row, run.plan, run.seed, int(replica))
            for run in runs
            for row, replica in enumerate(run.replicas)
        ]
        kinds: dict[tuple[Any, ...], list[Member]] = {}
        for member in members:
            kinds.setdefault(member.kind(), []).append(member)
        self.stacks = [Stack(probe.objective, same) for same in kinds.values()]
        self.memory: list[dict[str, Any]] = [{} for _ in runs]

    @staticmethod
    def identity(probe: Any) -> dict[str, Any]:
        """What decides the numbers of a run on a network beyond what every loss says of itself."""
        return {"accuracy": asdict(probe.accuracy)}

    def memories(self) -> list[tuple[Run, slice, dict[str, Any]]]:
        """What metrics keep from chunk to chunk, with the run and the rows whose it is."""
        return [(run, slice(0, len(run.replicas)), kept) for run, kept in zip(self.runs, self.memory, strict=True)]

    def advance(self, start: int, end: int, records: slice) -> None:
        """Step all to `end`, then measure what was recorded on the way."""
        recorded = self.runs[0].recorded[records]
        dim = self.runs[0].model.dim
        snapshots = [np.empty((len(run.replicas), len(recorded), dim)) for run in self.runs]
        with torch.no_grad():
            for stack in self.stacks:
                visited = stack.advance(start, end, recorded.tolist())
                stack.scatter()
                for member, rows in zip(stack.members, visited, strict=True):
                    snapshots[self.runs.index(member.run)][member.row] = rows
        if len(recorded):
            for run, theta, memory in zip(self.runs, snapshots, self.memory, strict=True):
                self._measure(run, theta, recorded, records, memory)

    def _measure(
        self, run: Run, theta: np.ndarray, recorded: Sequence[int] | np.ndarray, records: slice, memory: dict[str, Any]
    ) -> None:
        everyone = slice(0, len(run.replicas))
        points = Snapshots(
            run.model, theta, run.replicas, np.asarray(recorded), run.batch_sizes, run.sampling, run.seed, memory
        )
        for name, values in evaluate(run.metrics, points):
            run.store(name, everyone, records, values)
        if run.keep_params:
            run.store("params", everyone, records, theta)
