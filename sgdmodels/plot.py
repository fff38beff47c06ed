"""Figures of runs. Every function takes `ax=None` and returns the Axes; sharpness is always shown times step_size / 2.

Lines are medians over replicas, bands their 10th to 90th percentile. Replicas that diverged are left out whole and
counted in the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from .arguments import integer
from .errors import InvalidArgument

EDGE: dict[str, Any] = {"color": "0.25", "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 1}
PLATEAU = 0.6  # the last 60 % of a run


def recorded(run: xr.Dataset, metric: str) -> xr.DataArray:
    """A variable of a run, or an error that lists those it has."""
    if metric not in run:
        names = ", ".join(str(name) for name in run.data_vars)
        raise InvalidArgument(f"metric {metric!r} was not recorded; this run has {names}")
    return run[metric]


def scaled(run: xr.Dataset, metric: str) -> xr.DataArray:
    """A curvature of `run` times step_size / 2, at the training batch size if it depends on one; survivors only."""
    values = recorded(run, metric)
    if "batch_size" in values.dims:
        missing = set(run.training_batch_size.values.tolist()) - set(run.batch_size.values.tolist())
        if missing:
            raise InvalidArgument(f"metric {metric!r} was not recorded at the training batch size {sorted(missing)}")
        values = values.sel(batch_size=run.training_batch_size)
    return (values * run.step_size / 2).isel(replica=np.isnan(run.diverged_at.values))


def survivors(run: xr.Dataset, label: str) -> str:
    """`label`, with the number of diverged replicas if there are any."""
    lost = int(run.diverged_at.notnull().sum())
    return f"{label} ({lost} of {run.sizes['replica']} diverged)" if lost else label


def band(values: xr.DataArray, ax: Axes, *, smooth: int = 1, **style: Any) -> None:
    """Median and 10-90 % band over replicas against steps, each replica first smoothed by a running median."""
    if values.sizes["replica"] == 0:
        ax.plot([], [], **style)  # the legend still says that all diverged
        return
    width = integer("smooth", smooth, 1)
    if width > 1:
        values = values.rolling(step=width, center=True, min_periods=1).median()
    values = values.dropna("step", how="all")  # a ratio is undefined where the gradient vanishes
    low, middle, high = np.nanquantile(values.transpose("replica", "step").values, [0.1, 0.5, 0.9], axis=0)
    (line,) = ax.plot(values.step, middle, **style)
    ax.fill_between(values.step, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def curvature(
    run: xr.Dataset, metric: str, ax: Axes | None = None, *, smooth: int = 1, label: str | None = None, **style: Any
) -> Axes:
    """step_size * `metric` / 2 against steps, with the edge at 1."""
    axes = plt.subplots()[1] if ax is None else ax
    name = recorded(run, metric).attrs.get("long_name", metric)
    band(scaled(run, metric), axes, smooth=smooth, label=survivors(run, name if label is None else label), **style)
    axes.axhline(1, **EDGE)
    axes.set(xlabel="step", ylabel=r"$\eta\,\times$ sharpness / 2")
    return axes


def stability(run: xr.Dataset, ax: Axes | None = None, *, smooth: int = 1) -> Axes:
    """Batch Sharpness and lambda_max, both times step_size / 2, against steps.

    >>> import numpy as np, sgdmodels as sm
    >>> model = sm.models.LeastSquares(np.eye(2), np.ones(2))
    >>> stability(sm.simulate(model, sm.SGD(0.5, 1), 200, np.zeros(2))).get_xlabel()
    'step'
    """
    axes = curvature(run, "batch_sharpness", ax, smooth=smooth, label="Batch Sharpness", color="C0")
    curvature(run, "lambda_max", axes, smooth=smooth, label=r"$\lambda_{\max}$", color="C3")
    axes.legend(frameon=False)
    return axes


def loss(run: xr.Dataset, ax: Axes | None = None, *, smooth: int = 1, label: str = "loss", **style: Any) -> Axes:
    """Full-batch loss against steps; logarithmic where it is positive."""
    axes = plt.subplots()[1] if ax is None else ax
    values = recorded(run, "loss").isel(replica=np.isnan(run.diverged_at.values))
    band(values, axes, smooth=smooth, label=survivors(run, label), **style)
    if values.size and bool((values > 0).all()):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss")
    return axes


def plateau(run: xr.Dataset, metric: str) -> np.ndarray:
    """Mean of step_size * `metric` / 2 over the last 60 % of the steps, one value a surviving replica."""
    values = scaled(run, metric)
    late = values.where(values.step >= (1 - PLATEAU) * float(run.step[-1]), drop=True)
    return np.asarray(late.mean("step").values)


def sharpness_by_batch_size(
    runs: Mapping[int, xr.Dataset], ax: Axes | None = None, *, prediction: Mapping[int, float] | None = None
) -> Axes:
    """Plateaus of Batch Sharpness and lambda_max against batch size (one run each), and a prediction of lambda_max."""
    axes = plt.subplots()[1] if ax is None else ax
    sizes = sorted(runs)
    shown = (("batch_sharpness", "Batch Sharpness", "C0", "o"), ("lambda_max", r"$\lambda_{\max}$", "C3", "s"))
    for metric, label, color, marker in shown:
        values = [plateau(runs[b], metric) for b in sizes]
        kept = [(b, v) for b, v in zip(sizes, values, strict=True) if v.size]
        middle = np.array([np.mean(v) for _, v in kept])
        spread = np.array([np.std(v, ddof=1) if v.size > 1 else 0.0 for _, v in kept])
        axes.errorbar(
            [b for b, _ in kept], middle, spread, fmt=marker, markersize=5, color=color, label=label, capsize=2
        )
    if prediction is not None:
        known = sorted(prediction)
        axes.plot(
            known, [prediction[b] for b in known], color="C3", linewidth=1, zorder=1,
            label=r"$\lambda_{\max}$ where $S_{ms} = 2/\eta$",
        )  # fmt: skip
    axes.axhline(1, **EDGE)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(b) for b in sizes])
    axes.minorticks_off()
    axes.set(xlabel="batch size", ylabel=r"$\eta\,\times$ sharpness / 2")
    axes.legend(frameon=False)
    return axes
