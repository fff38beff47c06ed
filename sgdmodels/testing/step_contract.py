"""The contract of a step: schedules, moments, momentum and epochs are those that a dynamics declares."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from ..arguments import FloatArray
from ..dynamics import Dynamics
from ..dynamics.schedules import checked_schedule
from ..errors import InvalidArgument
from ..models import DiagonalNetwork, Model
from ..sampling import noise_coefficients
from ..simulate import simulate
from .failures import equal, require, shown

SAMPLE = 20_000
DRIFT_SAMPLE = 4_000
DEVIATIONS = 5.0
SHORT = 1e-4  # in units of one over the largest entry of a Hessian: what is left of a step is its first order
FIRST_ORDER = 0.002  # in units of the largest gradient
BATCHES = 3  # of an epoch
STRAIGHT = 1e-6  # how far a step moves parameters of order one, where gradients are to stay what they are
PARTITION = 1e-3  # in units of the largest gradient


def check_plan(dynamics: Dynamics, samples: int) -> None:
    """The step sizes and batch sizes in force are those of the attributes, where there are such."""
    plan = dynamics.plan(samples)
    for name, planned in (("step_size", plan.step_sizes), ("batch_size", plan.batch_sizes)):
        declared = getattr(dynamics, name, None)
        if declared is None:
            continue
        schedule = checked_schedule(name, declared, lambda _, value: value)
        for start in sorted({*plan.starts.tolist(), *(first for first, _ in schedule)}):
            said = [value for first, value in schedule if first <= start][-1]
            taken = planned[np.searchsorted(plan.starts, start, side="right") - 1]
            require(
                taken == said, f"{name} is {said} at step {start}, but plan({samples}).{name}s has {taken} there: "
                "they must agree, for runs record what the plan says",
            )  # fmt: skip


def check_moments(dynamics: Dynamics, model: Model, init: FloatArray, seed: int) -> None:
    """Mean and second moments of a first step, if they are declared to be exactly those of SGD."""
    exact = _declared(dynamics, model)
    if not exact:
        return
    b = int(dynamics.plan(model.samples).batch_sizes[0])
    noise = noise_coefficients(model.samples, b, getattr(dynamics, "sampling", "without_replacement"))
    gradients = model.sample_gradients(init)
    mean = gradients.mean(axis=0)
    spread = gradients if noise.raw else gradients - mean
    covariance = noise.c2 * spread.T @ spread / model.samples
    first = 1.0 + (dynamics.momentum if getattr(dynamics, "nesterov", False) else 0.0)  # type: ignore[attr-defined]
    away = _moves(dynamics, model, init, 1, SAMPLE, seed)[:, 0] / first - mean  # the noise of the gradient
    slack = 1e-9 * float(np.abs(gradients).max())
    _within("the mean of a step", away, np.zeros(model.dim), slack, seed)
    i, j = np.triu_indices(model.dim)
    if "covariance" in exact:
        _within("the covariance of a step", away[:, i] * away[:, j], covariance[i, j], slack**2, seed)
    elif "variances" in exact:
        _within("the variances of a step", away**2, np.diag(covariance), slack**2, seed)
    elif "total variance" in exact:
        total = (away**2).sum(axis=1, keepdims=True)
        _within("the total variance of a step", total, np.array([np.trace(covariance)]), slack**2, seed)


def check_drift(dynamics: Dynamics, model: Model, init: FloatArray, seed: int) -> None:
    """The mean of a very short step, where it is declared to some order in eta."""
    if not re.match(r"mean.* to order \$\\eta", dynamics.declaration.preserves) or dynamics.declaration.heuristic:
        return
    gradients = model.sample_gradients(init)
    step = SHORT / max(float(np.abs(model.sample_hessians(init)).max()), 1.0)
    short = replace(dynamics, step_size=min(step, float(dynamics.plan(model.samples).step_sizes[0])))  # type: ignore[call-arg]
    draws = 1 if dynamics.deterministic else DRIFT_SAMPLE
    away = _moves(short, model, init, 1, draws, seed)[:, 0] - gradients.mean(axis=0)
    _within("the mean of a short step", away, np.zeros(model.dim), FIRST_ORDER * float(np.abs(gradients).max()), seed)


def check_steps(dynamics: Dynamics, seed: int) -> None:
    """Three steps without noise, on a loss of one sample, are those of the declared momentum."""
    if not _is_descent(dynamics):
        return
    one = _constant(dynamics, 1)
    eta = float(one.plan(1).step_sizes[0])
    model = DiagonalNetwork(np.array([[1.0, -0.5]]) / max(1.0, eta), np.array([0.7]))
    theta = np.array([0.5, 0.3, -0.4, 0.8])
    if not _accepts(one, model):
        return
    beta, nesterov = float(getattr(one, "momentum", 0.0)), bool(getattr(one, "nesterov", False))
    moves = _moves(one, model, theta, 3, 1, seed)[0]
    velocity, scale = np.zeros(4), float(np.abs(model.gradient(theta)).max())
    for step, move in enumerate(moves):
        gradient = model.gradient(theta)
        velocity = beta * velocity + gradient
        expected = gradient + beta * velocity if nesterov else velocity
        declared = f"that of momentum={beta}, nesterov={nesterov}" if beta else "the gradient"
        slack = 1e-9 * scale + 1e-15 / eta
        equal(f"step {step} / step_size of one sample", move, expected, declared, slack, shown(theta))
        theta = theta - eta * expected


def check_epochs(dynamics: Dynamics, seed: int) -> None:
    """For sampling "epoch", the batches of an epoch make up all samples: their gradients have a sum without noise."""
    if getattr(dynamics, "sampling", None) != "epoch" or not _is_descent(dynamics):
        return
    steady = _constant(dynamics)
    plan = steady.plan(int(steady.batch_size))  # type: ignore[attr-defined]
    eta, b = float(plan.step_sizes[0]), int(plan.batch_sizes[0])
    rng = np.random.default_rng(3)
    small = STRAIGHT / max(eta, STRAIGHT)
    model = DiagonalNetwork(small * rng.standard_normal((BATCHES * b, 4)), rng.standard_normal(BATCHES * b))
    theta = rng.uniform(0.2, 0.5, model.dim)
    if not _accepts(steady, model):
        return
    beta, nesterov = float(getattr(steady, "momentum", 0.0)), bool(getattr(steady, "nesterov", False))
    moves = _moves(steady, model, theta, 2 * BATCHES, 8, seed)
    velocity, batches = np.zeros_like(moves[:, 0]), []
    for move in moves.swapaxes(0, 1):
        batches.append((move - beta**2 * velocity) / (1 + beta) if nesterov else move - beta * velocity)
        velocity = beta * velocity + batches[-1]
    whole, largest = model.gradient(theta), float(np.abs(model.sample_gradients(theta)).max())
    for epoch in range(2):
        sums = sum(batches[BATCHES * epoch : BATCHES * (epoch + 1)])
        equal(
            f'sampling is "epoch": the mean of the {BATCHES} batch gradients of epoch {epoch}', sums / BATCHES,
            np.broadcast_to(whole, (8, model.dim)), "the gradient of all samples", PARTITION * largest,
            f"for {BATCHES * b} samples in batches of {b}, so the batches do not take every sample once",
        )  # fmt: skip


def _moves(dynamics: Dynamics, model: Model, init: FloatArray, steps: int, replicas: int, seed: int) -> FloatArray:
    """What steps subtract from the parameters, over the first step size; shape (replica, step, d)."""
    run = simulate(
        model, dynamics, steps, init, replicas=replicas, record_every=1, metrics=(), keep_params=True, seed=seed,
        progress=False,
    )  # fmt: skip
    return -np.diff(run.params.values, axis=1) / float(dynamics.plan(model.samples).step_sizes[0])


def _constant(dynamics: Dynamics, batch_size: int | None = None) -> Dynamics:
    """The dynamics with the first step size and batch size of its schedules for ever, or with another batch size."""
    first = {}
    for name, wanted in (("step_size", None), ("batch_size", batch_size)):
        if hasattr(dynamics, name):
            first[name] = checked_schedule(name, getattr(dynamics, name), lambda _, value: value)[0][1]
            first[name] = first[name] if wanted is None else wanted
    return replace(dynamics, **first)


def _accepts(dynamics: Dynamics, model: Model) -> bool:
    """Whether the dynamics has a meaning on a loss that is not the one it was asked to be checked on."""
    try:
        dynamics.check_model(model)
    except InvalidArgument:
        return False
    return True


def _is_descent(dynamics: Dynamics) -> bool:
    """Whether it declares steps along batch gradients and nothing else."""
    declaration = dynamics.declaration
    if declaration.relative_to not in ("SGD", "GD"):
        return False
    return declaration.preserves.startswith("everything") or (
        declaration.preserves.strip() == "mean" and dynamics.deterministic
    )


def _declared(dynamics: Dynamics, model: Model) -> tuple[str, ...]:
    """Which moments the declaration says are exactly those of SGD; orders and conditions are no such thing."""
    text = dynamics.declaration.preserves.split("(at the last")[0].strip()
    if dynamics.declaration.relative_to not in ("SGD", "GD"):
        return ()
    if text.startswith("everything"):
        return ("mean", "covariance")
    if text == "mean (exactly, for squared loss)":
        return ("mean",) if model.squared_error else ()
    parts = tuple(part.strip() for part in text.split(","))
    known = ("mean", "covariance", "variances", "total variance")
    return parts if parts[0] == "mean" and all(part in known for part in parts) else ()


def _within(subject: str, sample: FloatArray, expected: FloatArray, slack: float, seed: int) -> None:
    """The mean of `sample` (draw, k) is `expected` (k,) within DEVIATIONS standard errors."""
    mean = sample.mean(axis=0)
    error = sample.std(axis=0) / np.sqrt(len(sample))
    excess = np.abs(mean - expected) - slack - DEVIATIONS * error
    worst = int(np.argmax(excess))
    require(
        excess[worst] <= 0,
        f"{subject} is declared to be that of SGD: entry {worst} of the gradient noise, over {len(sample)} steps with "
        f"seed={seed}, has mean {mean[worst]:.6g} +- {error[worst]:.2g} instead of {expected[worst]:.6g}",
    )
