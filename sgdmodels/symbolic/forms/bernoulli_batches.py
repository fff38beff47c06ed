r"""Batch Sharpness of Bernoulli batches, whose size is random.

Every sample enters a batch with probability :math:`b/n`, independently of the others, and sums are divided by b:

.. math:: g_B = \frac1b\sum_{i\in B}g_i, \qquad H_B = \frac1b\sum_{i\in B}H_i.

Raw moments of the samples take the place of central ones: with

.. math:: \kappa_2 = \frac{1 - b/n}{b}, \qquad \kappa_3 = \frac{(1 - b/n)(1 - 2b/n)}{b^2}

and the same six averages over samples as for batches of fixed size,

.. math:: T_1 = \tfrac1n\sum_ig_i^\top H_ig_i, \quad T_2 = \tfrac1n\sum_i\bar g^\top H_ig_i, \quad
          T_3 = \tfrac1n\sum_ig_i^\top\bar Hg_i, \quad T_4 = \bar g^\top\bar H\bar g, \qquad
          S_1 = \tfrac1n\sum_i|g_i|^2, \quad S_2 = |\bar g|^2.

Source: elementary sampling theory.
"""

from __future__ import annotations

from collections.abc import Callable

from ..closed_form import ClosedForm
from .batch_averages import (
    BATCH_CURVATURE,
    FULL_CURVATURE,
    S1,
    S2,
    SHARPNESS,
    SQUARE,
    T1,
    T2,
    T3,
    T4,
    average_form,
    kappa2,
    kappa3,
)
from .enumerated_batches import BERNOULLI

RAW_GRADIENT = S2 + kappa2 * S1
RAW_INTERACTION = T4 + kappa2 * T3
RAW_CURVATURE = T4 + kappa2 * (T3 + 2 * T2) + kappa3 * T1


def batch_gradient_square_bernoulli() -> ClosedForm:
    return average_form(
        "batch_gradient_square_bernoulli",
        "Mean square of the batch gradient, Bernoulli batches",
        "If the batch size itself is random, the noise does not vanish even where all samples have one gradient.",
        SQUARE, RAW_GRADIENT, (("gg", RAW_GRADIENT),), lambda sample: sample.gradient, (BERNOULLI,),
    )  # fmt: skip


def batch_interaction_bernoulli() -> ClosedForm:
    return average_form(
        "batch_interaction_bernoulli",
        "Full-loss curvature along batch gradients, Bernoulli batches",
        "Over the mean square of the batch gradient this is IAS, and over that of the full gradient it is GNI.",
        FULL_CURVATURE, RAW_INTERACTION, (("g.g", RAW_INTERACTION),), lambda sample: sample.interaction, (BERNOULLI,),
    )  # fmt: skip


def batch_curvature_bernoulli() -> ClosedForm:
    return average_form(
        "batch_curvature_bernoulli",
        "Batch curvature along the batch gradient, Bernoulli batches",
        "If the batch size itself is random, raw moments take the place of central ones.",
        BATCH_CURVATURE, RAW_CURVATURE, (("gHg", RAW_CURVATURE),), lambda sample: sample.curvature, (BERNOULLI,),
    )  # fmt: skip


def batch_sharpness_bernoulli() -> ClosedForm:
    return average_form(
        "batch_sharpness_bernoulli",
        "Batch Sharpness, Bernoulli batches",
        "Batch Sharpness, as a ratio of expectations, for batches whose size is random.",
        SHARPNESS, RAW_CURVATURE / RAW_GRADIENT, (("gHg", RAW_CURVATURE), ("gg", RAW_GRADIENT)),
        lambda sample: sample.curvature / sample.gradient, (BERNOULLI,), reference="this project",
    )  # fmt: skip


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    batch_gradient_square_bernoulli,
    batch_interaction_bernoulli,
    batch_curvature_bernoulli,
    batch_sharpness_bernoulli,
)
