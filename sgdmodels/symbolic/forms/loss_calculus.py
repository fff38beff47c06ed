r"""Gradients, Hessians and their products of any loss, from its definition, in the form in which one would write them.

With the prediction p of a sample kept as a name the chain rule gives, for arrays of parameters :math:`\theta_A`,

.. math:: \frac{\partial l}{\partial\theta_A} = \partial_A\varphi + \varphi'\,\partial_Ap, \qquad
          D^2l[g, f] = \partial^2\varphi[g, f] + \varphi''\,Dp[g]\,Dp[f] + \varphi'\,D^2p[g, f]

and putting :math:`p = r + y` leaves the residual r instead of p. Averages over samples are taken term by term: what is
linear in :math:`r_i` and the data becomes :math:`q = \frac1n\sum_i r_ix_i`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp

from ...models.definition import Definition
from ..indices import derivative, direction, partial
from ..loss_formula import PREDICTION, LossFormula, loss_formula
from ..typeset import SAMPLE, with_sample_index
from .index_algebra import average, d, distributed, n, tidy

OTHER = sp.Symbol("m", integer=True)  # a second sample
SLOPE, SECOND_SLOPE, BEND = sp.symbols("Dp Dp_2 D2p", real=True)  # of the prediction, along two directions
Vector = dict[str, Any]  # parameter -> entry of a vector, at the first free index


@dataclass(frozen=True)
class LossCalculus:
    """Index calculus of one loss.

    definition: the loss. residual: name of the residual, and the datum it is the distance of p from; empty if there is
    no prediction. symmetric: data whose last two indices can be exchanged. named: parameters whose gradients keep a
    name of their own in what is made of them, with that name.
    """

    definition: Definition
    residual: tuple[str, str] | None = ("r", "y")
    symmetric: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()

    @cached_property
    def formula(self) -> LossFormula:
        given = self.definition
        shapes = {name: array.shape[1:] for name, array in given.data.items()}
        return loss_formula(given.loss, given.parameters, shapes, given.predictor, tuple(given.constants))

    @cached_property
    def data(self) -> tuple[str, ...]:
        """Names that get an index of samples."""
        return (*self.definition.data, *(self.residual[:1] if self.residual else ()))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Data other than what the prediction is compared with."""
        return tuple(name for name in self.definition.data if not self.residual or name != self.residual[1])

    @cached_property
    def free(self) -> tuple[Any, Any]:
        """Two indices that the definition does not sum over."""
        bound = {limit[0].name for e in (self.loss, self.predictor) for s in e.atoms(sp.Sum) for limit in s.limits}
        one, other = [letter for letter in "klm" if letter not in bound][:2]
        return sp.Symbol(one, integer=True), sp.Symbol(other, integer=True)

    @cached_property
    def loss(self) -> Any:
        return _over_features(self.formula.loss)

    @cached_property
    def predictor(self) -> Any:
        return _over_features(self.formula.predictor or sp.S.Zero)

    @cached_property
    def whole(self) -> Any:
        """The loss with the prediction put in."""
        return self.loss.xreplace({PREDICTION: self.predictor})

    def array(self, name: str) -> Any:
        return self.formula.array(name)

    def index(self, name: str, which: int) -> tuple[Any, ...]:
        """The free index of a gradient's entry; none for a scalar parameter."""
        return self.free[which : which + 1] if self.formula.parameters[name] else ()

    def place(self, name: str, which: int) -> Any:
        """A parameter's entry at a free index, or the scalar parameter."""
        index = self.index(name, which)
        return self.array(name)[index] if index else self.array(name)

    def of_sample(self, e: Any, sample: Any = SAMPLE) -> Any:
        """A formula in p and the data of one sample, in its residual and with its index."""
        if self.residual:
            e = e.xreplace({PREDICTION: self.array_or_residual(0) + self.array_or_residual(1)})
        return tidy(self._canonical(with_sample_index(e, self.data, sample)))

    def array_or_residual(self, which: int) -> Any:
        return sp.Symbol((self.residual or ("", ""))[which], real=True)

    def residual_value(self) -> Any:
        """What the residual of sample i stands for."""
        return with_sample_index(self.predictor - self.array_or_residual(1), self.data)

    def _slope(self, e: Any, name: str, index: tuple[Any, ...]) -> Any:
        """Derivative of a formula in p with respect to an entry of a parameter."""
        array = self.array(name)
        through = partial(e, PREDICTION) * derivative(self.predictor, array, *index)
        return sp.powsimp(derivative(e, array, *index) + through)

    def gradient(self, name: str) -> Any:
        """Entry of the gradient of sample i."""
        return self.of_sample(self._slope(self.loss, name, self.index(name, 0)))

    def hessian(self, name: str, other: str) -> Any:
        """Entry of the Hessian of sample i."""
        first = self._slope(self.loss, name, self.index(name, 0))
        return sp.expand_mul(self.of_sample(self._slope(first, other, self.index(other, 1))))

    @cached_property
    def gradients(self) -> Vector:
        """Of sample i, at the first free index; by name where there is one."""
        return {name: self._name(name, "{}", (SAMPLE,)) or self.gradient(name) for name in self.definition.parameters}

    @cached_property
    def mean_gradients(self) -> Vector:
        return {name: self._name(name, "{}_bar", ()) or self.mean(self.gradient(name)) for name in self.gradients}

    def _name(self, name: str, pattern: str, sample: tuple[Any, ...]) -> Any | None:
        for parameter, letter in self.named:
            if parameter == name:
                indices = (*sample, *self.index(name, 0))
                symbol = pattern.format(letter)
                return sp.IndexedBase(symbol, real=True)[indices] if indices else sp.Symbol(symbol, real=True)
        return None

    @cached_property
    def where(self) -> tuple[tuple[Any, Any], ...]:
        """What the names stand for: gradients and their means, q, the residuals; in the order of putting them in."""
        pairs = [(self.mean_gradients[name], self.mean(self.gradients[name])) for name, _ in self.named]
        pairs += [(self.gradients[name], self.gradient(name)) for name, _ in self.named]
        if self.residual:
            residual = sp.IndexedBase(self.residual[0], real=True)[SAMPLE]
            pairs += [self.moment_value(), (residual, self.residual_value())]
        return tuple(pairs)

    def square(self, vector: Vector) -> Any:
        """|vector|^2."""
        first = sp.Symbol("j", integer=True)
        total = sp.S.Zero
        for name, entry in vector.items():
            if self.index(name, 0):
                total += sp.Sum(entry.xreplace({self.free[0]: first}) ** 2, (first, 0, d - 1))
            else:
                total += entry**2
        return tidy(total)

    def covariance(self, name: str, other: str) -> Any:
        """Entry of the covariance of the samples' gradients."""
        one, two = self.free
        (g, mean), (h, mean_h) = self._spread(name), self._spread(other)
        return tidy(self.mean(g * h.xreplace({one: two})) - mean * mean_h.xreplace({one: two}))

    def _spread(self, name: str) -> tuple[Any, Any]:
        """A gradient and its mean, less what is the same for all samples; by name if that is nothing."""
        whole = sp.expand_mul(self.gradient(name))
        varying = sp.Add(*[term for term in sp.Add.make_args(whole) if term.has(SAMPLE)])
        if varying == whole:
            return self.gradients[name], self.mean_gradients[name]
        return varying, self.mean(varying)

    def slope(self, vector: Vector, sample: Any = SAMPLE) -> Any:
        """Dp[vector] of a sample."""
        return self._along(direction(self.predictor, self._pairs("g", vector)), sample, {"g": vector})

    def curvature(self, one: Vector, other: Vector, sample: Any = SAMPLE) -> Any:
        """D^2 l[one, other] of a sample."""
        first, second = self._pairs("g", one), self._pairs("f", other)
        bend = direction(direction(self.predictor, first), second)
        parts = {SLOPE: self.slope(one, sample), SECOND_SLOPE: self.slope(other, sample)}
        parts[BEND] = self._along(bend, sample, {"g": one, "f": other})
        e = direction(self.loss, [*first, (PREDICTION, SLOPE)])
        e = direction(e, [*second, (PREDICTION, SECOND_SLOPE), (SLOPE, BEND)])
        return tidy(self._along(e, sample, {"g": one, "f": other}).xreplace(parts))

    def _pairs(self, kind: str, vector: Vector) -> list[tuple[Any, Any]]:
        """Parameters with names for the entries of a vector."""
        return [(self.array(name), type(self.array(name))(f"{kind}__{name}", real=True)) for name in vector]

    def _along(self, e: Any, sample: Any, vectors: dict[str, Vector]) -> Any:
        """A formula in names for the entries of vectors as that of a sample, with the entries put in."""
        e = self.of_sample(e, sample)
        for kind, vector in vectors.items():
            for (_, named), entry in zip(self._pairs(kind, vector), vector.values(), strict=True):
                places = [x for x in e.atoms(sp.Indexed) if x.base == named] or [named]
                e = e.xreplace(
                    {x: entry.xreplace({self.free[0]: x.indices[0]}) if x != named else entry for x in places}
                )
        return tidy(self._canonical(e))

    def mean(self, e: Any, sample: Any = SAMPLE) -> Any:
        """(1/n) sum over the samples, with q for what is linear in residuals and inputs."""
        total = sp.S.Zero
        for term in sp.Add.make_args(tidy(e)):
            constant, varying = term.as_independent(sample, as_Add=False)
            pieces = distributed(varying, sample)
            named = [self._named(piece, sample) for piece in pieces]
            if all(name is None for name in named):
                total += constant * average(varying, sample)
                continue
            found = [name for name in named if name is not None]
            left = [average(piece, sample) for piece, name in zip(pieces, named, strict=True) if name is None]
            total += constant * sp.Add(*found, *left)
        return tidy(total)

    def _named(self, term: Any, sample: Any) -> Any | None:
        """(1/n) sum of a term through q, if it is a residual times something linear in the inputs."""
        if not self.residual:
            return None
        constant, varying = term.as_independent(sample, as_Add=False)
        residual = sp.IndexedBase(self.residual[0], real=True)[sample]
        linear = varying / residual
        if linear.has(residual):
            return None
        if isinstance(linear, sp.Sum):
            inner, entry = linear.function.as_independent(sample, as_Add=False)
            slope = self._first_moment(entry)
            return None if slope is None else constant * sp.Sum(inner * slope, *linear.limits)
        slope = self._first_moment(linear)
        return None if slope is None else constant * slope

    def _first_moment(self, entry: Any) -> Any | None:
        if not (isinstance(entry, sp.Indexed) and entry.base.label.name in self.inputs):
            return None
        rest = entry.indices[1:]
        return sp.IndexedBase("q", real=True)[rest] if rest else sp.Symbol("q", real=True)

    def moment_value(self) -> tuple[Any, Any]:
        """q and what it stands for."""
        x = sp.IndexedBase(self.inputs[0], real=True)
        rest = self.free[:1] if self.definition.data[self.inputs[0]].ndim > 1 else ()
        r = sp.IndexedBase((self.residual or ("",))[0], real=True)[SAMPLE]
        return self._first_moment(x[(SAMPLE, *rest)]), sp.Sum(r * x[(SAMPLE, *rest)], (SAMPLE, 0, n - 1)) / n

    def _canonical(self, e: Any) -> Any:
        """One way to write entries of symmetric data, and double sums with them."""
        if not self.symmetric:
            return e
        if isinstance(e, sp.Sum) and len(e.limits) == 2:
            (one, *_), (other, *_) = e.limits
            exchange = {one: other, other: one}
            terms = [self.ordered(t) for t in sp.Add.make_args(sp.expand(e.function))]
            chosen = [min(t, self.ordered(t.xreplace(exchange)), key=sp.default_sort_key) for t in terms]
            return sp.Sum(sp.factor_terms(sp.Add(*chosen)), *e.limits)
        if isinstance(e, sp.Sum):
            index = e.limits[0][0]
            first = sp.Symbol("j", integer=True)
            return sp.Sum(self.ordered(e.function.xreplace({index: first})), (first, *e.limits[0][1:]))
        return e.func(*map(self._canonical, e.args)) if e.args and not isinstance(e, sp.Indexed) else self.ordered(e)

    def ordered(self, e: Any) -> Any:
        """Entries of symmetric data with their last two indices in order."""
        entries = [x for x in e.atoms(sp.Indexed) if x.base.label.name in self.symmetric]
        return e.xreplace({x: x.base[(*x.indices[:-2], *sorted(x.indices[-2:], key=str))] for x in entries})


def _over_features(e: Any) -> Any:
    """All sums of the small losses run over the features."""
    ends = {s for s in e.free_symbols if s.name.startswith("n_")}
    return e.xreplace(dict.fromkeys(ends, d))
