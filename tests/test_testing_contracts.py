"""The batteries of sgdmodels.testing: everything public passes, and every mutant is found and named."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

import sgdmodels as sm
from sgdmodels.arguments import FloatArray
from sgdmodels.dynamics import Declaration, Plan
from sgdmodels.kernels.compile import inline
from sgdmodels.models.least_squares import KERNELS as LINEAR_KERNELS
from sgdmodels.models.linear_network import KERNELS as NETWORK_KERNELS
from sgdmodels.models.sharpening_least_squares import KERNELS as SHARPENING_KERNELS
from sgdmodels.testing import check_dynamics, check_metric, check_model
from sgdmodels.testing.derivatives import jacobian

add_hvp = LINEAR_KERNELS.add_hvp
X, Y = np.array([[1.0, 0.5], [-0.3, 2.0], [1.2, -1.0]]), np.array([1.0, -1.0, 0.5])


def fails(pattern: str, battery: Any, *arguments: Any) -> None:
    with pytest.raises(AssertionError, match=pattern):
        battery(*arguments)


def test_finite_differences_know_their_error() -> None:
    """Of exp(20 t), whose truncation error is large, and of a constant far from zero, which is all rounding."""
    for t in (0.0, 0.3, 1.0):
        value, error = jacobian(lambda theta: np.exp(20 * theta), np.array([t]))
        assert abs(value[0, 0] - 20 * np.exp(20 * t)) <= 20 * error[0, 0] <= 1e-5 * 20 * np.exp(20 * t)
    value, error = jacobian(lambda theta: 1e6 + theta**2, np.array([1.0]))
    assert abs(value[0, 0] - 2) <= error[0, 0] < 1e-5


def test_finite_differences_stay_where_the_function_is_finite() -> None:
    """log(w) at 0.05 has no value at w - 0.1; where there is no step at all, the error says so."""
    value, error = jacobian(np.log, np.array([0.05]))
    assert abs(value[0, 0] - 20) <= 20 * error[0, 0] <= 1e-6
    here = np.array([0.05])
    _, error = jacobian(lambda theta: np.where(theta == here, 1.0, np.nan), here)
    assert np.isinf(error).all()


# losses


class OffByOnePercent(sm.models.LeastSquares):
    def sample_gradients(self, theta: Any) -> FloatArray:
        return super().sample_gradients(theta) * [1.0, 1.01]


class WrongHessian(sm.models.LeastSquares):
    def sample_hessians(self, theta: Any) -> FloatArray:
        return super().sample_hessians(theta) * [[1.0, 1.01], [1.0, 1.0]]


class OtherKernel(sm.models.LeastSquares):
    """The data of the compiled loops are not those of the numpy formulas."""

    def __init__(self, inputs: Any, targets: Any) -> None:
        super().__init__(inputs, targets)
        self.targets = self.targets + 0.01


class MeanLossWithoutDrift(sm.models.SharpeningLeastSquares):
    @property
    def kernels(self) -> Any:
        return replace(SHARPENING_KERNELS, mean_loss=NETWORK_KERNELS.mean_loss)


class SumOfLosses(sm.models.LeastSquares):
    def loss(self, theta: Any) -> float:
        return float(self.sample_losses(theta).sum())


class NormalisedWeights(sm.models.LeastSquares):
    def weighted_gradient(self, theta: Any, index: Any, weight: Any) -> FloatArray:
        return super().weighted_gradient(theta, index, np.asarray(weight) / np.sum(weight))


class CrookedProduct(sm.models.LeastSquares):
    def hvp(self, theta: Any, vector: Any) -> FloatArray:
        return super().hvp(theta, vector) + 1e-4


class Careless(sm.models.LeastSquares):
    """Writes into the parameters that it is given."""

    def loss(self, theta: Any) -> float:
        value = super().loss(theta)
        if isinstance(theta, np.ndarray):
            theta += 1.0
        return value


class WearsOut(sm.models.LeastSquares):
    def hessian(self, theta: Any) -> FloatArray:
        value = super().hessian(theta)
        self.targets *= 1.0 + 1e-14
        return value


class ArraysOnly(sm.models.LeastSquares):
    def sample_losses(self, theta: Any) -> FloatArray:
        return super().sample_losses(theta + 0.0)


class TakesAnything(sm.models.LeastSquares):
    def check_parameters(self, name: str, value: Any) -> FloatArray:
        return np.ascontiguousarray(np.ravel(value)[: self.dim], dtype=np.float64)


class Speechless(sm.models.LeastSquares):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "data": self.inputs}


class Infinite(sm.models.LeastSquares):
    def sample_losses(self, theta: Any) -> FloatArray:
        return super().sample_losses(theta) + np.array([0.0, np.inf, 0.0])


@inline
def add_too_much(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):  # type: ignore[no-untyped-def]
    larger = scale
    if count > 1:
        larger = 1.5 * scale
    add_hvp(parts, vector, index, weight, count, larger, inputs, targets, constants, work, out)


class WrongForBatches(sm.models.LeastSquares):
    """Hessian-vector products of batches of more than one sample."""

    @property
    def kernels(self) -> Any:
        return replace(LINEAR_KERNELS, add_hvp=add_too_much)


class OnlyAtThePoint(sm.models.LeastSquares):
    """Losses that are nowhere finite but at points seen before their neighbours."""

    def sample_losses(self, theta: Any) -> FloatArray:
        value = super().sample_losses(theta)
        self.__dict__.setdefault("first", np.array(theta))
        return value if np.array_equal(np.asarray(theta), self.first) else value * np.nan


MUTANTS: dict[type[sm.models.LeastSquares], str] = {
    WrongForBatches: "minibatch_lambda_max is .* but that of sample_hessians is .* for all batches of 2",
    OffByOnePercent: r"sample_gradients\[\d, 1\] is \S+, but the derivative of sample_losses by finite differences",
    WrongHessian: r"sample_hessians\[\d, 0, 1\] is \S+, but the derivative of sample_gradients by finite differences",
    OtherKernel: r"gradient\[\d\] is \S+, but the mean of sample_gradients\[\d\] is \S+, at theta = \[",
    SumOfLosses: "loss is .*, but the mean of sample_losses is",
    NormalisedWeights: r"weighted_gradient.* weights @ sample_gradients.* for index = \[",
    CrookedProduct: r"hvp\[\d\] is .* but mean Hessian @ vector",
    Careless: "an argument of loss was modified",
    WearsOut: "the array targets of the loss was modified by evaluating the loss",
    ArraysOnly: "loss of a list must be accepted, got TypeError",
    TakesAnything: r"loss at parameters .* of shape \(3,\) must raise .*InvalidArgument, but was accepted",
    Speechless: "must fit into JSON",
    Infinite: "sample_losses must be finite",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_loss_is_found_and_its_defect_named(mutant: type[sm.models.LeastSquares]) -> None:
    fails(MUTANTS[mutant], check_model, mutant(X, Y))


def test_losses_that_no_difference_can_be_taken_of_are_not_passed_over() -> None:
    pattern = "sample_gradients cannot be compared with differences of sample_losses, .* pass theta= where"
    fails(pattern, check_model, OnlyAtThePoint(X, Y), np.array([0.1, 0.2]))


def test_a_loss_is_checked_close_to_the_end_of_its_domain() -> None:
    check_model(sm.SymbolicModel("log(w) + x*w", parameters={"w": ()}, data={"x": [1.0, 2.0]}), [0.05])


def test_a_broken_mean_loss_kernel_is_found() -> None:
    check_model(sm.models.SharpeningLeastSquares(X, Y, 0.3))
    fails("the metric loss is .* but the mean of sample_losses", check_model, MeanLossWithoutDrift(X, Y, 0.3))


def test_the_smallest_defect_that_is_found() -> None:
    """A factor of 1 + 1e-5 in one coordinate of the gradient is seen at any of 20 points."""

    class Slightly(sm.models.GatedQuadratic):
        def sample_gradients(self, theta: Any) -> FloatArray:
            return super().sample_gradients(theta) * [1.0, 1.0, 1.00001]

    for seed in range(20):
        theta = np.random.default_rng(seed).standard_normal(3)
        fails(r"sample_gradients\[\d, 2\]", check_model, Slightly(X, Y, 0.2, 3.0), theta)
        check_model(sm.models.GatedQuadratic(X, Y, 0.2, 3.0), theta)


# dynamics


def advance(model: Any, theta: FloatArray, memory: FloatArray, steps: int, step_size: float, batch_size: int) -> None:
    """Gradient steps plus what memory says."""
    theta -= step_size * steps * (model.gradient(theta) + memory[0])


@dataclass(frozen=True)
class Strides(sm.GD):
    """Gradient descent in Python, correct: the base of mutants."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, preserves="nothing")

    def plan(self, samples: int) -> Plan:
        return replace(super().plan(samples), advance=advance, stride=8)


