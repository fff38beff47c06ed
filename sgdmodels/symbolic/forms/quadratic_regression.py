r"""The quadratic regression model: residuals quadratic in the parameters, whose dynamics close without them.

.. math:: L = \tfrac12|z|^2, \qquad z_m(\theta) = z_m(0) + \sum_kJ_{mk}(0)\,\theta_k
          + \tfrac12\sum_{kl}Q_{mkl}\,\theta_k\theta_l, \qquad J_{mk} = \frac{\partial z_m}{\partial\theta_k}

for D residuals :math:`z_m` and P parameters :math:`\theta_k`, with Q symmetric in its last two indices. The gradient is
:math:`g = J^\top z`, and a step of gradient descent is :math:`\theta^+ = \theta - \eta g`. Source: Agarwala, Pedregosa
and Pennington 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven

AGARWALA = "Agarwala, Pedregosa and Pennington 2023"
eta = sp.Symbol("eta", positive=True)
z, j, quadratic = sp.IndexedBase("z"), sp.IndexedBase("J"), sp.IndexedBase("Q")
outputs, parameters = sp.symbols("D P", integer=True, positive=True)
m, o, k, l = sp.symbols("m o k l", integer=True)  # noqa: E741


def _pulled(index: Any) -> Any:
    """Entry of the gradient J'z."""
    return sp.Sum(j[o, index] * z[o], (o, 0, outputs - 1))


def _regression() -> tuple[Any, Any]:
    """Residuals (2) and Jacobian (2, 2) after a step of gradient descent on two outputs and two parameters."""
    shift = sp.symbols("e_0 e_1")
    pairs = [(c, d) for c in (0, 1) for d in (0, 1)]
    # around the present point: z, J and Q are values there, and a step is a shift e
    residual = [
        z[o] + sum(j[o, c] * shift[c] for c in (0, 1))
        + sum(quadratic[o, min(c, d), max(c, d)] * shift[c] * shift[d] for c, d in pairs) / 2
        for o in (0, 1)
    ]  # fmt: skip
    loss = sum(value**2 for value in residual) / 2
    here = dict.fromkeys(shift, 0)
    gradient = [sp.diff(loss, e).subs(here) for e in shift]
    moved = {e: -eta * g for e, g in zip(shift, gradient, strict=True)}
    after = sp.Matrix([value.subs(moved, simultaneous=True) for value in residual])
    jacobian = sp.Matrix(2, 2, lambda o, c: sp.diff(residual[o], shift[c]).subs(moved, simultaneous=True))
    return after, jacobian


def _small(expression: Any, **indices: int) -> Any:
    """The sums written out for two outputs and two parameters, Q symmetric."""
    values = {outputs: 2, parameters: 2} | {sp.Symbol(name, integer=True): value for name, value in indices.items()}
    written = expression.subs(values).doit()
    return written.subs({quadratic[o, 1, 0]: quadratic[o, 0, 1] for o in (0, 1)})


def _arrays(rng: np.random.Generator) -> tuple[float, Any, Any, Any]:
    tensor = rng.normal(size=(3, 4, 4))
    return 0.1, rng.normal(size=3), rng.normal(size=(3, 4)), (tensor + tensor.transpose(0, 2, 1)) / 2


def regression_residual() -> ClosedForm:
    linear = eta * sp.Sum(j[m, k] * _pulled(k), (k, 0, parameters - 1))
    curved = sp.Sum(quadratic[m, k, l] * _pulled(k) * _pulled(l), (k, 0, parameters - 1), (l, 0, parameters - 1))
    shown = z[m] - linear + eta**2 / 2 * curved
    after, _ = _regression()
    proven(after, sp.Matrix([_small(shown, m=o) for o in (0, 1)]))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, start, jacobian, tensor = _arrays(rng)

        def residual(shift: Any) -> Any:
            return start + jacobian @ shift + np.einsum("okl,k,l->o", tensor, shift, shift) / 2

        # complex-step gradient of half the squared residual
        gradient = np.array([(residual(1e-30j * e) ** 2).sum().imag / 2e-30 for e in np.eye(4)])
        values = [formula(o, rate, start, jacobian, tensor, 3, 4) for o in range(3)]
        return values, residual(-rate * gradient)

    return ClosedForm(
        name="regression_residual",
        title="Residuals of the quadratic regression model after a step",
        statement="The dynamics close in residuals and Jacobian: no parameter appears.",
        quantity="z[m] next",
        quantity_latex="z_m^+",
        expression=shown,
        arguments=(m, eta, z, j, quadratic, outputs, parameters),
        assumptions=(
            "D residuals z quadratic in P parameters, J their Jacobian, Q their constant symmetric second derivatives",
            "a step of gradient descent on |z|^2 / 2",
        ),
        reference=AGARWALA,
        route="a step on the quadratic map itself, its gradient by complex steps",
        compare=compare,
    )


def regression_jacobian() -> ClosedForm:
    shown = j[m, k] - eta * sp.Sum(quadratic[m, k, l] * _pulled(l), (l, 0, parameters - 1))
    _, jacobian = _regression()
    proven(jacobian, sp.Matrix(2, 2, lambda o, c: _small(shown, m=int(o), k=int(c))))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, start, jacobian, tensor = _arrays(rng)

        def residual(shift: Any) -> Any:
            return start + jacobian @ shift + np.einsum("okl,k,l->o", tensor, shift, shift) / 2

        gradient = np.array([(residual(1e-30j * e) ** 2).sum().imag / 2e-30 for e in np.eye(4)])
        truth = np.array([residual(-rate * gradient + 1e-30j * e).imag / 1e-30 for e in np.eye(4)]).T
        return [[formula(o, c, rate, start, jacobian, tensor, 3, 4) for c in range(4)] for o in range(3)], truth

    return ClosedForm(
        name="regression_jacobian",
        title="Jacobian of the quadratic regression model after a step",
        statement="The Jacobian, and with it the tangent kernel J J', moves along the curvature of the residuals.",
        quantity="J[m,k] next",
        quantity_latex="J_{mk}^+",
        expression=shown,
        arguments=(m, k, eta, z, j, quadratic, outputs, parameters),
        assumptions=(
            "D residuals z quadratic in P parameters, J their Jacobian, Q their constant symmetric second derivatives",
            "a step of gradient descent on |z|^2 / 2",
        ),
        reference=AGARWALA,
        route="complex-step Jacobian of the quadratic map after a step on it",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    regression_residual,
    regression_jacobian,
)
