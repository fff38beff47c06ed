"""The u*v runs in JAX: jit, lax.scan over steps, vmap over replicas, float64. Two ways to draw batches.

"inside": each step folds its number into a key and draws its batch. "ahead": all batches of the run are drawn in
one vectorised call before the scan, inside the same jitted function. Batches without replacement come from
Floyd's algorithm, which for small b is far cheaper than jax.random.choice. Both variants are timed with JAX
free to use all cores; the faster one is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tasks import Array, Task

jax.config.update("jax_enable_x64", True)

VERSION = jax.__version__
UNROLL = 4  # the fastest of 1, 2, 4, 8, 16 for one replica; no matter for 256


def distinct(key: Any, samples: int, batch: int) -> Any:
    """`batch` distinct integers below `samples` (Floyd 1987), from one call to the generator."""
    bounds = samples - batch + 1 + jnp.arange(batch)
    draws = jax.random.randint(key, (batch,), 0, bounds, dtype=jnp.int32)
    chosen = [draws[0]]
    for k in range(1, batch):
        taken = jnp.any(jnp.stack(chosen) == draws[k])
        chosen.append(jnp.where(taken, jnp.int32(samples - batch + k), draws[k]))
    return jnp.stack(chosen)


def runner(task: Task, replicas: int, steps: int, ahead: bool) -> Callable[[], Array]:
    """A compiled run of `steps` steps from the start of `task`, blocking until it is done."""
    inputs, targets = jnp.asarray(task.model.data[0]), jnp.asarray(task.model.data[1])
    samples, size = inputs.shape
    batch, eta = task.batch_size, task.step_size

    def advance(theta: tuple[Any, Any], index: Any) -> tuple[Any, Any]:
        u, v = theta
        x = inputs[index]
        residual = x @ (u * v) - targets[index]
        q = (eta / batch) * (residual @ x)
        return u - q * v, v - q * u

    def draw_inside(key: Any, theta: Any) -> Any:
        def step(point: Any, number: Any) -> tuple[Any, None]:
            return advance(point, distinct(jax.random.fold_in(key, number), samples, batch)), None

        return jax.lax.scan(step, theta, jnp.arange(steps), unroll=UNROLL)[0]

    def draw_ahead(key: Any, theta: Any) -> Any:
        batches = jax.vmap(lambda k: distinct(k, samples, batch))(jax.random.split(key, steps))
        return jax.lax.scan(lambda point, index: (advance(point, index), None), theta, batches, unroll=UNROLL)[0]

    one = draw_ahead if ahead else draw_inside
    many = jax.jit(jax.vmap(one) if replicas > 1 else one)
    keys = jax.random.split(jax.random.key(3), replicas)
    u, v = (jnp.tile(jnp.asarray(part), (replicas, 1)) for part in np.split(task.init, 2))
    arguments = (keys, (u, v)) if replicas > 1 else (keys[0], (u[0], v[0]))

    def go() -> Array:
        return np.concatenate(jax.block_until_ready(many(*arguments)), axis=-1)

    end = go()
    if not np.isfinite(end).all():
        raise SystemExit(f"JAX diverged on {task.name}")
    return go