@dataclass(frozen=True)
class Irreproducible(Strides):
    """Draws from a generator that no seed controls."""

    state: ClassVar[np.random.Generator] = np.random.default_rng(0)

    def plan(self, samples: int) -> Plan:
        def noisy(model: Any, theta: FloatArray, memory: FloatArray, *rest: Any) -> None:
            theta += 1e-3 * self.state.standard_normal(len(theta))

        return replace(super().plan(samples), advance=noisy)


@dataclass(frozen=True)
class KnowsItsCompany(Strides):
    """What a replica does depends on how many there are."""

    def plan(self, samples: int) -> Plan:
        return replace(super().plan(samples), memory=lambda model, theta: np.full((len(theta), 1), 1e-3 * len(theta)))


@dataclass(frozen=True)
class Forgetful(sm.SGD):
    """A velocity that starts at something else than zero when a run is taken up: its memory changes its shape."""

    def plan(self, samples: int) -> Plan:
        plan = super().plan(samples)
        return replace(plan, memory=lambda model, theta: velocity(theta))


SHAPES = [0]


def velocity(theta: FloatArray) -> FloatArray:
    SHAPES[0] += 1
    return np.zeros((len(theta), theta.shape[1] + SHAPES[0]))


@dataclass(frozen=True)
class NotDeterministic(sm.SGD):
    deterministic: ClassVar[bool] = True


