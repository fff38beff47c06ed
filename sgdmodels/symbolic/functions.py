"""Sigmoid, softplus and log cosh as functions of their own: written out with exp they overflow needlessly."""

from __future__ import annotations

import math
from typing import Any

import sympy as sp


class sigmoid(sp.Function):  # type: ignore[misc]  # noqa: N801 - printed by this name
    """1 / (1 + exp(-z))

    >>> z = sp.Symbol("z")
    >>> sigmoid(z).diff(z), sigmoid(0)
    (sigmoid(-z)*sigmoid(z), 1/2)
    """

    nargs = (1,)

    @classmethod
    def eval(cls, z: Any) -> Any:
        return sp.Rational(1, 2) if z.is_zero else None

    def fdiff(self, argindex: int = 1) -> Any:
        return sigmoid(self.args[0]) * sigmoid(-self.args[0])

    def _eval_is_extended_real(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_is_positive(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_rewrite_as_exp(self, z: Any, **hints: Any) -> Any:
        return 1 / (1 + sp.exp(-z))

    def _numpycode(self, printer: Any, **hints: Any) -> str:
        return f"{printer._module_format('scipy.special.expit')}({printer._print(self.args[0])})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = f"^{{{exp}}}" if exp else ""
        return rf"\sigma{power}\left({printer._print(self.args[0])}\right)"


class softplus(sp.Function):  # type: ignore[misc]  # noqa: N801 - printed by this name
    """log(1 + exp(z))

    >>> z = sp.Symbol("z")
    >>> softplus(-2 * z).diff(z)
    -2*sigmoid(-2*z)
    """

    nargs = (1,)

    @classmethod
    def eval(cls, z: Any) -> Any:
        return sp.log(2) if z.is_zero else None

    def fdiff(self, argindex: int = 1) -> Any:
        return sigmoid(self.args[0])

    def _eval_is_extended_real(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_is_positive(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_rewrite_as_exp(self, z: Any, **hints: Any) -> Any:
        return sp.log(1 + sp.exp(z))

    def _numpycode(self, printer: Any, **hints: Any) -> str:
        return f"{printer._module_format('numpy.logaddexp')}(0.0, {printer._print(self.args[0])})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = rf"\log\left(1 + e^{{{printer._print(self.args[0])}}}\right)"
        return rf"\left({inner}\right)^{{{exp}}}" if exp else inner


class logcosh(sp.Function):  # type: ignore[misc]  # noqa: N801 - printed by this name
    """log(cosh(z))

    >>> z = sp.Symbol("z")
    >>> logcosh(3 * z).diff(z)
    3*tanh(3*z)
    """

    nargs = (1,)

    @classmethod
    def eval(cls, z: Any) -> Any:
        return sp.S.Zero if z.is_zero else None

    def fdiff(self, argindex: int = 1) -> Any:
        return sp.tanh(self.args[0])

    def _eval_is_extended_real(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_rewrite_as_exp(self, z: Any, **hints: Any) -> Any:
        return sp.log((sp.exp(z) + sp.exp(-z)) / 2)

    def _numpycode(self, printer: Any, **hints: Any) -> str:
        z = printer._print(self.args[0])
        return f"({printer._module_format('numpy.logaddexp')}({z}, -({z})) - {math.log(2.0)!r})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = rf"\log\cosh\left({printer._print(self.args[0])}\right)"
        return rf"\left({inner}\right)^{{{exp}}}" if exp else inner


class _Choice(sp.Function):  # type: ignore[misc]
    """Of two or more real numbers; sympy's Max and Min compare all of them symbolically, which may take forever."""

    @classmethod
    def eval(cls, *values: Any) -> Any:
        ordered = sorted(set(values), key=sp.default_sort_key)
        if len(ordered) == 1:
            return ordered[0]
        if all(value.is_number for value in ordered):
            return cls.of_numbers(*ordered)
        return None if tuple(ordered) == values else cls(*ordered)

    def _eval_is_extended_real(self) -> Any:
        return True if all(value.is_extended_real for value in self.args) else None

    def fdiff(self, argindex: int = 1) -> Any:
        own = self.args[argindex - 1]
        others = [value for k, value in enumerate(self.args) if k != argindex - 1]
        return sp.Mul(*[sp.Heaviside(self.lead(own, other)) for other in others])


class maximum(_Choice):  # noqa: N801 - printed by this name
    """The largest of real numbers.

    >>> z = sp.Symbol("z")
    >>> maximum(z, 0).diff(z)
    Heaviside(z)
    """

    of_numbers = sp.Max

    @staticmethod
    def lead(own: Any, other: Any) -> Any:
        return own - other

    def _eval_is_positive(self) -> Any:
        return True if any(value.is_positive for value in self.args) else None

    def _eval_is_nonnegative(self) -> Any:
        return True if any(value.is_nonnegative for value in self.args) else None

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = rf"\max\left({', '.join(map(printer._print, self.args))}\right)"
        return f"{inner}^{{{exp}}}" if exp else inner

    def _numpycode(self, printer: Any, **hints: Any) -> str:
        return _nested(printer, "numpy.maximum", self.args)


class minimum(_Choice):  # noqa: N801 - printed by this name
    """The smallest of real numbers."""

    of_numbers = sp.Min

    @staticmethod
    def lead(own: Any, other: Any) -> Any:
        return other - own

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = rf"\min\left({', '.join(map(printer._print, self.args))}\right)"
        return f"{inner}^{{{exp}}}" if exp else inner

    def _numpycode(self, printer: Any, **hints: Any) -> str:
        return _nested(printer, "numpy.minimum", self.args)


def _nested(printer: Any, name: str, values: Any) -> str:
    """f(f(a, b), c): numpy's functions of many arrays want arrays of one shape."""
    shown = str(printer._print(values[0]))
    for value in values[1:]:
        shown = f"{printer._module_format(name)}({shown}, {printer._print(value)})"
    return shown


def recognised(expression: Any) -> Any:
    """`expression` with what these functions are for written in terms of them.

    >>> p, y = sp.symbols("p y")
    >>> recognised(sp.log(1 + sp.exp(-p * y)))
    softplus(-p*y)
    >>> recognised(sp.exp(p) / (1 + sp.exp(p)))
    sigmoid(p)
    """
    z, k = sp.Wild("z"), sp.Wild("k", properties=[lambda e: e.is_Integer and e < 0])
    replaced = expression.replace(sp.log(1 + sp.exp(z)), softplus(z)).replace(sp.log(sp.cosh(z)), logcosh(z))
    replaced = replaced.replace((1 + sp.exp(z)) ** k, sigmoid(-z) ** (-k))
    return replaced.replace(sp.exp(z) * sigmoid(-z), sigmoid(z))
