"""Python text of loops that add up expressions: every value is loaded and computed in the outermost loop it can be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp
from sympy.printing.pycode import PythonCodePrinter

from .indices import parts_of

# Words of the generated functions; an array of the user's with one of these names gets an underscore.
WORDS = frozenset(
    {
        "theta", "inputs", "targets", "constants", "parts", "vector", "work", "out", "source", "scale", "total", "row",
        "scratch", "value", "spare", "unused", "math", "inline", "range", "int", "max", "min", "abs",
    }
)  # fmt: skip


class Printer(PythonCodePrinter):  # type: ignore[misc]
    """Expressions as scalar Python that numba compiles; the tree has been checked, names are ours."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": True, "precision": 17})

    def _print_Rational(self, e: Any) -> str:
        return repr(float(e))

    def _print_Float(self, e: Any) -> str:
        return repr(float(e))

    def parenthesize(self, item: Any, level: int, strict: bool = False) -> str:
        """Fractions are printed as decimals, which need no parentheses."""
        if isinstance(item, sp.Rational) and item > 0:
            return str(self._print(item))
        return str(super().parenthesize(item, level, strict))

    def _print_Heaviside(self, e: Any) -> str:
        z = self._print(e.args[0])
        return f"(1.0 if {z} > 0.0 else (0.0 if {z} < 0.0 else 0.5))"

    def _print_sign(self, e: Any) -> str:
        z = self._print(e.args[0])
        return f"(1.0 if {z} > 0.0 else (-1.0 if {z} < 0.0 else 0.0))"

    def _print_Integer(self, e: Any) -> str:
        return str(e.p) if abs(e.p) < EXACT else repr(float(e))

    def _print_sigmoid(self, e: Any) -> str:
        return f"(1.0/(1.0 + math.exp(-({self._print(e.args[0])}))))"

    def _print_maximum(self, e: Any) -> str:
        return f"max({', '.join(map(self._print, e.args))})"

    def _print_minimum(self, e: Any) -> str:
        return f"min({', '.join(map(self._print, e.args))})"

    def _print_Pow(self, e: Any, rational: bool = False) -> str:
        if e.exp.is_Integer and e.exp < 0:  # numba raises for 0.0**-1
            return f"1.0/({self._print(sp.Pow(e.base, -e.exp, evaluate=False) if e.exp != -1 else e.base)})"
        return str(super()._print_Pow(e, rational=rational))

    def _print_logcosh(self, e: Any) -> str:
        z = self._print(e.args[0])
        return f"(abs({z}) + math.log1p(math.exp(-2.0*abs({z}))) - {math.log(2.0)!r})"

    def _print_softplus(self, e: Any) -> str:
        z = self._print(e.args[0])
        return f"(max({z}, 0.0) + math.log1p(math.exp(-abs({z}))))"


EXACT = 2**53  # integers that a double holds, and compiled code takes
PRINTER = Printer()
SHARED = (sp.Function, sp.Pow, sp.Piecewise)  # worth a name of their own


@dataclass(frozen=True)
class Sum:
    """`target` += (or =) the sum of `expression` over all loops whose index `target` does not have."""

    target: str
    indices: frozenset[Any]
    expression: Any
    replaces: bool = False