@dataclass(frozen=True)
class NotRandom(sm.GD):
    deterministic: ClassVar[bool] = False

    def plan(self, samples: int) -> Plan:
        return replace(super().plan(samples), batch_sizes=np.array([1]))


@dataclass(frozen=True)
class Undeclared(sm.SGD):
    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, edge="")


@dataclass(frozen=True)
class Unbalanced(sm.SGD):
    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, edge=r"\frac{2}{\eta")


@dataclass(frozen=True)
class ClaimsTheCovariance(sm.NoisyGD):
    """Isotropic noise that is said to have the covariance of a batch."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, preserves="mean, covariance")


@dataclass(frozen=True)
class TooShort(sm.GD):
    """Steps that are 2 % shorter than those of the step size it reports."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, preserves="mean")

    def plan(self, samples: int) -> Plan:
        def short(model: Any, theta: FloatArray, memory: FloatArray, steps: int, step_size: float, _: int) -> None:
            theta -= 0.98 * step_size * steps * model.gradient(theta)

        return replace(super().plan(samples), advance=short)


@dataclass(frozen=True)
class HalfStep(sm.SGD):
    def plan(self, samples: int) -> Plan:
        plan = super().plan(samples)
        return replace(plan, step_sizes=0.5 * plan.step_sizes)


@dataclass(frozen=True)
class LargerBatch(sm.SGD):
    def plan(self, samples: int) -> Plan:
        return sm.SGD(self.step_size, 3).plan(samples)


@dataclass(frozen=True)
class SmallMomentum(sm.SGD):
    def plan(self, samples: int) -> Plan:
        return sm.SGD(self.step_size, self.batch_size, self.sampling, 0.5, self.nesterov).plan(samples)


@dataclass(frozen=True)
class FreshBatches(sm.SGD):
    """Batches of an epoch drawn afresh each step."""

    def plan(self, samples: int) -> Plan:
        nesterov = self.nesterov
        return sm.SGD(self.step_size, self.batch_size, momentum=self.momentum, nesterov=nesterov).plan(samples)


@dataclass(frozen=True)
class LateSchedule(sm.SGD):
    """A schedule of which only the first entry is in force."""

    def plan(self, samples: int) -> Plan:
        plan = super().plan(samples)
        return replace(plan, step_sizes=np.full_like(plan.step_sizes, plan.step_sizes[0]))


