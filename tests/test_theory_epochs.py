"""Epoch products against all permutations and Kronecker products; sampled permutations against exact ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.theory.batch_steps import batch_steps
from sgdmodels.theory.epochs import epoch_max_step_size, epoch_mean_radius, epoch_radius, epochs_of

MOMENTA = ({}, {"momentum": 0.6}, {"momentum": 0.6, "nesterov": True})


def random_hessians(seed: int, n: int = 4, d: int = 2, rank: int = 1) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def step_matrix(h: np.ndarray, eta: float, momentum: float = 0.0, nesterov: bool = False) -> np.ndarray:
    """One step on (x, v) in PyTorch's convention."""
    one = np.eye(len(h))
    if momentum == 0:
        return one - eta * h
    if nesterov:
        return np.block([[one - eta * (1 + momentum) * h, -eta * momentum**2 * one], [h, momentum * one]])
    return np.block([[one - eta * h, -eta * momentum * one], [h, momentum * one]])


def all_products(h: np.ndarray, eta: float, b: int, **momentum: float) -> np.ndarray:
    products = []
    for order in itertools.permutations(range(len(h))):
        batches = [list(order[k * b : (k + 1) * b]) for k in range(len(h) // b)]
        steps = [step_matrix(h[batch].mean(axis=0), eta, **momentum) for batch in batches]
        products.append(np.linalg.multi_dot(steps) if len(steps) > 1 else steps[0])
    return np.array(products)


def radius(matrices: list[np.ndarray], steps: int) -> float:
    return float(abs(np.linalg.eigvals(np.mean(matrices, axis=0))).max() ** (1 / steps))


def brute_radius(h: np.ndarray, eta: float, b: int, **momentum: float) -> float:
    return radius([np.kron(p, p) for p in all_products(h, eta, b, **momentum)], len(h) // b)


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize(("n", "b"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (5, 2)])
def test_radii_equal_those_of_all_permutations(n: int, b: int, momentum: dict[str, float]) -> None:
    for seed in range(3):
        h = random_hessians(seed, n, rank=2)
        for eta in (0.1, 0.6, 2.5):
            products = all_products(h, eta, b, **momentum)
            second = radius([np.kron(p, p) for p in products], n // b)
            mean = radius(list(products), n // b)
            assert epoch_radius(h, eta, b, **momentum) == pytest.approx(second, rel=1e-7), (seed, eta)
            assert epoch_mean_radius(h, eta, b, **momentum) == pytest.approx(mean, rel=1e-7), (seed, eta)
            assert mean**2 <= second * (1 + 1e-9)


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize(("n", "b"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3)])
def test_the_edge_is_the_first_crossing_of_all_permutations(n: int, b: int, momentum: dict[str, float]) -> None:
    for seed in range(4):
        h = random_hessians(10 + seed, n, rank=1 + seed % 2)
        edge = epoch_max_step_size(h, b, **momentum)
        assert edge.exact
        assert edge.standard_error == 0
        below = [brute_radius(h, edge.step_size * f, b, **momentum) for f in (0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.9999)]
        assert max(below) < 1
        assert brute_radius(h, edge.step_size * 1.0001, b, **momentum) > 1


def test_curvature_of_both_signs_is_fine_if_the_mean_is_positive() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        noise = rng.standard_normal((3, 2, 2))
        h = np.eye(2) + 0.8 * (noise + noise.transpose(0, 2, 1))
        h += np.eye(2) * max(0.0, 0.3 - np.linalg.eigvalsh(h.mean(axis=0))[0])
        edge = epoch_max_step_size(h, 1).step_size
        assert max(brute_radius(h, edge * f, 1) for f in np.linspace(0.02, 0.9999, 60)) < 1
        assert brute_radius(h, edge * 1.0001, 1) > 1


@pytest.mark.parametrize(("h1", "h2"), [(0.2, 1.8), (1.0, 7.0), (1.0, 2.0), (0.5, 0.9)])
def test_two_samples_have_the_closed_form(h1: float, h2: float) -> None:
    total, product = h1 + h2, h1 * h2
    far = total**2 > 8 * product
    expected = (total - math.sqrt(total**2 - 8 * product)) / (2 * product) if far else 1 / h1 + 1 / h2
    assert epoch_max_step_size([[[h1]], [[h2]]], 1).step_size == pytest.approx(expected, rel=1e-8)


def test_slow_directions_do_not_hide_the_edge() -> None:
    """Curvatures from 1e-8 to 1 in directions of their own: the edge is that of the sharpest one, 1/1 + 1/2."""
    slow = np.diag(np.logspace(-8, -2, 7))
    h = np.array([np.block([[x * slow, np.zeros((7, 1))], [np.zeros((1, 7)), np.full((1, 1), x)]]) for x in (1.0, 2.0)])
    for copies in (1, 3):
        many = np.array([np.kron(np.eye(copies), x) for x in h])
        assert epoch_max_step_size(many, 1).step_size == pytest.approx(1.5, rel=1e-6)


def test_a_step_size_of_zero_moves_nothing() -> None:
    assert epoch_radius(random_hessians(1), 0.0, 1) == pytest.approx(1, abs=1e-12)


def test_shuffling_can_destabilise() -> None:
    """Curvatures 0, 0, 1, 1 in pairs: {0, 0}, {1, 1} once in three, else two batches of 1/2; fresh batches: edge 3."""
    h = np.array([0.0, 0.0, 1.0, 1.0])[:, None, None]
    edge = epoch_max_step_size(h, 2).step_size
    assert (1 - edge) ** 2 / 3 + 2 * (1 - edge / 2) ** 4 / 3 == pytest.approx(1, rel=1e-7)
    assert edge < 2.73
    assert sm.theory.max_step_size(h, 2) == pytest.approx(3, rel=1e-12)  # 2 (1/2) / (1/3)


def test_stability_can_come_back_above_the_edge() -> None:
    h = [[[0.2]], [[1.8]]]
    stable = [epoch_radius(h, eta, 1) < 1 for eta in (1.30, 1.31, 4.2, 4.3, 5.5, 5.6)]
    assert stable == [True, False, False, True, True, False]


@pytest.mark.parametrize("momentum", MOMENTA)
def test_full_batches_and_identical_samples_have_the_edge_of_gradient_descent(momentum: dict[str, float]) -> None:
    h = random_hessians(1, n=5, d=3, rank=2)
    beta = momentum.get("momentum", 0.0)
    gain = 2 * (1 + beta) / (1 + 2 * beta) if momentum.get("nesterov") else 2 * (1 + beta)
    expected = gain / np.linalg.eigvalsh(h.mean(axis=0))[-1]
    assert epoch_max_step_size(h, 5, **momentum).step_size == pytest.approx(expected, rel=1e-7)
    same = np.broadcast_to(h.mean(axis=0), (40, 3, 3)).copy()
    for b in (1, 7, 40):
        edge = epoch_max_step_size(same, b, **momentum)
        assert edge.exact
        assert edge.step_size == pytest.approx(expected, rel=1e-7)


def test_factors_give_the_edge_of_their_matrices_and_flat_directions_do_not_count() -> None:
    a = np.random.default_rng(2).standard_normal((6, 3))
    matrices = a[:, :, None] * a[:, None, :]
    padded = np.zeros((6, 5, 5))
    padded[:, :3, :3] = matrices
    nearly = np.concatenate([a, 1e-9 * a[:, :1] ** 2], axis=1)  # a curvature of 1e-18 in a fourth direction
    expected = epoch_max_step_size(matrices, 2).step_size
    assert epoch_max_step_size(nearly, 2).step_size == pytest.approx(expected, rel=1e-7)
    assert epoch_max_step_size(a, 2).step_size == pytest.approx(expected, rel=1e-8)
    assert epoch_max_step_size(padded, 2).step_size == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("momentum", [MOMENTA[0], *(pytest.param(m, marks=pytest.mark.slow) for m in MOMENTA[1:])])
def test_sampled_permutations_miss_the_exact_edge_by_their_standard_error(momentum: dict[str, float]) -> None:
    """120 seeds; a 95 % t interval covers at least 104 times but for a chance of 1e-4 (binomial).

    Coverage is asymptotic: with 80 permutations of six samples and Nesterov momentum it was 85 %, with 320 95 %.
    """
    from scipy.stats import t

    h = random_hessians(6, n=4, d=2, rank=2)
    exact = epoch_max_step_size(h, 2, **momentum).step_size
    count = 100
    edges = [epoch_max_step_size(h, 2, permutations=count, seed=seed, **momentum) for seed in range(120)]
    assert not any(edge.exact for edge in edges)
    z = np.array([(edge.step_size - exact) / edge.standard_error for edge in edges])
    assert (abs(z) < t.ppf(0.975, count - 1)).sum() >= 104
    assert 0.8 < z.std() < 1.25  # four standard deviations of it either way: errors are not overstated


@pytest.mark.parametrize("momentum", MOMENTA)
def test_sampled_radii_approach_the_exact_ones(momentum: dict[str, float]) -> None:
    h = random_hessians(7, n=5, d=3)
    for eta in (0.1, 0.3):
        exact, exact_mean = (f(h, eta, 1, **momentum) for f in (epoch_radius, epoch_mean_radius))
        sampled, mean = (f(h, eta, 1, permutations=4000, **momentum) for f in (epoch_radius, epoch_mean_radius))
        assert sampled == pytest.approx(exact, rel=0.01)
        assert mean == pytest.approx(exact_mean, rel=0.01)


def test_large_states_agree_with_small_ones() -> None:
    """Copies of a problem in new directions change nothing, but go through the iterative solver."""
    h = random_hessians(8, n=4, d=2, rank=2)
    copies = np.array([np.kron(np.eye(8), x) for x in h])
    for momentum in MOMENTA:
        expected = epoch_radius(h, 0.4, 1, **momentum)
        assert epoch_radius(copies, 0.4, 1, **momentum) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e-29, 1e200])
def test_units_do_not_matter(scale: float) -> None:
    h = np.array([[[1.0]], [[3.0]]])
    assert epoch_max_step_size(h * scale, 1).step_size * scale == pytest.approx(4 / 3, rel=1e-9)
    assert epoch_radius(h * scale, 0.5 / scale, 1) == pytest.approx(0.25, rel=1e-12)
    h = random_hessians(3, n=3)
    for momentum in MOMENTA:
        edges = [epoch_max_step_size(x, 1, **momentum).step_size for x in (h, h * scale)]
        assert edges[1] * scale == pytest.approx(edges[0], rel=1e-8)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_huge_step_sizes_have_the_radius_of_their_largest_power(momentum: dict[str, float]) -> None:
    """P is (eta gain)^K times the product of -h_i to a relative 1e-60; beyond the largest float it is inf."""
    h = np.array([0.5, 1.0, 3.0, 2.0, 0.7])
    gain = 1.6 if momentum.get("nesterov") else 1.0
    size = float(h.prod()) ** (1 / 5)
    matrices = np.ascontiguousarray(h[:, None, None])
    for eta in (1e60, 1e150):
        assert epoch_mean_radius(matrices, eta, 1, **momentum) == pytest.approx(eta * gain * size, rel=1e-9)
        assert epoch_radius(matrices, eta, 1, **momentum) == pytest.approx((eta * gain * size) ** 2, rel=1e-9)
    assert epoch_radius(matrices, 1e300, 1, **momentum) == math.inf
    assert epoch_mean_radius(1e10 * matrices, 1e300, 1, **momentum) == math.inf


def test_directions_without_positive_mean_curvature_do_not_count_at_the_edge() -> None:
    h = np.array([np.diag([1.0, -1.0, 0.0]), np.diag([2.0, -1.0, 0.0])])
    assert epoch_max_step_size(h, 1).step_size == pytest.approx(1.5, rel=1e-8)
    assert epoch_radius(h, 0.1, 1) == pytest.approx(1.1**2, rel=1e-9)
    small = np.array([np.diag([1e-11, -1.0]), np.diag([1.0005e-11, -1.0])])  # not the same in what is left
    assert epoch_max_step_size(small, 1).step_size == pytest.approx(1e11 * (1 + 1 / 1.0005), rel=1e-8)


def sampled_growth(h: np.ndarray, b: int, eta: float, permutations: int) -> float:
    """Growth of second moments per epoch over the sampled permutations and their reverses, densely; beta = 0.9."""
    steps_of = batch_steps(h, b, "epoch", 0.9)
    order = epochs_of(steps_of, permutations, 0).order
    total = 0.0
    for epoch in (order, order[::-1]):
        product = np.broadcast_to(np.eye(steps_of.state), (permutations, steps_of.state, steps_of.state))
        for batches in epoch:
            product = steps_of.matrices(batches, eta) @ product
        total = total + sum(np.kron(p, p) for p in product) / (2 * permutations)
    return float(abs(np.linalg.eigvals(total)).max())


def test_momentum_and_slow_directions_are_decided() -> None:
    """Curvatures over three decades; and dense Hessians, of which many modes decay alike: nothing converged there."""
    a = np.random.default_rng(3).standard_normal((24, 7)) * np.logspace(0, -1.5, 7)
    q = np.random.default_rng(0).standard_normal((60, 10, 10))
    scales = np.logspace(0, -3, 10)
    dense = np.ascontiguousarray(q @ q.transpose(0, 2, 1) * scales[:, None] * scales)
    for h, b in ((a, 4), ((dense + dense.transpose(0, 2, 1)) / 2, 8)):
        edge = epoch_max_step_size(h, b, momentum=0.9, permutations=10).step_size
        assert sampled_growth(h, b, 0.999 * edge, 10) < 1 < sampled_growth(h, b, 1.001 * edge, 10)


def test_what_cannot_be_used_is_an_error() -> None:
    h = random_hessians(9)
    with pytest.raises(sm.errors.InvalidArgument, match="nesterov must be True or False"):
        epoch_radius(h, 0.1, 1, momentum=0.5, nesterov="no")
    for seed in (-1, "a", None):
        with pytest.raises(sm.errors.InvalidArgument, match="seed"):
            epoch_max_step_size(h, 1, seed=seed)
    for bad, match in ((-h, "positive eigenvalue"), (0 * h, "all be zero")):
        with pytest.raises(sm.errors.InvalidArgument, match=match):
            epoch_max_step_size(bad, 1)
    with pytest.raises(sm.errors.InvalidArgument, match="nesterov"):
        epoch_radius(h, 0.1, 1, nesterov=True)
    with pytest.raises(sm.errors.InvalidArgument, match="permutations"):
        epoch_radius(h, 0.1, 1, permutations=1)
    with pytest.raises(sm.errors.InvalidArgument, match="batch_size"):
        epoch_radius(h, 0.1, 5)
