r"""A network, a loss and data as functions of one flat parameter vector: what every measurement and step is made of.

.. math:: L(\theta) = \tfrac1n\textstyle\sum_i l_i(\theta), \qquad l_i(\theta) = \ell(f(x_i; \theta), y_i)

Two implementations answer the same questions: `ModuleObjective` for any network by automatic differentiation, and
`DenseChain` for stacks of linear layers by hand, without ever forming a sample's gradient. Tests hold one against the
other.

`matrix` says which second derivatives are meant wherever M is written below: the Hessian H_i of l_i, or its
Gauss-Newton part :math:`G_i = J_i^T(\partial^2\ell)J_i`. Gradients are the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

HESSIAN, GAUSS_NEWTON = "hessian", "gauss_newton"
MATRICES = (HESSIAN, GAUSS_NEWTON)


class Curvatures(NamedTuple):
    """g_B' M_B g_B and |g_B|^2 of each batch, both (batches,)."""

    curvature: Tensor
    square: Tensor


class Directional(NamedTuple):
    """g_i . u, u' M_i u and g_i' M_i u of each sample for one direction u, each (samples,)."""

    slope: Tensor
    curvature: Tensor
    mixed: Tensor


class Objective(ABC):
    """Losses, gradients and curvatures of n samples in d parameters; tensors have the dtype and device of the network.

    `index` holds sample numbers (int64), `weight` their weights; without an index all samples are meant, in order,
    without weights each has 1 / (number of samples). Weights need not sum to one, and may be zero or negative.
    """

    samples: int
    dim: int
    dtype: torch.dtype
    device: torch.device
    inputs: Tensor
    targets: Tensor
    matrix: str

    @abstractmethod
    def with_matrix(self, matrix: str) -> Objective:
        """The same objective with M the Hessian or the Gauss-Newton matrix."""

    @abstractmethod
    def sample_losses(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        """l_i at theta (d,), shape (samples,)."""

    @abstractmethod
    def gradients(self, theta: Tensor, index: Tensor | None, weight: Tensor, targets: Tensor | None = None) -> Tensor:
        """sum_k weight[r, k] grad l_(index[r, k])(theta[r]) of every member r of an ensemble, shape (R, d).

        theta (R, d), index (R, m) or None, weight (R, m); `targets` (R, m, ...) in place of the samples' own. Rows are
        independent: a member that is not finite spoils no other.
        """

    @abstractmethod
    def operator(
        self, theta: Tensor, index: Tensor | None = None, weight: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Products with sum_k weight_k M_(index_k) at theta (d,): vectors (k, d) -> (k, d).

        What all products at one point share is computed once.
        """

    @abstractmethod
    def batch_curvatures(self, theta: Tensor, index: Tensor, weight: Tensor | None = None) -> Curvatures:
        """g_B' M_B g_B and |g_B|^2 of batches index (batches, b) at theta (d,); default weights 1 / b."""

    @abstractmethod
    def directional(self, theta: Tensor, direction: Tensor, index: Tensor | None = None) -> Directional:
        """Slopes and curvatures of single samples along one direction (d,)."""

    @abstractmethod
    def gradient_curvatures(self, theta: Tensor, index: Tensor | None = None) -> Tensor:
        """g_i' Mbar g_i of each sample, shape (samples,), Mbar being the mean over the same samples."""

    @abstractmethod
    def projected(self, theta: Tensor, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Q M_i Q' of each sample for basis vectors Q (k, d), shape (samples, k, k)."""

    @abstractmethod
    def squared_gradients(self, theta: Tensor) -> Tensor:
        """(1/n) sum_i g_i^2, coordinate by coordinate, at every theta (R, d), shape (R, d)."""

    @abstractmethod
    def mean_hessian_gradient(self, theta: Tensor) -> Tensor:
        """(1/n) sum_i H_i g_i at theta (d,), shape (d,): with the Hessian, whatever `matrix` is."""

    def gradient(self, theta: Tensor, index: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """sum_k weight_k g_(index_k) at theta (d,), shape (d,)."""
        count = self.samples if index is None else len(index)
        if weight is None:
            weight = torch.full((count,), 1 / count, dtype=self.dtype, device=self.device)
        return self.gradients(theta[None], None if index is None else index[None], weight[None])[0]

    def loss(self, theta: Tensor) -> Tensor:
        """L(theta), summed in float64 whatever the network's precision is."""
        return self.sample_losses(theta).double().mean()

    def members(self, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the samples in `index`."""
        if index is None:
            return self.inputs, self.targets
        return self.inputs[index], self.targets[index]
