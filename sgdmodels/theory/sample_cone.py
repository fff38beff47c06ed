r"""The mean-square edge of least squares in as many unknowns as there are samples.

With Hessians :math:`a_ia_i^T` noise enters second moments through the weights :math:`w_i = a_i^TXa_i \ge 0` alone. In
the eigenbasis of the mean Hessian, at :math:`u = 1/\eta`, second moments stand still where

.. math:: X_{jk} = \frac{c_2}{u(\lambda_j+\lambda_k) - m\lambda_j\lambda_k}\Big[\tfrac1n\textstyle\sum_i w_ia_ia_i^T
          \Big]_{jk}, \qquad m = \tfrac1\ell - c_2 \quad(\tfrac1\ell \text{ for Bernoulli batches}),

so the edge is where the map :math:`w \mapsto (a_i^TXa_i)_i`, a symmetric matrix without negative entries, has the
spectral radius 1. A product costs :math:`O(nd^2)` and the memory is :math:`O(nd + d^2)`: no array of :math:`d^2 \times
d^2` or :math:`n \times d^2` numbers. Each Perron vector gives an X whose Rayleigh quotient in the pencil (D, C) bounds
S_ms from below and is the next 2u: the iteration climbs to the edge quadratically.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments import FloatArray
from ..errors import NotConverged
from .pencil import NO_NOISE, Pencil
from .perron import radius_below_one, top_eigenpair

CLIMBS = 60


@dataclass(frozen=True)
class SampleCone:
    """The map on weights w (n,); directions (n, rank) and values (rank,) as of a `Pencil`, in its units."""

    directions: FloatArray
    values: FloatArray
    c2: float
    mean_part: float

    @classmethod
    def of(cls, pencil: Pencil) -> SampleCone:
        mean_part = 1 / pencil.ell - (0.0 if pencil.noise.raw else pencil.noise.c2)
        return cls(pencil.samples.directions(), pencil.values, pencil.noise.c2, mean_part)

    def moment(self, w: FloatArray, u: float) -> FloatArray:
        """X (rank, rank) of weights w, without the factor c_2."""
        a, v = self.directions, self.values
        x = a.T @ (w[:, None] * a)
        decay = u * (v[:, None] + v) - self.mean_part * np.multiply.outer(v, v)
        decay *= len(a)
        x /= decay
        return x

    def weights(self, x: FloatArray) -> FloatArray:
        """a_i' X a_i, shape (n,)."""
        return np.einsum("ni,ni->n", self.directions @ x, self.directions)

    def apply(self, w: FloatArray, u: float) -> FloatArray:
        return self.c2 * self.weights(self.moment(w, u))

    def quotient(self, x: FloatArray) -> float:
        """The Rayleigh quotient of X in (D, C): a lower bound of S_ms."""
        v = self.values
        noise = self.c2 * float(np.square(self.weights(x)).mean())
        mean = float(np.square(x * np.sqrt(np.multiply.outer(v, v))).sum())
        return (self.mean_part * mean + noise) / float(np.vdot(x * v, x))

    def solve(self, tolerance: float) -> tuple[float, FloatArray]:
        """S_ms and the Perron matrix, in units of the top mean curvature."""
        rank = len(self.values)
        eye, top = np.eye(rank), np.zeros((rank, rank))
        top[-1, -1] = 1.0
        if self.c2 == 0:
            return self.mean_part, top
        w, even = np.ones(len(self.directions)), np.full(len(self.directions), 0.01)
        sharpness = max(self.quotient(eye), self.quotient(top))  # above every pole of the moments
        inner = max(1e-13, 0.1 * np.sqrt(tolerance))  # the quotient's error is the square of the vector's
        for _ in range(CLIMBS):
            if sharpness <= NO_NOISE:
                return 0.0, eye
            u = sharpness / 2
            start = abs(w) / np.linalg.norm(w) * np.sqrt(len(w)) + even  # sees samples that were idle so far, too
            _, w = top_eigenpair(lambda w, u=u: self.apply(w, u), start, tolerance=inner)  # type: ignore[misc]
            x = self.moment(w, u)
            climbed = self.quotient(x)
            if climbed - sharpness <= tolerance * climbed:
                return max(climbed, sharpness), x
            sharpness = climbed
        raise NotConverged(f"the mean-square edge did not converge in {CLIMBS} eigenproblems")

    def stable(self, sharpness: float, w: FloatArray) -> bool:
        """Whether it is proven that S_ms is below `sharpness`; w is close to the Perron vector."""
        u, ones = sharpness / 2, np.ones(len(self.directions))
        return radius_below_one(
            lambda y: self.apply(y, u), ones, w, lambda y, rest: bool(y.min() > 0 and rest.min() > 0)
        )
