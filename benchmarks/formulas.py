"""Losses written as formulas: their twins among the built-in losses, and how long formula and compilation take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from tasks import Task, product_task, quadratic_task

import sgdmodels as sm


def product_formula(batch_size: int) -> Task:
    """The formula of u*v on the data of `product_task`."""
    task = product_task(batch_size)
    model = sm.SymbolicModel.separable("u*v*x", ("u", "v"), task.model.data[0], task.model.data[1])
    return replace(task, model=model)


def quadratic_formula() -> Task:
    """The formula of dense quadratics on the data of `quadratic_task`; it does not know that Hessians are symmetric."""
    task = quadratic_task()
    built_in = task.model
    assert isinstance(built_in, sm.models.Quadratics)
    model = sm.SymbolicModel(
        "sum((t[j] - c[j])*H[j, k]*(t[k] - c[k]), j, k)/2",
        parameters={"t": 16}, data={"H": built_in.hessians, "c": built_in.centers},
    )  # fmt: skip
    return replace(task, model=model)


def gate_tasks(batch_size: int) -> tuple[Task, Task]:
    """The gated quadratic, and its formula."""
    rng = np.random.default_rng(2)
    directions, offsets = rng.standard_normal((64, 32)) / 32**0.5, 0.1 * rng.standard_normal(64)
    built_in = sm.models.GatedQuadratic(directions, offsets, 0.1, 3.0)
    model = sm.SymbolicModel(
        "s*(sum(a[j]*x[j], j) - e)**2/2 + kappa*(s - top)**2/2",
        parameters={"x": 32, "s": ()}, data={"a": directions, "e": offsets}, constants={"kappa": 0.1, "top": 3.0},
    )  # fmt: skip
    task = Task(f"gated quadratic, b={batch_size}", built_in, 0.05, batch_size, np.full(33, 0.5), "", "")
    return task, replace(task, model=model)


def network_task(batch_size: int) -> Task:
    """Two layers of tanh, 8 hidden units, 32 inputs: a formula with no built-in twin."""
    task = product_task(batch_size)
    model = sm.SymbolicModel(
        predictor="sum(a[k]*tanh(sum(w[k, j]*x[j], j)), k)",
        parameters={"a": 8, "w": (8, 32)}, data={"x": task.model.data[0], "y": task.model.data[1]},
    )  # fmt: skip
    init = 0.3 * np.random.default_rng(4).standard_normal(model.dim)
    return Task(f"two layers of tanh, b={batch_size}", model, 0.05, batch_size, init, "", "")


SCRIPT = """
import time
import numpy as np
import sgdmodels as sm
x, y = np.random.default_rng(0).standard_normal((64, 32)), np.ones(64)
base = sm.models.DiagonalNetwork(x, y)
sm.simulate(base, sm.SGD(1e-3, 8), 64, np.full(64, 0.1), metrics=())
base.gradient(np.ones(64))
sm.symbolic
start = time.perf_counter()
FORMULA
built = time.perf_counter()
point = np.full(model.dim, 0.1)
sm.simulate(model, sm.SGD(1e-3, 8), 64, point, metrics=())
walked = time.perf_counter()
model.gradient(point)
model.hvp(point, point)
asked = time.perf_counter()
sm.measure(model, point, metrics=("batch_sharpness",))
print(built - start, walked - built, asked - walked, time.perf_counter() - asked)
"""
FORMULAS = {
    "u*v": "model = sm.SymbolicModel.separable('u*v*x', ('u', 'v'), x, y)",
    "two layers of tanh": "model = sm.SymbolicModel(predictor='sum(a[k]*tanh(sum(w[k, j]*x[j], j)), k)', "
    "parameters={'a': 8, 'w': (8, 32)}, data={'x': x, 'y': y})",
}


def formula_start_up(name: str, warm_rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds of deriving, of the step loop, of gradient and product, of the moments; cold, and from the cache.

    The kernels that do not depend on the loss are warm in both.
    """
    script = SCRIPT.replace("FORMULA", FORMULAS[name])
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as folder:
        common = SCRIPT.split("sm.symbolic")[0]
        _run(common, Path(folder))
        cold.append(_run(script, Path(folder)))
        warm += [_run(script, Path(folder)) for _ in range(warm_rounds)]
    return cold, warm


DERIVE = """
import time
start = time.perf_counter()
from sgdmodels.symbolic.derive import contents
forms = [form() for topics in contents().values() for forms in topics.values() for form in forms.values()]
print(len(forms), time.perf_counter() - start)
"""


def derive_everything() -> tuple[int, float]:
    """The number of closed forms, and the seconds of deriving and proving all of them."""
    with tempfile.TemporaryDirectory() as folder:
        count, seconds = _run(DERIVE, Path(folder))
    return int(count), seconds


def _run(script: str, cache: Path) -> list[float]:
    environment = {**os.environ, "SGDMODELS_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]
