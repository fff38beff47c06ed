"""Strategies give what they say, reach every kind, and shrink to the simplest example."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import sgdmodels as sm
from sgdmodels import testing
from sgdmodels.errors import InvalidArgument
from sgdmodels.testing.data import KINDS
from sgdmodels.testing.entries import places
from sgdmodels.testing.locations import PLACES

LOSSES = [
    value
    for value in (getattr(sm.models, name) for name in sm.models.__all__)
    if inspect.isclass(value) and issubclass(value, sm.models.Model) and not inspect.isabstract(value)
]
DYNAMICS = {c for c in vars(sm).values() if isinstance(c, type) and issubclass(c, sm.dynamics.Dynamics)}
few = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def simplest(strategy: st.SearchStrategy[Any], condition: Callable[[Any], object]) -> Any:
    """What hypothesis shrinks to, the same in every run."""
    options = settings(max_examples=3000, deadline=None, database=None)
    return find(strategy, lambda value: bool(condition(value)), settings=options, random=Random(0))


def occurring(strategy: st.SearchStrategy[Any], condition: Callable[[Any], object]) -> Any:
    """An example of the condition, as it comes."""
    options = settings(max_examples=3000, deadline=None, database=None, phases=[Phase.generate])
    return find(strategy, lambda value: bool(condition(value)), settings=options, random=Random(0))


def tail(inputs: np.ndarray) -> float:
    return float(np.abs(inputs).max())


# what every kind of data set is, and an example of it that is no other kind's by chance
DEFINING: dict[str, Callable[[np.ndarray], bool]] = {
    "simple": lambda x: tail(x) <= 10,
    "gaussian": lambda x: tail(x) < 2.1,  # quantile 40.5 / 42
    "heavy_tailed": lambda x: tail(x) < 13.4,  # Cauchy
    "collinear": lambda x: np.linalg.matrix_rank(x) <= 1,
    "rank_deficient": lambda x: np.linalg.matrix_rank(x) < x.shape[1],
    "duplicated_rows": lambda x: len(x) == 1 or len({tuple(row) for row in x}) < len(x),
    "equal_norms": lambda x: np.allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14),
    "extreme_scales": lambda x: tail(x) <= 1e9,
}
REACHED: dict[str, Callable[[np.ndarray], bool]] = {
    "simple": lambda x: (x == 3).any() and (x == -0.5).any(),
    "gaussian": lambda x: x.std() > 0 and not (x == np.round(x)).all(),
    "heavy_tailed": lambda x: tail(x) > 12,
    "collinear": lambda x: x.shape[1] > 2 and len(x) > 2 and x.all() and np.linalg.matrix_rank(x) == 1,
    "rank_deficient": lambda x: x.all() and np.linalg.matrix_rank(x) == x.shape[1] - 1 >= 2,
    "duplicated_rows": lambda x: len(x) > 3 and len({tuple(row) for row in x}) == 2,
    "equal_norms": lambda x: np.linalg.matrix_rank(x) > 2,
    "extreme_scales": lambda x: (x != 0).sum() > 1 and tail(x) > 1e10 * np.abs(x[x != 0]).min(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data_are_what_they_say_and_occur(kind: str) -> None:
    @few
    @given(testing.datasets(kinds=kind))
    def check(data: tuple[np.ndarray, np.ndarray]) -> None:
        inputs, targets = data
        assert inputs.ndim == 2
        assert targets.shape == inputs.shape[:1]
        assert inputs.flags.c_contiguous
        assert DEFINING[kind](inputs)

    check()
    for strategy in (testing.datasets(kinds=kind), testing.datasets()):  # alone, and among all
        inputs, _ = occurring(strategy, lambda data: REACHED[kind](data[0]) and DEFINING[kind](data[0]))
        assert np.isfinite(inputs).all()


def residual(inputs: np.ndarray, targets: np.ndarray) -> float:
    """Of the best fit, relative to the targets."""
    w = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    return float(np.abs(inputs @ w - targets).max() / max(1.0, np.abs(targets).max()))


@few
@given(testing.datasets(kinds=tuple(k for k in KINDS if k != "extreme_scales"), interpolating=True))
def test_interpolating_data_are_fitted(data: tuple[np.ndarray, np.ndarray]) -> None:
    assert residual(*data) < 1e-9


@few
@given(testing.datasets(interpolating=False))
def test_data_that_do_not_interpolate_are_fitted_by_nothing(data: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, targets = data
    twins = [targets[i] != targets[j] for i in range(len(inputs)) for j in range(i) if (inputs[i] == inputs[j]).all()]
    zeros = targets[~inputs.any(axis=1)]
    assert any(twins) or zeros.any() or residual(inputs, targets) > 1e-9


def test_sizes_are_those_asked_for() -> None:
    @few
    @given(testing.datasets(samples=st.integers(8, 9), features=7))
    def check(data: tuple[np.ndarray, np.ndarray]) -> None:
        assert data[0].shape in ((8, 7), (9, 7))

    check()
    with pytest.raises(InvalidArgument, match="kinds must be one or more of 'simple'"):
        occurring(testing.datasets(kinds="normal"), lambda data: True)


@few
@given(testing.hessians(), testing.hessians(rank=1), testing.hessians(definite=None, commuting=True))
def test_hessians_are_symmetric_and_as_asked(h: np.ndarray, thin: np.ndarray, commuting: np.ndarray) -> None:
    for matrices in (h, thin, commuting):
        np.testing.assert_array_equal(matrices, matrices.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(h).min() >= -1e-12 * np.abs(h).max()
    assert all(np.linalg.matrix_rank(matrix, tol=1e-9 * np.abs(thin).max()) <= 1 for matrix in thin)
    scale = np.abs(commuting).max() ** 2
    for a in commuting:
        np.testing.assert_allclose(a @ commuting, commuting @ a, rtol=0, atol=1e-12 * scale)


def test_quadratics_share_a_centre_if_they_interpolate() -> None:
    @few
    @given(testing.quadratics(interpolating=True))
    def check(model: sm.models.Quadratics) -> None:
        assert (model.centers == model.centers[0]).all()

    check()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_public_loss_turns_up(loss: type[sm.models.Model]) -> None:
    assert type(occurring(testing.models(), lambda model: type(model) is loss)) is loss
    assert type(occurring(testing.models([loss], samples=3), lambda model: model.samples == 3)) is loss


@few
@given(st.data(), testing.models())
def test_parameters_are_finite_vectors_wherever_they_are(data: st.DataObject, model: sm.models.Model) -> None:
    for place in PLACES:
        theta = data.draw(testing.parameters(model, place))
        assert theta.shape == (model.dim,)
        assert np.isfinite(theta).all()
        if place == "far":
            assert np.abs(theta).max() >= 100
        if place == "zero":
            assert not theta.any()


def closest(model: sm.models.Model, place: str) -> np.ndarray:
    """Of the examples drawn, the one with the smallest gradient."""
    seen: list[np.ndarray] = []

    @few
    @given(testing.parameters(model, place))
    def collect(theta: np.ndarray) -> None:
        seen.append(theta)

    collect()
    return min(seen, key=lambda theta: float(np.linalg.norm(model.sample_gradients(theta).mean(axis=0))))


X, Y = np.array([[1.0, 0.5], [0.0, 2.0], [1.0, -1.0]]), np.array([1.0, -1.0, 0.5])
WITH_MINIMA = {
    "least squares": sm.models.LeastSquares(X, Y),
    "quadratics": sm.models.Quadratics([[[2.0, 1.0], [1.0, 2.0]], [[1.0, 0.0], [0.0, 0.0]]], [[1.0, 0.0], [0.0, 1.0]]),
    "product": sm.models.DiagonalNetwork(X, Y, depth=3),
    "difference": sm.models.DiagonalNetwork(X, Y, form="difference"),
    "linear network": sm.models.LinearNetwork(X, Y),
    "gated": sm.models.GatedQuadratic(X, Y, stiffness=2.0, target=3.0),
    "scalar": sm.models.ScalarProduct(X[:, 0].copy(), Y),
}


@pytest.mark.parametrize("name", WITH_MINIMA)
def test_minima_are_minima(name: str) -> None:
    model = WITH_MINIMA[name]
    theta = closest(model, "minimum")
    hessian = model.sample_hessians(theta).mean(axis=0)
    assert np.linalg.norm(model.sample_gradients(theta).mean(axis=0)) < 1e-9
    assert np.linalg.eigvalsh(hessian)[0] > -1e-9


SADDLES = {
    "indefinite": sm.models.Quadratics([[[1.0, 0.0], [0.0, -1.0]]], [[1.0, 2.0]]),
    "product": sm.models.DiagonalNetwork(X, Y),
    "linear network": sm.models.LinearNetwork(X, Y),
}


@pytest.mark.parametrize("name", SADDLES)
def test_saddles_are_saddles(name: str) -> None:
    theta = closest(SADDLES[name], "saddle")
    values = np.linalg.eigvalsh(SADDLES[name].sample_hessians(theta).mean(axis=0))
    assert np.linalg.norm(SADDLES[name].sample_gradients(theta).mean(axis=0)) < 1e-9
    assert values[0] < -0.1
    assert values[-1] > 0.1


@few
@given(testing.batch_sizes(5), testing.batch_sizes(WITH_MINIMA["product"]), testing.step_sizes(2.0, 0.1, 1.5))
def test_sizes_and_steps_are_in_range(five: int, three: int, step_size: float) -> None:
    assert 1 <= five <= 5
    assert 1 <= three <= 3
    assert 0.2 * (1 - 1e-12) <= step_size <= 3.0 * (1 + 1e-12)


def test_steps_come_close_to_the_edge_from_both_sides() -> None:
    for target in (0.999, 1.001, 1.0):
        assert occurring(testing.step_sizes(2.0), lambda h: h == target * 2.0) == target * 2.0  # noqa: B023
    with pytest.raises(InvalidArgument, match="edge must be finite"):
        testing.step_sizes(np.inf)


def test_other_steps_are_short_decimals_of_the_edge() -> None:
    @few
    @given(testing.step_sizes(1.0))
    def check(ratio: float) -> None:
        assert len(f"{ratio:g}".replace(".", "").strip("0")) <= 2 or ratio in (0.99, 1.01, 0.999, 1.001)
        assert float(f"{ratio:.4g}") == ratio

    check()
    assert simplest(testing.step_sizes(1.0, 1.23, 1.234), lambda h: True) == 1.23  # no short decimal is there
    assert simplest(testing.step_sizes(1.0), lambda h: h > 2) == 3.0


def test_sampling_schemes() -> None:
    schemes = {s: occurring(testing.sampling_schemes(), lambda drawn: drawn == s) for s in sm.sampling.SCHEMES}  # noqa: B023
    assert set(schemes.values()) == set(sm.sampling.SCHEMES)

    @few
    @given(testing.sampling_schemes(independent=True))
    def check(scheme: str) -> None:
        assert scheme != "epoch"

    check()


@pytest.mark.parametrize("kind", sorted(DYNAMICS, key=str))
def test_every_public_dynamics_turns_up(kind: type[sm.dynamics.Dynamics]) -> None:
    model = WITH_MINIMA["product"]
    assert type(occurring(testing.dynamics(model), lambda dynamics: type(dynamics) is kind)) is kind


def test_dynamics_fit_the_loss() -> None:
    model = WITH_MINIMA["gated"]

    @few
    @given(testing.dynamics(model, step_size=0.125, batch_size=2))
    def check(dynamics: Any) -> None:
        dynamics.check_model(model)  # which HomogenizedSGD does not pass here
        plan = dynamics.plan(model.samples)
        assert plan.step_sizes.tolist() == [0.125]
        assert not hasattr(dynamics, "batch_size") or dynamics.batch_size == 2

    check()


def test_points_take_what_they_are_given() -> None:
    model = WITH_MINIMA["least squares"]

    def about_edge(point: testing.Point) -> st.SearchStrategy[float]:
        return testing.step_sizes(2 / point.mean_square_sharpness)

    @few
    @given(testing.points(st.just(model), "minimum", st.just(2), st.just("bernoulli"), about_edge))
    def check(point: testing.Point) -> None:
        assert (point.model, point.batch_size, point.sampling) == (model, 2, "bernoulli")
        assert point.step_size is not None
        assert 0.0099 <= point.step_size * point.mean_square_sharpness / 2 <= 3.01

    check()
    point = occurring(testing.points(), lambda point: point.model.samples > 1)
    assert point.step_size is None


# shrinking


def test_the_simplest_data_with_curvature_is_one_one() -> None:
    model = simplest(testing.least_squares(), lambda model: model.sample_hessians(np.zeros(model.dim)).any())
    assert np.abs(model.inputs).tolist() == [[1.0]]
    assert model.targets.tolist() == [0.0]


@pytest.mark.slow
def test_the_simplest_two_different_gradients_of_three() -> None:
    def condition(model: sm.models.LeastSquares) -> bool:
        gradients = model.sample_gradients(np.zeros(model.dim))
        return len(gradients) >= 3 and len({tuple(g) for g in gradients}) > 1

    model = simplest(testing.least_squares(), condition)
    assert model.inputs.shape == (3, 1)
    assert set(np.abs(model.inputs).ravel()) | set(np.abs(model.targets)) == {0.0, 1.0}
    assert np.count_nonzero(model.inputs) == np.count_nonzero(model.targets) == 1


@pytest.mark.slow
def test_the_simplest_point_where_batch_sharpness_exceeds_lambda_max() -> None:
    """Three samples, one of them alive: b = 2 has E g'Hg / E|g|^2 = 1/2 where lambda_max = 1/3."""
    point = simplest(
        testing.points(testing.least_squares()),
        lambda point: point.model.samples > 2 and point.batch_size == 2 and point.batch_sharpness > point.lambda_max,
    )
    assert point.model.samples == 3
    assert point.model.dim == 1
    assert point.sampling == "without_replacement"
    assert set(np.abs(point.model.inputs).ravel()) | set(np.abs(point.theta)) <= {0.0, 1.0}


