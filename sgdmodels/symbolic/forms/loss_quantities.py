r"""What is shown of every loss: six averages over samples, and the expectations over batches that are linear in them.

.. math:: S_1 = \tfrac1n\sum|g_i|^2,\ S_2 = |\bar g|^2,\quad T_1 = \tfrac1n\sum g_i^TH_ig_i,\ T_2 = \tfrac1n\sum
          \bar g^TH_ig_i,\ T_3 = \tfrac1n\sum g_i^T\bar Hg_i,\ T_4 = \bar g^T\bar H\bar g

Forms that hold for one sample have the index i. The coefficients :math:`c_2, c_3` are those of `sampling_moments`, with
or without replacement.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from ...models.base import Model
from ...models.definition import Definition
from ..closed_form import proven
from .batch_averages import CURVATURE, GRADIENT, INTERACTION, S1, S2, T1, T2, T3, T4, average, coefficients
from .enumerated_batches import WITH, WITHOUT

ENUMERATED = 2000  # more lists of draws with replacement than these are not gone through
replacement = sp.Symbol("replacement")  # true or false: whether a sample can enter a batch twice
SQUARED = "the mean square of the batch gradient is not zero"


class BatchQuantity(NamedTuple):
    """An expectation over batches, the same in the six averages for every loss."""

    expression: Any
    quantity: str
    latex: str
    title: str
    statement: str
    assumptions: tuple[str, ...] = ()
    source: str = ""


BATCH = {
    "batch_gradient_square": BatchQuantity(
        GRADIENT, "E|g_B|^2", r"\mathbb{E}\,|g_B|^2", "Mean square of the batch gradient",
        "The squared full gradient and the variance of the batch gradient.",
    ),
    "batch_interaction": BatchQuantity(
        INTERACTION, "E[g_B' Hbar g_B]", r"\mathbb{E}\,g_B^\top\bar Hg_B",
        "Mean curvature of the full loss along the batch gradient",
        "Times eta^2/2 it is the mean second-order change of the full loss in a step.",
    ),
    "batch_curvature": BatchQuantity(
        CURVATURE, "E[g_B' H_B g_B]", r"\mathbb{E}\,g_B^\top H_Bg_B",
        "Mean curvature of the batch loss along its gradient",
        "Times eta^2/2 it is the mean second-order change of the batch's own loss in a step.",
    ),
    "batch_sharpness": BatchQuantity(
        CURVATURE / GRADIENT, "E[g_B' H_B g_B] / E|g_B|^2",
        r"\frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}", "Batch Sharpness",
        "The curvature of batch losses along their own gradients, as a ratio of expectations.",
        (SQUARED,), "Andreyev and Beneventano 2024",
    ),
    "ias": BatchQuantity(
        INTERACTION / GRADIENT, "E[g_B' Hbar g_B] / E|g_B|^2",
        r"\frac{\mathbb{E}\,g_B^\top\bar Hg_B}{\mathbb{E}\,|g_B|^2}", "Interaction-aware sharpness",
        "The Rayleigh quotient of the mean Hessian along batch gradients, at most lambda_max.",
        (SQUARED,), "Lee and Jang 2023",
    ),
    "gni": BatchQuantity(
        INTERACTION / S2, "E[g_B' Hbar g_B] / |gbar|^2", r"\frac{\mathbb{E}\,g_B^\top\bar Hg_B}{|\bar g|^2}",
        "Gradient-noise interaction",
        "The curvature of the full loss along batch gradients, in units of the squared full gradient.",
        ("the full gradient is not zero",), "Andreyev and Beneventano 2024",
    ),
}  # fmt: skip
# name -> (symbol of its average, quantity, LaTeX, what it is)
SAMPLE_MOMENTS: dict[str, tuple[Any, str, str, str]] = {
    "sample_gradient_square": (S1, "|g_i|^2", "|g_i|^2", "Squared gradient of a sample"),
    "mean_gradient_square": (S2, "|gbar|^2", r"|\bar g|^2", "Squared full gradient"),
    "sample_curvature": (T1, "g_i' H_i g_i", r"g_i^\top H_ig_i", "Curvature of a sample along its own gradient"),
    "mixed_curvature": (
        T2, "gbar' H_i g_i", r"\bar g^\top H_ig_i", "Curvature of a sample between its gradient and the full one",
    ),
    "sample_interaction": (
        T3, "g_i' Hbar g_i", r"g_i^\top\bar Hg_i", "Curvature of the full loss along the gradient of a sample",
    ),
    "mean_curvature": (T4, "gbar' Hbar gbar", r"\bar g^\top\bar H\bar g", "Curvature along the full gradient"),
}  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """A random loss and point; values of parameters, data, constants, n and d by name, and b and replacement."""

    model: Model
    theta: Any
    values: Mapping[str, Any]

    def batches(self) -> Iterator[Instance]:
        """With every batch size, without replacement and, as far as it can be enumerated, with it."""
        size = self.values["n"]
        for batch in range(1, size + 1):
            for again in (False, True) if size**batch < ENUMERATED else (False,):
                yield replace(self, values={**self.values, "b": batch, "replacement": again})

    @property
    def scheme(self) -> str:
        return WITH if self.values["replacement"] else WITHOUT


def defined(model: Model) -> Definition:
    """The definition of a built-in loss."""
    if model.definition is None:
        raise TypeError(f"{model} has no definition")
    return model.definition


def moments_of(drawn: Instance) -> dict[Any, Any]:
    """The six quantities for every sample, shape (n,), from the model's per-sample gradients and Hessians."""
    g, h = drawn.model.sample_gradients(drawn.theta), drawn.model.sample_hessians(drawn.theta)
    mean = np.broadcast_to(g.mean(axis=0), g.shape)

    def along(one: Any, hessians: Any, other: Any) -> Any:
        return np.einsum("ni,nij,nj->n", one, np.broadcast_to(hessians, h.shape), other)

    return {
        S1: np.einsum("ni,ni->n", g, g), S2: np.einsum("ni,ni->n", mean, mean), T1: along(g, h, g),
        T2: along(mean, h, g), T3: along(g, h.mean(axis=0), g), T4: along(mean, h.mean(axis=0), mean),
    }  # fmt: skip


@functools.cache
def sampling_coefficients() -> dict[Any, Any]:
    """c2 and c3 for both ways to draw a batch."""
    pairs = zip(coefficients(WITH), coefficients(WITHOUT), strict=True)
    return {symbol: sp.Piecewise((again, replacement), (once, True)) for (symbol, again), (_, once) in pairs}


@functools.cache
def prove_batches() -> None:
    """Derive the three expectations of BATCH, for both ways to draw a batch."""
    for scheme in (WITH, WITHOUT):
        for factors, shown in (("gg", GRADIENT), ("g.g", INTERACTION), ("gHg", CURVATURE)):
            proven(average(factors, scheme), shown, coefficients(scheme))
