"""The SDE runs in diffrax and torchsde: Euler-Maruyama of dtheta = -grad L dt + sqrt(eta Sigma_b) dW, f = (u * v) . x.

Both get one Brownian motion per sample and the diffusion as a product, never as a matrix: with g_i the gradient of
sample i and c = (n - b) / (b (n - 1)), a solver's step of length h is

    theta <- theta - sum_i [h / n + sqrt(eta c / n) (dW_i - mean dW)] g_i(theta).

Float64, compiled beforehand where there is a compiler, free to use all cores, nothing recorded but the end. Increments
of fixed steps are independent, so no path needs to be able to answer a question twice. All variants of `DIFFRAX` and
`TORCHSDE` can be timed; the fastest is reported. `check_agreement` compares them, and C, with a few lines of numpy.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("EQX_ON_ERROR", "nan")  # diffrax's FAQ: no run-time checks on the host

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import torch
import torchsde
from tasks import SEED, Task, product_task

from sgdmodels.arguments import aligned

jax.config.update("jax_enable_x64", True)

# Replicas as a batch of one system ("batch") or by vmap; random numbers by JAX's default generator ("threefry"), by
# XLA's own ("rbg"), by diffrax's tree ("tree") or, by a path of a few lines, in one call ahead of each block of BLOCK
# substeps ("ahead", a solve a block); drift and noise as one term that shares the products with the inputs ("joint") or
# as diffrax's documentation has it ("two terms").
DIFFRAX = (
    "batch, rbg, joint", "batch, threefry, joint", "batch, ahead, joint", "batch, tree, joint",
    "batch, threefry, two terms", "vmap, threefry, joint", "vmap, threefry, two terms",
    "vmap, ahead, joint", "vmap, tree, two terms",
)  # fmt: skip
BLOCK = 20  # 10 to 50 differ within noise; one block of 800 is slower by half, its increments being out of cache
# Brownian motion: torchsde's BrownianInterval told the step, with its cache of 45 entries or with an infinite one, or
# not told the step ("no hint"); or ("fresh") a BaseBrownian of a few lines that draws new normals at every query. Drift
# and noise by one method that shares the residuals ("joint") or by two ("f, g_prod").
TORCHSDE = ("fresh, joint", "interval, joint", "infinite cache, joint", "no hint, joint", "interval, f, g_prod")
C = ("sde_product", "sde_product_by_replica")  # eight replicas in step, or one after the other


def diffusion(task: Task) -> float:
    """sqrt(eta c / n)."""
    n, b = task.model.samples, task.batch_size
    return math.sqrt(task.step_size * (n - b) / (b * (n - 1)) / n)


class Joint(diffrax.AbstractPath):
    """Time and a Brownian motion as one control."""

    brownian: Any
    t0 = -math.inf
    t1 = math.inf

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        return t1 - t0, self.brownian.evaluate(t0, t1)


class Ahead(diffrax.AbstractPath):
    """Increments that were drawn before the loop."""

    increments: Any
    step: float
    t0 = -math.inf
    t1 = math.inf

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        return self.increments[jnp.round(t0 / self.step).astype(jnp.int32)]


def diffrax_runner(
    task: Task, replicas: int, substeps: int, variant: str, per_step: int = 10, start: Any = None
) -> Callable[[], Any]:
    """A compiled run of `substeps` substeps of length eta / per_step from the start of `task`."""
    inputs, targets = jnp.asarray(task.model.data[0]), jnp.asarray(task.model.data[1])
    samples, size = inputs.shape
    scale, h = diffusion(task), task.step_size / per_step
    layout, numbers, terms = variant.split(", ", 2)
    shape = (samples,) if layout == "vmap" else (replicas, samples)
    block = BLOCK if numbers == "ahead" else substeps
    if substeps % block:
        raise ValueError(f"{substeps} substeps are no multiple of {BLOCK}")

    def residuals(theta: Any) -> Any:
        return (theta[..., :size] * theta[..., size:]) @ inputs.T - targets

    def weighted(theta: Any, weights: Any) -> Any:
        q = weights @ inputs
        return jnp.concatenate([-q * theta[..., size:], -q * theta[..., :size]], axis=-1)

    def centred(increment: Any) -> Any:
        return scale * (increment - increment.mean(axis=-1, keepdims=True))

    def drift(t: Any, theta: Any, args: Any) -> Any:
        return weighted(theta, residuals(theta) / samples)

    def noise(t: Any, theta: Any, args: Any) -> Any:
        r = residuals(theta)
        mv = lambda dw: weighted(theta, centred(dw) * r)  # noqa: E731
        return lineax.FunctionLinearOperator(mv, jax.ShapeDtypeStruct(shape, jnp.float64))

    def both(t: Any, theta: Any, args: Any) -> Any:
        r = residuals(theta)
        mv = lambda control: weighted(theta, (control[0] / samples + centred(control[1])) * r)  # noqa: E731
        structure = jax.ShapeDtypeStruct((), jnp.float64), jax.ShapeDtypeStruct(shape, jnp.float64)
        return lineax.FunctionLinearOperator(mv, structure)

    def one(key: Any, theta: Any) -> Any:
        brownian: Any
        if numbers == "tree":
            brownian = diffrax.VirtualBrownianTree(0.0, block * h, tol=h / 2, shape=shape, key=key)
        elif numbers == "ahead":
            brownian = Ahead(math.sqrt(h) * jax.random.normal(key, (block, *shape)), h)
        else:
            brownian = diffrax.UnsafeBrownianPath(shape, key)
        if terms == "joint":
            system: Any = diffrax.ControlTerm(both, Joint(brownian))
        else:
            system = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, brownian))
        return diffrax.diffeqsolve(
            system, diffrax.Euler(), 0.0, block * h, None, theta, max_steps=None, throw=False,
            adjoint=diffrax.ForwardMode(), stepsize_controller=diffrax.StepTo(h * jnp.arange(block + 1)),
        ).ys[0]  # fmt: skip

    def blocks(key: Any, theta: Any) -> Any:
        keys = jax.random.split(key, substeps // block)
        return jax.lax.scan(lambda point, k: (one(k, point), None), theta, keys)[0]

    theta = jnp.tile(jnp.asarray(task.init if start is None else start), (replicas, 1))
    key = jax.random.key(SEED, impl="rbg" if numbers == "rbg" else "threefry2x32")
    if layout == "vmap":
        arguments, run = (jax.random.split(key, replicas), theta), jax.jit(jax.vmap(blocks))
    else:
        arguments, run = (key, theta), jax.jit(blocks)

    def go() -> Any:
        return run(*arguments).block_until_ready()

    if not np.isfinite(np.asarray(go())).all():
        raise SystemExit(f"diffrax diverged on {task.name}")
    return go


class Fresh(torchsde.BaseBrownian):
    """New normals at every query."""

    dtype, device, levy_area_approximation = torch.float64, torch.device("cpu"), "none"

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape

    def __repr__(self) -> str:
        return f"Fresh({self.shape})"

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        return torch.randn(self.shape, dtype=torch.float64).mul_(math.sqrt(tb - ta))


class System:
    """-grad L, and the product of the diffusion with an increment."""

    noise_type, sde_type = "general", "ito"

    def __init__(self, task: Task, joint: bool) -> None:
        self.inputs, self.targets = (torch.from_numpy(np.array(a)) for a in task.model.data[:2])
        self.samples, self.size = self.inputs.shape
        self.scale = diffusion(task)
        if joint:
            self.f_and_g_prod = self._f_and_g_prod
        else:
            self.f, self.g_prod = self._f, self._g_prod

    def residuals(self, theta: Any) -> Any:
        return torch.addmm(self.targets, theta[:, : self.size] * theta[:, self.size :], self.inputs.T, beta=-1)

    def weighted(self, theta: Any, weights: Any) -> Any:
        q = weights @ self.inputs
        return torch.cat([q * theta[:, self.size :], q * theta[:, : self.size]], dim=1)

    def centred(self, increment: Any) -> Any:
        return increment - increment.mean(dim=1, keepdim=True)

    def _f(self, t: Any, theta: Any) -> Any:
        return self.weighted(theta, self.residuals(theta) * (-1 / self.samples))

    def _g_prod(self, t: Any, theta: Any, increment: Any) -> Any:
        return self.weighted(theta, self.residuals(theta) * self.centred(-self.scale * increment))

    def _f_and_g_prod(self, t: Any, theta: Any, increment: Any) -> Any:
        r = self.residuals(theta)
        drift, noise = r * (-1 / self.samples), r * self.centred(-self.scale * increment)
        return self.weighted(theta, drift), self.weighted(theta, noise)


def torchsde_runner(
    task: Task, replicas: int, substeps: int, variant: str, per_step: int = 10, start: Any = None
) -> Callable[[], Any]:
    """A run of `substeps` substeps of length eta / per_step from the start of `task`."""
    kind, methods = variant.split(", ", 1)
    h, shape = task.step_size / per_step, (replicas, task.model.samples)
    system = System(task, methods == "joint")
    theta = torch.from_numpy(np.tile(task.init if start is None else start, (replicas, 1)))
    times = torch.tensor([0.0, substeps * h * (1 - 1e-12)], dtype=torch.float64)  # no further step of rounding's length
    options: dict[str, Any] = {"infinite cache": {"cache_size": None, "dt": h}, "no hint": {}}
    interval = partial(torchsde.BrownianInterval, 0.0, substeps * h, shape, torch.float64, entropy=SEED)

    def go() -> Any:
        torch.manual_seed(SEED)
        brownian = Fresh(shape) if kind == "fresh" else interval(**options.get(kind, {"dt": h}))
        with torch.inference_mode():
            return torchsde.sdeint(system, theta, times, bm=brownian, method="euler", dt=h)[-1]

    if not bool(go().isfinite().all()):
        raise SystemExit(f"torchsde diverged on {task.name}")
    return go


def c_runner(
    library: ctypes.CDLL, task: Task, replicas: int, substeps: int, name: str = "sde_product", per_step: int = 10,
    start: Any = None,
) -> Callable[[], Any]:  # fmt: skip
    """`name` of twin.c; `substeps` is a multiple of `per_step`."""
    function, (inputs, targets) = getattr(library, name), task.model.data[:2]
    pointer = lambda array: ctypes.c_void_p(array.ctypes.data)  # noqa: E731
    begin = task.init if start is None else start

    def go() -> Any:
        theta = aligned((replicas, task.model.dim))
        theta[...] = begin
        function(
            pointer(theta), pointer(inputs), pointer(targets),
            *map(ctypes.c_long, (replicas, *inputs.shape, task.batch_size, substeps // per_step)),
            ctypes.c_double(task.step_size), ctypes.c_uint64(SEED), ctypes.c_long(per_step),
        )  # fmt: skip
        return theta

    return go


def reference(task: Task, replicas: int, substeps: int, per_step: int, start: Any) -> Any:
    """Euler-Maruyama with the diffusion as a matrix."""
    rng = np.random.default_rng(SEED + 1)
    inputs, targets = task.model.data[:2]
    samples, size = inputs.shape
    h, theta = task.step_size / per_step, np.tile(start, (replicas, 1))
    for _ in range(substeps):
        u, v = theta[:, :size], theta[:, size:]
        r = (u * v) @ inputs.T - targets
        gradients = np.concatenate([r[..., None] * inputs * v[:, None], r[..., None] * inputs * u[:, None]], axis=2)
        mean = gradients.mean(axis=1)
        density = diffusion(task) * (gradients - mean[:, None])
        increments = math.sqrt(h) * rng.standard_normal((replicas, samples))
        theta = theta - h * mean + np.einsum("rij,ri->rj", density, increments)
    return theta


def check_agreement(library: ctypes.CDLL, replicas: int = 1024, substeps: int = 100, per_step: int = 10) -> float:
    """Largest difference between means of C, diffrax and torchsde and of numpy, in standard errors; stops if above 5.

    Means over replicas of the loss, of its square, and of the parameters and their squares (130 numbers a contender),
    under strong noise (batches of one, a step size near the largest stable one).
    """
    task = product_task(1)
    strong = Task(task.name, task.model, 0.4, 1, task.init, task.twin, task.variant)
    inputs, targets = task.model.data[:2]
    size = inputs.shape[1]

    def statistics(theta: Any) -> tuple[Any, Any]:
        theta = np.asarray(theta)
        loss = 0.5 * (((theta[:, :size] * theta[:, size:]) @ inputs.T - targets) ** 2).mean(axis=1, keepdims=True)
        values = np.concatenate([loss, loss**2, theta, theta**2], axis=1)
        return values.mean(axis=0), values.var(axis=0) / len(values)

    mean, variance = statistics(reference(strong, replicas, substeps, per_step, task.init))
    contenders = {n: c_runner(library, strong, replicas, substeps, n, per_step) for n in C}
    contenders |= {v: diffrax_runner(strong, replicas, substeps, v, per_step) for v in DIFFRAX}
    contenders |= {v: torchsde_runner(strong, replicas, substeps, v, per_step) for v in TORCHSDE}
    worst = 0.0
    for name, go in contenders.items():
        other, spread = statistics(go())
        scores = np.abs(other - mean) / np.sqrt(variance + spread)
        if not (scores[0] < 4 and scores.max() < 5):
            raise SystemExit(f"{name} and numpy differ by {scores[0]:.1f} (loss), {scores.max():.1f} standard errors")
        worst = max(worst, float(scores.max()))
    return worst
