"""Drifts and noises at a point: against automatic differentiation, scipy's solvers, enumeration and closed forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

import sgdmodels as sm
from sgdmodels.dynamics.central_flow import covariance
from sgdmodels.kernels.draw import draw_weights
from sgdmodels.sampling import SCHEMES, noise_coefficients

from .cases import CASES, Losses
from .enumeration import all_batches, batch_sums

SMOOTH = ("product of 2", "difference of cubes", "linear network", "gated quadratic", "quadratics")


def point(model: sm.models.Model, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.5, model.dim)


def torch_field(loss: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    """Minus the gradient of a scalar."""

    def field(theta: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(np.ascontiguousarray(theta)).requires_grad_(True)
        return -torch.autograd.grad(loss(t), t)[0].numpy()

    return field


def square_of_gradient(losses: Losses, t: torch.Tensor, batch: tuple[int, ...]) -> torch.Tensor:
    mean = losses(t)[list(batch)].mean()
    return (torch.autograd.grad(mean, t, create_graph=True)[0] ** 2).sum()


def modified(losses: Losses, n: int, eta: float, kind: str, b: int = 1) -> Callable[[torch.Tensor], torch.Tensor]:
    """The loss a flow descends, with the mean over all batches written out."""

    def loss(t: torch.Tensor) -> torch.Tensor:
        total = losses(t).mean()
        if kind == "implicit":
            total = total + eta / 4 * square_of_gradient(losses, t, tuple(range(n)))
        if kind == "reshuffling":
            squares = [square_of_gradient(losses, t, batch) for batch in itertools.combinations(range(n), b)]
            total = total + eta / 4 * torch.stack(squares).mean()
        return total

    return loss


def one_step(model: sm.models.Model, dynamics: sm.dynamics.Dynamics, init: np.ndarray, replicas: int = 1) -> np.ndarray:
    run = sm.simulate(model, dynamics, 1, init, replicas=replicas, record_every=1, metrics=(), keep_params=True, seed=7)
    return run.params.values[:, -1]


# flows and drifts


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("kind", ["none", "implicit", "reshuffling"])
def test_flows_are_those_of_their_modified_losses(kind: str, name: str) -> None:
    case, eta, steps = CASES[name](seed=6), 0.02, 3
    init = point(case.model)
    for b in (1, 2, 3, 6) if kind == "reshuffling" else (1,):
        field = torch_field(modified(case.losses, 6, eta, kind, b))
        solution = scipy.integrate.solve_ivp(
            lambda _, x, field=field: field(x), (0, eta * steps), init, method="DOP853", rtol=1e-11, atol=1e-12
        )
        flow = {
            "none": sm.GradientFlow(eta), "implicit": sm.ImplicitRegularizationFlow(eta),
            "reshuffling": sm.ReshufflingFlow(eta, b),
        }[kind]  # fmt: skip
        run = sm.simulate(case.model, flow, steps, init, metrics=(), keep_params=True)
        np.testing.assert_allclose(run.params.values[0, -1], solution.y[:, -1], rtol=1e-7, atol=1e-9)
        assert np.abs(solution.y[:, -1] - init).max() > 1e-3


def test_flows_are_integrated_to_fourth_order() -> None:
    case, eta = CASES["product of 2"](seed=6), 0.5
    init = point(case.model)
    field = torch_field(modified(case.losses, 6, eta, "implicit"))
    solution = scipy.integrate.solve_ivp(lambda _, x: field(x), (0, eta), init, method="DOP853", rtol=1e-12, atol=1e-13)
    errors = [
        np.linalg.norm(one_step(case.model, sm.ImplicitRegularizationFlow(eta, m), init)[0] - solution.y[:, -1])
        for m in (8, 16, 32)
    ]
    assert 13 < errors[0] / errors[1] < 19
    assert 14 < errors[1] / errors[2] < 18


@pytest.mark.parametrize("make", [sm.SDE, sm.EpochSDE])
@pytest.mark.parametrize("name", SMOOTH)
def test_the_drift_of_order_two(name: str, make: type) -> None:
    """Without noise (b = n) one substep is Heun's rule for grad L and Euler's for (eta / 2) H grad L."""
    case, eta = CASES[name](seed=6), 0.05
    init = point(case.model)
    plain = torch_field(modified(case.losses, 6, eta, "none"))
    full = torch_field(modified(case.losses, 6, eta, "implicit"))
    after = one_step(case.model, make(eta, 6, order=2, substeps=1), init)[0]
    predicted = init + eta * full(init)
    expected = init + eta * (full(init) - plain(init)) + eta / 2 * (plain(init) + plain(predicted))
    np.testing.assert_allclose(after, expected, rtol=1e-12)
    if make is sm.SDE:
        euler = one_step(case.model, sm.SDE(eta, 6, order=2, substeps=1, integrator="euler"), init)[0]
        np.testing.assert_allclose(euler, predicted, rtol=1e-12)


@pytest.mark.parametrize(("integrator", "band"), [("euler", (1.7, 2.3)), ("heun", (3.4, 4.6))])
def test_halving_the_substeps_without_noise(integrator: str, band: tuple[float, float]) -> None:
    """Deterministic: against scipy's solution of the gradient flow."""
    case, eta = CASES["product of 2"](seed=6), 0.4
    init = point(case.model)
    field = torch_field(modified(case.losses, 6, eta, "none"))
    solution = scipy.integrate.solve_ivp(lambda _, x: field(x), (0, eta), init, method="DOP853", rtol=1e-12, atol=1e-13)
    errors = [
        np.linalg.norm(
            one_step(case.model, sm.SDE(eta, 6, substeps=m, integrator=integrator), init)[0] - solution.y[:, -1]
        )
        for m in (16, 32, 64)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert band[0] < coarse / fine < band[1]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_drift_of_the_ornstein_uhlenbeck_process(name: str) -> None:
    case, eta = CASES[name](seed=6), 0.05
    at = point(case.model, 4)
    init = point(case.model, 5)
    t = torch.from_numpy(at).requires_grad_(True)
    gradient = torch.autograd.grad(case.losses(t).mean(), t)[0].numpy()
    hessian = torch.autograd.functional.hessian(lambda x: case.losses(x).mean(), torch.from_numpy(at)).numpy()
    after = one_step(case.model, sm.OrnsteinUhlenbeck(eta, 6, at, substeps=1), init)[0]
    np.testing.assert_allclose(after, init - eta * (gradient + hessian @ (init - at)), rtol=1e-12)
    start = one_step(case.model, sm.OrnsteinUhlenbeck(eta, 6, substeps=1), at)[0]  # without a point, the start
    np.testing.assert_allclose(start, at - eta * gradient, rtol=1e-12)


# noises


def batch_covariance(model: sm.models.Model, theta: np.ndarray, b: int, sampling: str) -> np.ndarray:
    batches = all_batches(model.samples, b, "without_replacement" if sampling == "epoch" else sampling)
    sums, p = batch_sums(model.sample_gradients(theta), b, batches), [q for _, q in batches]
    return np.cov(sums.T, aweights=p, bias=True)


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("kind", ["full", "diagonal", "isotropic", "constant"])
def test_the_covariance_of_noisy_gd(kind: str, sampling: str) -> None:
    """1e5 steps from one point: 55 numbers of a Gaussian within 5 standard errors, fails by chance once in 30000."""
    model, eta, b, replicas = CASES["linear network"](seed=6).model, 0.1, 2, 100_000
    theta = point(model)
    sigma = batch_covariance(model, theta, b, sampling)
    d = len(theta)
    expected = {
        "full": sigma, "diagonal": np.diag(np.diag(sigma)), "isotropic": np.trace(sigma) / d * np.eye(d),
        "constant": 0.3**2 * noise_coefficients(6, b, sampling).c2 * np.eye(d),
    }[kind]  # fmt: skip
    dynamics = sm.NoisyGD(eta, b, kind, scale=0.3 if kind == "constant" else None, sampling=sampling)
    noise = (theta - one_step(model, dynamics, theta, replicas)) / eta - model.gradient(theta)
    variances = np.diag(expected)
    error = np.sqrt((expected**2 + np.outer(variances, variances)) / replicas)
    assert np.abs((noise.T @ noise / replicas - expected) / error).max() < 5
    assert np.abs(noise.mean(axis=0) / np.sqrt(variances / replicas)).max() < 5


@pytest.mark.parametrize("kind", ["diagonal", "isotropic"])
def test_stale_noise_has_the_covariance_of_the_last_refresh(kind: str) -> None:
    """Exact: the normals of a step are those of a run without delay, so that the noises differ by their scales."""
    model, eta, b, refresh = CASES["linear network"](seed=6).model, 0.05, 2, 3
    init = point(model)

    def normals(dynamics: sm.NoisyGD) -> np.ndarray:
        run = sm.simulate(model, dynamics, 8, init, replicas=4, record_every=1, metrics=(), keep_params=True, seed=1)
        paths, out = run.params.values, []
        for path in paths:
            for k in range(8):
                anchor = path[k - k % dynamics.refresh]
                variances = np.diag(batch_covariance(model, anchor, b, "without_replacement"))
                if kind == "isotropic":
                    variances = np.full_like(variances, variances.mean())
                noise = (path[k] - path[k + 1]) / eta - model.gradient(path[k])
                out.append(noise / np.sqrt(variances))
        return np.array(out)

    fresh, stale = normals(sm.NoisyGD(eta, b, kind)), normals(sm.NoisyGD(eta, b, kind, refresh=refresh))
    np.testing.assert_allclose(stale, fresh, atol=1e-9)
    assert 0.8 < fresh.std() < 1.2


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("b", [1, 3])
def test_label_noise_against_shifted_labels(b: int, sampling: str) -> None:
    """Mean and covariance of a step, by autograd in the labels and enumeration of batches; 2e5 replicas, 20 numbers
    within 5 standard errors: fails by chance once in 80000."""
    case, eta, scale, replicas = CASES["linear network"](seed=6), 0.1, 0.7, 200_000
    model = case.model
    theta = point(model)
    x, y = torch.from_numpy(model.inputs), torch.from_numpy(model.targets)
    t = torch.from_numpy(theta)

    def gradient(i: int, label: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda v: 0.5 * (v[-1] * (x[i] @ v[:-1]) - label) ** 2)(t)

    g = np.stack([gradient(i, y[i]).numpy() for i in range(6)])
    slopes = np.stack([torch.func.jacrev(lambda label, i=i: gradient(i, label))(y[i]).numpy() for i in range(6)])
    batches = all_batches(6, b, "without_replacement" if sampling == "epoch" else sampling)
    sums, p = batch_sums(g, b, batches), np.array([q for _, q in batches])
    expected = np.cov(sums.T, aweights=p, bias=True)
    for batch, q in batches:  # a sample drawn twice has one label
        total = np.zeros((model.dim, 6))
        for i in batch:
            total[:, i] += slopes[i] / b
        expected = expected + q * scale**2 * total @ total.T
    after = one_step(model, sm.LabelNoiseSGD(eta, b, scale, sampling=sampling), theta, replicas)
    step = (theta - after) / eta
    away = step - g.mean(axis=0)
    assert np.abs(away.mean(axis=0) / np.sqrt(np.diag(expected) / replicas)).max() < 5
    i, j = np.triu_indices(model.dim)
    products = away[:, i] * away[:, j]
    z = (products.mean(axis=0) - expected[i, j]) / (products.std(axis=0) / math.sqrt(replicas))
    assert np.abs(z).max() < 5


def test_label_noise_without_noise_is_sgd() -> None:
    model = CASES["gated quadratic"](seed=6).model
    for b in (2, 3):
        label, sgd = (
            one_step(model, make, point(model), 20) for make in (sm.LabelNoiseSGD(0.05, b, 0.0), sm.SGD(0.05, b))
        )
        np.testing.assert_allclose(label, sgd, rtol=1e-13)


@pytest.mark.parametrize("substeps", [1, 5])
@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.5, 2.0])
def test_the_characteristic_function_of_levy_noise(alpha: float, substeps: int) -> None:
    """On a flat loss a step is eta sigma S_alpha whatever the substeps, if they are independent and rightly scaled.
    (sigma is so small that no tail counts as divergence.)

    1e5 replicas of two coordinates, 4 frequencies each, real and imaginary parts of each and of products of both
    coordinates, within 4.5 standard errors: fails by chance once in 6000.
    """
    model, eta, scale = sm.models.LeastSquares(np.zeros((1, 2)), np.zeros(1)), 0.3, 1e-6
    s = one_step(model, sm.LevySDE(eta, alpha, scale, substeps), np.zeros(2), 100_000) / (eta * scale)
    for frequency in (0.3, 0.7, 1.3, 2.0):
        expected = math.exp(-(frequency**alpha))
        for phase, value in ((s[:, 0], expected), (s[:, 1], expected), (s.sum(axis=1), expected**2)):
            cosine, sine = np.cos(frequency * phase), np.sin(frequency * phase)
            assert abs(cosine.mean() - value) < 4.5 * cosine.std() / math.sqrt(100_000)
            assert abs(sine.mean()) < 4.5 * sine.std() / math.sqrt(100_000)


