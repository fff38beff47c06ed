"""Stability theory under hypothesis: edges against brute force, order, invariances, and never a NaN, on nasty data."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels import testing
from sgdmodels.theory.pencil import NoPositiveCurvature

from .enumeration import all_batches, batch_sums

SCHEMES = testing.sampling_schemes(independent=True)
MOMENTUM = st.sampled_from((0.0, 0.5, 0.9, 0.1, 0.99))
OPTIMISERS = st.one_of(
    st.fixed_dictionaries({"momentum": MOMENTUM}),
    st.fixed_dictionaries({"momentum": st.sampled_from((0.5, 0.9, 0.1)), "nesterov": st.just(True)}),
)


@st.composite
def problems(draw: st.DrawFn, definite: bool | None = True) -> tuple[np.ndarray, int, str]:
    """Hessians whose curvatures are clearly zero or clearly not, with a batch size and a scheme."""
    h = draw(testing.hessians(definite=definite))
    values = np.linalg.eigvalsh(h.mean(axis=0))
    assume(values[-1] > 1e-6 * abs(h).max() > 0)
    assume(not any(1e-14 < abs(value) / values[-1] < 1e-5 for value in values))
    return h, draw(testing.batch_sizes(len(h))), draw(SCHEMES)


def kept(h: np.ndarray) -> np.ndarray:
    """The Hessians in directions of positive mean curvature."""
    values, vectors = np.linalg.eigh(h.mean(axis=0))
    positive = vectors[:, values > 1e-9 * values[-1]]
    return positive.T @ h @ positive


def radius(h: np.ndarray, b: int, sampling: str, eta: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """Spectral radius of E[M kron M] over all batches."""
    eye = np.eye(h.shape[1])
    batches = all_batches(len(h), b, sampling)
    total: Any = 0.0
    for hb, (_, p) in zip(batch_sums(h, b, batches), batches, strict=True):
        ahead, carried = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
        step = np.block([[eye - eta * ahead * hb, -eta * carried * eye], [hb, momentum * eye]])
        total = total + p * np.kron(step, step)
    return float(abs(np.linalg.eigvals(total)).max())


@given(problems(definite=None), OPTIMISERS)
def test_edges_are_where_brute_force_says(problem: tuple[np.ndarray, int, str], optimiser: dict[str, Any]) -> None:
    h, b, sampling = problem
    edge = sm.theory.mean_square_edge(h, b, sampling, **optimiser)
    assert edge.lower <= edge.step_size <= edge.upper
    assert edge.lower > edge.step_size * (1 - 1e-3)
    assert np.linalg.eigvalsh(edge.mode)[0] > -1e-9
    below, above = (radius(kept(h), b, sampling, f * edge.step_size, **optimiser) for f in (0.999, 1.001))
    assert below < 1 < above
    for f, expected in ((0.999, below), (1.001, above)):
        found = sm.theory.second_moment_radius(h, f * edge.step_size, b, sampling, **optimiser)
        assert math.isclose(found, expected, rel_tol=1e-6)


@given(testing.datasets(), st.data())
def test_any_data_have_an_edge_with_a_bracket_or_a_clear_error(data: tuple[Any, Any], draw: st.DataObject) -> None:
    """Directions and matrices agree, and every criterion keeps its side of the exact one."""
    a = data[0]
    b, sampling = draw.draw(testing.batch_sizes(len(a))), draw.draw(SCHEMES)
    options = draw.draw(st.one_of(OPTIMISERS, st.fixed_dictionaries({"ell": st.sampled_from((1, 2, 5, math.inf))})))
    try:
        edge = sm.theory.mean_square_edge(a, b, sampling, **options)
    except NoPositiveCurvature:
        assert not a.any() or abs(a).max() ** 2 == 0
        return
    assert 0 < edge.lower <= edge.step_size <= edge.upper
    assert edge.lower >= edge.step_size * (1 - 1e-3)
    same = sm.theory.max_step_size(a[:, :, None] * a[:, None, :], b, sampling, **options)
    assert same == edge.step_size or math.isclose(same, edge.step_size, rel_tol=1e-7)
    zoo = sm.theory.criteria(a, b, sampling)
    exact = zoo["mean_square_sharpness"]
    assert all(math.isfinite(value) for name, value in zoo.items() if not name.startswith("batch_sharpness"))
    for name in ("lambda_max", "top_mode_bound", "trace_bound", "alignment_bound"):
        assert zoo[name] <= exact * (1 + 1e-7), name
    for name in ("monotone_bound", "worst_batch", "worst_sample_bound"):
        assert zoo[name] >= exact * (1 - 1e-7), name


@given(problems(), OPTIMISERS, st.integers(-30, 30))
def test_edges_do_not_depend_on_coordinates_units_or_copies(
    problem: tuple[np.ndarray, int, str], optimiser: dict[str, Any], power: int
) -> None:
    h, b, sampling = problem
    edge = sm.theory.max_step_size(h, b, sampling, **optimiser)
    turn = np.linalg.qr(np.cos(np.arange(h.shape[1] ** 2)).reshape(h.shape[1:]) + np.eye(h.shape[1]))[0]
    turned = turn @ h @ turn.T
    same = (turned + turned.transpose(0, 2, 1)) / 2
    assert math.isclose(sm.theory.max_step_size(same, b, sampling, **optimiser), edge, rel_tol=1e-8)
    scaled = sm.theory.max_step_size(10.0**power * h, b, sampling, **optimiser)
    assert math.isclose(scaled * 10.0**power, edge, rel_tol=1e-8)
    single = sm.theory.max_step_size(h, b, "with_replacement", **optimiser)
    copies = sm.theory.max_step_size(np.tile(h, (3, 1, 1)), b, "with_replacement", **optimiser)
    assert math.isclose(copies, single, rel_tol=1e-8)


@given(testing.points(sampling=SCHEMES))
def test_any_loss_at_any_point_has_an_edge_or_a_clear_error(point: testing.Point) -> None:
    try:
        edge = sm.theory.edge(point.model, point.theta, point.batch_size, point.sampling)
    except NoPositiveCurvature:
        assert point.lambda_max <= 1e-12 * abs(point.hessians).max()
        return
    assert isinstance(edge, sm.theory.FrozenEdge)
    assert 0 < edge.lower <= edge.max_step_size <= edge.upper
    assert edge.lambda_max <= 2 / edge.max_step_size * (1 + 1e-6)
    for factor in (0.5, 2.0):
        step = factor * edge.max_step_size
        found = sm.theory.edge(point.model, point.theta, point.batch_size, point.sampling, step_size=step)
        assert isinstance(found, sm.theory.FrozenEdge)
        assert found.oscillation_type == (1 if factor < 1 else 2)


@given(problems(), st.floats(0.05, 0.95))
def test_the_stationary_moment_is_a_fixed_point_and_positive(
    problem: tuple[np.ndarray, int, str], share: float
) -> None:
    h, b, sampling = problem
    assume(np.linalg.eigvalsh(h.mean(axis=0))[0] > 0.01)
    centers = np.sin(np.arange(h.shape[0] * h.shape[1], dtype=float)).reshape(h.shape[:2])
    system, noise = sm.theory.second_moment_system(h, centers), sm.sampling.noise_coefficients(len(h), b, sampling)
    eta = share * sm.theory.max_step_size(h, b, sampling)
    additive = 0.1 * np.eye(h.shape[1])
    for extra in (None, additive):
        law = sm.theory.stationary_moment(system, eta, noise, additive=extra)
        after = sm.theory.second_moment_map(system, eta, noise, additive=extra)(law)
        np.testing.assert_allclose(after, law, rtol=1e-8, atol=1e-9 * abs(law).max())
        assert np.linalg.eigvalsh(law)[0] > -1e-9 * abs(law).max()


CURVATURES = st.lists(st.integers(0, 12).map(lambda k: k / 4), min_size=1, max_size=4).filter(any)


@given(CURVATURES, st.data())
def test_edges_of_moments_are_ordered_in_one_dimension(curvatures: list[float], draw: st.DataObject) -> None:
    """p = 0 (almost every path), 1, 2 (mean square), 4, inf: non-increasing; p = 2 is the mean-square edge."""
    h, b, sampling = np.array(curvatures), draw.draw(testing.batch_sizes(len(curvatures))), draw.draw(SCHEMES)
    edges = [sm.theory.moment_max_step_size(h, b, p, sampling) for p in (0, 1, 2, 4, math.inf)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(edges))
    assert math.isclose(edges[2], sm.theory.max_step_size(h[:, None, None], b, sampling), rel_tol=1e-9)
    p, law = zip(*[(p, h[list(batch)].sum() / b) for batch, p in all_batches(len(h), b, sampling)], strict=True)
    assert math.isclose(np.dot(p, abs(1 - edges[1] * np.array(law))), 1, rel_tol=1e-9)
    assert math.isclose(np.dot(p, (1 - edges[3] * np.array(law)) ** 4), 1, rel_tol=1e-8)


@given(CURVATURES, st.data(), st.sampled_from((0.0, 0.5)))
def test_epochs_are_products_over_all_orders(curvatures: list[float], draw: st.DataObject, momentum: float) -> None:
    """The radius at three step sizes by itertools.permutations."""
    h, b = np.array(curvatures), draw.draw(testing.batch_sizes(len(curvatures)))
    assume(h.mean() > 0)
    edge = sm.theory.epoch_max_step_size(h[:, None, None], b, momentum=momentum).step_size
    for eta in (0.5 * edge, 0.999 * edge, 1.001 * edge):
        total: Any = 0.0
        orders = list(itertools.permutations(h))
        for order in orders:
            product = np.eye(2)
            for k in range(0, len(h) - b + 1, b):
                g = float(np.mean(order[k : k + b]))
                product = np.array([[1 - eta * g, -eta * momentum], [g, momentum]]) @ product
            total = total + np.kron(product, product) / len(orders)
        expected = abs(np.linalg.eigvals(total)).max() ** (1 / (len(h) // b))
        found = sm.theory.epoch_radius(h[:, None, None], eta, b, momentum=momentum)
        assert math.isclose(found, expected, rel_tol=1e-7, abs_tol=1e-9)
        assert (found < 1) == (eta < edge)
