r"""Batch Sharpness, IAS and GNI of any smooth loss, exactly and for every batch size, from six averages over samples.

.. math:: T_1 = \tfrac1n\sum_ig_i^\top H_ig_i, \quad T_2 = \tfrac1n\sum_i\bar g^\top H_ig_i, \quad
          T_3 = \tfrac1n\sum_ig_i^\top\bar Hg_i, \quad T_4 = \bar g^\top\bar H\bar g, \qquad
          S_1 = \tfrac1n\sum_i|g_i|^2, \quad S_2 = |\bar g|^2

A term of :math:`\mathbb{E}\,g_B^\top H_Bg_B = b^{-3}\sum_{ijk}\mathbb{E}[m_im_jm_k]\,g_i^\top H_jg_k`, with
:math:`m_i` the number of times that sample i is in the batch, is one of the :math:`T` according to which of its three
indices agree. The formulas hold with and without replacement, with the coefficients

.. math:: c_2 = \frac{n - b}{b(n - 1)}, \quad c_3 = \frac{(n - b)(n - 2b)}{b^2(n - 1)(n - 2)}
          \quad\text{without replacement}, \qquad c_2 = \frac1b, \quad c_3 = \frac1{b^2} \quad\text{with replacement}

(:math:`c_3 = 0` for two samples without replacement). Sources: Andreyev and Beneventano 2024 (Batch Sharpness as a
ratio of expectations, GNI); Lee and Jang 2023 (IAS).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from ...arguments import FloatArray
from ..closed_form import ClosedForm, Formula, proven
from .enumerated_batches import BERNOULLI, WITH, WITHOUT, batch_means
from .sampling_moments import (
    Partition,
    b,
    batch_expectation,
    c2_with_replacement,
    c2_without_replacement,
    c3_with_replacement,
    c3_without_replacement,
    kappa2_bernoulli,
    kappa3_bernoulli,
    n,
)

c2, c3, kappa2, kappa3 = sp.symbols("c_2 c_3 kappa_2 kappa_3", real=True)
T1, T2, T3, T4, S1, S2 = sp.symbols("T_1 T_2 T_3 T_4 S_1 S_2", real=True)
MOMENTS = {
    T1: "T_1 is the mean of g_i'H_i g_i",
    T2: "T_2 that of gbar'H_i g_i",
    T3: "T_3 that of g_i'Hbar g_i",
    T4: "T_4 = gbar'Hbar gbar",
    S1: "S_1 is the mean of |g_i|^2",
    S2: "S_2 = |gbar|^2",
}
COEFFICIENTS = {
    WITHOUT: {c2: c2_without_replacement, c3: c3_without_replacement},
    WITH: {c2: c2_with_replacement, c3: c3_with_replacement},
    BERNOULLI: {kappa2: kappa2_bernoulli, kappa3: kappa3_bernoulli},
}
DRAWN = {
    (WITHOUT, WITH): "batches drawn with or without replacement",
    (WITHOUT,): "batches drawn without replacement, n >= 3",
    (WITH,): "batches drawn with replacement",
    (BERNOULLI,): "Bernoulli batches, sums divided by b",
}
CENTRAL = (WITHOUT, WITH)
GRADIENT = S2 + c2 * (S1 - S2)
INTERACTION = T4 + c2 * (T3 - T4)
CURVATURE = T4 + c2 * (T3 + 2 * T2 - 3 * T4) + c3 * (T1 - T3 - 2 * T2 + 2 * T4)


def pattern(partition: Partition, factors: str) -> Any:
    """The symbol of the average of g'g ("gg"), g'Hbar g ("g.g") or g'Hg ("gHg") by which factors share a sample."""
    together = {frozenset(block) for block in partition}
    if factors != "gHg":
        same = len(together) == 1
        return (S1 if same else S2) if factors == "gg" else (T3 if same else T4)
    if len(together) != 2:
        return T1 if len(together) == 1 else T4
    return T3 if frozenset((0, 2)) in together else T2


def average(factors: str, scheme: str) -> Any:
    """E over batches of a product, in the six averages."""
    return batch_expectation(3 if factors == "gHg" else 2, lambda blocks: pattern(blocks, factors), scheme)


