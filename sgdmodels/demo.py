"""The first experiment: SGD on a 21-parameter linear network settles at the Edge of Stochastic Stability.

Recipe A at several batch sizes and seeds (each seed is another data set, start and order of batches). Batch Sharpness
goes to 2 / step_size for every batch size, and lambda_max is held below it, where S_ms = 2 / step_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from . import plot
from .dynamics import SGD
from .recipes import slow_tail_network
from .simulate import simulate
from .theory import edge_sharpness

BATCH_SIZES = (2, 4, 8, 32, 100)
SEEDS = (0, 1, 2, 3, 4)
STEPS = 100_000
SHOWN = ("batch_sharpness", "lambda_max", "predicted_lambda_max")


@dataclass(frozen=True)
class Demo:
    """Runs by batch size, with seeds as replicas, and the closed form of eta lambda_max / 2 for each seed."""

    runs: dict[int, xr.Dataset]
    predictions: dict[int, np.ndarray]

    def plateaus(self) -> list[dict[str, Any]]:
        """Rows of numbers, one a batch size: means and standard deviations over the seeds that did not diverge."""
        rows = []
        for b, run in self.runs.items():
            row: dict[str, Any] = {"batch_size": b, "full_batch": b == int(run.attrs["samples"])}
            columns = {metric: plot.plateau(run, metric) for metric in ("batch_sharpness", "lambda_max")}
            columns["predicted_lambda_max"] = self.predictions[b][np.isnan(run.diverged_at.values)]
            for name, values in columns.items():
                row[name] = float(values.mean()) if values.size else None
                row[f"{name}_sd"] = float(values.std(ddof=1)) if values.size > 1 else None
            row |= {"diverged": int(run.diverged_at.notnull().sum()), "seeds": run.sizes["replica"]}
            rows.append(row)
        return rows

    def table(self) -> list[tuple[str, ...]]:
        """Rows (b, eta BS / 2, eta lambda_max / 2, its prediction, diverged), mean +- standard deviation over seeds."""
        return [
            (
                f"{row['batch_size']} (n)" if row["full_batch"] else str(row["batch_size"]),
                *(_spread(row[name], row[f"{name}_sd"]) for name in SHOWN),
                f"{row['diverged']} of {row['seeds']}",
            )
            for row in self.plateaus()
        ]

    def figure(self) -> Figure:
        """Batch Sharpness and lambda_max against steps, and their plateaus against batch size."""
        import matplotlib.pyplot as plt

        style: dict[Any, Any] = {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 9,
        }
        with plt.rc_context(style):
            figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.0), layout="constrained", sharey=True)
            colors = plt.colormaps["viridis"](np.linspace(0.0, 0.85, len(self.runs)))
            titles = {"batch_sharpness": "Batch Sharpness", "lambda_max": r"full-batch $\lambda_{\max}$"}
            for ax, (metric, title) in zip(axes, titles.items(), strict=False):
                for color, (b, run) in zip(colors, self.runs.items(), strict=True):
                    plot.curvature(run, metric, ax, smooth=25, label=f"$b = {b}$", color=color, linewidth=1.2)
                ax.set(title=title, xlabel=r"step / $10^3$", xlim=(0, None), ylim=(0, 1.35))
                ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}")
            axes[1].set_ylabel("")
            axes[0].legend(frameon=False, ncols=2, loc="lower right")
            middle = {b: float(np.mean(p)) for b, p in self.predictions.items()}
            plot.sharpness_by_batch_size(self.runs, axes[2], prediction=middle)
            axes[2].set(title="plateaus", ylabel="")
        return figure


def edge_of_stochastic_stability(
    batch_sizes: Sequence[int] = BATCH_SIZES, seeds: Sequence[int] = SEEDS, steps: int = STEPS
) -> Iterator[Demo | None]:
    """Run the experiment; yields None after each run (for a progress bar) and the Demo at last."""
    recipes = {seed: slow_tail_network(seed) for seed in seeds}
    runs, predictions = {}, {}
    for b in batch_sizes:
        parts = []
        for seed, recipe in recipes.items():
            run = simulate(recipe.model, SGD(recipe.step_size, b), steps, recipe.init, seed=seed, progress=False)
            if run.attrs["interrupted"]:
                raise KeyboardInterrupt
            parts.append(run)
            yield None
        joined = xr.concat(parts, "replica", join="exact", coords="minimal", compat="override", combine_attrs="drop")
        runs[b] = joined.assign_coords(replica=list(seeds)).assign_attrs(samples=recipes[seeds[0]].model.samples)
        predictions[b] = np.array([edge_sharpness(recipe.directions, b) for recipe in recipes.values()])
    yield Demo(runs, predictions)


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" + ("" if deviation is None else f" +- {deviation:.3f}")
