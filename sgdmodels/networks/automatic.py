"""One batch at one point by automatic differentiation: outputs, loss, gradient, products with its matrix.

Reverse passes only: they are defined for more operations than forward ones. Whoever maps these over batches has vmap
outermost: derivatives of a vmapped backward pass are silently wrong for some layers (torch's LayerNorm).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad

from .objective import HESSIAN

Loss = Callable[[Tensor, Tensor], Tensor]
vjp: Any = torch.func.vjp  # returns two or three values by what it is asked; typed as three


class Automatic:
    """`net` and `loss(outputs, targets)` as functions of a flat parameter vector; the network is never changed."""

    def __init__(self, net: torch.nn.Module, loss: Loss, matrix: str) -> None:
        self.net, self.loss, self.matrix = net, loss, matrix
        parameters = dict(net.named_parameters())
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """f(x; theta) of a batch of inputs."""
        pieces = torch.split(theta, self.sizes)
        named = {name: p.view(shape) for (name, shape), p in zip(self.shapes.items(), pieces, strict=True)}
        return functional_call(self.net, named, (inputs,))

    def weighted_loss(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """sum_k weight_k l_k."""
        return (weight * self.loss(self.outputs(theta, x), y)).sum()

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """sum_k weight_k g_k."""
        return grad(self.weighted_loss)(theta, x, y, weight)

    def matrix_at(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """v -> sum_k weight_k M_k v, for use under vmap."""
        if self.matrix == HESSIAN:
            _, pull = vjp(lambda t: self.gradient(t, x, y, weight), theta)
            return lambda vector: pull(vector)[0]
        f, pull = vjp(lambda t: self.outputs(t, x), theta)
        _, push = vjp(lambda u: pull(u)[0], torch.zeros_like(f))
        _, bend = vjp(grad(lambda u: (weight * self.loss(u, y)).sum()), f)
        return lambda vector: pull(bend(push(vector)[0])[0])[0]

    def product(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor, vector: Tensor) -> Tensor:
        """sum_k weight_k M_k v."""
        return self.matrix_at(theta, x, y, weight)(vector)

    def products(self, point: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        """The same for vectors (k, d) again and again, from a graph that is built once; `point` needs a gradient."""
        with torch.enable_grad():
            if self.matrix == HESSIAN:
                value = self.weighted_loss(point, x, y, weight)
                (slope,) = torch.autograd.grad(value, point, create_graph=True)
                return lambda vectors: pulled(slope, point, vectors)
            f = self.outputs(point, x)
            free = torch.zeros_like(f).requires_grad_()
            (pull,) = torch.autograd.grad(f, point, free, create_graph=True)
            at = f.detach().requires_grad_()
            (bend,) = torch.autograd.grad((weight * self.loss(at, y)).sum(), at, create_graph=True)
        return lambda vectors: pulled(f, point, pulled(bend, at, pulled(pull, free, vectors)))


def pulled(slope: Tensor, point: Tensor, vectors: Tensor) -> Tensor:
    """d(slope . v) / d point for each v; zero where the slope does not depend on the point."""
    if not slope.requires_grad:
        return torch.zeros((len(vectors), *point.shape), dtype=point.dtype, device=point.device)
    batched = len(vectors) > 1
    cotangents = vectors if batched else vectors[0]
    (products,) = torch.autograd.grad(
        slope, point, cotangents, retain_graph=True, is_grads_batched=batched, materialize_grads=True
    )
    return products if batched else products[None]
