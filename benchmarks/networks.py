"""Networks against the published code's methods: `python benchmarks/networks.py [--quick]` for these lines alone.

Rewrites networks.md unless --quick. One thread, in float32 and float64.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network_peers import (
    Counted,
    lobpcg_with_images,
    looped_curvatures,
    plain_training,
    published_lobpcg,
    scipy_lobpcg,
)
from report import Row, machine, row, table
from turns import interleave, noise

import sgdmodels as sm
from sgdmodels.networks import Probe, train
from sgdmodels.networks.estimators.batch_estimates import MEAN_OF_RATIOS, RATIO_OF_MEANS, batch_sharpness
from sgdmodels.networks.estimators.lanczos import largest_eigenvalues
from sgdmodels.networks.estimators.moment_ratios import moment_ratios
from sgdmodels.networks.estimators.sample_moments import sample_moments
from sgdmodels.networks.recipes import random_label_digits

B, ERROR = 16, 0.01  # batch size and relative standard error at which Batch Sharpness is compared
PERMUTATIONS, LOOPED = 200, 40  # of the pool that is the truth; batches that the loop is timed on
TIMED_SEEDS = 10  # of adaptive estimates
DTYPES = {"float32": torch.float32, "float64": torch.float64}
EIGENVALUE_ERROR = 1e-4
TOLERANCES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
MEMBERS, STEPS, LOOP_NETS = 64, 128, 4


def loss_of(probe: Probe) -> Any:
    """The probe's loss(outputs, targets)."""
    return probe.objective.loss_function  # type: ignore[attr-defined]


def as_dtype(probe: Probe, dtype: torch.dtype, theta: np.ndarray) -> tuple[Probe, torch.Tensor]:
    """The same problem in another precision, with the network at theta."""
    net = deepcopy(probe.net).to(dtype)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(theta).to(dtype), net.parameters())
    inputs, targets = probe.objective.inputs, probe.objective.targets
    return Probe(net, loss_of(probe), inputs, targets), torch.from_numpy(theta).to(dtype)


def chosen(probe: Probe, count: int, seed: int) -> torch.Tensor:
    """Samples drawn without replacement."""
    return torch.randperm(probe.samples, generator=torch.Generator().manual_seed(seed))[:count]


