r"""How close is a model of SGD to SGD? Along the path, in expectation, and in distribution.

All dynamics share the start, the time axis (steps of SGD), the seed and c2(b). Replica k of two dynamics shares its
random numbers where their laws allow it (`coupled`): the same batches for SGD, label noise and SVAG(ell=1), the same
Brownian path for noisy GD and SDEs, whose increments are refined so that all sum the same fine ones. Only then does a
distance along the path mean something beyond the spread of the replicas.

* strong distance: root mean square of \|theta - theta_reference\| over paired replicas;
* weak error: difference of means of an observable, paired where coupled;
* distributions: energy distance of the parameters, 1-D Wasserstein distance of each observable, with permutation
  p-values (between different halves of the replicas: a permutation test needs independent samples);
* SDEs are integrated again with twice the substeps: `converged` says whether the observables' means agree.

Diverged replicas are left out, and counted in `diverged_fraction`: distances are between survivors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .arguments import FloatArray, integer, real
from .checkpoints import finished
from .distances import energy_distance, energy_test, strong_distance, wasserstein, wasserstein_test, weak_error
from .dynamics import SGD, SVAG, Dynamics, LabelNoiseSGD
from .errors import InvalidArgument
from .labels import labelled
from .measure import checked_metrics, checked_model
from .metrics import Metric
from .models import Model
from .progress import Progress
from .refine import halved, has_field, joined_paths
from .simulate import Run

if TYPE_CHECKING:
    import xarray as xr

BATCHES, GAUSSIANS, NOTHING = "batches", "Gaussians", ""


@dataclass(frozen=True)
class Member:
    """One dynamics of a comparison, with its recorded parameters and observables."""

    dynamics: Dynamics
    params: FloatArray  # (replica, snapshot, parameter)
    observables: dict[str, FloatArray]  # name -> (replica, snapshot)
    diverged: np.ndarray  # (replica,)
    randomness: str


def compare(
    model: Model,
    reference: Dynamics,
    candidates: Sequence[Dynamics] | Mapping[str, Dynamics],
    steps: int,
    init: ArrayLike,
    *,
    replicas: int = 256,
    snapshots: int | Sequence[int] | None = None,
    observables: Sequence[str | Metric] = ("loss",),
    batch_size: int | None = None,
    permutations: int = 999,
    tolerance: float = 0.1,
    seed: int = 0,
    threads: int | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compare models of SGD with `reference` at snapshots (how many, or which steps; default: 10) of runs of `steps`.

    observables: names of metrics, or `sgdmodels.Metric` objects: any function of the parameters. batch_size: where
    metrics that depend on one are evaluated (default: the reference's). Returns a Dataset over (dynamics, step) with
    `strong_distance`, `energy_distance`, `energy_p_value`, and over (dynamics, observable, step) with `weak_error`,
    `wasserstein_distance`, `wasserstein_p_value`; intervals are `..._low` and `..._high` (95 %). `mean` holds the
    observables' means, `coupled` what randomness is shared with the reference. `converged` (dynamics) is "converged" if
    the same SDE with half the integrator's step changes the mean of no observable, on the same Brownian path, by more
    than `tolerance` times its standard deviation over replicas or the Monte Carlo error; "not converged" if it does, ""
    where there is no integrator.

    Raises InvalidArgument before any run starts.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares(np.eye(3), np.ones(3))
    >>> found = compare(model, sm.SGD(0.1, 1), [sm.SDE(0.1, 1)], 64, np.zeros(3), replicas=32, snapshots=2)
    >>> found.weak_error.dims, found.converged.values.tolist()
    (('dynamics', 'observable', 'step'), ['', 'converged'])
    """
    import xarray as xr

    checked_model(model)
    everyone = labelled(reference, candidates)
    metrics = checked_metrics(observables)
    count = integer("steps", steps, 1)
    wanted = snapshot_steps(snapshots, count)
    every = math.gcd(*wanted)
    integer("replicas", replicas, 2)
    integer("permutations", permutations, 1)
    real("tolerance", tolerance, open_low=True)
    size = getattr(reference, "batch_size", model.samples) if batch_size is None else batch_size
    if isinstance(size, tuple) and batch_size is None:
        raise InvalidArgument(
            f"reference must have a constant batch_size, or batch_size= must say where to evaluate, got {size}"
        )
    size = integer("batch_size", size, 1, model.samples, "(the number of samples)")
    scheme = getattr(reference, "sampling", None)
    aligned = joined_paths(everyone)
    finer = {name: halved(dynamics) for name, dynamics in aligned.items()}
    runs = {
        name: Run(
            model, dynamics, count, init, replicas, every, metrics, size, seed, True, threads, sampling=scheme
        )
        for name, dynamics in aligned.items()
    }  # fmt: skip
    checks = {
        name: Run(model, dynamics, count, init, replicas, every, metrics, size, seed, True, threads, sampling=scheme)
        for name, dynamics in finer.items()
        if dynamics is not None
    }
    members: dict[str, Member] = {}
    halves: dict[str, Member] = {}
    with Progress(len(runs) + len(checks), "comparison", progress, "runs") as bar:
        for done, (name, run, store) in enumerate(
            [(n, r, members) for n, r in runs.items()] + [(n, r, halves) for n, r in checks.items()], 1
        ):
            store[name] = _member(run, wanted)
            bar.update(done)
    names = list(members)
    first = members[names[0]]
    times = np.array(wanted)
    words = [m.name for m in metrics]
    out: dict[str, Any] = {}
    two, three = ("dynamics", "step"), ("dynamics", "observable", "step")

    def put(name: str, dims: tuple[str, ...], place: tuple[int, ...], values: Sequence[float], about: str) -> None:
        suffixes = ("", "_low", "_high")
        shape = tuple({"dynamics": len(names), "observable": len(words), "step": len(times)}[d] for d in dims)
        for suffix, value in zip(suffixes, values, strict=False):
            out.setdefault(
                name + suffix, (dims, np.full(shape, np.nan), {"long_name": about + suffix.replace("_", ", ")})
            )
            out[name + suffix][1][place] = value

    for d, name in enumerate(names):
        own = members[name]
        coupled = own.randomness != NOTHING and own.randomness == first.randomness
        for t in range(len(times)):
            distance = strong_distance(first.params[:, t], own.params[:, t])
            put(
                "strong_distance",
                two,
                (d, t),
                (distance.value, distance.low, distance.high),
                "root mean square distance",
            )
            energy = energy_test(*halves_of(first.params[:, t], own.params[:, t]), permutations=permutations, seed=seed)
            away = energy_distance(first.params[:, t], own.params[:, t])
            put("energy_distance", two, (d, t), (away,), "energy distance of the parameters")
            put("energy_p_value", two, (d, t), energy[1:] if d else (np.nan,), "permutation p-value")
            for o, word in enumerate(words):
                x, y = first.observables[word][:, t], own.observables[word][:, t]
                error = weak_error(x, y, paired=coupled)
                put("weak_error", three, (d, o, t), (error.value, error.low, error.high), "difference of means")
                far = wasserstein_test(*halves_of(x, y), permutations=permutations, seed=seed)
                put("wasserstein_distance", three, (d, o, t), (wasserstein(x, y),), "1-D Wasserstein distance")
                put("wasserstein_p_value", three, (d, o, t), far[1:] if d else (np.nan,), "permutation p-value")
                alive = y[np.isfinite(y)]
                put("mean", three, (d, o, t), (alive.mean() if alive.size else np.nan,), "mean over survivors")
    found = [
        ""
        if name not in halves
        else "converged"
        if converged(members[name], halves[name], tolerance)
        else "not converged"
        for name in names
    ]
    shared = [m.randomness if m.randomness == first.randomness else NOTHING for m in members.values()]
    return xr.Dataset(
        {
            **out,
            "diverged_fraction": ("dynamics", [m.diverged.mean() for m in members.values()]),
            "coupled": ("dynamics", shared, {"long_name": "randomness shared with the reference"}),
            "converged": ("dynamics", found, {"long_name": "whether halving the integrator's step changes nothing"}),
        },
        {"dynamics": names, "observable": words, "step": ("step", times, {"units": "SGD steps"})},
        {"reference": names[0], "replicas": replicas, "seed": str(seed), "tolerance": tolerance},
    )


