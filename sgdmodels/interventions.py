r"""Interventions: fork a run at a checkpoint with the same randomness, change one knob, compare with the control.

A branch takes up the parameters (and the velocity, if it has one too) of the checkpoint and keeps the step numbers,
hence the random numbers and the place in schedules; a control branch continues unchanged. `edge_test` asks the question
of theory B7: does a small destabilising nudge cause a catapult? It does if the run sits at its edge of stability, and
not if it merely wobbles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .arguments import FloatArray, integer, real
from .detectors import spike_ratio
from .dynamics import Dynamics
from .errors import InvalidArgument
from .kernels.step_loop import CHECK_EVERY
from .measure import checked_batch_sizes, checked_metrics, checked_model
from .metrics import Metric
from .models import Model
from .simulate import Run

if TYPE_CHECKING:
    import xarray as xr

SPIKE = 3.0  # kappa of the edge test
NUDGES = ("step size up", "batch size down", "step size down", "batch size up")
DESTABILISING = NUDGES[:2]


@dataclass(frozen=True)
class Checkpoint:
    """Parameters (replica, d) and memory of all replicas after `step` steps."""

    theta: FloatArray
    memory: FloatArray
    step: int


def checkpoint(
    model: Model, dynamics: Dynamics, step: int, init: ArrayLike, *, replicas: int | Iterable[int] = 1, seed: int = 0
) -> Checkpoint:
    """Run to `step`, rounded up to a multiple of 64 (where runs look for divergence, and may be taken up)."""
    at = -(-integer("at", step, 0) // CHECK_EVERY) * CHECK_EVERY
    run = Run(model, dynamics, at, init, replicas, max(at, 1), seed=seed)
    run.go()
    return Checkpoint(run.theta.copy(), run.memory.copy(), at)


def fork(
    model: Model,
    dynamics: Dynamics,
    branches: Mapping[str, Dynamics],
    at: int,
    steps: int,
    init: ArrayLike | Checkpoint,
    *,
    replicas: int | Iterable[int] = 1,
    record_every: int = 1,
    metrics: Sequence[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
    batch_size: int | Sequence[int] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Run `dynamics` for `at` steps, then `steps` more of it (branch "control") and of every one of `branches`.

    init: parameters as for `sgdmodels.simulate`, or a `Checkpoint` (then `at` is its step). Returns a Dataset with the
    dims of a run and `branch`; `step_size` and `training_batch_size` say which knob was turned. `at` is rounded up to
    a multiple of 64. Without `batch_size` metrics are evaluated at the batch sizes of all branches.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares(np.eye(2), np.ones(2))
    >>> forked = fork(model, sm.SGD(0.5, 1), {"larger steps": sm.SGD(0.9, 1)}, 64, 10, np.zeros(2), metrics=("loss",))
    >>> forked.branch.values.tolist(), forked.step_size.sel(branch="larger steps").values[-1]
    (['control', 'larger steps'], np.float64(0.9))
    """
    import xarray as xr

    checked_model(model)
    if not isinstance(branches, Mapping):
        raise InvalidArgument(f"branches must be a mapping of names to dynamics, got {branches!r}")
    if "control" in branches:
        raise InvalidArgument('branches must not be called "control": that is the run that goes on unchanged')
    everyone = {"control": dynamics, **branches}
    for name, branch in everyone.items():
        if not isinstance(branch, Dynamics):
            raise InvalidArgument(f"branch {name!r} must be a dynamics such as sm.SGD(...), got {branch!r}")
        branch.check_model(model)
    sizes = sorted({int(b) for branch in everyone.values() for b in branch.plan(model.samples).batch_sizes})
    measured = checked_batch_sizes(model, sizes if batch_size is None else batch_size)
    wanted = checked_metrics(metrics)
    integer("steps", steps, 0)
    integer("record_every", record_every, 1)
    start = init
    if not isinstance(start, Checkpoint):
        start = checkpoint(model, dynamics, at, start, replicas=replicas, seed=seed)
    runs = [
        Run(
            model, branch, steps, start.theta, replicas, record_every, wanted, measured, seed, first_step=start.step,
            memory=start.memory if same_memory(dynamics, branch, model.samples) else None,
        ).go()
        for branch in everyone.values()
    ]  # fmt: skip
    knobs = [run.reset_coords(["step_size", "training_batch_size"]) for run in runs]
    joined = xr.concat(knobs, "branch", join="exact", combine_attrs="drop_conflicts")
    named = joined.assign_coords(branch=("branch", list(everyone), {"long_name": "branch"}))
    return named.set_coords(["step_size", "training_batch_size"])


