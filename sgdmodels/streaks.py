"""The curvature that every single step met: step sharpness along a path, from the weights its law drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .arguments import FloatArray, integer
from .checkpoints import Checkpoint, go_on
from .dynamics import Dynamics
from .errors import InvalidArgument
from .kernels.draw import draw_weights
from .kernels.step_loop import walk
from .models import Model

if TYPE_CHECKING:
    import xarray as xr

RELATIVE_STEP = 1e-5


def has_batches(dynamics: Dynamics, samples: int) -> bool:
    """Whether each step is -step_size times the gradient of one weighted batch."""
    plan = dynamics.plan(samples)
    return plan.walk is walk and plan.micro_steps == 1 and plan.advance is None and not dynamics.deterministic


def step_sharpness_path(
    model: Model,
    dynamics: Dynamics,
    start: Checkpoint,
    steps: int,
    *,
    replicas: int | None = None,
    seed: int | None = None,
) -> xr.Dataset:
    r"""loss and step sharpness (replica, step) of the next `steps` steps of `dynamics` after a checkpoint.

    .. math:: s_w = \frac{g_w^TH_wg_w}{|g_w|^2}, \qquad g_w = \textstyle\sum_k w_k g_{i_k}

    with the weights (of a batch, or Gaussian) that the step itself used. g' H g by a central difference along g.
    replicas: the first that many of the checkpoint, at most four unless given; seed: that of the checkpoint.
    """
    have = len(start.theta)
    count = integer("replicas", min(4, have) if replicas is None else replicas, 1, have)
    start = start.settled(model, seed=seed).first(count)
    plan = dynamics.plan(model.samples)
    segment = int(np.searchsorted(plan.starts, start.step, side="right")) - 1
    if (plan.starts[segment + 1 :] < start.step + steps).any():
        raise InvalidArgument(
            f"steps must end before the schedule changes at step {plan.starts[segment + 1]}, got {steps}"
        )
    run = go_on(model, dynamics, start, steps, record_every=1, metrics=("loss",), keep_params=True)
    values = np.full((count, steps), np.nan)
    for r, replica in enumerate(run.replica.values.tolist()):
        index, weight, number = draw_weights(
            plan.law, plan.width, model.samples, int(plan.batch_sizes[segment]), steps, first=start.step,
            origin=int(plan.starts[segment]), parameters=plan.law_parameters, seed=start.seed or 0, replica=replica,
        )  # fmt: skip
        for t, theta in enumerate(run.params.values[r, :-1]):
            if np.isfinite(theta).all():
                used = slice(0, int(number[t]))
                values[r, t] = step_sharpness(model, theta.copy(), index[t, used], weight[t, used].copy())
    path = run[["loss"]].isel(step=slice(0, steps))
    about = {"long_name": "curvature of the batch of this step along its gradient", "units": "curvature"}
    return path.assign(step_sharpness=(("replica", "step"), values, about))


def step_sharpness(model: Model, theta: FloatArray, index: np.ndarray, weight: FloatArray) -> float:
    """g' H g / |g|^2 of one weighted batch; NaN where its gradient vanishes."""
    g = model.weighted_gradient(theta, index, weight)
    square = float(g @ g)
    if square == 0.0:
        return float("nan")
    step = RELATIVE_STEP * max(1.0, float(np.abs(theta).max())) / np.sqrt(square)
    ahead = model.weighted_gradient(theta + step * g, index, weight)
    behind = model.weighted_gradient(theta - step * g, index, weight)
    return float((ahead - behind) @ g) / (2 * step * square)
