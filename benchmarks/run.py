"""Time sgdmodels against C, JAX, torch, their kin and itself: `python benchmarks/run.py [--quick] [--no-jax]`."""

from __future__ import annotations

import argparse
import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import numpy as np
from edges import agreement, contenders, large
from formulas import (
    FORMULAS,
    derive_everything,
    formula_start_up,
    gate_tasks,
    network_task,
    product_formula,
    quadratic_formula,
)
from networks import network_rows
from report import Row, machine, row, table, write_readme
from startup import start_up
from tasks import SEED, Task, build_twin, check_agreement, product_task, quadratic_task
from turns import Contenders, interleave, noise

import sgdmodels as sm

VARIANTS = {
    "product_single_by_four": "C, 4 replicas interleaved",
    "quadratic_single_by_columns": "C, by columns",
}


def against_c(task: Task, replicas: int, steps: int, bound: float, library: ctypes.CDLL, rounds: int) -> list[Row]:
    """`simulate` and its bare loop against the C twin, and the twin's other variants."""
    contenders: Contenders = {
        "simulate": lambda: task.simulate(replicas, steps),
        "loop": task.bare(replicas, steps),
        "C": task.c(library, replicas, steps),
    }
    label = VARIANTS.get(task.variant, "")
    if label and (replicas > 1 or "four" not in task.variant):
        contenders[label] = task.c(library, replicas, steps, task.variant)
    ns = {name: 1e9 * s / steps / replicas for name, s in interleave(contenders, rounds).items()}
    name = f"{task.name}, {replicas} replica{'s' if replicas > 1 else ''}"
    rows = [row(name, ns["simulate"], "ns", ns["C"], "C", ns["simulate"] / ns["C"], "{:.2f}", "<=", bound)]
    if label in ns:
        rows.append(row(name, ns["simulate"], "ns", ns[label], label, ns["simulate"] / ns[label], "{:.2f}"))
    rows.append(row(f"{name}, loop alone", ns["loop"], "ns", ns["C"], "C", ns["loop"] / ns["C"], "{:.2f}"))
    if replicas == 1:
        extra, title = 100 * (ns["simulate"] / ns["loop"] - 1), f"overhead of simulate, {task.name}, {steps:.0e} steps"
        rows.append(row(title, ns["simulate"], "ns", ns["loop"], "loop alone", extra, "{:.1f} %", "<=", 10.0))
    return rows


def two_threads(task: Task, steps: int, library: ctypes.CDLL, rounds: int) -> list[Row]:
    """256 replicas on two threads against one; what C gains shows whether the machine had two cores to give."""
    half, whole = task.c(library, 128, steps), task.c(library, 256, steps)
    with ThreadPoolExecutor(2) as pool:
        contenders: Contenders = {
            "one": lambda: task.simulate(256, steps, 1),
            "two": lambda: task.simulate(256, steps, 2),
            "C one": whole,
            "C two": lambda: list(pool.map(lambda go: go(), (half, half))),
        }
        ns = {name: 1e9 * s / steps / 256 for name, s in interleave(contenders, rounds).items()}
    name = f"{task.name}, 256 replicas, 2 threads"
    return [
        row(name, ns["two"], "ns", ns["one"], "1 thread", ns["one"] / ns["two"], "{:.2f}x", ">=", 1.8),
        row(f"{name}, C", ns["C two"], "ns", ns["C one"], "1 thread", ns["C one"] / ns["C two"], "{:.2f}x"),
    ]


def against_jax(task: Task, replicas: int, steps: int, jax_steps: int, rounds: int) -> Row:
    """`simulate` on one thread against the fastest JAX variant."""
    import jax_peer

    contenders: Contenders = {v: jax_peer.runner(task, replicas, jax_steps, v) for v in jax_peer.VARIANTS}
    contenders["simulate"] = lambda: task.simulate(replicas, steps)
    seconds = interleave(contenders, rounds)
    own = 1e9 * seconds.pop("simulate") / steps / replicas
    best = min(seconds, key=lambda v: seconds[v])
    peer = 1e9 * seconds[best] / jax_steps / replicas
    name = f"{task.name}, {replicas} replica{'s' if replicas > 1 else ''}"
    return row(name, own, "ns", peer, f"JAX, {best}", peer / own, "{:.1f}x faster", ">=", 3.0)


