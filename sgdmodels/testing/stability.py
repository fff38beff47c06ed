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

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, one_of, real
from ..errors import InvalidArgument
from ..sampling import SCHEMES
from ..theory.momentum import checked_momentum
from ..theory.pencil import checked_micro_steps, symmetric_matrices
from .kinds import ANSWERS, Question

KERNEL = 1e-10  # curvatures below this share of the largest are zero
FARTHEST = 1e60  # step size times curvature beyond which squares overflow


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
    h, basis = _moving(hessians)
    eta = real("step_size", step_size, open_low=True)
    largest = float(abs(h).max()) ** (2 if h.ndim == 2 else 1)
    if not eta * largest < FARTHEST:
        raise InvalidArgument(f"step_size {eta:.6g} is beyond every edge at curvatures up to {largest:.6g}; lower it")
    optimiser = checked_momentum(momentum, nesterov, checked_micro_steps("ell", ell))
    beta = 0.0 if optimiser is None else optimiser.beta
    return Question(
        h, basis, eta,
        integer("batch_size", batch_size, 1, len(h), "(the number of samples)"), one_of("sampling", sampling, SCHEMES),
        beta, nesterov, ell, None if x is None else float_array("x", x, (len(basis),)), sampled,
    )  # fmt: skip


def _moving(hessians: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Checked Hessians, or directions, in a basis (d, r) of what is not in the kernel of all of them, and the basis."""
    if np.ndim(hessians) == 2:
        rows = float_array("hessians", hessians, ("samples", "d"))
        flat = rows
    else:
        rows = symmetric_matrices(hessians)
        flat = rows.reshape(-1, rows.shape[1])
    if not rows.any():
        raise InvalidArgument("hessians must not all be zero: nothing moves, so there is nothing to be stable")
    _, largest, directions = np.linalg.svd(flat, full_matrices=False)
    kernel = KERNEL if rows.ndim == 3 else math.sqrt(KERNEL)  # curvatures are squares of directions
    basis = directions[largest > kernel * largest[0]].T
    return (rows @ basis if rows.ndim == 2 else basis.T @ rows @ basis), basis


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
