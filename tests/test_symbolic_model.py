"""A user's formula becomes the loss it says: against built-in losses, torch and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.symbolic import SymbolicModel

RNG = np.random.default_rng(20)
X, Y = RNG.standard_normal((7, 4)), RNG.standard_normal(7)
SYMMETRIC = (lambda a: a + a.transpose(0, 2, 1))(RNG.standard_normal((7, 4, 4)))
LINEAR = {"data": {"x": X, "y": Y}}
TWO: dict[str, tuple[()]] = {"a": (), "b": ()}

# A built-in loss, and the same as a user would write it.
TWINS: dict[str, tuple[Callable[[], sm.models.Model], Callable[[], SymbolicModel]]] = {
    "u*v": (
        lambda: sm.models.DiagonalNetwork(X, Y),
        lambda: SymbolicModel.separable("u*v*x", ("u", "v"), X, Y),
    ),
    "depth 3": (
        lambda: sm.models.DiagonalNetwork(X, Y, depth=3),
        lambda: SymbolicModel.separable("a*b*c*x", "abc", X, Y),
    ),
    "difference of cubes": (
        lambda: sm.models.DiagonalNetwork(X, Y, depth=3, form="difference"),
        lambda: SymbolicModel.separable("(u**3 - v**3)*x", ("u", "v"), X, Y),
    ),
    "linear network": (
        lambda: sm.models.LinearNetwork(X, Y),
        lambda: SymbolicModel(predictor="a*sum(v[j]*x[j], j)", parameters={"v": 4, "a": ()}, **LINEAR),
    ),
    "sharpening least squares": (
        lambda: sm.models.SharpeningLeastSquares(X, Y, 0.3),
        lambda: SymbolicModel(
            "(p - y)**2/2 - alpha*v", predictor="sum(v*u[j]*x[j], j)",
            parameters={"u": 4, "v": ()}, constants={"alpha": 0.3}, **LINEAR,
        ),
    ),
    "gated quadratic": (
        lambda: sm.models.GatedQuadratic(X, Y, 0.2, 3.0),
        lambda: SymbolicModel(
            "s*(sum(a[j]*x[j], j) - e)**2/2 + kappa*(s - top)**2/2",
            parameters={"x": 4, "s": ()}, data={"a": X, "e": Y}, constants={"kappa": 0.2, "top": 3.0},
        ),
    ),
    "quadratics": (
        lambda: sm.models.Quadratics(SYMMETRIC, X),
        lambda: SymbolicModel(
            "sum((t[j] - c[j])*H[j, k]*(t[k] - c[k]), j, k)/2", parameters={"t": 4}, data={"H": SYMMETRIC, "c": X}
        ),
    ),
    "scalar product": (
        lambda: sm.models.ScalarProduct(Y, Y**2),
        lambda: SymbolicModel("(a*b*x - y)**2/2", parameters={"a": (), "b": ()}, data={"x": Y, "y": Y**2}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_a_formula_equals_the_built_in_loss(name: str) -> None:
    built_in, formula = (make() for make in TWINS[name])
    theta, vector = RNG.standard_normal((2, built_in.dim))
    for ask in ("sample_losses", "sample_gradients", "sample_hessians", "loss", "gradient", "hessian"):
        expected = getattr(built_in, ask)(theta)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(getattr(formula, ask)(theta), expected, rtol=0, atol=1e-12 * scale, err_msg=ask)
    np.testing.assert_allclose(formula.hvp(theta, vector), built_in.hvp(theta, vector), rtol=1e-12, atol=1e-12)


def test_a_run_of_a_formula_is_a_run_of_the_built_in_loss() -> None:
    """Same batches, the same arithmetic up to rounding: 500 steps and every snapshot's metrics agree to 1e-12."""
    built_in, formula = (make() for make in TWINS["u*v"])
    options = {"replicas": 2, "record_every": 100, "keep_params": True, "batch_size": [1, 3]}
    for b in (1, 3):
        one, other = (sm.simulate(m, sm.SGD(0.02, b), 500, np.full(8, 0.5), **options) for m in (built_in, formula))
        for variable in ("params", "loss", "batch_sharpness", "lambda_max"):
            np.testing.assert_allclose(other[variable].values, one[variable].values, rtol=1e-12, atol=1e-12)


