"""Formulas as text, read without running them.

`sympy.sympify` and `parse_expr` evaluate their text as Python and must never see a string from a file or a command
line. Here the text is parsed into a syntax tree, and only the forms named below are turned into sympy objects:

* numbers, names, ``+ - * / **`` and parentheses; ``u[j]`` and ``w[k, j]`` for entries of arrays;
* ``sum(u[j] * x[j], j)`` over all values of one or more indices;
* the functions in FUNCTIONS; ``where(z > 0, a, b)``, a comparison choosing between two values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import sympy as sp

from ..errors import InvalidArgument
from .functions import logcosh, maximum, minimum

LONGEST = 4000  # characters
DEEPEST = 60  # nested operations
LONGEST_CHOICE = 8  # arguments of max and min, every two of which may make a kink
LARGEST_EXPONENT = 64  # of a number: 9**9**9 would never end
LARGEST_BASE = 10**6
LARGEST_BITS = 1100  # of a number, about 10**330


class FormulaError(InvalidArgument):
    """A formula that cannot be used; the message says which part of it, and why."""


def _relu(z: Any) -> Any:
    return maximum(z, 0)


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + sp.exp(-z))


def _softplus(z: Any) -> Any:
    return sp.log(1 + sp.exp(z))


# name -> (sympy function, number of arguments; None for two or more)
FUNCTIONS: dict[str, tuple[Callable[..., Any], int | None]] = {
    "exp": (sp.exp, 1), "log": (sp.log, 1), "sqrt": (sp.sqrt, 1),
    "sin": (sp.sin, 1), "cos": (sp.cos, 1), "tan": (sp.tan, 1), "atan": (sp.atan, 1),
    "sinh": (sp.sinh, 1), "cosh": (sp.cosh, 1), "tanh": (sp.tanh, 1), "asinh": (sp.asinh, 1),
    "erf": (sp.erf, 1), "logcosh": (logcosh, 1), "abs": (sp.Abs, 1), "sign": (sp.sign, 1),
    "max": (maximum, None), "min": (minimum, None),
    "relu": (_relu, 1), "sigmoid": (_sigmoid, 1), "softplus": (_softplus, 1),
}  # fmt: skip
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: sp.Lt,
    ast.LtE: sp.Le,
    ast.Gt: sp.Gt,
    ast.GtE: sp.Ge,
}
SYNTAX = "numbers, names, + - * / **, u[j], sum(..., j), where(a > b, ..., ...) and " + ", ".join(FUNCTIONS)


def total(summand: Any, *indices: Any) -> Any:
    """The sum over all values of `indices`, whose number is found from the arrays that they index.

    >>> u, j = sp.IndexedBase("u"), sp.Symbol("j", integer=True)
    >>> total(u[j] ** 2, j)
    Sum(u[j]**2, (j, 0, n_j - 1))
    """
    ranges = [(j, 0, sp.Symbol(f"n_{j}", integer=True, positive=True) - 1) for j in indices]
    return sp.Sum(summand, *ranges)


def parse(text: str) -> Any:
    """`text` as a sympy expression of real symbols, arrays (IndexedBase) and sums.

    Raises FormulaError, naming the offending part, for anything but the grammar of this module; nothing is evaluated.

    >>> parse("(v * sum(u[j] * x[j], j) - y)**2 / 2")
    (v*Sum(u[j]*x[j], (j, 0, n_j - 1)) - y)**2/2
    >>> parse("().__class__")
    Traceback (most recent call last):
        ...
    sgdmodels.symbolic.grammar.FormulaError: formula "().__class__": cannot read "().__class__"; a formula is made of \
numbers, names, + - * / **, u[j], sum(..., j), where(a > b, ..., ...) and exp, log, sqrt, sin, cos, tan, atan, sinh, \
cosh, tanh, asinh, erf, logcosh, abs, sign, max, min, relu, sigmoid, softplus
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula must be text, got {text!r}")
    shown = text if len(text) <= 80 else text[:77] + "..."
    if len(text) > LONGEST:
        raise FormulaError(f'formula "{shown}" has {len(text)} characters; at most {LONGEST} are read')
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        where = getattr(problem, "offset", None)
        at = f" at character {where}" if where else ""
        hint = "; write lam, not lambda (a word of Python)" if "lambda" in text else ""
        raise FormulaError(f'formula "{shown}" cannot be read{at}: {problem.args[0]}{hint}') from None
    return _Reader(text.strip(), shown).read(tree.body, 0)


