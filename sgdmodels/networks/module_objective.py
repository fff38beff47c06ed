"""Any network by automatic differentiation: per-sample and per-batch work by vmap while the network is small, by loops
of double backward passes where it is large, both in pieces that fit a memory budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.func import vmap

from .automatic import Automatic, Loss
from .budget import MemoryBudget
from .objective import HESSIAN, Curvatures, Directional, Objective

VMAP_UP_TO = 2**17  # parameters: beyond, vmap's stacked gradients no longer fit the caches and a loop is faster


class ModuleObjective(Objective):
    """Loss and derivatives of `net` on `inputs` and `targets`; the network itself is never changed.

    loss(outputs, targets) gives one value per sample. compiled: let torch.compile fuse the gradients of ensembles
    (worth its tens of seconds for long runs).
    """

    def __init__(
        self, net: torch.nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, budget: MemoryBudget,
        matrix: str = HESSIAN, compiled: bool = False,
    ) -> None:  # fmt: skip
        self.automatic = Automatic(net, loss, matrix)
        self.inputs, self.targets = inputs, targets
        self.budget, self.matrix, self.compiled = budget, matrix, compiled
        first = next(net.parameters())
        self.dtype, self.device = first.dtype, first.device
        self.samples, self.dim = len(inputs), sum(self.automatic.sizes)

    def with_matrix(self, matrix: str) -> ModuleObjective:
        if matrix == self.matrix:
            return self
        one = self.automatic
        return ModuleObjective(one.net, one.loss, self.inputs, self.targets, self.budget, matrix, self.compiled)

    def sample_losses(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        count = self.samples if index is None else len(index)
        with torch.no_grad():
            return torch.cat(list(self.budget.over(count, self.sample_bytes, lambda p: self._losses(theta, index, p))))

    def _losses(self, theta: Tensor, index: Tensor | None, part: slice) -> Tensor:
        x, y = self.members(index)[0][part], self.members(index)[1][part]
        return self.automatic.loss(self.automatic.outputs(theta, x), y)

    def gradients(self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None = None) -> Tensor:
        members, width = weight.shape
        if members == 1 or self.dim > VMAP_UP_TO:
            rows = [
                self._gradient(
                    theta[r], None if index is None else index[r], weight[r], None if targets is None else targets[r]
                )
                for r in range(members)
            ]  # fmt: skip
            return torch.stack(rows)

        def part_of(part: slice) -> Tensor:
            x, y = self.members(None if index is None else index[part])
            y = y if targets is None else targets[part]
            shared = None if index is None else 0
            own = None if index is None and targets is None else 0
            return self._stacked_gradients(shared, own)(theta[part], x, y, weight[part])

        each = self.sample_bytes * width + 4 * self.dim * self.dtype.itemsize
        return torch.cat(list(self.budget.over(members, each, part_of)))

    def _stacked_gradients(self, inputs_dim: int | None, targets_dim: int | None) -> Callable[..., Tensor]:
        if (inputs_dim, targets_dim) not in self._compiled:
            losses = vmap(self.automatic.weighted_loss, in_dims=(0, inputs_dim, targets_dim, 0))

            def gradients(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
                with torch.enable_grad():  # members are independent: the sum's gradient is everyone's own
                    points = theta.detach().requires_grad_()
                    return torch.autograd.grad(losses(points, x, y, weight).sum(), points)[0]

            if self.compiled:  # the compiler sees through grad, not through autograd's tape
                gradients = torch.compile(vmap(self.automatic.gradient, in_dims=(0, inputs_dim, targets_dim, 0)))
            self._compiled[inputs_dim, targets_dim] = gradients
        return self._compiled[inputs_dim, targets_dim]

    @cached_property
    def _compiled(self) -> dict[tuple[int | None, int | None], Callable[..., Tensor]]:
        return {}

    def _gradient(self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None) -> Tensor:
        point = theta.detach().requires_grad_()

        def part_of(part: slice) -> Tensor:
            x, y = self.members(index if index is None else index[part])
            if index is None:
                x, y = x[part], y[part]
            y = y if targets is None else targets[part]
            with torch.enable_grad():
                return torch.autograd.grad(self.automatic.weighted_loss(point, x, y, weight[part]), point)[0]

        return sum_of(list(self.budget.over(len(weight), self.sample_bytes, part_of)))

    def operator(
        self, theta: Tensor, index: Tensor | None = None, weight: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        count = self.samples if index is None else len(index)
        if weight is None:
            weight = torch.full((count,), 1 / count, dtype=self.dtype, device=self.device)
        point = theta.detach().requires_grad_()
        x, y = self.members(index)

        def link(part: slice) -> Callable[[Tensor], Tensor]:
            return self.automatic.products(point, x[part], y[part], weight[part])

        if count * self.sample_bytes <= self.budget.limit:
            links = list(self.budget.over(count, self.sample_bytes, link))  # the graph of gradients, kept
            return lambda vectors: sum_of([one(vectors) for one in links])
        return lambda vectors: sum_of(
            list(self.budget.over(count, self.sample_bytes, lambda part: link(part)(vectors)))
        )

    def batch_curvatures(self, theta: Tensor, index: Tensor, weight: Tensor | None = None) -> Curvatures:
        batches, size = index.shape
        if weight is None:
            weight = torch.full((1, 1), 1 / size, dtype=self.dtype, device=self.device).expand(batches, size)

        def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            g = self.automatic.gradient(theta, x, y, w)
            return torch.dot(g, self.automatic.product(theta, x, y, w, g)), torch.dot(g, g)

        return Curvatures(*self._each(one, index, weight))

    def directional(self, theta: Tensor, direction: Tensor, index: Tensor | None = None) -> Directional:
        def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            g = self.automatic.gradient(theta, x, y, w)
            bent = self.automatic.product(theta, x, y, w, direction)
            return torch.dot(g, direction), torch.dot(direction, bent), torch.dot(g, bent)

        return Directional(*self._each(one, *self._singles(index)))

    def gradient_curvatures(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        product = self.operator(theta, index)

        def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            return (self.automatic.gradient(theta, x, y, w),)

        rows, weight = self._singles(index)

        def part_of(part: slice) -> Tensor:
            (g,) = self._each(one, rows[part], weight[part])
            return (g * product(g)).sum(1)

        each = 4 * self.dim * self.dtype.itemsize
        return torch.cat(list(self.budget.over(len(rows), each, part_of)))

    def projected(self, theta: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            return (vmap(self.automatic.matrix_at(theta, x, y, w))(basis) @ basis.T,)

        (blocks,) = self._each(one, *self._singles(index))
        return 0.5 * (blocks + blocks.mT)

    def squared_gradients(self, theta: Tensor) -> Tensor:
        def rows(part: Tensor, point: Tensor) -> Tensor:
            def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
                return (self.automatic.gradient(point, x, y, w),)

            (g,) = self._each(one, part, torch.ones_like(part, dtype=self.dtype))
            return (g * g).sum(0)

        return torch.stack([self._mean_over_samples(rows, point) for point in theta])

    def mean_hessian_gradient(self, theta: Tensor) -> Tensor:
        objective = self.with_matrix(HESSIAN)

        def rows(part: Tensor, point: Tensor) -> Tensor:
            def one(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
                return (objective.automatic.product(point, x, y, w, objective.automatic.gradient(point, x, y, w)),)

            (products,) = objective._each(one, part, torch.ones_like(part, dtype=self.dtype))
            return products.sum(0)

        return self._mean_over_samples(rows, theta)

    def _mean_over_samples(self, rows: Callable[[Tensor, Tensor], Tensor], theta: Tensor) -> Tensor:
        """(1/n) times the sum over pieces of `rows`, each a sum over its samples of vectors with d entries."""
        singles, _ = self._singles(None)
        each = 4 * self.dim * self.dtype.itemsize
        parts = list(self.budget.over(self.samples, each, lambda part: rows(singles[part], theta)))
        return sum_of(parts) / self.samples

    def _singles(self, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Batches of one sample each."""
        if index is None:
            index = torch.arange(self.samples, device=self.device)
        return index[:, None], torch.ones((len(index), 1), dtype=self.dtype, device=self.device)

    def _each(self, one: Callable[..., tuple[Tensor, ...]], index: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """`one(inputs, targets, weight)` of every batch."""

        def part_of(part: slice) -> tuple[Tensor, ...]:
            x, y = self.members(index[part])
            return vmap(one)(x, y, weight[part])

        if self.dim > VMAP_UP_TO:
            results = [one(*self.members(i), w) for i, w in zip(index, weight, strict=True)]
            return tuple(torch.stack(column) for column in zip(*results, strict=True))
        each = 3 * self.sample_bytes * index.shape[1] + 8 * self.dim * self.dtype.itemsize
        parts = list(self.budget.over(len(index), each, part_of))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    @cached_property
    def sample_bytes(self) -> int:
        """Memory that a gradient and its graph hold per sample, measured on the samples themselves."""
        held = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal held
            held += tensor.numel() * tensor.element_size()
            return tensor

        few = min(4, self.samples)
        point = torch.nn.utils.parameters_to_vector(self.automatic.net.parameters()).detach().requires_grad_()
        weight = torch.ones(few, dtype=self.dtype, device=self.device)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.automatic.weighted_loss(point, self.inputs[:few], self.targets[:few], weight)
            torch.autograd.grad(value, point, create_graph=True)
        weights = 4 * self.dim * self.dtype.itemsize  # of the network, kept whatever the number of samples
        return max(held - weights, few * self.inputs[0].numel() * self.inputs.element_size()) // few


def sum_of(parts: list[Tensor]) -> Tensor:
    """The sum of a list of tensors."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
