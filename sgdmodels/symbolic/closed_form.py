"""A closed form: an expression, what it stands for, under which assumptions, and an independent route to its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ..errors import SgdmodelsError
from . import typeset

Formula = Callable[..., Any]


class DerivationError(SgdmodelsError, ArithmeticError):
    """A derivation by computer algebra did not end in the formula that it is to prove."""


@dataclass(frozen=True)
class Check:
    """Comparison of a closed form with an independent route on random instances.

    error: largest deviation over all instances, relative to the largest number of the instance.
    """

    route: str
    instances: int
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.tolerance)  # False for NaN

    def __str__(self) -> str:
        verdict = "agrees" if self.passed else "DISAGREES"
        return f"{verdict} to {self.error:.1e} on {self.instances} random instances: {self.route}"


@dataclass(frozen=True)
class ClosedForm:
    r"""A formula with everything a paper needs: what it states, when, why it is right, and how to compute with it.

    name: what `derive` calls it. quantity: the left-hand side in plain text, quantity_latex as LaTeX. expression: the
    right-hand side; `where` names parts of it, each with its own expression, in the order in which to substitute.
    arguments: what `lambdify` takes, in order (symbols, or IndexedBases for arrays). route: the independent way to the
    same number, in words. compare: given the lambdified formula and a random generator, one instance: the value by
    the formula, and by the independent route.

    >>> import sympy as sp
    >>> a, s = sp.symbols("a s", positive=True)
    >>> form = ClosedForm(
    ...     name="edge", title="Edge", statement="The second moment is stable below this step size.",
    ...     quantity="eta_max", quantity_latex=r"\eta_{\max}", expression=2 * a / (a**2 + s**2), arguments=(a, s),
    ...     assumptions=("one dimension",), reference="textbook", route="root of the variance map",
    ...     compare=lambda formula, rng: (formula(1.0, 1.0), 1.0),
    ... )
    >>> form.latex(), form.lambdify()(1.0, 2.0), form.check().passed
    ('\\eta_{\\max} = \\frac{2 a}{a^{2} + s^{2}}', 0.4, True)
    """

    name: str
    title: str
    statement: str
    quantity: str
    quantity_latex: str
    expression: Any
    arguments: tuple[Any, ...]
    assumptions: tuple[str, ...]
    reference: str
    route: str
    compare: Callable[[Formula, np.random.Generator], tuple[Any, Any]]
    where: tuple[tuple[Any, Any], ...] = ()
    instances: int = 10
    tolerance: float = 1e-10

    def latex(self) -> str:
        """The equation as LaTeX, without dollar signs, with those of its named parts behind it."""
        return r",\quad ".join(self.equations())

    def equations(self) -> tuple[str, ...]:
        """The equation, and those of its named parts, as LaTeX."""
        parts = [f"{latex(symbol)} = {latex(value)}" for symbol, value in self.where]
        return (f"{self.quantity_latex} = {latex(self.expression)}", *parts)

    def text(self) -> str:
        """The equation as one line of plain text."""
        parts = [f"{self.quantity} = {typeset.text(self.expression)}"]
        parts += [f"{typeset.text(symbol)} = {typeset.text(value)}" for symbol, value in self.where]
        return "; ".join(parts)

    @property
    def full_expression(self) -> Any:
        """The expression with all its named parts put in."""
        expression = self.expression
        for symbol, value in self.where:
            expression = put_in(expression, symbol, value)
        return expression

    def lambdify(self) -> Formula:
        """The formula as a numpy function of `arguments`."""
        function: Formula = sp.lambdify(self.arguments, self.full_expression, modules=["numpy", "scipy"])
        return function

    def check(self, seed: int = 0, formula: Formula | None = None) -> Check:
        """Compare with the independent route on `instances` random instances, with `formula` in its place if given."""
        used = self.lambdify() if formula is None else formula
        rng = np.random.default_rng(seed)
        errors = [_deviation(*self.compare(used, rng)) for _ in range(self.instances)]
        return Check(self.route, self.instances, float(np.max(errors)), self.tolerance)

    def __str__(self) -> str:
        lines = [self.title, f"  {self.text()}", f"  {self.statement}"]
        lines += [f"  Assumes: {'; '.join(self.assumptions)}."] if self.assumptions else []
        return "\n".join([*lines, f"  Source: {self.reference}"])


def put_in(expression: Any, symbol: Any, value: Any) -> Any:
    """`value` for `symbol`; that of an entry such as r[i] also for the array's entries at other indices."""
    if not isinstance(symbol, sp.Indexed):
        return expression.subs(symbol, value)
    bound = {limit[0] for total in value.atoms(sp.Sum) for limit in total.limits}
    value = value.xreplace({index: sp.Dummy(index.name, integer=True) for index in bound})
    entries = [entry for entry in expression.atoms(sp.Indexed) if entry.base == symbol.base]
    return expression.xreplace({e: value.xreplace(dict(zip(symbol.indices, e.indices, strict=True))) for e in entries})


def _deviation(closed: Any, truth: Any) -> float:
    """max |closed - truth| / max |truth|; absolute where the truth is zero."""
    a, b = np.asarray(closed, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape:
        raise DerivationError(f"the closed form has shape {a.shape}, the independent route {b.shape}")
    scale = float(np.abs(b).max())
    return float(np.abs(a - b).max()) / (scale if scale > 0 else 1.0)


def latex(expression: Any) -> str:
    """LaTeX of an expression in the style of the project."""
    return typeset.latex(expression)


def proven(derived: Any, shown: Any, assume: Sequence[Any] = ()) -> Any:
    """`shown`, once computer algebra has found it equal to `derived`; raises DerivationError if it has not.

    assume: (expression, value) pairs that hold, put into the difference first.
    """
    difference = derived - shown
    for old, new in assume:
        difference = difference.subs(old, new)
    entries = list(difference) if isinstance(difference, sp.MatrixBase) else [difference]
    for entry in entries:
        if sp.simplify(sp.expand(entry)) != 0:
            raise DerivationError(f"derived {derived}, not {shown}: the difference is {sp.simplify(entry)}")
    return shown
