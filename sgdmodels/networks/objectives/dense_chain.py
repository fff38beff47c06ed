"""Stacks of linear layers by hand: gradients and curvatures by matrix products, no sample's gradient ever formed.

Answers what `ModuleObjective` answers, by the formulas of `dense_layers`, `dense_jets` and `dense_products`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .budget import MemoryBudget, sum_of
from .dense_jets import State, batch_jets, directional_jets, pair_jets, projected_jets, rearranged, state_of
from .dense_layers import DenseLayers, Matrices, recognised
from .dense_products import gradient_products, vector_products
from .objective import HESSIAN, Curvatures, Directional, Objective
from .output_losses import Loss, OutputLoss, output_loss

CACHED_BYTES = 2**23  # of one piece of work on a CPU: elementwise passes over more are bound by main memory
KEPT_BYTES = 2**26  # of the passes of all samples that outlive a call


class DenseChain(Objective):
    """Loss and derivatives of a stack of linear layers and elementwise activations; made by `DenseChain.of`."""

    def __init__(
        self, layers: DenseLayers, loss: Loss, inputs: Tensor, targets: Tensor, budget: MemoryBudget,
        matrix: str = HESSIAN,
    ) -> None:  # fmt: skip
        self.layers, self.loss_function, self.inputs, self.targets = layers, loss, inputs, targets
        self.budget, self.matrix, self.hessian = budget, matrix, matrix == HESSIAN
        self.samples, self.dim = len(inputs), sum(layers.sizes)
        self.dtype, self.device = inputs.dtype, inputs.device
        self.rule = self._rule(targets)
        self.piece = MemoryBudget(min(budget.limit, CACHED_BYTES)) if inputs.device.type == "cpu" else budget
        self.sample_bytes = layers.width * inputs.element_size()
        self._kept: tuple[Tensor, State] | None = None

    @classmethod
    def of(
        cls, net: torch.nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, budget: MemoryBudget,
        matrix: str = HESSIAN,
    ) -> DenseChain | None:  # fmt: skip
        """The chain that computes what `net` computes, or None if `net` is anything else.

        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> x, y = torch.tensor([[2.0]]), torch.tensor([[0.0]])
        >>> chain = DenseChain.of(net, lambda f, y: (f - y).square().sum(1) / 2, x, y, MemoryBudget(10**6))
        >>> chain.batch_curvatures(torch.tensor([3.0]), torch.tensor([[0]])).curvature  # g = 12, H = 4
        tensor([576.])
        """
        layers = recognised(net, inputs)
        return None if layers is None else cls(layers, loss, inputs.flatten(1).contiguous(), targets, budget, matrix)

    def with_matrix(self, matrix: str) -> DenseChain:
        if matrix == self.matrix:
            return self
        return DenseChain(self.layers, self.loss_function, self.inputs, self.targets, self.budget, matrix)

    def _rule(self, targets: Tensor) -> OutputLoss:
        outputs = self.inputs.new_empty((len(targets), self.layers.layers[-1].outputs))
        return output_loss(self.loss_function, outputs, targets, self.layers.flat)

    @torch.no_grad()
    def sample_losses(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        matrices = self.layers.matrices(theta)
        inputs, targets = self.members(index)

        def losses(part: slice) -> Tensor:
            return self.rule.values(self.layers.forward(matrices, inputs[part]).values[-1], targets[part])

        return torch.cat(list(self.piece.over(len(inputs), self.sample_bytes, losses)))

    @torch.no_grad()
    def gradients(self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None = None) -> Tensor:
        members, width = weight.shape
        rule = self.rule if targets is None else self._rule(targets.flatten(0, 1))
        each = self.sample_bytes * width + 4 * self.dim * self.dtype.itemsize
        if members == 1 or each > self.budget.limit:
            rows = [
                self._gradient(
                    rule, theta[r], None if index is None else index[r], weight[r],
                    None if targets is None else targets[r],
                )
                for r in range(members)
            ]  # fmt: skip
            return rows[0][None] if members == 1 else torch.stack(rows)

        def part_of(part: slice) -> Tensor:
            x, y = self.members(None if index is None else index[part])
            if index is None:
                count = part.stop - part.start
                x, y = x.expand(count, *x.shape), y.expand(count, *y.shape)
            y = y if targets is None else targets[part]
            values, deltas = self._passes(self.layers.matrices(theta[part]), rule, x, y, weight[part])
            return self.layers.joined(values, deltas)

        return torch.cat(list(self.piece.over(members, each, part_of)))

    def _gradient(
        self, rule: OutputLoss, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None
    ) -> Tensor:
        matrices = self.layers.matrices(theta)

        def part_of(part: slice) -> Tensor:
            x, y = (self.inputs[part], self.targets[part]) if index is None else self.members(index[part])
            y = y if targets is None else targets[part]
            return self.layers.joined(*self._passes(matrices, rule, x, y, weight[part]))

        return sum_of(self.budget.over(len(weight), self.sample_bytes, part_of))

    def _passes(
        self, matrices: Matrices, rule: OutputLoss, inputs: Tensor, targets: Tensor, weight: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """a_(l-1) and weighted delta_l of samples (m,), or of (R, m)."""
        forward = self.layers.forward(matrices, inputs)
        cotangent = rule.slope(forward.values[-1], targets) * weight.unsqueeze(-1)
        return forward.values, self.layers.backward(matrices, forward, cotangent)

    @torch.no_grad()
    def operator(
        self, theta: Tensor, index: Tensor | None = None, weight: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        matrices = self.layers.matrices(
            theta.detach().clone()
        )  # the states are of this point, whatever becomes of theta
        count = self.samples if index is None else len(index)
        if weight is None:
            weight = torch.full((count,), 1 / count, dtype=self.dtype, device=self.device)
        share = weight

        def state(part: slice) -> tuple[State, Tensor]:
            return self._state(matrices, index, part), share[part]

        cached = count * self.sample_bytes <= self.budget.limit
        states = list(self.piece.over(count, self.sample_bytes, state)) if cached else []

        def of_part(one: tuple[State, Tensor], vectors: Tensor) -> Tensor:
            def block(part: slice) -> Tensor:
                return vector_products(self.layers, matrices, self.rule, *one, vectors[part], self.hessian)

            each = len(one[1]) * self.sample_bytes + 4 * self.dim * self.dtype.itemsize
            return torch.cat(list(self.budget.over(len(vectors), each, block)))

        @torch.no_grad()
        def product(vectors: Tensor) -> Tensor:
            if cached:
                return sum_of(of_part(one, vectors) for one in states)
            parts = self.piece.over(count, self.sample_bytes, lambda part: of_part(state(part), vectors))
            return sum_of(parts)

        return product

    @torch.no_grad()
    def batch_curvatures(self, theta: Tensor, index: Tensor, weight: Tensor | None = None) -> Curvatures:
        matrices = self.layers.matrices(theta)
        batches, size = index.shape
        if weight is None:
            weight = torch.full((1, 1), 1 / size, dtype=self.dtype, device=self.device).expand(batches, size)
        share = weight
        shared = batches * size > self.samples and self.samples * self.sample_bytes <= self.budget.limit
        common = self._state_of_all(theta, matrices) if shared else None

        def part_of(part: slice) -> tuple[Tensor, Tensor]:
            rows = index[part]
            if common is None:
                state = rearranged(self._state(matrices, rows.reshape(-1), slice(None)), None, *rows.shape)
            else:
                state = rearranged(common, rows, *rows.shape)
            return batch_jets(self.layers, matrices, self.rule, state, share[part], self.hessian)

        each = 2 * self.sample_bytes * size + 4 * size * size * self.dtype.itemsize
        parts = list(self.piece.over(batches, each, part_of))
        return Curvatures(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def directional(self, theta: Tensor, direction: Tensor, index: Tensor | None = None) -> Directional:
        matrices, along = self.layers.matrices(theta), self.layers.matrices(direction)
        count = self.samples if index is None else len(index)

        def part_of(part: slice) -> tuple[Tensor, ...]:
            state = self._state(matrices, index, part)
            return directional_jets(self.layers, matrices, self.rule, state, along, self.hessian)

        parts = list(self.piece.over(count, 2 * self.sample_bytes, part_of))
        return Directional(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def gradient_curvatures(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        matrices = self.layers.matrices(theta)
        count = self.samples if index is None else len(index)

        def against(right: State) -> Tensor:
            def part_of(part: slice) -> Tensor:
                left = self._state(matrices, index, part)
                return pair_jets(self.layers, matrices, self.rule, left, right, self.hessian)

            return torch.cat(list(self.piece.over(count, len(right.outputs) * self.sample_bytes, part_of)))

        rights = self.piece.over(count, 8 * self.sample_bytes, lambda part: against(self._state(matrices, index, part)))
        return sum_of(rights) / count

    @torch.no_grad()
    def projected(self, theta: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        matrices, vectors = self.layers.matrices(theta), self.layers.matrices(basis)
        count = self.samples if index is None else len(index)

        def part_of(part: slice) -> Tensor:
            state = self._state(matrices, index, part)
            return projected_jets(self.layers, matrices, self.rule, state, vectors, self.hessian)

        return torch.cat(list(self.piece.over(count, (len(basis) + 1) * self.sample_bytes, part_of)))

    @torch.no_grad()
    def squared_gradients(self, theta: Tensor) -> Tensor:
        rows = []
        for point in theta:
            matrices = self.layers.matrices(point)

            def part_of(part: slice, matrices: Matrices = matrices) -> Tensor:
                x, y = self.inputs[part], self.targets[part]
                values, deltas = self._passes(matrices, self.rule, x, y, torch.ones_like(x[:, 0]))
                return self.layers.joined([a.square() for a in values], [delta.square() for delta in deltas])

            rows.append(sum_of(self.budget.over(self.samples, 2 * self.sample_bytes, part_of)) / self.samples)
        return torch.stack(rows)

    @torch.no_grad()
    def mean_hessian_gradient(self, theta: Tensor) -> Tensor:
        matrices = self.layers.matrices(theta)

        def part_of(part: slice) -> Tensor:
            return gradient_products(self.layers, matrices, self.rule, self._state(matrices, None, part))

        return sum_of(self.piece.over(self.samples, 2 * self.sample_bytes, part_of)) / self.samples

    def _state(self, matrices: Matrices, index: Tensor | None, part: slice) -> State:
        x, y = (self.inputs[part], self.targets[part]) if index is None else self.members(index[part])
        return state_of(self.layers, matrices, self.rule, x, y)

    def _state_of_all(self, theta: Tensor, matrices: Matrices) -> State:
        """The passes of all samples, kept for the next batches at the same point where that takes little memory."""
        if self._kept is not None and torch.equal(self._kept[0], theta):
            return self._kept[1]
        state = self._state(matrices, None, slice(0, self.samples))
        if self.samples * self.sample_bytes <= KEPT_BYTES:
            self._kept = theta.clone(), state
        return state
