"""A loss of one sample in index notation, checked: names are declared, indices summed over, sums in range."""

from __future__ import annotations

import difflib
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from .functions import logcosh, maximum, minimum, recognised, sigmoid, softplus
from .grammar import FUNCTIONS, FormulaError, parse, total

PREDICTION = sp.Symbol("p", real=True)
SMOOTH = (
    sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.atan, sp.sinh, sp.cosh, sp.tanh, sp.asinh, sp.erf,
    sigmoid, softplus, logcosh,
)  # fmt: skip
ALGEBRA = (
    sp.Add, sp.Mul, sp.Pow, sp.Sum, sp.Indexed, sp.IndexedBase, sp.Symbol, sp.Idx, sp.Tuple,
    sp.Piecewise, sp.core.relational.Relational, sp.Number, sp.NumberSymbol,
)  # fmt: skip
_PAIR = sp.functions.elementary.piecewise.ExprCondPair
LARGEST_NUMBER = 1e300
KINKED = (sp.Abs, sp.sign, maximum, minimum, sp.Heaviside)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class LossFormula:
    """l(theta) of one sample: `loss` in terms of parameters, data and constants, and of p if there is a `predictor`.

    parameters and data: name -> shape; data of one sample, without the axis of samples. Made by `loss_formula`.
    """

    loss: Any
    predictor: Any | None
    parameters: Mapping[str, Shape]
    data: Mapping[str, Shape]
    constants: tuple[str, ...]

    @property
    def whole(self) -> Any:
        """The loss with the predictor put in."""
        return self.loss if self.predictor is None else self.loss.subs(PREDICTION, self.predictor)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Every array and scalar by name."""
        return {**self.parameters, **self.data, **dict.fromkeys(self.constants, ())}

    def array(self, name: str) -> Any:
        """The symbol (scalar) or IndexedBase (array) of a name."""
        return sp.IndexedBase(name, real=True) if self.shapes[name] else sp.Symbol(name, real=True)


def loss_formula(
    loss: Any, parameters: Mapping[str, Shape], data: Mapping[str, Shape], predictor: Any, constants: Iterable[str]
) -> LossFormula:
    """The checked formula of a loss; `loss` and `predictor` are sympy expressions or text in the grammar of `parse`.

    Raises FormulaError naming the part that cannot be used.

    >>> f = loss_formula("(p - y)**2/2", {"u": (3,), "v": ()}, {"x": (3,), "y": ()}, "v * sum(u[j]*x[j], j)", ())
    >>> f.whole
    (v*Sum(u[j]*x[j], (j, 0, n_j - 1)) - y)**2/2
    """
    names = [*parameters, *data, *constants]
    for name in names:
        _check_name(name)
        if name in (*FUNCTIONS, "sum", "where", "pi"):
            raise FormulaError(f"{name} has a meaning of its own in formulas; choose another name")
        if names.count(name) > 1:
            raise FormulaError(f"{name} is declared twice; parameters, data and constants need different names")
    if predictor is not None and "p" in names:
        raise FormulaError("p is the prediction; give the parameter, data or constant of this name another one")
    read = _canonical(loss, "loss")
    read_predictor = None if predictor is None else _canonical(predictor, "predictor")
    formula = LossFormula(read, read_predictor, dict(parameters), dict(data), tuple(constants))
    lengths: dict[Any, int] = {}
    for part, expression in (("loss", read), ("predictor", read_predictor)):
        if expression is not None:
            _check_scope(part, expression, formula, {}, lengths)
    if read_predictor is not None and not read.has(PREDICTION):
        raise FormulaError(f"the loss {read} does not contain p, the prediction; write it in p, or drop the predictor")
    whole = _all_values(read_predictor) if read_predictor is not None else None
    return replace(formula, loss=_all_values(read), predictor=whole)


def _all_values(e: Any) -> Any:
    """Sums without numbers in their ranges, which have been checked by now."""
    return e.replace(sp.Sum, lambda f, *limits: total(f, *[limit[0] for limit in limits]))


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not (name.isidentifier() and name.isascii()) or name.startswith("_"):
        raise FormulaError(f"names must be ASCII letters, digits and underscores, a letter first, got {name!r}")
    if keyword.iskeyword(name):
        raise FormulaError(f"{name} is a word of Python; give it another name")


def _canonical(given: Any, part: str) -> Any:
    """Real symbols, integer indices, sums from 0: two ways to write the same formula become equal."""
    if isinstance(given, str):
        return recognised(parse(given))
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = sp.Rational(repr(given)) if given == given and abs(given) < LARGEST_NUMBER else sp.nan
    if not isinstance(given, sp.Expr):
        raise FormulaError(f"the {part} must be a sympy expression or text, got {given!r}")
    _check_nodes(part, given)
    from_one = any(limit[1:2] == (1,) for s in given.atoms(sp.Sum) for limit in s.limits)
    numbered = next((e for e in given.atoms(sp.Indexed) if any(i.is_Integer for i in e.indices)), None)
    if from_one and numbered is not None:
        raise FormulaError(f"{numbered} counts from 0, so let the sums start at 0, too: (j, 0, d - 1)")
    return recognised(_renamed(given))


def _check_nodes(part: str, e: Any) -> None:
    """Every piece of the expression is of a kind that can be compiled."""
    for node in sp.preorder_traversal(e):
        known = isinstance(node, (*ALGEBRA, *SMOOTH, *KINKED, sp.Max, sp.Min, _PAIR)) or node in (sp.true, sp.false)
        size = abs(node) if node.is_Number else 0
        if not known or node.has(sp.I, sp.oo, sp.zoo, sp.nan) or size > LARGEST_NUMBER:
            names = ", ".join(sorted(f.__name__.lower() for f in (*SMOOTH, *KINKED)))
            raise FormulaError(
                f"the {part} has {node}, which cannot be compiled; a formula is made of + - * / **, {names}, "
                "Piecewise, and sums of entries of IndexedBase arrays"
            )


def _renamed(e: Any) -> Any:
    if isinstance(e, sp.Sum):
        return sp.Sum(_renamed(e.function), *[_range(e, limit) for limit in e.limits])
    if isinstance(e, sp.Indexed):
        return sp.IndexedBase(e.base.label.name, real=True)[tuple(_index(i, e) for i in e.indices)]
    if isinstance(e, sp.Symbol):
        if any((e.is_positive, e.is_negative, e.is_nonnegative, e.is_nonpositive)):
            raise FormulaError(f"{e} has a sign in sympy that nothing enforces; declare it without, or as real=True")
        return sp.Symbol(e.name, real=True)
    kind = {sp.Max: maximum, sp.Min: minimum}.get(e.func, e.func)
    return kind(*map(_renamed, e.args)) if e.args else e


def _index(i: Any, entry: Any) -> Any:
    if isinstance(i, sp.Symbol | sp.Idx):
        _check_name(str(i))
        return sp.Symbol(str(i), integer=True)
    if isinstance(i, sp.Integer) and i >= 0:
        return i
    raise FormulaError(f"cannot read {entry}: an index is a name such as j, or a number from 0, not {i}")


def _range(e: Any, limit: Any) -> tuple[Any, Any, Any]:
    """Sums run over all values, from 0 to d - 1 or from 1 to d; d is a number or a symbol, and checked later."""
    count = limit[2] - limit[1] + 1 if len(limit) == 3 else None
    indices = {index for s in e.atoms(sp.Sum) for index, *_ in s.limits}
    if count is None or limit[1] not in (0, 1) or not (count.is_Integer or count.is_Symbol) or count in indices:
        raise FormulaError(f"cannot read {e}: a sum runs over all values of its index; write ({limit[0]}, 1, d)")
    return _index(limit[0], e), 0, count - 1


Sizes = dict[Any, int | None]


def _check_scope(part: str, e: Any, formula: LossFormula, sizes: Sizes, lengths: dict[Any, int]) -> None:
    """Names, numbers of indices, ranges.

    sizes: the indices that are summed over here, with their number of values once an array has told it. lengths: what
    the symbols in the ranges of sums stand for.
    """
    if isinstance(e, sp.Sum):
        own = [limit[0] for limit in e.limits]
        for index in own:
            if index.name in formula.shapes:
                raise FormulaError(f"{index} is an index in {e} and a name in parameters, data or constants")
            if index in sizes or own.count(index) > 1:
                raise FormulaError(f"the {part} sums over {index} within a sum over {index}: rename one of them")
        inner = {**sizes, **dict.fromkeys(own)}
        _check_scope(part, e.function, formula, inner, lengths)
        for index, _, last in e.limits:
            size = inner[index]
            if size is None:
                raise FormulaError(f"cannot tell the range of {index} in {e}: no array in it has this index")
            count = last + 1
            wanted = size
            if count.is_Integer:
                wanted = int(count)
            elif count.name != f"n_{index}":  # which stands for all values, however many
                wanted = lengths.setdefault(count, size)
            if wanted != size:
                raise FormulaError(f"{e} has {count} = {wanted} terms, but {index} has {size} values")
        sizes.update({index: inner[index] for index in sizes})
        return
    if isinstance(e, sp.Indexed):
        _check_entry(part, e, formula, sizes)
        return
    if isinstance(e, sp.Symbol):
        if e == PREDICTION and part == "loss" and formula.predictor is not None:
            return
        _check_declared(part, e.name, formula)
        if formula.shapes[e.name]:
            shape = formula.shapes[e.name]
            raise FormulaError(f"{e.name} is an array of shape {shape}: write {e.name}[j] in the {part}")
    for argument in e.args:
        _check_scope(part, argument, formula, sizes, lengths)


def _check_entry(part: str, e: Any, formula: LossFormula, sizes: Sizes) -> None:
    name = e.base.label.name
    _check_declared(part, name, formula)
    shape = formula.shapes[name]
    if len(shape) != len(e.indices):
        raise FormulaError(f"{e} has {len(e.indices)} indices, but {name} has shape {shape}")
    for axis, (index, size) in enumerate(zip(e.indices, shape, strict=True)):
        if isinstance(index, sp.Integer):
            if index >= size:
                raise FormulaError(f"{e} is out of range: axis {axis} of {name} has {size} entries, from 0")
            continue
        if index not in sizes:
            raise FormulaError(f"{index} in {e} is not summed over; write sum(..., {index})")
        if sizes[index] not in (None, size):
            raise FormulaError(f"{index} runs over {sizes[index]} values, but axis {axis} of {name} has {size} in {e}")
        sizes[index] = size


def _check_declared(part: str, name: str, formula: LossFormula) -> None:
    if name in formula.shapes:
        return
    close = difflib.get_close_matches(name, formula.shapes, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if name == "p":
        hint = "; p is the prediction: give a predictor"
    raise FormulaError(
        f"the {part} has {name}, which is not declared (declared: {', '.join(formula.shapes)}){hint or ''}; "
        "name it in parameters, data or constants"
    )