# Formulas with no built-in counterpart, and their losses in torch.
OTHERS: dict[str, tuple[Callable[[], SymbolicModel], Callable[[torch.Tensor], torch.Tensor]]] = {
    "three layers": (
        lambda: SymbolicModel(
            predictor="sum(c[l]*tanh(sum(a[l, k]*sigmoid(sum(w[k, j]*x[j], j)), k)), l)",
            parameters={"c": 2, "a": (2, 3), "w": (3, 4)}, **LINEAR,
        ),
        lambda t: 0.5 * (
            torch.tanh(torch.sigmoid(_x() @ t[8:].reshape(3, 4).T) @ t[2:8].reshape(2, 3).T) @ t[:2] - _y()
        ) ** 2,
    ),
    "several weights, not linear in the data, another loss": (
        lambda: SymbolicModel.separable("u*tanh(v*x) + s**3", ("u", "v", "s"), X, Y, loss="log(cosh(p - y))"),
        lambda t: torch.log(torch.cosh((t[:4] * torch.tanh(t[4:8] * _x()) + t[8:] ** 3).sum(1) - _y())),
    ),
    "relu, away from its kinks": (
        lambda: SymbolicModel(
            predictor="sum(a[k]*relu(sum(w[k, j]*x[j], j)), k)", parameters={"a": 3, "w": (3, 4)}, **LINEAR
        ),
        lambda t: 0.5 * (torch.relu(_x() @ t[3:].reshape(3, 4).T) @ t[:3] - _y()) ** 2,
    ),
    "entries by number, a normalised weight": (
        lambda: SymbolicModel(
            predictor="u[0]*sum(u[j]*x[j], j)/sqrt(1 + sum(u[k]**2, k)) + u[1]**2*x[2]", parameters={"u": 4}, **LINEAR
        ),
        lambda t: 0.5 * (t[0] * (_x() @ t) / torch.sqrt(1 + t @ t) + t[1] ** 2 * _x()[:, 2] - _y()) ** 2,
    ),
    "a sum of a product of sums": (
        lambda: SymbolicModel("sum(w[k, j]*w[k, l]*x[j]*x[l], j, k, l)**2/4", parameters={"w": (2, 4)}, data={"x": X}),
        lambda t: ((_x() @ t.reshape(2, 4).T) ** 2).sum(1) ** 2 / 4,
    ),
    "no data": (
        lambda: SymbolicModel("(a*b - 1)**2/2 + where(a > 0, a**3, 0)", parameters={"a": (), "b": ()}),
        lambda t: (0.5 * (t[0] * t[1] - 1) ** 2 + torch.relu(t[0]) ** 3)[None],
    ),
    "a target called t, as code calls its own values": (
        lambda: SymbolicModel(
            "log(1 + exp(-p*t))", predictor="sum(u[j]*v[j]*x[j], j)", parameters={"u": 4, "v": 4}, data={"x": X, "t": Y}
        ),
        lambda t: torch.nn.functional.softplus(-_y() * (_x() @ (t[:4] * t[4:]))),
    ),
    "names that differ by an underscore, an index called t": (
        lambda: SymbolicModel(
            "(scale - 1)**2 + scale_**4 + sum(u[t]*tanh(sum(w[t, i_]*x[i_], i_)), t)**2",
            parameters={"scale": (), "scale_": (), "u": 2, "w": (2, 4)}, data={"x": X},
        ),
        lambda t: (t[0] - 1) ** 2 + t[1] ** 4 + (torch.tanh(_x() @ t[4:].reshape(2, 4).T) @ t[2:4]) ** 2,
    ),
    "abs of functions that need not be real": (
        lambda: SymbolicModel("abs(log(a)*y) + sign(sqrt(b))*b + abs(a**b)", parameters=TWO, data={"y": Y}),
        lambda t: torch.abs(torch.log(t[0]) * _y()) + t[1] + t[0] ** t[1],
    ),
    "a network of hard tanh, a long product": (
        lambda: SymbolicModel(
            predictor="sum(a[k]*min(max(sum(w[k, j]*x[j], j), -1), 1), k) + c*d*e*f*g*h*q*r",
            parameters={"a": 2, "w": (2, 4), **dict.fromkeys("cdefghqr", ())}, **LINEAR,
        ),
        lambda t: 0.5 * (torch.clamp(_x() @ t[2:10].reshape(2, 4).T, -1, 1) @ t[:2] + t[10:].prod() - _y()) ** 2,
    ),
    "log cosh and a logistic function, written out": (
        lambda: SymbolicModel(
            "log(cosh(a*y)) + exp(b)/(1 + exp(b)) + (1 + exp(a))**-2", parameters=TWO, data={"y": Y}
        ),
        lambda t: torch.log(torch.cosh(t[0] * _y())) + torch.sigmoid(t[1]) + torch.sigmoid(-t[0]) ** 2,
    ),
    "names of the generated code": (
        lambda: SymbolicModel(
            predictor="work*sum(out[i]*parts[i]**2, i)", parameters={"out": 4, "work": (), "sum_1": ()},
            data={"parts": X, "y": Y}, loss="(p - y)**2/2 + scale*sum_1**2", constants={"scale": 0.5},
        ),
        lambda t: 0.5 * (t[4] * (_x() ** 2 @ t[:4]) - _y()) ** 2 + 0.5 * t[5] ** 2,
    ),
}  # fmt: skip