class _Reader:
    """Turns a syntax tree into sympy objects, form by form."""

    def __init__(self, text: str, shown: str) -> None:
        self.text = text
        self.shown = shown

    def refuse(self, node: ast.AST, why: str) -> FormulaError:
        part = ast.get_source_segment(self.text, node) or self.text
        return FormulaError(f'formula "{self.shown}": cannot read "{part}"; {why}')

    def read(self, node: ast.expr, depth: int) -> Any:
        if depth > DEEPEST:
            raise FormulaError(f'formula "{self.shown}" is nested more than {DEEPEST} deep')
        result = self._read(node, depth + 1)
        if result.has(sp.zoo, sp.oo, -sp.oo, sp.nan) or (result.is_number and not result.is_extended_real):
            raise self.refuse(node, f"its value is {result}, not a real number")
        if any(max(abs(r.p), r.q).bit_length() > LARGEST_BITS for r in result.atoms(sp.Rational)):
            raise self.refuse(node, "it has a number beyond 1e300")
        return result

    def chain(self, node: ast.expr, depth: int) -> Any:
        """a + b - c * ... without nesting: Python reads it as ((a + b) - c), as deep as it is long."""
        links = []
        while isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            links.append((type(node.op), node.right))
            node = node.left
        value = self.read(node, depth)
        for operator, right in reversed(links):
            value = OPERATORS[operator](value, self.read(right, depth))
        return value

    def _read(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._number(node, value)
            case ast.Name(id=name):
                return self._symbol(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.read(operand, depth)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand, depth)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self._power(node, self.read(left, depth), self.read(right, depth))
            case ast.BinOp(op=op) if type(op) in OPERATORS:
                return self.chain(node, depth)
            case ast.BinOp(op=ast.BitXor()):
                raise self.refuse(node, "write ** for a power")
            case ast.Subscript(value=ast.Name(id=name), slice=indices):
                return self._entry(node, name, indices)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments, depth)
        raise self.refuse(node, f"a formula is made of {SYNTAX}")

    def _number(self, node: ast.expr, value: int | float) -> Any:
        if value != value or abs(value) > 1e300 or (value != 0 and abs(value) < 1e-300):
            raise self.refuse(node, "numbers must lie between 1e-300 and 1e300")
        return sp.Integer(value) if isinstance(value, int) else sp.Rational(repr(value))

    def _symbol(self, node: ast.expr, name: str) -> Any:
        if name in FUNCTIONS or name in ("sum", "where"):
            raise self.refuse(node, f"{name} is a function: write {name}(...)")
        if name.startswith("_") or not name.isascii():
            raise self.refuse(node, "names are ASCII letters, digits and underscores, a letter first")
        return sp.pi if name == "pi" else sp.Symbol(name, real=True)

    def _power(self, node: ast.expr, base: Any, exponent: Any) -> Any:
        if exponent.is_number and not (exponent.is_Rational and abs(exponent) <= LARGEST_EXPONENT):
            raise self.refuse(node, f"an exponent that is a number must lie between +-{LARGEST_EXPONENT}")
        numbers = base.atoms(sp.Rational) if base.is_number and exponent.is_number else ()
        if any(max(abs(r.p), r.q) >= LARGEST_BASE for r in numbers):
            raise self.refuse(node, f"a number to a power must be below {LARGEST_BASE}")
        return base**exponent

    def _entry(self, node: ast.expr, name: str, indices: ast.expr) -> Any:
        symbol = self._symbol(node, name)
        if symbol == sp.pi:
            raise self.refuse(node, "pi is a number")
        entries = indices.elts if isinstance(indices, ast.Tuple) else [indices]
        return sp.IndexedBase(symbol.name, real=True)[tuple(self._index(entry) for entry in entries)]

    def _index(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name != "pi":
                return sp.Symbol(self._symbol(node, name).name, integer=True)
            case ast.Constant(value=int() as value) if not isinstance(value, bool) and 0 <= value < 10**9:
                return sp.Integer(value)
        raise self.refuse(node, "an index is a name such as j, or a number from 0")

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr], depth: int) -> Any:
        if name == "sum":
            if len(arguments) < 2 or not all(isinstance(a, ast.Name) for a in arguments[1:]):
                raise self.refuse(node, "a sum is sum(expression, j), or sum(expression, j, k)")
            indices = [self._index(a) for a in arguments[1:]]
            summand = self.read(arguments[0], depth)
            inner = {limit[0] for s in summand.atoms(sp.Sum) for limit in s.limits}
            if len({*indices} | inner) < len(indices) + len(inner):
                raise self.refuse(node, "it sums over the same index twice: rename one of them")
            return total(summand, *indices)
        if name == "where":
            return self._choice(node, arguments, depth)
        if name not in FUNCTIONS:
            raise self.refuse(node, f"there is no function {name}; there are {', '.join(FUNCTIONS)}, sum and where")
        function, count = FUNCTIONS[name]
        if len(arguments) != count if count else not 2 <= len(arguments) <= LONGEST_CHOICE:
            many = f"2 to {LONGEST_CHOICE}"
            raise self.refuse(node, f"{name} takes {count or many} argument{'' if count == 1 else 's'}")
        return function(*[self.read(a, depth) for a in arguments])

    def _choice(self, node: ast.expr, arguments: list[ast.expr], depth: int) -> Any:
        match arguments:
            case [ast.Compare(left=left, ops=[op], comparators=[right]), first, second] if type(op) in COMPARISONS:
                condition = COMPARISONS[type(op)](self.read(left, depth), self.read(right, depth))
                return sp.Piecewise((self.read(first, depth), condition), (self.read(second, depth), True))
        raise self.refuse(node, "write where(a > b, value if so, value if not), with one of < <= > >=")
