"""Where formulas have no value or no derivatives: found, named, refused there, and only there."""

from __future__ import annotations

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.symbolic import FormulaError, SymbolicModel, parse
from sgdmodels.symbolic.smoothness import conditions
from sgdmodels.symbolic.zero import vanishes

RNG = np.random.default_rng(21)
X, Y = RNG.standard_normal((7, 4)), RNG.standard_normal(7)

FOUND = {
    "abs(u)": ["no gradient where u = 0"],
    "u*abs(u)": ["no Hessian where u = 0"],
    "abs(u)**3": [],
    "relu(u)": ["no gradient where u = 0"],
    "relu(u)**2": ["no Hessian where u = 0"],
    "max(0, 1 - u)**2": ["no Hessian where u - 1 = 0"],
    "relu(u) - relu(-u)": [],
    "max(u, v, w)": ["no gradient where u - v = 0", "no gradient where u - w = 0", "no gradient where v - w = 0"],
    "where(abs(u) < 1, u**2/2, abs(u) - 1/2)": ["no Hessian where abs(u) - 1 = 0"],
    "where(abs(u - v) < 1, (u - v)**2/2, abs(u - v) - 1/2)": ["no Hessian where abs(u - v) - 1 = 0"],
    "where(u > 0, u**3, 0)": [],
    "where(u > 0, u, -u)": ["no gradient where u = 0"],
    "where(u > 0, 1, 0)": ["no value, or a jump where u = 0"],
    "where(u < 0, u, where(u < 1, 2*u, 2*u))": ["no gradient where u = 0"],
    "sign(u)*u**3": [],
    "sqrt(u)": ["no value, or a jump where u < 0", "no gradient where u <= 0"],
    "u**2.5": ["no value, or a jump where u < 0"],
    "sqrt(1 + u**2) + log(2 + u**2) + 1/(1 + exp(u))": [],
    "log(u)/v": ["no value, or a jump where v = 0", "no value, or a jump where u <= 0"],
    "abs(log(u))": ["no value, or a jump where u <= 0", "no gradient where log(u) = 0"],
    "log(max(u, 0.1))": ["no gradient where u - 1/10 = 0"],
}


@pytest.mark.parametrize("text", FOUND)
def test_kinks_are_found_and_told_from_smooth_places(text: str) -> None:
    found = [str(c).split(" (in ")[0] for c in conditions(parse(text))]
    assert sorted(found) == sorted(FOUND[text])


@pytest.mark.parametrize("psi", ["abs(u)*x", "u*abs(u)*x", "log(u)*x", "x/u"])
def test_points_without_derivatives_are_refused_and_named(psi: str) -> None:
    model = SymbolicModel.separable(psi, ["u"], X, Y)
    kink = np.array([1.0, 2.0, 0.0, 3.0])
    with pytest.raises(InvalidArgument, match=r"j = 2"):
        model.hessian(kink)
    with pytest.raises(InvalidArgument, match=r"move theta off this point"):
        sm.simulate(model, sm.SGD(0.1, 1), 1, kink)
    with pytest.raises(InvalidArgument, match=r"move theta off this point"):
        sm.measure(model, kink)
    assert np.isfinite(model.hessian(np.ones(4))).all()


def test_a_value_may_exist_where_the_gradient_does_not() -> None:
    root = SymbolicModel("sqrt(a)*b", parameters={"a": (), "b": ()})
    assert root.loss([0.0, 1.0]) == 0.0
    with pytest.raises(InvalidArgument, match="no gradient"):
        root.gradient([0.0, 1.0])
    with pytest.raises(InvalidArgument, match="no value"):
        root.loss([-1.0, 1.0])
    saddle = SymbolicModel("abs(a*b)", parameters={"a": (), "b": ()})
    assert saddle.gradient([0.0, 0.0]).tolist() == [0.0, 0.0]
    with pytest.raises(InvalidArgument, match=r"a\*b = 0"):
        saddle.hessian([0.0, 0.0])


def test_a_kink_that_is_never_crossed_is_none() -> None:
    silent = SymbolicModel.separable("relu(u*x)", ["u"], np.array([[0.0, 1.0]]), np.ones(1))
    assert silent.gradient([1.0, 1.0]).tolist() == [0.0, 0.0]  # x = 0: relu(u x) is constant in u
    with pytest.raises(InvalidArgument, match=r"j = 1"):
        silent.gradient([1.0, 0.0])


def test_only_the_branch_that_holds_is_asked() -> None:
    guarded = SymbolicModel(
        "where(x > 0, log(x), 0)*a + where(a > 0, sqrt(a), 2)", parameters={"a": ()}, data={"x": [0.0, 2.0]}
    )
    assert guarded.gradient([4.0])[0] == pytest.approx(np.log(2) / 2 + 0.25)
    assert guarded.gradient([-4.0])[0] == pytest.approx(np.log(2) / 2)
    assert np.isfinite(guarded.sample_gradients([4.0])).all()


def test_constants_count_as_the_numbers_they_are() -> None:
    power = SymbolicModel("a**D/D", parameters={"a": ()}, constants={"D": 3})
    assert power.not_smooth == ()
    assert power.gradient([-2.0]).tolist() == pytest.approx([4.0])
    assert SymbolicModel("abs(a)**q", parameters={"a": ()}, constants={"q": 3}).hessian([0.0]).tolist() == [[0.0]]


def test_data_that_make_the_formula_undefined_are_refused_by_sample() -> None:
    with pytest.raises(FormulaError, match=r"1/x\[j\] has no value for the data: x\[j\] = 0 \(j = 1, sample 2\)"):
        SymbolicModel.separable("u/x", ["u"], np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 0.0]]), np.ones(3))
    root = SymbolicModel.separable("u*sqrt(x)", ["u"], np.array([[0.0, 4.0]]), np.ones(1))  # sqrt(0) is a number
    assert root.gradient([1.0, 1.0]).tolist() == [0.0, 2.0]


def test_a_step_onto_a_pole_is_data_not_an_error() -> None:
    """Descent on -1/u**2 from u = 1 with step 1/2 lands on 0 exactly, where the kernel divides by zero."""
    falling = SymbolicModel("-1/u**2", parameters={"u": ()})
    run = sm.simulate(falling, sm.GD(0.5), 128, [1.0], metrics=("loss",), record_every=64)
    assert run.diverged_at.notnull().all()


def test_zero_is_recognised_by_values() -> None:
    assert vanishes(parse("sin(u)**2 + cos(u)**2 - 1"))
    assert vanishes(parse("(u + v)**30 - (v + u)**30"))
    assert not vanishes(parse("u - v"))
    assert not vanishes(parse("1e-12*u"))
