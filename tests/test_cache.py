"""Compiled code on disk: found by the next process, never stale, and nothing heavy at import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import sgdmodels

PACKAGE = Path(sgdmodels.__file__).parent
STEP = """
import numpy as np, sgdmodels as sm
from sgdmodels.kernels import compile
model = sm.models.LeastSquares([[1.0]], [0.0])
run = sm.simulate(model, sm.SGD(0.5, 1), 1, np.ones(1), record_every=1, metrics=("loss",), keep_params=True)
from sgdmodels.kernels.step_loop import drive
print(float(run.params[0, -1, 0]), sum(drive.compiled.stats.cache_hits.values()))
"""


def python(code: str, folder: Path, cache: Path) -> list[str]:
    environment = {**os.environ, "SGDMODELS_CACHE": str(cache), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_second_process_compiles_nothing_and_an_edit_is_never_answered_from_the_cache(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy / "sgdmodels", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    assert python(STEP, copy, cache) == ["0.5", "0"]
    assert python(STEP, copy, cache) == ["0.5", "1"]
    # The edited function is inlined into a kernel of another file: numba alone would not notice.
    source = copy / "sgdmodels" / "models" / "linear_kernels.py"
    text = source.read_text()
    line = "r = weight[0] * slope(predict(x, w), targets[i], constants)"
    assert line in text
    source.write_text(text.replace(line, line.replace("weight", "0.5 * weight")))
    assert python(STEP, copy, cache) == ["0.75", "0"]
    source.write_text(text)
    assert python(STEP, copy, cache) == ["0.5", "1"]


FORMULA = """
import numpy as np, sgdmodels as sm
model = sm.SymbolicModel(predictor="sum(a[k] * tanh(x * w[k]), k)", parameters={"a": SIZE, "w": SIZE},
                         data={"x": [1.0], "y": [2.0]})
from sgdmodels.kernels.compile import Kernel
made = []
compiled = Kernel.compiled.fget
Kernel.compiled = property(lambda kernel: (made.append(compiled(kernel)), made[-1])[1])
model.gradient(np.ones(model.dim))
print(len(made), sum(sum(kernel.stats.cache_hits.values()) for kernel in made))
"""


def test_a_formula_is_found_again_by_the_next_process_whatever_its_dimension(tmp_path: Path) -> None:
    assert python(FORMULA.replace("SIZE", "3"), PACKAGE.parent, tmp_path) == ["1", "0"]
    assert python(FORMULA.replace("SIZE", "3"), PACKAGE.parent, tmp_path) == ["1", "1"]
    assert python(FORMULA.replace("SIZE", "7"), PACKAGE.parent, tmp_path) == ["1", "1"]
    other = FORMULA.replace("SIZE", "3").replace("tanh", "sin")
    assert python(other, PACKAGE.parent, tmp_path) == ["1", "0"]


def test_importing_pulls_in_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "matplotlib", "xarray", "sympy", "rich")
    code = f"import sys, sgdmodels; print(*[m for m in {heavy} if m in sys.modules])"
    assert python(code, PACKAGE.parent, tmp_path) == []


def test_a_read_only_cache_folder_still_runs(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    assert python(STEP, PACKAGE.parent, blocked)[0] == "0.5"


def test_a_loss_defined_in_a_console_has_kernels_too(tmp_path: Path) -> None:
    """No source file to hash: its bytecode tells versions apart."""
    code = """
import numpy as np, sgdmodels as sm
from sgdmodels.kernels.compile import inline
from sgdmodels.models.least_squares import KERNELS
from dataclasses import replace
@inline
def mean_loss(parts, samples, inputs, targets, constants, work):
    return 42.0
class Mine(sm.models.LeastSquares):
    kernels = replace(KERNELS, mean_loss=mean_loss)
print(float(sm.measure(Mine([[1.0]], [1.0]), [0.0], metrics=("loss",)).loss))
"""
    assert python(code, PACKAGE.parent, tmp_path) == ["42.0"]


BITS = """
import hashlib
import sgdmodels as sm
recipe = sm.recipes.gated_quadratic(0)
metrics = [metric.name for metric in sm.METRICS if metric.name not in ("mean_square_sharpness", "minibatch_lambda_max")]
for dynamics in (sm.SGD(0.4, 2), sm.NoisyGD(0.4, 2, "isotropic")):
    run = sm.simulate(recipe.model, dynamics, 2000, recipe.init, replicas=2, metrics=metrics)
    print(*(hashlib.sha256(run[name].values.tobytes()).hexdigest() for name in metrics))
"""


def test_the_process_that_compiles_a_kernel_gets_the_bits_of_those_that_load_it(tmp_path: Path) -> None:
    """Resumed runs and sweeps of several processes rest on it."""
    first = python(BITS, PACKAGE.parent, tmp_path / "cache")
    assert len(first) == 16
    assert python(BITS, PACKAGE.parent, tmp_path / "cache") == first
