r"""LaTeX and plain text of formulas, as this project writes them.

Sums run over all values of their index, so that only the index is shown: :math:`\sum_{j} u_{j} x_{ij}`. Fractions of
numbers and sample averages stand in front of what they multiply, sums at the end of a product. The LaTeX is for
LaTeX, MathJax and KaTeX; matplotlib's mathtext knows no ``\tfrac``, matrices or cases.
"""

# ruff: noqa: N802 - sympy finds printing methods by these names
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.printing.conventions import split_super_sub
from sympy.printing.latex import LatexPrinter, translate
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from .loss_formula import PREDICTION, loss_formula

if TYPE_CHECKING:
    from ..models.definition import Definition

SAMPLE = sp.Symbol("i", integer=True)
COUNTS = ("n", "d", "b")  # numbers of samples, features and members of a batch: a sum up to them is a sum over all


def latex(expression: Any) -> str:
    r"""LaTeX of an expression.

    >>> u, x = sp.IndexedBase("u"), sp.IndexedBase("x")
    >>> i, j, n, d = sp.symbols("i j n d", integer=True)
    >>> print(latex((sp.Sum(u[j] * x[i, j], (j, 0, d - 1)) - 1)**2 / 2))
    \tfrac{1}{2} \left(\sum_{j} u_{j} x_{ij} - 1\right)^{2}
    >>> print(latex(sp.Sum(x[i, j]**2, (i, 0, n - 1)) / n))
    \frac{1}{n} \sum_{i} x_{ij}^{2}
    """
    return str(_Latex({"mul_symbol": None, "fold_short_frac": False}).doprint(expression))


def text(expression: Any) -> str:
    """Plain text of an expression; sums are written as in `sgdmodels.symbolic.parse`.

    >>> u, j, k, d = sp.IndexedBase("u"), *sp.symbols("j k d", integer=True)
    >>> text(sp.Sum(u[j]**2, (j, 0, d - 1)) * sp.KroneckerDelta(j, k))
    'delta[j, k]*sum(u[j]**2, j)'
    """
    return str(_Text().doprint(expression))


def with_sample_index(expression: Any, data: Iterable[str], index: Any = SAMPLE) -> Any:
    """`expression` of one sample as that of sample i: x[j] becomes x[i, j] and y becomes y[i] for the names in `data`.

    A sum that runs over i already is renamed.

    >>> x, y, j, d = sp.IndexedBase("x", real=True), sp.Symbol("y", real=True), *sp.symbols("j d", integer=True)
    >>> with_sample_index(sp.Sum(x[j], (j, 0, d - 1)) - y, ["x", "y"])
    -y[i] + Sum(x[i, j], (j, 0, d - 1))
    """
    names = set(data)
    used = {symbol.name for symbol in expression.atoms(sp.Symbol)}
    if index in expression.atoms(sp.Symbol):
        free = next(letter for letter in "jklmpqrst" if letter not in used)
        expression = expression.xreplace({index: sp.Symbol(free, integer=True)})
    entries = {e: e.base[(index, *e.indices)] for e in expression.atoms(sp.Indexed) if e.base.label.name in names}
    arrays = {e.base.label for e in expression.atoms(sp.Indexed)}
    scalars = {
        s: sp.IndexedBase(s.name, real=True)[index]
        for s in expression.atoms(sp.Symbol) - arrays
        if s.name in names and not s.is_integer
    }
    return expression.xreplace({**entries, **scalars})


def definition_latex(definition: Definition) -> str:
    r"""The loss of sample i, and its prediction p_i.

    >>> from sgdmodels.models import LeastSquares
    >>> print(definition_latex(LeastSquares([[1.0]], [2.0]).definition))
    l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2}, \quad p_{i} = \sum_{j} w_{j} x_{ij}
    """
    shapes = {name: array.shape[1:] for name, array in definition.data.items()}
    formula = loss_formula(
        definition.loss, definition.parameters, shapes, definition.predictor, tuple(definition.constants)
    )
    loss = with_sample_index(formula.loss, [*shapes, PREDICTION.name])
    lines = [f"l_{{i}} = {latex(loss)}"]
    if formula.predictor is not None:
        lines.append(f"p_{{i}} = {latex(with_sample_index(formula.predictor, shapes))}")
    return r", \quad ".join(lines)


