"""SIGKILLs at random moments of a sweep over 60 cells: is the store the undisturbed one, bit for bit? Writes a table.

    python validation/killed_sweeps.py [KILLS]        (default 200; about half an hour)

Each life of the sweep is a new process with two workers. Three storms: kills spread over one sweep, so that it hardly
gets done; the same with two processes at work on the store at a time, killed one after the other; and kills that wait
for a cell to be about to be written.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import sgdmodels as sm
from sgdmodels.sweeps import journal

WORKERS = 2
SEED = 70  # of the moments


def grid() -> sm.Grid:
    """60 cells of a third of a second."""
    return sm.Grid(
        sm.recipes.slow_tail_network, {"SGD": sm.SGD(0.4, 8), "noisy GD": sm.NoisyGD(0.4, 8), "GD": sm.GD(0.4)},
        step_size=[0.2, 0.3, 0.4, 0.5], batch_size=[4, 8], seed=[0, 1, 2], steps=40_000, replicas=2, record_every=50,
    )  # fmt: skip


def contents(store: Path) -> dict[str, str]:
    """Every file but the journal and the locks, by its hash."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in store.rglob("*")
        if file.is_file() and file.relative_to(store).parts[0] not in ("journal", "claims")
    }


@dataclass
class Storm:
    """What happened to one store."""

    name: str
    kills: int = 0
    lives: int = 0
    starts: int = 0
    finished: int = 0
    in_flight_at_most: int = 0
    recomputed: int = 0
    identical: bool = False


def life(store: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--sweep", str(store)])


def wait_for(process: subprocess.Popen[bytes], store: Path, event: str, known: int) -> None:
    """Until the journal holds more than `known` such lines, or the process is done."""
    while process.poll() is None and sum(e["event"] == event for e in journal.entries(store)) <= known:
        time.sleep(0.01)


def storm(name: str, store: Path, kills: int, seconds: float, rng: np.random.Generator) -> Storm:
    """Kill until it was done often enough; then let the sweep end. seconds: that a cell takes."""
    result, cells = Storm(name), len(grid())
    while result.kills < kills:
        left = cells - len(list(store.glob("cells/*.json")))
        if left == 0:
            break
        before = Counter(e["event"] for e in journal.entries(store)) if store.exists() else Counter()
        companion = life(store) if name == "two processes" else None
        process = life(store)
        result.lives += 1 + (companion is not None)
        if name == "while writing":
            target = next(iter(sorted(store.glob("arrays.zarr/loss"))), None)
            names = set(os.listdir(target)) if target else set()
            while process.poll() is None:  # the first file of a cell appears: the others are being written
                if target is None or not target.exists():
                    target = store / "arrays.zarr" / "loss"
                elif set(os.listdir(target)) - names:
                    break
            time.sleep(rng.uniform(0, 0.002))
        else:
            wait_for(process, store, "started", before["started"])
            share = left / (kills - result.kills) / WORKERS  # cells that a worker may finish before the kill
            time.sleep(rng.uniform(0, seconds * (1.6 * min(share, 3.0) + 0.4)))
        for doomed in (process, companion):
            if doomed is not None:
                doomed.kill()
                result.kills += doomed.wait() < 0
                time.sleep(rng.uniform(0, 0.1))
    assert life(store).wait() == 0
    result.lives += 1
    events = list(journal.entries(store))
    result.starts = sum(e["event"] == "started" for e in events)
    ends = Counter(e["cell"] for e in events if e["event"] == "finished")
    result.finished = len(list(store.glob("cells/*.json")))
    result.in_flight_at_most = WORKERS * result.kills
    result.recomputed = sum(count - 1 for count in ends.values())
    return result


def main(kills: int) -> None:
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sm.run_sweep(grid(), place / "undisturbed", progress=False, workers=WORKERS)
        wanted = contents(place / "undisturbed")
        taken = [e["seconds"] for e in journal.entries(place / "undisturbed") if e["event"] == "finished"]
        seconds = float(np.median(taken))
        results = []
        for name in ("random moments", "two processes", "while writing"):
            store = place / name.replace(" ", "_")
            result = storm(name, store, kills, seconds, rng)
            result.identical = contents(store) == wanted
            results.append(result)
            print(result, flush=True)
            shutil.rmtree(store)
        write(results, seconds, kills)


def write(results: list[Storm], seconds: float, kills: int) -> None:
    lines = [
        "# Sweeps that are killed", "",
        (f"`python validation/killed_sweeps.py {kills}`: {len(grid())} cells of {seconds:.2f} s (median), {WORKERS} "
        f"workers, moments drawn with seed {SEED}; {platform.platform()}, Python {platform.python_version()}."), "",
        ("A start beyond the cells' number is a cell that was in work when its process was killed; a cell may be "
        "stored twice only if the kill fell between storing it and saying so in the journal."), "",
        ("| storm | SIGKILLs | processes | cells stored | cells begun | most that kills can cost | stored twice | "
        "store identical to the undisturbed one |"),
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in results:
        allowed = len(grid()) + r.in_flight_at_most
        lines.append(
            f"| {r.name} | {r.kills} | {r.lives} | {r.finished} | {r.starts} | {allowed} | {r.recomputed} | "
            f"{'yes, every bit' if r.identical else '**no**'} |"
        )
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sweep"]:
        sm.run_sweep(grid(), sys.argv[2], progress=False, workers=WORKERS)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
