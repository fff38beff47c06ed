"""The steps of every dynamics on a network: torch twins of the templates that compiled loops walk.

A twin takes one micro-step of all members of an ensemble at once, in place, from the same draws: the weights of the
same law, the random numbers of the same counters. The contract tests walk both on the same loss and compare paths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...dynamics.gradient_flow import walk_flow
from ...dynamics.homogenized_sgd import walk_homogenized
from ...dynamics.label_noise_sgd import walk_noisy_labels
from ...dynamics.levy_sde import walk_levy
from ...dynamics.noisy_gd import CONSTANT, ISOTROPIC, walk_kick, walk_stale
from ...dynamics.ornstein_uhlenbeck import walk_linearised
from ...dynamics.sde import walk_corrected
from ...kernels.draw import draw_increments, draw_normals_at, draw_uniforms
from ...kernels.gaussians import BERNOULLI, noise_variance
from ...kernels.step_loop import walk, walk_momentum
from ..objectives.objective import HESSIAN, Objective


@dataclass(frozen=True)
class Draw:
    """One micro-step of R members: which samples with which weights, and whose random numbers.

    index (R, w), or None if all samples take part in order; weight (R, w); mean_weight: the weights of the mean
    gradient where `weight` holds the noise alone. number: of the micro-step. step_size (R, 1) of a micro-step;
    batch_sizes (R,).
    """

    index: Tensor | None
    weight: Tensor
    mean_weight: Tensor | None
    number: int
    step_size: Tensor
    batch_sizes: tuple[int, ...]
    micro_steps: int
    parameters: tuple[float, ...]
    seed: int
    replicas: tuple[int, ...]

    def normals(self, count: int, refinement: int, like: Tensor) -> Tensor:
        """The kick's standard normals, (R, count)."""
        rows = [
            draw_increments(count, self.number, refinement=refinement, seed=self.seed, replica=r) for r in self.replicas
        ]
        return torch.from_numpy(np.stack(rows)).to(like)


Twin = Callable[[Objective, Tensor, Tensor, Draw], None]


def uniform_weight(objective: Objective, members: int) -> Tensor:
    n = objective.samples
    return torch.full((1, 1), 1 / n, dtype=objective.dtype, device=objective.device).expand(members, n)


def mean_gradients(objective: Objective, theta: Tensor) -> Tensor:
    """grad L of every member, (R, d)."""
    return objective.gradients(theta, None, uniform_weight(objective, len(theta)))


def hessian_products(objective: Objective, theta: Tensor, vectors: Tensor) -> Tensor:
    """(mean Hessian at theta[r]) vectors[r], (R, d)."""
    curved = objective.with_matrix(HESSIAN)
    return torch.cat([curved.operator(x)(v[None]) for x, v in zip(theta, vectors, strict=True)])


