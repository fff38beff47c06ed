"""Recipe N, a perceptron on digits, on five fresh seeds: plateaus, switches, controls, noisy GD, score card.

`python validation/networks.py` writes networks.md and networks.png beside it, after every seed (about 40 minutes on one
core; needs torch and scikit-learn). Every sharpness is times eta / 2. Nothing was tuned on these seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import torch

import sgdmodels as sm
from sgdmodels.networks import Accuracy, losses, train
from sgdmodels.networks.recipes import NetworkRecipe, random_label_digits

SEEDS = range(6001, 6006)
BATCH_SIZES = (4, 8, 16, 32, 64)
ETA, SAMPLES, CARD_STEPS = 0.3, 500, 6000
STEPS, GD_STEPS, NOISY_STEPS, CONTROL_STEPS, BRANCH_STEPS, EVENT_STEPS = 20_000, 8_000, 8_000, 6_000, 4_000, 300
METRICS = ("loss", "batch_sharpness", "batch_sharpness_mean_ratio", "lambda_max")
PUBLISHED = {
    4: ("1.04, 1.09", ".21, .22"), 8: (".98, .95", ".29, .29"), 16: (".96, .89", ".42, .46"),
    32: (".85, .90", ".62, .66"), 64: (".84, 1.02", ".90, .94"), SAMPLES: ("1.02, .98", "1.07, 1.07"),
}  # fmt: skip
SWITCHES = {  # name: batch size before, dynamics after
    "b 32 -> 8": (32, sm.SGD(ETA, 8)),
    "b 32 -> 64": (32, sm.SGD(ETA, 64)),
    "eta / 2 at b = 32": (32, sm.SGD(ETA / 2, 32)),
    "eta x 2 at b = 16": (16, sm.SGD(2 * ETA, 16)),
    "b 16 -> 4": (16, sm.SGD(ETA, 4)),
    "b 16 -> 64": (16, sm.SGD(ETA, 64)),
    "eta x 2 at b = 8": (8, sm.SGD(2 * ETA, 8)),
}
NOISY = (8, 16, 32, 64)
EXTREMES = ("bs_high", "bs_low", "loss_ratio")
Row = dict[str, float]


def trained(
    recipe: NetworkRecipe, dynamics: Mapping[str, sm.dynamics.Dynamics], steps: int, record_every: int, **more: object
) -> dict[str, object]:
    """Runs of several dynamics that step together, by name."""
    joined = train(
        recipe.net, recipe.probe, dynamics, steps=steps, record_every=record_every, progress=False,
        **{"init": recipe.init, "metrics": METRICS, **more},
    )  # fmt: skip
    return {name: joined.sel(dynamics=name).isel(replica=0) for name in dynamics}


def levels(run: object, batch_size: int, share: float = 0.6) -> Row:
    """Means over the last `share` of a run, and what it ends with; NaN where it diverged, with the step."""
    eta = float(run.step_size.values.flat[0])
    late = run.isel(step=run.step.values >= (1 - share) * float(run.step[-1]))
    at = late.sel(batch_size=batch_size)
    scaled = {
        "bs": at.batch_sharpness, "mean_ratio": at.batch_sharpness_mean_ratio, "lambda_max": late.lambda_max
    }  # fmt: skip
    row = {name: float(values.mean(skipna=False)) * eta / 2 for name, values in scaled.items()}
    row |= {f"{name}_end": float(values[-1]) * eta / 2 for name, values in scaled.items()}
    row["bs_median"] = float(scaled["bs"].median()) * eta / 2
    return row | {"loss": float(late.loss.mean()), "diverged": float(run.diverged_at)}


def plateaus(recipe: NetworkRecipe, seed: int) -> tuple[dict[int, Row], dict[int, np.ndarray], dict[int, object]]:
    """Levels by batch size, the last parameters, the runs."""
    sgd = {str(b): sm.SGD(ETA, b) for b in BATCH_SIZES}
    runs = trained(recipe, sgd, STEPS, 400, batch_size=BATCH_SIZES, keep_params=True, seed=seed)
    runs |= trained(recipe, {str(SAMPLES): sm.GD(ETA)}, GD_STEPS, 200, batch_size=SAMPLES, keep_params=True)
    by_size = {int(name): run for name, run in runs.items()}
    ends = {b: np.asarray(run.params[-1]) for b, run in by_size.items()}
    return {b: levels(run, b) for b, run in by_size.items()}, ends, by_size


def switches(recipe: NetworkRecipe, ends: Mapping[int, np.ndarray], seed: int) -> dict[str, Row]:
    """The event step by step, then the new level, of every switch that starts from a plateau that is there."""
    rows = {}
    for before in {size for size, _ in SWITCHES.values()}:
        branches = {name: after for name, (size, after) in SWITCHES.items() if size == before}
        if not np.isfinite(ends[before]).all():
            continue
        sizes = sorted({after.batch_size for after in branches.values()})
        more = {"init": ends[before], "batch_size": sizes, "seed": seed + 1}
        event = trained(recipe, branches, EVENT_STEPS, 5, **more, metrics=("loss", "batch_sharpness"))
        later = trained(recipe, branches, BRANCH_STEPS, 200, **more)
        for name, after in branches.items():
            first = event[name].sel(batch_size=after.batch_size)
            bs, loss = first.batch_sharpness.values * after.step_size / 2, first.loss.values
            rows[name] = levels(later[name], after.batch_size, 0.5) | {
                "bs_at": bs[0], "bs_high": float(np.nanmax(bs)), "bs_low": float(np.nanmin(bs)),
                "loss_ratio": float(np.nanmax(loss) / loss[0]),
                "lambda_max_at": float(later[name].lambda_max[0]) * after.step_size / 2,
            }  # fmt: skip
    return rows


def controls(seed: int) -> dict[str, Row]:
    """Clean labels: squared loss at every batch size, cross-entropy at two and in full."""
    rows = {}
    squared = random_label_digits(seed, random_labels=0.0)
    sgd = {str(b): sm.SGD(ETA, b) for b in BATCH_SIZES}
    runs = trained(squared, sgd, CONTROL_STEPS, 500, batch_size=BATCH_SIZES, seed=seed)
    rows |= {f"squared loss, b = {b}": levels(runs[str(b)], b) for b in BATCH_SIZES}
    entropy = random_label_digits(seed, random_labels=0.0, loss=losses.cross_entropy)
    runs = trained(entropy, {k: sgd[k] for k in ("8", "32")}, CONTROL_STEPS, 500, batch_size=[8, 32], seed=seed)
    runs |= trained(entropy, {"n": sm.GD(ETA)}, CONTROL_STEPS, 500, batch_size=SAMPLES)
    return rows | {
        f"cross-entropy, b = {name}": levels(run, SAMPLES if name == "n" else int(name)) for name, run in runs.items()
    }


def noisy(recipe: NetworkRecipe, seed: int) -> dict[int, Row]:
    """Gradient descent with Gaussian noise of SGD's full current covariance."""
    runs = trained(recipe, {str(b): sm.NoisyGD(ETA, b) for b in NOISY}, NOISY_STEPS, 400, batch_size=NOISY, seed=seed)
    return {b: levels(runs[str(b)], b) for b in NOISY}


