"""The contract of a dynamics: the same bits however a run is cut, and the step that it declares."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array
from ..dynamics import Dynamics
from ..errors import InvalidArgument
from ..measure import checked_model
from ..models import Model
from ..simulate import Run, simulate
from .example import REPLICAS, example
from .failures import require, same_bits
from .step_contract import check_drift, check_epochs, check_moments, check_plan, check_steps

STEPS = 192
RESUMED_AT = 64  # runs may be taken up at multiples of 64 steps
TEXTS = ("equation", "preserves", "edge", "cost", "reference", "relative_to")


def check_dynamics(
    dynamics: Dynamics, model: Model | None = None, init: ArrayLike | None = None, seed: int = 0
) -> None:
    """Check the contract of a dynamics on a loss (default: a small diagonal network), from parameters `init`.

    init: (d,) or one row for each of 9 replicas; default: uniform on (0.2, 0.5). The same bits for any number of
    threads, chunks, subsets of replicas, recorded steps, and when a run is taken up at step 64 (where that is offered);
    seeds and replicas differ unless it is deterministic; loss and start left alone; a complete declaration; step sizes
    and batch sizes in force that are those of its attributes. What a step is depends on ``declaration.preserves``:

    * mean, variances, covariance or everything of SGD: 20000 first steps agree with the exact moments within 5
      standard errors (with normal errors, a right one of 8 parameters fails for 1 seed in 39000; the seed is fixed, so
      it either always does or never);
    * everything, or the mean of a deterministic one: also three steps on a loss of one sample, with `momentum` and
      `nesterov` if there are, to rounding; for ``sampling="epoch"`` also that the batches of an epoch add up to all
      samples (on a loss of 3 b of them, so nearly linear that the gradients stay what they are);
    * the mean to some order in eta: the mean of 4000 steps so short that only the first order is left, to 0.2 % of the
      largest gradient of a sample and 5 standard errors; variances and higher orders are not checked;
    * anything else: bits, seeds, declaration and schedules only.

    Raises AssertionError that says which property fails, and InvalidArgument if the dynamics refuses the loss or an
    argument is no dynamics, no loss, or of another shape.

    >>> import sgdmodels as sm
    >>> check_dynamics(sm.GD(0.1))
    """
    if not isinstance(dynamics, Dynamics):
        raise InvalidArgument(f"dynamics must be a dynamics such as sm.SGD(0.1, batch_size=8), got {dynamics!r}")
    given = example()
    loss: Model = given[0]
    starts = given[1]
    if model is not None:
        loss = checked_model(model)
        starts = np.random.default_rng(2).uniform(0.2, 0.5, (REPLICAS, loss.dim))
    if init is not None:
        starts = _starts(init, loss.dim)
    _check_declaration(dynamics)
    check_plan(dynamics, loss.samples)
    _check_bits(dynamics, loss, starts, seed)
    _check_resumption(dynamics, loss, starts, seed)
    _check_seeds(dynamics, loss, starts[0], seed)
    check_moments(dynamics, loss, starts[0], seed)
    check_drift(dynamics, loss, starts[0], seed)
    check_steps(dynamics, seed)
    check_epochs(dynamics, seed)


def _starts(init: ArrayLike, dim: int) -> FloatArray:
    """One start for each replica."""
    rows = float_array("init", init, (REPLICAS, dim) if np.ndim(init) == 2 else (dim,))
    return np.ascontiguousarray(np.broadcast_to(rows, (REPLICAS, dim)))


def _check_declaration(dynamics: Dynamics) -> None:
    declaration = dynamics.declaration
    for name in TEXTS:
        value = getattr(declaration, name)
        require(isinstance(value, str) and value.strip(), f"declaration.{name} must be text, got {value!r}")
        dollars, braces = value.count("$") % 2, value.count("{") - value.count("}")
        require(dollars == 0 and braces == 0, f"declaration.{name} must be balanced LaTeX, got {value!r}")
    order = declaration.weak_order
    require(order in (None, 0, 1, 2), f"declaration.weak_order must be None, 0, 1 or 2, got {order!r}")
    reference = declaration.reference
    dated = re.search(r"\d{4}", reference) or "proposal" in reference or "this package" in reference
    require(dated, f"declaration.reference must name a source and its year, got {reference!r}")
    about = dynamics.describe()
    named = about.get("name") == type(dynamics).__name__
    require(named, f"describe()['name'] must be {type(dynamics).__name__!r}, got {about.get('name')!r}")
    try:
        json.dumps(about)
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"describe() must fit into JSON, for a run's provenance: {problem}") from None


def _params(
    dynamics: Dynamics, model: Model, init: FloatArray, seed: int, rows: Any = slice(None), **options: Any
) -> FloatArray:
    """Parameters (replica, record, d) of the replicas `rows`."""
    ids = np.arange(len(init))[rows]
    options = {"record_every": 16, "threads": 1, "metrics": (), **options}
    run = simulate(
        model, dynamics, STEPS, init[rows], replicas=ids, keep_params=True, seed=seed, progress=False, **options
    )
    return np.asarray(run.params.values)


def _check_bits(dynamics: Dynamics, model: Model, init: FloatArray, seed: int) -> None:
    before, data = init.copy(), [array.copy() for array in model.data]
    expected = _params(dynamics, model, init, seed)
    same_bits("init", init, before, "was modified by the run")
    for k, (array, copy) in enumerate(zip(model.data, data, strict=True)):
        same_bits(f"data[{k}] of the loss", array, copy, "was modified by the run")
    survivors = np.isfinite(expected[:, -1]).all(axis=1).sum()
    require(survivors > 0, "every replica diverged: check a smaller step size, or another init")
    same_bits("params", _params(dynamics, model, init, seed), expected, "differ when the same run is made again")
    same_bits("params", _params(dynamics, model, init, seed, threads=3), expected, "differ with 3 threads")
    chunks = import_module(Run.__module__)
    with patch.object(chunks, "CHUNK_SECONDS", 0.0), patch.object(chunks, "CHUNK_BYTES", 1):
        same_bits("params", _params(dynamics, model, init, seed), expected, "differ with the shortest chunks")
    for rows in (slice(0, 1), slice(3, 8), slice(0, None, 3)):
        some = _params(dynamics, model, init, seed, rows)
        same_bits(
            "params", some, expected[rows], f"differ if only replicas {rows.start}:{rows.stop}:{rows.step} are run"
        )
    for every, where in ((48, "every 48"), (STEPS, "the last")):
        fewer = _params(dynamics, model, init, seed, record_every=every)
        same_bits("params", fewer, expected[:, :: every // 16], f"differ when only {where} steps are recorded")


def _check_resumption(dynamics: Dynamics, model: Model, init: FloatArray, seed: int) -> None:
    """Steps 64 to 192 from what a run of 64 steps leaves behind; a grid of strides begins where a run does."""
    if dynamics.plan(model.samples).advance is not None:
        return
    options: dict[str, Any] = {"replicas": len(init), "seed": seed, "threads": 1}
    whole = Run(model, dynamics, STEPS, init, record_every=STEPS, keep_params=True, **options).go()
    start = Run(model, dynamics, RESUMED_AT, init, record_every=RESUMED_AT, **options)
    start.go()
    rest = Run(
        model, dynamics, STEPS - RESUMED_AT, start.theta.copy(), record_every=STEPS, keep_params=True,
        first_step=RESUMED_AT, memory=start.memory.copy(), **options,
    ).go()  # fmt: skip
    kept = start.diverged_at < 0
    same_bits(
        "params",
        rest.params.values[kept, -1],
        whole.params.values[kept, -1],
        f"differ after resuming at step {RESUMED_AT}",
    )


def _check_seeds(dynamics: Dynamics, model: Model, init: FloatArray, seed: int) -> None:
    """Two seeds and two replicas; a batch that is the whole data set has no noise either."""
    if dynamics.plan(model.samples).batch_sizes[0] == model.samples and not dynamics.deterministic:
        return
    first, second = (_params(dynamics, model, np.tile(init, (2, 1)), s) for s in (seed, seed + 1))
    pairs = (("two seeds", first, second), ("two replicas", first[:1], first[1:]))
    for name, one, other in pairs:
        same = np.array_equal(one, other, equal_nan=True)
        is_not = "gives different runs" if dynamics.deterministic else "gives the same run"
        require(same == dynamics.deterministic, f"deterministic is {dynamics.deterministic}, but {name} {is_not}")
