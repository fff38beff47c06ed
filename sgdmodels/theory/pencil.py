r"""The pencil that decides mean-square stability, of SGD (ell = 1), of SVAG(ell) and of the SDE (ell = inf).

One of the ell micro-steps of size h = eta / ell has gradient noise of covariance ell c_2 F, so second moments go by

.. math:: X^+ = X - 2hC(X) + h^2[\bar HX\bar H + \ell c_2F(X)] = X - h\,[2C - \eta D_\ell](X), \qquad
          C(X) = \tfrac12(\bar HX + X\bar H),

.. math:: D_\ell(X) = \tfrac1\ell\bar HX\bar H + c_2F(X), \qquad
          F(X) = \tfrac1n\textstyle\sum (H_i - \bar H)X(H_i - \bar H) \quad(H_iXH_i\text{ for Bernoulli batches}).

Everything is written in the eigenbasis of the mean Hessian, where C multiplies entries by (lambda_j + lambda_k) / 2.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, one_of
from ..errors import InvalidArgument, NotConverged
from ..sampling import SCHEMES, NoiseCoefficients, noise_coefficients
from .perron import definite, radius_below_one, top_eigenpair
from .population import Population

RANK_TOLERANCE = 1e-12
CLEAR_OF_POLE = 1e-13  # relative accuracy of growth rates
NEWTON_STEPS = 100
NO_NOISE = 1e-14  # relative rounding of F
NEARLY_EQUAL = 1e-4
MOST_DEVIATIONS = 2**24


class NoPositiveCurvature(InvalidArgument):
    """The mean Hessian has no positive eigenvalue: there is no minimum to be stable at."""


@dataclass(frozen=True)
class Pencil:
    """(D_ell, C) restricted to the directions of positive mean curvature.

    values (rank,), ascending and at most 1: the positive eigenvalues of the mean Hessian in units of `scale`; vectors
    (d, rank): their eigenvectors; samples: the per-sample Hessians in that basis and those units, which keep the
    squares of curvatures in range; given: the per-sample Hessians as they came.
    """

    given: Population
    scale: float

    values: FloatArray
    vectors: FloatArray
    samples: Population
    noise: NoiseCoefficients
    ell: float

    def root(self, shift: float = 0.0) -> FloatArray:
        """(C + shift / 2)^(-1/2), entry by entry."""
        return np.sqrt(2 / (self.values[:, None] + self.values[None, :] + shift))

    @cached_property
    def deviations(self) -> Population | None:
        """H_i - Hbar, where F is to be computed from them: matrices, or directions that nearly agree.

        From the mean of H_i x H_i the difference with Hbar x Hbar would lose as many digits as samples have in common.
        """
        if self.noise.raw:
            return None
        stored, rank = self.samples, len(self.values)
        if stored.factored:
            if stored.samples * rank**2 > MOST_DEVIATIONS:
                return None
            square = float((self.values**2).sum())
            if float(np.trace(stored.sandwich(np.eye(rank)))) > (1 + NEARLY_EQUAL) * square:
                return None
        matrices = self.given.stacked()  # before their digits are rounded by a change of basis
        return Population(matrices - matrices.mean(axis=0)).projected(self.vectors / np.sqrt(self.scale))

    def spread(self, x: FloatArray) -> FloatArray:
        """F(x)."""
        if self.deviations is not None:
            return self.deviations.sandwich(x)
        raw = self.samples.sandwich(x)
        return raw if self.noise.raw else raw - self.values[:, None] * x * self.values

    @property
    def no_noise(self) -> float:
        """In units of the top mean curvature: an S_ms below it is rounding."""
        return NO_NOISE**2 if self.deviations is not None else NO_NOISE

    def numerator(self, x: FloatArray) -> FloatArray:
        """D_ell(x)."""
        y = self.values[:, None] * x * self.values / self.ell
        return y + self.noise.c2 * self.spread(x) if self.noise.c2 > 0 else y

    def solve(self, shift: float = 0.0) -> tuple[float, FloatArray]:
        """The top eigenvalue of (D_ell, C + shift / 2) and its eigenvector, a matrix in the cone."""
        root = self.root(shift)
        start = np.eye(len(self.values)) / root  # the identity, in the interior of the cone
        value, y = top_eigenpair(lambda x: root * self.numerator(root * x), start, floor=self.no_noise)
        return value, root * y

    def top(self) -> tuple[float, FloatArray]:
        """S_ms and the Perron matrix in the eigenbasis, of trace 1."""
        value, x = self.solve()
        return (self.scale * value if value > self.no_noise else 0.0), (x + x.T) / (2 * np.trace(x))

    def stable(self, sharpness: float, x: FloatArray) -> bool:
        """Whether it is proven that S_ms is below `sharpness`, in units of `scale`; x is close to the Perron matrix."""
        root = self.root()

        def inside(y: FloatArray, rest: FloatArray) -> bool:
            return definite(root * y) and definite(rest / root)

        source = root * np.eye(len(root))
        return radius_below_one(lambda y: root * self.numerator(root * y) / sharpness, source, x / root, inside)

    def residual(self, x: FloatArray, sharpness: float) -> float:
        """The residual of D_ell(x) = sharpness C(x), in units of `scale`, in the norm of C^-1."""
        root = self.root()
        right = sharpness * x / root
        return float(np.linalg.norm(root * self.numerator(x) - right) / np.linalg.norm(right))

    def growth(self, step_size: float) -> float:
        """mu, the top eigenvalue of step_size D_ell - 2C: the growth rate of second moments per unit of time.

        Lanczos would crawl: the top of this spectrum is crowded near -2 lambda_min. Instead mu is where the top
        eigenvalue of the shifted pencil (D_ell, C + mu / 2) is 2 / step_size. Rayleigh quotients of its eigenvectors
        climb to it from below (Newton's method).
        """
        step, low = self.scale * step_size, float(self.values[0])
        decay = self.values[:, None] + self.values[None, :]
        mode = np.zeros_like(decay)
        mode[0, 0] = 1.0
        growth = max(step * float(self.numerator(mode)[0, 0]) - 2 * low, -2 * low * (1 - CLEAR_OF_POLE))
        for _ in range(NEWTON_STEPS):
            _, x = self.solve(growth)
            quotient = float(np.vdot(x, step * self.numerator(x) - decay * x) / np.vdot(x, x))
            if quotient - growth <= CLEAR_OF_POLE * (abs(growth) + low):
                return self.scale * growth
            growth = quotient
        raise NotConverged(f"the growth rate of second moments at step_size {step_size:.6g} did not converge")


def hessian_population(hessians: ArrayLike) -> Population:
    """Checked per-sample Hessians (n, d, d), or a_i (n, d) for Hessians a_i a_i'."""
    with suppress(ValueError):  # a ragged list: float_array says so
        if np.ndim(hessians) == 2:
            return direction_population(hessians)
    return Population.of(symmetric_matrices(hessians))


def symmetric_matrices(hessians: ArrayLike) -> FloatArray:
    """Checked per-sample Hessians (n, d, d) as an array."""
    h = float_array("hessians", hessians, ("samples", "d", "d"))
    if h.shape[1] != h.shape[2] or abs(h - h.transpose(0, 2, 1)).max() > 1e-9 * abs(h).max():
        raise InvalidArgument(f"hessians must be symmetric matrices (samples, d, d), got shape {h.shape}")
    return h


def direction_population(directions: ArrayLike) -> Population:
    """Hessians a_i a_i' of checked directions (n, d)."""
    a = float_array("directions", directions, ("samples", "d"))
    return Population(left=a, right=a)


def batch_noise(population: Population, batch_size: int, sampling: str) -> NoiseCoefficients:
    """The checked sampling coefficients of batches from `population`."""
    b = integer("batch_size", batch_size, 1, population.samples, "(the number of samples)")
    return noise_coefficients(population.samples, b, one_of("sampling", sampling, SCHEMES))


def checked_micro_steps(name: str, value: Any) -> float:
    """`value` as a number of micro-steps: an integer of at least 1, or math.inf for the SDE."""
    if isinstance(value, float) and value == math.inf:
        return math.inf
    if isinstance(value, float):
        raise InvalidArgument(f"{name} must be an integer of at least 1, or math.inf for the SDE, got {value!r}")
    return float(integer(name, value, 1))


def pencil(population: Population, noise: NoiseCoefficients, ell: float = 1) -> Pencil:
    """The pencil of symmetric per-sample Hessians; raises InvalidArgument without a direction of positive curvature."""
    values, vectors = mean_eigenpairs(population)
    keep = values > RANK_TOLERANCE * abs(values).max()
    if not keep.any():
        raise NoPositiveCurvature(
            "hessians must have a mean with a positive eigenvalue, got a largest one of "
            f"{values[-1]:.3g}; there is no minimum to be stable at"
        )
    values, vectors = values[keep], np.ascontiguousarray(vectors[:, keep])
    scale = float(values[-1])
    projected = population.projected(vectors / np.sqrt(scale))
    return Pencil(population, scale, values / scale, vectors, projected, noise, ell)


def mean_eigenpairs(population: Population) -> tuple[FloatArray, FloatArray]:
    """Ascending eigenvalues of the mean, and eigenvectors; zeros may be left out."""
    a = population.left
    if a is None or a is not population.right or len(a) >= a.shape[1]:
        values, vectors = np.linalg.eigh(population.mean)
        return values, vectors
    _, singular, rows = np.linalg.svd(a, full_matrices=False)  # fewer directions than dimensions
    return singular[::-1] ** 2 / len(a), rows[::-1].T