def halves_of(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Different replicas of two dynamics: a permutation test needs independent samples, and one replica of both may
    share its random numbers."""
    half = len(x) // 2
    return x[:half], y[half:]


def snapshot_steps(snapshots: Any, steps: int) -> list[int]:
    """Steps to compare at: those named, or so many evenly spaced ones, the last among them."""
    if snapshots is None:
        snapshots = min(10, steps)
    if np.ndim(snapshots) == 0:
        count = integer("snapshots", snapshots, 1, steps, "(the number of steps)")
        every = steps // count
        return [steps - every * k for k in reversed(range(count))]
    wanted = sorted({integer("snapshots", s, 1, steps, "(the number of steps)") for s in snapshots})
    if not wanted:
        raise InvalidArgument("snapshots must be a number or a list of steps, got an empty list")
    return wanted


def converged(coarse: Member, fine: Member, tolerance: float) -> bool:
    """Whether no observable's mean moves by more than `tolerance` standard deviations and the Monte Carlo error."""
    if coarse.diverged.mean() > 0.5 or abs(coarse.diverged.mean() - fine.diverged.mean()) > tolerance:
        return False
    joint = getattr(coarse.dynamics, "refinement", 1) % 2 == 0
    for name, values in coarse.observables.items():
        for t in range(values.shape[1]):
            change = weak_error(fine.observables[name][:, t], values[:, t], paired=joint)
            spread = float(np.nanstd(fine.observables[name][:, t]))
            if change.low > tolerance * spread or change.high < -tolerance * spread:
                return False
    return True


def _randomness(dynamics: Dynamics, samples: int) -> str:
    """Which random numbers of a replica drive it, in a way that other dynamics share."""
    plan = dynamics.plan(samples)
    if dynamics.deterministic:
        return NOTHING
    if has_field(dynamics, "refinement") and getattr(dynamics, "covariance", "full") == "full":
        return f"{GAUSSIANS} x {plan.micro_steps * plan.refinement}"
    if isinstance(dynamics, SGD | LabelNoiseSGD | SVAG) and plan.micro_steps == 1:
        alike = dynamics.sampling == "with_replacement" and dynamics.batch_size == 1  # the same indices are drawn
        return f"{BATCHES}, {'without_replacement' if alike else dynamics.sampling}"
    return NOTHING


def _member(run: Run, wanted: Sequence[int]) -> Member:
    """Go, and keep the snapshots at the steps wanted."""
    data = finished(run).sel(step=wanted)
    values = {}
    for metric in run.metrics:
        array = data[metric.name]
        values[metric.name] = (array.isel(batch_size=0) if metric.per_batch_size else array).values
    lost = np.isfinite(data.diverged_at.values)
    return Member(run.dynamics, data.params.values, values, lost, _randomness(run.dynamics, run.model.samples))