def plain(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    theta.sub_(draw.step_size * objective.gradients(theta, draw.index, draw.weight))


def with_momentum(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    momentum, nesterov = draw.parameters
    g = objective.gradients(theta, draw.index, draw.weight)
    memory.mul_(momentum).add_(g)
    theta.sub_(draw.step_size * (g + momentum * memory if nesterov else memory))


def stale_noise(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    if draw.number % int(draw.parameters[0]) == 0:
        memory.copy_(theta)
    assert draw.mean_weight is not None
    drift = objective.gradients(theta, None, draw.mean_weight)
    theta.sub_(draw.step_size * (drift + objective.gradients(memory, None, draw.weight)))


def kicks(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    kind, refresh, scale, scheme, refinement = draw.parameters
    g = mean_gradients(objective, theta)
    c2 = torch.tensor(
        [noise_variance.py_func(scheme, objective.samples, b) for b in draw.batch_sizes], dtype=torch.float64
    ).to(theta)
    if kind == CONSTANT:
        memory.copy_((scale * c2.sqrt())[:, None].expand_as(memory))
    elif draw.number % int(refresh) == 0:
        variance = objective.squared_gradients(theta)
        if scheme < BERNOULLI:
            variance = (variance - g * g).clamp_min(0.0)
        if kind == ISOTROPIC:
            variance = variance.mean(1, keepdim=True).expand_as(memory)
        memory.copy_((c2[:, None] * variance).sqrt())
    theta.sub_(draw.step_size * (g + memory * draw.normals(objective.dim, int(refinement), theta)))


def corrected(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    second_order, heun = draw.parameters
    assert draw.mean_weight is not None
    drift = objective.gradients(theta, None, draw.mean_weight)
    noise = objective.gradients(theta, None, draw.weight)
    curved = torch.zeros_like(theta)
    if second_order:
        curved = 0.5 * draw.step_size * draw.micro_steps * hessian_products(objective, theta, drift)
    if heun:
        ahead = theta - draw.step_size * (drift + curved)
        drift = 0.5 * (drift + objective.gradients(ahead, None, draw.mean_weight))
    theta.sub_(draw.step_size * (drift + curved + noise))


def noisy_labels(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    assert draw.index is not None
    targets = objective.targets[draw.index]
    each = objective.targets[0].numel()
    chosen = draw.index.cpu().numpy()[..., None] * each + np.arange(each)
    counters = draw.number * objective.targets.numel() + chosen
    noise = [draw_normals_at(c, seed=draw.seed, replica=r) for c, r in zip(counters, draw.replicas, strict=True)]
    noisy = targets + draw.parameters[0] * torch.from_numpy(np.stack(noise)).to(targets).view_as(targets)
    theta.sub_(draw.step_size * objective.gradients(theta, draw.index, draw.weight, noisy))


def homogenized(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    """The prediction's gradient is the loss's with the target lowered by one, less the loss's own."""
    lowered = (objective.targets - 1.0).expand(len(theta), *objective.targets.shape)
    slopes = objective.gradients(theta, None, draw.weight, lowered) - objective.gradients(theta, None, draw.weight)
    spread = torch.stack([(2 * objective.loss(x)).sqrt() for x in theta]).to(theta)[:, None]
    theta.sub_(draw.step_size * (mean_gradients(objective, theta) + spread * slopes))


def linearised(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    change = objective.gradients(memory, None, draw.weight) + hessian_products(objective, memory, theta - memory)
    theta.sub_(draw.step_size * change)


def levy(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    alpha, scale = draw.parameters
    d = objective.dim
    numbers = [draw_uniforms(2 * d, draw.number * 2 * d, seed=draw.seed, replica=r) for r in draw.replicas]
    u, v = np.stack(numbers).reshape(len(theta), d, 2).transpose(2, 0, 1)
    angle = np.pi * (u - 0.5)
    tail = (np.cos((1 - alpha) * angle) / -np.log(v)) ** ((1 - alpha) / alpha)
    stable = torch.from_numpy(np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha) * tail).to(theta)
    theta.sub_(draw.step_size * objective.gradients(theta, draw.index, draw.weight))
    theta.add_(draw.step_size * draw.micro_steps * scale * draw.micro_steps ** (-1 / alpha) * stable)


def flow(objective: Objective, theta: Tensor, memory: Tensor, draw: Draw) -> None:
    with_mean, with_noise = draw.parameters
    n = objective.samples
    c2 = torch.zeros(len(theta), dtype=torch.float64)
    if with_noise and n > 1:
        c2 = torch.tensor([(n // b - 1.0) / (n - 1.0) for b in draw.batch_sizes], dtype=torch.float64)
    share = c2.to(theta)[:, None]
    half = 0.5 * draw.step_size * draw.micro_steps

    def slope(point: Tensor) -> Tensor:
        field = mean_gradients(objective, point)
        curved = torch.zeros_like(field)
        if with_mean:
            curved = (1.0 - share) * hessian_products(objective, point, field)
        if with_noise and bool((c2 > 0).any()):
            curved = curved + share * torch.stack([objective.mean_hessian_gradient(x) for x in point])
        return field + half * curved

    h = draw.step_size
    first = slope(theta)
    second = slope(theta - 0.5 * h * first)
    third = slope(theta - 0.5 * h * second)
    fourth = slope(theta - h * third)
    theta.sub_(h * (first + 2 * second + 2 * third + fourth) / 6)


TWINS: dict[Callable[..., Any], Twin] = {
    walk: plain,
    walk_momentum: with_momentum,
    walk_stale: stale_noise,
    walk_kick: kicks,
    walk_corrected: corrected,
    walk_noisy_labels: noisy_labels,
    walk_homogenized: homogenized,
    walk_linearised: linearised,
    walk_levy: levy,
    walk_flow: flow,
}
