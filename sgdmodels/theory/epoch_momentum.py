r"""Whether second moments of shuffled epochs with momentum grow, without crawling where they decay slowly.

Directions of little curvature crowd the top of the spectrum of :math:`E(X) = E[PXP^T]` near 1. They barely feel noise:
:math:`A(X) = DXD^T`, D the K-th power of the step on the mean Hessian (0 along directions that decay fast), is nearly
all of E there, and 1 - A is inverted in 2 x 2 blocks. If rho(E) >= 1, the pencil

.. math:: (E - A)(X) = \mu\,(1 - A)(X)

has an eigenvalue mu >= 1: on the way from A, which contracts, to E all maps keep the cone of positive semi-definite
matrices, so that the first to stand still has a Perron matrix X there, and mu = 1 at the edge. Source: this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arguments import FloatArray
from ..errors import NotConverged
from .batch_steps import BatchSteps
from .momentum import Momentum
from .perron import Map, definite
from .step_moments import DENSE_STATE, SLOW_DENSE_STATE, step_blocks, symmetric_matrix

BASIS, RESTARTS, ACCURACY = 24, 60, 1e-10
PRODUCTS, PATIENCE = 60, 10  # give up where this many products do not halve the change


@dataclass(frozen=True)
class MomentumEpochs:
    """The pencil (E - A, 1 - A) of epochs with the map `moments` X -> E[P X P'] at a step size."""

    steps_of: BatchSteps
    step_size: float
    moments: Map

    @cached_property
    def decay(self) -> FloatArray:
        """D of every direction, (d, 2, 2)."""
        steps_of = self.steps_of
        constant, u = step_blocks(steps_of, self.step_size)
        step = np.repeat(constant[None], steps_of.dim, axis=0)
        step[:, :, 0] += steps_of.values[:, None] * u
        edge = Momentum(steps_of.momentum, steps_of.nesterov).noiseless_edge(1.0)
        slow = steps_of.scale * self.step_size * steps_of.values <= edge / 2
        power: FloatArray = np.linalg.matrix_power(step * slow[:, None, None], steps_of.epoch_steps)
        return power

    @cached_property
    def inverse(self) -> FloatArray:
        """(1 - A)^(-1) on the blocks of X, (d, d, 4, 4)."""
        d = self.steps_of.dim
        products = np.einsum("jab,kcd->jkacbd", self.decay, self.decay).reshape(d, d, 4, 4)
        inverted: FloatArray = np.linalg.inv(np.eye(4) - products)
        return inverted

    def noiseless(self, x: FloatArray) -> FloatArray:
        """A(x)."""
        blocks = np.matmul(np.matmul(self.decay[:, None], self._blocks(x)), self.decay[None].transpose(0, 1, 3, 2))
        return self._assembled(blocks)

    def solve(self, x: FloatArray) -> FloatArray:
        """(1 - A)^(-1)(x)."""
        d = self.steps_of.dim
        flat = self._blocks(x).reshape(d, d, 4, 1)
        return self._assembled(np.matmul(self.inverse, flat).reshape(d, d, 2, 2))

    def contracts(self) -> bool:
        """Whether a few products prove that rho(E) < 1, by a Y > 0 with Y - E(Y) > 0 (Collatz and Wielandt).

        Y is the sum of E^k(1), summed with 1 - A inverted: Y = (1 - A)^(-1)[1 + (E - A)(Y)].
        """
        one = np.eye(self.steps_of.state)
        y, changes = self.solve(one), []
        for k in range(PRODUCTS):
            image = self.moments(y)
            if definite(y) and definite(y - image):
                return True
            after = self.solve(one + image - self.noiseless(y))
            after = (after + after.T) / 2
            changes.append(float(np.linalg.norm(after - y)))
            if k >= PATIENCE and not changes[-1] < changes[-PATIENCE] / 2:
                return False
            y = after
        return False

    def top(self) -> tuple[float, FloatArray]:
        """The eigenvalue mu furthest to the right and its X.

        Raises NotConverged.
        """
        size = self.steps_of.state

        def apply(x: FloatArray) -> FloatArray:
            return self.solve(self.moments(x) - self.noiseless(x))

        if size <= DENSE_STATE:
            return dense_top(apply, size)
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

        def product(flat: FloatArray) -> FloatArray:
            x = flat.reshape(size, size)
            return apply((x + x.T) / 2).ravel()

        operator = LinearOperator((size**2, size**2), matvec=product, dtype=np.float64)
        start = self.solve(np.eye(size)).ravel()
        try:
            values, vectors = eigs(operator, 1, which="LR", v0=start, ncv=BASIS, maxiter=RESTARTS, tol=ACCURACY)
        except ArpackNoConvergence:
            if size <= SLOW_DENSE_STATE:
                return dense_top(apply, size)
            raise NotConverged(
                f"the stability of epochs of a state of size {size} at step_size {self.step_size:.6g} was not decided; "
                "are the Hessians badly scaled?"
            ) from None
        mode = vectors[:, 0].real.reshape(size, size)
        return float(values[0].real), (mode + mode.T) / 2

    def _blocks(self, x: FloatArray) -> FloatArray:
        d = self.steps_of.dim
        return x.reshape(2, d, 2, d).transpose(1, 3, 0, 2)

    def _assembled(self, blocks: FloatArray) -> FloatArray:
        d = self.steps_of.dim
        return blocks.transpose(2, 0, 3, 1).reshape(2 * d, 2 * d)


def dense_top(apply: Map, size: int) -> tuple[float, FloatArray]:
    """The eigenvalue furthest to the right of a map on symmetric matrices, and its eigenvector, from its matrix."""
    values, vectors = np.linalg.eig(symmetric_matrix(apply, size))
    best = int(np.argmax(values.real))
    mode = np.zeros((size, size))
    mode[np.triu_indices(size)] = vectors[:, best].real
    return float(values[best].real), mode + mode.T - np.diag(np.diagonal(mode))
