"""The Edge of Stochastic Stability on a real network: recipe N, shortened (about 20 s of one core).

Bands were chosen on seeds 0 to 3. On seeds 101 to 106 and 201 to 205, which nothing was chosen on, no assertion failed
(those of `announced` and `highest` were reworded after 101 to 106, and so stand on 201 to 205): error rate 0 of 11,
below 0.24 with 95 % confidence. Trajectories are chaotic, so that another machine's rounding is another seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.networks import train
from sgdmodels.networks.recipes import random_label_digits

SEED = 0
STEPS, GD_STEPS, BRANCH_STEPS = 8000, 2000, 4000


@dataclass(frozen=True)
class Watched:
    """Levels of eta BS / 2 and eta lambda_max / 2 by batch size (last half of a run), and a switch from b = 32 to 8.

    `announced` is BS of b = 8 on the way of b = 32; `highest` the maximum of BS and `spike` that of the loss, over the
    control's, in the 500 steps after the switch; `settled` the levels of the last half of the branch.
    """

    batch_sharpness: dict[int, float]
    lambda_max: dict[int, float]
    announced: float
    highest: float
    spike: float
    settled: tuple[float, float]


def watched(seed: int) -> Watched:
    """Train, switch, measure; nothing may diverge."""
    recipe = random_label_digits(seed)
    net, probe, eta, n = recipe.net, recipe.probe, recipe.step_size, recipe.probe.samples
    common = {"init": recipe.init, "record_every": 100, "seed": seed, "progress": False}
    dynamics = {"8": sm.SGD(eta, 8), "32": sm.SGD(eta, 32)}
    runs = train(net, probe, dynamics, STEPS, batch_size=[8, 32], keep_params=True, **common)
    full = train(net, probe, {str(n): sm.GD(eta)}, GD_STEPS, batch_size=[n], **common)
    sharp, top = {}, {}
    for b, run in ((8, runs), (32, runs), (n, full)):
        one = run.sel(dynamics=str(b)).isel(replica=0)
        assert np.isnan(one.diverged_at)
        late = one.isel(step=one.step.values >= float(one.step[-1]) / 2)
        sharp[b] = float(late.batch_sharpness.sel(batch_size=b).mean()) * eta / 2
        top[b] = float(late.lambda_max.mean()) * eta / 2
    before = runs.batch_sharpness.sel(dynamics="32", batch_size=8).isel(replica=0)
    announced = float(before.where(before.step >= STEPS / 2).mean()) * eta / 2
    end = runs.params.sel(dynamics="32").isel(replica=0, step=-1).values
    forked = sm.fork(
        probe, dynamics["32"], {"switched": dynamics["8"]}, 0, BRANCH_STEPS, end, record_every=25, batch_size=8,
        seed=seed + 1,
    ).isel(replica=0)  # fmt: skip
    assert np.isnan(forked.diverged_at).all()
    control, branch = (forked.sel(branch=name) for name in ("control", "switched"))
    event, late = branch.isel(step=slice(0, 21)), branch.isel(step=branch.step.values >= BRANCH_STEPS / 2)
    return Watched(
        sharp, top, announced, float(event.batch_sharpness.max()) * eta / 2,
        float(event.loss.max() / control.loss.isel(step=slice(0, 21)).max()),
        (float(late.batch_sharpness.mean()) * eta / 2, float(late.lambda_max.mean()) * eta / 2),
    )  # fmt: skip


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> Watched:
    return watched(SEED)


def test_sharpness_rises_with_batch_size_up_to_the_edge_of_full_batch_descent(found: Watched) -> None:
    small, middle, full = found.lambda_max.values()
    assert small < middle - 0.2
    assert middle < full - 0.2
    assert 0.95 < full < 1.25


def test_batch_sharpness_is_near_the_edge_where_lambda_max_is_far_below(found: Watched) -> None:
    assert 0.7 < found.batch_sharpness[8] < 1.1
    assert 0.6 < found.batch_sharpness[32] < 1.1
    assert found.batch_sharpness[8] > 2 * found.lambda_max[8]


def test_a_smaller_batch_gives_a_spike_and_then_its_own_level(found: Watched) -> None:
    assert 1.5 < found.announced < 3
    assert found.highest > 1.3
    assert found.spike > 5
    sharp, top = found.settled
    assert 0.8 < sharp < 1.25
    assert abs(top - found.lambda_max[8]) < 0.12
    assert top < found.lambda_max[32] - 0.2