def test_the_drift_of_the_levy_sde() -> None:
    model = CASES["product of 2"](seed=6).model
    init = point(model)
    after = one_step(model, sm.LevySDE(0.05, 1.5, 0.0, substeps=1), init)[0]
    np.testing.assert_allclose(after, init - 0.05 * model.gradient(init), rtol=1e-13)


@pytest.mark.parametrize("name", ["product of 2", "linear network", "least squares", "difference of cubes"])
@pytest.mark.parametrize("b", [1, 6])
def test_homogenized_sgd(b: int, name: str) -> None:
    """A step with the law's own weights, grad f_i = grad l_i / (f_i - y_i) by autograd; the covariance of the noise
    follows from that of the weights, which is (m / (b n)) I: Bernoulli weights have (m c2 / n) I from the same
    normals."""
    case, eta, m = CASES[name](seed=6), 0.1, 4
    model, theta = case.model, point(case.model)
    dynamics = sm.HomogenizedSGD(eta, b, substeps=m)
    plan = dynamics.plan(6)
    bernoulli = sm.SDE(eta, 2, substeps=m, integrator="heun", sampling="bernoulli").plan(6)  # noise kept apart
    weight, other = (
        draw_weights(p.law, p.width, 6, k, m, micro_steps=m, parameters=p.law_parameters, seed=7)[1][:, :6]
        for p, k in ((plan, b), (bernoulli, 2))
    )
    np.testing.assert_allclose(weight, other * math.sqrt(1 / b / noise_coefficients(6, 2, "bernoulli").c2), rtol=1e-13)
    t = theta
    for k in range(m):
        at = torch.from_numpy(t)
        residual = model.inputs @ model.weights(t) - model.targets
        slopes = torch.autograd.functional.jacobian(case.losses, at).numpy() / residual[:, None]
        loss = float(case.losses(at).mean())
        t = t - eta / m * (slopes.T @ residual / 6 + math.sqrt(2 * loss) * weight[k] @ slopes)
    np.testing.assert_allclose(one_step(model, dynamics, theta)[0], t, rtol=1e-11)


