"""Figures of a score card: trajectories, plateaus against the batch size with closed forms, interventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figure_style import STYLE, looks
from .plot import EDGE
from .predictions import Evidence, NoAnswer
from .theory import batch_sharpness_factor, edge_sharpness

if TYPE_CHECKING:
    from .scorecard import ScoreCard

METRICS = {"batch_sharpness": r"Batch Sharpness $\times\,\eta/2$", "lambda_max": r"$\lambda_{\max}\,\eta/2$"}
TOP = 2.5  # sharpness beyond this share of the edge is cut off, and said so


def trajectories(card: ScoreCard) -> Figure:
    """Medians over surviving replicas against steps: a row per batch size, Batch Sharpness left, lambda_max right."""
    sizes = card.experiment.batch_sizes
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(sizes), 2, figsize=(8.6, 1.9 * len(sizes) + 0.9), sharex=True, sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        styles = looks(list(card.evidence))
        for row, b in zip(grid, sizes, strict=True):
            for ax, (metric, title) in zip(row, METRICS.items(), strict=True):
                for name in reversed(list(card.evidence)):
                    path = median_path(card.evidence[name], b, metric)
                    if path is not None:
                        first = name == card.reference
                        ax.plot(
                            *path,
                            color=styles[name]["color"],
                            linestyle=styles[name]["linestyle"],
                            linewidth=1.6 if first else 0.9,
                            zorder=3 if first else 2,
                        )
                ax.axhline(1, **EDGE)
                ax.set(
                    ylim=(0, TOP),
                    title=f"{title}, $b = {b}$" if b < card.experiment.model.samples else f"{title}, $b = n$",
                )
                ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}")
        for ax in grid[-1]:
            ax.set_xlabel(r"step / $10^3$")
        handles = [
            Line2D(
                [],
                [],
                color=s["color"],
                linestyle=s["linestyle"],
                linewidth=1.6 if n == card.reference else 0.9,
                label=n,
            )
            for n, s in styles.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def median_path(evidence: Evidence, batch_size: int, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and the running median over records of the median over survivors; None if none survived."""
    try:
        run, values = evidence.survivors(batch_size), evidence.scaled(batch_size, metric)
    except NoAnswer:
        return None
    import xarray as xr

    middle = xr.DataArray(np.nanmedian(values, axis=0), dims="step")
    width = max(1, middle.size // 60)
    smooth = middle.rolling(step=width, center=True, min_periods=1).median().values
    return run.step.values, np.where(smooth > 1.2 * TOP, np.nan, smooth)


def levels(card: ScoreCard) -> Figure:
    """Where each model settles: a panel per batch size, a row per dynamics; closed forms of SGD as vertical lines."""
    sizes, names = card.experiment.batch_sizes, list(card.evidence)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(sizes), figsize=(8.6, 0.19 * len(names) + 1.3), sharey=True, squeeze=False, layout="constrained"
        )
        for ax, b in zip(axes[0], sizes, strict=True):
            draw_levels(card, ax, b)
            ax.set_title(f"$b = {b}$" if b < card.experiment.model.samples else "$b = n$")
            ax.set_xlabel(r"sharpness $\times\,\eta/2$")
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


COLORS = {"lambda_max": "C3", "batch_sharpness": "C0"}
NAMES = {"lambda_max": r"$\lambda_{\max}$", "batch_sharpness": "Batch Sharpness"}


def draw_levels(card: ScoreCard, ax: Axes, batch_size: int) -> None:
    """Late levels of lambda_max and Batch Sharpness of every dynamics; beyond the edge of the panel an arrow."""
    for metric, fill in (("batch_sharpness", "none"), ("lambda_max", COLORS["lambda_max"])):
        for row, name in enumerate(card.evidence):
            value, low, high = late_level(card.evidence[name], batch_size, metric)
            style: dict[str, Any] = {"color": COLORS[metric], "zorder": 3}
            label = NAMES[metric] if row == 0 else None
            if np.isnan(value):
                ax.text(TOP / 2, row, "diverged", ha="center", va="center", fontsize=6, color="0.4")
            elif value > TOP:
                ax.plot(TOP * 0.985, row, ">", markersize=4, markerfacecolor=fill, clip_on=False, label=label, **style)
            else:
                ax.plot([low, min(high, TOP)], [row, row], linewidth=1.0, **style)
                ax.plot(
                    value,
                    row,
                    "o",
                    markersize=4.2,
                    markerfacecolor="white" if fill == "none" else fill,
                    label=label,
                    **style,
                )
    ax.axvline(1, **EDGE)
    if card.experiment.directions is not None:
        for metric, function in CLOSED_FORMS.items():
            value = function(card.experiment.directions, batch_size)
            label = f"closed form of {NAMES[metric]} of SGD"
            ax.axvline(value, color=COLORS[metric], linewidth=3, alpha=0.25, zorder=0, label=label)
    ax.axhspan(-0.5, 0.5, color="0.93", zorder=-1)
    ax.set_xlim(0, TOP)


CLOSED_FORMS = {"batch_sharpness": batch_sharpness_factor, "lambda_max": edge_sharpness}


