"""Models of SGD on recipe A, and interventions on A and C, on seeds nothing was tuned on: writes surrogates.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import sgdmodels as sm

SEEDS = range(40, 46)
STEPS = 100_000
TRACE = 5e-4  # of the constant isotropic noise of a batch gradient
ETA, SAMPLES, DIM = 0.4, 100, 21
Make = Callable[[int], sm.dynamics.Dynamics]


def constant_noise(batch_size: int) -> sm.NoisyGD:
    c2 = (SAMPLES - batch_size) / (batch_size * (SAMPLES - 1))
    return sm.NoisyGD(ETA, batch_size, "constant", scale=float(np.sqrt(TRACE / DIM / c2)))


@dataclass(frozen=True)
class Row:
    """A dynamics and published plateaus (eta BS / 2, eta lambda_max / 2) by batch size; None where not published."""

    name: str
    make: Make
    published: dict[int, tuple[float | None, float]]


ROWS = [
    Row("SGD", lambda b: sm.SGD(ETA, b), {2: (0.995, 0.200), 8: (1.130, 0.586)}),
    Row("noisy GD, full", lambda b: sm.NoisyGD(ETA, b), {2: (0.99, 0.20), 8: (1.12, 0.57)}),
    Row("noisy GD, diagonal", lambda b: sm.NoisyGD(ETA, b, "diagonal"), {2: (0.90, 0.18), 8: (1.09, 0.59)}),
    Row("noisy GD, isotropic, constant", constant_noise, {2: (4.8, 0.95), 8: (1.9, 0.96)}),
    Row("SVAG, ell = 4", lambda b: sm.SVAG(ETA, b, ell=4), {2: (None, 0.216), 8: (None, 0.817)}),
    Row("SVAG, ell = 16", lambda b: sm.SVAG(ETA, b, ell=16), {2: (None, 0.219), 8: (None, 0.901)}),
    Row("SDE, h = eta/10", lambda b: sm.SDE(ETA, b), {2: (1.13, 0.225), 8: (1.70, 0.89), 16: (2.2, 1.6)}),
]


def plateau(row: Row, batch_size: int, seed: int) -> tuple[float, float]:
    """Means over the last 60 % of eta BS / 2 and eta lambda_max / 2; NaN if the run diverged."""
    recipe = sm.recipes.slow_tail_network(seed)
    run = sm.simulate(
        recipe.model,
        row.make(batch_size),
        STEPS,
        recipe.init,
        batch_size=batch_size,
        seed=seed,
        progress=False,
        threads=1,
    )
    if np.isfinite(run.diverged_at.values).any():
        return np.nan, np.nan
    late = run.isel(step=run.step.values >= 0.4 * STEPS)
    return (
        float(late.batch_sharpness.mean()) * ETA / 2,
        float(late.lambda_max.mean()) * ETA / 2,
    )


def spread(values: list[float]) -> str:
    kept = np.array(values)[np.isfinite(values)]
    lost = len(values) - len(kept)
    if not len(kept):
        return f"all {lost} diverged"
    text = f"{kept.mean():.3f} ± {kept.std(ddof=1):.3f}" if len(kept) > 1 else f"{kept.mean():.3f}"
    return text + (f" ({lost} of {len(values)} diverged)" if lost else "")


def surrogates(pool: ThreadPoolExecutor) -> list[str]:
    lines = ["| dynamics | b | BS | published | lambda_max | published |", "|---|---|---|---|---|---|"]
    jobs = {
        (row.name, b): [pool.submit(plateau, row, b, seed) for seed in SEEDS] for row in ROWS for b in row.published
    }
    for row in ROWS:
        for b, (sharp, top) in row.published.items():
            found = [job.result() for job in jobs[row.name, b]]
            cells = [spread([f[k] for f in found]) for k in (0, 1)]
            lines.append(f"| {row.name} | {b} | {cells[0]} | {'' if sharp is None else sharp} | {cells[1]} | {top} |")
            print(lines[-1], flush=True)
    return lines


@dataclass(frozen=True)
class Switch:
    """A change of one knob at a plateau, and what recipes.md says of it."""

    recipe: str
    before: tuple[float, int]
    after: tuple[float, int]
    at: int
    steps: int
    published: str


SWITCHES = [
    Switch(
        "A, tail norm 240",
        (0.2, 4),
        (0.3, 4),
        80_000,
        80_000,
        "BS 1.5-1.6, undershoots to 0.3, back at 1.11; none diverges",
    ),
    Switch("A, tail norm 240", (0.2, 8), (0.2, 4), 80_000, 80_000, "1.7-1.8, then 1.1"),
    Switch("A, tail norm 240", (0.2, 16), (0.2, 4), 80_000, 80_000, "one of three diverged"),
    Switch("A, tail norm 240", (0.2, 4), (0.1, 4), 80_000, 80_000, "nothing happens: the fuel is spent"),
    Switch("C", (0.4, 4), (0.3, 4), 30_000, 30_000, "BS drops to 0.8, climbs back to 1.07"),
    Switch("C", (0.4, 4), (0.4, 8), 30_000, 30_000, "drops to 0.68, then 1.13"),
    Switch("C", (0.3, 4), (0.4, 4), 30_000, 30_000, "overshoots to 1.45 and returns"),
    Switch("C", (0.4, 8), (0.4, 4), 30_000, 30_000, "diverged in two of three"),
]


def switched(switch: Switch, seed: int) -> tuple[float, float, float, float, float] | None:
    """BS after the switch, its extreme within 2000 steps, its late level, lambda_max before, late; None: diverged."""
    recipe = (
        sm.recipes.gated_quadratic(seed)
        if switch.recipe == "C"
        else sm.recipes.slow_tail_network(seed, tail_norm=240.0)
    )
    (eta, b), (eta_after, b_after) = switch.before, switch.after
    forked = sm.fork(
        recipe.model, sm.SGD(eta, b), {"switched": sm.SGD(eta_after, b_after)}, switch.at, switch.steps, recipe.init,
        record_every=20, batch_size=b_after, seed=seed,
    )  # fmt: skip
    branch = forked.sel(branch="switched").isel(replica=0)
    if np.isfinite(branch.diverged_at):
        return None
    sharp = branch.batch_sharpness.isel(batch_size=0).values * eta_after / 2
    top = branch.lambda_max.values
    early = sharp[1:100]
    extreme = early.min() if (eta_after, -b_after) < (eta, -b) else early.max()
    late = len(sharp) // 2
    return (
        sharp[0],
        float(extreme),
        float(sharp[late:].mean()),
        top[0] * eta_after / 2,
        float(top[late:].mean()) * eta_after / 2,
    )


def interventions(pool: ThreadPoolExecutor) -> list[str]:
    lines = [
        (
            "| recipe | eta, b | to | BS at the switch | extreme in 2000 steps | BS later "
            "| lambda_max at the switch | later | published |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    jobs = [[pool.submit(switched, s, seed) for seed in SEEDS] for s in SWITCHES]
    for s, pending in zip(SWITCHES, jobs, strict=True):
        found = [job.result() for job in pending]
        cells = [spread([f[k] if f else np.nan for f in found]) for k in range(5)]
        lines.append(
            f"| {s.recipe} | {s.before[0]}, {s.before[1]} | {s.after[0]}, {s.after[1]} | "
            + " | ".join(cells)
            + f" | {s.published} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = surrogates(pool), interventions(pool)
    text = [
        "# Surrogates and interventions on fresh seeds", "",
        (
            f"Seeds {SEEDS.start} to {SEEDS.stop - 1}, written by `surrogates.py`; all sharpness times eta/2; mean ± "
            "standard deviation over seeds of the mean over the last 60 % of 100 000 steps. BS is measured at the "
            "batch size of the row."
        ), "",
        "## Models of SGD on recipe A (eta = 0.4)", "", *first, "", "## Switches at the plateau", "",
        "BS at the switch is measured with the new step and batch size.", "", *second, "",
    ]  # fmt: skip
    (Path(__file__).parent / "surrogates.md").write_text("\n".join(text))


if __name__ == "__main__":
    sys.exit(main())
