"""Start-up times, each in a fresh interpreter: import, first simulate from a warm disk cache, cold compilation."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import time
start = time.perf_counter()
import sgdmodels as sm
imported = time.perf_counter()
import numpy as np
rng = np.random.default_rng(0)
inputs = rng.standard_normal((64, 32)) / 32**0.5
model = sm.models.DiagonalNetwork(inputs, inputs @ np.ones(32))
ready = time.perf_counter()
sm.simulate(model, sm.SGD(0.05, batch_size=8), 1000, np.full(64, 0.5), progress=False)
print(imported - start, time.perf_counter() - ready)
"""


def fresh(cache: Path) -> tuple[float, float]:
    """Seconds of `import sgdmodels` and of the first simulate (1000 steps, default metrics) in a new process."""
    environment = {**os.environ, "SGDMODELS_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    imported, first = done.stdout.split()
    return float(imported), float(first)


def start_up(cold_rounds: int, warm_rounds: int) -> dict[str, list[float]]:
    """Seconds by kind: "import", "warm" (first simulate, kernels on disk), "cold" (first simulate, nothing on disk)."""
    seconds: dict[str, list[float]] = {"import": [], "warm": [], "cold": []}
    for turn in range(cold_rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds["cold"].append(fresh(Path(folder))[1])
            for _ in range(warm_rounds if turn == cold_rounds - 1 else 0):
                imported, first = fresh(Path(folder))
                seconds["import"].append(imported)
                seconds["warm"].append(first)
    return seconds