class Writer:
    """Lines of one function."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: set[str] = set()

    def add(self, depth: int, line: str) -> None:
        self.lines.append("    " * (depth + 1) + line)

    def name(self, wish: str) -> str:
        """A name that is not taken yet."""
        found, k = wish, 1
        while found in self.names or found in WORDS:
            k += 1
            found = f"{wish}_{k}"
        self.names.add(found)
        return found


class Loops:
    """One nest of loops over `indices` (outermost first), adding up several sums at once."""

    def __init__(
        self, writer: Writer, indices: Sequence[Any], ranges: Mapping[Any, str], words: Mapping[str, str]
    ) -> None:
        self.writer, self.indices, self.ranges, self.words = writer, tuple(indices), ranges, words
        writer.names.update(str(index) for index in self.indices)
        self.statements: list[list[str]] = [[] for _ in range(len(self.indices) + 1)]
        self.known: dict[Any, Any] = {}
        self.levels: dict[Any, int] = {}

    def level_of(self, indices: Any) -> int:
        """In how many loops a value that depends on `indices` is."""
        return max((1 + self.indices.index(i) for i in indices), default=0)

    def level(self, e: Any) -> int:
        return max((self.levels[s] for s in e.free_symbols), default=0)

    def write(self, sums: Sequence[Sum]) -> None:
        """The loops as text."""
        sums = [s for s in sums if s.expression != 0 or s.replaces]
        if not sums:
            return
        atoms = sorted(set().union(*(parts_of(s.expression) for s in sums)), key=sp.default_sort_key)
        loads = {atom: self._load(atom) for atom in atoms}
        plain = [s.expression.xreplace(loads) for s in sums]
        shared, reduced = sp.cse(plain, symbols=(sp.Symbol(f"~{k}") for k in range(10**6)), order="none")
        for symbol, value in shared:
            self.known[symbol] = self._named(self._placed(value))
        values = [self._placed(e) for e in reduced]
        self._emit(list(sums), values)

    def _load(self, atom: Any) -> Any:
        indexed = isinstance(atom, sp.Indexed)
        word = self.words[atom.base.label.name if indexed else atom.name]
        indices = [i for i in atom.indices if not i.is_Integer] if indexed else []
        text = f"{word}[{', '.join(str(i) for i in atom.indices)}]" if indexed else word
        if text.isidentifier():
            symbol = sp.Symbol(text, real=True)
            self.levels[symbol] = 0
            return symbol
        suffix = "".join(str(i) for i in atom.indices) if indexed else "0"
        return self._assign(f"{word.split('[')[0]}_{suffix}", text, self.level_of(indices))

    def _assign(self, wish: str, text: str, level: int) -> Any:
        name = self.writer.name(wish)
        symbol = sp.Symbol(name, real=True)
        self.levels[symbol] = level
        self.statements[level].append(f"{name} = {text}")
        return symbol

    def _named(self, e: Any) -> Any:
        """A value that is used more than once, or further out than where it is used."""
        if e.is_Atom:
            return e
        if e not in self.known:
            self.known[e] = self._assign("t", PRINTER.doprint(e), self.level(e))
        return self.known[e]

    def _placed(self, e: Any) -> Any:
        """`e` with every part that belongs in an outer loop put there."""
        if e in self.known:
            return self.known[e]
        if e.is_Atom:
            return e
        arguments = [self._placed(a) for a in e.args]
        if isinstance(e, sp.Add | sp.Mul):
            own = max(self.level(a) for a in arguments)
            for outer in range(own):
                low = [a for a in arguments if self.level(a) <= outer and not a.is_number]
                if len(low) > 1:
                    numbers = [a for a in arguments if a.is_number] if isinstance(e, sp.Mul) else []
                    arguments = [a for a in arguments if a not in low and a not in numbers]
                    arguments.append(self._named(e.func(*numbers, *low)))
            return e.func(*arguments)
        if isinstance(e, SHARED) and not _small_power(e):
            if isinstance(e, sp.Function) and not isinstance(e, sp.Piecewise):
                arguments = [self._named(a) for a in arguments]
            return self._named(e.func(*arguments))
        return e.func(*arguments)

    def _emit(self, sums: list[Sum], values: list[Any]) -> None:
        writer, depth = self.writer, len(self.indices)
        held: dict[int, list[tuple[str, Sum]]] = {}
        lines = []
        for s, value in zip(sums, values, strict=True):
            level = self.level_of(s.indices)
            sign = "=" if s.replaces else "+="
            text = PRINTER.doprint(value)
            if level == depth:
                lines.append(f"{s.target} {sign} {text}")
            else:
                local = writer.name("acc")
                held.setdefault(level, []).append((local, s))
                lines.append(f"{local} += {text}")
        for level in range(depth + 1):
            for statement in self.statements[level]:
                writer.add(level, statement)
            for local, _ in held.get(level, ()):
                writer.add(level, f"{local} = 0.0")
            if level < depth:
                writer.add(level, f"for {self.indices[level]} in range({self.ranges[self.indices[level]]}):")
        for line in lines:
            writer.add(depth, line)
        for level in range(depth - 1, -1, -1):
            for local, s in held.get(level, ()):
                writer.add(level, f"{s.target} {'=' if s.replaces else '+='} {local}")


def _small_power(e: Any) -> bool:
    return isinstance(e, sp.Pow) and e.exp.is_Integer and 0 < e.exp <= 4
