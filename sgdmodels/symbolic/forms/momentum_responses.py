r"""How second moments answer to gradient noise under momentum, between any two eigenvectors of the mean Hessian.

Gradient noise with entries :math:`S_{jk}` per step in the eigenbasis of the mean Hessian makes the stationary second
moment :math:`E[x_jx_k] = G_{jk}S_{jk}`, where the moments W of (x_j, v_j) with (x_k, v_k) solve

.. math:: W = M_jWM_k^\top + S_{jk}\,uu^\top,

M the noiseless step of a mode and u what a unit of gradient does to it. Multiplicative noise is
:math:`S = c_2\tfrac1n\sum_i(H_i-\bar H)X(H_i-\bar H)`, and the mean-square edge is where this and G reproduce X:
for heavy ball an eigenvalue problem linear in 1/eta, in every dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .momentum_maps import HEAVY_BALL, MOMENTUM, NESTEROV, beta, eta, step, v, x

first, second = sp.symbols("lambda_j lambda_k", positive=True)
STEPS = 4000


def mode(method: str, curvature: Any) -> tuple[Any, Any]:
    """(M, u) of a mode: (x, v) <- M (x, v) + u (unit of gradient noise)."""
    kick = sp.Symbol("epsilon")
    after = step(method, curvature * x + kick)
    matrix = sp.Matrix([[sp.diff(part, variable) for variable in (x, v)] for part in after])
    return matrix, sp.Matrix([sp.diff(part, kick) for part in after])


def response(method: str) -> Any:
    """G_jk, from the four equations for the moments of two modes."""
    (one, kicked), (other, also) = mode(method, first), mode(method, second)
    unknown = sp.Matrix(2, 2, sp.symbols("W1:5"))
    equations = unknown - one * unknown * other.T - kicked * also.T
    return sp.cancel(sp.solve(list(equations), list(unknown))[unknown[0, 0]])


def impulse_response(method: str, curvature: float, size: float, momentum: float) -> FloatArray:
    """The positions after 1, 2, ... steps of a mode that a unit of gradient has kicked."""
    matrix, kick = mode(method, sp.Float(curvature))
    values = {eta: size, beta: momentum}
    move, state = (np.array(part.subs(values), dtype=np.float64) for part in (matrix, kick))
    positions = np.empty(STEPS)
    for t in range(STEPS):
        positions[t] = state[0, 0]
        state = move @ state
    return positions


def compare(method: str, inverse: bool) -> Callable[[Formula, np.random.Generator], tuple[Any, Any]]:
    """The formula against the sum over all kicks of the past."""

    def instance(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        momentum, curvatures = float(rng.uniform(0.1, 0.9)), rng.uniform(0.2, 2.0, size=2)
        reach = 1 + 2 * momentum if method == NESTEROV else 1.0
        size = float(rng.uniform(0.2, 0.8)) * 2 * (1 + momentum) / (reach * float(curvatures.max()))
        one, other = (impulse_response(method, float(c), size, momentum) for c in curvatures)
        total = float(one @ other)
        return formula(size, momentum, *curvatures), 1 / total if inverse else total

    return instance


def response_form(
    name: str,
    title: str,
    statement: str,
    method: str,
    quantity: tuple[str, str],
    expression: Any,
    inverse: bool = False,
) -> ClosedForm:
    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=expression,
        arguments=(eta, beta, first, second),
        assumptions=(
            "lambda_j, lambda_k: eigenvalues of the mean Hessian",
            "gradient noise of covariance S_jk between their eigenvectors, fresh in every step",
            "eta below the edge of the noiseless method",
            MOMENTUM,
        ),
        reference="this project",
        route="sum of the products of impulse responses over 4000 steps",
        compare=compare(method, inverse),
        tolerance=1e-9,
    )


def heavy_ball_response() -> ClosedForm:
    drift = (1 + beta) * (first + second) / eta - first * second
    shown = (1 - beta**2) / (beta * (first - second) ** 2 + (1 - beta) ** 2 * drift)
    return response_form(
        "heavy_ball_response",
        "Second moments that gradient noise makes under heavy ball",
        "Momentum makes directions of different curvature independent: beyond a gap of about "
        "2 (1 - beta) sqrt(lambda / eta) between the curvatures their common moments fade.",
        HEAVY_BALL,
        ("G_jk", "G_{jk}"),
        proven(response(HEAVY_BALL), shown),
    )


def heavy_ball_pencil() -> ClosedForm:
    mean = ((1 - beta) ** 2 * first * second - beta * (first - second) ** 2) / (1 - beta**2)
    shown = (1 - beta) * (first + second) / eta - mean
    return response_form(
        "heavy_ball_pencil",
        "The mean-square edge of heavy ball, an eigenvalue problem",
        "Second moments X stand still where c2 F(X) is this times X, entry by entry: 1/eta_max is the largest "
        "eigenvalue of a problem linear in 1/eta, as without momentum.",
        HEAVY_BALL,
        ("1/G_jk", "1/G_{jk}"),
        proven(1 / response(HEAVY_BALL), shown),
        inverse=True,
    )


def nesterov_response() -> ClosedForm:
    j, k = eta * first, eta * second
    total, product = j + k, j * k
    last = beta**2 * (1 + 2 * beta) * product
    late = beta * (1 + beta - beta**2)
    mixed = beta * (3 * beta**2 - 1) * total + (1 - beta) * (6 * (1 - beta) ** 2 - 15 * (1 - beta) + 8) - last
    below = late * (j - k) ** 2 + (1 - beta) ** 2 * (1 + beta) * total + product * mixed
    shown = eta**2 * (late * total + last + 1 - beta**2) / below
    return response_form(
        "nesterov_response",
        "Second moments that gradient noise makes under Nesterov's momentum",
        "Not affine in 1/eta: the edge of Nesterov's momentum has no linear eigenvalue problem.",
        NESTEROV,
        ("G_jk", "G_{jk}"),
        proven(response(NESTEROV), shown),
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (heavy_ball_response, heavy_ball_pencil, nesterov_response)
