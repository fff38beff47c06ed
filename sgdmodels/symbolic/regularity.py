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
from .smoothness import KINK, NONNEGATIVE, POSITIVE, Condition, conditions
from .typeset import text

WORDS = {-1: "has no value", 0: "has no gradient", 1: "has no Hessian"}
COMPARE = {sp.Gt: np.greater, sp.Ge: np.greater_equal, sp.Lt: np.less, sp.Le: np.less_equal}


class Regularity:
    """The conditions of a formula, and the data they are asked of; constants are put in as numbers."""

    def __init__(self, formula: LossFormula, known: Mapping[str, FloatArray], constants: Mapping[str, float]) -> None:
        self.formula, self.known = formula, known
        numbers = {sp.Symbol(name, real=True): sp.Rational(repr(value)) for name, value in constants.items()}
        self.conditions = conditions(formula.whole.xreplace(numbers))
        self._movable = {c: self._moves(c.expression) for c in self.conditions}

    def check_data(self) -> None:
        """Raise FormulaError where data or constants alone make the formula undefined, whatever the parameters."""
        for condition in self.conditions:
            # A kink in the data is a constant in the parameters; a guard may depend on them.
            if self._movable[condition] or condition.derivatives >= 0 or condition.kind == KINK:
                continue
            if not any(self._moves(guard) for guard, _ in condition.guards):
                found = self._violation(condition, {}, 0)
                if found is not None:
                    part = text(condition.part)
                    raise FormulaError(f"{part} has no value for the data: {found}; remove such entries")

    def check(self, parameters: Mapping[str, FloatArray], derivatives: int) -> None:
        """Raise InvalidArgument if the loss lacks one of so many derivatives for a sample."""
        for condition in self.conditions:
            if self._movable[condition] and condition.derivatives < derivatives:
                found = self._violation(condition, parameters, derivatives)
                if found is not None:
                    lacks = f"the loss {WORDS[condition.derivatives]} at these parameters"
                    raise InvalidArgument(f"{lacks}: {text(condition.part)} where {found}; move theta off this point")

    def _moves(self, e: Any) -> bool:
        names = {a.base.label.name for a in e.atoms(sp.Indexed)} | {s.name for s in e.free_symbols}
        return bool(names & set(self.formula.parameters))

    def _violation(self, condition: Condition, parameters: Mapping[str, FloatArray], derivatives: int) -> str | None:
        """The first sample and entry at which the condition does not hold, in words."""
        e, values = condition.expression, {**self.known, **parameters}
        sizes = self._sizes([e, *(guard for guard, _ in condition.guards)])
        numbers = self._evaluate(e, values, sizes)
        bad = {POSITIVE: ~(numbers > 0), NONNEGATIVE: ~(numbers >= 0)}.get(condition.kind, numbers == 0)
        for guard, holds in condition.guards:
            left, right = (self._evaluate(side, values, sizes) for side in guard.args)
            bad = bad & (COMPARE[guard.func](left, right) == holds)
        if condition.kind == KINK and bad.any():
            # Where z does not change at all there is no kink; nor, for the gradient, where it has no slope.
            smooth_to = condition.derivatives + 1
            bad = bad & self._steep(e, values, sizes, numbers.shape, 2 if derivatives > smooth_to else 1)
        if not bad.any():
            return None
        sample, *entry = (int(k) for k in np.argwhere(bad)[0])
        where = [f"{index} = {k}" for index, k in zip(sizes, entry, strict=True)]
        where += [f"sample {sample}"] if len(bad) > 1 else []
        shown = np.broadcast_to(numbers, bad.shape)[(sample, *entry)]
        return f"{text(e)} = {shown:.6g}" + (f" ({', '.join(where)})" if where else "")

    def _evaluate(self, e: Any, values: Mapping[str, FloatArray], sizes: Mapping[Any, int]) -> FloatArray:
        return evaluate(e, values, list(self.formula.data), sizes)

    def _sizes(self, expressions: list[Any]) -> dict[Any, int]:
        """The free indices of expressions, and their numbers of values."""
        sizes = {}
        for e in expressions:
            for part in parts_of(e):
                for entry in [part] if isinstance(part, sp.Indexed) else part.atoms(sp.Indexed):
                    for axis, index in enumerate(entry.indices):
                        if index in part.free_symbols and not index.is_Integer:
                            sizes[index] = self.formula.shapes[entry.base.label.name][axis]
        return sizes

    def _steep(self, e: Any, values: Any, sizes: dict[Any, int], shape: tuple[int, ...], orders: int) -> Any:
        """Where `e` changes with the parameters, to first order, or also to second."""
        steep = np.zeros(shape, dtype=bool)
        slopes = [(e, sizes)]
        for order in range(orders):
            following = []
            for slope, axes in slopes:
                for name, lengths in self.formula.parameters.items():
                    indices = [sp.Symbol(f"_{order}_{k}", integer=True) for k in range(len(lengths))]
                    further = derivative(slope, self.formula.array(name), *indices)
                    if further != 0:
                        following.append((further, {**axes, **dict(zip(indices, lengths, strict=True))}))
            for slope, axes in following:
                numbers = self._evaluate(slope, values, axes)
                steep |= (numbers != 0).any(axis=tuple(range(len(shape), numbers.ndim)))
            slopes = following
        return steep
