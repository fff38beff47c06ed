"""Every closed form by name: `derive` proves it anew by computer algebra."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

from ..arguments import one_of
from .closed_form import ClosedForm
from .forms import (
    affine_moments,
    batch_averages,
    bernoulli_batches,
    diagonal_batches,
    diagonal_invariants,
    diagonal_networks,
    diffusion_edges,
    entropy_flow,
    frozen_gap,
    gate_plateaus,
    gaussian_population,
    heavy_ball,
    high_dimension,
    linear_unit,
    modified_equations,
    modified_sde,
    momentum_responses,
    nesterov,
    noise_models,
    one_dimension,
    one_step,
    quadratic_regression,
    quadratic_sharpness,
    sampling_moments,
    second_moments,
    self_stabilisation,
    sharpening_plateaus,
    shuffled_epochs,
    stationary_laws,
    two_parameter_models,
)
from .forms.losses import LOSS_DERIVATIONS

Derivation = Callable[[], ClosedForm]

CHAPTERS: dict[str, tuple[ModuleType, ...]] = {
    "Batches": (sampling_moments, batch_averages, bernoulli_batches, shuffled_epochs),
    "Quadratics": (
        one_dimension, one_step, quadratic_sharpness, second_moments, affine_moments, stationary_laws,
    ),
    "Momentum": (heavy_ball, nesterov, momentum_responses),
    "Many dimensions": (gaussian_population, high_dimension),
    "Models of SGD": (noise_models, diffusion_edges, modified_equations, modified_sde),
    "Diagonal networks": (diagonal_networks, diagonal_batches, diagonal_invariants, entropy_flow),
    "Minimal models": (
        two_parameter_models, linear_unit, sharpening_plateaus, gate_plateaus, quadratic_regression,
    ),
    "Self-stabilisation": (self_stabilisation, frozen_gap),
}  # fmt: skip
LOSSES = "The built-in losses"


@functools.cache
def contents() -> dict[str, dict[str, dict[str, Derivation]]]:
    """Chapter -> topic -> name of a form -> its derivation, none of them run.

    >>> list(contents()["Momentum"])
    ['heavy_ball', 'nesterov', 'momentum_responses']
    """
    book = {
        chapter: {
            module.__name__.rpartition(".")[2]: {form.__name__: form for form in module.DERIVATIONS}
            for module in modules
        }
        for chapter, modules in CHAPTERS.items()
    }
    return {**book, LOSSES: LOSS_DERIVATIONS}


def derive(name: str) -> tuple[ClosedForm, ...]:
    """The closed form of this name, or all those of a topic or a loss, derived and proven.

    Raises UnknownName with the nearest name that there is, DerivationError if a proof fails.

    >>> (form,) = derive("heavy_ball_edge")
    >>> form.text()
    'eta_max = 1/(a/(2*beta + 2) + s**2/(2*a*(1 - beta)))'
    """
    forms, topics = _by_name(), _by_topic()
    one_of("name", name, [*topics, *forms])
    return tuple(_derived(form) for form in topics.get(name, (name,)))


@functools.cache
def _by_name() -> dict[str, Derivation]:
    return {name: form for topics in contents().values() for forms in topics.values() for name, form in forms.items()}


@functools.cache
def _by_topic() -> dict[str, tuple[str, ...]]:
    """Topics and losses with the names of their forms; a loss may have a topic of its own beside its own forms."""
    found: dict[str, tuple[str, ...]] = {}
    for topics in contents().values():
        for topic, forms in topics.items():
            found[topic] = (*found.get(topic, ()), *forms)
    return found


@functools.cache
def _derived(name: str) -> ClosedForm:
    return _by_name()[name]()
