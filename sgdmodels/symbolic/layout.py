"""Where the arrays of a formula lie in memory, and the lines of generated code that find them.

theta holds the parameters one after the other. A row of `inputs` holds one sample's data likewise, but for the first
scalar, which is `targets`. `constants`: the number of parameters, the user's constants, and every length of an axis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import sympy as sp

from ..arguments import FloatArray
from .loops import WORDS, Writer
from .loss_formula import PREDICTION, LossFormula, Shape

OURS = re.compile(r"(i|(dir|out)_.*|(val|dot|bar|bardot)_\d+)$")  # names that generated code gives


@dataclass(frozen=True)
class Layout:
    """The arrays of one formula."""

    formula: LossFormula

    @property
    def target(self) -> str | None:
        """The scalar that travels in `targets`."""
        return next((name for name, shape in self.formula.data.items() if shape == ()), None)

    @property
    def columns(self) -> dict[str, Shape]:
        """What a row of `inputs` holds."""
        return {name: shape for name, shape in self.formula.data.items() if name != self.target}

    @cached_property
    def _spelling(self) -> dict[str, str]:
        """Arrays, scalars and indices -> identifiers, no two the same."""
        formula = self.formula
        sums = [s for e in (formula.loss, formula.predictor) if e is not None for s in e.atoms(sp.Sum)]
        names = dict.fromkeys([*formula.shapes, *sorted(limit[0].name for s in sums for limit in s.limits)])
        taken, spelled = {*names, PREDICTION.name}, {}
        for name in names:
            word = f"user_{name}" if name in WORDS or OURS.match(name) else name
            while word != name and word in taken:
                word += "_"
            taken.add(word)
            spelled[name] = word
        return spelled

    def word(self, name: str) -> str:
        """The identifier of an array, scalar or index in generated code."""
        return self._spelling[name]

    @property
    def words(self) -> dict[str, str]:
        """How the code spells each name: scalar parameters are views of length one, scalar data single entries."""
        spelled = {name: self.word(name) for name in self.formula.shapes}
        for name, shape in self.formula.parameters.items():
            if shape == ():
                spelled[name] += "[0]"
        return spelled

    def pack(self, data: dict[str, FloatArray], samples: int) -> tuple[FloatArray, FloatArray]:
        """`inputs` and `targets`."""
        rows = [data[name].reshape(samples, -1) for name in self.columns]
        inputs = np.concatenate(rows, axis=1) if rows else np.zeros((samples, 1))
        return inputs, data[self.target] if self.target else np.zeros(samples)

    def constants(self, values: dict[str, float]) -> list[float]:
        """The vector `constants`."""
        formula = self.formula
        dim = sum(prod(shape) for shape in formula.parameters.values())
        lengths = [size for shape in (*formula.parameters.values(), *self.columns.values()) for size in shape]
        return [float(dim), *(float(values[name]) for name in formula.constants), *map(float, lengths)]

    def slots(self) -> dict[tuple[str, int], int]:
        """(array, axis) -> where in `constants` its length is."""
        formula = self.formula
        axes = [(name, axis) for name, shape in formula.parameters.items() for axis in range(len(shape))]
        axes += [(name, axis) for name, shape in self.columns.items() for axis in range(len(shape))]
        return {axis: 1 + len(formula.constants) + k for k, axis in enumerate(axes)}

    def split(self) -> str:
        """Source of the device function `split`."""
        writer = Writer()
        views = self._views(writer, dict(self.formula.parameters), "theta")
        writer.add(0, f"return {', '.join(views)}{',' if len(views) == 1 else ''}")
        return "\n".join(["@inline", "def split(theta, inputs, constants):", *writer.lines])

    def open_parts(self, writer: Writer, prefix: str, source: str) -> None:
        """u, v = parts; and likewise for a direction or a gradient, with a prefix."""
        names = [prefix + self.word(name) for name in self.formula.parameters]
        writer.names.update(names)
        writer.add(0, f"{', '.join(names)}{',' if len(names) == 1 else ''} = {source}")

    def open_constants(self, writer: Writer) -> None:
        for k, name in enumerate(self.formula.constants):
            writer.names.add(self.word(name))
            writer.add(0, f"{self.word(name)} = constants[{1 + k}]")

    def open_sample(self, writer: Writer) -> None:
        """The data of sample i."""
        writer.names.update(self.word(name) for name in self.formula.data)
        if self.target:
            writer.add(0, f"{self.word(self.target)} = targets[i]")
        columns = self.columns
        if len(columns) == 1 and len(next(iter(columns.values()))) == 1:
            writer.add(0, f"{self.word(next(iter(columns)))} = inputs[i]")
        elif columns:
            writer.add(0, "row = inputs[i]")
            for name, view in zip(columns, self._views(writer, columns, "row"), strict=True):
                writer.add(0, f"{self.word(name)} = {view}{'[0]' if columns[name] == () else ''}")

    def _views(self, writer: Writer, arrays: dict[str, Shape], source: str) -> list[str]:
        """Expressions of consecutive views of `source`; lengths and ends are written before."""
        slots, views, start = self.slots(), [], "0"
        for name, shape in arrays.items():
            lengths = [writer.name(f"{name}_{axis}") for axis in range(len(shape))]
            for axis, length in enumerate(lengths):
                writer.add(0, f"{length} = int(constants[{slots[name, axis]}])")
            end = writer.name(f"{name}_end")
            size = " * ".join(lengths) or "1"
            writer.add(0, f"{end} = {size if start == '0' else f'{start} + {size}'}")
            view = f"{source}[{start}:{end}]"
            views.append(f"{view}.reshape(({', '.join(lengths)}))" if len(shape) > 1 else view)
            start = end
        return views

    def extent(self, array: str, axis: int) -> str:
        """The text of an axis' length where the array's view is open."""
        return f"{self.word(array)}.shape[{axis}]"
