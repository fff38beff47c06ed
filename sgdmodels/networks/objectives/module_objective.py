"""Any network by automatic differentiation: per-sample and per-batch work by vmap while the network is small and vmap
is right for it, by loops of double backward passes otherwise, both in pieces that fit a memory budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.func import vmap

from .automatic import Automatic, Loss, Product, Taped
from .budget import MemoryBudget, is_out_of_memory, sum_of
from .graph_memory import GraphMemory, graph_memory
from .objective import HESSIAN, Curvatures, Directional, Objective
from .transforms import TRIALS, right_transforms

VMAP_UP_TO = 2**17  # parameters: beyond, vmap's stacked gradients no longer fit the caches and a loop is faster

One = Callable[[Automatic, Tensor, Tensor, Tensor], tuple[Tensor, ...]]  # rules, inputs, targets, weight of a batch


class ModuleObjective(Objective):
    """Loss and derivatives of `net` on `inputs` and `targets`; the network itself is never changed.

    loss(outputs, targets) gives one value per sample. compiled: let torch.compile fuse the gradients of ensembles
    (worth its tens of seconds for long runs). transforms: which kinds of work go through vmap; tried on a few samples
    if not given.
    """

    def __init__(
        self, net: torch.nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, budget: MemoryBudget,
        matrix: str = HESSIAN, compiled: bool = False, *, transforms: dict[str, bool] | None = None,
    ) -> None:  # fmt: skip
        self.automatic, self.taped = Automatic(net, loss, matrix), Taped(net, loss, matrix)
        self.inputs, self.targets = inputs, targets
        self.budget, self.matrix, self.compiled = budget, matrix, compiled
        first = next(net.parameters())
        self.dtype, self.device = first.dtype, first.device
        self.samples, self.dim = len(inputs), sum(self.automatic.sizes)
        self._given = transforms
        self._other: ModuleObjective | None = None

    def with_matrix(self, matrix: str) -> ModuleObjective:
        if matrix == self.matrix:
            return self
        if self._other is None:  # made once, so that its transforms are tried once
            self._other = self._like(self.inputs, self.targets, matrix, self.compiled, self._given)
            self._other._other = self
        return self._other

    def _like(
        self, inputs: Tensor, targets: Tensor, matrix: str, compiled: bool, transforms: dict[str, bool] | None
    ) -> ModuleObjective:
        one = self.automatic
        return ModuleObjective(one.net, one.loss, inputs, targets, self.budget, matrix, compiled, transforms=transforms)

    @cached_property
    def mapped(self) -> dict[str, bool]:
        """Which kinds of work go through vmap: ensembles of gradients, batches, projections, stacked vectors.

        Raises InvalidArgument if the network cannot be differentiated twice even in a loop.
        """
        if self._given is not None:
            return self._given

        def small(index: Tensor, mapped: bool) -> ModuleObjective:
            data = self.inputs[index], self.targets[index]
            return self._like(*data, self.matrix, False, dict.fromkeys(TRIALS, mapped))

        wanted = tuple(TRIALS) if self.dim <= VMAP_UP_TO else ("vectors",)
        found = right_transforms(self.automatic.net, self, small, wanted)
        if self.compiled:  # compiled ensembles are mapped gradients, as batches are
            found["ensembles"] = found["ensembles"] and found["batches"]
        return found

    @cached_property
    def memory(self) -> GraphMemory:
        """What the graph of a gradient holds."""
        return graph_memory(self.automatic, self.inputs, self.targets, self.dtype)

    @property
    def sample_bytes(self) -> int:
        """Memory that a gradient and its graph hold per sample, measured on the samples themselves."""
        return self.memory.sample

    def sample_losses(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        count = self.samples if index is None else len(index)

        def part_of(part: slice) -> Tensor:
            x, y = self._part(index, part)
            return self.automatic.loss(self.automatic.outputs(theta, x), y)

        with torch.no_grad():
            return torch.cat(list(self.budget.over(count, self.sample_bytes, part_of)))

    def _part(self, index: Tensor | None, part: slice) -> tuple[Tensor, Tensor]:
        return (self.inputs[part], self.targets[part]) if index is None else self.members(index[part])

    def gradients(self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None = None) -> Tensor:
        members, width = weight.shape
        if members == 1 or not self.mapped["ensembles"]:
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

    def _gradient(
        self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        def part_of(part: slice) -> Tensor:
            x, y = self._part(index, part)
            return self.taped.gradient(theta, x, y if targets is None else targets[part], weight[part])

        return sum_of(self.budget.over(len(weight), self.sample_bytes, part_of))

    def operator(self, theta: Tensor, index: Tensor | None = None, weight: Tensor | None = None) -> Product:
        count = self.samples if index is None else len(index)
        if weight is None:
            weight = torch.full((count,), 1 / count, dtype=self.dtype, device=self.device)
        point, batched = theta.detach().requires_grad_(), self.mapped["vectors"]

        def link(part: slice) -> Product:
            return self.automatic.products(point, *self._part(index, part), weight[part], batched)

        fixed, limit = self.memory.fixed, self.budget.limit
        pieces = MemoryBudget(max(limit // 4, limit - 3 * fixed))

        def rebuilt(vectors: Tensor) -> Tensor:
            def part_of(part: slice) -> Tensor:
                product, held = link(part), (part.stop - part.start) * self.sample_bytes
                each = 2 * held + self._vector_bytes
                return torch.cat(list(pieces.over(len(vectors), each, lambda few: product(vectors[few]))))

            return sum_of(pieces.over(count, 2 * self.sample_bytes, part_of))

        graph = fixed + count * self.sample_bytes
        if 2 * graph > limit:  # a pass through the graph may hold as much again
            return rebuilt
        try:
            kept = link(slice(0, count))
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            return rebuilt
        room = MemoryBudget(limit - graph)
        return lambda vectors: torch.cat(list(room.over(len(vectors), graph, lambda few: kept(vectors[few]))))

    def batch_curvatures(self, theta: Tensor, index: Tensor, weight: Tensor | None = None) -> Curvatures:
        batches, size = index.shape
        if weight is None:
            weight = torch.full((1, 1), 1 / size, dtype=self.dtype, device=self.device).expand(batches, size)
        if 2 * size * self.sample_bytes > self.budget.limit:  # not even one batch fits
            pairs = [self._large_batch(theta, i, w) for i, w in zip(index, weight, strict=True)]
            return Curvatures(*(torch.stack(column) for column in zip(*pairs, strict=True)))

        def one(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            g, product = rules.linearized(theta, x, y, w)
            return torch.dot(g, product(g)), torch.dot(g, g)

        return Curvatures(*self._each(one, index, weight))

    def _large_batch(self, theta: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        g = self._gradient(theta, index, weight)
        return torch.dot(g, self.operator(theta, index, weight)(g[None])[0]), torch.dot(g, g)

    def directional(self, theta: Tensor, direction: Tensor, index: Tensor | None = None) -> Directional:
        def one(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            g, product = rules.linearized(theta, x, y, w)
            bent = product(direction)
            return torch.dot(g, direction), torch.dot(direction, bent), torch.dot(g, bent)

        return Directional(*self._each(one, *self._singles(index)))

    def gradient_curvatures(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        product = self.operator(theta, index)

        def one(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            return (rules.gradient(theta, x, y, w),)

        rows, weight = self._singles(index)

        def part_of(part: slice) -> Tensor:
            (g,) = self._each(one, rows[part], weight[part])
            return (g * product(g)).sum(1)

        return torch.cat(list(self.budget.over(len(rows), self._vector_bytes, part_of)))

    def projected(self, theta: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        def mapped(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            return (vmap(rules.linearized(theta, x, y, w)[1])(basis) @ basis.T,)

        def looped(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            product = rules.linearized(theta, x, y, w)[1]
            return (torch.stack([basis @ product(vector) for vector in basis]),)

        if self.mapped["projections"]:
            (blocks,) = self._each(mapped, *self._singles(index), "projections", len(basis))
        else:
            (blocks,) = self._each(looped, *self._singles(index))
        return 0.5 * (blocks + blocks.mT)

    def squared_gradients(self, theta: Tensor) -> Tensor:
        def rows(part: Tensor, point: Tensor) -> Tensor:
            def one(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
                return (rules.gradient(point, x, y, w),)

            (g,) = self._each(one, part, torch.ones_like(part, dtype=self.dtype))
            return (g * g).sum(0)

        return torch.stack([self._mean_over_samples(rows, point) for point in theta])

    def mean_hessian_gradient(self, theta: Tensor) -> Tensor:
        objective = self.with_matrix(HESSIAN)

        def rows(part: Tensor, point: Tensor) -> Tensor:
            def one(rules: Automatic, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
                g, product = rules.linearized(point, x, y, w)
                return (product(g),)

            (products,) = objective._each(one, part, torch.ones_like(part, dtype=self.dtype))
            return products.sum(0)

        return self._mean_over_samples(rows, theta)

    def _mean_over_samples(self, rows: Callable[[Tensor, Tensor], Tensor], theta: Tensor) -> Tensor:
        """(1/n) times the sum over pieces of `rows`, each a sum over its samples of vectors with d entries."""
        singles, _ = self._singles(None)
        parts = self.budget.over(self.samples, self._vector_bytes, lambda part: rows(singles[part], theta))
        return sum_of(parts) / self.samples

    @property
    def _vector_bytes(self) -> int:
        return 4 * self.dim * self.dtype.itemsize

    def _singles(self, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Batches of one sample each."""
        if index is None:
            index = torch.arange(self.samples, device=self.device)
        return index[:, None], torch.ones((len(index), 1), dtype=self.dtype, device=self.device)

    def _each(
        self, one: One, index: Tensor, weight: Tensor, kind: str = "batches", vectors: int = 1
    ) -> tuple[Tensor, ...]:
        """`one(rules, inputs, targets, weight)` of every batch, with products of so many vectors at once."""
        if not self.mapped[kind]:
            results = [one(self.taped, *self.members(i), w) for i, w in zip(index, weight, strict=True)]
            return tuple(torch.stack(column) for column in zip(*results, strict=True))

        def part_of(part: slice) -> tuple[Tensor, ...]:
            x, y = self.members(index[part])
            return vmap(lambda *batch: one(self.automatic, *batch))(x, y, weight[part])

        each = (2 + vectors) * self.sample_bytes * index.shape[1] + (7 + vectors) * self.dim * self.dtype.itemsize
        parts = list(self.budget.over(len(index), each, part_of))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
