"""Which models of SGD keep which predictions? Every model from the same start, at the same effective noise, judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from .arguments import FloatArray, float_array, integer, one_of
from .collect import Experiment, check_nudges, collect
from .dynamics import Dynamics
from .errors import InvalidArgument
from .judge import judged
from .labels import labelled
from .measure import checked_batch_sizes, checked_model
from .models import Model
from .predictions import PREDICTIONS, Evidence, Prediction
from .progress import Progress
from .recipes import Recipe

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

RECORDS = 1000
INTERVENTION_STEPS = 1000
STREAK_STEPS = 1000


@dataclass(frozen=True)
class ScoreCard:
    """Findings by (prediction, dynamics, batch size), and the evidence behind them.

    `table`: an xarray Dataset with `value`, `low`, `high`, `verdict` (for that dynamics), `agreement` (with the
    reference) and `reason` over (prediction, dynamics, batch_size); batch_size 0 stands for predictions that are one
    number for all batch sizes. `evidence[label].runs[b]` are the runs themselves.
    """

    title: str
    table: xr.Dataset
    evidence: Mapping[str, Evidence]
    predictions: tuple[Prediction, ...]
    experiment: Experiment

    @property
    def reference(self) -> str:
        """Label of the reference."""
        return next(iter(self.evidence))

    def to_markdown(self) -> str:
        """The card as Markdown: a summary, then one table per batch size."""
        from .report import markdown

        return markdown(self)

    def to_html(self, path: Any) -> None:
        """Write the card as one self-contained page with its figures."""
        from .report import write_html

        write_html(path, [self])

    def save(self, folder: Any) -> None:
        """Write the table, and every run, snapshot and edge test behind it, as netCDF files in `folder`."""
        from pathlib import Path

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.table.to_netcdf(place / "table.nc", engine="scipy")
        for name, one in self.evidence.items():
            words = "".join(c if c.isalnum() else "_" for c in name)
            for kind, stored in (("run", one.runs), ("snapshots", one.snapshots), ("edge_test", one.edge_tests)):
                for b, data in stored.items():
                    data.to_netcdf(place / f"{words}_b{b}_{kind}.nc", engine="scipy")

    def plot(self) -> Figure:
        """Where each model settles: late levels of lambda_max and Batch Sharpness at each batch size."""
        from .scorecard_figures import levels

        return levels(self)


def scorecard(
    model: Model | Recipe,
    reference: Dynamics,
    candidates: Sequence[Dynamics] | Mapping[str, Dynamics],
    *,
    steps: int | None = None,
    replicas: int = 4,
    init: ArrayLike | None = None,
    batch_sizes: int | Sequence[int] | None = None,
    predictions: Sequence[str] | None = None,
    directions: ArrayLike | None = None,
    interventions: bool = True,
    record_every: int | None = None,
    title: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool | None = None,
) -> ScoreCard:
    """Run `reference` and `candidates` side by side and score each against the predictions.

    model: a loss, or a `sgdmodels.recipes` recipe, which brings init, steps and directions along. init: where all start
    (default: 0.1 times standard normal numbers from `seed`). batch_sizes: where every dynamics that has a batch size is
    run, and where curvatures are measured (default: that of the reference). predictions: names such as "B1" (default:
    all). directions: the a_i (n, d) if the curvature is a moving scalar times a_i a_i'. interventions: nudge runs at
    its end. record_every: steps between records (default: 1000 records a run). All share the time axis (steps of SGD),
    the start, c2(b) and the random streams.

    Raises InvalidArgument before any run starts, also for a prediction that no dynamics can satisfy.

    >>> import sgdmodels as sm
    >>> recipe = sm.recipes.gated_quadratic(0)
    >>> card = scorecard(recipe, sm.SGD(0.4, 16), [sm.GD(0.4)], steps=8000, replicas=2, predictions=["B1", "B2"])
    >>> card.table.sizes["dynamics"], str(card.table.verdict.sel(prediction="B2", dynamics="SGD", batch_size=16).values)
    (2, 'holds')
    """
    *_, card = progressive_scorecard(
        model, reference, candidates, steps=steps, replicas=replicas, init=init, batch_sizes=batch_sizes,
        predictions=predictions, directions=directions, interventions=interventions, record_every=record_every,
        title=title, seed=seed, threads=threads, progress=progress,
    )  # fmt: skip
    assert isinstance(card, ScoreCard)
    return card


def progressive_scorecard(
    model: Model | Recipe, reference: Dynamics, candidates: Any, *, steps: Any, replicas: Any, init: Any,
    batch_sizes: Any, predictions: Any, directions: Any, interventions: Any, title: Any, seed: Any, threads: Any,
    progress: Any, record_every: Any = None,
) -> Iterator[tuple[int, int] | ScoreCard]:  # fmt: skip
    """`scorecard` that yields (pieces done, pieces in all) on its way, and the card at last."""
    if isinstance(model, Recipe):
        steps = model.steps if steps is None else steps
        init = model.init if init is None else init
        directions = model.directions if directions is None else directions
        model = model.model
    checked_model(model)
    everyone = labelled(reference, candidates)
    chosen = chosen_predictions(predictions, everyone)
    if steps is None:
        raise InvalidArgument("steps must be given (a recipe brings its own), got None; pass steps=20_000, say")
    count = integer("steps", steps, 100)
    sizes = getattr(reference, "batch_size", model.samples) if batch_sizes is None else batch_sizes
    if isinstance(sizes, tuple) and any(isinstance(pair, tuple) for pair in sizes):
        raise InvalidArgument(f"reference must have a constant batch_size for a score card, got {sizes}")
    experiment = Experiment(
        model=model,
        init=default_init(model, integer("seed", seed, 0, 2**64 - 1))
        if init is None
        else float_array("init", init, (model.dim,)),
        steps=-(-count // 64) * 64,  # where runs may be forked
        batch_sizes=tuple(sorted(checked_batch_sizes(model, sizes))),
        replicas=integer("replicas", replicas, 1),
        record_every=max(1, count // RECORDS) if record_every is None else integer("record_every", record_every, 1),
        seed=integer("seed", seed, 0, 2**64 - 1),
        directions=None if directions is None else float_array("directions", directions, (model.samples, "d")),
        interventions=INTERVENTION_STEPS if interventions and any("edge_tests" in p.needs for p in chosen) else 0,
        streaks=STREAK_STEPS if interventions and any(p.name == "B11" for p in chosen) else 0,
        threads=1,
        sampling=getattr(reference, "sampling", "without_replacement"),
        dear=any(set(p.needs) & {"mean_square_sharpness", "batch_sharpness_mean_ratio"} for p in chosen),
    )
    check_nudges(experiment, list(everyone.values()))
    names = list(everyone)
    workers = integer("threads", 2 if threads is None else threads, 1)
    pieces = len(names) * len(experiment.batch_sizes)
    done = [0]

    def tick() -> None:
        done[0] += 1

    evidence: dict[str, Evidence] = {}
    with (
        Progress(pieces, "score card", progress, "runs") as bar,
        ThreadPoolExecutor(workers) as pool,
        threadpool_limits(1, "blas"),  # small matrices from several threads: BLAS threads of their own cost tenfold
    ):
        first = collect(experiment, everyone[names[0]], None, tick)
        evidence[names[0]] = first
        bar.update(done[0])
        yield done[0], pieces
        jobs = {pool.submit(collect, experiment, everyone[name], first, tick): name for name in names[1:]}
        try:
            for job in as_completed(jobs):
                evidence[jobs[job]] = job.result()
                bar.update(done[0])
                yield done[0], pieces
        finally:
            for job in jobs:
                job.cancel()
    ordered = {name: evidence[name] for name in names}
    heading = title if title is not None else f"{type(model).__name__}, n = {model.samples}, d = {model.dim}"
    yield ScoreCard(heading, judged(ordered, chosen, experiment), ordered, chosen, experiment)


def chosen_predictions(names: Any, everyone: Mapping[str, Dynamics]) -> tuple[Prediction, ...]:
    """The predictions asked for, once some dynamics is known to be able to satisfy each."""
    moving = any(getattr(d, "momentum", 0.0) for d in everyone.values())
    if names is None:
        return tuple(p for p in PREDICTIONS if moving or "momentum" not in p.needs)
    known = {prediction.name: prediction for prediction in PREDICTIONS}
    asked = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else []
    if not asked or len(set(asked)) != len(asked):
        raise InvalidArgument(
            f'predictions must be distinct names such as ["B1", "MS1"] or None for all, got {names!r}'
        )
    chosen = tuple(known[one_of("predictions", name, known)] for name in asked)
    for prediction in chosen:
        if "momentum" in prediction.needs and not moving:
            raise InvalidArgument(
                f"prediction {prediction.name} is about momentum, and none of {', '.join(everyone)} has any; add "
                "sm.SGD(step_size, batch_size, momentum=0.9), or leave the prediction out"
            )
    return chosen


def default_init(model: Model, seed: int) -> FloatArray:
    """A small random start for losses that come without one."""
    return 0.1 * np.random.default_rng(seed).standard_normal(model.dim)