@dataclass(frozen=True)
class WeakDrift(sm.GD):
    """A flow to first order, it says, whose drift is 5 % too weak."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, preserves=r"mean to order $\eta$")

    def plan(self, samples: int) -> Plan:
        def weak(model: Any, theta: FloatArray, memory: FloatArray, steps: int, step_size: float, _: int) -> None:
            theta -= 0.95 * step_size * steps * model.gradient(theta)

        return replace(super().plan(samples), advance=weak)


MOMENTUM = "step 1 / step_size of one sample.* that of momentum=0.9, nesterov="
EPOCH = 'sampling is "epoch": the mean of the 3 batch gradients of epoch 0.* do not take every sample once'

BROKEN: dict[str, tuple[Any, str]] = {
    "half a step": (HalfStep(0.02, 2), r"step_size is 0.02 at step 0, but plan\(6\).step_sizes has 0.01 there"),
    "larger batch": (LargerBatch(0.02, 2), r"batch_size is 2 at step 0, but plan\(6\).batch_sizes has 3 there"),
    "late schedule": (LateSchedule([(0, 0.02), (9, 0.01)], 2), "step_size is 0.01 at step 9"),
    "momentum": (SmallMomentum(0.02, 2, momentum=0.9), MOMENTUM),
    "momentum of a full batch": (SmallMomentum(0.02, 6, momentum=0.9), MOMENTUM),
    "momentum of epochs": (SmallMomentum(0.02, 2, "epoch", 0.9), MOMENTUM),
    "Nesterov": (SmallMomentum(0.02, 2, momentum=0.9, nesterov=True), "the mean of a step is declared"),
    "fresh batches": (FreshBatches(0.02, 2, "epoch"), EPOCH),
    "fresh batches, heavy ball": (FreshBatches(0.02, 2, "epoch", 0.9), EPOCH),
    "fresh batches, Nesterov": (FreshBatches(0.02, 2, "epoch", 0.9, True), EPOCH),
    "weak drift": (WeakDrift(0.02), "the mean of a short step is declared to be that of SGD"),
    "irreproducible": (Irreproducible(0.02), "params differ when the same run is made again: entry"),
    "company": (KnowsItsCompany(0.02), r"params differ if only replicas 0:1:None are run: entry"),
    "forgetful": (Forgetful(0.02, 2, momentum=0.9), "params differ after resuming at step 64"),
    "not deterministic": (NotDeterministic(0.02, 2), "deterministic is True, but two seeds gives different runs"),
    "not random": (NotRandom(0.02), "deterministic is False, but two seeds gives the same run"),
    "undeclared": (Undeclared(0.02, 2), "declaration.edge must be text, got ''"),
    "unbalanced": (Unbalanced(0.02, 2), "declaration.edge must be balanced LaTeX"),
    "covariance": (ClaimsTheCovariance(0.02, 2, "isotropic"), "the covariance of a step is declared to be that of SGD"),
    "too short": (TooShort(0.02), "the mean of a step is declared to be that of SGD"),
    "diverges": (sm.GD(50.0), "every replica diverged"),
}


def test_the_base_of_mutants_passes() -> None:
    check_dynamics(Strides(0.02))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dynamics_is_found_and_its_defect_named(name: str) -> None:
    dynamics, pattern = BROKEN[name]
    fails(pattern, check_dynamics, dynamics)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("sampling", sm.sampling.SCHEMES)
def test_momentum_and_epochs_of_sgd_are_what_they_say(sampling: str, nesterov: bool) -> None:
    check_dynamics(sm.SGD(0.02, 2, sampling, 0.9, nesterov))


def test_what_is_no_dynamics_or_start_is_refused() -> None:
    for wrong in (3, sm.SGD):
        with pytest.raises(sm.errors.InvalidArgument, match=r"dynamics must be a dynamics such as sm.SGD\(0.1"):
            check_dynamics(wrong)  # type: ignore[arg-type]
    with pytest.raises(sm.errors.InvalidArgument, match=r"init must have shape \(8,\), got \(2,\)"):
        check_dynamics(sm.GD(0.02), init=[1.0, 2.0])
    with pytest.raises(sm.errors.InvalidArgument, match=r"metric must be a metric such as sm.Metric\("):
        check_metric("loss")  # type: ignore[arg-type]


def test_a_dynamics_that_refuses_the_loss_says_so() -> None:
    with pytest.raises(sm.errors.InvalidArgument, match="HomogenizedSGD needs"):
        check_dynamics(sm.HomogenizedSGD(0.02, 2), sm.models.GatedQuadratic(X, Y, 0.2, 3.0))


# metrics


def metric(evaluate: Any, name: str = "norm", per_batch_size: bool = False) -> sm.Metric:
    return sm.Metric(name, "norm of the parameters", "1", evaluate, per_batch_size)


def norm(snapshots: Any) -> FloatArray:
    return np.linalg.norm(snapshots.theta, axis=2)


def shifting(snapshots: Any) -> FloatArray:
    snapshots.theta[...] += 1.0
    return norm(snapshots)


def wearing(snapshots: Any) -> FloatArray:
    snapshots.model.inputs[0, 0] += 1e-6
    return norm(snapshots)


def many(snapshots: Any) -> FloatArray:
    return np.repeat(norm(snapshots)[..., None], len(snapshots.batch_sizes), axis=2)


def each(snapshots: Any) -> FloatArray:
    """Careless of replicas that diverged."""
    model = snapshots.model
    return np.array([[np.linalg.eigvalsh(model.hessian(theta))[-1] for theta in row] for row in snapshots.theta])


def by_size(snapshots: Any, sizes: Any) -> FloatArray:
    return np.stack([norm(snapshots) * size for size in sizes], axis=-1)


METRICS: dict[str, tuple[sm.Metric, str]] = {
    "knows how many batch sizes": (
        metric(lambda s: norm(s) * len(s.batch_sizes)),
        r"the value for batch_sizes=\(1,\)\[\d\] is .* but that for batch_sizes=\(1, 2\)",
    ),
    "how many, in each": (
        metric(lambda s: by_size(s, s.batch_sizes) * len(s.batch_sizes), per_batch_size=True),
        r"the value for batch_sizes=\(1,\) at 1",
    ),
    "sorts batch sizes": (
        metric(lambda s: by_size(s, sorted(s.batch_sizes)), per_batch_size=True),
        r"the value for batch_sizes=\(2, 1\) at 1",
    ),
    "complex": (metric(lambda s: norm(s) + 0j), "values must be real numbers, got dtype complex128"),
    "neighbours, a little": (
        metric(lambda s: norm(s) + 1e-8 * np.where(np.isfinite(norm(s)), norm(s), 0).sum()),
        "the value of a snapshot alone is",
    ),
    "error knows its company": (
        metric(lambda s: (norm(s), np.full(s.shape, 1.0 * len(s.theta)))),
        "the standard error of a snapshot alone is 1, but that among others is 2",
    ),
    "careless of infinities": (metric(each), r"snapshots that are not finite .*snapshots.alive.*theta must be finite"),
    "raises": (metric(lambda s: 1 / 0), "finite snapshots must be accepted, got ZeroDivisionError"),
    "modifies the snapshots": (metric(shifting), "the snapshots were modified by the metric"),
    "modifies the loss": (metric(wearing), "the array inputs of the loss was modified by the metric"),
    "looks at neighbours": (
        metric(lambda s: norm(s) - np.nanmean(np.where(np.isfinite(norm(s)), norm(s), np.nan))),
        "the value of a snapshot alone is .* but that among others is .* for replica 0, step 0",
    ),
    "first step only": (metric(lambda s: norm(s)[:, :1]), r"values must have shape \(2, 4\) .* got \(2, 1\)"),
    "no batch sizes": (
        metric(norm, per_batch_size=True),
        r"values must have shape \(2, 4, 2\) with per_batch_size=True",
    ),
    "batch sizes undeclared": (metric(many), r"values must have shape \(2, 4\) with per_batch_size=False"),
    "not finite": (
        metric(lambda s: np.where(norm(s) > 1, norm(s), np.nan)),
        "norm must be finite at finite parameters",
    ),
    "error of another shape": (metric(lambda s: (norm(s), norm(s)[0])), r"standard errors must have shape \(2, 4\)"),
    "negative error": (metric(lambda s: (norm(s), -norm(s))), "standard errors must not be negative"),
    "three arrays": (metric(lambda s: (norm(s),) * 3), r"values or \(values, standard errors\), got 3 arrays"),
    "reserved name": (metric(norm, "params"), "name must be an identifier other than"),
    "no identifier": (metric(norm, "norm of theta"), "name must be an identifier"),
    "no unit": (replace(metric(norm), units=""), "units must be text"),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_broken_metric_is_found_and_its_defect_named(name: str) -> None:
    broken, pattern = METRICS[name]
    fails(pattern, check_metric, broken)


def test_a_metric_that_reads_its_place_in_a_run_is_found() -> None:
    """The same in measure and in simulate, but not alone."""
    check_metric(metric(norm))
    check_metric(metric(many, per_batch_size=True))
    with pytest.raises(AssertionError, match=re.escape("the value of a snapshot alone")):
        check_metric(metric(lambda s: norm(s) + np.arange(s.shape[1])))
