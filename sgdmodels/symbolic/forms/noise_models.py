r"""Noise of models of SGD: SVAG, random weights on the samples, and fresh labels.

SVAG(l) replaces a step of size :math:`\eta` by l micro-steps of size :math:`\eta/l` on two independent batches each,

.. math:: \theta^+ = \theta - \frac{\eta}{l}\Big(\frac{1 + \sqrt{2l - 1}}2\,g_{B_1}
          + \frac{1 - \sqrt{2l - 1}}2\,g_{B_2}\Big).

Noisy gradient descent with random weights adds to the full gradient the noise

.. math:: \frac{1}{\sqrt n}\sum_i(\xi_i - \bar\xi)\,g_i,

with independent :math:`\xi_i` of mean 0 and variance 1; multiplied by :math:`\sqrt{c_2}` it has the covariance of
batches. With label noise the gradient of a sample with prediction :math:`f_i` is

.. math:: (f_i - y_i - \sigma\epsilon_i)\nabla f_i,

with fresh independent :math:`\epsilon_i` of mean 0 and variance 1 in every step. Sources: Li, Malladi and Arora 2021
(SVAG); Blanc et al. 2020 (label noise).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import DiagonalNetwork
from ..closed_form import ClosedForm, Formula, proven

ell, n, b, sigma = sp.symbols("l n b sigma", positive=True)
root = sp.sqrt(2 * ell - 1)
WEIGHTS = ((1 + root) / 2, (1 - root) / 2)
SVAG = "Li, Malladi and Arora 2021"


def _svag_moment(rng: np.random.Generator, power: int) -> tuple[int, float]:
    """l, and the central moment of a SVAG gradient over that of a batch gradient, over all pairs of batches."""
    gradients, micro = rng.normal(size=5) ** 2, int(rng.integers(1, 9))
    batches = [gradients[list(batch)].mean() for batch in itertools.combinations(range(5), 2)]
    first, second = (1 + np.sqrt(2 * micro - 1)) / 2, (1 - np.sqrt(2 * micro - 1)) / 2
    pairs = [first * p + second * r for p in batches for r in batches]
    moments = [((np.array(values) - gradients.mean()) ** power).mean() for values in (pairs, batches)]
    return micro, moments[0] / moments[1]


def _cumulant_factor(power: int) -> Any:
    """Independent gradients of equal law: central moments up to the third add up with the powers of the weights."""
    first, second = sp.symbols("d_1 d_2")  # centred gradients of the two batches
    moment = sp.Symbol("mu")
    expanded = sp.Poly(sp.expand((WEIGHTS[0] * first + WEIGHTS[1] * second) ** power), first, second)
    kept = {(power, 0): moment, (0, power): moment}
    return sp.expand(sum(value * kept.get(powers, 0) for powers, value in expanded.terms()) / moment)


def svag_variance() -> ClosedForm:
    proven(WEIGHTS[0] + WEIGHTS[1], sp.Integer(1))  # the mean is that of a batch

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        micro, truth = _svag_moment(rng, 2)
        return formula(micro), truth

    return ClosedForm(
        name="svag_variance",
        title="Variance of a SVAG gradient",
        statement="The gradient of a micro-step has l times the variance of a batch gradient, so that l micro-steps of "
        "size eta/l together have the variance of a step.",
        quantity="Var(SVAG gradient) / Var(g_B)",
        quantity_latex=r"\frac{\mathrm{Var}(g_{SVAG})}{\mathrm{Var}(g_B)}",
        expression=proven(_cumulant_factor(2), ell),
        arguments=(ell,),
        assumptions=("two independent batches", "l at least 1"),
        reference=SVAG,
        route="enumeration of all pairs of batches",
        compare=compare,
    )


def svag_third_moment() -> ClosedForm:
    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        micro, truth = _svag_moment(rng, 3)
        return formula(micro), truth

    return ClosedForm(
        name="svag_third_moment",
        title="Third moment of a SVAG gradient",
        statement="l micro-steps of size eta/l keep a share (3l - 1)/(2 l^2) of the third moment of a step.",
        quantity="mu_3(SVAG gradient) / mu_3(g_B)",
        quantity_latex=r"\frac{\mu_3(g_{SVAG})}{\mu_3(g_B)}",
        expression=proven(_cumulant_factor(3), (3 * ell - 1) / 2),
        arguments=(ell,),
        assumptions=("two independent batches", "l at least 1", "central moments"),
        reference="this project",
        route="enumeration of all pairs of batches",
        compare=compare,
    )


def gaussian_weights() -> ClosedForm:
    f, g = sp.IndexedBase("f"), sp.IndexedBase("g")
    i = sp.Symbol("i", integer=True)

    def total(term: Any) -> Any:
        return sp.Sum(term, (i, 0, n - 1)) / n

    shown = total(f[i] * g[i]) - total(f[i]) * total(g[i])
    xi = sp.symbols("xi_0:3")
    centre = sum(xi) / 3
    noises = [sum((x - centre) * values[k] for k, x in enumerate(xi)) / sp.sqrt(3) for values in (f, g)]
    product = sp.Poly(sp.expand(noises[0] * noises[1]), *xi)
    # E[xi_i xi_j] is 1 for i = j and 0 otherwise
    derived = sum(value for powers, value in product.terms() if 2 in powers)
    proven(derived, shown.subs(n, 3).doit())

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        gradients = rng.normal(size=(6, 3)) + 1
        signs = np.array(list(itertools.product((-1, 1), repeat=6)))
        noise = (signs - signs.mean(axis=1, keepdims=True)) @ gradients / np.sqrt(6)
        values = [[formula(gradients[:, j], gradients[:, k], 6) for k in range(3)] for j in range(3)]
        return values, noise.T @ noise / len(signs)

    return ClosedForm(
        name="gaussian_weights",
        title="Covariance of random weights on the samples",
        statement="Centred random weights on the per-sample gradients have exactly the covariance of the gradients.",
        quantity="E[noise_f noise_g]",
        quantity_latex=r"E\left[\tfrac1n\sum_i(\xi_i - \bar\xi)f_i\sum_j(\xi_j - \bar\xi)g_j\right]",
        expression=shown,
        arguments=(f, g, n),
        assumptions=(
            "xi_i independent with mean 0 and variance 1",
            "f_i and g_i: two coordinates of the gradient of sample i",
        ),
        reference="this project",
        route="enumeration of all sign vectors xi",
        compare=compare,
    )


def label_noise() -> ClosedForm:
    f, g = sp.IndexedBase("f"), sp.IndexedBase("g")
    i = sp.Symbol("i", integer=True)
    shown = sigma**2 / b * sp.Sum(f[i] * g[i], (i, 0, n - 1)) / n
    epsilon = sp.symbols("epsilon_0:3")
    total: Any = 0
    for batch in itertools.combinations(range(3), 2):
        # gradients (r - sigma epsilon) grad f with r = 0; labels independent, of variance 1
        noises = [sum(-sigma * epsilon[k] * values[k] for k in batch) / 2 for values in (f, g)]
        product = sp.Poly(sp.expand(noises[0] * noises[1]), *epsilon)
        total += sum(value for powers, value in product.terms() if 2 in powers) / 3
    proven(total, shown.subs({n: 3, b: 2}).doit())

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        inputs, theta, level = rng.normal(size=(4, 2)), rng.normal(size=4), rng.uniform(0.2, 1.0)
        labels = inputs @ (theta[:2] * theta[2:])
        slopes = inputs @ DiagonalNetwork(inputs, labels).jacobian(theta)
        covariance: Any = 0
        for signs in itertools.product((-1, 1), repeat=4):
            gradients = DiagonalNetwork(inputs, labels + level * np.array(signs)).sample_gradients(theta)
            for batch in itertools.combinations(range(4), 2):
                noise = gradients[list(batch)].mean(axis=0)
                covariance = covariance + np.outer(noise, noise) / (16 * 6)
        values = [[formula(slopes[:, j], slopes[:, k], level, 4, 2) for k in range(4)] for j in range(4)]
        return values, covariance

    return ClosedForm(
        name="label_noise",
        title="Covariance of label noise",
        statement="Fresh noise on the labels adds sigma^2 / b times the Gauss-Newton matrix, even at a perfect fit.",
        quantity="Cov(g_B)[f, g]",
        quantity_latex=r"\mathrm{Cov}(g_B)_{fg}",
        expression=shown,
        arguments=(f, g, sigma, n, b),
        assumptions=(
            "squared loss l_i = (f_i - y_i)^2 / 2, interpolation",
            "batches of b samples, drawn without replacement",
            "labels of every step are fresh, with variance sigma^2",
            "f_i and g_i: two coordinates of the gradient of the prediction of sample i",
        ),
        reference="Blanc et al. 2020",
        route="enumeration of all batches and all signs of the label noise",
        compare=compare,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    svag_variance,
    svag_third_moment,
    gaussian_weights,
    label_noise,
)
