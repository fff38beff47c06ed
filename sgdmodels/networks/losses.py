r"""Losses of one sample each: functions of outputs (n,) or (n, k) and targets that return n values.

The mean over samples is left to whoever calls: per-sample gradients need it apart. All are smooth functions of the
outputs without branches on values, so that `torch.func` (vmap, grad, jvp, twice) goes through them. This package's
squared loss carries the 1/2; the code published with the paper does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidArgument


def _same_shape(outputs: Tensor, targets: Tensor) -> None:
    """Refuses shapes that would broadcast: (n,) against (n, 1) gives (n, n)."""
    if outputs.shape != targets.shape:
        raise InvalidArgument(
            f"outputs and targets must have the same shape, got {tuple(outputs.shape)} and {tuple(targets.shape)}; "
            "reshape the targets, one-hot encode labels, or flatten the net's output"
        )


def _sum_over_outputs(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    r"""Half the squared distance of each sample's outputs from its targets, shape (n,).

    .. math:: \ell_i = \tfrac12 \sum_k (f_{ik} - y_{ik})^2

    Both (n,) or (n, k), of one shape. Raises InvalidArgument.

    >>> squared_error(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])).tolist()
    [12.5, 0.5]
    """
    _same_shape(outputs, targets)
    return _sum_over_outputs((outputs - targets).square()) / 2


def squared_error_without_half(outputs: Tensor, targets: Tensor) -> Tensor:
    r"""The squared distance of each sample's outputs from its targets, shape (n,): the published code's squared loss.

    .. math:: \ell_i = \sum_k (f_{ik} - y_{ik})^2

    Gradients and Hessians are twice those of `squared_error`. The same SGD has half the step size here, so
    eta * sharpness does not change. Both (n,) or (n, k), of one shape. Raises InvalidArgument.

    >>> squared_error_without_half(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])).tolist()
    [9.0, 1.0]
    """
    _same_shape(outputs, targets)
    return _sum_over_outputs((outputs - targets).square())


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    r"""Cross-entropy of the softmax of each sample's outputs, shape (n,), in nats.

    .. math:: \ell_i = \log\sum_k e^{f_{ik}} - f_{iy_i} \qquad\text{or}\qquad -\sum_k p_{ik}\log\mathrm{softmax}_k(f_i)

    `outputs` (n, classes); `targets` integer labels (n,) or probabilities (n, classes). Raises InvalidArgument.

    >>> cross_entropy(torch.zeros(2, 8), torch.tensor([0, 7])).div(torch.tensor(2.0).log()).tolist()  # 3 bits each
    [3.0, 3.0]
    """
    if outputs.ndim != 2:
        raise InvalidArgument(
            f"cross_entropy needs outputs of shape (n, classes), got {tuple(outputs.shape)}; "
            "use logistic for one output with labels -1 and 1"
        )
    log_probabilities = outputs.log_softmax(1)
    if targets.is_floating_point():
        _same_shape(outputs, targets)
        return -(targets * log_probabilities).sum(1)
    if targets.shape != outputs.shape[:1]:
        raise InvalidArgument(
            f"cross_entropy needs labels of shape ({len(outputs)},) or floating-point probabilities of shape "
            f"{tuple(outputs.shape)}, got targets of shape {tuple(targets.shape)} and dtype {targets.dtype}"
        )
    return -log_probabilities.gather(1, targets.long()[:, None])[:, 0]


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    r"""Logistic loss of a scalar output and a label -1 or 1, shape (n,), in nats.

    .. math:: \ell_i = \log(1 + e^{-y_if_i})

    Both (n,) or (n, 1), of one shape. Raises InvalidArgument.

    >>> logistic(torch.zeros(2), torch.tensor([1.0, -1.0])).div(torch.tensor(2.0).log()).tolist()  # 1 bit each
    [1.0, 1.0]
    """
    _same_shape(outputs, targets)
    if outputs[0].numel() != 1:
        raise InvalidArgument(f"logistic needs one output a sample, got {tuple(outputs.shape)}; use cross_entropy")
    return -torch.nn.functional.logsigmoid(outputs * targets).reshape(-1)
