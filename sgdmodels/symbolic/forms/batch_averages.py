r"""Batch Sharpness, IAS and GNI of any smooth loss, exactly and for every batch size, from six per-sample moments.

.. math:: T_1 = \tfrac1n\sum g_i^TH_ig_i,\ T_2 = \tfrac1n\sum \bar g^TH_ig_i,\ T_3 = \tfrac1n\sum g_i^T\bar Hg_i,\
          T_4 = \bar g^T\bar H\bar g,\ S_1 = \tfrac1n\sum|g_i|^2,\ S_2 = |\bar g|^2

A term of :math:`E[g_B^TH_Bg_B] = b^{-3}\sum_{ijk}E[m_im_jm_k]\,g_i^TH_jg_k` is one of the T according to which of its
three indices agree; `batch_expectation` sums over the patterns. The sharpnesses are those of Andreyev and Beneventano
2024 (Batch Sharpness as a ratio of expectations, GNI) and of Lee and Jang 2023 (IAS).
"""

from __future__ import annotations

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

c2, c3, kappa2, kappa3 = sp.symbols("c2 c3 kappa2 kappa3", real=True)
T1, T2, T3, T4, S1, S2 = sp.symbols("T_1 T_2 T_3 T_4 S_1 S_2", real=True)
SMOOTH = "any smooth loss, at fixed parameters"
DEFINITIONS = "T1 = mean of g_i'H_i g_i, T2 of gbar'H_i g_i, T3 of g_i'Hbar g_i, T4 = gbar'Hbar gbar"
SQUARES = "S1 = mean of |g_i|^2, S2 = |gbar|^2"
DRAWN = {
    WITHOUT: "drawn without replacement, n >= 3",
    WITH: "drawn with replacement",
    BERNOULLI: "Bernoulli, sums over b",
}
GRADIENT = S2 + c2 * (S1 - S2)
INTERACTION = T4 + c2 * (T3 - T4)
CURVATURE = T4 + c2 * (T3 + 2 * T2 - 3 * T4) + c3 * (T1 - T3 - 2 * T2 + 2 * T4)
RAW_CURVATURE = T4 + kappa2 * (T3 + 2 * T2) + kappa3 * T1


def pattern(partition: Partition, factors: str) -> Any:
    """The six-moment symbol of g'g ("gg"), g'Hbar g ("g.g") or g'Hg ("gHg") by which factors share a sample."""
    together = {frozenset(block) for block in partition}
    if factors != "gHg":
        same = len(together) == 1
        return (S1 if same else S2) if factors == "gg" else (T3 if same else T4)
    if len(together) != 2:
        return T1 if len(together) == 1 else T4
    return T3 if frozenset((0, 2)) in together else T2


def average(factors: str, scheme: str) -> Any:
    """E over batches of a product, in the six moments."""
    return batch_expectation(3 if factors == "gHg" else 2, lambda blocks: pattern(blocks, factors), scheme)


def coefficients(scheme: str) -> tuple[tuple[Any, Any], ...]:
    """The named sampling coefficients of a scheme, each with its value."""
    forms = {
        WITHOUT: (c2_without_replacement, c3_without_replacement),
        WITH: (c2_with_replacement, c3_with_replacement),
        BERNOULLI: (kappa2_bernoulli, kappa3_bernoulli),
    }[scheme]
    symbols = (kappa2, kappa3) if scheme == BERNOULLI else (c2, c3)
    return tuple((symbol, form().expression) for symbol, form in zip(symbols, forms, strict=True))


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
    (gb, p), (hb, _) = batch_means(g, batch, scheme), batch_means(h, batch, scheme)
    return Sample(
        values={n: size, b: batch, **dict(zip((T1, T2, T3, T4, S1, S2), six, strict=True))},
        gradient=float(p @ (gb**2).sum(axis=1)),
        interaction=float(np.einsum("k,ki,ij,kj->", p, gb, hm, gb)),
        curvature=float(np.einsum("k,ki,kij,kj->", p, gb, hb, gb)),
    )


def average_form(
    name: str,
    title: str,
    statement: str,
    quantity: tuple[str, str],
    derived: Any,
    shown: Any,
    truth: Callable[[Sample], float],
    scheme: str = WITHOUT,
    reference: str = "elementary sampling theory",
    where: tuple[tuple[Any, Any], ...] | None = None,
) -> ClosedForm:
    """A closed form in the six moments; `truth` reads its value off an enumerated sample."""
    named = coefficients(scheme) if where is None else where
    named = tuple((symbol, value) for symbol, value in named if shown.has(symbol))
    used = shown.free_symbols.union(*(value.free_symbols for _, value in named))
    arguments = tuple(symbol for symbol in (n, b, T1, T2, T3, T4, S1, S2) if symbol in used)
    definitions = (DEFINITIONS,) if used & {T1, T2, T3, T4} else ()
    squares = (SQUARES,) if used & {S1, S2} else ()

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        sample = random_sample(rng, scheme)
        return formula(*(sample.values[symbol] for symbol in arguments)), truth(sample)

    return ClosedForm(
        name=name,
        title=title,
        statement=statement,
        quantity=quantity[0],
        quantity_latex=quantity[1],
        expression=proven(derived, shown, named),
        arguments=arguments,
        assumptions=(SMOOTH, f"batches {DRAWN[scheme]}", *definitions, *squares),
        reference=reference,
        route="all batches of random gradients and Hessians",
        compare=compare,
        where=named,
    )