@functools.cache
def coefficients(scheme: str) -> tuple[tuple[Any, Any], ...]:
    """The sampling coefficients of a scheme, each with its value."""
    return tuple((symbol, form().expression) for symbol, form in COEFFICIENTS[scheme].items())


class Sample(NamedTuple):
    """A random problem and what all of its batches say."""

    values: dict[Any, float]
    gradient: float
    interaction: float
    curvature: float


def random_sample(rng: np.random.Generator, scheme: str) -> Sample:
    """Random gradients and positive definite Hessians; the expectations by enumeration of all batches."""
    size, d = int(rng.integers(3, 6)), 3
    batch = int(rng.integers(1, 4))
    g: FloatArray = rng.normal(size=(size, d)) + 0.5
    factor = rng.normal(size=(size, d, d))
    h: FloatArray = np.einsum("nij,nkj->nik", factor, factor)
    gm, hm = g.mean(axis=0), h.mean(axis=0)
    t1 = np.einsum("ni,nij,nj->", g, h, g) / size
    t2 = np.einsum("i,nij,nj->", gm, h, g) / size
    t3 = np.einsum("ni,ij,nj->", g, hm, g) / size
    six = t1, t2, t3, gm @ hm @ gm, (g**2).sum() / size, gm @ gm
    named = {symbol: float(value.subs({n: size, b: batch})) for symbol, value in coefficients(scheme)}
    (gb, p), (hb, _) = batch_means(g, batch, scheme), batch_means(h, batch, scheme)
    return Sample(
        values={n: size, b: batch, **named, **dict(zip(MOMENTS, six, strict=True))},
        gradient=float(p @ (gb**2).sum(axis=1)),
        interaction=float(np.einsum("k,ki,ij,kj->", p, gb, hm, gb)),
        curvature=float(np.einsum("k,ki,kij,kj->", p, gb, hb, gb)),
    )


def average_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    shown: Any,
    parts: tuple[tuple[str, Any], ...],
    truth: Callable[[Sample], float],
    schemes: tuple[str, ...] = CENTRAL,
    reference: str = "elementary sampling theory",
    where: tuple[tuple[Any, Any], ...] = (),
) -> ClosedForm:
    """A closed form in the six averages, made of the expectations `parts` (factors and formula), which are proven.

    truth(sample): its value by enumeration.
    """
    for factors, part in parts:
        for scheme in schemes:
            proven(average(factors, scheme), part, [*where, *coefficients(scheme)])
    used = shown.free_symbols.union(*(value.free_symbols for _, value in where))
    arguments = tuple(symbol for symbol in (n, b, c2, c3, kappa2, kappa3, *MOMENTS) if symbol in used)
    named = [symbol.name for symbol in arguments if symbol in (c2, c3, kappa2, kappa3)]
    sampling = f"{DRAWN[schemes]}, with the coefficients {' and '.join(named)} of that sampling"

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        samples = [random_sample(rng, scheme) for scheme in schemes]
        values = [formula(*(sample.values[symbol] for symbol in arguments)) for sample in samples]
        return values, [truth(sample) for sample in samples]

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=shown,
        arguments=arguments,
        assumptions=(
            "any smooth loss, at fixed parameters",
            (sampling if named else DRAWN[schemes]).replace("coefficients c_2 of", "coefficient c_2 of"),
            ", ".join(meaning for symbol, meaning in MOMENTS.items() if symbol in used),
        ),
        reference=reference,
        route="all batches of random gradients and Hessians",
        compare=compare,
        where=where,
    )


SQUARE = ("E|g_B|^2", r"\mathbb{E}\,|g_B|^2")
FULL_CURVATURE = ("E[g_B' Hbar g_B]", r"\mathbb{E}\,g_B^\top\bar Hg_B")
BATCH_CURVATURE = ("E[g_B' H_B g_B]", r"\mathbb{E}\,g_B^\top H_Bg_B")
SHARPNESS = ("BS", r"\mathrm{BS} = \frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}")
PAPER = "Andreyev and Beneventano 2024"


def batch_gradient_square() -> ClosedForm:
    return average_form(
        "batch_gradient_square",
        "Mean square of the batch gradient",
        "The batch gradient is the full gradient plus noise whose variance is c_2 times that of the samples.",
        SQUARE, GRADIENT, (("gg", GRADIENT),), lambda sample: sample.gradient,
    )  # fmt: skip