def interval(values: Iterable[float]) -> str:
    """Mean and 95 % Student interval over seeds that survived."""
    given = np.array(list(values))
    kept = given[np.isfinite(given)]
    if not len(kept):
        return "-"
    reach = scipy.stats.t.ppf(0.975, len(kept) - 1) * kept.std(ddof=1) / np.sqrt(len(kept)) if len(kept) > 1 else np.nan
    return f"{kept.mean():.3f}" + (f" ± {reach:.3f}" if len(kept) > 1 else "")


def extent(values: Iterable[float]) -> str:
    """Smallest to largest."""
    given = np.array(list(values))
    return f"{np.nanmin(given):.2f} .. {np.nanmax(given):.2f}"


def table(head: str, rows: Mapping[object, Sequence[Row]], *columns: str) -> list[str]:
    """Markdown: one line a key, one interval (extremes: a range) a column, and how many diverged or stay unstable."""
    titles = [head, *columns, "diverged", "median of BS above 1.5"]
    lines = ["", "| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for key, several in rows.items():
        cells = [(extent if c in EXTREMES else interval)(row[c] for row in several) for c in columns]
        gone = np.isfinite([row["diverged"] for row in several])
        wild = ~gone & (np.array([row["bs_median"] for row in several]) > 1.5)
        cells += [f"{count} of {len(several)}" for count in (gone.sum(), wild.sum())]
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return lines


def by_key(found: Sequence[Mapping[object, Row]]) -> dict[object, list[Row]]:
    keys = list(dict.fromkeys(key for one in found for key in one))
    return {key: [one[key] for one in found if key in one] for key in keys}


def report(found: Mapping[int, tuple[dict, dict, dict, dict]], card: Sequence[str]) -> list[str]:
    """The page so far."""
    first, second, third, fourth = (by_key(part) for part in zip(*found.values(), strict=True))
    ordered = [[rows[b]["lambda_max"] for b in (*BATCH_SIZES, SAMPLES)] for rows, *_ in found.values()]
    strictly = sum(bool((np.diff(row) > 0).all()) for row in ordered)
    near = [sum(abs(row["bs"] - 1) <= 0.1 for row in rows) for rows in first.values()]
    published = [f"| {b} | {bs} | {top} |" for b, (bs, top) in PUBLISHED.items()]
    return [
        "# Recipe N on fresh seeds", "",
        (f"Seeds {', '.join(map(str, found))}; mean ± half-width of the 95 % interval over seeds. {STEPS} steps "
        f"({GD_STEPS} of GD), plateau: last 60 %. bs: E[g'Hg] / E|g|^2; mean_ratio: E[g'Hg / |g|^2]."),
        "", "## Plateaus", *table("b", first, "bs", "mean_ratio", "mean_ratio_end", "lambda_max", "loss"), "",
        f"lambda_max rises strictly with b over {BATCH_SIZES} and n in {strictly} of {len(found)} seeds.",
        f"BS is within 10 % of the edge in {sum(near)} of {len(near) * len(found)} cells.", "",
        "| b | published BS | published lambda_max |", "|---|---|---|", *published,
        "", "## Switches", "",
        (f"`_at`: at the switch, in units of the new edge; `_high`, `_low`, `loss_ratio`: extremes of the next "
        f"{EVENT_STEPS} steps, over seeds; the others: mean over the second half of {BRANCH_STEPS} steps."),
        *table(
            "switch", second, "bs_at", "bs_high", "bs_low", "loss_ratio", "bs", "lambda_max_at", "lambda_max", "loss"
        ),
        "", "## Clean labels", "", f"{CONTROL_STEPS} steps; `_end`: at the last of them.",
        *table("control", third, "bs", "bs_end", "lambda_max", "lambda_max_end"),
        "", "## Noisy gradient descent, full covariance", "", f"{NOISY_STEPS} steps.",
        *table("b", fourth, "bs", "lambda_max"),
        *card, "",
    ]  # fmt: skip


def figure(runs: Mapping[int, object], path: Path) -> None:
    """Batch Sharpness and lambda_max of one seed."""
    chart, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
    for k, (b, run) in enumerate(runs.items()):
        color = plt.get_cmap("viridis")(k / len(runs))
        for ax, metric, title in zip(
            axes, ("batch_sharpness", "lambda_max"), ("Batch Sharpness", r"$\lambda_{\max}$"), strict=True
        ):
            one = run.expand_dims("replica").assign(diverged_at=("replica", [float(run.diverged_at)]))
            sm.plot.curvature(one, metric, ax, smooth=5, label=f"b = {b}" if b < SAMPLES else "GD", color=color)
            ax.set_title(title)
    axes[0].legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
    axes[0].set_ylim(0, 1.6)
    chart.savefig(path, dpi=150)


def score_card() -> list[str]:
    """The score card of SGD, two kinds of noisy GD at b = 16 on the first seed."""
    recipe = random_label_digits(SEEDS[0], accuracy=Accuracy(probes=4, tolerance=3e-2, batches=300))
    candidates = {f"noisy GD, {covariance}": sm.NoisyGD(ETA, 16, covariance) for covariance in ("full", "isotropic")}
    card = sm.scorecard(
        recipe.probe, sm.SGD(ETA, 16), candidates,
        steps=CARD_STEPS, replicas=2, init=recipe.init, title="Recipe N, b = 16", progress=False,
    )  # fmt: skip
    return ["", "## Score card", "", card.to_markdown()]


def main() -> None:
    torch.set_num_threads(1)
    found, here = {}, Path(__file__)
    card: list[str] = []
    for seed in SEEDS:
        recipe = random_label_digits(seed)
        first, ends, runs = plateaus(recipe, seed)
        if seed == SEEDS[0]:
            figure(runs, here.with_suffix(".png"))
        found[seed] = first, switches(recipe, ends, seed), controls(seed), noisy(recipe, seed)
        if seed == SEEDS[-1]:
            card = score_card()
        lines = report(found, card)
        here.with_suffix(".md").write_text("\n".join(lines))
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
