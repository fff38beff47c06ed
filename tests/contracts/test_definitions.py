"""The definition of a loss is its truth: index derivatives of the text agree with formulas, kernels and docstring."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any

import numpy as np
import pytest
import sympy as sp

import sgdmodels as sm
from sgdmodels.models.definition import Definition
from sgdmodels.symbolic.broadcast import evaluate
from sgdmodels.symbolic.indices import derivative
from sgdmodels.symbolic.loss_formula import LossFormula, loss_formula
from sgdmodels.symbolic.typeset import definition_latex

from ..cases import CASES

LOSSES = [
    value
    for value in (getattr(sm.models, name) for name in sm.models.__all__)
    if inspect.isclass(value) and issubclass(value, sm.models.Model) and not inspect.isabstract(value)
]
ONE, OTHER = (sp.symbols(f"{letter}1:3", integer=True) for letter in "kl")  # free indices of two parameter arrays


@functools.cache
def model_of(name: str) -> sm.models.Model:
    return CASES[name](seed=11).model


# losses that are formulas to begin with need no other definition
DEFINED = [name for name in CASES if model_of(name).definition is not None]


def defined(model: sm.models.Model) -> Definition:
    assert model.definition is not None
    return model.definition


def formula_of(definition: Definition) -> LossFormula:
    shapes = {name: array.shape[1:] for name, array in definition.data.items()}
    return loss_formula(
        definition.loss, definition.parameters, shapes, definition.predictor, tuple(definition.constants)
    )


class Derived:
    """Losses, gradients and Hessians of all samples by index derivatives of a definition and broadcasting."""

    def __init__(self, definition: Definition, theta: np.ndarray) -> None:
        self.definition, self.formula = definition, formula_of(definition)
        self.values: dict[str, Any] = {**definition.data, **definition.constants}
        self.samples = len(next(iter(definition.data.values())))
        start = 0
        for name, shape in definition.parameters.items():
            size = int(np.prod(shape))
            self.values[name] = theta[start : start + size].reshape(shape)
            start += size
        assert start == len(theta)

    def evaluate(self, expression: Any, sizes: dict[Any, int]) -> np.ndarray:
        result = evaluate(expression, self.values, list(self.definition.data), sizes)
        return np.broadcast_to(result, (self.samples, *result.shape[1:]))

    def losses(self) -> np.ndarray:
        return self.evaluate(self.formula.whole, {})

    def gradients(self) -> np.ndarray:
        parts = []
        for name, shape in self.definition.parameters.items():
            free = ONE[: len(shape)]
            slope = derivative(self.formula.whole, self.formula.array(name), *free)
            parts.append(self.evaluate(slope, dict(zip(free, shape, strict=True))).reshape(self.samples, -1))
        return np.concatenate(parts, axis=1)

    def hessians(self) -> np.ndarray:
        rows = []
        for name, shape in self.definition.parameters.items():
            free = ONE[: len(shape)]
            slope = derivative(self.formula.whole, self.formula.array(name), *free)
            row = []
            for other, other_shape in self.definition.parameters.items():
                second = OTHER[: len(other_shape)]
                entry = derivative(slope, self.formula.array(other), *second)
                sizes = dict(zip((*free, *second), (*shape, *other_shape), strict=True))
                block = self.evaluate(entry, sizes)
                row.append(block.reshape(self.samples, int(np.prod(shape)), int(np.prod(other_shape))))
            rows.append(np.concatenate(row, axis=2))
        return np.concatenate(rows, axis=1)


def points(model: sm.models.Model) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((3, model.dim))


def same(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * max(1.0, np.abs(expected).max()))


def compare(model: sm.models.Model, definition: Definition) -> None:
    """Numpy formulas and kernels of `model` against the derivatives of `definition`."""
    n = model.samples
    for theta in points(model):
        derived = Derived(definition, theta)
        losses, gradients, hessians = derived.losses(), derived.gradients(), derived.hessians()
        same(model.sample_losses(theta), losses)
        same(model.sample_gradients(theta), gradients)
        same(model.sample_hessians(theta), hessians)
        same(model.gradient(theta), gradients.mean(axis=0))
        same(model.hessian(theta), hessians.mean(axis=0))
        vector = np.cos(np.arange(model.dim))
        same(model.hvp(theta, vector), hessians.mean(axis=0) @ vector)
        for index in ([n - 1], [0, 2, 2], list(range(n)) * 2):
            weight = np.linspace(-0.5, 1.0, len(index))
            same(model.weighted_gradient(theta, index, weight), weight @ gradients[index])


@pytest.mark.parametrize("name", DEFINED)
def test_formulas_and_kernels_are_those_of_the_definition(name: str) -> None:
    compare(model_of(name), defined(model_of(name)))


@pytest.mark.parametrize("name", DEFINED)
def test_a_changed_coefficient_is_found(name: str) -> None:
    definition = defined(model_of(name))
    changed = dataclasses.replace(definition, loss=f"1.000001*({definition.loss})")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(model_of(name), changed)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_public_loss_has_a_definition_and_a_case(loss: type) -> None:
    cases = [model for name in DEFINED if type(model := model_of(name)) is loss]
    assert cases
    for model in cases:
        definition = defined(model)
        assert sum(int(np.prod(shape)) for shape in definition.parameters.values()) == model.dim
        assert {len(array) for array in definition.data.values()} == {model.samples}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_docstring_shows_the_definition(loss: type) -> None:
    """Families show their first member, of depth 2."""
    model = next(model for name in DEFINED if type(model := model_of(name)) is loss)
    assert model.settings.get("depth", 2) == 2
    documentation = inspect.getdoc(inspect.getmodule(loss)) or ""
    first = re.split(r"\n(?=\S)", documentation[documentation.index(".. math::") :])[0]
    assert _without_blanks(definition_latex(defined(model))) in _without_blanks(first)


def _without_blanks(latex: str) -> str:
    return re.sub(r"\s", "", latex)