def plateaus(card: ScoreCard) -> Figure:
    """Late levels with intervals against the batch size, and the closed forms of SGD where there are any."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.4), layout="constrained", sharey=True)
        draw_plateaus(card, axes)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def draw_plateaus(card: ScoreCard, axes: Any) -> None:
    """lambda_max in the second of two axes, Batch Sharpness in the first."""
    sizes = np.array(card.experiment.batch_sizes)
    styles = looks(list(card.evidence))
    shift = np.linspace(-0.3, 0.3, len(styles))
    for ax, (metric, title) in zip(axes, METRICS.items(), strict=True):
        closed_form(card, ax, metric)
        for offset, (name, style) in zip(shift, styles.items(), strict=True):
            values = np.array([late_level(card.evidence[name], int(b), metric) for b in sizes])
            error = np.abs(values[:, 1:].T - values[:, 0])
            reference = name == card.reference
            ax.errorbar(
                sizes * 2.0**offset, values[:, 0], error, linewidth=1.2 if reference else 0.4,
                markersize=6 if reference else 4, capsize=1.5, elinewidth=0.8, label=name,
                markerfacecolor=style["color"] if reference else "white", zorder=4 if reference else 3, **style,
            )  # fmt: skip
        ax.axhline(1, **EDGE)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [str(b) for b in sizes])
        ax.minorticks_off()
        ax.set(xlabel="batch size", title=title, ylim=(0, TOP))


def closed_form(card: ScoreCard, ax: Axes, metric: str) -> None:
    """The mean-square edge as a line through all batch sizes."""
    experiment = card.experiment
    if experiment.directions is None:
        return
    n = experiment.model.samples
    sizes = np.unique(np.geomspace(1, n, 25).round().astype(int))
    low, high = min(experiment.batch_sizes) / 1.4, max(experiment.batch_sizes) * 1.4
    sizes = sizes[(sizes >= low) & (sizes <= high)]
    function = CLOSED_FORMS[metric]
    label = r"closed form: $S_{ms} = 2/\eta$"
    ax.plot(
        sizes, [function(experiment.directions, int(b)) for b in sizes], color="0.6", linewidth=3, label=label, zorder=1
    )


def late_level(evidence: Evidence, batch_size: int, metric: str) -> tuple[float, float, float]:
    """Level over the last 40 % of the run with its interval; NaN if all diverged."""
    try:
        level = evidence.late_level(batch_size, metric)
    except NoAnswer:
        return np.nan, np.nan, np.nan
    return level.value, level.low, level.high


def interventions(card: ScoreCard) -> Figure | None:
    """Loss after nudges of the reference, and for all dynamics how often a nudge sets off a spike; None without any."""
    tested = {name: one for name, one in card.evidence.items() if one.edge_tests}
    if not tested:
        return None
    sizes = card.experiment.batch_sizes
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            2, len(sizes), figsize=(8.6, 2.4 + 0.17 * len(tested) + 1.2), squeeze=False, layout="constrained",
            gridspec_kw={"height_ratios": [2.2, 0.17 * len(tested) + 1.0]},
        )  # fmt: skip
        for k, b in enumerate(sizes):
            draw_losses(card, grid[0, k], b)
            draw_spikes(tested, grid[1, k], b, labels=k == 0)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


BRANCH_COLORS = {
    "control": "black", "step size up": "C3", "batch size down": "C1", "step size down": "C0", "batch size up": "C2",
}  # fmt: skip


def draw_losses(card: ScoreCard, ax: Axes, batch_size: int) -> None:
    """Median loss of the reference's branches, over the median of the control."""
    ax.set(title=f"{card.reference}, $b = {batch_size}$", xlabel="steps since the nudge")
    test = card.evidence[card.reference].edge_tests.get(batch_size)
    if test is None:
        return
    base = float(np.nanmedian(test.loss.sel(branch="control")))
    for name in test.branch.values:
        middle = (test.loss.sel(branch=name) / base).median("replica", skipna=False)  # until half have diverged
        ax.plot(test.step - test.step[0], middle, color=BRANCH_COLORS[str(name)], linewidth=0.9, label=str(name))
    if base > 0:
        ax.set_yscale("log")
    if batch_size == card.experiment.batch_sizes[0]:
        ax.set_ylabel("loss / control")


def draw_spikes(tested: dict[str, Evidence], ax: Axes, batch_size: int, *, labels: bool) -> None:
    """Probability of a spike, a row per dynamics and a mark per branch."""
    names = list(tested)
    for row, name in enumerate(names):
        test = tested[name].edge_tests.get(batch_size)
        if test is None or not np.isfinite(test.probability).any():
            ax.text(0.5, row, "no answer", ha="center", va="center", fontsize=6, color="0.5")
            continue
        for k, branch in enumerate(str(v) for v in test.branch.values if v != "control"):
            ax.plot(
                float(test.probability.sel(branch=branch)), row + 0.12 * (k - 1.5), "o", markersize=3.5,
                color=BRANCH_COLORS[branch],
            )  # fmt: skip
    ax.axvline(0.5, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlim=(-0.05, 1.05), ylim=(len(names) - 0.5, -0.5), xlabel="share of replicas with a spike")
    ax.set_yticks(range(len(names)), names if labels else [])