# self-stabilisation


def predicted(eta: float, b: int, sampling: str, init: np.ndarray, name: str) -> tuple[sm.models.Model, np.ndarray]:
    model = CASES[name](seed=6).model
    memory = sm.PredictedDynamics(eta, b, sampling=sampling).plan(6).memory
    assert memory is not None
    return model, memory(model, init[None])[0]


@pytest.mark.parametrize("sampling", ["without_replacement", "bernoulli"])
@pytest.mark.parametrize("name", ["linear network", "product of 2", "difference of cubes"])
def test_the_coefficients_of_predicted_dynamics(name: str, sampling: str) -> None:
    """Third derivatives by autograd of lambda_max; the variances over batches by enumeration."""
    eta, b = 0.3, 5
    init = np.random.default_rng(2).uniform(0.2, 0.5, CASES[name](seed=6).model.dim)
    model, numbers = predicted(eta, b, sampling, init, name)
    losses, d = CASES[name](seed=6).losses, model.dim
    x, y, alpha, beta, along, curvature = numbers[:6]
    theta, u, across = numbers[7 : 7 + d], numbers[7 + d : 7 + 2 * d], numbers[7 + 2 * d :]

    def sharpness(t: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(torch.func.hessian(lambda s: losses(s).mean())(t))[-1]

    t = torch.from_numpy(theta.copy())
    assert float(sharpness(t)) == pytest.approx(2 / eta, rel=1e-8)
    hessian = torch.func.hessian(lambda s: losses(s).mean())(t).numpy()
    np.testing.assert_allclose(hessian @ u, 2 / eta * u, atol=1e-8)
    slope = torch.func.grad(sharpness)(t).numpy()
    slope = slope - (slope @ u) * u
    gradient = torch.func.grad(lambda s: losses(s).mean())(t).numpy()
    np.testing.assert_allclose(across, slope, rtol=1e-6, atol=1e-7)
    assert alpha == pytest.approx(-gradient @ slope, rel=1e-6)
    assert beta == pytest.approx(slope @ slope, rel=1e-6)
    assert x == pytest.approx(u @ (init - theta), rel=1e-9)
    assert y == pytest.approx(across @ (init - theta), rel=1e-6)
    g = torch.func.jacrev(losses)(t).numpy() @ u
    h = np.einsum("nij,i,j->n", torch.func.hessian(losses)(t).numpy(), u, u)
    c2 = noise_coefficients(6, b, sampling).c2
    batches = all_batches(6, b, sampling)
    p = np.array([q for _, q in batches])
    for value, samples in ((along, g), (curvature, h)):
        sums = batch_sums(samples, b, batches)
        assert c2 * value == pytest.approx(np.cov(sums, aweights=p, bias=True), rel=1e-6)


def test_the_recursion_and_the_stationary_identities_of_predicted_dynamics() -> None:
    """Theory C3.5. The noise of x, standardised, is a standard normal independent of the past: each of the tests
    rejects the truth once in 10^5. The identities of stationary means hold for time averages up to martingale
    sums: 48 replicas of 2e4 steps, Student scores below 5, fails by chance once in 10^5."""
    eta, b, replicas, steps = 0.3, 5, 48, 20_000
    init = np.random.default_rng(2).uniform(0.2, 0.5, 5)
    model, numbers = predicted(eta, b, "without_replacement", init, "linear network")
    d, c2 = model.dim, noise_coefficients(6, b).c2
    alpha, beta, variance, spread = numbers[2], numbers[3], c2 * numbers[4], c2 * numbers[5]
    theta, u, across = numbers[7 : 7 + d], numbers[7 + d : 7 + 2 * d], numbers[7 + 2 * d :]
    run = sm.simulate(
        model, sm.PredictedDynamics(eta, b), steps, init, replicas=replicas, record_every=1, metrics=(),
        keep_params=True, seed=2,
    )  # fmt: skip
    away = run.params.values - theta
    x, y = away @ u, away @ across
    np.testing.assert_allclose(y[:, 1:], y[:, :-1] + eta * (alpha - beta / 2 * x[:, :-1] ** 2), atol=1e-9)
    noise = -x[:, 1:] - (1 + eta * y[:, :-1]) * x[:, :-1]
    z = noise / (eta * np.sqrt(spread * x[:, :-1] ** 2 + variance))
    assert scipy.stats.kstest(z[:, ::10].ravel(), "norm").pvalue > 1e-5
    for other in (x, y, z):
        products = (
            (z[:, 1:] * other[:, : z.shape[1] - 1]).mean(axis=1) if other is z else (z * other[:, :-1]).mean(axis=1)
        )
        assert abs(scipy.stats.ttest_1samp(products, 0.0).statistic) < 5
    x, y = x[:, 1000:], y[:, 1000:]
    x2 = (x**2).mean(axis=1)
    np.testing.assert_allclose(x2, 2 * alpha / beta, rtol=0.02)  # exact but for the ends of the average
    weighted = (y * x**2).mean(axis=1)
    square = (y**2 * x**2).mean(axis=1)
    first = weighted + eta / 2 * (square + spread * x2 + variance)
    assert abs(scipy.stats.ttest_1samp(first, 0.0).statistic) < 5
    second = y.mean(axis=1) + eta * beta / (4 * alpha) * (square + variance) + eta * spread / 2
    second = second + eta * beta**2 / (8 * alpha) * (x**2).var(axis=1)
    assert abs(scipy.stats.ttest_1samp(second, 0.0).statistic) < 5
    scale = eta * beta / (4 * alpha) * variance
    assert np.abs(second.mean()) < 0.05 * scale


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [2, 3])
def test_the_complementarity_problem_of_degenerate_eigenvalues(size: int, seed: int) -> None:
    """Sigma >= 0, excess - response : Sigma <= 0 and their product 0: what defines the least covariance."""
    rng = np.random.default_rng(seed)
    slopes = rng.standard_normal((size, size, 12))
    slopes = slopes + slopes.transpose(1, 0, 2)
    response = np.einsum("pqi,rsi->pqrs", slopes, slopes)
    excess = rng.standard_normal((size, size))
    excess = excess + excess.T + (seed % 3) * np.eye(size)  # of both signs, of one
    sigma = covariance(excess, response)
    slack = np.einsum("pqrs,rs->pq", response, sigma) - excess
    assert np.linalg.eigvalsh(sigma)[0] >= -1e-9
    assert np.linalg.eigvalsh(slack)[0] >= -1e-6
    assert abs(np.sum(sigma * slack)) < 1e-6
    if np.linalg.eigvalsh(excess)[-1] <= 0:
        assert (sigma == 0).all()


