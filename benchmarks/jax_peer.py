"""The u*v runs in JAX: jit, lax.scan over steps, vmap over replicas, float64, free to use all cores.

Three variants are timed and the fastest is reported. Batches are drawn "inside" the loop (each step folds its number
into a key) or "ahead" of it (one vectorised call, part of the timed function). The products with the batch
are matrix products ("dot") or elementwise with sums ("sum"). Batches without replacement come from Floyd's
algorithm, which for small b is far cheaper than jax.random.choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tasks import SEED, Task

jax.config.update("jax_enable_x64", True)

VARIANTS = ("inside, dot", "ahead, dot", "ahead, sum")
UNROLL = 4  # steps per turn of the scan: 1, 2, 8 differ within noise; 16 is 200 times slower for b=1, one replica


def distinct(key: Any, samples: int, batch: int) -> Any:
    """`batch` distinct integers below `samples` (Floyd 1987), from one call to the generator."""
    bounds = samples - batch + 1 + jnp.arange(batch)
    draws = jax.random.randint(key, (batch,), 0, bounds, dtype=jnp.int32)
    chosen = [draws[0]]
    for k in range(1, batch):
        taken = jnp.any(jnp.stack(chosen) == draws[k])
        chosen.append(jnp.where(taken, jnp.int32(samples - batch + k), draws[k]))
    return jnp.stack(chosen)


def runner(task: Task, replicas: int, steps: int, variant: str) -> Callable[[], object]:
    """A compiled run of `steps` steps from the start of `task`, blocking until it is done."""
    inputs, targets = jnp.asarray(task.model.data[0]), jnp.asarray(task.model.data[1])
    samples, size = inputs.shape
    batch, eta = task.batch_size, task.step_size
    where, products = variant.split(", ")

    def advance(theta: Any, index: Any) -> Any:
        u, v = theta[:size], theta[size:]
        x = inputs[index]
        if products == "dot":
            residual = x @ (u * v) - targets[index]
            q = (eta / batch) * (residual @ x)
        else:
            residual = (x * (u * v)).sum(axis=1) - targets[index]
            q = (eta / batch) * (residual[:, None] * x).sum(axis=0)
        return jnp.concatenate([u - q * v, v - q * u])

    def draw_inside(key: Any, theta: Any) -> Any:
        def step(point: Any, number: Any) -> tuple[Any, None]:
            return advance(point, distinct(jax.random.fold_in(key, number), samples, batch)), None

        return jax.lax.scan(step, theta, jnp.arange(steps), unroll=UNROLL)[0]

    def draw_ahead(key: Any, theta: Any) -> Any:
        batches = jax.vmap(lambda k: distinct(k, samples, batch))(jax.random.split(key, steps))
        return jax.lax.scan(lambda point, index: (advance(point, index), None), theta, batches, unroll=UNROLL)[0]

    one = draw_inside if where == "inside" else draw_ahead
    run = jax.jit(jax.vmap(one) if replicas > 1 else one)
    keys = jax.random.split(jax.random.key(SEED), replicas)
    start = jnp.tile(jnp.asarray(task.init), (replicas, 1))
    arguments = (keys, start) if replicas > 1 else (keys[0], start[0])

    def go() -> object:
        return run(*arguments).block_until_ready()

    if not np.isfinite(np.asarray(go())).all():
        raise SystemExit(f"JAX diverged on {task.name}")
    return go
