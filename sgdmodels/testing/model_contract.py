"""The contract of a loss: losses, gradients, Hessians and kernels are those of one and the same function."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray
from ..batches import number_of_batches
from ..dynamics import GD, SGD
from ..measure import checked_model, measure
from ..metrics.minibatch_lambda_max import ENUMERATE_UP_TO
from ..models import Model
from ..simulate import simulate
from .batches import batch_table
from .derivatives import jacobian
from .failures import answered, equal, kept, refused, require, same_bits, shown

ROUNDING = 1e-10  # of sums over samples, in units of their largest term
DERIVATIVE_ERRORS = 20.0  # in units of Ridders' estimate
RELATIVE = 1e-7  # slack on derivatives beside that
POINTS = 2
CANCELLED = 1e-4  # of the largest gradient: a batch gradient this small is mostly rounding, and so is a ratio to it
TINY_MOMENTUM = 1e-300  # a velocity of its own, and not a digit of difference


def check_model(model: Model, theta: ArrayLike | None = None, seed: int = 0) -> None:
    """Check the contract of a loss at parameters `theta` (d,), by default at a few normal ones drawn with `seed`.

    Losses, gradients and Hessians of all samples against each other by finite differences whose error is controlled;
    the full loss, gradient, Hessian and its products against means over samples, and so every kernel against the numpy
    formulas; gradients and Hessians of all batches of one, two (if they are at most 512) and n samples; symmetry and
    linearity; a step in place; inputs left alone; lists accepted and wrong shapes refused; a description that fits into
    a file. Raises AssertionError that says which property fails, where, and the numbers; InvalidArgument for what is
    no loss.

    >>> import sgdmodels as sm
    >>> check_model(sm.models.LeastSquares([[1.0, 2.0]], [3.0]))
    """
    checked_model(model)
    _check_description(model)
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((POINTS, model.dim)) if theta is None else [model.check_parameters("theta", theta)]
    before = kept(model)
    for point in points:
        _check_arguments(model, np.array(point))
        _check_derivatives(model, np.array(point))
        _check_means(model, np.array(point))
        _check_products(model, np.array(point), rng)
        _check_loops(model, np.array(point))
        _check_batches(model, np.array(point))
    for name, array in kept(model).items():
        same_bits(
            f"the array {name} of the loss", array, before.get(name, array), "was modified by evaluating the loss"
        )


def _check_description(model: Model) -> None:
    for name in ("samples", "dim"):
        size = getattr(model, name, None)
        require(isinstance(size, int) and size >= 1, f"model.{name} must be an int of at least 1, got {size!r}")
    about = model.describe()
    for name, value in (("name", type(model).__name__), ("samples", model.samples), ("dim", model.dim)):
        require(about.get(name) == value, f"model.describe()[{name!r}] must be {value!r}, got {about.get(name)!r}")
    try:
        json.dumps(about)
    except (TypeError, ValueError) as problem:
        raise AssertionError(f"model.describe() must fit into JSON, for a run's provenance: {problem}") from None
    require(type(model).__name__ in repr(model), f"repr(model) must name its class, got {model!r}")


def _check_derivatives(model: Model, theta: FloatArray) -> None:
    """Shapes and values of what is given sample by sample."""
    n, d, where = model.samples, model.dim, shown(theta)
    losses, gradients = model.sample_losses(theta), model.sample_gradients(theta)
    hessians = model.sample_hessians(theta)
    for name, array, shape in (
        ("losses", losses, (n,)),
        ("gradients", gradients, (n, d)),
        ("hessians", hessians, (n, d, d)),
    ):
        require(np.shape(array) == shape, f"sample_{name} must have shape {shape}, got {np.shape(array)}, {where}")
        require(np.isfinite(array).all(), f"sample_{name} must be finite, got {array}, {where}")
    for name, source, array in (("gradients", "losses", gradients), ("hessians", "gradients", hessians)):
        numeric, error = jacobian(getattr(model, f"sample_{source}"), theta)
        require(
            np.isfinite(error).all(),
            f"sample_{name} cannot be compared with differences of sample_{source}, which are not finite however close "
            f"to the point, {where}: pass theta= where the loss is smooth",
        )
        tolerance = DERIVATIVE_ERRORS * error + RELATIVE * np.abs(numeric)
        equal(
            f"sample_{name}",
            array,
            numeric,
            f"the derivative of sample_{source} by finite differences",
            tolerance,
            where,
        )
    scale = np.abs(hessians).max()
    equal("sample_hessians", hessians, hessians.transpose(0, 2, 1), "its transpose", 1e-12 * scale, where)


def _check_means(model: Model, theta: FloatArray) -> None:
    """Full-batch quantities, which come from kernels, against means of the numpy formulas."""
    where, n = shown(theta), model.samples
    losses, gradients, hessians = (
        model.sample_losses(theta),
        model.sample_gradients(theta),
        model.sample_hessians(theta),
    )
    slack = ROUNDING * np.abs(gradients).max()
    equal("loss", model.loss(theta), losses.mean(), "the mean of sample_losses", ROUNDING * np.abs(losses).max(), where)
    equal("gradient", model.gradient(theta), gradients.mean(axis=0), "the mean of sample_gradients", slack, where)
    curvature = ROUNDING * np.abs(hessians).max()
    equal("hessian", model.hessian(theta), hessians.mean(axis=0), "the mean of sample_hessians", curvature, where)
    chosen = [[n - 1], [0, n // 2], [0, n // 2, n // 2, n - 1], [*range(n - 1, -1, -1), 0, 0]]
    for index in chosen:  # one, few, repeats, more than a block of four
        weight = np.linspace(-0.5, 1.0, len(index)) if len(index) > 1 else np.array([1.0])
        equal(
            "weighted_gradient", model.weighted_gradient(theta, index, weight), weight @ gradients[index],
            "weights @ sample_gradients", len(index) * slack, f"for index = {index}, {where}",
        )  # fmt: skip


def _check_products(model: Model, theta: FloatArray, rng: np.random.Generator) -> None:
    """Hessian-vector products: value, linearity, symmetry."""
    where, hessians = shown(theta), model.sample_hessians(theta)
    v, w = rng.standard_normal((2, model.dim))
    size = ROUNDING * model.dim * np.abs(hessians).max() * max(np.abs(v).max(), np.abs(w).max())
    along_v, along_w = model.hvp(theta, v), model.hvp(theta, w)
    equal("hvp", along_v, hessians.mean(axis=0) @ v, "mean Hessian @ vector", size, where)
    both = model.hvp(theta, 2 * v - 3 * w)
    equal("hvp(2 v - 3 w)", both, 2 * along_v - 3 * along_w, "2 hvp(v) - 3 hvp(w)", 6 * size, where)
    reach = size * model.dim * max(np.abs(v).max(), np.abs(w).max())
    equal("w . hvp(v)", w @ along_v, v @ along_w, "v . hvp(w)", reach, where)


def _check_arguments(model: Model, theta: FloatArray) -> None:
    """Lists are as good as arrays, inputs stay what they are, and wrong ones are refused."""
    n, d, where = model.samples, model.dim, shown(theta)
    vector = np.ones(d)
    index, weight = np.arange(n), np.full(n, 1 / n)
    calls = {
        "loss": (theta,), "gradient": (theta,), "hessian": (theta,), "sample_losses": (theta,),
        "sample_gradients": (theta,), "sample_hessians": (theta,), "hvp": (theta, vector),
        "weighted_gradient": (theta, index, weight),
    }  # fmt: skip
    for name, given in calls.items():
        method = getattr(model, name)
        copies = [array.copy() for array in given]
        value = method(*given)
        for array, copy in zip(given, copies, strict=True):
            same_bits(f"an argument of {name}", array, copy, f"was modified, {where}")
        lists = [array.tolist() for array in given]
        again = answered(f"{name} of a list", lambda: method(*lists))  # noqa: B023 - called at once
        same_bits(f"{name} of a list", again, value, f"is not that of an array, {where}")
        for wrong in (np.append(theta, 0.0), theta[:, None].copy(), np.where(np.arange(d) == 0, np.nan, theta)):
            refused(f"{name} at parameters {wrong.tolist()} of shape {wrong.shape}", lambda: method(wrong, *given[1:]))  # noqa: B023
    refused(f"hvp with a vector of {d + 1} entries", lambda: model.hvp(theta, np.ones(d + 1)))
    refused(f"weighted_gradient with index {n}", lambda: model.weighted_gradient(theta, [n], [1.0]))
    refused("weighted_gradient with one weight for two samples", lambda: model.weighted_gradient(theta, [0, 0], [1.0]))


def _check_loops(model: Model, theta: FloatArray) -> None:
    """What only compiled loops use: the mean loss, curvature along batch gradients, steps in place."""
    where, n = shown(theta), model.samples
    losses, g, h = model.sample_losses(theta), model.sample_gradients(theta), model.sample_hessians(theta)
    point = measure(model, theta, batch_size=1, metrics=("loss", "batch_sharpness"))
    equal(
        "the metric loss",
        point.loss,
        losses.mean(),
        "the mean of sample_losses",
        ROUNDING * np.abs(losses).max(),
        where,
    )
    square = float((g * g).sum())
    if square > 0:
        expected = np.einsum("ni,nij,nj->", g, h, g) / square
        slack = ROUNDING * model.dim * np.abs(h).max()
        equal("batch_sharpness at b = 1", point.batch_sharpness[0], expected, "that of the samples", slack, where)
    step = 1e-3 / max(1.0, float(np.abs(h).max()))
    full = theta - step * g.mean(axis=0)
    slack = ROUNDING * max(1.0, float(np.abs(theta).max()), step * float(np.abs(g).max()))
    equal("a step of GD", _stepped(model, GD(step), theta), full, "theta - step_size * mean gradient", slack, where)
    for b in {1, n}:
        in_place = _stepped(model, SGD(step, b), theta)
        apart = _stepped(model, SGD(step, b, momentum=TINY_MOMENTUM), theta)
        equal(f"a step of SGD in place, b = {b}", in_place, apart, "the step out of place", slack, where)


def _check_batches(model: Model, theta: FloatArray) -> None:
    """Curvatures of whole batches, which metrics take from kernels: pairs (of equal samples, too), and all samples."""
    n, where = model.samples, shown(theta)
    gradients, hessians = model.sample_gradients(theta), model.sample_hessians(theta)
    slack = ROUNDING * model.dim * np.abs(hessians).max()
    for b, sampling in ((2, "with_replacement"), (n, "without_replacement")):
        if n == 1 or number_of_batches(n, b, sampling) > ENUMERATE_UP_TO:
            continue
        batches = batch_table(gradients, hessians, b, sampling)
        point = measure(
            model, theta, b, sampling=sampling, metrics=("minibatch_lambda_max", "batch_sharpness_mean_ratio")
        )
        about = f"for all batches of {b}, sampling={sampling!r}, {where}"
        mean = batches.mean(np.linalg.eigvalsh(batches.hessians)[:, -1].astype(np.float64))
        equal("minibatch_lambda_max", point.minibatch_lambda_max[0], mean, "that of sample_hessians", slack, about)
        square = (batches.gradients**2).sum(axis=1)
        if square.min() > (CANCELLED * np.abs(gradients).max()) ** 2:
            curved = np.einsum("mi,mij,mj->m", batches.gradients, batches.hessians, batches.gradients)
            value, ratio = point.batch_sharpness_mean_ratio[0], batches.mean(curved / square)
            equal("batch_sharpness_mean_ratio", value, ratio, "that of the samples", slack, about)


def _stepped(model: Model, dynamics: GD | SGD, theta: FloatArray) -> FloatArray:
    run = simulate(model, dynamics, 1, theta, metrics=(), keep_params=True, record_every=1, progress=False)
    return np.asarray(run.params.values[0, -1])