def slow_feature() -> tuple[sm.models.Model, float, np.ndarray]:
    """f = a (v . x) at its edge a^2 = 2 / eta, pushed up by a feature that takes thousands of steps to learn."""
    eta = 0.1
    model = sm.models.LinearNetwork(np.sqrt(2) * np.diag([1.0, 0.01]), np.sqrt(2) * np.array([0.0, 0.5]))
    return model, eta, np.array([0.05, 3.0, 0.999 * math.sqrt(2 / eta)])


def test_the_central_flow_follows_averaged_gradient_descent_along_the_edge() -> None:
    """Against averages of GD over 400 steps, which the gradient flow misses by more than ten times as much."""
    model, eta, init = slow_feature()
    paths = {}
    for name, dynamics in (("flow", sm.CentralFlow(eta, 5)), ("GD", sm.GD(eta)), ("none", sm.GradientFlow(eta, 1))):
        start = init * [0, 1, 1] if name == "flow" else init  # on the average
        run = sm.simulate(
            model, dynamics, 2000, start, record_every=1, metrics=("lambda_max",) if name == "flow" else (),
            keep_params=True,
        )  # fmt: skip
        paths[name] = run.params.values[0]
        if name == "flow":
            sharpness = run.lambda_max.values[0, 50:] * eta / 2
            np.testing.assert_allclose(sharpness[::5], 1, atol=1e-6)
    for start in range(0, 2000, 400):
        average, flow, none = (paths[name][start : start + 400].mean(axis=0) for name in ("GD", "flow", "none"))
        assert np.abs(average - flow).max() < 0.01
        if start:
            assert np.abs(average - none).max() > 0.1