def batch_interaction() -> ClosedForm:
    return average_form(
        "batch_interaction",
        "Full-loss curvature along batch gradients",
        "The curvature of the full loss along the batch gradient grows with the noise in sharp directions.",
        FULL_CURVATURE, INTERACTION, (("g.g", INTERACTION),), lambda sample: sample.interaction,
    )  # fmt: skip


def batch_curvature() -> ClosedForm:
    return average_form(
        "batch_curvature",
        "Batch curvature along the batch gradient",
        "The curvature of the batch loss along its own gradient has a second-moment term in c_2 and a third-moment "
        "one in c_3.",
        BATCH_CURVATURE, CURVATURE, (("gHg", CURVATURE),), lambda sample: sample.curvature,
    )  # fmt: skip


def batch_sharpness() -> ClosedForm:
    return average_form(
        "batch_sharpness",
        "Batch Sharpness",
        "Batch Sharpness, as a ratio of expectations, is rational in six averages: no batch has to be drawn.",
        SHARPNESS, CURVATURE / GRADIENT, (("gHg", CURVATURE), ("gg", GRADIENT)),
        lambda sample: sample.curvature / sample.gradient, reference=PAPER,
    )  # fmt: skip


def ias() -> ClosedForm:
    return average_form(
        "ias",
        "Interaction-aware sharpness",
        "IAS is the Rayleigh quotient of the full Hessian along batch gradients, so it never exceeds lambda_max.",
        ("IAS", r"\mathrm{IAS} = \frac{\mathbb{E}\,g_B^\top\bar Hg_B}{\mathbb{E}\,|g_B|^2}"),
        INTERACTION / GRADIENT, (("g.g", INTERACTION), ("gg", GRADIENT)),
        lambda sample: sample.interaction / sample.gradient, reference="Lee and Jang 2023",
    )  # fmt: skip


def gni() -> ClosedForm:
    return average_form(
        "gni",
        "Gradient-noise interaction",
        "GNI is affine in c_2; on quadratics it exceeds 2/eta exactly where a step raises the expected full loss.",
        ("GNI", r"\mathrm{GNI} = \frac{\mathbb{E}\,g_B^\top\bar Hg_B}{|\bar g|^2}"),
        INTERACTION / S2, (("g.g", INTERACTION),),
        lambda sample: sample.interaction / sample.values[S2], reference=PAPER,
    )  # fmt: skip


def batch_curvature_raw_sums() -> ClosedForm:
    pairs, triples = sp.symbols("P_2 P_3", positive=True)
    shown = (
        b * T1 + pairs * (n * T3 + 2 * n * T2 - 3 * T1) + triples * (n**2 * T4 - n * T3 - 2 * n * T2 + 2 * T1)
    ) / b**3
    pair = b * (b - 1) / (n - 1)
    return average_form(
        "batch_curvature_raw_sums",
        "Batch curvature as a sum over coincidences, without replacement",
        "The three samples of a term g_i' H_j g_k are the same, two different ones, or all different.",
        BATCH_CURVATURE, shown, (("gHg", shown),), lambda sample: sample.curvature, (WITHOUT,),
        where=((triples, pair * (b - 2) / (n - 2)), (pairs, pair)),
    )  # fmt: skip


def batch_curvature_raw_sums_with_replacement() -> ClosedForm:
    shown = (b * T1 + b * (b - 1) * (T3 + 2 * T2) + b * (b - 1) * (b - 2) * T4) / b**3
    return average_form(
        "batch_curvature_raw_sums_with_replacement",
        "Batch curvature as a sum over coincidences, with replacement",
        "The three draws of a term g_i' H_j g_k are the same, two different ones, or all different; different draws "
        "are independent, and so the number of samples does not enter.",
        BATCH_CURVATURE, shown, (("gHg", shown),), lambda sample: sample.curvature, (WITH,),
    )  # fmt: skip


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    batch_gradient_square,
    batch_interaction,
    batch_curvature,
    batch_sharpness,
    ias,
    gni,
    batch_curvature_raw_sums,
    batch_curvature_raw_sums_with_replacement,
)
