r"""Interventions: fork a run at a checkpoint with the same randomness, change one knob, compare with the control.

A branch takes up the parameters (and the velocity, if it has one too) of the checkpoint and keeps the step numbers,
hence the random numbers and the place in schedules; a control branch continues unchanged. `edge_test` asks the question
of theory B7: does a small destabilising nudge cause a catapult? It does if the run sits at its edge of stability, and
not if it merely wobbles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import integer, real
from .checkpoints import Checkpoint as Checkpoint
from .checkpoints import checkpoint as checkpoint
from .checkpoints import go_on
from .detectors import spike_ratio
from .dynamics import Dynamics, PredictedDynamics
from .errors import InvalidArgument
from .measure import checked_batch_sizes, checked_metrics, checked_model
from .metrics import Metric
from .models import Model

if TYPE_CHECKING:
    import xarray as xr

SPIKE = 3.0  # kappa of the edge test
NUDGES = ("step size up", "batch size down", "step size down", "batch size up")
DESTABILISING = NUDGES[:2]


REPLICAS = 20  # of an edge test


def fork(
    model: Model,
    dynamics: Dynamics,
    branches: Mapping[str, Dynamics],
    at: int | None,
    steps: int,
    init: ArrayLike | Checkpoint,
    *,
    replicas: int | Iterable[int] | None = None,
    record_every: int = 1,
    metrics: Sequence[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
    batch_size: int | Sequence[int] | None = None,
    seed: int | None = None,
) -> xr.Dataset:
    """Run `dynamics` for `at` steps, then `steps` more of it (branch "control") and of every one of `branches`.

    init: parameters as for `sgdmodels.simulate` (then `replicas` is 1 and `seed` 0 unless given), or a `Checkpoint`
    (then `at`, `replicas` and `seed` are its own, and None or the same here). Returns a Dataset with the dims of a run
    and `branch`; `step_size` and `training_batch_size` say which knob was turned. `at` is rounded up to a multiple
    of 64. Without `batch_size` metrics are evaluated at the batch sizes of all branches. A replica that had diverged
    before the fork is NaN in all of them, with the `diverged_at` it had.

    A branch keeps what replicas carry besides parameters (a velocity) where it means the same to both; stale noise
    (`NoisyGD` with `refresh`) stays what it was until its next refresh. Forks of `CentralFlow` and
    `StochasticCentralFlow` begin a new grid of strides, so that their control agrees with the uninterrupted run to the
    accuracy of the integrator only, not bit for bit.

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
    if isinstance(init, Checkpoint):
        start = init.settled(model, at, replicas, seed)
    elif at is None:
        raise InvalidArgument("at must be the step to fork at, got None; only a checkpoint has its own")
    else:
        start = checkpoint(
            model, dynamics, at, init, replicas=1 if replicas is None else replicas, seed=0 if seed is None else seed
        )
    runs = [
        go_on(
            model, branch, start, steps, keep_memory=same_memory(dynamics, branch, model.samples),
            record_every=record_every, metrics=wanted, batch_size=measured,
        )
        for branch in everyone.values()
    ]  # fmt: skip
    knobs = [run.reset_coords(["step_size", "training_batch_size"]) for run in runs]
    joined = xr.concat(knobs, "branch", join="exact", combine_attrs="drop_conflicts")
    named = joined.assign_coords(branch=("branch", list(everyone), {"long_name": "branch"}))
    return named.set_coords(["step_size", "training_batch_size"])


def same_memory(one: Dynamics, other: Dynamics, samples: int) -> bool:
    """Whether what replicas carry besides parameters means the same to both: a velocity does, a new point does not."""
    first, second = one.plan(samples), other.plan(samples)
    if first.advance is not None or second.advance is not None:
        return type(one) is type(other)
    return first.walk is second.walk and remembered(one) == remembered(other)


