"""What a sweep costs beyond its runs: `python benchmarks/sweeps.py [--quick]` rewrites sweeps.md unless --quick."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from report import machine
from threadpoolctl import threadpool_limits

import sgdmodels as sm

WORKERS = 2
SHORT, MIDDLE = 1000, 10_000  # steps of a run


def grid(cells: int, steps: int) -> sm.Grid:
    """SGD on recipe A at 10 step sizes and 5 batch sizes, two replicas; as many seeds as it takes."""
    return sm.Grid(
        sm.recipes.slow_tail_network(0), sm.SGD(0.4, 8), step_size=[0.05 * k for k in range(1, 11)],
        batch_size=[2, 4, 8, 16, 32], seed=range(cells // 50), replicas=2, steps=steps,
    )  # fmt: skip


def bare(swept: sm.Grid) -> float:
    """Seconds of the same runs by `simulate` on as many threads, thrown away."""
    recipe = sm.recipes.slow_tail_network(0)

    def one(cell: sm.sweeps.Cell) -> None:
        sm.simulate(
            recipe.model, sm.SGD(swept.step_size[cell.step_size], swept.batch_size[cell.batch_size]), swept.steps,
            recipe.init, replicas=2, seed=swept.seed[cell.seed], threads=1, progress=False,
        )  # fmt: skip

    began = time.perf_counter()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, swept.cells()))
    return time.perf_counter() - began


def sweep(swept: sm.Grid, store: Path, executor: str = "threads") -> float:
    """Seconds of the sweep, from nothing to the opened Dataset."""
    began = time.perf_counter()
    sm.run_sweep(swept, store, executor, progress=False, workers=WORKERS)
    return time.perf_counter() - began


def overhead(cells: int, steps: int, rounds: int, place: Path, executor: str = "threads") -> tuple[float, list[float]]:
    """Seconds of the bare runs (median), and sweep over bare run by run; they take turns. Stores are new each time,
    since a file system that has just deleted thousands of files creates others tenfold slower.
    """
    swept = grid(cells, steps)
    bare(grid(50, steps))
    pairs = [(bare(swept), sweep(swept, place / f"{executor}_{steps}_{k}", executor)) for k in range(rounds)]
    return median(b for b, _ in pairs), sorted(s / b for b, s in pairs)


LARGE = """
import resource, sys, time
import sgdmodels as sm
import xarray, zarr
store = sys.argv[1]
began = time.perf_counter(); swept = sm.open_sweep(store); opened = time.perf_counter() - began
began = time.perf_counter(); swept.loss.isel(seed=0).mean().item(); read = time.perf_counter() - began
grid = sm.sweeps.Store(store).grid()
began = time.perf_counter(); sm.run_sweep(grid, store, progress=False); resumed = time.perf_counter() - began
print(opened, read, resumed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def large(cells: int, place: Path) -> str:
    """Opening, reading a slice of, and going on with a large finished store, in a process of its own."""
    began = time.perf_counter()
    sm.run_sweep(grid(cells, 100), place / "large", progress=False, workers=WORKERS)
    made = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(place / "large")], capture_output=True, text=True, check=True
    )
    opened, read, resumed, memory = map(float, done.stdout.split())
    return (
        f"A store of {cells} cells (100 steps each, made in {made:.0f} s, {peak:.0f} MB at most): opened in "
        f"{opened:.2f} s, the loss of the 50 cells of a seed read in "
        f"{read:.2f} s, gone through again by `run_sweep` in {resumed:.2f} s; "
        f"{memory:.0f} MB at most."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the cells, no file")
    quick = parser.parse_args().quick
    cells, rounds = (100, 2) if quick else (1000, 5)
    load = os.getloadavg()[0]
    lines = [
        "# Sweeps", "", machine(with_jax=False), "",
        (f"{cells} runs of SGD on recipe A (d = 21, n = 100, two replicas, three metrics) on {WORKERS} cores: "
        "`run_sweep` from nothing to the opened Dataset, over the same `simulate` calls on a pool of threads that keep "
        f"nothing; {rounds} rounds in turn. Load of the machine before the start: {load:.1f}."), "",
        "| executor | steps of a run | bare runs, ms each on a core | sweep over bare runs: median | least | most |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for executor, steps in (("threads", SHORT), ("threads", MIDDLE), ("processes", MIDDLE)):
            seconds, ratios = overhead(cells, steps, rounds if executor == "threads" else 2, place, executor)
            each = 1e3 * seconds * WORKERS / cells
            shown = f"{median(ratios):.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f}"
            lines.append(f"| {executor} | {steps} | {each:.1f} | {shown} |")
            print(lines[-1], flush=True)
        lines += ["", large(cells * 10, place)]
        print(lines[-1])
    if not quick:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
