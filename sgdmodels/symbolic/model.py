r"""A loss that a user writes as a formula: derived by computer algebra, compiled like a built-in one.

Scalar derivatives are taken once, whatever the dimension, and put into loops: a prediction linear in the data becomes a
member of the family `models.linear_predictor`, every other loss one of `models.sample_by_sample`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from ..arguments import FloatArray, aligned, float_array, integer, real
from ..errors import InvalidArgument
from ..kernels.signatures import WORK_ROWS
from ..models.base import LossKernels, Model
from ..models.definition import Definition
from ..models.linear_kernels import family_kernels
from ..models.point_loss import SQUARED_ERROR, PointLoss
from ..models.sample_by_sample import sample_kernels
from .broadcast import evaluate
from .generated import module, module_source
from .grammar import FormulaError, parse, total
from .indices import derivative
from .layout import Layout
from .linear_code import LinearCode, linear_form
from .loss_formula import LossFormula, loss_formula
from .regularity import Regularity
from .sample_code import SampleCode
from .typeset import text

SQUARED = "(p - y)**2/2"
LARGEST_RANK = 4


class SymbolicModel(Model):
    r"""A loss L(theta) = (1/n) sum_i l_i(theta) from the formula of l_i, in sympy or as text.

    loss: l_i in the names of parameters, data and constants, and in p if there is a `predictor`; default
    :math:`\tfrac12(p - y)^2`. parameters: name -> shape, () for a number, in the order of theta. data: name -> array,
    samples first; the formula writes x[j] for x[i, j]. constants: name -> value. Text is in the grammar of
    `sgdmodels.symbolic.parse`; in sympy, arrays are IndexedBases and sums run over all values of an index.

    `formula` holds the expressions, `kernel_source` the generated code, `not_smooth` where derivatives do not exist.
    Raises FormulaError if the formula cannot be used, InvalidArgument if the data do not fit.

    >>> import numpy as np
    >>> net = SymbolicModel(
    ...     predictor="sum(a[k] * tanh(sum(w[k, j] * x[j], j)), k)",
    ...     parameters={"a": 2, "w": (2, 3)}, data={"x": [[1.0, 0.0, 2.0]], "y": [1.0]},
    ... )
    >>> net.dim, net.loss(np.zeros(8))
    (8, 0.5)
    """

    def __init__(
        self,
        loss: Any = SQUARED,
        *,
        parameters: Mapping[str, int | Sequence[int]] | Sequence[tuple[str, int | Sequence[int]]],
        data: Mapping[str, ArrayLike] | Sequence[tuple[str, ArrayLike]] | None = None,
        predictor: Any = None,
        constants: Mapping[str, float] | Sequence[tuple[str, float]] | None = None,
    ) -> None:
        shapes = {name: _shape(name, shape) for name, shape in _named("parameters", parameters).items()}
        arrays = _arrays(_named("data", data or {}))
        given = _named("constants", constants or {})
        values = {name: real(name, value, low=-np.finfo(float).max) for name, value in given.items()}
        rows = {name: array.shape[1:] for name, array in arrays.items()}
        self.formula: LossFormula = loss_formula(_exact(loss), shapes, rows, _exact(predictor), values)
        if not shapes:
            raise FormulaError("parameters must name at least one parameter, got none")
        self.samples = len(next(iter(arrays.values()))) if arrays else 1
        self.dim = sum(prod(shape) for shape in shapes.values())
        self._known: dict[str, FloatArray] = {**arrays, **{name: np.array(value) for name, value in values.items()}}
        self._regularity = Regularity(self.formula, self._known, values)
        self._regularity.check_data()
        layout = Layout(self.formula)
        form = linear_form(layout)
        self._code = SampleCode(layout) if form is None else LinearCode(layout, form)
        self.squared_error = isinstance(self._code, LinearCode) and self._code.is_squared_error
        inputs, targets = layout.pack(arrays, self.samples)
        keep = self.squared_error and inputs.shape[1] <= 2 * self.samples
        moment = inputs.T @ inputs / self.samples if keep else np.zeros((0, 0))
        self._store(inputs, targets, layout.constants(values), moment)
        title = f"l = {text(self.formula.loss)}"
        if self.formula.predictor is not None:
            title += f", p = {text(self.formula.predictor)}"
        self.kernel_source = module_source(title, self._code.functions())
        self._compiled = _kernels(self.kernel_source, isinstance(self._code, LinearCode))
        digest = hashlib.sha256(self.kernel_source.encode()).hexdigest()[:16]
        self.settings = {"formula": title, "kernel_sha256": digest, **values}

    @classmethod
    def separable(
        cls, psi: Any, weights: Sequence[Any], inputs: ArrayLike, targets: ArrayLike, *, feature: Any = "x",
        loss: Any = SQUARED, constants: Mapping[str, float] | None = None,
    ) -> SymbolicModel:  # fmt: skip
        """The predictor p = sum_j psi(w_j, x_j) for a scalar function psi of one or more weights per coordinate.

        >>> import sympy as sp
        >>> u, v, x = sp.symbols("u v x")
        >>> SymbolicModel.separable(u * v * x, (u, v), [[1.0, 2.0]], [3.0]).gradient([1.0, 1.0, 1.0, 2.0]).tolist()
        [2.0, 8.0, 2.0, 4.0]
        """
        array = float_array("inputs", inputs, ("samples", "features"))
        names = [str(w) for w in weights]
        if len({*names, str(feature)}) < len(names) + 1:
            raise FormulaError(f"weights and feature need different names, got {', '.join([*names, str(feature)])}")
        if "y" in (*names, str(feature)):
            raise FormulaError("y is the target; give the weight or feature of this name another one")
        letters = (f"{name}{number}" for number in ("", *range(1, 1000)) for name in "jklm")
        letter = next(name for name in letters if name not in (*names, str(feature), *(constants or ())))
        index = sp.Symbol(letter, integer=True)
        scalar = parse(psi) if isinstance(psi, str) else sp.sympify(psi) if isinstance(psi, sp.Expr) else None
        if scalar is None:
            raise FormulaError(f"psi must be a sympy expression or text, got {psi!r}")
        entries = {s: sp.IndexedBase(s.name)[index] for s in scalar.free_symbols if s.name in (*names, str(feature))}
        shapes: dict[str, int | Sequence[int]] = dict.fromkeys(names, int(array.shape[1]))
        return cls(
            loss,
            predictor=total(scalar.xreplace(entries), index),
            parameters=shapes,
            data={str(feature): array, "y": float_array("targets", targets, (len(array),))},
            constants=constants,
        )

    @property
    def kernels(self) -> LossKernels:
        return self._compiled

    @property
    def definition(self) -> Definition:
        formula = self.formula
        return Definition(
            loss=text(formula.loss),
            predictor=None if formula.predictor is None else text(formula.predictor),
            parameters=dict(formula.parameters),
            data={name: self._known[name] for name in formula.data},
            constants={name: float(self._known[name]) for name in formula.constants},
        )

    def arguments(self) -> dict[str, Any]:
        """The formula as text, and pairs in place of mappings: their order is that of theta and of the data."""
        known = self.definition
        pairs = {name: [*map(list, getattr(known, name).items())] for name in ("parameters", "data", "constants")}
        return {"loss": known.loss, "predictor": known.predictor, **pairs}

    @property
    def not_smooth(self) -> tuple[str, ...]:
        """Where the loss has no value, no gradient or no Hessian, in words; () if it is smooth everywhere."""
        return tuple(str(condition) for condition in self._regularity.conditions)

    def check_point(self, theta: ArrayLike, derivatives: int = 2) -> None:
        """Raise InvalidArgument if a sample's loss has no value, or fewer than so many derivatives, at theta."""
        self._regularity.check(self._parts(self.check_parameters("theta", theta)), derivatives)

    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        self.check_point(theta, 0)
        losses = evaluate(self.formula.whole, self._at(theta), list(self.formula.data))
        return np.array(np.broadcast_to(losses, (self.samples,)))

    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        self.check_point(theta, 1)
        return np.concatenate([self._derivative(theta, name) for name in self.formula.parameters], axis=1)

    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        self.check_point(theta, 2)
        names = list(self.formula.parameters)
        return np.block([[self._derivative(theta, a, b) for b in names] for a in names])

    def weighted_gradient(self, theta: ArrayLike, index: ArrayLike, weight: ArrayLike) -> FloatArray:
        self.check_point(theta, 1)
        return super().weighted_gradient(theta, index, weight)

    def hessian(self, theta: ArrayLike) -> FloatArray:
        self.check_point(theta, 2)
        return super().hessian(theta)

    def hvp(self, theta: ArrayLike, vector: ArrayLike) -> FloatArray:
        self.check_point(theta, 2)
        return super().hvp(theta, vector)

    def derivative(self, *names: str) -> Any:
        """The derivative of l_i in one or two parameters as a formula, their indices named k, l, ... and m, n, ....

        >>> SymbolicModel("(a*b - 1)**2/2", parameters={"a": (), "b": ()}).derivative("a")
        b*(a*b - 1)
        """
        for name in names:
            if name not in self.formula.parameters:
                raise InvalidArgument(f"{name!r} is not a parameter; there are {', '.join(self.formula.parameters)}")
        return _formula(self.formula, tuple(names))[0]

    def workspace(self) -> FloatArray:
        needed = self._code.scratch(self.formula.shapes) if isinstance(self._code, SampleCode) else 0
        longest = max(self.dim, self.data[0].shape[1], needed)
        return aligned((WORK_ROWS, (longest + 7) // 8 * 8))

    def _derivative(self, theta: ArrayLike, *names: str) -> FloatArray:
        """The derivative for every sample, each parameter's axes made one."""
        formula, sizes = _formula(self.formula, names)
        values = evaluate(formula, self._at(theta), list(self.formula.data), sizes)
        lengths = [prod(self.formula.parameters[name]) for name in names]
        return np.array(np.broadcast_to(values.reshape(-1, *lengths), (self.samples, *lengths)))

    def _at(self, theta: ArrayLike) -> dict[str, FloatArray]:
        """Every array by name."""
        return {**self._known, **self._parts(self.check_parameters("theta", theta))}

    def _parts(self, point: FloatArray) -> dict[str, FloatArray]:
        """The parameters by name."""
        named, start = {}, 0
        for name, shape in self.formula.parameters.items():
            named[name] = point[start : start + prod(shape)].reshape(shape)
            start += prod(shape)
        return named


@functools.lru_cache(maxsize=1024)
def _derived(whole: Any, arrays: tuple[tuple[Any, int], ...], letters: tuple[Any, ...]) -> Any:
    """The derivative of `whole` in arrays with so many indices each, the indices taken from `letters`."""
    left = list(letters)
    for array, rank in arrays:
        indices, left = left[:rank], left[rank:]
        whole = derivative(whole, array, *indices)
    return whole


def _formula(formula: LossFormula, names: Sequence[str]) -> tuple[Any, dict[Any, int]]:
    """The derivative in the named parameters, and the sizes of its free indices."""
    taken = {*formula.shapes, *(limit[0].name for s in formula.whole.atoms(sp.Sum) for limit in s.limits)}
    letters = (
        letter for k in range(100) for base in "klmnrst" if (letter := base + (str(k) if k else "")) not in taken
    )
    lengths = [size for name in names for size in formula.parameters[name]]
    indices = [sp.Symbol(next(letters), integer=True) for _ in lengths]
    arrays = tuple((formula.array(name), len(formula.parameters[name])) for name in names)
    return _derived(formula.whole, arrays, tuple(indices)), dict(zip(indices, lengths, strict=True))


@functools.cache
def _kernels(source: str, linear: bool) -> LossKernels:
    """The device functions of a generated module, put into the templates of their family."""
    functions = {name: f for name, f in vars(module(source)).items() if hasattr(f, "py_func")}
    if not linear:
        return sample_kernels(**functions)
    point = SQUARED_ERROR
    if "slope" in functions:
        point = PointLoss(*(functions.pop(name) for name in ("point_loss", "slope", "bend")))
    return family_kernels(**functions, point_loss=point)


def _exact(given: Any) -> Any:
    """A sympy expression with its decimals as fractions, as text is read: 15 shown digits would not be the formula."""
    decimals = given.atoms(sp.Float) if isinstance(given, sp.Basic) else ()
    return given.xreplace({f: sp.Rational(repr(float(f))) for f in decimals if f.is_finite}) if decimals else given


def _named(argument: str, given: Any) -> dict[str, Any]:
    """A mapping by names, which may be given as sympy symbols, or as a list of pairs."""
    names = str | sp.Symbol | sp.IndexedBase
    if isinstance(given, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in given):
        distinct = all(isinstance(p[0], names) for p in given) and len({str(p[0]) for p in given}) == len(given)
        given = dict(given) if distinct else given
    if not isinstance(given, Mapping) or not all(isinstance(k, names) for k in given):
        raise InvalidArgument(f"{argument} must map names to values, such as {{'u': ...}}, got {given!r:.200}")
    return {str(name): value for name, value in given.items()}


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    """A parameter's shape as a tuple of positive sizes."""
    sizes = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    if len(sizes) > LARGEST_RANK:
        raise InvalidArgument(f"{name} has {len(sizes)} dimensions; at most {LARGEST_RANK} are possible")
    return tuple(integer(f"the shape of {name}", size, 1) for size in sizes)


def _arrays(data: Mapping[str, ArrayLike]) -> dict[str, FloatArray]:
    """Checked data: at least one sample, as many in every array."""
    arrays: dict[str, FloatArray] = {}
    for name, given in data.items():
        try:
            rank = np.ndim(given)
        except ValueError:  # ragged: float_array says so
            rank = 1
        if rank > LARGEST_RANK:
            raise InvalidArgument(f"{name} has {rank} dimensions; at most {LARGEST_RANK} are possible, samples first")
        arrays[name] = float_array(name, given, ("samples", "j", "k", "l")[: max(1, rank)])
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise InvalidArgument(f"all data must have the same number of samples as their first axis, got {counts}")
    return arrays
