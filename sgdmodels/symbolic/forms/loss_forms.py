"""Closed forms of a loss: gradients, Hessians, gradient noise, and the expectations that Batch Sharpness is made of.

All are derived from the definition by `LossCalculus`, and proven by differentiating the losses of two samples with two
features each, entry by entry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from ...models.base import Model
from ..closed_form import ClosedForm, Formula, proven
from ..typeset import SAMPLE, latex
from .batch_averages import S1, S2, T1, T2, T3, T4, c2, c3
from .enumerated_batches import batch_means
from .index_algebra import d, n
from .loss_calculus import OTHER, LossCalculus
from .loss_proof import SmallLoss
from .loss_quantities import (
    BATCH,
    SAMPLE_MOMENTS,
    Instance,
    defined,
    moments_of,
    prove_batches,
    replacement,
    sampling_coefficients,
)  # fmt: skip
from .sampling_moments import b

DRAWN = "batches of b samples, drawn with or without replacement"


@dataclass(frozen=True)
class LossForms:
    """The closed forms of one loss.

    prefix: of the names. words: the loss in words. draw: a random instance with few samples. arrays: the parameters
    whose entries are shown; those of the others follow by renaming. source: of the model. collinear: whether the
    gradients of all samples are multiples of one vector.
    """

    prefix: str
    words: str
    calculus: LossCalculus
    draw: Callable[[np.random.Generator], Instance]
    arrays: tuple[str, ...]
    source: str = ""
    assumptions: tuple[str, ...] = ()
    collinear: bool = False

    def forms(self) -> dict[str, Callable[[], ClosedForm]]:
        """Every form by name, none of them derived yet."""
        makers: dict[str, Callable[[str], ClosedForm]] = {}
        pairs = [(one, other) for k, one in enumerate(self.arrays) for other in self.arrays[k:]]
        makers |= {f"gradient_{name}": functools.partial(self.gradient, name) for name in self.arrays}
        makers |= {f"hessian_{one}_{two}": functools.partial(self.hessian, one, two) for one, two in pairs}
        makers |= {f"noise_{one}_{two}": functools.partial(self.noise, one, two) for one, two in pairs}
        makers |= {kind: functools.partial(self.moment, kind) for kind in SAMPLE_MOMENTS}
        makers |= {kind: functools.partial(self.batch, kind) for kind in BATCH}
        names = {f"{self.prefix}_{ending}": maker for ending, maker in makers.items()}
        return {name: functools.partial(maker, name) for name, maker in names.items()}

    @cached_property
    def small(self) -> SmallLoss:
        return SmallLoss(self.calculus)

    @cached_property
    def moments(self) -> dict[Any, Any]:
        """What the six are averages of, for sample i; S2 and T4 are the same for all samples."""
        calculus, g, mean = self.calculus, self.calculus.gradients, self.calculus.mean_gradients
        return {
            S1: calculus.square(g),
            S2: calculus.square(mean),
            T1: calculus.curvature(g, g),
            T2: calculus.curvature(mean, g),
            T3: calculus.mean(calculus.curvature(g, g, OTHER), OTHER),
            T4: calculus.mean(calculus.curvature(mean, mean)),
        }

    @cached_property
    def averages(self) -> dict[Any, Any]:
        """S1, S2, T1, ..., T4."""
        return {s: e if s in (S2, T4) else self.calculus.mean(e) for s, e in self.moments.items()}

    def gradient(self, array: str, name: str) -> ClosedForm:
        expression = self.calculus.gradient(array)
        proven(*self.small.gradient(expression, array))
        place = self.calculus.place(array, 0)

        def truth(drawn: Instance) -> Any:
            return _block(drawn.model, drawn.model.sample_gradients(drawn.theta), array)

        return self._entry(
            name, expression, (SAMPLE, *self.calculus.index(array, 0)), truth,
            title=f"Gradient of {self.words}, {array}",
            statement="An entry of the gradient of one sample.",
            quantity=f"dl_i/d{place}",
            quantity_latex=rf"\frac{{\partial l_i}}{{\partial {latex(place)}}}",
            route="per-sample gradients of the model",
        )  # fmt: skip

    def hessian(self, array: str, other: str, name: str) -> ClosedForm:
        expression = self.calculus.hessian(array, other)
        proven(*self.small.hessian(expression, array, other))
        one, two = self.calculus.place(array, 0), self.calculus.place(other, 1)

        def truth(drawn: Instance) -> Any:
            return _block(drawn.model, drawn.model.sample_hessians(drawn.theta), array, other)

        indices = (SAMPLE, *self.calculus.index(array, 0), *self.calculus.index(other, 1))
        return self._entry(
            name, expression, indices, truth,
            title=f"Hessian of {self.words}, {array} and {other}",
            statement="An entry of the Hessian of one sample.",
            quantity=f"d2l_i/d{one}d{two}",
            quantity_latex=rf"\frac{{\partial^2 l_i}}{{\partial {latex(one)}\,\partial {latex(two)}}}",
            route="per-sample Hessians of the model",
        )  # fmt: skip

    def noise(self, array: str, other: str, name: str) -> ClosedForm:
        expression = c2 * self.calculus.covariance(array, other)
        derived, shown = self.small.covariance(expression / c2, array, other)
        proven(derived, shown)
        one, two = self.calculus.place(array, 0), self.calculus.place(other, 1)

        def truth(drawn: Instance) -> Any:
            means, p = batch_means(drawn.model.sample_gradients(drawn.theta), drawn.values["b"], drawn.scheme)
            centred = means - p @ means
            return _block(drawn.model, np.einsum("k,ki,kj->ij", p, centred, centred)[None], array, other)[0]

        indices = (*self.calculus.index(array, 0), *self.calculus.index(other, 1))
        return self._entry(
            name, expression, indices, truth, ((c2, sampling_coefficients()[c2]),), (DRAWN,), batches=True,
            title=f"Gradient noise of {self.words}, {array} and {other}",
            statement="An entry of the covariance of the batch gradient.",
            quantity=f"Cov(dL_B/d{one}, dL_B/d{two})",
            quantity_latex=rf"\operatorname{{Cov}}\left(\frac{{\partial L_B}}{{\partial {latex(one)}}}, "
            rf"\frac{{\partial L_B}}{{\partial {latex(two)}}}\right)",
            route="covariance over all batches, for every batch size",
        )  # fmt: skip

    def moment(self, kind: str, name: str) -> ClosedForm:
        symbol, quantity, quantity_latex, title = SAMPLE_MOMENTS[kind]
        expression = self.moments[symbol]
        proven(*self.small.moment(expression, kind))

        def truth(drawn: Instance) -> Any:
            values = moments_of(drawn)[symbol]
            return values if of_sample else values.mean()

        of_sample = symbol not in (S2, T4)
        return self._entry(
            name, expression, (SAMPLE,) if of_sample else (), truth,
            title=f"{title}, {self.words}",
            statement=f"{'Its average over the samples' if of_sample else 'It'} is {symbol} of the forms for batches.",
            quantity=quantity,
            quantity_latex=quantity_latex,
            route="per-sample gradients and Hessians of the model",
        )  # fmt: skip

    def batch(self, kind: str, name: str) -> ClosedForm:
        """Whatever the loss, proven from how often samples enter a batch; only the averages are those of the loss."""
        prove_batches()
        known = BATCH[kind]
        expression, statement, assumptions = known.expression, known.statement, (DRAWN, *known.assumptions)
        if kind == "ias" and self.collinear:
            one, other = self.small.gradients
            proven(one * other.T, other * one.T)
            expression, assumptions = T4 / S2, (DRAWN, *BATCH["gni"].assumptions)
            statement = "The gradients of all samples are collinear, so that it is the same for all batches."
        if expression.has(c3):
            assumptions += ("n >= 3",)

        def truth(drawn: Instance) -> Any:
            g, h = drawn.model.sample_gradients(drawn.theta), drawn.model.sample_hessians(drawn.theta)
            means, p = batch_means(g, drawn.values["b"], drawn.scheme)
            curved, _ = batch_means(h, drawn.values["b"], drawn.scheme)
            square = p @ np.einsum("ki,ki->k", means, means)
            curvature = p @ np.einsum("ki,kij,kj->k", means, curved, means)
            interaction = p @ np.einsum("ki,ij,kj->k", means, h.mean(axis=0), means)
            full = g.mean(axis=0) @ g.mean(axis=0)
            return {
                "batch_gradient_square": square, "batch_interaction": interaction, "batch_curvature": curvature,
                "batch_sharpness": curvature / square, "ias": interaction / square, "gni": interaction / full,
            }[kind]  # fmt: skip

        return self._entry(
            name, expression, (), truth, (*sampling_coefficients().items(), *self.averages.items()),
            assumptions, known.source, batches=True,
            title=f"{known.title}, {self.words}",
            statement=statement,
            quantity=known.quantity,
            quantity_latex=known.latex,
            route="all batches of every size, with the per-sample gradients and Hessians of the model",
        )  # fmt: skip

    def _entry(
        self, name: str, expression: Any, indices: Sequence[Any], truth: Callable[[Instance], Any],
        parts: Sequence[tuple[Any, Any]] = (), assumptions: tuple[str, ...] = (), source: str = "",
        batches: bool = False, **fields: Any,
    ) -> ClosedForm:  # fmt: skip
        """A form compared at all values of its indices and for all batches, its names explained and in `arguments`."""
        where, used = [], _names(expression)
        for symbol, value in (*parts, *self.calculus.where):
            if _names(symbol) <= used:
                where.append((symbol, value))
                used |= _names(value)
        shapes, data = self.calculus.formula.shapes, self.calculus.definition.data
        arrays = (sp.IndexedBase(key, real=True) if key in data else self.calculus.array(key) for key in shapes)
        arguments = [x for x in (*arrays, n, d, b, replacement) if str(x) in used]

        def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
            instance = self.draw(rng)
            found, expected = [], []
            for drawn in instance.batches() if batches else (instance,):
                known = np.asarray(truth(drawn))
                values = [drawn.values[str(argument)] for argument in arguments]
                found += [formula(*place, *values) for place in np.ndindex(*known.shape)]
                expected += list(known.flat)
            return found, expected

        sources = [f"quantity: {source}"] * bool(source) + [f"model: {self.source}"] * bool(self.source)
        return ClosedForm(
            name=name,
            expression=expression,
            arguments=(*indices, *arguments),
            where=tuple(where),
            reference=f"this project ({'; '.join(sources)})" if sources else "this project",
            assumptions=self.assumptions + assumptions,
            compare=compare,
            instances=4,
            **fields,
        )


def _block(model: Model, values: Any, *arrays: str) -> Any:
    """The part of per-sample gradients or Hessians that belongs to parameter arrays; scalars have no axis."""
    places, start = {}, 0
    for name, shape in defined(model).parameters.items():
        size = int(np.prod(shape))
        places[name] = slice(start, start + size) if shape else start
        start += size
    return values[(slice(None), *(places[name] for name in arrays))]


def _names(e: Any) -> set[str]:
    """Names of arrays and scalars in an expression; no indices."""
    arrays = {entry.base.label for entry in e.atoms(sp.Indexed)}
    indices = {i for entry in e.atoms(sp.Indexed) for i in entry.indices}
    return {s.name for s in (arrays | e.free_symbols) - indices if isinstance(s, sp.Symbol)}
