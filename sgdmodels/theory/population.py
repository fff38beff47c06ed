r"""Per-sample matrices seen as one population, and the averages of them that moment equations need.

.. math:: \text{sandwich}(X) = \tfrac1n\textstyle\sum_i A_iXA_i^T, \qquad
          \text{for } A_i = u_iw_i^T:\quad \tfrac1n\textstyle\sum_i (w_i^TXw_i)\,u_iu_i^T

The second form, O(n d^2) instead of O(n d^3), is taken whenever all matrices have rank one (least squares).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arguments import FloatArray

ROUNDING = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Population:
    """Matrices A_i (n, r, c), or their factors A_i = left_i right_i' (n, r) and (n, c); the other one is None.

    source: what the factors were made of, with digits that they have rounded.
    """

    matrices: FloatArray | None = None
    left: FloatArray | None = None
    right: FloatArray | None = None
    source: FloatArray | None = None

    @classmethod
    def of(cls, matrices: FloatArray) -> Population:
        """The population of `matrices`, factored if all have rank one to rounding.

        >>> Population.of(np.array([[[1.0, 2.0], [2.0, 4.0]]])).factored
        True
        """
        n = len(matrices)
        row, column = np.divmod(abs(matrices).reshape(n, -1).argmax(axis=1), matrices.shape[2])
        index = np.arange(n)
        pivot = matrices[index, row, column]
        root = np.sqrt(abs(pivot))  # shared by both factors: neither leaves the range of the other
        divisor = np.where(pivot == 0, 1.0, root)[:, None]
        left = matrices[index, :, column] / divisor
        right = matrices[index, row] / divisor * np.sign(pivot)[:, None]
        error = abs(matrices - left[:, :, None] * right[:, None, :]).max(axis=(1, 2))
        return cls(left=left, right=right, source=matrices) if (error <= ROUNDING * abs(pivot)).all() else cls(matrices)

    @property
    def factored(self) -> bool:
        return self.matrices is None

    @property
    def samples(self) -> int:
        array = self.matrices if self.matrices is not None else self.left
        assert array is not None
        return len(array)

    def directions(self) -> FloatArray:
        """a_i (n, r) with A_i = +- a_i a_i', of symmetric matrices of rank one."""
        assert self.left is not None
        assert self.right is not None
        if self.left is self.right:
            return self.left
        square = np.einsum("ni,ni->n", self.right, self.right)
        strength = abs(np.einsum("ni,ni->n", self.left, self.right)) / np.where(square == 0, 1.0, square)
        return self.right * np.sqrt(strength)[:, None]

    @cached_property
    def mean(self) -> FloatArray:
        """The mean of A_i, shape (r, c)."""
        if self.matrices is not None:
            return self.matrices.mean(axis=0)
        assert self.left is not None
        assert self.right is not None
        return self.left.T @ self.right / len(self.left)

    @cached_property
    def _columns(self) -> FloatArray:
        """A_i' side by side, shape (c, n, r): both products of a sandwich become one matrix product without a copy."""
        assert self.matrices is not None
        return np.ascontiguousarray(self.matrices.transpose(2, 0, 1))

    def sandwich(self, x: FloatArray) -> FloatArray:
        """The mean of A_i x A_i', shape (r, r)."""
        if self.matrices is None:
            assert self.left is not None
            assert self.right is not None
            weights = np.einsum("ni,ni->n", self.right @ x, self.right)
            return (self.left * weights[:, None]).T @ self.left / len(weights)
        columns = self._columns
        c, n, r = columns.shape
        product = (x.T @ columns.reshape(c, n * r)).reshape(c * n, r)
        return product.T @ columns.reshape(c * n, r) / n

    def stacked(self) -> FloatArray:
        """A_i, shape (n, r, c)."""
        known = self.matrices if self.matrices is not None else self.source
        if known is not None:
            return known
        assert self.left is not None
        assert self.right is not None
        return self.left[:, :, None] * self.right[:, None, :]

    def weighted(self, weights: FloatArray) -> FloatArray:
        """The sum of weights_i A_i, shape (r, c)."""
        if self.matrices is not None:
            return np.tensordot(weights, self.matrices, axes=1)
        assert self.left is not None
        assert self.right is not None
        return (self.left * weights[:, None]).T @ self.right

    def each(self, vectors: FloatArray) -> FloatArray:
        """A_i v_i for vectors (n, c), shape (n, r)."""
        if self.matrices is not None:
            return np.einsum("nij,nj->ni", self.matrices, vectors)
        assert self.left is not None
        assert self.right is not None
        return self.left * np.einsum("ni,ni->n", self.right, vectors)[:, None]

    def cube(self) -> FloatArray:
        """The mean of A_i^3 of square matrices, shape (r, r)."""
        if self.matrices is not None:
            square = np.matmul(self.matrices, self.matrices)
            return np.tensordot(square, self.matrices, axes=((0, 2), (0, 1))) / len(self.matrices)
        assert self.left is not None
        assert self.right is not None
        overlap = np.einsum("ni,ni->n", self.right, self.left)
        return (self.left * overlap[:, None] ** 2).T @ self.right / len(overlap)

    def projected(self, basis: FloatArray) -> Population:
        """The population of basis' A_i basis; `basis` has shape (r, k)."""
        if self.matrices is not None:
            return Population(np.matmul(basis.T, np.matmul(self.matrices, basis)))
        assert self.left is not None
        assert self.right is not None
        left = self.left @ basis
        return Population(left=left, right=left if self.right is self.left else self.right @ basis)

    def scaled(self, factor: float) -> Population:
        """The population of factor A_i."""
        if self.matrices is not None:
            return Population(factor * self.matrices)
        assert self.left is not None
        return Population(left=factor * self.left, right=self.right)

    def transposed(self) -> Population:
        """The population of A_i'."""
        if self.matrices is not None:
            return Population(self.matrices.transpose(0, 2, 1))
        return Population(left=self.right, right=self.left)
