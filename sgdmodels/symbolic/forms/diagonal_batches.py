r"""Gradient norm and directional curvature of a batch in diagonal linear networks,

.. math:: l_i = \tfrac12r_i^2, \quad r_i = x_i^\top w - y_i, \qquad
          w_j = u_jv_j \quad\text{or}\quad w_j = u_j^2 - v_j^2.

A batch with the inputs :math:`X_B` and the residuals :math:`r_B` has, and so has the full data set with X and r,

.. math:: q_B = \tfrac1bX_B^\top r_B, \qquad g_B = J^\top q_B, \qquad q = \tfrac1nX^\top r, \qquad
          J = \frac{\partial w}{\partial(u, v)},

so that every curvature along a batch gradient is a sum over samples and one over features: no Hessian is formed. Batch
Sharpness is the ratio of the averages of :math:`g_B^\top H_Bg_B` and :math:`|g_B|^2` over batches; the gradient-noise
interaction is the average of :math:`g_B^\top\bar Hg_B` over :math:`|\bar g|^2`. Proven for two features and two
samples. Source: this project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import DiagonalNetwork
from ..closed_form import ClosedForm, Formula, proven

n, d, b = sp.symbols("n d b", positive=True)
x, u, v, batch_x = sp.IndexedBase("X"), sp.IndexedBase("u"), sp.IndexedBase("v"), sp.IndexedBase("X_B")
q, batch_q = sp.IndexedBase("q"), sp.IndexedBase("q_B")
i, j = sp.symbols("i j", integer=True)
SQUARED = "l_i = (x_i'w - y_i)^2 / 2"
ROUTE = "per-sample gradients and Hessians of a network at random parameters, averaged over a random batch"
SMALL = {n: 2, b: 2, d: 2}
# weight of one feature; J J', times the step of w that the gradient makes; curvature of the weight along that step
PRODUCT = (u[j] * v[j], u[j] ** 2 + v[j] ** 2, 2 * u[j] * v[j])
DIFFERENCE = (u[j] ** 2 - v[j] ** 2, 4 * (u[j] ** 2 + v[j] ** 2), 8 * (u[j] ** 2 - v[j] ** 2))
NAMES = {"product": "w = u v", "difference": "w = u^2 - v^2"}


def _derived(weight: Any, rows: Any) -> tuple[Any, Any, dict[Any, Any]]:
    """Gradient and Hessian of the mean loss of two samples with inputs `rows`, and its q, by the residuals r."""
    theta = [u[0], u[1], v[0], v[1]]
    weights = [weight.subs(j, k) for k in (0, 1)]
    outputs = [sum(rows[m, k] * weights[k] for k in (0, 1)) for m in (0, 1)]
    y, r = sp.symbols("y_0 y_1"), sp.symbols("r_0 r_1")
    loss = sum((f - t) ** 2 for f, t in zip(outputs, y, strict=True)) / 4
    residuals = {t: f - e for t, f, e in zip(y, outputs, r, strict=True)}
    slopes = {k: (r[0] * rows[0, k] + r[1] * rows[1, k]) / 2 for k in (0, 1)}
    gradient = sp.Matrix([sp.diff(loss, t) for t in theta]).subs(residuals)
    return gradient, sp.hessian(loss, theta).subs(residuals), slopes


def _over_features(term: Any) -> Any:
    return sp.Sum(term, (j, 0, d - 1))


def _arrays(formula: Formula, rng: np.random.Generator, form: str) -> tuple[Any, Any, Any, Any]:
    """A random network, its parameters, a batch, and what `formula` takes of both the batch and the full data."""
    samples, features, size = 5, 3, 2
    inputs = rng.normal(size=(samples, features))
    network = DiagonalNetwork(inputs, rng.normal(size=samples), form=form)
    theta, batch = rng.normal(size=2 * features), rng.choice(samples, size, replace=False)
    return network, theta, batch, network.residuals(theta)[:, None] * inputs


def _gradient_square(form: str, pieces: tuple[Any, Any, Any]) -> ClosedForm:
    weight, gram, _ = pieces
    gradient, _, slopes = _derived(weight, batch_x)
    expression = _over_features(gram * batch_q[j] ** 2)
    small = expression.subs(SMALL).doit().subs({batch_q[k]: slope for k, slope in slopes.items()})
    proven(gradient.dot(gradient), small)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        network, theta, batch, pulls = _arrays(formula, rng, form)
        g = network.sample_gradients(theta)[batch].mean(axis=0)
        return formula(theta[:3], theta[3:], pulls[batch].mean(axis=0), 3), g @ g

    return ClosedForm(
        name=f"{form}_gradient_square",
        title=f"Squared batch gradient of {NAMES[form]}",
        statement="Each feature adds its squared slope, weighted by how strongly the parameters move its weight.",
        quantity="|g_B|^2",
        quantity_latex=r"\|g_B\|^2",
        expression=expression,
        arguments=(u, v, batch_q, d),
        assumptions=(SQUARED, "q_B = X_B' r_B / b"),
        reference="this project",
        route=ROUTE,
        compare=compare,
    )


def _batch_curvature(form: str, pieces: tuple[Any, Any, Any]) -> ClosedForm:
    weight, gram, bend = pieces
    gradient, hessian, slopes = _derived(weight, batch_x)
    linear = sp.Sum(_over_features(batch_x[i, j] * gram * batch_q[j]) ** 2, (i, 0, b - 1)) / b
    expression = linear + _over_features(bend * batch_q[j] ** 3)
    small = expression.subs(SMALL).doit().subs({batch_q[k]: slope for k, slope in slopes.items()})
    proven((gradient.T * hessian * gradient)[0], small)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        network, theta, batch, pulls = _arrays(formula, rng, form)
        g = network.sample_gradients(theta)[batch].mean(axis=0)
        hessian = network.sample_hessians(theta)[batch].mean(axis=0)
        values = formula(network.inputs[batch], theta[:3], theta[3:], pulls[batch].mean(axis=0), len(batch), 3)
        return values, g @ hessian @ g

    return ClosedForm(
        name=f"{form}_batch_curvature",
        title=f"Curvature of the batch loss along its gradient, {NAMES[form]}",
        statement="The numerator of Batch Sharpness: a Gauss-Newton part, and a part cubic in the slope.",
        quantity="g_B' H_B g_B",
        quantity_latex="g_B^TH_Bg_B",
        expression=expression,
        arguments=(batch_x, u, v, batch_q, b, d),
        assumptions=(SQUARED, "q_B = X_B' r_B / b", "rows of X_B are the inputs of the batch"),
        reference="this project",
        route=ROUTE,
        compare=compare,
    )


def _noise_interaction(form: str, pieces: tuple[Any, Any, Any]) -> ClosedForm:
    weight, gram, bend = pieces
    batch_gradient, _, batch_slopes = _derived(weight, batch_x)
    _, hessian, slopes = _derived(weight, x)
    # the batch has residuals of its own; a linear map of q_B is all that the gradient keeps of them
    jacobian = sp.Matrix([[sp.diff(weight.subs(j, k), t) for t in (u[0], u[1], v[0], v[1])] for k in (0, 1)])
    proven(batch_gradient, jacobian.T * sp.Matrix([batch_slopes[0], batch_slopes[1]]))
    gradient = jacobian.T * sp.Matrix([batch_q[0], batch_q[1]])
    linear = sp.Sum(_over_features(x[i, j] * gram * batch_q[j]) ** 2, (i, 0, n - 1)) / n
    expression = linear + _over_features(bend * q[j] * batch_q[j] ** 2)
    small = expression.subs(SMALL).doit().subs({q[k]: slope for k, slope in slopes.items()})
    proven((gradient.T * hessian * gradient)[0], small)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        network, theta, batch, pulls = _arrays(formula, rng, form)
        g = network.sample_gradients(theta)[batch].mean(axis=0)
        hessian = network.sample_hessians(theta).mean(axis=0)
        mean = pulls.mean(axis=0)
        values = formula(network.inputs, theta[:3], theta[3:], mean, pulls[batch].mean(axis=0), len(pulls), 3)
        return values, g @ hessian @ g

    return ClosedForm(
        name=f"{form}_noise_interaction",
        title=f"Curvature of the full loss along a batch gradient, {NAMES[form]}",
        statement="Averaged over batches, the numerator of the gradient-noise interaction.",
        quantity="g_B' Hbar g_B",
        quantity_latex=r"g_B^T\bar Hg_B",
        expression=expression,
        arguments=(x, u, v, q, batch_q, n, d),
        assumptions=(SQUARED, "q = X' r / n", "q_B = X_B' r_B / b"),
        reference="this project",
        route=ROUTE,
        compare=compare,
    )


def product_gradient_square() -> ClosedForm:
    return _gradient_square("product", PRODUCT)


def product_batch_curvature() -> ClosedForm:
    return _batch_curvature("product", PRODUCT)


def product_noise_interaction() -> ClosedForm:
    return _noise_interaction("product", PRODUCT)


def difference_gradient_square() -> ClosedForm:
    return _gradient_square("difference", DIFFERENCE)


def difference_batch_curvature() -> ClosedForm:
    return _batch_curvature("difference", DIFFERENCE)


def difference_noise_interaction() -> ClosedForm:
    return _noise_interaction("difference", DIFFERENCE)


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    product_gradient_square,
    product_batch_curvature,
    product_noise_interaction,
    difference_gradient_square,
    difference_batch_curvature,
    difference_noise_interaction,
)
