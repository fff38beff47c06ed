"""Sigmoid and softplus as functions of their own, since written out with exp they overflow where they are harmless."""

from __future__ import annotations

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
        return f"(0.5 + 0.5*{printer._module_format('numpy.tanh')}(0.5*({printer._print(self.args[0])})))"

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
        return rf"{inner}^{{{exp}}}" if exp else inner


def recognised(expression: Any) -> Any:
    """`expression` with log(1 + exp(z)) and 1 / (1 + exp(z)) replaced by the functions that do not overflow.

    >>> p, y = sp.symbols("p y")
    >>> recognised(sp.log(1 + sp.exp(-p * y)))
    softplus(-p*y)
    """
    z = sp.Wild("z")
    replaced = expression.replace(sp.log(1 + sp.exp(z)), softplus(z))
    return replaced.replace(1 / (1 + sp.exp(z)), sigmoid(-z))
