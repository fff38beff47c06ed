"""The steps of every dynamics on a network are those of the compiled loops: same draws, same path."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.declarations import ROWS
from sgdmodels.dynamics import Dynamics
from sgdmodels.networks.training.walks import TWINS

from .network_twins import NAMES, twins

STEPS = 70  # beyond the first look for divergence


def made(kind: type[Dynamics], arguments: dict[str, Any], step_size: Any = 0.05, batch_size: Any = 3) -> Dynamics:
    """A dynamics with few substeps: the network takes them one by one."""
    known = {field.name for field in fields(kind)}
    few = {"substeps": 2} if "substeps" in known else {}
    size = {"batch_size": batch_size} if "batch_size" in known else {}
    return kind(**{"step_size": step_size, **size, **few, **arguments})  # type: ignore[arg-type]


EVERY = [pytest.param(*row, id=f"{row[0].__name__} {row[1]}") for row in ROWS if row[0] is not sm.PredictedDynamics]


def paths(
    name: str, dynamics: Dynamics, steps: int = STEPS, replicas: Any = 2, **more: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters along a run of a loss and of the same as a network."""
    model, probe, theta = twins(name)
    common: dict[str, Any] = {
        "replicas": replicas,
        "record_every": 10,
        "metrics": ("loss",),
        "keep_params": True,
        **more,
    }
    one, other = (sm.simulate(loss, dynamics, steps, theta, **common) for loss in (model, probe))
    assert one.diverged_at.equals(other.diverged_at)
    assert np.nanmax(abs(one.loss - other.loss) / one.loss) < 1e-11
    return one.params.values, other.params.values


@pytest.mark.parametrize(("kind", "arguments"), EVERY)
def test_every_dynamics_takes_the_same_steps(kind: type[Dynamics], arguments: dict[str, Any]) -> None:
    one, other = paths("diagonal", made(kind, arguments))
    assert np.abs(one - other).max() < 1e-12 * np.abs(one).max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement", "epoch", "bernoulli"])
def test_every_network_and_sampling_scheme(name: str, sampling: str) -> None:
    one, other = paths(name, sm.SGD(0.05, 3, sampling=sampling, momentum=0.5), replicas=[3, 0])
    assert np.abs(one - other).max() < 1e-12 * np.abs(one).max()


def test_schedules_change_at_the_same_steps() -> None:
    dynamics = sm.SGD([(0, 0.05), (33, 0.1)], [(0, 3), (40, 5)], sampling="epoch")
    one, other = paths("linear", dynamics, seed=2**64 - 1)
    assert np.abs(one - other).max() < 1e-12 * np.abs(one).max()


def test_divergence_is_dated_alike() -> None:
    one, other = paths("least squares", sm.SGD(1.5, 2), steps=200, replicas=8)
    assert np.isnan(one[:, -1]).all()
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    np.testing.assert_allclose(other, one, rtol=1e-9)  # rounding grows with the iterates


def test_dynamics_without_a_loss_of_their_own_run_on_small_networks() -> None:
    model, probe, theta = twins("linear")
    dynamics = sm.CentralFlow(0.1)
    one, other = (sm.simulate(loss, dynamics, 50, theta, metrics=("loss",)) for loss in (model, probe))
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-6)  # third derivatives are central differences


def test_every_walk_of_the_package_has_a_twin() -> None:
    for kind, arguments in ROWS:
        plan = made(kind, arguments).plan(12)
        assert plan.walk in TWINS or plan.advance is not None or not plan.functions