def same_memory(one: Dynamics, other: Dynamics, samples: int) -> bool:
    """Whether what replicas carry besides parameters means the same to both, such as a velocity."""
    first, second = one.plan(samples), other.plan(samples)
    if first.advance is not None or second.advance is not None:
        return type(one) is type(other)
    return first.walk is second.walk


def nudged(dynamics: Dynamics, samples: int, step_factor: float = 1.3, batch_factor: int = 4) -> dict[str, Dynamics]:
    """`dynamics` with one knob turned, as far as it has that knob and the batch size stays in 1..samples.

    >>> import sgdmodels as sm
    >>> [d.step_size for d in nudged(sm.GD(1.0), samples=8, step_factor=2.0).values()]
    [2.0, 0.5]
    """
    if not isinstance(dynamics, Dynamics):
        raise InvalidArgument(f"dynamics must be one such as sm.SGD(...), got {dynamics!r}")
    real("step_factor", step_factor, 1.0, open_low=True)
    integer("batch_factor", batch_factor, 2)
    knobs = {field.name for field in fields(dynamics)}
    step_size: Any = getattr(dynamics, "step_size", None)
    batch_size: Any = getattr(dynamics, "batch_size", None)
    if not isinstance(step_size, float) or not isinstance(batch_size, int | None):
        raise InvalidArgument(
            f"a nudge needs a dynamics with constant step_size and batch_size, got {dynamics!r}; fork it with schedules"
        )
    changed: dict[str, dict[str, Any]] = {
        "step size up": {"step_size": step_size * step_factor},
        "batch size down": {"batch_size": batch_size and max(1, batch_size // batch_factor)},
        "step size down": {"step_size": step_size / step_factor},
        "batch size up": {"batch_size": batch_size and min(samples, batch_size * batch_factor)},
    }
    possible = {
        name: knob
        for name, knob in changed.items()
        if set(knob) <= knobs and all(knob.values()) and knob != {"batch_size": batch_size}
    }
    return {name: replace(dynamics, **knob) for name, knob in possible.items()}


def edge_test(
    model: Model,
    dynamics: Dynamics,
    at: int,
    init: ArrayLike | Checkpoint,
    *,
    steps: int = 1000,
    replicas: int | Iterable[int] = 20,
    step_factor: float = 1.3,
    batch_factor: int = 4,
    kappa: float = SPIKE,
    seed: int = 0,
) -> xr.Dataset:
    """Nudge a run at its plateau and count catapults: a spike is max loss > kappa x the median of the control's max.

    After `at` steps the step size is multiplied and divided by `step_factor`, the batch size divided and multiplied by
    `batch_factor`, and each branch run for `steps` more, loss recorded at every one. Returns `spike_ratio` (branch,
    replica; infinite where the branch diverged), `probability` of a spike with its exact 95 % interval
    `probability_low`, `probability_high` (Clopper and Pearson), and `loss` (branch, replica, step). All NaN where most
    replicas of the control diverge.

    >>> import sgdmodels as sm
    >>> recipe = sm.recipes.gated_quadratic(0)
    >>> test = edge_test(recipe.model, sm.SGD(0.1, 16), 64, recipe.init, steps=100, replicas=4)
    >>> test.branch.values.tolist()
    ['control', 'step size up', 'batch size down', 'step size down', 'batch size up']
    """
    branches = nudged(dynamics, checked_model(model).samples, step_factor, batch_factor)
    real("kappa", kappa, 1.0)
    forked = fork(model, dynamics, branches, at, steps, init, replicas=replicas, metrics=("loss",), seed=seed)
    floor = min(0.0, float(forked.loss.sel(branch="control").min()))  # a loss with a drift term may be negative
    highest = (forked.loss.max("step", skipna=True) - floor).where(forked.diverged_at.isnull(), np.inf)
    control = highest.sel(branch="control").values
    count = forked.sizes["replica"]
    if not 0 < np.median(control) < np.inf:
        nothing = np.full(forked.sizes["branch"], np.nan)
        ratios, bounds, probability = np.full((len(nothing), count), np.nan), [(np.nan, np.nan)] * len(nothing), nothing
    else:
        ratios = np.array([spike_ratio(row, control) for row in highest.values])
        spikes = (ratios > kappa).sum(axis=1)
        probability = spikes / count
        bounds = [tuple(stats.binomtest(int(k), count).proportion_ci(0.95, "exact")) for k in spikes]
        if dynamics.deterministic:
            bounds = [(float(p), float(p)) for p in probability]
    return forked.assign(
        spike_ratio=(("branch", "replica"), ratios, {"long_name": "max loss / median max loss of the control"}),
        probability=("branch", probability, {"long_name": f"share of replicas with a spike ratio above {kappa:g}"}),
        probability_low=("branch", np.array([low for low, _ in bounds])),
        probability_high=("branch", np.array([high for _, high in bounds])),
    )
