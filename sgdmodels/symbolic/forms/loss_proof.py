"""The independent side of the proofs in `loss_forms`: two samples with two features, differentiated entry by entry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp

from ..closed_form import put_in
from ..typeset import SAMPLE, with_sample_index
from .index_algebra import d, n
from .loss_calculus import LossCalculus

Pair = tuple[Any, Any]  # derived, and what the formula to prove says
BOTH = (0, 1)


@dataclass(frozen=True)
class SmallLoss:
    """Gradients and Hessians of two samples in two dimensions, by their residuals."""

    calculus: LossCalculus

    def explicit(self, e: Any) -> Any:
        """A formula with its names put in, except for the residuals, and its sums written out."""
        for symbol, value in self.calculus.where:
            if not (self.calculus.residual and str(getattr(symbol, "base", symbol)) == self.calculus.residual[0]):
                e = put_in(e, symbol, value)
        return self.calculus.ordered(written_out(e.xreplace({n: sp.Integer(2), d: sp.Integer(2)}))).xreplace(
            self.positive
        )

    @cached_property
    def positive(self) -> dict[Any, Any]:
        """Positive numbers in place of the parameters, so that powers with symbols as exponents can be combined."""
        entries = [entry for entries in self.entries.values() for entry in entries]
        return {entry: sp.Dummy(str(entry), positive=True) for entry in entries}

    @cached_property
    def entries(self) -> dict[str, list[Any]]:
        """The parameters."""
        shapes = self.calculus.formula.parameters
        return {
            name: [self.calculus.array(name)[k] for k in BOTH] if shape else [self.calculus.array(name)]
            for name, shape in shapes.items()
        }

    @property
    def theta(self) -> list[Any]:
        return list(self.positive.values())

    @cached_property
    def losses(self) -> list[Any]:
        whole = with_sample_index(self.calculus.whole, self.calculus.definition.data)
        return [self.explicit(whole.xreplace({SAMPLE: sp.Integer(sample)})) for sample in BOTH]

    @cached_property
    def residuals(self) -> dict[Any, Any]:
        """The datum that each residual is measured from, by the prediction and the residual."""
        if not self.calculus.residual:
            return {}
        r, y = (sp.IndexedBase(name, real=True) for name in self.calculus.residual)
        values = [self.explicit(self.calculus.residual_value().xreplace({SAMPLE: sp.Integer(s)})) for s in BOTH]
        return {y[s]: value + y[s] - r[s] for s, value in zip(BOTH, values, strict=True)}

    @cached_property
    def gradients(self) -> list[Any]:
        return [sp.Matrix([sp.diff(loss, t).xreplace(self.residuals) for t in self.theta]) for loss in self.losses]

    @cached_property
    def hessians(self) -> list[Any]:
        size = len(self.theta)
        return [
            sp.Matrix(size, size, lambda i, j, loss=loss: sp.diff(loss, self.theta[i], self.theta[j])).xreplace(
                self.residuals
            )
            for loss in self.losses
        ]

    def _places(self, array: str) -> list[int]:
        return [self.theta.index(self.positive[entry]) for entry in self.entries[array]]

    def _at(self, expression: Any, sample: int, values: list[tuple[Any, int]]) -> Any:
        """A formula at one sample and values of its free indices."""
        at = {SAMPLE: sp.Integer(sample), **{index: sp.Integer(value) for index, value in values}}
        return self.explicit(expression.xreplace({s: v for s, v in at.items() if s in expression.free_symbols}))

    def gradient(self, expression: Any, array: str) -> Pair:
        free = self.calculus.free[0]
        places = self._places(array)
        derived = [self.gradients[s][place] for s in BOTH for place in places]
        shown = [self._at(expression, s, [(free, k)]) for s in BOTH for k in range(len(places))]
        return sp.Matrix(derived), sp.Matrix(shown)

    def hessian(self, expression: Any, array: str, other: str) -> Pair:
        one, two = self.calculus.free
        rows, columns = self._places(array), self._places(other)
        derived = [self.hessians[0][row, column] for row in rows for column in columns]
        shown = [self._at(expression, 0, [(one, k), (two, m)]) for k in range(len(rows)) for m in range(len(columns))]
        return sp.Matrix(derived), sp.Matrix(shown)

    def covariance(self, expression: Any, array: str, other: str) -> Pair:
        one, two = self.calculus.free
        rows, columns = self._places(array), self._places(other)
        centred = (self.gradients[0] - self.gradients[1]) / 2  # of sample 0, from the mean of the two
        derived = [centred[row] * centred[column] for row in rows for column in columns]
        shown = [
            self.explicit(expression.xreplace({one: sp.Integer(k), two: sp.Integer(m)}))
            for k in range(len(rows))
            for m in range(len(columns))
        ]
        return sp.Matrix(derived), sp.Matrix(shown)

    def moment(self, expression: Any, kind: str) -> Pair:
        """One of SAMPLE_MOMENTS, for the first sample."""
        g, h = self.gradients[0], self.hessians[0]
        mean, mean_h = (g + self.gradients[1]) / 2, (h + self.hessians[1]) / 2
        derived = {
            "sample_gradient_square": lambda: g.dot(g),
            "mean_gradient_square": lambda: mean.dot(mean),
            "sample_curvature": lambda: (g.T * h * g)[0],
            "mixed_curvature": lambda: (mean.T * h * g)[0],
            "sample_interaction": lambda: (g.T * mean_h * g)[0],
            "mean_curvature": lambda: (mean.T * mean_h * mean)[0],
        }[kind]()
        return derived, self._at(expression, 0, [])


def written_out(e: Any) -> Any:
    """Sums over 0 .. last as additions; sympy's own `doit` looks for closed forms first, which takes far longer.

    >>> u, j = sp.IndexedBase("u"), sp.Symbol("j")
    >>> written_out(sp.Sum(u[j], (j, 0, 1)) ** 2)
    (u[0] + u[1])**2
    """
    if isinstance(e, sp.Sum):
        body = written_out(e.function)
        for index, first, last in e.limits:
            body = sp.Add(*[body.xreplace({index: sp.Integer(k)}) for k in range(int(first), int(last) + 1)])
        return body
    return e.func(*map(written_out, e.args)) if e.has(sp.Sum) else e
