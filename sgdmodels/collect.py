"""Make the runs that predictions are judged by: one dynamics, several batch sizes, nudges at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import FloatArray
from .checkpoints import Checkpoint, finished
from .detectors import Plateau
from .dynamics import Dynamics
from .interventions import edge_test, nudged
from .measure import measure
from .models import Model
from .predictions import Evidence, NoAnswer
from .refine import halved, has_field
from .simulate import Run
from .streaks import has_batches, step_sharpness_path

if TYPE_CHECKING:
    import xarray as xr

METRICS = ("loss", "gradient_norm", "batch_sharpness", "lambda_max", "gni")
DEAR_METRICS = ("mean_square_sharpness", "batch_sharpness_mean_ratio")
SNAPSHOTS = 20, 5  # of the dear metrics: in all, and of each replica at least
TESTS = 20  # replicas of an edge test
CONVERGED = 0.05  # relative change of a level that halving the integrator's step may make


@dataclass(frozen=True)
class Experiment:
    """What all dynamics of a score card have in common: the loss, the start, the time axis, the random numbers."""

    model: Model
    init: FloatArray
    steps: int
    batch_sizes: tuple[int, ...]
    replicas: int
    record_every: int
    seed: int
    directions: FloatArray | None
    interventions: int  # steps of each branch, 0 for none
    streaks: int  # steps whose sharpness is followed one by one, 0 for none
    threads: int | None
    sampling: str = "without_replacement"
    dear: bool = True  # whether S_ms and the mean of ratios are measured

    def with_batch_size(self, dynamics: Dynamics, batch_size: int) -> Dynamics:
        """`dynamics` at a batch size of the experiment, if it has one."""
        if has_field(dynamics, "batch_size"):
            return replace(dynamics, batch_size=batch_size)  # type: ignore[call-arg]
        return dynamics

    def pieces(self, dynamics: Dynamics) -> list[tuple[Dynamics, tuple[int, ...]]]:
        """The distinct dynamics to run, and the batch sizes that each stands for."""
        groups: list[tuple[Dynamics, tuple[int, ...]]] = []
        for b in self.batch_sizes:
            mine = self.with_batch_size(dynamics, b)
            if groups and mine is groups[-1][0]:
                groups[-1] = (mine, (*groups[-1][1], b))
            else:
                groups.append((mine, (b,)))
        return groups


def collect(
    experiment: Experiment,
    dynamics: Dynamics,
    reference: Evidence | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Evidence:
    """Run `dynamics` at every batch size, measure, nudge. Calls `tick` after each batch size."""
    runs: dict[int, xr.Dataset] = {}
    snapshots: dict[int, xr.Dataset] = {}
    tests: dict[int, xr.Dataset] = {}
    streaks: dict[int, xr.Dataset] = {}
    convergence: dict[int, str] = {}
    model = experiment.model
    for mine, sizes in experiment.pieces(dynamics):
        replicas = 1 if mine.deterministic else experiment.replicas
        run = Run(
            model, mine, experiment.steps, experiment.init, replicas, experiment.record_every, METRICS, list(sizes),
            experiment.seed, True, experiment.threads, sampling=experiment.sampling,
        )  # fmt: skip
        data = finished(run)
        runs.update(dict.fromkeys(sizes, data))
        evidence = Evidence(model, mine, step_size(mine), runs, sampling=run.sampling)
        convergence.update(_convergence(experiment, mine, evidence, sizes))
        for b in sizes if experiment.dear else ():
            dear = _dear_metrics(evidence, b, experiment.seed)
            if dear is not None:
                snapshots[b] = dear
        alive = run.diverged_at < 0
        end = Checkpoint(run.theta[alive], run.memory[alive], run.steps)
        if experiment.interventions and run.plan.advance is None and alive.any():
            test = _edge_test(experiment, mine, end)
            tests.update(dict.fromkeys(sizes, test))
        if experiment.streaks and has_batches(mine, model.samples) and alive.any():
            count = min(2, int(alive.sum()))
            streaks[sizes[0]] = step_sharpness_path(
                model, mine, end, experiment.streaks, replicas=count, seed=experiment.seed
            )
        for _ in sizes:
            tick()
    return Evidence(
        model, dynamics, step_size(dynamics), runs, run.sampling, snapshots, tests, streaks, convergence,
        experiment.directions, reference,
    )  # fmt: skip


def step_size(dynamics: Any) -> float:
    """The constant step size of a dynamics."""
    return float(dynamics.step_size)


def _dear_metrics(evidence: Evidence, batch_size: int, seed: int) -> xr.Dataset | None:
    """S_ms and the mean of ratios of every survivor at a few steps of the window; None if there is no window."""
    try:
        window = evidence.window(batch_size)
    except NoAnswer:
        return None
    run = evidence.survivors(batch_size)
    late = np.arange(run.sizes["step"])[window]
    count = max(-(-SNAPSHOTS[0] // run.sizes["replica"]), SNAPSHOTS[1])
    chosen = late[np.unique(np.linspace(0, len(late) - 1, count).astype(int))]
    params = run.params.isel(step=chosen)
    return measure(evidence.model, params, batch_size, sampling=evidence.sampling, metrics=DEAR_METRICS, seed=seed)


def _convergence(
    experiment: Experiment, dynamics: Dynamics, evidence: Evidence, sizes: Sequence[int]
) -> dict[int, str]:
    """Whether late levels stay where they are when the integrator's step is halved; empty for what has none."""
    finer = halved(dynamics)
    if finer is None:
        return {}
    count = 1 if dynamics.deterministic else min(2, experiment.replicas)
    again = Run(
        experiment.model, finer, experiment.steps, experiment.init, count, experiment.record_every,
        ("batch_sharpness", "lambda_max"), list(sizes), experiment.seed, threads=experiment.threads,
        sampling=experiment.sampling,
    )  # fmt: skip
    other = replace(evidence, dynamics=finer, runs=dict.fromkeys(sizes, finished(again)))
    return {b: _same_level(evidence, other, b) for b in sizes}