def sde(library: ctypes.CDLL, steps: int, rounds: int, peers: bool) -> list[Row]:
    """A substep of the SDE with full noise, 256 replicas, one thread: two ways of writing C, and the fastest peers."""
    import sde_peers

    replicas, substeps = 256, 10
    task = product_task(8)

    def simulate() -> None:
        sm.simulate(
            task.model, sm.SDE(task.step_size, 8, substeps=substeps), steps, task.init, replicas=replicas,
            record_every=steps, metrics=(), seed=SEED, progress=False, threads=1,
        )  # fmt: skip

    of_c = {name: sde_peers.c_runner(library, task, replicas, steps * substeps, name=name) for name in sde_peers.C}
    ns = _per_substep({"simulate": simulate, **of_c}, rounds, dict.fromkeys(("simulate", *of_c), steps * substeps))
    name = "SDE substep, n=64, d=32, 256 replicas"
    rows = [
        row(name, ns["simulate"], "ns", ns["sde_product_by_replica"], "C",
            ns["simulate"] / ns["sde_product_by_replica"], "{:.2f}", "<=", 1.1),
        row(name, ns["simulate"], "ns", ns["sde_product"], "C, 8 replicas in vector lanes",
            ns["simulate"] / ns["sde_product"], "{:.2f}"),
    ]  # fmt: skip
    if not peers:
        return rows
    few = 100
    contenders: Contenders = {"simulate": simulate}
    contenders |= {f"diffrax: {v}": sde_peers.diffrax_runner(task, replicas, few, v) for v in DIFFRAX}
    contenders |= {f"torchsde: {v}": sde_peers.torchsde_runner(task, replicas, few, v) for v in TORCHSDE}
    lengths = {k: steps * substeps if k == "simulate" else few for k in contenders}
    ns = _per_substep(contenders, max(3, rounds // 3), lengths)
    own = ns.pop("simulate")
    for label, found, bound in (
        ("diffrax, its own Brownian path", [f"diffrax: {v}" for v in DIFFRAX if "ahead" not in v], 3.0),
        ("diffrax, increments drawn ahead by hand", [f"diffrax: {v}" for v in DIFFRAX if "ahead" in v], None),
        ("torchsde, its own Brownian interval", [f"torchsde: {v}" for v in TORCHSDE if "fresh" not in v], 9.0),
        ("torchsde, normals drawn by hand", [f"torchsde: {v}" for v in TORCHSDE if "fresh" in v], None),
    ):
        best = min(ns[k] for k in found)
        rows.append(row(name, own, "ns", best, label, best / own, "{:.1f}x faster", ">=" if bound else "", bound))
    return rows


DIFFRAX = (
    "batch, threefry, joint",
    "batch, rbg, joint",
    "vmap, threefry, joint",
    "batch, ahead, joint",
    "vmap, ahead, joint",
)
TORCHSDE = ("fresh, joint", "interval, joint", "infinite cache, joint")


def _per_substep(contenders: Contenders, rounds: int, lengths: dict[str, int]) -> dict[str, float]:
    """Nanoseconds a substep and replica."""
    return {name: 1e9 * s / 256 / lengths[name] for name, s in interleave(contenders, rounds).items()}


def metrics(rounds: int) -> list[Row]:
    """Batch Sharpness at every batch size and lambda_max along a run near the edge of stability."""
    model, start = product_task(1).model, product_task(1).init
    run = sm.simulate(
        model, sm.SGD(5.0, batch_size=8), 49_900, start, record_every=100, metrics=(), seed=SEED,
        keep_params=True, progress=False, threads=1,
    )  # fmt: skip
    if not np.isfinite(run.params.values).all():
        raise SystemExit("the run on which metrics are timed diverged")
    sizes = list(range(1, model.samples + 1))
    asked = {name: (name,) for name in ("batch_sharpness", "lambda_max")}
    contenders: Contenders = {k: partial(sm.measure, model, run.params, sizes, metrics=v) for k, v in asked.items()}
    contenders["both"] = partial(sm.measure, model, run.params, sizes, metrics=tuple(asked))
    seconds = interleave(contenders, rounds)
    us = {name: 1e6 * s / run.sizes["step"] for name, s in seconds.items()}
    rows = [row(f"snapshot: {k}", us[k], "us", None, "", us[k], "{:.0f} us") for k in asked]
    title = "snapshot: both (64 batch sizes and lambda_max)"
    return [*rows, row(title, us["both"], "us", None, "", us["both"], "{:.0f} us", "<=", 40.0)]


def formulas(rounds: int) -> list[Row]:
    """Formulas against the built-in losses that they spell out."""
    twins = [(product_task(b), product_formula(b), n, s) for b in (1, 8) for n, s in ((1, 500_000), (256, 4_000))]
    twins += [(quadratic_task(), quadratic_formula(), 1, 500_000), (*gate_tasks(1), 1, 500_000)]
    twins += [(*gate_tasks(8), 1, 200_000)]
    rows = []
    for built_in, formula, replicas, steps in twins:
        contenders: Contenders = {
            "formula": partial(formula.simulate, replicas, steps),
            "built in": partial(built_in.simulate, replicas, steps),
        }
        ns = {name: 1e9 * s / steps / replicas for name, s in interleave(contenders, rounds).items()}
        name = f"formula of {built_in.name}, {replicas} replica{'s' if replicas > 1 else ''}"
        bound = ("<=", 1.2) if "u*v" in name else ()
        rows.append(
            row(name, ns["formula"], "ns", ns["built in"], "built in", ns["formula"] / ns["built in"], "{:.2f}", *bound)
        )
    for task in (network_task(1), network_task(8)):
        seconds = interleave({"formula": partial(task.simulate, 1, 50_000)}, max(3, rounds // 3))["formula"]
        ns_of = 1e9 * seconds / 50_000
        rows.append(row(f"formula of {task.name}, 1 replica", ns_of, "ns", None, "", ns_of, "{:.0f} ns"))
    return rows


def formula_start_up_rows(quick: bool) -> list[Row]:
    """Deriving all closed forms; deriving a formula, and compiling it cold or finding it in the cache."""
    count, all_of_them = derive_everything()
    title = f"deriving and proving {count} closed forms"
    rows = [row(title, all_of_them, "s", None, "", all_of_them, "{:.0f} s", "<=", 60.0)]
    for name in FORMULAS:
        cold, warm = formula_start_up(name, 1 if quick else 5)
        parts = ("derive", "step loop", "gradient and product", "moments")
        for label, runs in (("cold", cold), ("from the cache", warm)):
            seconds = [median(run[k] for run in runs) for k in range(len(parts))]
            for part, value in zip(parts, seconds, strict=True):
                rows.append(row(f"formula of {name}, {part}, {label}", value, "s", None, "", value, "{:.2f} s"))
            bound = 5.0 if label == "cold" else 0.5
            total = sum(seconds[1:])
            rows.append(
                row(f"formula of {name}, all kernels, {label}", total, "s", None, "", total, "{:.2f} s", "<=", bound)
            )
    return rows


def edges(rounds: int, quick: bool) -> list[Row]:
    """The mean-square edge of least squares, one core, to 1e-6."""
    from threadpoolctl import threadpool_limits

    rows = []
    with threadpool_limits(1):
        for n, d, b, bound in ((100, 100, 8, None), (500, 500, 1, 5.0), (500, 500, 64, 5.0)):
            print(f"edges of n = {n}, b = {b} agree to {agreement(n, d, b):.1e}")
            seconds = interleave(contenders(n, d, b), max(3, rounds // 4))
            own, name = seconds.pop("theory"), f"S_ms, least squares, n={n}, d={d}, b={b}"
            rows.append(row(name, own, "s", None, "", own, "{:.2g} s", "<=" if bound else "", bound))
            rows += [row(name, own, "s", s, peer, s / own, "{:.1f}x faster") for peer, s in seconds.items()]
    for b in (1,) if quick else (1, 64):
        sharpness, edge, memory = large(2000, b)
        name = f"n=d=2000, b={b}"
        rows.append(row(f"S_ms, {name}", sharpness, "s", None, "", sharpness, "{:.0f} s", "<=", 60.0))
        rows.append(row(f"edge and bracket, {name}", edge, "s", None, "", edge, "{:.0f} s"))
        rows.append(row(f"both, memory beyond the data, {name}", memory, "MB", None, "", memory / 32, "{:.0f} d^2"))
    return rows


def start_up_rows(quick: bool) -> list[Row]:
    seconds = {k: median(v) for k, v in start_up(1 if quick else 3, 3 if quick else 15).items()}
    names = {"import": "import sgdmodels", "warm": "first simulate, warm cache", "cold": "first simulate, cold cache"}
    bounds = {"import": ("<=", 0.8), "warm": ("<=", 1.0), "cold": ("", None)}
    return [row(names[k], seconds[k], "s", None, "", seconds[k], "{:.2f} s", *bounds[k]) for k in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds; does not rewrite README.md")
    parser.add_argument("--no-jax", action="store_true", help="leave out JAX, diffrax and torchsde")
    options = parser.parse_args()
    rounds = 3 if options.quick else 21
    load = os.getloadavg()[0]
    library = build_twin()
    print(f"C and simulate agree to {check_agreement(library):.1e}")
    single, batch, quadratic = product_task(1), product_task(8), quadratic_task()
    rows: list[Row] = []
    rows += against_c(single, 1, 1_000_000, 1.4, library, rounds)
    rows += against_c(single, 256, 20_000, 1.2, library, rounds)
    rows += against_c(batch, 1, 1_000_000, 1.8, library, rounds)
    rows += against_c(batch, 256, 4_000, 1.8, library, rounds)
    rows += against_c(quadratic, 1, 1_000_000, 1.0, library, rounds)
    rows += against_c(quadratic, 256, 10_000, 1.0, library, rounds)
    rows += two_threads(single, 60_000, library, rounds) + two_threads(batch, 12_000, library, rounds)
    if not options.no_jax:
        rows += [against_jax(task, 1, 1_000_000, 20_000, rounds) for task in (single, batch)]
        rows += [against_jax(task, 256, 4_000, 1_000, rounds) for task in (single, batch)]
    rows += sde(library, 200, rounds, peers=not options.no_jax)
    rows += metrics(rounds) + start_up_rows(options.quick)
    rows += edges(rounds, options.quick)
    rows += formulas(rounds) + formula_start_up_rows(options.quick)
    rows += network_rows(rounds, options.quick)
    text = table(rows)
    said = noise(rounds, load)
    print(f"\n{text}\n\n{said}")
    if not options.quick:
        write_readme(text, machine(not options.no_jax), said)


if __name__ == "__main__":
    main()