def _over_all(limit: Any) -> bool:
    """Whether a limit (index, first, last) of a sum is that of all values of the index."""
    _, first, last = limit
    count = last - first + 1
    return bool(first in (0, 1) and count.is_Symbol and (count.name in COUNTS or count.name.startswith("n_")))


def _average_first(factors: list[Any]) -> list[Any]:
    """Numbers and symbols, then entries, brackets and their powers; sums last."""

    def place(factor: Any) -> int:
        base = factor.as_base_exp()[0]
        if isinstance(factor, sp.Sum):
            return 5
        kinds = ((sp.Number, 0), (sp.Symbol, 1), (sp.Indexed, 2), (sp.KroneckerDelta, 3))
        return next((rank for kind, rank in kinds if isinstance(base, kind)), 4)

    return sorted(factors, key=place)


class _Latex(LatexPrinter):  # type: ignore[misc]
    """The conventions of this module on top of sympy's printer."""

    def _print_Sum(self, expr: Any) -> str:
        if all(_over_all(limit) for limit in expr.limits):
            head = rf"\sum_{{{''.join(sorted(self._print(limit[0]) for limit in expr.limits))}}}"
        else:
            head = " ".join(
                rf"\sum_{{{self._print(index)}={self._print(first)}}}^{{{self._print(last)}}}"
                for index, first, last in expr.limits
            )
        body = self._print(expr.function)
        return f"{head} " + (rf"\left({body}\right)" if expr.function.is_Add else body)

    def _as_ordered_terms(self, expr: Any, order: Any = None) -> list[Any]:
        return _positive_first(super()._as_ordered_terms(expr, order=order))

    def _print_Mul(self, expr: Any) -> str:
        coefficient, rest = expr.as_coeff_Mul()
        numerator, denominator = sp.fraction(rest, exact=True)
        factors = sp.Mul.make_args(numerator)
        heavy = any(isinstance(f.as_base_exp()[0], sp.Sum | sp.Add) for f in factors)
        sums = any(isinstance(f, sp.Sum) for f in factors) and not denominator.has(sp.Sum)
        fraction = not coefficient.is_Integer if denominator == 1 else sums
        if not (heavy and fraction and coefficient.is_Rational) or not _faithful(rest, numerator, denominator):
            return self._product(expr) if denominator == 1 and coefficient.is_Integer else str(super()._print_Mul(expr))
        sign = "- " if coefficient < 0 else ""
        size = "tfrac" if denominator == 1 else "frac"
        light = [] if denominator == 1 else [f for f in factors if f.as_base_exp()[0].is_Symbol]
        top = self._print(sp.Mul(abs(coefficient.p), *light))
        bottom = self._print(coefficient.q * denominator)
        rest = sp.Mul(*[f for f in factors if f not in light])
        body = rf"\left({self._print(rest)}\right)" if rest.is_Add else self._product(rest)
        return rf"{sign}\{size}{{{top}}}{{{bottom}}} {body}"

    def _product(self, expr: Any) -> str:
        """A product without denominator."""
        if not expr.is_Mul:
            return str(self._print(expr))
        factors = _average_first(expr.as_ordered_factors())
        sign = ""
        if factors[0].is_Number and factors[0] < 0:
            sign, factors = "- ", ([-factors[0]] if factors[0] != -1 else []) + factors[1:]
        shown = []
        for k, factor in enumerate(factors):
            last_sum = isinstance(factor, sp.Sum) and k == len(factors) - 1
            level = PRECEDENCE["Add"] if last_sum else PRECEDENCE["Mul"]
            bracket = factor.is_Add or (isinstance(factor, sp.Sum) and not last_sum)
            body = self._print(factor)
            shown.append(rf"\left({body}\right)" if bracket else self.parenthesize(factor, level))
        return sign + " ".join(shown)

    def _print_Indexed(self, expr: Any) -> str:
        base, above, below = _parts(expr.base.label.name)
        indices = "".join if all(len(str(index)) == 1 for index in expr.indices) else ",".join
        places = ",".join([*below, indices([self._print(index) for index in expr.indices])])
        return f"{base}{above}_{{{places}}}"

    def _print_Symbol(self, expr: Any, style: str = "plain") -> str:
        base, above, below = _parts(expr.name)
        if not above and not base.startswith(r"\bar"):
            return str(super()._print_Symbol(expr, style))
        return base + above + (f"_{{{','.join(below)}}}" if below else "")

    def _print_Piecewise(self, expr: Any) -> str:
        """A choice by the truth of a name is one with it or without it."""
        (value, condition), *rest = expr.args
        if len(rest) != 1 or not isinstance(condition, sp.Symbol):
            return str(super()._print_Piecewise(expr))
        one, other = self._print(value), self._print(rest[0][0])
        cases = rf"{one} & \text{{with {condition}}} \\ {other} & \text{{without {condition}}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}"

    def _print_KroneckerDelta(self, expr: Any, exp: str | None = None) -> str:
        return rf"\delta_{{{''.join(self._print(index) for index in expr.args)}}}"


