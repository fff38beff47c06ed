"""What is timed: losses, dynamics and the plain-C twin of each run."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sgdmodels as sm
from sgdmodels.arguments import aligned
from sgdmodels.simulate import Run

HERE = Path(__file__).resolve().parent
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")
SEED = 3
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A loss with its dynamics, a start and the names of its C twin and of that twin's variant."""

    name: str
    model: sm.models.Model
    step_size: float
    batch_size: int
    init: Array
    twin: str
    variant: str

    def simulate(self, replicas: int, steps: int, threads: int = 1) -> Array:
        """The last parameters of `sm.simulate` recording the first and the last step, without metrics."""
        run = sm.simulate(
            self.model, self.dynamics, steps, self.init, replicas=replicas, record_every=steps, metrics=(),
            seed=SEED, keep_params=True, progress=False, threads=threads,
        )  # fmt: skip
        last: Array = run.params.values[:, -1]
        return last

    def bare(self, replicas: int, steps: int) -> Callable[[], None]:
        """The compiled loop alone, as a worker of `simulate` calls it, always from the start."""
        run = Run(self.model, self.dynamics, steps, self.init, replicas, steps, (), None, SEED, False, 1, False)
        (worker,) = run.workers()

        def go() -> None:
            run.theta[...] = self.init
            worker.advance(0, steps, slice(0, 2))

        return go

    def c(self, library: ctypes.CDLL, replicas: int, steps: int, twin: str = "") -> Callable[[], Array]:
        """The C twin; like `simulate` it starts from a fresh array each time."""
        function = getattr(library, twin or self.twin)
        inputs, targets = self.model.data[:2]

        def go() -> Array:
            theta = aligned((replicas, self.model.dim))
            theta[...] = self.init
            function(
                _pointer(theta), _pointer(inputs), _pointer(targets),
                *map(ctypes.c_long, (replicas, self.model.samples, inputs.shape[1], self.batch_size, steps)),
                ctypes.c_double(self.step_size), ctypes.c_uint64(SEED),
            )  # fmt: skip
            return theta

        return go

    @property
    def dynamics(self) -> sm.SGD:
        return sm.SGD(self.step_size, batch_size=self.batch_size)


def product_task(batch_size: int) -> Task:
    """f = (u * v) . x, 64 samples in 32 dimensions, noisy labels."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((64, 32)) / 32**0.5
    targets = inputs @ rng.uniform(0.0, 2.0, 32) + 0.1 * rng.standard_normal(64)
    init = np.concatenate([np.full(32, 0.8), np.full(32, 0.6)])
    twins = ("product_single", "product_single_by_four") if batch_size == 1 else ("product_batch", "product_batch")
    name = f"u*v, b={batch_size}"
    return Task(name, sm.models.DiagonalNetwork(inputs, targets), 0.05, batch_size, init, *twins)


def quadratic_task() -> Task:
    """64 dense quadratics in 16 dimensions."""
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((64, 16, 16)) / 4.0
    model = sm.models.Quadratics(factors @ factors.transpose(0, 2, 1), 0.1 * rng.standard_normal((64, 16)))
    twins = ("quadratic_single", "quadratic_single_by_columns")
    return Task("quadratics d=16, b=1", model, 0.05, 1, np.ones(16), *twins)


def build_twin() -> ctypes.CDLL:
    """Compile twin.c. Linking leaves out -ffast-math, which would switch off denormal numbers for all of Python."""
    folder = HERE / "build"
    folder.mkdir(exist_ok=True)
    compiled, library = folder / "twin.o", folder / "twin.so"
    subprocess.run(["gcc", *FLAGS, "-c", str(HERE / "twin.c"), "-o", str(compiled)], check=True)
    subprocess.run(["gcc", "-shared", str(compiled), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def check_agreement(library: ctypes.CDLL) -> float:
    """Largest difference between the end points of C and of `simulate`; stops the benchmark if it is not rounding."""
    worst = 0.0
    for task in (product_task(1), product_task(8), quadratic_task()):
        for twin in (task.twin, task.variant):
            gap = float(np.abs(task.simulate(8, 3000) - task.c(library, 8, 3000, twin)()).max())
            if not gap < 1e-10:
                raise SystemExit(f"{task.name}: {twin} of twin.c and simulate differ by {gap:.3g}")
            worst = max(worst, gap)
    return worst


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
