"""Assertions of stability against brute force over all batches, and where the kinds of stability part ways."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels import testing
from sgdmodels.errors import InvalidArgument
from sgdmodels.testing import assert_stable, assert_unstable

from .enumeration import all_batches, batch_sums

FRESH = ("without_replacement", "with_replacement", "bernoulli")
TWO = np.array([[[1.0]], [[3.0]]])  # E h = 2, E h^2 = 5: edges 1 of the mean, 0.8 of the mean square and of one step


def problem(seed: int) -> tuple[np.ndarray, int, str]:
    """Positive semi-definite Hessians of 4 samples in 2 dimensions, a batch size and a scheme."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((4, 2, 1 + seed % 2))
    return np.einsum("nik,njk->nij", a, a), 1 + seed % 3, FRESH[seed % len(FRESH)]


def steps(h: np.ndarray, b: int, sampling: str, make: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    """The matrix of a step for every batch, and probabilities."""
    batches = all_batches(len(h), b, sampling)
    return np.array([make(hb) for hb in batch_sums(h, b, batches)]), np.array([p for _, p in batches])


def radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def plain(eta: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda h: np.eye(len(h)) - eta * h


def with_velocity(eta: float, beta: float, nesterov: bool) -> Callable[[np.ndarray], np.ndarray]:
    """(theta, v) after v <- beta v + g and theta <- theta - eta v, or theta - eta (g + beta v)."""

    def make(h: np.ndarray) -> np.ndarray:
        eye, zero = np.eye(len(h)), np.zeros_like(h)
        velocity = np.block([h, beta * eye])
        moved = np.block([h, zero]) + beta * velocity if nesterov else velocity
        return np.block([[np.block([eye, zero]) - eta * moved], [velocity]])

    return make


def brute(kind: str, matrices: np.ndarray, p: np.ndarray) -> float:
    """Growth of E x, of E xx', or of E|x|^2 from the worst x."""
    if kind == "mean":
        return radius(np.einsum("k,kij->ij", p, matrices))
    if kind == "mean-square":
        size = matrices.shape[1] ** 2
        return radius(np.einsum("k,kij,klm->iljm", p, matrices, matrices).reshape(size, size))
    return float(np.linalg.eigvalsh(np.einsum("k,kji,kjl->il", p, matrices, matrices))[-1])


def both_sides(kind: str, growth: Callable[[float], float], edge: float, *arguments: object, **options: object) -> None:
    """`edge` is where brute force says, and the assertions change their mind there, 0.1 % to either side."""
    h, b, sampling = arguments
    for factor in (0.3, 0.999, 1.001, 3.0):
        eta = factor * edge
        assert (growth(eta) < 1) == (factor < 1), (kind, factor)
        claims = (assert_stable, assert_unstable) if factor < 1 else (assert_unstable, assert_stable)
        claims[0](kind, h, eta, b, sampling, **options)  # type: ignore[operator]
        with pytest.raises(AssertionError, match=f"in the sense of '{kind}' at step_size .* edge is step_size = "):
            claims[1](kind, h, eta, b, sampling, **options)  # type: ignore[operator]


def crossing(growth: Callable[[float], float], high: float) -> float:
    """Where growth passes 1, by bisection from a stable step size."""
    low = 1e-3 * high
    assert growth(low) < 1 < growth(high)
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if growth(middle) < 1 else (low, middle)
    return low


@pytest.mark.parametrize("kind", ["mean", "mean-square", "one-step"])
@pytest.mark.parametrize("seed", range(6))
def test_assertions_change_at_the_edge_of_brute_force(kind: str, seed: int) -> None:
    h, b, sampling = problem(seed)

    def growth(eta: float) -> float:
        return brute(kind, *steps(h, b, sampling, plain(eta)))

    edge = crossing(growth, 20 / np.linalg.eigvalsh(h.mean(axis=0))[0])
    both_sides(kind, growth, edge, h, b, sampling)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("kind", ["mean", "mean-square"])
@pytest.mark.parametrize("seed", [0, 4])
def test_momentum_moves_the_edge_as_brute_force_says(kind: str, seed: int, nesterov: bool) -> None:
    h, b, sampling = problem(seed)

    def growth(eta: float) -> float:
        return brute(kind, *steps(h, b, sampling, with_velocity(eta, 0.6, nesterov)))

    edge = crossing(growth, 20 / np.linalg.eigvalsh(h.mean(axis=0))[0])
    both_sides(kind, growth, edge, h, b, sampling, momentum=0.6, nesterov=nesterov)


@pytest.mark.parametrize("ell", [1, 3])
def test_svag_has_an_edge_of_its_own(ell: int) -> None:
    """In one dimension 2 a / (a^2 / ell + s^2) with a = 2, s = 1, and 2 ell / a for the mean."""
    for kind, edge in (("mean-square", 4 / (4 / ell + 1)), ("mean", ell)):
        assert_stable(kind, TWO, 0.999 * edge, 1, ell=ell)
        assert_unstable(kind, TWO, 1.001 * edge, 1, ell=ell)
    assert_stable("mean-square", TWO, 3.99, 1, ell=math.inf)
    assert_unstable("mean-square", TWO, 4.01, 1, ell=math.inf)
    assert_stable("mean", TWO, 1e3, 1, ell=math.inf)


def test_every_replica_converges_though_the_mean_square_diverges() -> None:
    """The famous case. 5 % above the edge E x^2 grows by 1.168 a step, while log|x| falls by 0.707 a step."""
    eta = 0.84
    model = sm.models.LeastSquares(np.sqrt([[1.0], [3.0]]), [0.0, 0.0])
    run = sm.simulate(
        model, sm.SGD(eta, 1), 300, [1.0], replicas=200, record_every=300, metrics=(), keep_params=True, seed=1
    )
    assert np.abs(run.params.values[:, -1]).max() < 1e-30
    assert_unstable("mean-square", TWO, eta, 1)
    assert_unstable("one-step", TWO, eta, 1)
    assert_stable("almost sure", TWO, eta, 1)
    assert_stable("mean", TWO, eta, 1)
    with pytest.raises(
        AssertionError, match=r"not stable in the sense of 'mean-square' .* factor 1\.168 a step.* = 0\.8"
    ):
        assert_stable("mean-square", TWO, eta, 1)
    with pytest.raises(
        AssertionError, match=f"not unstable in the sense of 'almost sure' .* {math.log(0.16 * 1.52) / 2:.6f}"
    ):
        assert_unstable("almost sure", TWO, eta, 1)


def test_the_mean_converges_where_almost_no_run_does() -> None:
    """Curvatures -3 and 5: E h = 1, but log|1 - eta h| is positive on average at eta = 1."""
    h = np.array([[[-3.0]], [[5.0]]])
    assert_stable("mean", h, 1.0, 1)
    assert_unstable("almost sure", h, 1.0, 1)
    assert_unstable("mean-square", h, 1.0, 1)
    assert_unstable("one-step", h, 1.0, 1)


def test_one_step_is_more_than_the_mean_square() -> None:
    """Between the two edges E|x|^2 falls in the end, and grows in the first step from some x."""
    h, b, sampling = np.array([[[1.0, 0.0], [0.0, 0.0]], [[9.0, 12.0], [12.0, 16.0]]]), 1, "without_replacement"
    edges = [
        crossing(lambda eta, kind=kind: brute(kind, *steps(h, b, sampling, plain(eta))), 10.0)  # type: ignore[misc]
        for kind in ("one-step", "mean-square")
    ]
    assert edges[0] < 0.99 * edges[1]
    eta = math.sqrt(edges[0] * edges[1])
    assert_stable("mean-square", h, eta, b, sampling)
    assert_unstable("one-step", h, eta, b, sampling)
    matrices, p = steps(h, b, sampling, plain(eta))
    mean = np.einsum("k,kji,kjl->il", p, matrices, matrices)
    worst, best = np.linalg.eigh(mean)[1][:, -1], np.linalg.eigh(mean)[1][:, 0]
    assert_unstable("one-step", h, eta, b, sampling, x=worst)
    assert_stable("one-step", h, eta, b, sampling, x=best)
    with pytest.raises(AssertionError, match=f"{np.linalg.eigvalsh(mean)[-1]:.6f}"):
        assert_stable("one-step", h, eta, b, sampling, x=7 * worst)


def test_an_exponent_too_close_to_zero_is_inconclusive() -> None:
    """In two dimensions exponents are sampled: at their own estimated root nothing can be said."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 2))
    exponents = sm.theory.lyapunov_exponents
    low, high = 0.1, 10.0
    for _ in range(20):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if exponents(a, middle, 1, steps=200).values[0] < 0 else (low, middle)
    for claim, word in ((assert_stable, "stability"), (assert_unstable, "instability")):
        with pytest.raises(AssertionError, match=f"almost sure {word} is inconclusive .* raise steps or replicas"):
            claim("almost sure", a, low, 1, steps=200)
    assert_stable("almost sure", a, 0.5 * low, 1, steps=200)
    assert_unstable("almost sure", a, 2 * low, 1, steps=200)


@pytest.mark.parametrize("kind", ["mean", "mean-square", "almost sure"])
def test_at_the_edge_itself_nothing_is_asserted(kind: str) -> None:
    """One curvature of 2 at step size 1: x <- -x for ever."""
    for claim in (assert_stable, assert_unstable):
        with pytest.raises(AssertionError, match="inconclusive"):
            claim(kind, [[[2.0]]], 1.0, 1)
    assert_stable("one-step", [[[2.0]]], 1.0, 1)  # it does not grow


@pytest.mark.parametrize("kind", ["mean", "mean-square", "almost sure", "one-step"])
def test_directions_that_never_move_are_left_out(kind: str) -> None:
    flat = np.zeros((2, 3, 3))
    flat[:, 1, 1] = 1.0, 3.0
    assert_stable(kind, flat, 0.3, 1)
    assert_unstable(kind, flat, 2.5, 1)
    assert_stable(kind, np.sqrt([[0.0, 1.0], [0.0, 3.0]]), 0.3, 1)  # factors
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = rotation @ flat @ rotation.T  # the kernel is one up to rounding only
    assert_stable(kind, turned, 0.3, 1)
    assert_unstable(kind, turned, 2.5, 1)
    with pytest.raises(InvalidArgument, match="must not all be zero"):
        assert_stable(kind, np.zeros((2, 3, 3)), 0.3, 1)


@pytest.mark.parametrize("h", [[-1.0, 1.0], [-3.0, 1.0]])
def test_without_mean_curvature_nothing_is_stable(h: list[float]) -> None:
    """E (1 - eta h)^2 = 1 + eta^2 for h = -1, 1: no step size is small enough. The other direction is
    stable."""
    hessians = np.array([np.diag([1.0, value]) for value in h])
    for kind in ("mean-square", "one-step"):
        assert_unstable(kind, hessians, 0.1, 1)
        with pytest.raises(AssertionError, match=r"no step size is .* without positive curvature"):
            assert_stable(kind, hessians, 0.1, 1)
    growth = brute("mean-square", *steps(hessians, 1, "without_replacement", plain(0.1)))
    with pytest.raises(AssertionError, match=f"factor {growth:.9g} a step"):
        assert_stable("mean-square", hessians, 0.1, 1)


def test_without_mean_curvature_momentum_is_no_help() -> None:
    hessians = np.array([np.diag([1.0, value]) for value in (-3.0, 1.0)])
    assert_unstable("mean-square", hessians, 0.1, 1, momentum=0.5)
    with pytest.raises(AssertionError, match=r"grows by a factor at least 1\.\d+ a step; no step size"):
        assert_stable("mean-square", hessians, 0.1, 1, momentum=0.5)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(testing.hessians(definite=None), st.integers(1, 4), testing.sampling_schemes(independent=True), st.data())
def test_stability_of_one_step_implies_that_of_the_mean_square_and_so_on(
    h: np.ndarray, b: int, sampling: str, data: st.DataObject
) -> None:
    if not h.any():
        return
    eta = data.draw(testing.step_sizes(2 / np.abs(h).max()))
    arguments = (h, eta, min(b, len(h)), sampling)

    def holds(claim: Callable[..., None], kind: str) -> bool:
        try:
            claim(kind, *arguments)
        except AssertionError:
            return False
        return True

    if holds(assert_stable, "one-step"):
        assert not holds(assert_unstable, "mean-square")
    if holds(assert_stable, "mean-square"):
        assert holds(assert_stable, "mean")
    for kind in ("one-step", "mean-square", "mean"):
        assert not (holds(assert_stable, kind) and holds(assert_unstable, kind))


def test_epochs_are_refused_where_one_step_is_not_the_answer() -> None:
    with pytest.raises(InvalidArgument, match="batches of an epoch depend on each other"):
        assert_stable("one-step", TWO, 0.1, 1, "epoch")
    with pytest.raises(InvalidArgument, match="batches of an epoch depend on each other"):
        assert_stable("mean-square", TWO, 0.1, 1, "epoch", ell=2)


@pytest.mark.parametrize("kind", ["mean", "mean-square", "almost sure"])
def test_shuffling_changes_stability(kind: str) -> None:
    """h = 0.2, 1.8: an epoch multiplies by (1 - 0.2 eta)(1 - 1.8 eta), whose edge is 1.3079."""
    h = [[[0.2]], [[1.8]]]
    assert_stable(kind, h, 1.30, 1, "epoch")
    assert_unstable(kind, h, 1.32, 1, "epoch")
    assert_stable(kind, h, 4.5, 1, "epoch")  # stable again: both factors are negative


def test_random_permutations_do_not_decide_next_to_the_edge() -> None:
    a = np.random.default_rng(6).standard_normal((40, 3))
    edges = [sm.theory.epoch_max_step_size(a, 4, seed=seed) for seed in range(8)]
    assert not any(edge.exact for edge in edges)
    between = float(np.median([edge.step_size for edge in edges]))
    assert_stable("mean-square", a, 0.8 * between, 4, "epoch")
    assert_stable("mean", a, between, 4, "epoch")  # whose edge is further away
    assert_unstable("mean-square", a, 1.2 * between, 4, "epoch")
    with pytest.raises(AssertionError, match="too close to tell"):
        assert_stable("mean-square", a, between, 4, "epoch")


def test_directions_stay_directions() -> None:
    """Matrices of 2000 samples in 100 dimensions would be 160 MB, and a thousand times the work."""
    a = np.random.default_rng(7).standard_normal((2000, 100))
    edge = sm.theory.max_step_size(a, 8)
    assert_stable("mean-square", a, 0.999 * edge, 8)
    assert_unstable("mean-square", a, 1.001 * edge, 8)


def test_extreme_sizes_have_a_clear_answer() -> None:
    tiny = [[[1e-200]], [[3e-200]]]
    assert_stable("one-step", tiny, 0.79e200, 1)
    assert_unstable("one-step", tiny, 0.81e200, 1)
    assert_unstable("mean-square", TWO, 1e6, 1, ell=math.inf)
    for kind in ("mean", "mean-square", "almost sure", "one-step"):
        with pytest.raises(InvalidArgument, match="beyond every edge"):
            assert_stable(kind, TWO, 1e200, 1)
    slow = [[[1.0, 0.0], [0.0, 1e-9]]]
    assert_stable("mean-square", slow, 0.25, 1)  # though a growth factor differs from 1 by 5e-10
    with pytest.raises(AssertionError, match="kernel of the mean Hessian"):
        assert_stable("mean", [[[1.0, 1.0], [1.0, 0.0]], [[1.0, -1.0], [-1.0, 0.0]]], 0.5, 1)


def test_arguments_that_do_not_go_together() -> None:
    cases = [
        (("mean-squared", TWO, 0.1, 1), {}, "did you mean 'mean-square'"),
        (("mean", TWO, 0.1, 1), {"x": [1.0]}, 'x belongs to "one-step"'),
        (("one-step", TWO, 0.1, 1), {"momentum": 0.5}, "momentum must be 0 and ell 1"),
        (("mean", TWO, 0.1, 1), {"momentum": 0.5, "ell": 2}, "ell must be 1 with momentum"),
        (("mean", TWO, 0.1, 1), {"nesterov": True}, "nesterov=True needs momentum"),
        (("almost sure", TWO, 0.1, 1), {"ell": 2}, "ell must be 1"),
        (("mean", TWO, 0.1, 3), {}, r"batch_size must be in 1\.\.2"),
        (("mean", TWO, 0.0, 1), {}, "step_size must be finite, > 0"),
        (("mean", [[[1.0, 2.0], [0.0, 1.0]]], 0.1, 1), {}, "must be symmetric"),
        (("one-step", [[[1.0, 0.0], [0.0, 0.0]]], 0.1, 1), {"x": [0.0, 1.0]}, "must have a part that moves"),
    ]
    for arguments, options, message in cases:
        for claim in (assert_stable, assert_unstable):
            with pytest.raises(InvalidArgument, match=message):
                claim(*arguments, **options)  # type: ignore[arg-type]