def _x() -> torch.Tensor:
    return torch.from_numpy(X)


def _y() -> torch.Tensor:
    return torch.from_numpy(Y)


@pytest.mark.parametrize("name", OTHERS)
def test_kernels_and_formulas_equal_automatic_differentiation(name: str) -> None:
    make, losses = OTHERS[name]
    model = make()
    theta, vector = np.random.default_rng(3).standard_normal((2, model.dim))
    if name.startswith("abs of"):
        theta = np.abs(theta) + 0.1
    t = torch.from_numpy(theta)
    gradients = torch.func.jacrev(losses)(t).numpy()
    hessians = torch.func.jacfwd(torch.func.jacrev(losses))(t).numpy()
    close = {"rtol": 0, "atol": 1e-12 * max(1.0, np.abs(hessians).max())}
    np.testing.assert_allclose(model.sample_losses(theta), losses(t).numpy(), **close)
    np.testing.assert_allclose(model.sample_gradients(theta), gradients, **close)
    np.testing.assert_allclose(model.sample_hessians(theta), hessians, **close)
    assert model.loss(theta) == pytest.approx(losses(t).numpy().mean(), rel=1e-13)
    np.testing.assert_allclose(model.gradient(theta), gradients.mean(0), **close)
    np.testing.assert_allclose(model.hvp(theta, vector), hessians.mean(0) @ vector, **close)
    index = np.arange(model.samples)[::-2].copy()
    weight = np.linspace(-1, 1, len(index))
    np.testing.assert_allclose(model.weighted_gradient(theta, index, weight), weight @ gradients[index], **close)


def test_sympy_and_text_give_the_same_kernels() -> None:
    j, d = sp.symbols("j d", integer=True)
    u, x = sp.IndexedBase("u"), sp.IndexedBase("x")
    p, y, v = sp.symbols("p y v")
    options = {"parameters": {"u": 4, "v": ()}, **LINEAR}
    idx = sp.Idx("j", 4)
    written = [
        SymbolicModel("(p - y)**4", predictor="v*sum(u[j]*x[j], j)", **options),
        SymbolicModel((p - y) ** 4, predictor=v * sp.Sum(u[j] * x[j], (j, 1, d)), **options),
        SymbolicModel((p - y) ** 4, predictor=v * sp.Sum(u[j] * x[j], (j, 0, d - 1)), **options),
        SymbolicModel((p - y) ** 4, predictor=v * sp.Sum(u[idx] * x[idx], idx), **options),
        SymbolicModel((p - y) ** 4, predictor=v * sp.Sum(u[j] * x[j], (j, 1, 4)), **options),
    ]
    assert len({model.kernel_source for model in written}) == 1


