"""Is a formula defined and differentiable at these numbers? If not: for which sample, and which entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from ..arguments import FloatArray
from ..errors import InvalidArgument
from .broadcast import evaluate
from .grammar import FormulaError
from .indices import derivative, parts_of
from .loss_formula import LossFormula
from .smoothness import NONZERO, POSITIVE, Condition, conditions
from .typeset import text

WORDS = {-1: "has no value", 0: "has no gradient", 1: "has no Hessian"}


class Regularity:
    """The conditions of a formula, and the data they are asked of."""

    def __init__(self, formula: LossFormula, known: Mapping[str, FloatArray]) -> None:
        self.formula, self.known = formula, known
        self.conditions = conditions(formula.whole)
        self._movable = {c: self._moves(c.expression) for c in self.conditions}

    def check_data(self) -> None:
        """Raise FormulaError where data or constants alone make the formula undefined, whatever the parameters."""
        for condition in self.conditions:
            if not self._movable[condition]:
                if condition.derivatives >= 0:
                    continue  # a kink in the data is a constant in the parameters
                found = self._violation(condition, {})
                if found is not None:
                    raise FormulaError(
                        f"{text(condition.part)} has no value for the data: {found}; remove such entries"
                    )

    def check(self, parameters: Mapping[str, FloatArray], derivatives: int) -> None:
        """Raise InvalidArgument if the loss lacks one of so many derivatives for a sample."""
        for condition in self.conditions:
            if self._movable[condition] and condition.derivatives < derivatives:
                found = self._violation(condition, parameters)
                if found is not None:
                    lacks = f"the loss {WORDS[condition.derivatives]} at these parameters"
                    raise InvalidArgument(f"{lacks}: {text(condition.part)} where {found}; move theta off this point")

    def _moves(self, e: Any) -> bool:
        names = {a.base.label.name for a in e.atoms(sp.Indexed)} | {s.name for s in e.free_symbols}
        return bool(names & set(self.formula.parameters))

    def _violation(self, condition: Condition, parameters: Mapping[str, FloatArray]) -> str | None:
        """The first sample and entry at which the condition does not hold, in words."""
        e, values = condition.expression, {**self.known, **parameters}
        sizes = self._sizes(e)
        numbers = evaluate(e, values, list(self.formula.data), sizes)
        bad = ~(numbers > 0) if condition.kind == POSITIVE else numbers == 0
        if condition.kind not in (NONZERO, POSITIVE):
            bad &= self._steep(e, values, sizes, numbers.shape)
        if not bad.any():
            return None
        sample, *entry = (int(k) for k in np.argwhere(bad)[0])
        where = [f"{index} = {k}" for index, k in zip(sizes, entry, strict=True)]
        where += [f"sample {sample}"] if len(numbers) > 1 else []
        return f"{text(e)} = {numbers[(sample, *entry)]:.6g}" + (f" ({', '.join(where)})" if where else "")

    def _sizes(self, e: Any) -> dict[Any, int]:
        """The free indices of an expression, and their numbers of values."""
        sizes = {}
        for part in parts_of(e):
            for entry in [part] if isinstance(part, sp.Indexed) else part.atoms(sp.Indexed):
                for axis, index in enumerate(entry.indices):
                    if index in e.free_symbols and not index.is_Integer:
                        sizes[index] = self.formula.shapes[entry.base.label.name][axis]
        return sizes

    def _steep(self, e: Any, values: Any, sizes: dict[Any, int], shape: tuple[int, ...]) -> Any:
        """Where `e` changes with the parameters at all: a kink that is never crossed is none."""
        steep = np.zeros(shape, dtype=bool)
        for name, lengths in self.formula.parameters.items():
            indices = [sp.Symbol(f"_{k}", integer=True) for k in range(len(lengths))]
            slope = derivative(e, self.formula.array(name), *indices)
            axes = {**sizes, **dict(zip(indices, lengths, strict=True))}
            numbers = evaluate(slope, values, list(self.formula.data), axes)
            steep |= (numbers != 0).any(axis=tuple(range(len(shape), numbers.ndim)))
        return steep