def independent_pool(probe: Probe, theta: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """g'Hg and |g|^2 of many independent batches."""
    generator = torch.Generator().manual_seed(1)
    count = PERMUTATIONS * (probe.samples // B)
    rows = torch.rand((count, probe.samples), generator=generator).topk(B, 1).indices
    found = probe.objective.batch_curvatures(theta, rows)
    return found.curvature.double().numpy(), found.square.double().numpy()


def batches_needed(u: np.ndarray, v: np.ndarray, definition: str, error: float) -> float:
    """Independent batches for a relative standard error of `error`."""
    if definition == MEAN_OF_RATIOS:
        return float((np.std(u / v) / np.mean(u / v) / error) ** 2)
    value = u.mean() / v.mean()
    return float((np.std(u - value * v) / u.mean() / error) ** 2)


def realised(estimate: Callable[[int], float], truth: float, repeats: int) -> float:
    """Relative root-mean-square error over seeds."""
    return float(np.sqrt(np.mean([(estimate(seed) / truth - 1) ** 2 for seed in range(repeats)])))


def ratio_by_batches(probe: Probe, theta: torch.Tensor, definition: str, seed: int) -> float:
    """Batch Sharpness by disjoint batches, until its own standard error is ERROR of it."""
    found = batch_sharpness(
        probe.objective, theta, [B], definitions=[definition], relative_error=ERROR, batches=2**14, seed=seed
    )
    return float(found[definition].value[0])


def by_moments(
    probe: Probe, theta: torch.Tensor, seed: int, probes: int | None = None, subset: int | None = None
) -> float:
    """Batch Sharpness from the six moments, which serve every b at once."""
    some = None if subset is None else chosen(probe, subset, seed)
    moments = sample_moments(probe.objective, theta, probes=probes, subset=some, seed=seed)
    return float(moment_ratios(moments, [B]).batch_sharpness.value[0])


WAYS: dict[str, tuple[str, int, Callable[[Probe, torch.Tensor, int], float]]] = {  # definition, share of the repeats
    "BS_R by disjoint batches": (RATIO_OF_MEANS, 1, lambda p, t, k: ratio_by_batches(p, t, RATIO_OF_MEANS, k)),
    "BS_E by disjoint batches": (MEAN_OF_RATIOS, 1, lambda p, t, k: ratio_by_batches(p, t, MEAN_OF_RATIOS, k)),
    "BS_R, six moments, 64 probes": (RATIO_OF_MEANS, 4, lambda p, t, k: by_moments(p, t, k, 64)),
    "BS_R, six moments, 64 probes, half of the data": (RATIO_OF_MEANS, 4, lambda p, t, k: by_moments(p, t, k, 64, 500)),
}


def several(way: Callable[..., float], probe: Probe, theta: torch.Tensor, seeds: int) -> None:
    """The first seeds: an adaptive estimate takes more batches with one than with another."""
    for seed in range(seeds):
        way(probe, theta, seed)


def sharpness_rows(rounds: int, repeats: int) -> list[Row]:
    """Batch Sharpness at one batch size on an MLP of 55 210 parameters, the loop at each contender's own error."""
    recipe = random_label_digits(0, samples=1000, hidden=(200, 200))
    run = train(recipe.net, recipe.probe, sm.SGD(0.1, B), 1500, metrics=(), keep_params=True, record_every=1500)
    single, theta = as_dtype(recipe.probe, torch.float32, run.params.values[0, -1])
    u, v = independent_pool(single, theta)
    truth = {RATIO_OF_MEANS: by_moments(single, theta, 0), MEAN_OF_RATIOS: float(np.mean(u / v))}
    errors = {
        label: realised(partial(go, single, theta), truth[definition], repeats // share)
        for label, (definition, share, go) in WAYS.items()
    }
    rows = []
    for name, dtype in DTYPES.items():
        probe, theta = as_dtype(recipe.probe, dtype, run.params.values[0, -1])
        objective = probe.objective
        index = torch.stack([chosen(probe, B, seed) for seed in range(LOOPED)])
        looped = partial(looped_curvatures, probe.net, loss_of(probe), objective.inputs, objective.targets, index)
        mine = objective.batch_curvatures(theta, index).curvature.double().numpy()
        gap = float(np.abs(mine / np.array([c for c, _ in looped()]) - 1).max())
        chain = partial(objective.batch_curvatures, theta, index)
        print(f"{name}: batch by batch the loop and the package agree to {gap:.0e}; parameters {probe.dim}", flush=True)
        seeds = {label: TIMED_SEEDS if share == 1 else 1 for label, (_, share, _) in WAYS.items()}
        timed = {k: partial(several, go, probe, theta, seeds[k]) for k, (_, _, go) in WAYS.items()}
        seconds = interleave({"loop": looped, "chain": chain, **timed}, rounds)
        began = time.perf_counter()
        by_moments(probe, theta, 0)
        exact = time.perf_counter() - began
        where = f"b={B}, {probe.dim} parameters, {name}"
        own, loop = (1e3 * seconds[label] / LOOPED for label in ("chain", "loop"))
        rows.append(row(f"g'Hg of one batch, {where}", own, "ms", loop, "loop", loop / own, "{:.1f}x faster"))
        for label, (definition, _, _) in WAYS.items():
            count, own = batches_needed(u, v, definition, errors[label]), 1e3 * seconds[label] / seeds[label]
            title, bound = f"{label}, {where}, error {100 * errors[label]:.2f} %", (">=", 10.0) if "by" in label else ()
            rows.append(
                row(title, own, "ms", loop * count, f"loop, {count:.0f} batches", loop * count / own,
                    "{:.1f}x faster", *bound)
            )  # fmt: skip
        count = batches_needed(u, v, RATIO_OF_MEANS, ERROR)
        title = f"BS_R, six moments, without error, {where}"
        rows.append(
            row(title, 1e3 * exact, "ms", loop * count, f"loop, {count:.0f} batches for 1 %",
                1e-3 * loop * count / exact, "{:.2f}x faster")
        )  # fmt: skip
    return rows


def products_at(errors: list[float], products: list[float]) -> float:
    """Mean products at EIGENVALUE_ERROR, between the two tolerances whose errors bracket it."""
    order = np.argsort(errors)
    return float(np.interp(np.log(EIGENVALUE_ERROR), np.log(np.array(errors)[order]), np.array(products)[order]))


def lambda_max_rows(points: int) -> list[Row]:
    """Hessian-vector products of lambda_max, each point started from the last, along SGD on recipe N."""
    recipe = random_label_digits(1)
    run = train(
        recipe.net, recipe.probe, sm.SGD(recipe.step_size, B), 100 * points, metrics=(), record_every=100,
        keep_params=True,
    )  # fmt: skip
    probe, _ = as_dtype(recipe.probe, torch.float64, recipe.init)
    operators = [probe.objective.operator(torch.from_numpy(theta)) for theta in run.params.values[0, 1:]]
    truth = np.array([float(largest_eigenvalues(o, probe.dim, 3, tolerance=1e-9).values[0]) for o in operators])
    start = torch.randn(probe.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def package(product: Any, start: torch.Tensor, tolerance: float) -> tuple[float, torch.Tensor]:
        found = largest_eigenvalues(product, probe.dim, start=start.reshape(-1, probe.dim), tolerance=tolerance)
        return float(found.values[0]), found.space

    solvers: dict[str, Any] = {
        "Lanczos": package, "published LOBPCG": published_lobpcg, "LOBPCG that keeps its images": lobpcg_with_images,
        "scipy LOBPCG": scipy_lobpcg,
    }  # fmt: skip
    needed = {}
    for label, solve in solvers.items():
        errors, counts, tails = [], [], []
        for tolerance in TOLERANCES:
            vector, values, spent = start, [], []
            for operator in operators:
                counted = Counted(operator)
                value, vector = solve(counted, vector, tolerance)
                values.append(value)
                spent.append(counted.products)
            off = np.abs(np.array(values) / truth - 1)[1:]  # the first start is cold
            errors.append(max(float(np.quantile(off, 0.9)), 1e-15))
            counts.append(float(np.mean(spent[1:])))
            tails.append(float(off.max()))
        told = [f"{e:.0e}: {c:.1f} (worst {w:.0e})" for e, c, w in zip(errors, counts, tails, strict=True)]
        print(f"{label}: {', '.join(told)}", flush=True)
        needed[label] = products_at(errors, counts)
    mine, bounds = needed.pop("Lanczos"), {"published LOBPCG": (">=", 2.0)}
    title = f"lambda_max from the last point on, 90 % of errors below {EIGENVALUE_ERROR:.0e}, 3466 parameters"
    return [
        row(title, mine, "products", count, label, count / mine, "{:.1f}x fewer", *bounds.get(label, ()))
        for label, count in needed.items()
    ]  # fmt: skip


def ensemble_rows(rounds: int) -> list[Row]:
    """64 perceptrons 64-32-32-10 for 128 steps: one ensemble, one `train` each, one torch.optim.SGD each."""
    recipe = random_label_digits(2)
    how: dict[str, Any] = {"record_every": STEPS, "metrics": (), "init": recipe.init, "progress": False}
    rows = []
    for name, dtype in DTYPES.items():
        probe, _ = as_dtype(recipe.probe, dtype, recipe.init)
        data = probe.objective.inputs, probe.objective.targets
        for sizes in ((4, 8, 16, 32), (4,), (16,), (32,)):
            members = {f"b={b}": sm.SGD(recipe.step_size, b) for b in sizes}
            repeat = [sizes[k % len(sizes)] for k in range(LOOP_NETS)]

            def together(members: Any = members, count: int = MEMBERS // len(sizes), probe: Any = probe) -> None:
                train(probe.net, probe, members, STEPS, replicas=count, **how)

            def apart(repeat: Any = repeat, members: Any = members, probe: Any = probe) -> None:
                for b in repeat:
                    train(deepcopy(probe.net), probe, members[f"b={b}"], STEPS, **how)

            def plain(repeat: Any = repeat, probe: Any = probe, data: Any = data) -> None:
                for b in repeat:
                    plain_training(deepcopy(probe.net), loss_of(probe), *data, recipe.step_size, b, STEPS)

            seconds = interleave({"ensemble": together, "single runs": apart, "torch.optim.SGD": plain}, rounds)
            own = 1e6 * seconds.pop("ensemble") / STEPS / MEMBERS
            title = f"step of one of {MEMBERS} networks, 3466 parameters, {name}, b={', '.join(map(str, sizes))}"
            for label, taken in seconds.items():
                other = 1e6 * taken / STEPS / LOOP_NETS
                bound = (">=", 10.0) if label == "torch.optim.SGD" and len(sizes) > 1 else ()
                rows.append(row(title, own, "us", other, label, other / own, "{:.1f}x faster", *bound))
    return rows


def network_rows(rounds: int, quick: bool) -> list[Row]:
    torch.set_num_threads(1)
    few = max(3, rounds // 4)
    return [*sharpness_rows(few, 8 if quick else 40), *lambda_max_rows(10 if quick else 40), *ensemble_rows(few)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds; does not rewrite networks.md")
    options = parser.parse_args()
    rounds, load = 3 if options.quick else 21, os.getloadavg()[0]
    text = table(network_rows(rounds, options.quick))
    said = noise(max(3, rounds // 4), load)
    print(f"\n{text}\n\n{said}")
    if not options.quick:
        page = ["# Networks", "", "Written by `python benchmarks/networks.py`; README.md says what is compared.", ""]
        page += [f"{machine(False)}, torch {torch.__version__}, one thread.", "", text, "", said, ""]
        (Path(__file__).resolve().parent / "networks.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
