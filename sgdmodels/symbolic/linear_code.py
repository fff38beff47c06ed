"""Code for predictions that are linear in the data, p = sum_j W(theta)_j x_j, in the family `models.linear_predictor`.

A batch then costs one pass over its data whatever the weights W are, as for the built-in networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from .graph import LONGEST_PRODUCT
from .indices import derivative, partial, parts_of
from .layout import Layout
from .loops import Loops, Sum, Writer
from .loss_formula import PREDICTION
from .zero import vanishes

SOURCE = sp.IndexedBase("_source", real=True)  # the vector of data, or of sums of data, that a function works on
SCALE, TOTAL = sp.symbols("_scale _total", real=True)  # no user's name starts with an underscore


@dataclass(frozen=True)
class LinearForm:
    """l = phi(p, y) + offset, p = sum_j W_j x_j: `weight` is W at `index`, `offset` linear in scalar parameters."""

    weight: Any
    index: Any
    phi: Any
    offset: Any


def linear_form(layout: Layout) -> LinearForm | None:
    """The loss in this form; None if it is of no such form.

    >>> from .loss_formula import loss_formula
    >>> f = loss_formula("(p - y)**2/2", {"u": (3,), "v": ()}, {"x": (3,), "y": ()}, "v * sum(u[j]*x[j], j)", ())
    >>> form = linear_form(Layout(f))
    >>> form.weight, form.phi, form.offset
    (v*u[k], (p - y)**2/2, 0)
    """
    formula = layout.formula
    if formula.predictor is None or [len(shape) for shape in layout.columns.values()] != [1]:
        return None
    x = formula.array(next(iter(layout.columns)))
    taken = {*formula.shapes, *(limit[0].name for total in formula.predictor.atoms(sp.Sum) for limit in total.limits)}
    letters = (f"{name}{number}" for number in ("", *range(1, 1000)) for name in "jklm")
    index = sp.Symbol(next(name for name in letters if name not in taken), integer=True)
    weight = derivative(formula.predictor, x, index)
    at_zero = formula.predictor.replace(lambda e: isinstance(e, sp.Indexed) and e.base == x, lambda e: sp.S.Zero).doit()
    entries = weight.atoms(sp.Indexed)
    known = {sp.Symbol(name, real=True) for name in (*formula.parameters, *formula.constants)} | {index}
    pointwise = all(e.base != x and (e.indices == (index,) or all(i.is_Integer for i in e.indices)) for e in entries)
    if len(parts_of(weight)) > LONGEST_PRODUCT:
        return None
    scalars = set().union(*(part.free_symbols for part in parts_of(weight) if isinstance(part, sp.Symbol)))
    if at_zero != 0 or weight.has(sp.Sum, sp.KroneckerDelta) or not pointwise or not scalars <= known:
        return None
    moving = [s for s in formula.loss.free_symbols if s.name in formula.parameters]
    phi = formula.loss.subs(dict.fromkeys(moving, 0))
    offset = sp.Add(*[s * sp.diff(formula.loss, s) for s in moving])
    constants = {sp.Symbol(name, real=True) for name in formula.constants}
    if formula.loss.has(sp.Indexed) or not offset.free_symbols <= {*moving, *constants}:
        return None
    return LinearForm(weight, index, phi, offset) if vanishes(formula.loss - phi - offset) else None


class LinearCode:
    """Source of the device functions of a loss in the family."""

    def __init__(self, layout: Layout, form: LinearForm) -> None:
        self.layout, self.form = layout, form
        self.moving = [a for a in parts_of(form.weight) if _name(a) in layout.formula.parameters]

    @property
    def is_squared_error(self) -> bool:
        """Whether phi is (p - y)^2 / 2."""
        y = sp.Symbol(self.layout.target or "", real=True)
        return vanishes(self.form.phi - (PREDICTION - y) ** 2 / 2)

    def functions(self) -> dict[str, str]:
        """Name -> source."""
        weight, scaled = self.form.weight, SCALE * SOURCE[self.form.index]
        sources = {
            "split": self.layout.split(),
            "weights": self._loop("weights(parts, constants, out)", {"out": weight}),
            "fused_predict": self._predict(),
            "pull": self._loop(
                "pull(parts, source, scale, constants, spare, out)",
                {a: scaled * partial(weight, a) for a in self.moving},
                "out",
            ),
            "push": self._loop("push(parts, vector, constants, out)", {"out": self._change(weight)}, "vector"),
            "curve": self._loop(
                "curve(parts, source, vector, scale, constants, out)",
                {a: scaled * self._change(partial(weight, a)) for a in self.moving},
                "vector",
                "out",
            ),
        }
        if not self.is_squared_error:
            sources |= self._point_loss()
        if self.form.offset != 0:
            sources |= self._offset()
        return sources

    def _words(self) -> dict[str, str]:
        words = self.layout.words
        moved = {f"_dir_{name}": f"dir_{words[name]}" for name in self.layout.formula.parameters}
        return {**words, **moved, "_source": "source", "_scale": "scale", "_total": "total", "p": "p"}

    def _open(self, *views: str) -> Writer:
        writer = Writer()
        self.layout.open_parts(writer, "", "parts")
        for view in views:
            self.layout.open_parts(writer, {"vector": "dir_", "out": "out_"}[view], view)
        self.layout.open_constants(writer)
        return writer

    def _change(self, e: Any) -> Any:
        """The derivative along the direction `vector`."""
        return sp.Add(*[partial(e, a) * _direction(a) for a in self.moving])

    def _loop(self, head: str, sums: dict[Any, Any], *views: str) -> str:
        """A function with one loop over the weights: out at every weight, or added to the parameters' gradient."""
        writer, index = self._open(*views), self.form.index
        length = "out.shape[0]" if "out" in sums else "source.shape[0]"
        words = self._words()
        loops = Loops(writer, (index,), {index: length}, words)
        todo = []
        for target, e in sums.items():
            if target == "out":
                todo.append(Sum(f"out[{index}]", frozenset({index}), e, replaces=True))
            else:
                word = f"out_{words[_name(target)]}"
                entry = f"[{target.indices[0]}]" if isinstance(target, sp.Indexed) else ""
                indices = frozenset(i for i in getattr(target, "indices", ()) if not i.is_Integer)
                todo.append(Sum(word + entry, indices, e))
        loops.write(todo)
        return _source(head, writer)

    def _predict(self) -> str:
        writer, index = self._open(), self.form.index
        loops = Loops(writer, (index,), {index: "source.shape[0]"}, self._words())
        loops.write([Sum("value", frozenset(), self.form.weight * SOURCE[index], replaces=True)])
        writer.add(0, "return value")
        return _source("fused_predict(parts, source, constants)", writer)

    def _point_loss(self) -> dict[str, str]:
        phi = self.form.phi
        slope = partial(phi, PREDICTION)
        bend = partial(slope, PREDICTION)
        target = self.layout.word(self.layout.target) if self.layout.target else "unused"
        sources = {}
        for name, e in (("point_loss", phi), ("slope", slope), ("bend", bend)):
            writer = Writer()
            writer.names |= {"p", target}
            self.layout.open_constants(writer)
            Loops(writer, (), {}, self._words()).write([Sum("value", frozenset(), e, replaces=True)])
            writer.add(0, "return value")
            sources[name] = _source(f"{name}(p, {target}, constants)", writer)
        return sources

    def _offset(self) -> dict[str, str]:
        offset, words = self.form.offset, self._words()
        value = self._open()
        Loops(value, (), {}, words).write([Sum("value", frozenset(), offset, replaces=True)])
        value.add(0, "return value")
        writer = Writer()
        self.layout.open_parts(writer, "out_", "out")
        self.layout.open_constants(writer)
        moving = [s for s in parts_of(offset) if s.name in self.layout.formula.parameters]
        slopes = [Sum(f"out_{words[s.name]}", frozenset(), SCALE * TOTAL * partial(offset, s)) for s in moving]
        Loops(writer, (), {}, words).write(slopes)
        return {
            "offset": _source("offset(parts, constants)", value),
            "tilt": _source("tilt(constants, total, scale, out)", writer),
        }


def _name(atom: Any) -> str:
    return str(atom.base.label.name if isinstance(atom, sp.Indexed) else atom.name)


def _direction(atom: Any) -> Any:
    name = f"_dir_{_name(atom)}"
    return sp.IndexedBase(name, real=True)[atom.indices] if isinstance(atom, sp.Indexed) else sp.Symbol(name, real=True)


def _source(head: str, writer: Writer) -> str:
    return "\n".join(["@inline", f"def {head}:", *(writer.lines or ['    """Nothing."""'])])