GRADIENT_SQUARE = ("E|g_B|^2", r"\mathbb{E}\,|g_B|^2")
BATCH_CURVATURE = ("E[g_B' H_B g_B]", r"\mathbb{E}\,g_B^\top H_B g_B")


def batch_gradient_square() -> ClosedForm:
    return average_form(
        "batch_gradient_square",
        "Mean square of the batch gradient",
        "The batch gradient is the full gradient plus noise whose variance is c2 times that of the samples.",
        GRADIENT_SQUARE, average("gg", WITHOUT), GRADIENT, lambda sample: sample.gradient,
    )  # fmt: skip


def batch_interaction() -> ClosedForm:
    return average_form(
        "batch_interaction",
        "Full-loss curvature along batch gradients",
        "The curvature of the full loss along the batch gradient grows with the noise in sharp directions.",
        ("E[g_B' Hbar g_B]", r"\mathbb{E}\,g_B^\top\bar Hg_B"),
        average("g.g", WITHOUT), INTERACTION, lambda sample: sample.interaction,
    )  # fmt: skip


def batch_curvature() -> ClosedForm:
    return average_form(
        "batch_curvature",
        "Batch curvature along the batch gradient",
        "The curvature of the batch loss along its own gradient has a second-moment term in c2 and a third-moment one "
        "in c3.",
        BATCH_CURVATURE, average("gHg", WITHOUT), CURVATURE, lambda sample: sample.curvature,
    )  # fmt: skip


def batch_curvature_with_replacement() -> ClosedForm:
    return average_form(
        "batch_curvature_with_replacement",
        "Batch curvature along the batch gradient, with replacement",
        "Sampling with replacement changes the two coefficients and nothing else.",
        BATCH_CURVATURE, average("gHg", WITH), CURVATURE, lambda sample: sample.curvature, WITH,
    )  # fmt: skip


def batch_curvature_bernoulli() -> ClosedForm:
    return average_form(
        "batch_curvature_bernoulli",
        "Batch curvature along the batch gradient, Bernoulli batches",
        "If the batch size itself is random, raw moments take the place of central ones.",
        BATCH_CURVATURE, average("gHg", BERNOULLI), RAW_CURVATURE, lambda sample: sample.curvature, BERNOULLI,
    )  # fmt: skip


def batch_curvature_raw_sums() -> ClosedForm:
    """By the number of different samples among the three of g_i' H_j g_k."""
    pairs, triples = sp.symbols("P_2 P_3", positive=True)
    shown = (
        b * T1 + pairs * (n * T3 + 2 * n * T2 - 3 * T1) + triples * (n**2 * T4 - n * T3 - 2 * n * T2 + 2 * T1)
    ) / b**3
    pair = b * (b - 1) / (n - 1)
    return average_form(
        "batch_curvature_raw_sums",
        "Batch curvature as a sum over coincidences",
        "The three samples of a term g_i' H_j g_k are the same, two different ones, or all different.",
        BATCH_CURVATURE, average("gHg", WITHOUT), shown, lambda sample: sample.curvature,
        where=((triples, pair * (b - 2) / (n - 2)), (pairs, pair)),
    )  # fmt: skip


def batch_sharpness() -> ClosedForm:
    numerator = proven(average("gHg", WITHOUT), CURVATURE, coefficients(WITHOUT))
    denominator = proven(average("gg", WITHOUT), GRADIENT, coefficients(WITHOUT))
    return average_form(
        "batch_sharpness",
        "Batch Sharpness",
        "Batch Sharpness, as a ratio of expectations, is rational in six moments: no batch has to be drawn.",
        ("BS", r"\mathrm{BS} = \frac{\mathbb{E}\,g_B^\top H_Bg_B}{\mathbb{E}\,|g_B|^2}"),
        numerator / denominator, CURVATURE / GRADIENT,
        lambda sample: sample.curvature / sample.gradient, reference="Andreyev and Beneventano 2024",
    )  # fmt: skip


def ias() -> ClosedForm:
    return average_form(
        "ias",
        "Interaction-aware sharpness",
        "IAS is the Rayleigh quotient of the full Hessian along batch gradients, so it never exceeds lambda_max.",
        ("IAS", r"\mathrm{IAS} = \frac{\mathbb{E}\,g_B^\top\bar Hg_B}{\mathbb{E}\,|g_B|^2}"),
        average("g.g", WITHOUT) / average("gg", WITHOUT), INTERACTION / GRADIENT,
        lambda sample: sample.interaction / sample.gradient, reference="Lee and Jang 2023",
    )  # fmt: skip


def gni() -> ClosedForm:
    return average_form(
        "gni",
        "Gradient-noise interaction",
        "GNI is affine in c2; on quadratics it exceeds 2/eta exactly where a step raises the expected full loss.",
        ("GNI", r"\mathrm{GNI} = \frac{\mathbb{E}\,g_B^\top\bar Hg_B}{|\bar g|^2}"),
        average("g.g", WITHOUT) / S2, INTERACTION / S2,
        lambda sample: sample.interaction / sample.values[S2], reference="Andreyev and Beneventano 2024",
    )  # fmt: skip


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    batch_gradient_square,
    batch_interaction,
    batch_curvature,
    batch_curvature_with_replacement,
    batch_curvature_bernoulli,
    batch_curvature_raw_sums,
    batch_sharpness,
    ias,
    gni,
)
