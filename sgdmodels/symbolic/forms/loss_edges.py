r"""Mean-square sharpness and edge of the built-in losses with one feature, where all samples curve one direction.

There the Hessian of sample i is :math:`h_i` times one matrix of rank one, and a deviation x along it obeys
:math:`x^+ = (1 - \eta h_B)x`, so that :math:`E x^2` is stable if :math:`E(1 - \eta h_B)^2 < 1`:

.. math:: \eta S_{ms} < 2, \qquad S_{ms} = a + \frac{s^2}{a}, \quad a = E h_B,\ s^2 = \mathrm{Var}\,h_B =
          c_2\,(m_4 - m_2^2)

times the curvature that all samples share; m2, m4 are the means of x_i^2, x_i^4. Source: Mulayoff and Michaeli 2024.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ...models import (
    DiagonalNetwork,
    GatedQuadratic,
    LeastSquares,
    LinearNetwork,
    Quadratics,
    ScalarProduct,
    SharpeningLeastSquares,
)
from ...theory.mean_square import mean_square_sharpness
from ..closed_form import ClosedForm, Formula, proven
from .batch_averages import c2
from .enumerated_batches import WITH, WITHOUT, batch_means, crossing, spectral_radius, square_map
from .loss_quantities import replacement, sampling_coefficients
from .mean_hessians import h, line, rank_one
from .sampling_moments import b, n

m2, m4, eta, root = sp.symbols("m_2 m_4 eta S_ms", positive=True)
u, v, a, s, kappa = sp.symbols("u v a s kappa", real=True)
MOMENTS = "m_2, m_4 are the means of x_i^2, x_i^4"
INTERPOLATION = ("one feature", "interpolation", MOMENTS)
DRAWN = "batches drawn with or without replacement"
Draw = Callable[[np.random.Generator, Any], tuple[Any, Any, tuple[Any, ...]]]


def line_sharpness(mean: Any, variance: Any) -> Any:
    """S such that E(1 - eta h_B)^2 = 1 at eta = 2 / S."""
    growth = 1 - 2 * eta * mean + eta**2 * (mean**2 + variance)
    (solution,) = sp.roots(sp.cancel((growth - 1) / eta), eta)
    return sp.cancel(2 / solution)


@dataclass(frozen=True)
class Edge:
    """A loss of one feature at a point without residuals.

    shared: what the Hessians h_i of the samples have in common, h_i = shared x_i^2. arguments: what it depends on.
    draw: a loss, a point and the values of `arguments`, for given inputs. other: the curvature of a second direction,
    the same for all samples. fixed: number of parameters, at the end, that are held fixed.
    """

    words: str
    shared: Any
    arguments: tuple[Any, ...]
    draw: Draw
    assumptions: tuple[str, ...]
    other: Any = None
    fixed: int = 0

    @property
    def sharpness(self) -> Any:
        mean, variance = self.shared * m2, self.shared**2 * c2 * (m4 - m2**2)
        shown = proven(line_sharpness(mean, variance), self.shared * (m2 + c2 * (m4 - m2**2) / m2))
        return shown if self.other is None else sp.Max(shown, self.other)

    def form(self, edge: bool, name: str) -> ClosedForm:
        def compare(formula: Formula, rng: np.random.Generator) -> tuple[Any, Any]:
            size = int(rng.integers(3, 6))
            x, batch, again = rng.normal(size=size), int(rng.integers(1, size + 1)), bool(rng.integers(2))
            model, theta, values = self.draw(rng, x)
            free = model.dim - self.fixed
            hessians = model.sample_hessians(theta)[:, :free, :free]
            found = formula(*values, np.mean(x**2), np.mean(x**4), size, batch, again)
            scheme = WITH if again else WITHOUT
            return found, (enumerated_edge if edge else mean_square_sharpness)(hessians, batch, scheme)

        stable = "SGD is mean-square stable up to the step size 2 / S_ms."
        coefficient = (c2, sampling_coefficients()[c2])
        return ClosedForm(
            name=name,
            title=f"Mean-square {'edge' if edge else 'sharpness'} of {self.words}",
            statement="The largest step size at which SGD is mean-square stable." if edge else stable,
            quantity="eta_max" if edge else "S_ms",
            quantity_latex=r"\eta_{\max}" if edge else "S_{ms}",
            expression=2 / root if edge else self.sharpness,
            where=((root, self.sharpness), coefficient) if edge else (coefficient,),
            arguments=(*self.arguments, m2, m4, n, b, replacement),
            assumptions=(*self.assumptions, DRAWN),
            reference="this project (criterion: Mulayoff and Michaeli 2024)",
            route="spectral radius of the second-moment map over all batches"
            if edge
            else "top eigenvalue of the pencil",
            compare=compare,
            instances=8,
            tolerance=1e-8,
        )


def enumerated_edge(hessians: Any, batch: int, scheme: str) -> float:
    """Where the second moment over all batches starts to grow, in the directions that are curved."""
    values, vectors = np.linalg.eigh(hessians.mean(axis=0))
    basis = vectors[:, values > 1e-9 * values[-1]]
    curved, p = batch_means(basis.T @ hessians @ basis, batch, scheme)
    identity = np.eye(basis.shape[1])
    return crossing(lambda eta: spectral_radius(square_map(identity - eta * curved, p)), 0.05 / values[-1])


def _factors(prefix: str, depth: int) -> Any:
    """The curvature that the samples share at interpolation, from the definition."""
    names = sp.symbols("u v" if depth == 2 else f"u1:{depth + 1}", real=True)
    shown = sum(sp.prod(names) ** 2 / f**2 for f in names)
    return names, rank_one(line(prefix, sp.S.Zero), h * shown) / h


def _least_squares() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        return LeastSquares(x[:, None], rng.normal(size=len(x))), rng.normal(size=1), ()

    shared = proven(line("least_squares")[0] / h, sp.S.One)
    return Edge("least squares", shared, (), draw, ("one feature", MOMENTS))


def _product(prefix: str, words: str, depth: int) -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        theta = rng.normal(size=depth)
        targets = x * theta.prod()
        scalar = depth == 4 or prefix == "scalar_product"
        model = ScalarProduct(x, targets, depth) if scalar else DiagonalNetwork(x[:, None], targets, depth)
        return model, theta, tuple(theta)

    names, shared = _factors(prefix, depth)
    return Edge(words, shared, names, draw, INTERPOLATION)


def _difference() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        theta = rng.normal(size=2)
        return DiagonalNetwork(x[:, None], x * (theta[0] ** 2 - theta[1] ** 2), form="difference"), theta, tuple(theta)

    shared = rank_one(line("difference_network", sp.S.Zero), 4 * h * (u**2 + v**2)) / h
    return Edge("w = u^2 - v^2", shared, (u, v), draw, INTERPOLATION)


def _linear_network() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        theta = rng.normal(size=2)
        return LinearNetwork(x[:, None], x * theta.prod()), theta, tuple(theta)

    shared = rank_one(line("linear_network", sp.S.Zero), h * (a**2 + v**2)) / h
    return Edge("f(x) = a v x", shared, (v, a), draw, INTERPOLATION)


def _sharpening() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        theta = rng.normal(size=2)
        return SharpeningLeastSquares(x[:, None], rng.normal(size=len(x)), 0.3), theta, (theta[1],)

    shared = proven(line("sharpening_least_squares")[0, 0] / h, v**2)
    return Edge("PSL, along u", shared, (v,), draw, ("one feature", "v held fixed", MOMENTS), fixed=1)


def _gated() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        point, scale, stiffness = rng.uniform(0.3, 2.0, 3)
        return GatedQuadratic(x[:, None], point * x, stiffness, 2.0), np.array([point, scale]), (scale, stiffness)

    matrix = line("gated_quadratic", sp.S.Zero)
    proven(matrix, sp.diag(h * s, kappa))
    assumptions = ("one feature", "all rho_i are zero", "s > 0", "m_2, m_4 are the means of a_i^2, a_i^4")
    return Edge("the gated quadratic", s, (s, kappa), draw, assumptions, other=kappa)


def _quadratics() -> Edge:
    def draw(rng: np.random.Generator, x: Any) -> Any:
        return Quadratics((x**2)[:, None, None], rng.normal(size=(len(x), 1))), rng.normal(size=1), ()

    assumptions = ("one dimension", "all curvatures h_i are positive", "m_2, m_4 are the means of h_i, h_i^2")
    return Edge("quadratics", sp.S.One, (), draw, assumptions)


MAKERS: dict[str, tuple[str, Callable[[], Edge]]] = {  # prefix -> topic, maker
    "least_squares": ("least_squares", _least_squares),
    "diagonal_network": ("diagonal_network", functools.partial(_product, "diagonal_network", "w = u v", 2)),
    "cubic_network": ("diagonal_network", functools.partial(_product, "cubic_network", "w = u1 u2 u3", 3)),
    "difference_network": ("diagonal_network", _difference),
    "scalar_product": ("scalar_product", functools.partial(_product, "scalar_product", "f(x) = u v x", 2)),
    "fourfold_product": ("scalar_product", functools.partial(_product, "fourfold_product", "f(x) = u1 u2 u3 u4 x", 4)),
    "linear_network": ("linear_network", _linear_network),
    "sharpening_least_squares": ("sharpening_least_squares", _sharpening),
    "gated_quadratic": ("gated_quadratic", _gated),
    "quadratics": ("quadratics", _quadratics),
}


@functools.cache
def _edge(prefix: str) -> Edge:
    return MAKERS[prefix][1]()


def _derive(prefix: str, edge: bool, name: str) -> ClosedForm:
    return _edge(prefix).form(edge, name)


EDGES: dict[str, dict[str, Callable[[str], ClosedForm]]] = {topic: {} for topic, _ in MAKERS.values()}
for _prefix, (_topic, _) in MAKERS.items():
    EDGES[_topic][f"{_prefix}_mean_square_sharpness"] = functools.partial(_derive, _prefix, False)
    EDGES[_topic][f"{_prefix}_mean_square_edge"] = functools.partial(_derive, _prefix, True)
