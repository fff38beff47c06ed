"""Coverage of the intervals of Batch Sharpness on a trained network; writes interval_coverage.md beside it.

Run with `python validation/interval_coverage.py` (a few minutes on one core; needs torch and scikit-learn). Digits, 500
samples, half of the labels random, GELU MLP 64-32-32-10, SGD with b = 16 and step 0.3, at three points of one run. For
every point and batch size a pool of units (whole permutations cut into disjoint batches) is computed once. Units drawn
from the pool with replacement then have a truth that is known exactly, the pool's own ratio, for both definitions. The
pools are checked against the exact six moments.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from sgdmodels.arguments import FloatArray
from sgdmodels.networks.estimators.batch_estimates import DEFINITIONS, parts, until_precise
from sgdmodels.networks.estimators.batch_units import BatchUnits
from sgdmodels.networks.estimators.intervals import mean_interval, ratio_interval, student_quantile
from sgdmodels.networks.estimators.moment_ratios import moment_ratios
from sgdmodels.networks.estimators.sample_moments import sample_moments
from sgdmodels.networks.objectives.budget import MemoryBudget
from sgdmodels.networks.objectives.module_objective import ModuleObjective

SAMPLES, REPLICATES, ADAPTIVE, RESAMPLES = 500, 2000, 500, 200
POINTS = {"start": 0, "middle": 1000, "late": 8000}  # steps
PERMUTATIONS = {4: 300, 16: 1000, 64: 3000}  # units of the pools
UNITS = (8, 16, 32, 64, 128)
BOOTSTRAPPED = 300  # of the replicates
RUNS = (8, 16, 32)
TARGETS = (0.1, 0.03, 0.01)
SUMMARY = """## What it says

* BS_E is well covered everywhere: 92 to 96 % from 16 independent batches on. Its ratios have light tails.
* BS_R is covered from whole permutations (93 to 96 % from 8 of them), since each holds every sample. From independent
  batches it falls short where few samples carry the numerator: at b = 1 and 4 of the middle point 80 to 85 % at 32
  batches and 84 to 91 % at 128, and no other interval does much better. Use the six moments there.
* Fieller-t and the delta method with Student's t cover alike on these data, where denominators are well known; normal
  quantiles and the percentile bootstrap lose 4 to 9 points at 8 units, the bootstrap still 1 to 2 at 64.
* Adaptive stopping costs coverage of BS_R in the same cells (83 to 91 % where 3 or 10 % is asked), elsewhere it is 88 %
  or more; starting from 32 units and 128 batches instead of 16 and 64 was tried and gains 4 points in the worst cell.
  The error asked for is met within a tenth but for those cells, where it is up to a third larger.
* The published rule stops BS_E by the error of BS_R, so what it delivers is not what was asked: where its cap of 1000
  batches binds it ends above 1 %, and at b = 1 it takes two and a half times the batches that 3 % of BS_E needs.
* Runs of disjoint batches save a factor of 1.4 to 3 in batches for 1 % once training has begun, nothing at the start,
  where fewer batches are needed than the first look takes.
"""
SHORT = {"ratio_of_means": "BS_R", "mean_of_ratios": "BS_E"}
Pools = dict[tuple[str, int], tuple[FloatArray, FloatArray]]


def network(seed: int) -> tuple[ModuleObjective, torch.Tensor]:
    """Recipe N, 3466 parameters in float32, and where it starts."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(images))[:SAMPLES]
    classes = labels[chosen]
    wrong = rng.permutation(SAMPLES)[: SAMPLES // 2]
    classes[wrong] = rng.integers(0, 10, len(wrong))
    layers = [
        torch.nn.Linear(64, 32),
        torch.nn.GELU(),
        torch.nn.Linear(32, 32),
        torch.nn.GELU(),
        torch.nn.Linear(32, 10),
    ]
    net, generator = torch.nn.Sequential(*layers), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.6 / p.shape[-1] ** 0.5 * torch.randn(p.shape, generator=generator) if p.ndim == 2 else 0 * p)
    inputs = torch.tensor(images[chosen] / 8 - 1, dtype=torch.float32)
    targets = torch.eye(10)[torch.tensor(classes)]
    objective = ModuleObjective(net, lambda f, y: 0.5 * (f - y).square().sum(1), inputs, targets, MemoryBudget(2**30))
    return objective, torch.nn.utils.parameters_to_vector(net.parameters()).detach()


