"""A Probe measures what closed forms say, by the names that they have there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sgdmodels as sm
from sgdmodels.errors import InvalidArgument
from sgdmodels.networks import METRICS, Accuracy, Probe, losses, nets

from .network_twins import NAMES, twins

SCHEMES = ("without_replacement", "with_replacement", "epoch", "bernoulli")
EXACT = ("loss", "gradient_norm", "trace_hessian", "batch_sharpness", "ias", "gni", "batch_sharpness_mean_ratio")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", SCHEMES)
def test_every_metric_is_that_of_the_closed_form(name: str, sampling: str) -> None:
    accuracy = Accuracy(eigenvalue_batches=512)  # so many batches are enumerated on both sides
    model, probe, theta = twins(name, samples=7, features=3, accuracy=accuracy)
    sizes = [1, 2, 3] if sampling == "with_replacement" else [1, 2, 5, 7]
    one = sm.measure(model, theta, sizes, sampling=sampling)
    other = sm.measure(probe, theta, sizes, sampling=sampling)
    assert set(one.data_vars) <= set(other.data_vars)
    for metric in sm.METRICS:
        tolerance = 1e-10 if metric.name in EXACT else 1e-6  # eigenvalues: the square of the residual allowed
        np.testing.assert_allclose(other[metric.name], one[metric.name], rtol=tolerance, err_msg=metric.name)
        assert (other[f"{metric.name}_standard_error"] == 0).all(), metric.name
        assert (other[f"{metric.name}_samples"] >= 1).all(), metric.name
        assert other[metric.name].attrs == one[metric.name].attrs


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_is_a_loss(name: str) -> None:
    model, probe, theta = twins(name)
    rng = np.random.default_rng(1)
    vector, index, weight = rng.standard_normal(model.dim), np.array([3, 3, 7]), rng.standard_normal(3)
    for method, arguments in (
        ("sample_losses", ()), ("sample_gradients", ()), ("sample_hessians", ()), ("gradient", ()), ("hessian", ()),
        ("hvp", (vector,)), ("weighted_gradient", (index, weight)),
    ):  # fmt: skip
        one, other = (getattr(loss, method)(theta, *arguments) for loss in (model, probe))
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12, err_msg=method)


def test_the_gauss_newton_metrics_are_those_of_the_linearised_network() -> None:
    """On a linear network f = w v.x with theta = (v, w): J = (w x, v.x), the rest of the Hessian is r times d2 f."""
    model, probe, theta = twins("linear", samples=7, features=3)
    assert isinstance(model, sm.models.LinearNetwork)
    v, w = theta[:3], theta[3]
    jacobians = np.column_stack([w * model.inputs, model.inputs @ v])
    residuals = w * (model.inputs @ v) - model.targets
    matrices = sm.models.Quadratics(
        np.einsum("ni,nj->nij", jacobians, jacobians),
        np.array([-r * j / (j @ j) for r, j in zip(residuals, jacobians, strict=True)]),
    )  # gradients at 0: J J' (r J / |J|^2) = r J
    names = [metric.name.removeprefix("gauss_newton_") for metric in METRICS if metric.name.startswith("gauss_newton")]
    one = sm.measure(matrices, np.zeros(4), [1, 3, 7], metrics=names)
    other = probe.measure([1, 3, 7], theta=theta, metrics=[metric.name for metric in METRICS])
    for name in names:
        np.testing.assert_allclose(other[f"gauss_newton_{name}"], one[name], rtol=1e-6, err_msg=name)
    assert len(names) == 8


def small_network(samples: int = 40, **options: Any) -> Probe:
    rng = np.random.default_rng(0)
    net = nets.mlp([5, 7, 3], "gelu", seed=2, dtype=options.pop("dtype", torch.float64))
    return Probe(
        net, losses.squared_error, rng.standard_normal((samples, 5)), rng.standard_normal((samples, 3)), **options
    )


def test_the_network_is_measured_where_it_stands() -> None:
    probe = small_network()
    before = probe.measure(4, metrics=("loss", "lambda_max"))
    with torch.no_grad():
        for p in probe.net.parameters():
            p.mul_(0.5)
    after = probe.measure(4, metrics=("loss", "lambda_max"))
    assert float(before.loss) != float(after.loss)
    hessian = probe.hessian(probe.parameters())
    np.testing.assert_allclose(float(after.lambda_max), np.linalg.eigvalsh(hessian)[-1], rtol=1e-5)


def test_top_eigenvalues() -> None:
    probe = small_network()
    exact = np.linalg.eigvalsh(probe.hessian(probe.parameters()))[::-1]
    found = probe.eigenvalues(5)
    assert found.eigenvalues_converged.all()
    np.testing.assert_allclose(found.eigenvalues, exact[:5], rtol=1e-3)


def test_a_subset_comes_with_honest_errors() -> None:
    """Over 60 subsets the standardised errors of both estimates have a standard deviation of 1, within [.6, 1.5].

    The standard deviation of 60 normals leaves that interval with probability below 1e-4; errors here are only roughly
    normal, hence the wide band. Seeds are fixed.
    """
    exact = small_network(200).measure(8, metrics=("batch_sharpness", "lambda_max"))
    probe = small_network(200, accuracy=Accuracy(subset=100, curvature_samples=100))
    standardised: dict[str, list[float]] = {"batch_sharpness": [], "lambda_max": []}
    for seed in range(60):
        point = probe.measure(8, metrics=tuple(standardised), seed=seed)
        for name, values in standardised.items():
            error = float(point[name].squeeze() - exact[name].squeeze())
            values.append(error / float(point[f"{name}_standard_error"].squeeze()))
            assert (point[f"{name}_samples"] == 100).all()
    for name, values in standardised.items():
        assert 0.6 < np.std(values) < 1.5, name


def test_single_and_double_precision_agree() -> None:
    one, other = (
        small_network(dtype=dtype).measure([2, 8], metrics=("loss", "batch_sharpness", "ias", "gni", "lambda_max"))
        for dtype in (torch.float64, torch.float32)
    )
    for name in ("loss", "batch_sharpness", "ias", "gni", "lambda_max"):
        np.testing.assert_allclose(other[name], one[name], rtol=2e-5)


@pytest.mark.parametrize("memory", [4000, 10**6])
def test_memory_changes_nothing_but_rounding(memory: int) -> None:
    metrics = ("loss", "batch_sharpness", "lambda_max", "trace_hessian", "batch_sharpness_mean_ratio")
    one, other = (probe.measure([2, 8], metrics=metrics) for probe in (small_network(), small_network(memory=memory)))
    for name in metrics:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-9, err_msg=name)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    metrics = ("batch_sharpness_mean_ratio", "minibatch_lambda_max", "trace_hessian", "batch_sharpness_by_batches")
    probe = small_network(accuracy=Accuracy(batches=64, eigenvalue_batches=8, trace_probes=16))
    one, two, three = (probe.measure(8, metrics=metrics, seed=seed) for seed in (0, 0, 1))
    assert one.equals(two)
    for name in metrics:
        assert (one[name] != three[name]).all(), name


def test_measuring_leaves_no_trace() -> None:
    probe = small_network()
    parameters = [p.detach().clone() for p in probe.net.parameters()]
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is meant
    probe.measure([2, 8], metrics=("loss", "batch_sharpness_mean_ratio", "lambda_max", "trace_hessian"))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])  # noqa: NPY002
    for p, before in zip(probe.net.parameters(), parameters, strict=True):
        assert p.grad is None
        assert torch.equal(p, before)


def test_a_network_that_has_changed_its_mode_or_precision_is_refused() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3)).eval()
    probe = Probe(net, losses.squared_error, torch.randn(40, 5), torch.randn(40, 3))
    before = net[1].running_mean.clone()
    net.train()
    for act in (
        lambda: probe.measure(metrics="loss"),
        lambda: probe.eigenvalues(1),
        lambda: sm.simulate(probe, sm.GD(0.1), 1, probe.parameters()),
    ):
        with pytest.raises(InvalidArgument, match="BatchNorm"):
            act()
    assert torch.equal(net[1].running_mean, before)
    net.eval().double()
    with pytest.raises(InvalidArgument, match=r"now torch.float64.*but was torch.float32"):
        probe.measure(metrics="loss")


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_data_are_copies(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    inputs: Any = torch.from_numpy(x) if kind == "tensor" else x
    probe = Probe(nets.mlp([5, 7, 3], "gelu", seed=2, dtype=torch.float64), losses.squared_error, inputs, y)
    before = float(probe.measure(metrics="loss").loss)
    x[:], y[:] = 0.0, 0.0
    assert float(probe.measure(metrics="loss").loss) == before


def test_weights_of_samples_are_checked_as_on_other_losses() -> None:
    probe = small_network()
    theta = probe.parameters()
    for index, weight, words in (
        ([-1], [1.0], "must lie in"), ([40], [1.0], "must lie in"), ([0.7], [1.0], "integers"),
        ([1, 2], [1.0], "weight"), ([1], [np.nan], "finite"), ([[1]], [[1.0]], "vector"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=words):
            probe.weighted_gradient(theta, index, weight)


def test_own_metrics_work_on_networks() -> None:
    own = sm.Metric("norm", "|theta|", "1", lambda points: np.linalg.norm(points.theta, axis=2))
    probe = small_network()
    assert float(probe.measure(metrics=[own, "loss"]).norm) == pytest.approx(np.linalg.norm(probe.parameters()))


def test_predictions_linear_in_theta_are_the_mean_square_edge_of_least_squares() -> None:
    model, probe, theta = twins("least squares", samples=7, features=3)
    other = sm.measure(probe, theta, [1, 3], metrics=("mean_square_sharpness",))
    expected = [sm.theory.mean_square_sharpness(model.sample_hessians(theta), b) for b in (1, 3)]
    np.testing.assert_allclose(other.mean_square_sharpness, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": Accuracy(subset=41)}, "subset must be in 1..40"),
        ({"inputs": [[1.0]]}, "inputs must be a tensor or an array"),
        ({"memory": 0}, "memory must be"),
        ({"accuracy": 5}, "accuracy must be"),
        ({"compiled": "no"}, "compiled must be"),
        ({"inputs": np.array([["a"] * 5] * 40)}, "numbers that torch knows"),
        ({"inputs": torch.eye(5).to_sparse()}, "dense tensor"),
        ({"net": torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3))}, "atch"),
        ({"net": "net"}, "net must be"),
        ({"loss": torch.nn.MSELoss()}, "one value per sample"),
    ],
)
def test_what_cannot_be_measured_is_refused(change: dict[str, Any], words: str) -> None:
    rng = np.random.default_rng(0)
    arguments = {
        "net": nets.mlp([5, 7, 3], "gelu", seed=2), "loss": losses.squared_error,
        "inputs": rng.standard_normal((40, 5)), "targets": rng.standard_normal((40, 3)), **change,
    }  # fmt: skip
    with pytest.raises(InvalidArgument, match=words):
        Probe(
            arguments.pop("net"), arguments.pop("loss"), arguments.pop("inputs"), arguments.pop("targets"), **arguments
        )


def test_dense_tables_of_large_networks_are_refused_and_kernels_explained() -> None:
    net = nets.mlp([100, 200, 10], "relu", seed=0)
    probe = Probe(net, losses.squared_error, torch.randn(4, 100), torch.randn(4, 10))
    for method in ("hessian", "sample_hessians"):
        with pytest.raises(InvalidArgument, match="products with the Hessian"):
            getattr(probe, method)(probe.parameters())
    with pytest.raises(InvalidArgument, match="no compiled kernels"):
        _ = probe.kernels
    with pytest.raises(InvalidArgument, match="more than"):
        sm.simulate(probe, sm.CentralFlow(0.1), 10, probe.parameters())