@pytest.mark.parametrize("stride", [10, 50])
def test_the_central_flow_holds_the_edge_of_a_gate(stride: int) -> None:
    recipe = sm.recipes.gated_quadratic(1, samples=12, features=4)
    run = sm.simulate(
        recipe.model, sm.CentralFlow(recipe.step_size, stride), 8000, recipe.init, record_every=500,
        metrics=("lambda_max",),
    )  # fmt: skip
    sharpness = run.lambda_max.values[0] * recipe.step_size / 2
    assert sharpness[1] < 0.9
    np.testing.assert_allclose(sharpness[8:], 1, atol=1e-6)


@pytest.mark.parametrize("b", [1, 3, 12])
@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement"])
def test_the_stochastic_central_flow_lands_on_the_closed_form(b: int, sampling: str) -> None:
    recipe = sm.recipes.gated_quadratic(1, samples=12, features=4)
    dynamics = sm.StochasticCentralFlow(recipe.step_size, b, sampling=sampling)
    run = sm.simulate(recipe.model, dynamics, 15_000, recipe.init, record_every=15_000, metrics=("lambda_max",))
    expected = sm.theory.edge_sharpness(recipe.directions, b, sampling)
    assert run.lambda_max.values[0, -1] * recipe.step_size / 2 == pytest.approx(expected, abs=1e-5)