@pytest.mark.parametrize("row", range(4))
def test_any_sample_or_feature_can_be_the_one_that_stays(row: int) -> None:
    """Shrinking drops all others one by one, the last ones of the box included."""
    assert simplest(places("samples", None, 4), lambda rows: row in rows) == [row]
    assert occurring(places("samples", None, 4), lambda rows: rows == [0, 2]) == [0, 2]


def test_a_class_of_losses_is_as_good_as_a_list() -> None:
    assert isinstance(simplest(testing.models(sm.models.ScalarProduct), lambda _: True), sm.models.ScalarProduct)
    with pytest.raises(InvalidArgument, match="losses must be classes among LeastSquares"):
        testing.models(int)  # type: ignore[arg-type]


def test_the_simplest_indefinite_hessian() -> None:
    h = simplest(testing.hessians(definite=False), lambda h: np.linalg.eigvalsh(h).min() < -0.1)
    assert h.tolist() == [[[-1.0]]]


@pytest.mark.parametrize(
    "strategy", [testing.models(), testing.points(), testing.dynamics(4)], ids=["models", "points", "dynamics"]
)
def test_everything_shrinks_to_small(strategy: st.SearchStrategy[Any]) -> None:
    smallest = simplest(strategy, lambda value: True)
    model = getattr(smallest, "model", smallest)
    if isinstance(model, sm.models.Model):
        assert (model.samples, model.dim) == (1, 1)
        assert not any(array.any() for array in model.data)
    else:
        assert smallest == sm.SGD(0.5, 1)


# the extra


def test_hypothesis_is_an_extra() -> None:
    code = (
        "import sys, sgdmodels; assert 'hypothesis' not in sys.modules; sys.modules['hypothesis'] = None\n"
        "try:\n    import sgdmodels.testing\nexcept ImportError as problem:\n    print(problem)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "pip install 'sgdmodels[test]'" in done.stdout
