"""Bad input: the error names the argument, what was given and what to do, before anything runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import sgdmodels as sm

X, Y = np.arange(12.0).reshape(6, 2) + 1, np.ones(6)
MODEL = sm.models.LeastSquares(X, Y)
ZERO = np.zeros(2)


def run(**changes: object) -> object:
    arguments: dict[str, object] = {"dynamics": sm.SGD(0.1, 2), "steps": 10, "init": ZERO}
    return sm.simulate(MODEL, **{**arguments, **changes})  # type: ignore[arg-type]


BAD: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "inputs of one axis": (lambda: sm.models.LeastSquares(Y, Y), ("inputs", "(6,)", "samples")),
    "float32 inputs": (lambda: sm.models.LeastSquares(X.astype(np.float32), Y), ("inputs", "float32", "astype")),
    "integer inputs": (lambda: sm.models.LeastSquares(X.astype(int), Y), ("inputs", "int64", "astype")),
    "complex inputs": (lambda: sm.models.LeastSquares(X.astype(complex), Y), ("inputs", "complex128")),
    "text": (lambda: sm.models.LeastSquares([["a", "b"]], [1.0]), ("inputs", "list")),
    "ragged": (lambda: sm.models.LeastSquares([[1.0], [1.0, 2.0]], [1.0, 1.0]), ("inputs", "list")),
    "transposed inputs": (lambda: sm.models.LeastSquares(X.T.copy().T, Y), ("inputs", "Fortran", "ascontiguousarray")),
    "empty data": (lambda: sm.models.LeastSquares(np.zeros((0, 2)), np.zeros(0)), ("inputs", "(0, 2)", "empty")),
    "NaN": (lambda: sm.models.LeastSquares(np.where(X > 11, np.nan, X), Y), ("inputs", "nan", "(5, 1)")),
    "infinite target": (lambda: sm.models.LeastSquares(X, np.full(6, np.inf)), ("targets", "inf", "(0,)")),
    "too few targets": (lambda: sm.models.LeastSquares(X, Y[:5]), ("targets", "(5,)", "(6,)")),
    "depth 1": (lambda: sm.models.DiagonalNetwork(X, Y, depth=1), ("depth", "2", "got 1")),
    "depth 2.5": (lambda: sm.models.DiagonalNetwork(X, Y, depth=2.5), ("depth", "integer", "2.5")),  # type: ignore[arg-type]
    "unknown form": (lambda: sm.models.DiagonalNetwork(X, Y, form="products"), ("form", "product", "did you mean")),
    "asymmetric": (lambda: sm.models.Quadratics([[[1.0, 1.0], [0.0, 1.0]]], [[0.0, 0.0]]), ("hessians", "symmetric")),
    "oblong": (lambda: sm.models.Quadratics(np.ones((2, 2, 3)), np.ones((2, 2))), ("hessians", "(2, 2, 3)")),
    "negative drift": (lambda: sm.models.SharpeningLeastSquares(X, Y, -1.0), ("drift", "-1.0")),
    "theta too long": (lambda: MODEL.loss(np.zeros(3)), ("theta", "(3,)", "(2,)")),
    "index out of range": (lambda: MODEL.weighted_gradient(ZERO, [6], [1.0]), ("index", "0..5", "6")),
    "batch size 0": (lambda: run(dynamics=sm.SGD(0.1, 0)), ("batch_size", "got 0")),
    "batch size above n": (lambda: run(dynamics=sm.SGD(0.1, 7)), ("batch_size", "1..6", "got 7", "sm.GD")),
    "batch size true": (lambda: sm.SGD(0.1, True), ("batch_size", "True")),
    "later batch size above n": (lambda: run(dynamics=sm.SGD(0.1, [(0, 2), (5, 9)])), ("batch_size", "got 9")),
    "negative step size": (lambda: sm.GD(-0.1), ("step_size", "-0.1")),
    "zero step size": (lambda: sm.GD(0.0), ("step_size", "> 0")),
    "NaN step size": (lambda: sm.GD(float("nan")), ("step_size", "nan")),
    "schedule out of order": (lambda: sm.GD([(0, 0.1), (9, 0.2), (5, 0.3)]), ("step_size", "[0, 9, 5]", "sort")),
    "schedule starts late": (lambda: sm.GD([(3, 0.1)]), ("step_size", "step 0", "3")),
    "schedule of numbers": (lambda: sm.GD([0.1, 0.2]), ("step_size", "(start_step, value)")),  # type: ignore[list-item]
    "empty schedule": (lambda: sm.GD([]), ("step_size", "[]")),
    "momentum 1": (lambda: sm.GD(0.1, momentum=1.0), ("momentum", "< 1")),
    "nesterov alone": (lambda: sm.GD(0.1, nesterov=True), ("nesterov", "momentum > 0")),
    "unknown sampling": (lambda: sm.SGD(0.1, 2, sampling="epochs"), ("sampling", "epoch", "did you mean 'epoch'")),
    "not a model": (lambda: sm.simulate("loss", sm.GD(0.1), 1, ZERO), ("model", "'loss'")),  # type: ignore[arg-type]
    "not a dynamics": (lambda: run(dynamics=0.1), ("dynamics", "0.1", "sm.SGD")),
    "negative steps": (lambda: run(steps=-1), ("steps", "-1")),
    "steps past the counter": (lambda: run(steps=2**60), ("steps", "counter", str(2**60))),
    "init too short": (lambda: run(init=np.zeros(1)), ("init", "(1,)", "(2,)")),
    "init for other replicas": (lambda: run(init=np.zeros((3, 2)), replicas=2), ("init", "(3, 2)", "(2, 2)")),
    "NaN init": (lambda: run(init=np.array([0.0, np.nan])), ("init", "nan", "(1,)")),
    "no replicas": (lambda: run(replicas=0), ("replicas", "got 0")),
    "replicas twice": (lambda: run(replicas=[1, 1]), ("replicas", "distinct", "[1, 1]")),
    "record_every 0": (lambda: run(record_every=0), ("record_every", "got 0")),
    "unknown metric": (lambda: run(metrics=("lamda_max",)), ("metrics", "lamda_max", "did you mean 'lambda_max'")),
    "negative seed": (lambda: run(seed=-1), ("seed", "got -1")),
    "seed of 65 bits": (lambda: run(seed=2**64), ("seed", str(2**64))),
    "no threads": (lambda: run(threads=0), ("threads", "got 0")),
    "metric batch size": (lambda: run(batch_size=[1, 7]), ("batch_size", "1..6", "got 7")),
    "no batch size": (lambda: sm.measure(MODEL, ZERO, batch_size=[]), ("batch_size", "[]")),
    "measure unknown sampling": (lambda: sm.measure(MODEL, ZERO, sampling="iid"), ("sampling", "'iid'")),
    "records beyond memory": (lambda: run(steps=10**13, record_every=1), ("steps", "GB", "raise record_every")),
    "replicas beyond memory": (lambda: run(replicas=10**13), ("replicas", "GB")),
    "record_every of 100 bits": (lambda: run(record_every=10**30), ("record_every", str(10**30))),
    "step size of 1300 bits": (lambda: sm.GD(10**400), ("step_size", "number")),
    "no metrics": (lambda: run(metrics=None), ("metrics", "None")),
    "a metric twice": (lambda: run(metrics=("loss", "loss")), ("metrics", "loss")),
    "ragged init": (lambda: run(init=[[0.0], [0.0, 1.0]]), ("init", "list")),
    "text as numbers": (lambda: run(init=["1", "2"]), ("init", "list")),
    "init of a tensor that wants gradients": (lambda: run(init=torch.zeros(2, requires_grad=True)), ("init", "Tensor")),
    "masked init": (lambda: run(init=np.ma.array([1.0, 2.0], mask=[True, False])), ("init", "masked")),
    "progress of text": (lambda: run(progress="no"), ("progress", "'no'")),
    "oblong hessians": (lambda: sm.theory.mean_square_sharpness(np.ones((2, 3, 2)), 1), ("hessians", "(2, 3, 2)")),
    "asymmetric hessians": (
        lambda: sm.theory.mean_square_sharpness([[[1.0, 1.0], [0.0, 1.0]]], 1),
        ("hessians", "symmetric"),
    ),
    "metric of the wrong shape": (
        lambda: run(metrics=(sm.Metric("mine", "mine", "1", lambda s: np.zeros(3)),)),
        ("'mine'", "(1, 2)", "(3,)"),
    ),
    "metric with a taken name": (
        lambda: run(metrics=(sm.Metric("diverged_at", "mine", "1", lambda s: s.theta[..., 0]),)),
        ("metrics", "diverged_at"),
    ),
    "plot at another batch size": (
        lambda: sm.plot.stability(run(batch_size=[1, 4])),  # type: ignore[arg-type]
        ("batch_sharpness", "training batch size", "[2]"),
    ),
    "plot of a loss not recorded": (lambda: sm.plot.loss(run(metrics=("ias",))), ("'loss'", "ias")),  # type: ignore[arg-type]
    "recipe seed": (lambda: sm.recipes.slow_tail_network(-1), ("seed", "got -1")),
    "plot of what was not recorded": (lambda: sm.plot.curvature(run(metrics=("loss",)), "ias"), ("'ias'", "loss")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_the_error_names_the_argument_and_what_was_given(name: str) -> None:
    call, fragments = BAD[name]
    with pytest.raises(sm.errors.InvalidArgument) as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)
    assert isinstance(caught.value, ValueError | sm.errors.SgdmodelsError)


def test_lists_and_strided_vectors_are_welcome() -> None:
    assert sm.models.LeastSquares([[1, 2], [3, 4]], [0, 1]).loss([0, 0]) == 0.25
    columns = np.eye(2)
    assert MODEL.hvp(ZERO, columns[:, 0]).shape == (2,)
    assert run(replicas=np.array(2), batch_size=np.array(4)).sizes["replica"] == 2  # type: ignore[attr-defined]


def test_a_step_of_too_many_weights_is_refused_before_it_is_allocated() -> None:
    model = sm.models.LeastSquares(np.ones((1000, 2)), np.zeros(1000))
    with pytest.raises(sm.errors.InvalidArgument, match="lower substeps or ell"):
        sm.simulate(model, sm.SDE(0.01, 4, substeps=10**7), 2, np.zeros(2), replicas=8)
