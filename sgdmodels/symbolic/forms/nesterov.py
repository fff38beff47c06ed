r"""SGD with Nesterov momentum at the mean-square edge in one dimension, in the convention of PyTorch:

.. math:: v^+ = \beta v + hx, \qquad x^+ = x - \eta(hx + \beta v^+), \qquad 0 \le \beta < 1,

with a batch Hessian h of mean a and variance :math:`s^2`, drawn anew in every step, and x the error from the minimum.
As for heavy ball, stability of the second moments is lost where :math:`\det(I - M) = 0` for the first time, with M the
linear map of :math:`(\mathbb{E}x^2, \mathbb{E}xv, \mathbb{E}v^2)` in a step. Here :math:`\det(I - M)/\eta` is a
quadratic in :math:`\eta`, positive at zero and negative at infinity: it has exactly one positive root, and second
moments are stable below and unstable above it. Source: this project.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import crossing
from .momentum_maps import (
    INTERPOLATION,
    NESTEROV,
    a,
    beta,
    compare_edge,
    determinant_form,
    deterministic_edge,
    edge_form,
    eta,
    limit_form,
    noise_limit,
    radius,
    s,
    stability_determinant,
)


def nesterov_determinant() -> ClosedForm:
    deterministic = a * (1 - beta + a * beta * eta) * (2 * (1 + beta) - a * eta * (1 + 2 * beta))
    noise = eta * s**2 * (1 + beta + a * beta * eta * (1 + 2 * beta))
    return determinant_form("nesterov_determinant", NESTEROV, eta * (deterministic - noise))


def nesterov_edge() -> ClosedForm:
    """det(I - M) / eta is a quadratic in eta, negative at infinity and positive at 0: it has one positive root."""
    quadratic = sp.Poly(sp.cancel(stability_determinant(NESTEROV) / eta), eta)
    second, first, constant = sp.symbols("k_2 k_1 k_0", real=True)
    leading, linear, free = quadratic.all_coeffs()
    named = (
        (second, proven(-leading, a * beta * (1 + 2 * beta) * (a**2 + s**2))),
        (first, proven(linear, a**2 * (4 * beta**2 + beta - 1) - s**2 * (1 + beta))),
        (constant, proven(free, 2 * a * (1 - beta) * (1 + beta))),
    )
    root = 2 * constant / (sp.sqrt(first**2 + 4 * second * constant) - first)  # this way also for beta = 0
    proven(sp.radsimp(-second * root**2 + first * root + constant), sp.Integer(0))
    form = edge_form(
        "nesterov_edge",
        "Mean-square edge of Nesterov SGD",
        "The edge is the one positive root of a quadratic; it has no separate terms for curvature and noise.",
        ("eta_max", r"\eta_{\max}"),
        root,
        (beta, a, s),
        (INTERPOLATION,),
        compare_edge(NESTEROV),
    )
    return dataclasses.replace(form, where=named)


def nesterov_noise_at_edge() -> ClosedForm:
    (variance,) = sp.solve(stability_determinant(NESTEROV), s**2)
    shown = (a * (1 - beta + a * beta * eta) * (2 * (1 + beta) - a * eta * (1 + 2 * beta))) / (
        eta * (1 + beta + a * beta * eta * (1 + 2 * beta))
    )

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        mean, momentum = float(rng.uniform(0.5, 2)), float(rng.uniform(0.05, 0.95))
        size = float(rng.uniform(0.1, 0.9)) * 2 * (1 + momentum) / (1 + 2 * momentum) / mean
        noise = np.array([-1.0, 1.0])

        def growth(spread: float) -> float:
            return radius(NESTEROV, mean + spread * noise, np.array([0.5, 0.5]), size, momentum)

        return formula(size, momentum, mean), crossing(growth, 1e-3 * mean) ** 2

    return edge_form(
        "nesterov_noise_at_edge",
        "Noise that Nesterov SGD tolerates",
        "The tolerated variance of the batch Hessian falls from infinity to zero as eta grows from zero to the "
        "deterministic edge.",
        ("s^2", "s^2"),
        proven(variance, shown),
        (eta, beta, a),
        (INTERPOLATION, "at the mean-square edge, eta below the edge without noise"),
        compare,
        "first noise level where the spectral radius of the moment map is 1",
    )


def nesterov_deterministic_edge() -> ClosedForm:
    return limit_form(
        "nesterov_deterministic_edge",
        NESTEROV,
        False,
        deterministic_edge(NESTEROV),
        2 * (1 + beta) / (eta * (1 + 2 * beta)),
        "Without noise Nesterov momentum is stable only at flatter minima than gradient descent.",
    )


def nesterov_noise_edge() -> ClosedForm:
    return limit_form(
        "nesterov_noise_edge",
        NESTEROV,
        True,
        noise_limit(NESTEROV),
        2 * (1 - beta) / eta,
        "If noise dominates, Nesterov momentum has the edge of heavy ball.",
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    nesterov_determinant,
    nesterov_edge,
    nesterov_noise_at_edge,
    nesterov_deterministic_edge,
    nesterov_noise_edge,
)
