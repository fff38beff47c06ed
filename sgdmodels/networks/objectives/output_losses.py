"""Losses as functions of a network's outputs: slopes l' and products with l'', in closed form where they are known.

Outputs have shape (..., k) with any number of leading sample dimensions, targets (..., *shape of one target). Losses
treat every sample alone, so samples of several ensemble members or directions may share one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..losses import cross_entropy, logistic, squared_error, squared_error_without_half

Loss = Callable[[Tensor, Tensor], Tensor]


class OutputLoss:
    """Any loss, by automatic differentiation of the loss alone; the network is not part of it.

    flat: the network gives its single output as (n,), not (n, 1). Outputs are (..., 1) here all the same.
    """

    def __init__(self, loss: Loss, flat: bool) -> None:
        self.loss, self.flat = loss, flat

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """l of outputs (n, k), shape (n,)."""
        return self.loss(outputs[:, 0] if self.flat else outputs, targets)

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """l' of every sample, of the shape of `outputs`."""
        point = outputs.detach().flatten(0, -2).requires_grad_()
        with torch.enable_grad():
            total = self.values(point, targets.flatten(0, outputs.dim() - 2)).sum()
            (slope,) = torch.autograd.grad(total, point)
        return slope.view(outputs.shape)

    def bent(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """l'' v of every sample; `vectors` may have further leading dimensions."""
        lead = vectors.dim() - outputs.dim()
        count = vectors.shape[:lead]
        point = outputs.detach().expand(vectors.shape).flatten(0, -2).requires_grad_()
        targets = targets.expand(*count, *targets.shape).flatten(0, vectors.dim() - 2)
        with torch.enable_grad():
            total = self.values(point, targets).sum()
            (slope,) = torch.autograd.grad(total, point, create_graph=True)
            if not slope.requires_grad:  # a loss that is linear in the outputs
                return torch.zeros_like(vectors)
            (product,) = torch.autograd.grad(slope, point, vectors.flatten(0, -2), materialize_grads=True)
        return product.view(vectors.shape)


class SquaredError(OutputLoss):
    """scale / 2 times the squared distance."""

    def __init__(self, loss: Loss, flat: bool, scale: float) -> None:
        super().__init__(loss, flat)
        self.scale = scale

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        residual = outputs - (targets.unsqueeze(-1) if self.flat else targets)
        return residual if self.scale == 1 else residual.mul_(self.scale)

    def bent(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        return vectors if self.scale == 1 else self.scale * vectors


class CrossEntropy(OutputLoss):
    """l' = (sum_k p_k) s - p with s = softmax(f) for probabilities p or labels, l'' = (sum_k p_k)(diag(s) - s s')."""

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        share = outputs.softmax(-1)
        if targets.is_floating_point():
            return targets.sum(-1, keepdim=True) * share - targets
        return share.scatter_add_(-1, targets.long().unsqueeze(-1), torch.full_like(share[..., :1], -1))

    def bent(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        share = outputs.softmax(-1)
        product = share * (vectors - (share * vectors).sum(-1, keepdim=True))
        return targets.sum(-1, keepdim=True) * product if targets.is_floating_point() else product


class Logistic(OutputLoss):
    """l' = -y sigmoid(-y f), l'' = y^2 sigmoid(y f) sigmoid(-y f)."""

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        y = targets.unsqueeze(-1) if self.flat else targets
        return -y * torch.sigmoid(-y * outputs)

    def bent(self, outputs: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        y = targets.unsqueeze(-1) if self.flat else targets
        margin = y * outputs
        return y * y * torch.sigmoid(margin) * torch.sigmoid(-margin) * vectors


def output_loss(loss: Loss, outputs: Tensor, targets: Tensor, flat: bool) -> OutputLoss:
    """The closed form of `loss` for outputs (n, k) and targets of these shapes and types, else the general one.

    Shapes that a loss refuses are left to the general form, which calls the loss and so raises its error.
    """
    alike = outputs.dtype == targets.dtype and targets.shape == (outputs.shape[:1] if flat else outputs.shape)
    if loss is squared_error and alike:
        return SquaredError(loss, flat, 1.0)
    if loss is squared_error_without_half and alike:
        return SquaredError(loss, flat, 2.0)
    if loss is logistic and alike and outputs.shape[1] == 1:
        return Logistic(loss, flat)
    labels = not targets.is_floating_point() and targets.shape == outputs.shape[:1]
    if loss is cross_entropy and not flat and (alike or labels):
        return CrossEntropy(loss, flat)
    return OutputLoss(loss, flat)
