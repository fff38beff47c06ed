r"""Assertions that say which stability is meant: of the mean, of the mean square, of almost every run, or of one step.

Around an interpolating minimum of quadratics, x being the distance to it,

================  ===================================================================================================
``"mean"``         E x -> 0: the spectral radius of the mean map is below 1. Noise does not matter.
``"mean-square"``  E|x|^2 -> 0: that of the exact second-moment map is below 1; without momentum, eta S_ms < 2.
``"almost sure"``  almost every run converges: the largest Lyapunov exponent is below 0.
``"one-step"``     E|x+|^2 <= |x|^2 in every step, from every x: eta lambda_max(Hbar^-1/2 E[H_B^2] Hbar^-1/2) <= 2.
================  ===================================================================================================

One-step stability (strict) implies mean-square stability, which implies both others; no converse holds. Nothing here is
a sample mean of :math:`|x|^2` over simulated runs: beyond the mean-square edge that mean is carried by ever rarer runs,
and 5 % past it each of 200 replicas may converge while the expectation grows without bound. A simulation that converges
shows almost sure stability at most. Shuffled epochs are judged by the product over an epoch. Directions in the kernel
of all Hessians (up to 1e-10 of the largest curvature) never move and are left out. Source: `sgdmodels.theory` for each
quantity; Ma and Ying 2021 and Mulayoff and Michaeli 2024 on the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, one_of, real
from ..errors import InvalidArgument
from ..sampling import SCHEMES, NoiseCoefficients, noise_coefficients
from ..theory import (
    epoch_max_step_size,
    epoch_mean_radius,
    epoch_radius,
    lyapunov_exponents,
    max_step_size,
    second_moment_radius,
)

ROUNDING = 1e-9  # a growth factor closer to 1, or an exponent closer to 0, decides nothing
KERNEL = 1e-10  # curvatures below this share of the largest are zero
FLAT = 1e-12  # the same for mean curvatures
CLEAR = 4.0  # standard errors of a Lyapunov exponent that decide


@dataclass(frozen=True)
class Question:
    """Checked arguments; hessians (n, r, r) in the directions that move, `basis` (d, r)."""

    hessians: FloatArray
    basis: FloatArray
    step_size: float
    batch_size: int
    sampling: str
    momentum: float
    nesterov: bool
    ell: float
    x: FloatArray | None
    sampled: dict[str, int]

    @property
    def mean(self) -> FloatArray:
        return np.asarray(self.hessians.mean(axis=0))

    @property
    def noise(self) -> NoiseCoefficients:
        return noise_coefficients(len(self.hessians), self.batch_size, self.sampling)

    @property
    def optimiser(self) -> dict[str, Any]:
        """Keywords for theory, if there is momentum."""
        return {"momentum": self.momentum, "nesterov": self.nesterov} if self.momentum else {}


@dataclass(frozen=True)
class Answer:
    """stable: True, False, or None if it cannot be told; `numbers` says why, `edge` what it would take."""

    stable: bool | None
    numbers: str
    edge: str


def assert_stable(
    kind: str, hessians: ArrayLike, step_size: float, batch_size: int, sampling: str = "without_replacement", *,
    momentum: float = 0.0, nesterov: bool = False, ell: float = 1, x: ArrayLike | None = None, steps: int = 2000,
    replicas: int = 32, seed: int = 0,
) -> None:  # fmt: skip
    """Fail with AssertionError unless SGD is stable in the sense of `kind`, one of those in the module's table.

    hessians: per sample (n, d, d), or a_i (n, d) for H_i = a_i a_i'. `ell`: of SVAG, for ``"mean"`` and
    ``"mean-square"``. `x` (d,): for ``"one-step"``, at that x alone. steps, replicas, seed: of the products that
    Lyapunov exponents are estimated from; less than 4 standard errors from zero is inconclusive and fails, too.
    Raises InvalidArgument for kinds and arguments that do not go together.

    >>> assert_stable("almost sure", [[[1.0]], [[3.0]]], 0.9, batch_size=1)  # log|0.1| + log|1.7| < 0
    >>> assert_stable("mean-square", [[[1.0]], [[3.0]]], 0.79, batch_size=1)  # the edge is 0.8
    """
    question = _question(
        hessians, step_size, batch_size, sampling, momentum, nesterov, ell, x, steps=steps, replicas=replicas, seed=seed
    )
    _decide(kind, question, wanted=True)


def assert_unstable(
    kind: str, hessians: ArrayLike, step_size: float, batch_size: int, sampling: str = "without_replacement", *,
    momentum: float = 0.0, nesterov: bool = False, ell: float = 1, x: ArrayLike | None = None, steps: int = 2000,
    replicas: int = 32, seed: int = 0,
) -> None:  # fmt: skip
    """Fail with AssertionError unless SGD is unstable in the sense of `kind`; arguments as of `assert_stable`.

    ``"one-step"``: unless some x (or the one given) has E|x+|^2 > |x|^2.

    >>> assert_unstable("mean-square", [[[1.0]], [[3.0]]], 0.9, batch_size=1)  # though almost every run converges
    """
    question = _question(
        hessians, step_size, batch_size, sampling, momentum, nesterov, ell, x, steps=steps, replicas=replicas, seed=seed
    )
    _decide(kind, question, wanted=False)


def _question(
    hessians: ArrayLike, step_size: float, batch_size: int, sampling: str, momentum: float, nesterov: bool, ell: float,
    x: ArrayLike | None, **sampled: int,
) -> Question:  # fmt: skip
    if np.ndim(hessians) == 2:
        a = float_array("hessians", hessians, ("samples", "d"))
        h = a[:, :, None] * a[:, None, :]
    else:
        h = float_array("hessians", hessians, ("samples", "d", "d"))
        if h.shape[1] != h.shape[2] or abs(h - h.transpose(0, 2, 1)).max() > 1e-9 * abs(h).max():
            raise InvalidArgument(f"hessians must be symmetric matrices (samples, d, d), got shape {h.shape}")
    if not h.any():
        raise InvalidArgument("hessians must not all be zero: nothing moves, so there is nothing to be stable")
    _, largest, directions = np.linalg.svd(h.reshape(-1, h.shape[1]), full_matrices=False)
    basis = directions[largest > KERNEL * largest[0]].T
    if nesterov and not momentum:
        raise InvalidArgument("nesterov=True needs momentum > 0, got momentum=0.0; set momentum or drop nesterov")
    beta = real("momentum", momentum, 0.0, 1.0)
    micro: float = math.inf if ell == math.inf else integer("ell", ell, 1)
    if beta and micro != 1:
        raise InvalidArgument(f"ell must be 1 with momentum, got ell={ell} and momentum={momentum}")
    return Question(
        basis.T @ h @ basis, basis, real("step_size", step_size, open_low=True),
        integer("batch_size", batch_size, 1, len(h), "(the number of samples)"), one_of("sampling", sampling, SCHEMES),
        beta, nesterov, micro, None if x is None else float_array("x", x, (h.shape[1],)), sampled,
    )  # fmt: skip


def _decide(kind: str, question: Question, wanted: bool) -> None:
    name = one_of("kind", kind, ANSWERS)
    if question.x is not None and name != "one-step":
        raise InvalidArgument(f'x belongs to "one-step", got kind={kind!r}; leave it out')
    if question.sampling == "epoch" and (name == "one-step" or question.ell != 1):
        raise InvalidArgument(
            "the batches of an epoch depend on each other, so one step says nothing, and SVAG has none; use "
            'sampling="without_replacement" for fresh batches, or another kind with ell=1'
        )
    answer = ANSWERS[name](question)
    if answer.stable is wanted:
        return
    claim = f"SGD is not {'stable' if wanted else 'unstable'} in the sense of {name!r}"
    if answer.stable is None:
        claim = f"{name} {'stability' if wanted else 'instability'} is inconclusive"
    raise AssertionError(f"{claim} at step_size {question.step_size:.6g}: {answer.numbers}; {answer.edge}")


def _compared(growth: float) -> bool | None:
    return None if abs(growth - 1) <= ROUNDING else growth < 1


def _largest(edge: float, kind: str) -> str:
    if edge == 0:
        return f"no step size is {kind} stable: the mean Hessian has directions without positive curvature"
    return f"the {kind} edge is step_size = {edge:.9g}"


def _mean_radius(q: Question) -> tuple[float, float]:
    """Spectral radius per step of E x, and its edge."""
    values, eta, beta = np.linalg.eigvalsh(q.mean), q.step_size, q.momentum
    top, bad = float(values[-1]), values[0] <= -FLAT * abs(values).max()
    if beta:
        ahead = 1 + beta if q.nesterov else 1.0  # theta <- theta - eta (ahead g + carried v)
        carried = beta**2 if q.nesterov else beta
        blocks = np.array([[[1 - eta * ahead * v, -eta * carried], [v, beta]] for v in values])
        radius = float(np.abs(np.linalg.eigvals(blocks)).max())
        reach = 2 * (1 + beta) / (1 + 2 * beta if q.nesterov else 1.0)
    elif q.ell == math.inf:
        radius, reach = float(np.exp(-eta * values).max()), math.inf
    else:
        radius, reach = float((np.abs(1 - eta * values / q.ell) ** q.ell).max()), 2 * q.ell
    return radius, 0.0 if bad or top <= 0 else reach / top


def _mean(q: Question) -> Answer:
    if q.sampling == "epoch":
        return _over_epochs(q, epoch_mean_radius(q.hessians, q.step_size, q.batch_size, **q.optimiser), "E x")
    radius, edge = _mean_radius(q)
    return Answer(_compared(radius), f"E x grows by a factor {radius:.9g} a step", _largest(edge, "mean"))


def _mean_square(q: Question) -> Answer:
    if q.sampling == "epoch":
        return _over_epochs(q, epoch_radius(q.hessians, q.step_size, q.batch_size, **q.optimiser), "E|x|^2")
    values = np.linalg.eigvalsh(q.mean)
    given = (q.hessians, q.batch_size, q.sampling)
    if values[0] > FLAT * values[-1]:
        edge = max_step_size(*given, ell=q.ell, **q.optimiser)
        growth = second_moment_radius(q.hessians, q.step_size, q.batch_size, q.sampling, q.ell, **q.optimiser)
    else:
        edge, growth = 0.0, _growth_anywhere(q)
    least = "at least " if edge == 0 and q.momentum else ""
    numbers = f"E|x|^2 grows by a factor {least}{growth:.9g} a step"
    return Answer(_compared(growth), numbers, _largest(edge, "mean-square"))


def _over_epochs(q: Question, growth: float, quantity: str) -> Answer:
    """Of the product over an epoch; random permutations decide only well away from the edge."""
    edge = epoch_max_step_size(q.hessians, q.batch_size, **q.optimiser)
    numbers = f"{quantity} grows by a factor {growth:.9g} a step over shuffled epochs"
    needed = f"the first mean-square edge is step_size = {edge.step_size:.9g}"
    clear = edge.exact or abs(q.step_size - edge.step_size) > CLEAR * edge.standard_error
    if not clear:
        needed += f" +- {edge.standard_error:.2g}, from random permutations: too close to tell"
    return Answer(_compared(growth) if clear else None, numbers, needed)


def _growth_anywhere(q: Question) -> float:
    """The growth factor of second moments where not all mean curvature is positive, from the matrix of the map.

    With momentum, that of the mean, squared, which is a lower bound.
    """
    if q.momentum:
        return _mean_radius(q)[0] ** 2
    mean, noise, eye = q.mean, q.noise, np.eye(len(q.mean))
    spread = q.hessians if noise.raw else q.hessians - mean
    drift = np.kron(mean, eye) + np.kron(eye, mean)
    noisy = noise.c2 * sum(np.kron(h, h) for h in spread) / len(spread)
    rate = float(np.linalg.eigvalsh(q.step_size * (np.kron(mean, mean) / q.ell + noisy) - drift)[-1])
    grown = q.step_size * rate
    return math.exp(grown) if q.ell == math.inf else (1 + grown / q.ell) ** q.ell


def _almost_sure(q: Question) -> Answer:
    if q.ell != 1:
        raise InvalidArgument(f'ell must be 1 for kind="almost sure", got {q.ell:g}')
    found = lyapunov_exponents(q.hessians, q.step_size, q.batch_size, q.sampling, **q.optimiser, **q.sampled)  # type: ignore[arg-type]
    exponent, error = float(found.values[0]), float(found.standard_errors[0])
    clear = abs(exponent) > max(CLEAR * error, ROUNDING)
    numbers = f"the Lyapunov exponent is {exponent:.6g} +- {error:.2g} per step"
    needed = "it must be below 0 for stability, above for instability"
    if not clear:
        needed += f", by more than {CLEAR:g} standard errors: raise steps or replicas, or move away from its edge"
    return Answer((exponent < 0) if clear else None, numbers, needed)


def _one_step(q: Question) -> Answer:
    if q.momentum or q.ell != 1:
        raise InvalidArgument('kind="one-step" is about one step without velocity: momentum must be 0 and ell 1')
    mean, noise = q.mean, q.noise
    spread = q.hessians if noise.raw else q.hessians - mean
    square = mean @ mean + noise.c2 * np.einsum("nij,njk->ik", spread, spread) / len(spread)
    step = np.eye(len(mean)) - 2 * q.step_size * mean + q.step_size**2 * square
    if q.x is None:
        growth = float(np.linalg.eigvalsh(step)[-1])
        numbers = f"from the worst x, E|x+|^2 = {growth:.9g} |x|^2"
        values, vectors = np.linalg.eigh(mean)
        root = vectors / np.sqrt(np.maximum(values, 1e-300))
        edge = 2 / float(np.linalg.eigvalsh(root.T @ square @ root)[-1]) if values[0] > FLAT * values[-1] else 0.0
    else:
        x = q.basis.T @ q.x
        if not x.any():
            raise InvalidArgument("x must have a part that moves, got one in the kernel of all Hessians")
        growth = float(x @ step @ x / (x @ x))
        numbers = f"E|x+|^2 = {growth:.9g} |x|^2 at this x, up to its part that does not move"
        edge = max(0.0, 2 * float(x @ mean @ x / (x @ square @ x)))
    return Answer(growth <= 1 + ROUNDING, numbers, _largest(edge, "one-step"))


ANSWERS: dict[str, Callable[[Question], Answer]] = {
    "mean": _mean,
    "mean-square": _mean_square,
    "almost sure": _almost_sure,
    "one-step": _one_step,
}
