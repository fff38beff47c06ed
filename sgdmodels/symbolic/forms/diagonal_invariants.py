r"""What SGD conserves in diagonal linear networks, and the mirror descent that it runs.

.. math:: l_i = \tfrac12(x_i^\top w - y_i)^2, \qquad w_j = u_jv_j, \qquad q_B = \tfrac1bX_B^\top r_B

All formulas are for each coordinate, with its index left out. A step of SGD and the imbalance c are

.. math:: u^+ = u - \eta q_Bv, \qquad v^+ = v - \eta q_Bu, \qquad c = u^2 - v^2.

Gradient flow conserves c, and a step multiplies it by :math:`1 - \eta^2q_B^2`. With :math:`w_\pm = u \pm v` a step
multiplies by :math:`1 \mp \eta q_B`, and since :math:`w_+w_- = c` and :math:`w_+^2 - w_-^2 = 4w`,

.. math:: \mathrm{arcsinh}\frac{2w}{|c|} = \log\Big|\frac{w_+}{w_-}\Big|,

so that SGD is mirror descent with the hyperbolic entropy. Sources: Woodworth et al. 2020; Even, Pesme, Gunasekar and
Flammarion 2023; Ghai, Hazan and Singer 2020.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from ...models import DiagonalNetwork
from ..closed_form import ClosedForm, Formula, proven

eta = sp.Symbol("eta", positive=True)
u, v, q, c = sp.symbols("u v q c", real=True)
step = sp.Symbol("t", integer=True)
steps, n, b = sp.symbols("T n b", positive=True)
slope = sp.IndexedBase("q")
EVEN = "Even, Pesme, Gunasekar and Flammarion 2023"
STEP = "one step of SGD on a random batch of a network"


def _step(rate: Any) -> tuple[Any, Any]:
    """(u, v) of w = u v after a step; the gradient is (v q, u q)."""
    return u - rate * v * q, v - rate * u * q


def _sgd(rng: np.random.Generator, count: int = 1, converging: bool = False) -> tuple[float, Any, Any, DiagonalNetwork]:
    """Step size, parameters (T+1, 6) and batch slopes q_B (T, 3) of `count` steps of SGD on 2 samples, 3 features.

    converging: orthonormal inputs and unbalanced factors, with which a run soon reaches an interpolator.
    """
    inputs = rng.normal(size=(2, 3))
    start = rng.uniform(-1, 1, 6)
    if converging:
        inputs = np.ascontiguousarray(np.linalg.qr(inputs.T)[0].T)
        start = rng.permuted(rng.uniform([[1.4], [0.5]], [[1.8], [0.7]], (2, 3)), axis=0).ravel()
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)  # a curvature of order 1: no run diverges
    network = DiagonalNetwork(inputs, rng.uniform(-1, 1, 2))
    rate, path, slopes = float(rng.uniform(0.1, 0.3)), [start], []
    for _ in range(count):
        batch = rng.integers(2, size=1)
        slopes.append((network.residuals(path[-1])[:, None] * network.inputs)[batch].mean(axis=0))
        path.append(path[-1] - rate * network.sample_gradients(path[-1])[batch].mean(axis=0))
    return rate, np.array(path), np.array(slopes), network


def imbalance_step() -> ClosedForm:
    after = _step(eta)
    expression = proven((after[0] ** 2 - after[1] ** 2).expand().subs(u**2, c + v**2), c * (1 - eta**2 * q**2))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, path, slopes, _ = _sgd(rng)
        before, after = path[:, :3] ** 2 - path[:, 3:] ** 2
        return formula(before, rate, slopes[0]), after

    return ClosedForm(
        name="imbalance_step",
        title="Imbalance after a step",
        statement="Every step of GD or SGD on w = u v shrinks the imbalance u^2 - v^2 while |eta q| < sqrt(2).",
        quantity="c_next",
        quantity_latex="c^+",
        expression=expression,
        arguments=(c, eta, q),
        assumptions=("w = u v, c = u^2 - v^2", "q is the batch gradient with respect to w"),
        reference=EVEN,
        route=STEP,
        compare=compare,
    )


def mirror_coordinates_step() -> ClosedForm:
    plus, minus = sp.symbols("w_+ w_-", real=True)
    after = _step(eta)
    halves = {u: (plus + minus) / 2, v: (plus - minus) / 2}
    derived = sp.Matrix([after[0] + after[1], after[0] - after[1]]).subs(halves, simultaneous=True)
    expression = proven(derived, sp.Matrix([plus * (1 - eta * q), minus * (1 + eta * q)]))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, path, slopes, _ = _sgd(rng)
        sums, differences = path[:, :3] + path[:, 3:], path[:, :3] - path[:, 3:]
        return formula(sums[0], differences[0], rate, slopes[0]).squeeze(), np.array([sums[1], differences[1]])

    return ClosedForm(
        name="mirror_coordinates_step",
        title="Sum and difference of the factors after a step",
        statement="In the coordinates u + v and u - v a step of GD or SGD is a multiplication.",
        quantity="(w_+, w_-) next",
        quantity_latex=r"\begin{pmatrix}w_+^+\\w_-^+\end{pmatrix}",
        expression=expression,
        arguments=(plus, minus, eta, q),
        assumptions=("w = u v, w_+ = u + v, w_- = u - v", "q is the batch gradient with respect to w"),
        reference=EVEN,
        route=STEP,
        compare=compare,
    )


def mirror_identity() -> ClosedForm:
    # 2w/|c| = (w_+^2 - w_-^2) / (2 |w_+ w_-|) depends on |w_+| and |w_-| alone: positive symbols cover all signs
    plus, minus, shrink, grow = sp.symbols("w_+ w_- f g", positive=True)
    proven(sp.sinh(sp.log(plus / minus)).rewrite(sp.exp), (plus**2 - minus**2) / (2 * plus * minus))
    stepped = sp.log(plus * shrink / (minus * grow)) - sp.log(plus / minus)
    gain = sp.log(proven(sp.exp(sp.expand_log(stepped)), shrink / grow))
    term = gain.subs({shrink: sp.Abs(1 - eta * slope[step]), grow: sp.Abs(1 + eta * slope[step])})
    expression = sp.Sum(term, (step, 0, steps - 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, path, slopes, _ = _sgd(rng, 20)
        mirror = np.arcsinh(2 * path[:, :3] * path[:, 3:] / np.abs(path[:, :3] ** 2 - path[:, 3:] ** 2))
        return formula(rate, slopes, 20), mirror[-1] - mirror[0]

    return ClosedForm(
        name="mirror_identity",
        title="Mirror map along GD and SGD",
        statement="The mirror map of w moves by a function of the batch slopes alone, whatever w and c are.",
        quantity="arcsinh(2 w_T / |c_T|) - arcsinh(2 w_0 / |c_0|)",
        quantity_latex=r"\mathrm{arcsinh}\frac{2w_T}{|c_T|} - \mathrm{arcsinh}\frac{2w_0}{|c_0|}",
        expression=expression,
        arguments=(eta, slope, steps),
        assumptions=(
            "w = u v, c = u^2 - v^2, never 0",
            "q_t is the gradient of batch t of T with respect to w; w_t, c_t after t steps",
        ),
        reference=EVEN,
        route="20 steps of SGD on random batches of a network",
        compare=compare,
    )


def selected_interpolator(network: DiagonalNetwork, start: Any, imbalance: Any) -> Any:
    """The minimiser over interpolators of the Bregman divergence of the entropy from the point of mirror map `start`.

    With one feature more than samples, interpolators are a line, on which the derivative is monotone.
    """
    from scipy.optimize import brentq

    particular = np.linalg.pinv(network.inputs) @ network.targets
    direction = np.linalg.svd(network.inputs)[2][-1]

    def derivative(t: float) -> float:
        return float(direction @ (np.arcsinh(2 * (particular + t * direction) / imbalance) - start))

    return particular + brentq(derivative, -1e3, 1e3, xtol=1e-15, rtol=1e-15) * direction


def dual_certificate() -> ClosedForm:
    # a step moves the mirror map by log((1 - z) / (1 + z)) with z = eta q; the terms of higher order are taken off
    z = sp.Symbol("z", real=True)
    corrected = sp.log((1 - z) / (1 + z)) + 2 * sp.atanh(z) - 2 * z
    proven(corrected.subs(z, 0), sp.Integer(0))
    slope_of = proven(sp.diff(corrected, z), sp.Integer(-2))
    expression = sp.Sum(slope_of * eta * slope[step], (step, 0, steps - 1))

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        rate, path, slopes, network = _sgd(rng, 400, converging=True)
        w, c = path[:, :3] * path[:, 3:], np.abs(path[:, :3] ** 2 - path[:, 3:] ** 2)
        z, mirror = rate * slopes, np.arcsinh(2 * w[0] / c[0])
        shift = (2 * z - 2 * np.arctanh(z)).sum(axis=0)
        limit = selected_interpolator(network, mirror + shift, c[-1])
        return formula(rate, slopes, len(slopes)), np.arcsinh(2 * limit / c[-1]) - mirror - shift

    return ClosedForm(
        name="dual_certificate",
        title="Optimality condition of the interpolator that SGD selects",
        statement="Up to the higher-order terms that the artanh sums, which shift the start, the mirror map moves by "
        "-2 eta X_B' r_B / b a step and so in the span of the data: if SGD converges to an interpolator, that one "
        "minimises the Bregman divergence of the entropy at the final imbalance from the shifted start.",
        quantity="arcsinh(2 w_T / |c_T|) - arcsinh(2 w_0 / |c_0|) + Sum_t (2 artanh(eta q_t) - 2 eta q_t)",
        quantity_latex=r"\mathrm{arcsinh}\frac{2w_T}{|c_T|} - \mathrm{arcsinh}\frac{2w_0}{|c_0|}"
        r" + \sum_t\left(2\,\mathrm{artanh}(\eta q_t) - 2\eta q_t\right)",
        expression=expression,
        arguments=(eta, slope, steps),
        assumptions=(
            "w = u v, c = u^2 - v^2, never 0",
            "|eta q_t| < 1",
            "q_t = X_B' r_B / b for batch t of T; w_t, c_t after t steps",
        ),
        reference=EVEN,
        route="the limit w_T is replaced by the minimiser of the Bregman divergence over all interpolators, found by "
        "bisection, at the end of 400 steps of SGD on a network with fewer samples than features",
        compare=compare,
    )


def imbalance_rate() -> ClosedForm:
    mean, variance = sp.symbols("qbar V", real=True)
    per_step = sp.series(sp.log(1 - eta**2 * q**2), eta, 0, 4).removeO().coeff(eta, 2)
    proven(per_step, -(q**2))
    # E[q_B^2] over all batches of two out of four samples, by their mean and variance
    values = sp.symbols("q_0:4", real=True)
    pairs = [(values[k] + values[m]) / 2 for k in range(4) for m in range(k)]
    centre = sum(values) / 4
    spread = sum((value - centre) ** 2 for value in values) / 4
    share = (n - b) / (b * (n - 1))
    shown = -(mean**2 + share * variance)
    small = shown.subs({n: 4, b: 2}).subs({mean: centre, variance: spread})
    proven(sum(per_step.subs(q, pair) for pair in pairs) / 6, small)

    def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
        samples = int(rng.integers(4, 7))
        size = int(rng.integers(1, samples))
        network = DiagonalNetwork(rng.normal(size=(samples, 3)), rng.normal(size=samples))
        theta = rng.normal(size=6)
        gradients, log_ratio = network.sample_gradients(theta), []
        pulls = network.residuals(theta)[:, None] * network.inputs
        before = theta[:3] ** 2 - theta[3:] ** 2
        for rate in (1e-4, 5e-5):
            total = np.zeros(3)
            batches = list(itertools.combinations(range(samples), size))
            for batch in batches:
                g = gradients[list(batch)].mean(axis=0)
                (p, m), (dp, dm) = np.reshape(theta, (2, 3)), np.reshape(g, (2, 3))
                change = -2 * rate * (p * dp - m * dm) + rate**2 * (dp**2 - dm**2)
                total += np.log1p(change / before)
            log_ratio.append(total / len(batches) / rate**2)
        return formula(pulls.mean(axis=0), pulls.var(axis=0), samples, size), (4 * log_ratio[1] - log_ratio[0]) / 3

    return ClosedForm(
        name="imbalance_rate",
        title="Rate at which SGD shrinks the imbalance",
        statement="The logarithm of the imbalance falls by eta^2 E[q_B^2] a step: sampling noise adds to the fall.",
        quantity="lim E[log(c_next / c)] / eta^2 for eta -> 0",
        quantity_latex=r"\lim_{\eta\to0}\frac{1}{\eta^2}E\log\frac{c^+}{c}",
        expression=shown,
        arguments=(mean, variance, n, b),
        assumptions=(
            "w = u v, c = u^2 - v^2",
            "qbar and V are mean and variance over the samples of the gradients r_i x_i with respect to w",
            "batches without replacement",
        ),
        reference="Pesme, Pillaud-Vivien and Flammarion 2021; " + EVEN,
        route="enumeration of all batches at two small step sizes, extrapolated",
        compare=compare,
        tolerance=1e-7,
    )


DERIVATIONS: tuple[Callable[[], ClosedForm], ...] = (
    imbalance_step,
    mirror_coordinates_step,
    mirror_identity,
    dual_certificate,
    imbalance_rate,
)
