r"""Curvature of a linear network with one hidden unit,

.. math:: l_i = \tfrac12r_i^2, \qquad r_i = a\,v^\top x_i - y_i,

in the parameters v (a vector) and a. With the gradient :math:`q = \frac1n\sum_ir_ix_i` with respect to the weights
:math:`av` and :math:`\hat H = \frac1n\sum_ix_ix_i^\top`, the Hessian is

.. math:: \bar H = \begin{pmatrix} a^2\hat H & z\\ z^\top & v^\top\hat Hv\end{pmatrix}, \qquad z = a\hat Hv + q.

On whitened data, :math:`\hat H = hI`, one direction of v, that of z, mixes with a and all others keep the curvature
:math:`a^2h`. Source: this project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import LinearNetwork
from ..closed_form import ClosedForm, Formula, proven
from .blocks import eigenvalue_pair

h = sp.Symbol("h", real=True)
LOSS = "l_i = (a v'x_i - y_i)^2 / 2"


def linear_unit_curvature() -> ClosedForm:
    a, s, z = sp.symbols("a |v| z", real=True)
    slopes = sp.symbols("q_0 q_1", real=True)
    vector = sp.symbols("v_0 v_1", real=True)
    targets = sp.symbols("w_0 w_1", real=True)
    loss = sum(h * (a * p - t) ** 2 / 2 for p, t in zip(vector, targets, strict=True))
    hessian = sp.hessian(loss, (*vector, a))
    hessian = hessian.subs({t: a * p - e / h for t, p, e in zip(targets, vector, slopes, strict=True)})
    cross = [h * a * p + e for p, e in zip(vector, slopes, strict=True)]
    eigenvalue, size, length = sp.Symbol("lambda"), sum(c**2 for c in cross), sum(p**2 for p in vector)
    # one eigenvector is orthogonal to z = h a v + q, the other two mix its direction with a
    block = sp.Matrix([[a**2 * h, z], [z, h * s**2]])
    pair = eigenvalue_pair(block, h * (a**2 + s**2) / 2, (h * (a**2 - s**2) / 2) ** 2 + z**2)
    plane = sp.expand(block.charpoly(eigenvalue).as_expr()).subs({z**2: size, s**2: length})
    proven(hessian.charpoly(eigenvalue).as_expr(), (eigenvalue - a**2 * h) * plane)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        scale, theta = rng.uniform(0.5, 2.0), rng.normal(size=4)
        inputs = np.linalg.qr(rng.normal(size=(6, 3)))[0] * np.sqrt(6 * scale)
        network = LinearNetwork(inputs, rng.normal(size=6))
        cross = scale * theta[3] * theta[:3] + network.residuals(theta) @ inputs / 6
        values = formula(theta[3], np.linalg.norm(theta[:3]), np.linalg.norm(cross), scale).ravel()
        eigenvalues = np.linalg.eigvalsh(network.sample_hessians(theta).mean(axis=0))
        return values, np.delete(eigenvalues, np.abs(eigenvalues - theta[3] ** 2 * scale).argmin())[[0, -1]]

    return ClosedForm(
        name="linear_unit_curvature",
        title="Curvature of the linear unit f = a (v . x)",
        statement="On whitened data the Hessian has these two eigenvalues, and a^2 h in all other directions.",
        quantity="eigenvalues",
        quantity_latex=r"\begin{pmatrix}\lambda_-\\\lambda_+\end{pmatrix}",
        expression=pair,
        arguments=(a, s, z, h),
        assumptions=(
            LOSS,
            "X'X/n = h I",
            "z is the length of h a v + q, q the gradient with respect to the weights a v",
        ),
        reference="this project",
        route="eigenvalues of the mean of the per-sample Hessians of a linear network on whitened data",
        compare=compare,
    )


def linear_unit_sharpness() -> ClosedForm:
    form = linear_unit_curvature()
    a, s, z, _ = form.arguments
    pair = form.expression.subs(z, h * a * s)
    proven(((pair[1] - pair[0]) / 2) ** 2, (h * (a**2 + s**2) / 2) ** 2)  # a square: the other eigenvalue is 0
    expression = proven((pair[0] + pair[1]), h * (a**2 + s**2))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        scale, theta = rng.uniform(0.5, 2.0), rng.normal(size=4)
        inputs = np.linalg.qr(rng.normal(size=(6, 3)))[0] * np.sqrt(6 * scale)
        network = LinearNetwork(inputs, inputs @ (theta[3] * theta[:3]))
        top = np.linalg.eigvalsh(network.sample_hessians(theta).mean(axis=0))[-1]
        return formula(theta[3], np.linalg.norm(theta[:3]), scale), top

    return ClosedForm(
        name="linear_unit_sharpness",
        title="Sharpness of the linear unit at an interpolating point",
        statement="On whitened data the sharpest direction mixes both layers; a^2 h is next and one direction is flat.",
        quantity="lambda_max",
        quantity_latex=r"\lambda_{\max}",
        expression=expression,
        arguments=(a, s, h),
        assumptions=(LOSS, "X'X/n = h I", "interpolation"),
        reference="this project",
        route="eigenvalues of the mean of the per-sample Hessians of a linear network on whitened data",
        compare=compare,
    )


def linear_unit_trace() -> ClosedForm:
    a, total, along = sp.symbols("a T g", real=True)
    vector, data, y = sp.symbols("v_0 v_1", real=True), sp.symbols("x_0 x_1", real=True), sp.Symbol("y", real=True)
    inner = sum(p * x for p, x in zip(vector, data, strict=True))
    derived = sp.trace(sp.hessian((a * inner - y) ** 2 / 2, (*vector, a)))
    shown = a**2 * total + along
    proven(derived, shown.subs({total: data[0] ** 2 + data[1] ** 2, along: inner**2}))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, theta = rng.normal(size=(5, 3)), rng.normal(size=4)
        network = LinearNetwork(inputs, rng.normal(size=5))
        trace = np.trace(network.sample_hessians(theta).mean(axis=0))
        return formula(theta[3], (inputs**2).sum() / 5, ((inputs @ theta[:3]) ** 2).mean()), trace

    return ClosedForm(
        name="linear_unit_trace",
        title="Trace of the Hessian of the linear unit",
        statement="It does not depend on the labels: the residuals curve the loss without changing the trace.",
        quantity="tr H",
        quantity_latex=r"\mathrm{tr}\bar H",
        expression=shown,
        arguments=(a, total, along),
        assumptions=(LOSS, "any data", "T = tr(X'X)/n, g is the mean of (v . x_i)^2"),
        reference="this project",
        route="trace of the mean of the per-sample Hessians",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    linear_unit_curvature,
    linear_unit_sharpness,
    linear_unit_trace,
)
