"""The step size at which almost every run stops converging: closed forms, starts of the search, honest errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory import lyapunov_edge
from sgdmodels.theory.batch_steps import batch_steps
from sgdmodels.theory.lyapunov import lyapunov_exponents
from sgdmodels.theory.lyapunov_edge import lyapunov_max_step_size
from sgdmodels.theory.moment_edges import moment_max_step_size

from .enumeration import all_batches, batch_sums
from .frozen_hessians import (
    MOMENTA,
    WITH_EPOCHS,
    commuting,
    random_hessians,
    turned,
)


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_the_edge_lies_beyond_the_mean_square_edge_and_is_a_zero(sampling: str, momentum: dict[str, float]) -> None:
    """Four exponents from new seeds, whose errors and that of the edge are added: 4.5 of them fail 1e-4 of the time."""
    h = random_hessians(7, n=4, d=2)
    edge = lyapunov_max_step_size(h, 2, sampling, steps=500, **momentum)
    assert edge.standard_error > 0
    assert edge.step_size > sm.theory.max_step_size(h, 2, sampling, **momentum)
    below, above = (
        lyapunov_exponents(h, edge.step_size + 4.5 * sign * edge.standard_error, 2, sampling, seed=1, **momentum)
        for sign in (-1, 1)
    )
    assert below.values[0] < 4.5 * below.standard_errors[0]
    assert above.values[0] > -4.5 * above.standard_errors[0]


def test_the_edge_of_commuting_hessians_is_that_of_their_first_unstable_direction() -> None:
    for seed in range(3):
        h, matrices = commuting(seed)
        expected = min(moment_max_step_size(np.ascontiguousarray(column), 1, 0) for column in h.T)
        edge = lyapunov_max_step_size(matrices, 1)
        assert edge.step_size == pytest.approx(expected, rel=1e-10)
        assert edge.standard_error == 0


def test_the_edge_of_turned_hessians_has_a_closed_form_and_so_has_its_error() -> None:
    """|1 - eta| + |1 - 3.2 eta| = 2 at 10/11, where the exponent log(1.1 eta) rises by 1.1; above 1 it is steeper.

    1000 replicas know their spread to 2.3 % (one standard deviation): 12 % is five of them.
    """
    h = turned((1.0, 3.2), angles=256)
    edge = lyapunov_max_step_size(h, 1, steps=40, replicas=1000)
    eta = 10 / 11
    angles = np.pi * np.arange(1024) / 1024
    logs = 0.5 * np.log(((1 - eta) * np.cos(angles)) ** 2 + ((1 - 3.2 * eta) * np.sin(angles)) ** 2)
    assert logs.mean() == pytest.approx(0, abs=1e-6)
    expected = logs.std() / math.sqrt(40 * 1000) / 1.1
    assert edge.standard_error == pytest.approx(expected, rel=0.12)
    assert abs(edge.step_size - eta) < 4.5 * expected  # 7e-6


def test_the_search_starts_where_stability_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def spy(excess: object, start: float, accuracy: float) -> float:
        starts.append(start)
        return 1.0

    monkeypatch.setattr(lyapunov_edge, "first_root", spy)
    h = turned((1.0, 3.2))
    lyapunov_max_step_size(h, 1, steps=5, replicas=3)
    assert starts[0] <= sm.theory.max_step_size(h, 1)  # Jensen


def test_noise_can_stabilise_beyond_gradient_descent() -> None:
    """Of curvatures 1 and 3 one at a time (edge 4/3) or both at once (edge 1)."""
    h = np.array([1.0, 3.0])[:, None, None]
    assert lyapunov_max_step_size(h, 1).step_size == pytest.approx(4 / 3, rel=1e-9)
    assert lyapunov_max_step_size(h, 2).step_size == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("sampling", WITH_EPOCHS)
def test_every_batch_contracts_at_the_certain_start(sampling: str) -> None:
    uneven = np.array([[[1.0]], [[0.01]], [[0.01]], [[0.02]]])
    cases = (random_hessians(2), uneven, 3 * np.array([np.diag([1.0, 0.9])] * 3), 2e-30 * uneven)
    for h in cases:
        for b in (1, 2, 3):
            start = batch_steps(h, b, sampling).certain_start()
            batches = all_batches(len(h), b, "without_replacement" if sampling == "epoch" else sampling)
            sums = batch_sums(h, b, batches)
            tops = [np.linalg.eigvalsh(x)[-1] for x, (_, p) in zip(sums, batches, strict=True) if p]
            assert start * max(tops) < 2


def test_directions_without_positive_mean_curvature_do_not_count_at_the_edge() -> None:
    h = np.array([np.diag([1.0, -1.0, 0.0]), np.diag([3.0, -1.0, 0.0])])
    assert lyapunov_max_step_size(h, 1).step_size == pytest.approx(4 / 3, rel=1e-9)
    assert lyapunov_exponents(h, 0.5, 1).values[0] == pytest.approx(math.log(1.5), rel=1e-12)