def test_the_dimension_is_not_in_the_source_and_the_source_can_be_read() -> None:
    small, large = (SymbolicModel.separable("tanh(u)*x", ["u"], np.ones((2, d)), np.ones(2)) for d in (3, 300))
    assert small.kernel_source == large.kernel_source
    assert small.kernels is large.kernels
    assert "out_u[k] += scale*source_k*(1 - t**2)" in small.kernel_source
    assert small.describe()["formula"] == "l = (p - y)**2/2, p = sum(tanh(u[j])*x[j], j)"


@pytest.mark.parametrize("name", [*TWINS, *OTHERS])
def test_the_definition_as_text_gives_the_same_kernels(name: str) -> None:
    model = TWINS[name][1]() if name in TWINS else OTHERS[name][0]()
    d = model.definition
    options = {"parameters": d.parameters, "data": d.data, "constants": d.constants}
    again = SymbolicModel(d.loss, predictor=d.predictor, **options)
    assert again.kernel_source == model.kernel_source


@pytest.mark.parametrize("name", TWINS)
def test_the_definition_of_a_built_in_loss_is_one_for_a_formula(name: str) -> None:
    built_in = TWINS[name][0]()
    d = built_in.definition
    assert d is not None
    model = SymbolicModel(d.loss, predictor=d.predictor, parameters=d.parameters, data=d.data, constants=d.constants)
    theta = np.random.default_rng(6).standard_normal(built_in.dim)
    assert model.loss(theta) == pytest.approx(built_in.loss(theta), rel=1e-12)


def test_derivatives_are_there_as_formulas() -> None:
    model = SymbolicModel.separable("u*v*x", ("u", "v"), X, Y)
    k, m = sp.symbols("k m", integer=True)
    u, v, x = (sp.IndexedBase(name, real=True) for name in "uvx")
    slope = model.derivative("u")
    assert sp.simplify(slope / (v[k] * x[k])).has(sp.Sum)
    second = model.derivative("u", "v").subs(sp.Symbol("l", integer=True), m)
    assert sp.simplify(second.coeff(sp.KroneckerDelta(k, m)) - slope / v[k]) == 0
    assert second.subs(sp.KroneckerDelta(k, m), 0) == u[m] * v[k] * x[k] * x[m]
    with pytest.raises(InvalidArgument, match="'w' is not a parameter; there are u, v"):
        model.derivative("w")


def test_large_margins_neither_overflow_nor_cancel() -> None:
    """log(1 + exp(z)): at z = 4000 exp alone would be infinite; at z = -36 the slope is 2e-16 and must be right."""
    model = SymbolicModel.separable("w*x", ["w"], np.full((1, 1), 1.0), np.array([-1.0]), loss="log(1 + exp(-p*y))")
    assert model.loss([4000.0]) == 4000.0
    assert model.gradient([4000.0]).tolist() == [1.0]
    for z in (-4000.0, -36.0, -2.0, 2.0, 36.0):
        slope = float(1 / (1 + sp.exp(-sp.Rational(z))).evalf(40))
        assert model.gradient([z])[0] == pytest.approx(slope, rel=1e-13)
        assert model.sample_gradients([z])[0, 0] == pytest.approx(slope, rel=1e-13)
        assert model.hessian([z])[0, 0] == pytest.approx(
            slope * float(1 / (1 + sp.exp(sp.Rational(z))).evalf(40)), rel=1e-13
        )