class _Text(StrPrinter):  # type: ignore[misc]
    """Sums and deltas in short."""

    def _as_ordered_terms(self, expr: Any, order: Any = None) -> list[Any]:
        return _positive_first(super()._as_ordered_terms(expr, order=order))

    def _print_Sum(self, expr: Any) -> str:
        limits = [limit[0] if _over_all(limit) else limit for limit in expr.limits]
        return f"sum({self._print(expr.function)}, {', '.join(map(self._print, limits))})"

    def _print_Abs(self, expr: Any) -> str:
        return f"abs({self._print(expr.args[0])})"

    def _print_maximum(self, expr: Any) -> str:
        return f"max({', '.join(map(self._print, expr.args))})"

    def _print_minimum(self, expr: Any) -> str:
        return f"min({', '.join(map(self._print, expr.args))})"

    def _print_Piecewise(self, expr: Any) -> str:
        """where(condition, value, value otherwise)"""
        *cases, (last, _) = expr.args
        shown = self._print(last)
        for value, condition in reversed(cases):
            shown = f"where({self._print(condition)}, {self._print(value)}, {shown})"
        return shown

    def _print_KroneckerDelta(self, expr: Any) -> str:
        return f"delta[{', '.join(map(self._print, expr.args))}]"


def _positive_first(terms: Any) -> list[Any]:
    """n - b, not - b + n."""
    first = next((k for k, term in enumerate(terms) if not term.could_extract_minus_sign()), 0)
    return [terms[first], *terms[:first], *terms[first + 1 :]]


def _faithful(rest: Any, numerator: Any, denominator: Any) -> bool:
    """Whether splitting off the denominator kept the factors as they were (sympy may expand)."""
    return bool(sp.Mul(numerator, 1 / denominator) == rest)


def _parts(name: str) -> tuple[str, str, list[str]]:
    """A name as LaTeX, its superscript and its subscripts: s_star is s^*, g_bar has a bar, u1 is u with subscript 1."""
    if "\\" in name or "{" in name:
        return name, "", []
    base, above, below = split_super_sub(name)
    if "bar" in below:
        base, below = rf"\bar{{{translate(base)}}}", [b for b in below if b != "bar"]
    else:
        base = translate(base)
    star = "^{*}" if "star" in below else "".join(f"^{{{translate(a)}}}" for a in above)
    return base, star, [translate(b) for b in below if b != "star"]
