r"""The mean Hessian of a loss from its definition, by the second moment of the data, and its largest eigenvalue.

With one feature, or on orthogonal data :math:`\hat H = \mathrm{diag}(h)`, the mean Hessian falls into small blocks in
:math:`h = \frac1n\sum x_i^2` and :math:`q = \frac1n\sum r_ix_i`, one for each feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from ..closed_form import ClosedForm, Formula, proven
from ..typeset import SAMPLE
from .blocks import eigenvalue_pair
from .index_algebra import d
from .loss_calculus import LossCalculus
from .loss_topics import LOSSES

h = sp.Symbol("h", positive=True)
q, z = sp.symbols("q z", real=True)
Case = tuple[Any, Any, tuple[Any, ...]]  # loss, point, arguments of the formula
Draw = Callable[[np.random.Generator], Case]
SAMPLES = 5
FEATURE = sp.Symbol("j", integer=True)


def mean_hessian(calculus: LossCalculus, second: Any, first: Any) -> Any:
    """The mean Hessian for as many features as `first` has, by X'X / n = `second` and X'r / n = `first`."""
    size = len(first)
    rows = [(name, k) for name, shape in calculus.formula.parameters.items() for k in (range(size) if shape else (0,))]
    one, two = calculus.free
    inputs = sp.IndexedBase(calculus.inputs[0], real=True)
    scalar = calculus.definition.data[calculus.inputs[0]].ndim == 1
    data = [inputs[SAMPLE] if scalar else inputs[SAMPLE, k] for k in range(size)]
    residual = sp.IndexedBase((calculus.residual or ("",))[0], real=True)[SAMPLE]

    def entry(row: int, column: int) -> Any:
        (name, k), (other, m) = rows[row], rows[column]
        e = calculus.hessian(name, other).xreplace({one: sp.Integer(k), two: sp.Integer(m), d: sp.Integer(size)})
        total = sp.S.Zero
        for powers, coefficient in sp.Poly(sp.expand(e.doit()), residual, *data).terms():
            places = [j for j, power in enumerate(powers[1:]) for _ in range(power)]
            if len(places) == 2 and not powers[0]:
                coefficient *= second[places[0], places[1]]
            elif len(places) == 1 and powers[0] == 1:
                coefficient *= first[places[0]]
            elif sum(powers):
                raise NotImplementedError(f"an average of {powers} is neither X'X / n nor X'r / n")
            total += coefficient
        return total

    matrix = sp.Matrix(len(rows), len(rows), entry)
    scalars = {sp.IndexedBase(name, real=True)[0]: sp.Symbol(name, real=True) for name, _ in rows}
    return matrix if size > 1 else matrix.xreplace(scalars)


def calculus_of(prefix: str) -> LossCalculus:
    return next(loss.calculus for losses in LOSSES.values() for loss in losses if loss.prefix == prefix)


def line(prefix: str, slope: Any = q) -> Any:
    """The mean Hessian of a loss of one feature."""
    return mean_hessian(calculus_of(prefix), sp.Matrix([[h]]), sp.Matrix([slope]))


def sharpness_form(
    name: str, title: str, statement: str, expression: Any, arguments: Sequence[Any], assumptions: tuple[str, ...],
    draw: Draw,
) -> ClosedForm:  # fmt: skip
    """lambda_max; where the expression has the index of a feature, the largest over the features of what it says."""
    each = FEATURE in expression.free_symbols

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        model, theta, values = draw(rng)
        found = max(formula(j, *values) for j in range(len(values[0]))) if each else formula(*values)
        return found, np.linalg.eigvalsh(model.hessian(theta))[-1]

    return ClosedForm(
        name=name, title=title, statement=statement, expression=expression,
        arguments=(FEATURE, *arguments) if each else tuple(arguments),
        assumptions=assumptions, reference="this project", compare=compare,
        quantity="lambda_max = max_j lambda_j, lambda_j" if each else "lambda_max",
        quantity_latex=r"\lambda_{\max} = \max_j\lambda_j,\quad \lambda_j" if each else r"\lambda_{\max}",
        route="largest eigenvalue of the Hessian from the kernels",
    )  # fmt: skip


def of_feature(expression: Any, *scalars: Any) -> tuple[Any, tuple[Any, ...]]:
    """The scalars in a formula as entries of arrays at one feature, and the arrays."""
    arrays = tuple(sp.IndexedBase(scalar.name, real=True) for scalar in scalars)
    return expression.xreplace({scalar: array[FEATURE] for scalar, array in zip(scalars, arrays, strict=True)}), arrays


def orthogonal(rng: np.random.Generator, features: int = 3) -> tuple[Any, Any]:
    """Inputs (n, d) with X'X / n = diag(h), and h."""
    basis, curvatures = np.linalg.qr(rng.normal(size=(SAMPLES, features)))[0], rng.uniform(0.3, 2.0, features)
    return basis * np.sqrt(SAMPLES * curvatures), curvatures


def larger(block: Any, centre: Any, radius_squared: Any) -> Any:
    return eigenvalue_pair(block, centre, radius_squared)[1]


def rank_one(matrix: Any, shown: Any) -> Any:
    """The only eigenvalue other than zero, the trace, once the matrix is proven to be of rank one."""
    proven(matrix * matrix, sp.trace(matrix) * matrix)
    return proven(sp.trace(matrix), shown)


def whitened(prefix: str, slope: tuple[Any, Any], centre: Any, radius_squared: Any, multiple: Any) -> Any:
    """The larger root of the characteristic polynomial of (weights of two features, scale), X'X / n = h I."""
    matrix = mean_hessian(calculus_of(prefix), h * sp.eye(2), sp.Matrix(slope))
    proven((multiple - z) * ((z - centre) ** 2 - radius_squared), (matrix - z * sp.eye(3)).det())
    return centre + sp.sqrt(radius_squared)