J, K, D = sp.symbols("j k d", integer=True)
U, V = sp.symbols("u v", cls=sp.IndexedBase)
REFUSED = {
    "undeclared": ({"loss": "(p - z)**2"}, "the loss has z, which is not declared"),
    "misspelt": ({"predictor": "sum(uu[j]*x[j], j)"}, "did you mean u?"),
    "free index": ({"predictor": "u[j]*x[j]"}, "j in u[j] is not summed over"),
    "two sizes": ({"parameters": {"u": 3}}, "j runs over 3 values, but axis 0 of x has 4"),
    "no index": ({"predictor": "u*2"}, "u is an array of shape (4,)"),
    "number of indices": ({"predictor": "sum(u[j, j]*x[j], j)"}, "u[j, j] has 2 indices"),
    "out of range": ({"predictor": "u[4]"}, "axis 0 of u has 4 entries"),
    "function": ({"loss": sp.gamma(sp.Symbol("p"))}, "gamma(p), which cannot be compiled"),
    "code as a name": ({"loss": sp.Symbol("__import__('os').system('true')")}, "which is not declared"),
    "part of a range": (
        {"predictor": sp.Sum(sp.IndexedBase("u")[sp.Symbol("j")], (sp.Symbol("j"), 2, 3))}, "runs over all values"
    ),
    "too few terms": (
        {"predictor": sp.Sum(sp.IndexedBase("u")[sp.Symbol("j")], (sp.Symbol("j"), 1, 3))}, "3 terms, but j has 4"
    ),
    "no range": ({"predictor": "sum(2, k)*sum(u[j]*x[j], j)"}, "cannot tell the range of k"),
    "nested index": ({"predictor": "sum(u[j]*sum(x[j], j), j)"}, "sums over the same index twice"),
    "name twice": ({"constants": {"x": 1.0}}, "x is declared twice"),
    "keyword": ({"constants": {"class": 1.0}}, "a word of Python"),
    "p as a name": ({"constants": {"p": 1.0}}, "p is the prediction"),
    "loss without p": ({"loss": "y**2"}, "does not contain p"),
    "not a formula": ({"loss": 3.5j}, "must be a sympy expression or text"),
    "triangular": ({"predictor": sp.Sum(U[J], (J, 0, K), (K, 0, 3))}, "runs over all values"),
    "all but the first": ({"predictor": sp.Sum(U[J], (J, 1, D - 1))}, "runs over all values"),
    "counted from one and from zero": ({"predictor": U[1] * sp.Sum(U[J], (J, 1, D))}, "counts from 0"),
    "one length for two": (
        {"predictor": sp.Sum(U[J], (J, 1, D)) * sp.Sum(V[K], (K, 1, D)), "parameters": {"u": 4, "v": 3}},
        "d = 4 terms, but k has 3",
    ),
    "code as an index": (
        {"predictor": sp.Sum(sp.IndexedBase("u")[sp.Symbol("import os")], (sp.Symbol("import os"), 1, sp.Symbol("d")))},
        "names must be ASCII letters",
    ),
    "a sign that nothing enforces": ({"loss": sp.Symbol("p", positive=True)}, "has a sign in sympy"),
    "pi": ({"constants": {"pi": 1.0}}, "meaning of its own"),
    "a matrix symbol": ({"loss": sp.MatrixSymbol("w", 2, 2)[0, 1] * sp.Symbol("p")}, "cannot be compiled"),
    "a list of parameters": ({"parameters": ["u"]}, "must map names to values"),
    "too many dimensions": ({"parameters": {"u": (1, 1, 1, 1, 1)}}, "at most 4"),
    "no parameters": ({"parameters": {}, "predictor": "sum(x[j], j)"}, "at least one parameter"),
    "samples differ": ({"data": {"x": X, "y": Y[:3]}}, "same number of samples"),
    "complex": ({"predictor": sp.I * sp.Symbol("y")}, "cannot be compiled"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_with_a_reason(name: str) -> None:
    changes, reason = REFUSED[name]
    given = {"predictor": "sum(u[j]*x[j], j)", "parameters": {"u": 4}, "data": {"x": X, "y": Y}, **changes}
    with pytest.raises(InvalidArgument) as caught:
        SymbolicModel(**given)
    assert reason in str(caught.value)
