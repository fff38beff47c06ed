r"""What is shown of every loss: six averages over samples, and the expectations over batches that are linear in them.

.. math:: S_1 = \tfrac1n\sum|g_i|^2,\ S_2 = |\bar g|^2,\quad T_1 = \tfrac1n\sum g_i^TH_ig_i,\ T_2 = \tfrac1n\sum
          \bar g^TH_ig_i,\ T_3 = \tfrac1n\sum g_i^T\bar Hg_i,\ T_4 = \bar g^T\bar H\bar g

The coefficients follow from how often samples enter a batch (`sampling_moments`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ...models.base import Model
from ...models.definition import Definition
from ..closed_form import proven
from .enumerated_batches import WITH, WITHOUT
from .index_algebra import n
from .sampling_moments import batch_expectation

b, c2, c3 = sp.symbols("b c_2 c_3", positive=True)
S1, S2, T1, T2, T3, T4 = MOMENTS = sp.symbols("S_1 S_2 T_1 T_2 T_3 T_4", real=True)
SQUARE = S2 + c2 * (S1 - S2)
INTERACTION = T4 + c2 * (T3 - T4)
CURVATURE = T4 + c2 * (T3 + 2 * T2 - 3 * T4) + c3 * (T1 - T3 - 2 * T2 + 2 * T4)
COEFFICIENTS = {
    WITHOUT: {c2: (n - b) / (b * (n - 1)), c3: (n - b) * (n - 2 * b) / (b**2 * (n - 1) * (n - 2))},
    WITH: {c2: 1 / b, c3: 1 / b**2},
}
BY_BLOCKS = {  # the average of g' (factor 0), H (1) and g (2), by which of them are of the same sample
    "012": T1, "0|12": T2, "01|2": T2, "02|1": T3, "0|1|2": T4,
}  # fmt: skip
# name -> (expression, quantity, LaTeX, what it is)
BATCH: dict[str, tuple[Any, str, str, str]] = {
    "batch_gradient_square": (SQUARE, "E|g_B|^2", r"\mathbb{E}\,|g_B|^2", "Mean square of the batch gradient"),
    "batch_interaction": (
        INTERACTION, "E[g_B' Hbar g_B]", r"\mathbb{E}\,g_B^\top\bar Hg_B",
        "Mean curvature of the full loss along the batch gradient",
    ),
    "batch_curvature": (
        CURVATURE, "E[g_B' H_B g_B]", r"\mathbb{E}\,g_B^\top H_Bg_B",
        "Mean curvature of the batch loss along its gradient",
    ),
    "batch_sharpness": (
        CURVATURE / SQUARE, "E[g_B' H_B g_B] / E|g_B|^2",
        r"\frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}", "Batch Sharpness",
    ),
    "ias": (
        INTERACTION / SQUARE, "E[g_B' Hbar g_B] / E|g_B|^2",
        r"\frac{\mathbb{E}\,g_B^\top\bar Hg_B}{\mathbb{E}\,|g_B|^2}", "Interaction-aware sharpness",
    ),
    "gni": (
        INTERACTION / S2, "E[g_B' Hbar g_B] / |gbar|^2", r"\frac{\mathbb{E}\,g_B^\top\bar Hg_B}{|\bar g|^2}",
        "Gradient-noise interaction",
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
    """A random loss and point; values of parameters, data, constants, n and d by name."""

    model: Model
    theta: Any
    values: Mapping[str, Any]


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


def prove_batch(kind: str, scheme: str) -> None:
    """Derive what one of BATCH is made of, the same for all losses, from how often samples enter a batch."""
    expression = BATCH[kind][0]
    for part in (SQUARE, INTERACTION, CURVATURE):
        if expression.has(part) or part in (expression, sp.fraction(expression)[0]):
            _prove_expectation(part, scheme)


@functools.cache
def _prove_expectation(part: Any, scheme: str) -> None:
    derived = {
        SQUARE: lambda: batch_expectation(2, lambda blocks: S1 if len(blocks) == 1 else S2, scheme),
        INTERACTION: lambda: batch_expectation(2, lambda blocks: T3 if len(blocks) == 1 else T4, scheme),
        CURVATURE: lambda: batch_expectation(3, lambda blocks: BY_BLOCKS[_shared(blocks)], scheme),
    }[part]()
    proven(derived, part.subs(COEFFICIENTS[scheme]))


def _shared(blocks: list[list[int]]) -> str:
    return "|".join(sorted("".join(map(str, sorted(block))) for block in blocks))