def remembered(dynamics: Dynamics) -> tuple[Any, bool]:
    """What decides what is in memory: the point of linearisation; raw second moments or variances."""
    point = getattr(dynamics, "point", None)
    raw = isinstance(dynamics, PredictedDynamics) and dynamics.sampling == "bernoulli"
    return None if point is None else point.tolist(), raw


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
    at: int | None,
    init: ArrayLike | Checkpoint,
    *,
    steps: int = 1000,
    replicas: int | Iterable[int] | None = None,
    step_factor: float = 1.3,
    batch_factor: int = 4,
    kappa: float = SPIKE,
    clusters: ArrayLike | None = None,
    seed: int | None = None,
) -> xr.Dataset:
    """Nudge a run at its plateau and count catapults: a spike is max loss > kappa x the median of the control's max.

    After `at` steps the step size is multiplied and divided by `step_factor`, the batch size divided and multiplied by
    `batch_factor`, and each branch run for `steps` more, loss recorded at every one. Without a checkpoint `replicas`
    is 20. Returns `spike_ratio` (branch, replica; infinite where the branch diverged), `probability` of a spike, also
    of the control, `probability_excess` over that of the control, the 95 % interval `probability_low`,
    `probability_high`, and `loss` (branch, replica, step). Replicas that had diverged by `at` are left out.

    clusters: an integer per replica, the same for those that start from the same checkpoint and hence are alike. The
    interval then is Student's over clusters, nowhere inside the exact one (Clopper and Pearson), which alone is given
    where every replica is a cluster of its own, and for a single cluster, of which it describes the one start.

    attrs["no_answer"] says why all is NaN: most replicas of the control diverged, or its loss is zero; else it is "".

    >>> import sgdmodels as sm
    >>> recipe = sm.recipes.gated_quadratic(0)
    >>> test = edge_test(recipe.model, sm.SGD(0.1, 16), 64, recipe.init, steps=100, replicas=4)
    >>> test.branch.values.tolist()
    ['control', 'step size up', 'batch size down', 'step size down', 'batch size up']
    """
    branches = nudged(dynamics, checked_model(model).samples, step_factor, batch_factor)
    real("kappa", kappa, 1.0)
    if isinstance(init, Checkpoint):
        count = len(init.theta)
    else:
        replicas = REPLICAS if replicas is None else list(replicas) if isinstance(replicas, Iterable) else replicas
        count = len(replicas) if isinstance(replicas, list) else integer("replicas", replicas, 1)
    groups = checked_clusters(clusters, count)
    forked = fork(model, dynamics, branches, at, steps, init, replicas=replicas, metrics=("loss",), seed=seed)
    floor = min(0.0, float(forked.loss.sel(branch="control").min()))  # a loss with a drift term may be negative
    highest = (forked.loss.max("step", skipna=True) - floor).where(forked.diverged_at.isnull(), np.inf).values
    took_part = forked.loss.isel(branch=0, step=0).notnull().values
    control = highest[0, took_part]
    ratios, answers = np.full(highest.shape, np.nan), np.full((3, len(highest)), np.nan)
    no_answer = ""
    if 2 * np.isfinite(control).sum() < count or not np.median(control) < np.inf:
        no_answer = "most replicas of the control diverged"
    elif np.median(control) == 0:
        no_answer = "the loss of the control is zero"
    else:
        ratios[:, took_part] = [spike_ratio(row, control) for row in highest[:, took_part]]
        spiked = ratios[:, took_part] > kappa
        answers = np.array([share(row, groups[took_part], exact=dynamics.deterministic) for row in spiked]).T
    value, low, high = answers
    return forked.assign(
        spike_ratio=(("branch", "replica"), ratios, {"long_name": "max loss / median max loss of the control"}),
        probability=("branch", value, {"long_name": f"share of replicas with a spike ratio above {kappa:g}"}),
        probability_excess=("branch", value - value[0], {"long_name": "share of spikes beyond that of the control"}),
        probability_low=("branch", low),
        probability_high=("branch", high),
    ).assign_attrs(no_answer=no_answer, kappa=float(kappa))


def checked_clusters(clusters: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """An integer per replica; by default all differ."""
    groups = np.arange(count) if clusters is None else np.asarray(clusters)
    if groups.shape != (count,) or groups.dtype.kind not in "iu":
        raise InvalidArgument(f"clusters must be {count} integers, one per replica, got {clusters!r}")
    return groups


def share(hits: NDArray[np.bool_], clusters: NDArray[np.int64], *, exact: bool = False) -> tuple[float, float, float]:
    """Share of hits and its 95 % interval: Clopper and Pearson's, widened to Student's over clusters that repeat.

    For clusters of unequal size the variance is that of a ratio: the sum over clusters of (hits - share x size)^2.
    """
    from scipy import stats

    count, value = hits.size, float(hits.mean())
    if exact:
        return value, value, value
    bounds = stats.binomtest(int(hits.sum()), count).proportion_ci(0.95, "exact")
    _, which, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if not 2 <= len(sizes) < count:
        return value, float(bounds.low), float(bounds.high)
    deviations = np.bincount(which, hits) - value * sizes
    error = np.sqrt(len(sizes) / (len(sizes) - 1) * np.sum(deviations**2)) / count
    reach = float(stats.t.ppf(0.975, len(sizes) - 1) * error)
    return value, max(0.0, min(float(bounds.low), value - reach)), min(1.0, max(float(bounds.high), value + reach))
