"""Code of one sample's loss, gradient and Hessian-vector product: sums forwards, their adjoints backwards.

The gradient is reverse differentiation through the graph of sums, the Hessian-vector product forward differentiation of
that. Scalar derivatives are sympy's, taken once; dimensions are lengths of loops at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from .graph import Graph, Node, graph
from .indices import partial, parts_of
from .layout import Layout
from .loops import Loops, Sum, Writer

HEADS = {
    "sample_loss": "sample_loss(parts, i, inputs, targets, constants, work)",
    "add_sample_gradient": "add_sample_gradient(parts, scale, i, inputs, targets, constants, work, out)",
    "add_sample_hvp": "add_sample_hvp(parts, vector, scale, i, inputs, targets, constants, work, out)",
}
SCALE = sp.Symbol("_scale", real=True)  # no user's name starts with an underscore
# What a node has: its value, the value's change along the direction, the loss's derivative in it, that one's change.
VALUE, DOT, BAR, BARDOT = "", "_dot", "_bar", "_bardot"
WORDS_OF = {VALUE: "val", DOT: "dot", BAR: "bar", BARDOT: "bardot"}


class SampleCode:
    """Source of the device functions of a loss in the family `models.sample_by_sample`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.graph: Graph = graph(layout.formula.whole, layout.word)
        self.parameters = set(layout.formula.parameters)
        self.nodes = {node.name: node for node in self.graph.nodes}

    def functions(self) -> dict[str, str]:
        """Name -> source."""
        return {
            "split": self.layout.split(),
            "sample_loss": self._loss(),
            "add_sample_gradient": self._gradient(),
            "add_sample_hvp": self._product(),
            "add_parts": self._add_parts(),
        }

    def scratch(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """How many numbers the nodes of a Hessian-vector product need."""
        sizes = 0
        for node in self.graph.nodes:
            if node.free:
                size = 1
                for index in node.free:
                    array, axis = node.ranges[index]
                    size *= shapes[array][axis]
                sizes += size
        return 4 * sizes

    def _loss(self) -> str:
        writer = self._open([VALUE])
        self._forward(writer, second=False)
        self._loops(writer, None).write([Sum("value", frozenset(), self.graph.root, replaces=True)])
        writer.add(0, "return value")
        return _source("sample_loss", writer)

    def _gradient(self) -> str:
        writer = self._open([VALUE, BAR], "out")
        self._forward(writer, second=False)
        self._backward(writer, second=False)
        return _source("add_sample_gradient", writer)

    def _product(self) -> str:
        writer = self._open([VALUE, DOT, BAR, BARDOT], "vector", "out")
        self._forward(writer, second=True)
        self._backward(writer, second=True)
        return _source("add_sample_hvp", writer)

    def _add_parts(self) -> str:
        writer = Writer()
        self.layout.open_parts(writer, "", "source")
        self.layout.open_parts(writer, "out_", "out")
        letters = [writer.name(letter) for letter in "jklm"]
        for name, shape in self.layout.formula.parameters.items():
            indices = letters[: len(shape)]
            word = self.layout.word(name)
            for axis, index in enumerate(indices):
                writer.add(axis, f"for {index} in range({word}.shape[{axis}]):")
            entry = f"[{', '.join(indices) or '0'}]"
            writer.add(len(indices), f"out_{word}{entry} += {word}{entry}")
        return "\n".join(["@inline", "def add_parts(source, out):", *writer.lines])

    def _open(self, kinds: list[str], *others: str) -> Writer:
        """The arrays that a function works on: parameters, those of a direction or a gradient, data, nodes."""
        writer = Writer()
        writer.names.update(word.split("[")[0] for word in self._words().values())
        self.layout.open_parts(writer, "", "parts")
        for source in others:
            self.layout.open_parts(writer, {"vector": "dir_", "out": "out_"}[source], source)
        self.layout.open_constants(writer)
        self.layout.open_sample(writer)
        self._views(writer, kinds)
        return writer

    def _words(self) -> dict[str, str]:
        """How the code spells arrays, nodes and what belongs to them."""
        words = dict(self.layout.words)
        for name in self.parameters:
            words[f"{DOT}{name}"] = f"dir_{words[name]}"
            words[f"{BAR}{name}"] = f"out_{words[name]}"
        for name in self.nodes:
            words |= {f"{kind}{name}": f"{word}{name}" for kind, word in WORDS_OF.items()}
        return {**words, "_scale": "scale"}

    def _text(self, atom: Any) -> str:
        words = self._words()
        if isinstance(atom, sp.Indexed):
            return f"{words[atom.base.label.name]}[{', '.join(map(str, atom.indices))}]"
        return words[atom.name]

    def _moving(self, e: Any) -> list[Any]:
        """The atoms of an expression that change with the parameters."""
        return [a for a in parts_of(e) if _name(a) in self.parameters or _name(a) in self.nodes]

    def _change(self, e: Any) -> Any:
        """The derivative along the direction."""
        return sp.Add(*[partial(e, atom) * _kin(atom, DOT) for atom in self._moving(e)])

    def _loops(self, writer: Writer, node: Node | None) -> Loops:
        """The loops of a node; none for the loss itself."""
        if node is None:
            return Loops(writer, (), {}, self._words())
        ranges = {i: self.layout.extent(*node.ranges[i]) for i in (*node.free, *node.bound)}
        return Loops(writer, (*node.free, *node.bound), ranges, self._words())

    def _views(self, writer: Writer, kinds: list[str]) -> None:
        """Room for the nodes that have indices, one after the other in row 0 of the scratch."""
        start = "0"
        for kind in kinds:
            for node in self.graph.nodes:
                if not node.free:
                    continue
                if start == "0":
                    writer.add(0, "scratch = work[0]")
                name = f"{WORDS_OF[kind]}{node.name}"
                lengths = [self.layout.extent(*node.ranges[i]) for i in node.free]
                end = writer.name(f"{name}_end")
                size = " * ".join(lengths)
                writer.add(0, f"{end} = {size if start == '0' else f'{start} + {size}'}")
                shape = f".reshape(({', '.join(lengths)}))" if len(lengths) > 1 else ""
                writer.add(0, f"{name} = scratch[{start}:{end}]{shape}")
                start = end

    def _forward(self, writer: Writer, second: bool) -> None:
        """The values of the nodes, and how they change along the direction."""
        for node in self.graph.nodes:
            own = _entry_of(node)
            sums = [Sum(self._text(own), frozenset(node.free), node.summand, replaces=True)]
            if second:
                change = self._change(node.summand)
                sums.append(Sum(self._text(_kin(own, DOT)), frozenset(node.free), change, replaces=True))
            self._loops(writer, node).write(sums)

    def _backward(self, writer: Writer, second: bool) -> None:
        """The derivatives of the loss in the nodes, last first, added up into those in the parameters."""
        for kind in (BAR, BARDOT) if second else (BAR,):
            for node in self.graph.nodes:
                for depth, index in enumerate(node.free):
                    writer.add(depth, f"for {index} in range({self.layout.extent(*node.ranges[index])}):")
                writer.add(len(node.free), f"{self._text(_kin(_entry_of(node), kind))} = 0.0")
        self._adjoints(self._loops(writer, None), self.graph.root, SCALE, sp.S.Zero, second)
        for node in reversed(self.graph.nodes):
            own = _entry_of(node)
            known = {} if node.bound else {node.summand: own}
            self._adjoints(self._loops(writer, node), node.summand, _kin(own, BAR), _kin(own, BARDOT), second, known)

    def _adjoints(
        self, loops: Loops, e: Any, bar: Any, bardot: Any, second: bool, known: Mapping[Any, Any] | None = None
    ) -> None:
        """What the value `e`, in which the loss has derivative `bar`, hands on to its atoms; `known`: values kept."""
        sums = []
        for atom in self._moving(e):
            slope = partial(e, atom).xreplace(dict(known or {}))
            indices = frozenset(i for i in getattr(atom, "indices", ()) if not i.is_Integer)
            first, change = bar * slope, bardot * slope + bar * self._change(slope)
            if not second or _name(atom) in self.nodes:
                sums.append(Sum(self._text(_kin(atom, BAR)), indices, first))
            if second:
                kind = BARDOT if _name(atom) in self.nodes else BAR
                sums.append(Sum(self._text(_kin(atom, kind)), indices, change))
        for nest in _by_kind(sums, loops):
            Loops(loops.writer, loops.indices, loops.ranges, loops.words).write(nest)


def _by_kind(sums: list[Sum], loops: Loops) -> tuple[list[Sum], list[Sum]]:
    """Sums kept in a register over the innermost loop, and those that write memory there: apart, both vectorise."""
    inner = set(loops.indices[-1:])
    return [s for s in sums if not inner <= s.indices], [s for s in sums if inner <= s.indices]


def _name(atom: Any) -> str:
    return str(atom.base.label.name if isinstance(atom, sp.Indexed) else atom.name)


def _kin(atom: Any, kind: str) -> Any:
    """The entry of an atom's direction or adjoint."""
    name = f"{kind}{_name(atom)}"
    return sp.IndexedBase(name, real=True)[atom.indices] if isinstance(atom, sp.Indexed) else sp.Symbol(name, real=True)


def _entry_of(node: Node) -> Any:
    return sp.IndexedBase(node.name, real=True)[node.free] if node.free else sp.Symbol(node.name, real=True)


def _source(head: str, writer: Writer) -> str:
    return "\n".join(["@inline", f"def {HEADS[head]}:", *writer.lines])
