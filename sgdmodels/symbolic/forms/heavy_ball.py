r"""SGD with heavy-ball momentum at the mean-square edge in one dimension, in the convention of PyTorch:

.. math:: v^+ = \beta v + hx, \qquad x^+ = x - \eta v^+, \qquad 0 \le \beta < 1,

with a batch Hessian h of mean a and variance :math:`s^2`, drawn anew in every step, and x the error from the minimum.
The second moments :math:`(\mathbb{E}x^2, \mathbb{E}xv, \mathbb{E}v^2)` go through a linear map M. It preserves the cone
of second moments, so its spectral radius is an eigenvalue, and stability is lost where

.. math:: \det(I - M) = 0

for the first time. Here :math:`\det(I - M)/\eta` is affine in :math:`\eta`, and so :math:`1/\eta_{\max}` is a sum of a
part from the curvature and a part from the noise. For the stationary variance the batch gradient is :math:`hx - \xi`.
Sources: Andreyev et al. 2026; Polyak 1964.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import square_map
from .momentum_maps import (
    HEAVY_BALL,
    INTERPOLATION,
    a,
    beta,
    compare_edge,
    determinant_form,
    deterministic_edge,
    edge_form,
    eta,
    limit_form,
    moment_matrix,
    noise_limit,
    random_batches,
    s,
    sigma,
    stability_determinant,
    step,
    step_matrices,
    v,
    x,
)


def heavy_ball_determinant() -> ClosedForm:
    shown = eta * (2 * a * (1 - beta) * (1 + beta) - eta * (a**2 * (1 - beta) + s**2 * (1 + beta)))
    return determinant_form("heavy_ball_determinant", HEAVY_BALL, shown)


def heavy_ball_edge() -> ClosedForm:
    (edge,) = sp.solve(sp.cancel(stability_determinant(HEAVY_BALL) / eta), eta)
    return edge_form(
        "heavy_ball_edge",
        "Mean-square edge of heavy-ball SGD",
        "Curvature and noise add up in 1/eta: momentum raises the edge of curvature by the factor 1 + beta and "
        "lowers that of noise by 1 - beta.",
        ("eta_max", r"\eta_{\max}"),
        proven(edge, 1 / (a / (2 * (1 + beta)) + s**2 / (2 * a * (1 - beta)))),
        (beta, a, s),
        (INTERPOLATION,),
        compare_edge(HEAVY_BALL),
        reference="Andreyev et al. 2026",
    )


def heavy_ball_deterministic_edge() -> ClosedForm:
    return limit_form(
        "heavy_ball_deterministic_edge",
        HEAVY_BALL,
        False,
        deterministic_edge(HEAVY_BALL),
        2 * (1 + beta) / eta,
        "Without noise heavy ball is stable at sharper minima than gradient descent.",
        "Polyak 1964",
    )


def heavy_ball_noise_edge() -> ClosedForm:
    return limit_form(
        "heavy_ball_noise_edge",
        HEAVY_BALL,
        True,
        noise_limit(HEAVY_BALL),
        2 * (1 - beta) / eta,
        "If noise dominates, heavy ball has the edge of SGD with the step size eta / (1 - beta).",
    )


def heavy_ball_stationary_variance() -> ClosedForm:
    """Additive noise xi of mean zero enters v+ and x+ as the gradient does; then Cramer's rule."""
    after, buffer = (part.subs({x: 0, v: 0}) for part in step(HEAVY_BALL, sigma))
    system = sp.eye(3) - moment_matrix(HEAVY_BALL)
    replaced = system.copy()
    replaced[:, 0] = sp.Matrix([after**2, after * buffer, buffer**2])
    variance = sp.cancel(replaced.det() / system.det())
    shown = eta * sigma**2 * (1 + beta) / (2 * a * (1 - beta**2) - eta * (a**2 * (1 - beta) + s**2 * (1 + beta)))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        batches, chances, mean, spread, momentum = random_batches(rng)
        noise = rng.normal(size=len(batches))
        noise -= chances @ noise
        size = float(rng.uniform(0.2, 0.8)) * (1 - momentum) * 2 * mean / float(chances @ batches**2)
        affine = np.zeros((len(batches), 3, 3))  # of (x, v, 1)
        affine[:, :2, :2] = step_matrices(HEAVY_BALL, batches, size, momentum)
        affine[:, :2, 2] = size * np.outer(noise, [-1.0, 1.0])
        affine[:, 2, 2] = 1.0
        full = square_map(affine, chances)
        moments = np.linalg.solve((np.eye(9) - full)[:8, :8], full[:8, 8])
        return formula(size, momentum, mean, spread, np.sqrt(chances @ noise**2)), moments[0]

    return edge_form(
        "heavy_ball_stationary_variance",
        "Stationary variance of heavy-ball SGD",
        "For small steps the variance is that of SGD with the step size eta / (1 - beta).",
        ("Var x", r"\operatorname{Var}x"),
        proven(variance, shown),
        (eta, beta, a, s, sigma),
        ("batch gradient h x - xi, xi of mean 0 and variance sigma^2", "eta below the mean-square edge"),
        compare,
        "fixed point of the moments of (x, v, 1) over all batches",
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    heavy_ball_determinant,
    heavy_ball_edge,
    heavy_ball_deterministic_edge,
    heavy_ball_noise_edge,
    heavy_ball_stationary_variance,
)