def points(objective: ModuleObjective, theta: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Parameters along one run of SGD."""
    rng, found = np.random.default_rng(seed), {}
    for step in range(max(POINTS.values()) + 1):
        found |= {name: theta.clone() for name, at in POINTS.items() if at == step}
        theta = theta - 0.3 * objective.gradient(theta, torch.as_tensor(rng.permutation(SAMPLES)[:16]))
    return found


class Pool:
    """Units of a pool, drawn with replacement: stands where `BatchUnits` does in an adaptive estimate."""

    def __init__(self, pairs: tuple[FloatArray, FloatArray], rng: np.random.Generator) -> None:
        self.pairs, self.length = pairs, pairs[0].shape[1]
        self.rows = rng.integers(0, len(pairs[0]), 2**14)

    def table(self, units: int, run: int) -> tuple[FloatArray, FloatArray]:
        top, bottom = self.pairs
        return top[self.rows[:units], :run], bottom[self.rows[:units], :run]


def covers(low: FloatArray, high: FloatArray, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def fixed_coverage(pairs: tuple[FloatArray, FloatArray], units: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of four nominal 95 % intervals of sum u / sum v from `units` units, pairs being the pool's units."""
    u, v = pairs
    truth = u.sum() / v.sum()
    rows = rng.integers(0, len(u), (units, REPLICATES))
    fieller = ratio_interval(u[rows], v[rows])
    t, z = student_quantile(units - 1), student_quantile(np.inf)
    reach = fieller.standard_error
    some = rows[:, :BOOTSTRAPPED]
    resampled = np.empty((RESAMPLES, some.shape[1]))
    for k in range(RESAMPLES):
        again = np.take_along_axis(some, rng.integers(0, units, some.shape), axis=0)
        resampled[k] = u[again].sum(axis=0) / v[again].sum(axis=0)
    quantiles = np.quantile(resampled, [0.025, 0.975], axis=0)
    return {
        "Fieller-t": covers(fieller.low, fieller.high, truth),
        "delta, t": covers(fieller.value - t * reach, fieller.value + t * reach, truth),
        "delta, normal": covers(fieller.value - z * reach, fieller.value + z * reach, truth),
        "bootstrap": covers(quantiles[0], quantiles[1], truth),
    }


def published(
    pairs: tuple[FloatArray, FloatArray], target: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """BS_E stopped as the published code does, by the delta error of BS_R with the variance over i, from 20 on to 1000.

    Coverage of its t interval, realised relative error, and mean number of (independent) batches.
    """
    u, v = (x.ravel() for x in pairs)
    ratios = u / v
    truth, found = ratios.mean(), []
    count = np.arange(1, 1001)
    for _ in range(ADAPTIVE):
        rows = rng.integers(0, len(u), 1000)
        a, b = u[rows], v[rows]
        value = a.cumsum() / b.cumsum()
        # the sample variance of a - value b, from running sums
        square = (a * a).cumsum() - 2 * value * (a * b).cumsum() + value**2 * (b * b).cumsum()
        error = np.sqrt(np.maximum(square, 0.0) / count / np.maximum(count - 1, 1)) / (b.cumsum() / count)
        stop = np.flatnonzero((error < target * abs(value)) & (count >= 20))
        n = int(stop[0]) + 1 if len(stop) else 1000
        at = mean_interval(ratios[rows[:n]])
        found.append((float(at.value), at.low <= truth <= at.high, n))
    values, covered, batches = np.array(found, dtype=float).T
    return float(covered.mean()), float(np.sqrt(((values / truth - 1) ** 2).mean())), float(batches.mean())


def adaptive(
    pairs: tuple[FloatArray, FloatArray], definition: str, target: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """The same for this package's estimate."""
    top, bottom = parts(definition, *pairs)
    truth = top.sum() / bottom.sum()
    found = []
    for _ in range(ADAPTIVE):
        at = until_precise(Pool(pairs, rng), definition, target, 2**14, 0.95)  # type: ignore[arg-type]
        e = at.estimate
        found.append((float(e.value), e.low <= truth <= e.high, at.batches))
    values, covered, batches = np.array(found, dtype=float).T
    return float(covered.mean()), float(np.sqrt(((values / truth - 1) ** 2).mean())), float(batches.mean())


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]] + [""]


def pools_of(objective: ModuleObjective, start: torch.Tensor) -> tuple[Pools, dict[int, float], list[list[str]]]:
    """Units of every point and batch size, seconds a batch, and how the pools compare with the exact moments."""
    pools, seconds, checks = {}, {}, []
    for name, theta in points(objective, start, 2).items():
        exact = moment_ratios(sample_moments(objective, theta), list(PERMUTATIONS)).batch_sharpness.value
        curvature, square = objective.batch_curvatures(theta, torch.arange(SAMPLES)[:, None])
        pools[name, 1] = curvature.double().numpy()[:, None], square.double().numpy()[:, None]
        for truth, (b, permutations) in zip(exact, PERMUTATIONS.items(), strict=True):
            units = BatchUnits(objective, theta, b, "without_replacement", seed=3)
            began = time.perf_counter()
            pools[name, b] = units.table(permutations, units.length)
            seconds[b] = (time.perf_counter() - began) / (permutations * units.length)
            at = ratio_interval(*(x.sum(axis=1) for x in pools[name, b]))
            z = (at.value - truth) / at.standard_error
            checks.append([name, str(b), f"{truth:.4f}", f"{at.value:.4f}", f"{z:+.1f}"])
    return pools, seconds, checks


def fixed_tables(pools: Pools, rng: np.random.Generator) -> list[str]:
    """Coverage from a fixed number of units."""
    collected: dict[tuple[str, str, int], list[float]] = {}
    lines = []
    for definition in DEFINITIONS:
        rows = []
        for (name, b), pairs in pools.items():
            top, bottom = parts(definition, *pairs)
            row = [name, str(b)]
            for units in UNITS:
                cover = fixed_coverage((top.ravel(), bottom.ravel()), units, rng)
                row.append(f"{100 * cover['Fieller-t']:.1f}")
                for method, share in cover.items():
                    collected.setdefault((definition, method, units), []).append(100 * share)
            whole = top.sum(axis=1), bottom.sum(axis=1)
            row += ["" if b == 1 else f"{100 * fixed_coverage(whole, u, rng)['Fieller-t']:.1f}" for u in RUNS]
            rows.append(row)
        lines += [f"## {SHORT[definition]}: coverage of Fieller-t, %", ""]
        lines += ["U independent batches, and (P) U whole permutations of disjoint batches.", ""]
        lines += table(["point", "b", *(f"U = {u}" for u in UNITS), *(f"P {u}" for u in RUNS)], rows)
    rows = []
    for definition, method in itertools.product(DEFINITIONS, ("Fieller-t", "delta, t", "delta, normal", "bootstrap")):
        shares = [collected[definition, method, u] for u in UNITS]
        rows.append([SHORT[definition], method, *(f"{np.mean(c):.1f} ({min(c):.1f})" for c in shares)])
    lines += ["## Against other intervals", ""]
    lines += ["Coverage in % from U independent batches: mean (lowest) over the points and batch sizes above.", ""]
    return lines + table(["", "interval", *(f"U = {u}" for u in UNITS)], rows)


def adaptive_tables(pools: Pools, seconds: dict[int, float], rng: np.random.Generator) -> list[str]:
    """Coverage and cost when a relative error is asked for."""
    rows, costs = [], []
    for (name, b), pairs in pools.items():
        for target in TARGETS:
            ours = [adaptive(pairs, d, target, rng) for d in DEFINITIONS]
            cells = [f"{100 * c:.1f}, {100 * e:.1f}, {n:.0f}" for c, e, n in [*ours, published(pairs, target, rng)]]
            rows.append([name, str(b), f"{100 * target:g}", *cells])
            if b == 1 or target != min(TARGETS):
                continue
            alone = pairs[0].reshape(-1, 1), pairs[1].reshape(-1, 1)
            for d, (_, _, disjoint) in zip(DEFINITIONS, ours, strict=True):
                apart = adaptive(alone, d, target, rng)[2]
                numbers = [f"{apart:.0f}", f"{disjoint:.0f}", f"{apart / disjoint:.1f}"]
                costs.append([name, str(b), SHORT[d], *numbers, *(f"{n * seconds[b]:.2f}" for n in (apart, disjoint))])
    lines = ["## Adaptive stopping", ""]
    lines += [f"Coverage %, realised root-mean-square relative error %, mean number of batches; {ADAPTIVE} replicates."]
    lines += [
        "Last column: BS_E as the published code stops (independent batches, 20 to 1000, by the error of BS_R).",
        "",
    ]
    lines += table(["point", "b", "asked %", "BS_R", "BS_E", "BS_E, published rule"], rows)
    lines += ["## Batches for 1 %", "", "Independent batches against runs of disjoint ones, seconds on one core.", ""]
    return lines + table(["point", "b", "", "independent", "disjoint", "gain", "s, independent", "s, disjoint"], costs)


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    pools, seconds, checks = pools_of(*network(0))
    lines = ["# Coverage of the intervals of Batch Sharpness", ""]
    lines += ["Written by `python validation/interval_coverage.py`, which says what was done. Nominal level 95 %;"]
    lines += [
        f"{REPLICATES} replicates a cell (bootstrap {BOOTSTRAPPED}), hence a standard error of 0.5 % (1.3 %).",
        "",
    ]
    lines += [SUMMARY, "## Pools against the exact six moments", ""]
    lines += table(["point", "b", "BS_R exact", "BS_R pool", "z"], checks)
    lines += fixed_tables(pools, rng) + adaptive_tables(pools, seconds, rng)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
