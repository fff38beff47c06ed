"""One batch at one point by automatic differentiation: outputs, loss, gradient, products with its matrix.

Reverse passes only: they are defined for more operations than forward ones. Two ways to the same numbers: `Automatic`
by torch.func, for use under vmap, and `Taped` by autograd's tape, for networks that vmap cannot take. Whoever maps
these over batches has vmap outermost: derivatives of a vmapped backward pass are silently wrong for some layers
(torch's LayerNorm).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad

from .objective import HESSIAN

Loss = Callable[[Tensor, Tensor], Tensor]
Product = Callable[[Tensor], Tensor]
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
        copies = {name: buffer.clone() for name, buffer in self.net.named_buffers()}  # a forward pass may write there
        return functional_call(self.net, (named, copies), (inputs,))

    def weighted_loss(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """sum_k weight_k l_k."""
        return (weight * self.loss(self.outputs(theta, x), y)).sum()

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """sum_k weight_k g_k."""
        return grad(self.weighted_loss)(theta, x, y, weight)

    def linearized(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Product]:
        """sum_k weight_k g_k, and v -> sum_k weight_k M_k v for one v (d,)."""
        if self.matrix == HESSIAN:
            g, pull_slope = vjp(lambda t: self.gradient(t, x, y, weight), theta)
            return g, lambda vector: pull_slope(vector)[0]
        f, pull = vjp(lambda t: self.outputs(t, x), theta)
        _, push = vjp(lambda u: pull(u)[0], torch.zeros_like(f))
        slope, bend = vjp(grad(lambda u: (weight * self.loss(u, y)).sum()), f)
        return pull(slope)[0], lambda vector: pull(bend(push(vector)[0])[0])[0]

    def products(self, point: Tensor, x: Tensor, y: Tensor, weight: Tensor, batched: bool) -> Product:
        """v -> sum_k weight_k M_k v for vectors (k, d) again and again, from a graph that is built once.

        `point` needs a gradient. batched: one backward pass for all vectors instead of one for each.
        """
        return self._taped(point, x, y, weight, batched)[1]

    def _taped(self, point: Tensor, x: Tensor, y: Tensor, weight: Tensor, batched: bool) -> tuple[Tensor, Product]:
        with torch.enable_grad():
            if self.matrix == HESSIAN:
                value = self.weighted_loss(point, x, y, weight)
                (slope,) = torch.autograd.grad(value, point, create_graph=True)
                return slope.detach(), lambda vectors: pulled(slope, point, vectors, batched)
            f = self.outputs(point, x)
            free = torch.zeros_like(f).requires_grad_()
            (pull,) = torch.autograd.grad(f, point, free, create_graph=True)
            at = f.detach().requires_grad_()
            (bend,) = torch.autograd.grad((weight * self.loss(at, y)).sum(), at, create_graph=True)

        def product(vectors: Tensor) -> Tensor:
            return pulled(f, point, pulled(bend, at, pulled(pull, free, vectors, batched), batched), batched)

        return pulled(f, point, bend.detach()[None], False)[0], product


class Taped(Automatic):
    """The same by autograd's tape alone, without function transforms."""

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        point = theta.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.weighted_loss(point, x, y, weight), point)[0]

    def linearized(self, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Product]:
        g, product = self._taped(theta.detach().requires_grad_(), x, y, weight, False)
        return g, lambda vector: product(vector[None])[0]


def pulled(slope: Tensor, point: Tensor, vectors: Tensor, batched: bool) -> Tensor:
    """d(slope . v) / d point for each v; zero where the slope does not depend on the point."""
    if not slope.requires_grad:
        return torch.zeros((len(vectors), *point.shape), dtype=point.dtype, device=point.device)
    if not batched or len(vectors) == 1:
        return torch.stack([_pulled(slope, point, vector, False) for vector in vectors])
    return _pulled(slope, point, vectors, True)


def _pulled(slope: Tensor, point: Tensor, cotangents: Tensor, batched: bool) -> Tensor:
    (products,) = torch.autograd.grad(
        slope, point, cotangents, retain_graph=True, is_grads_batched=batched, materialize_grads=True
    )
    return products