def _same_level(coarse: Evidence, fine: Evidence, batch_size: int) -> str:
    """Compare the late levels of Batch Sharpness and lambda_max, relative to the finer ones."""
    answers = []
    for metric in ("batch_sharpness", "lambda_max"):
        levels: list[Plateau | None] = []
        for one in (coarse, fine):
            try:
                levels.append(one.late_level(batch_size, metric))
            except NoAnswer:
                levels.append(None)
        first, second = levels
        if first is None or second is None:
            answers.append(first is second)
            continue
        reach = np.hypot(first.high - first.low, second.high - second.low) / 2
        answers.append(abs(first.value - second.value) - reach <= CONVERGED * abs(second.value))
    return "converged" if all(answers) else "not converged"


def _edge_test(experiment: Experiment, dynamics: Dynamics, end: Checkpoint) -> xr.Dataset:
    """Nudges at the end of the run; every replica is forked several times, with fresh random numbers each."""
    copies = 1 if dynamics.deterministic else -(-TESTS // len(end.theta))
    start = Checkpoint(np.tile(end.theta, (copies, 1)), np.tile(end.memory, (copies, 1)), end.step)
    return edge_test(
        experiment.model, dynamics, end.step, start, steps=experiment.interventions, replicas=len(start.theta),
        clusters=np.tile(np.arange(len(end.theta)), copies), seed=experiment.seed,
    )  # fmt: skip


def check_nudges(experiment: Experiment, dynamics: Sequence[Dynamics]) -> None:
    """Raise before any work starts if a dynamics cannot take part."""
    for one in dynamics:
        one.check_model(experiment.model)
        for b in experiment.batch_sizes:
            mine = experiment.with_batch_size(one, b)
            Run(experiment.model, mine, 0, experiment.init, seed=experiment.seed)  # also of what it carries along
            nudged(mine, experiment.model.samples)
