r"""True of the mean-square sharpness S_ms of quadratics, whose edge is S_ms = 2 / step_size.

In directions of positive curvature, with :math:`D(X) = E_B[H_BXH_B]` and :math:`C(X) = \tfrac12(\bar HX + X\bar H)`,
S_ms is the largest eigenvalue of the pencil (D, C), and it has a positive semi-definite eigenvector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...arguments import FloatArray
from ...theory import critical_batch_sharpness
from ..claim import Claim
from ..entries import arrays
from ..point import Point
from . import regions
from .rounding import kept, pencil_condition, well_conditioned

ANY = "Symmetric Hessians of any sign whose mean has a positive eigenvalue; directions of positive mean curvature."
DEFINITE = "Positive semi-definite Hessians, not all zero."
SCHEMES = "Batches with or without replacement, or Bernoulli."
TOLERANCE = 1e-11
Matrix = list[list[float]]  # as code, a case is then printed with all digits
MULAYOFF = "Mulayoff and Michaeli 2024"


def in_kept_directions(point: Point) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues (r,) of the mean Hessian, and the samples' Hessians (n, r, r) in its eigenvectors."""
    values, vectors = kept(point)
    return values, vectors.T @ point.hessians @ vectors


def mean_sandwich(point: Point, x: FloatArray) -> FloatArray:
    """E_B[H_B x H_B] in the kept directions, from the sampling coefficients."""
    values, samples = in_kept_directions(point)
    noise = point.noise
    spread = np.mean(samples @ x @ samples, axis=0)
    mean = values[:, None] * x * values
    return mean + noise.c2 * (spread if noise.raw else spread - mean)


def scale(point: Point, *sizes: float) -> float:
    return pencil_condition(point) * max((point.mean_square_sharpness, *sizes))


def chain(point: Point, *increasing: float) -> tuple[Any, ...]:
    return np.array(increasing[:-1]), np.array(increasing[1:]), scale(point, increasing[-1])


def eigenvector_bounds(point: Point) -> tuple[Any, ...]:
    values, samples = in_kept_directions(point)
    along = np.einsum("nkk->kn", samples)  # v_k' H_i v_k
    spread = np.mean(along**2, axis=1) - (0.0 if point.noise.raw else values**2)
    bounds = values + point.noise.c2 * spread / values
    upper = np.full_like(bounds, point.mean_square_sharpness)
    return np.concatenate([values, bounds]), np.concatenate([bounds, upper]), scale(point)


def rayleigh(point: Point, x: FloatArray) -> float:
    values = kept(point)[0]
    return float(np.sum(x * mean_sandwich(point, x)) / np.sum(x * x * (values[:, None] + values) / 2))


def power_bounds(point: Point) -> tuple[Any, ...]:
    values = kept(point)[0]
    quotients = [rayleigh(point, np.diag((values / values[-1]) ** power)) for power in (0, 1, -1)]
    return np.array(quotients), point.mean_square_sharpness, scale(point)


def with_matrices() -> SearchStrategy[tuple[Point, Matrix]]:
    """Points and a square matrix."""
    return regions.independent_batches().flatmap(
        lambda point: st.tuples(st.just(point), arrays((point.model.dim, point.model.dim)).map(np.ndarray.tolist))
    )


def matrix_remains(case: tuple[Point, Matrix]) -> bool:
    """Whether the symmetric part of the matrix has some of it in the kept directions."""
    point, matrix = case[0], np.array(case[1])
    vectors = kept(point)[1]
    symmetric = matrix + matrix.T
    return well_conditioned(point) and bool(abs(vectors.T @ symmetric @ vectors).max() > 1e-6 * abs(symmetric).max())


def matrix_bound(case: tuple[Point, Matrix]) -> tuple[Any, ...]:
    point, matrix = case[0], np.array(case[1])
    vectors = kept(point)[1]
    x = vectors.T @ (matrix + matrix.T) @ vectors
    return rayleigh(point, x), point.mean_square_sharpness, scale(point)


def trace_bounds(point: Point) -> tuple[Any, ...]:
    values = kept(point)[0]
    root = 1 / np.sqrt(values)
    trace = float(np.linalg.eigvalsh(root[:, None] * mean_sandwich(point, np.eye(len(values))) * root)[-1])
    return chain(point, point.mean_square_sharpness, trace)


def trace_below_worst_batch(point: Point) -> tuple[Any, ...]:
    _, trace, size = trace_bounds(point)
    return trace, float(np.linalg.eigvalsh(point.batches().hessians)[:, -1].max()), size


def falls_with_batch_size(point: Point) -> tuple[Any, ...]:
    return regions.one_more_sample(point).mean_square_sharpness, point.mean_square_sharpness, scale(point)


def sample_bound(point: Point) -> tuple[Any, ...]:
    c2, largest = point.noise.c2, float(np.linalg.eigvalsh(point.hessians)[:, -1].max())
    bound = (1 if point.noise.raw else 1 - c2) * point.lambda_max + c2 * largest
    return point.mean_square_sharpness, bound, scale(point)


def on_critical_mode(point: Point) -> tuple[Any, ...]:
    critical = critical_batch_sharpness(point.hessians, point.batch_size, point.sampling)
    return point.mean_square_sharpness, critical, scale(point)


def alignment_bound(point: Point) -> tuple[Any, ...]:
    values, samples = in_kept_directions(point)
    noise = np.einsum("nij,j,njk->ik", samples, values, samples) / len(samples)
    noise -= 0.0 if point.noise.raw else np.diag(values**3)
    root = 1 / np.sqrt(values)
    least = max(0.0, float(np.linalg.eigvalsh(root[:, None] * noise * root)[0]))
    # a square root turns an error of the roundoff into one of its root: compare the squares
    return 4 * point.noise.c2 * least, point.mean_square_sharpness**2, scale(point) ** 2


LOWER = Claim(
    "lambda <= lambda + c2 Var(v'Hv) / lambda <= S_ms",
    "An eigenvector of the mean Hessian bounds S_ms from below: by its eigenvalue, and by more if samples disagree.",
    eigenvector_bounds,
    regions.independent_batches,
    kind="mean-square",
    formula=r"\lambda_j \le \lambda_j + c_2\mathrm{Var}_i(v_j^T H_i v_j)/\lambda_j \le S_{ms}",
    assumptions=(ANY, SCHEMES, "Any eigenvector v_j of positive eigenvalue; Bernoulli: raw second moments."),
    proof="Rayleigh quotient of the pencil at v_j v_j'.",
    reference="I1, for every eigenvector",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
POWERS = Claim(
    "tr E[H_B^2] / tr Hbar <= S_ms",
    "The identity, the mean Hessian and its inverse bound S_ms from below.",
    power_bounds,
    regions.semi_definite,
    kind="mean-square",
    formula=r"\frac{\mathrm{tr}(V D(V))}{\mathrm{tr}(V C(V))} \le S_{ms}, \quad V = I,\ \bar H,\ \bar H^{-1}",
    assumptions=(DEFINITE, SCHEMES, "On the range of the mean Hessian."),
    proof="Rayleigh quotients of the pencil.",
    reference="I2",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
MATRICES = Claim(
    "tr V D(V) / tr V C(V) <= S_ms",
    "Every symmetric matrix bounds S_ms from below.",
    matrix_bound,
    with_matrices,
    kind="mean-square",
    formula=r"\frac{\mathrm{tr}(V D(V))}{\mathrm{tr}(V C(V))} \le S_{ms} \quad\text{for all } V = V^T \ne 0",
    assumptions=(ANY, SCHEMES),
    proof="Rayleigh quotient of the pencil.",
    reference="I2; " + MULAYOFF,
    tolerance=TOLERANCE,
    defined=matrix_remains,
)
TRACE = Claim(
    "S_ms <= S_tr",
    "In directions of positive mean curvature a step size at which |x|^2 decreases on average from every x is "
    "mean-square stable.",
    trace_bounds,
    regions.independent_batches,
    kind="mean-square",
    formula=r"S_{ms} \le S_{tr} = \lambda_{\max}(\bar H^{-1/2}E[H_B^2]\bar H^{-1/2})",
    assumptions=(ANY, SCHEMES),
    proof="Traces of D(X) = S_ms C(X): S_ms tr(Hbar X) = tr(E[H_B^2] X) <= S_tr tr(Hbar X), and X is semi-definite.",
    reference="I3; Wu et al. 2018",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
WORST = Claim(
    "S_tr <= max lambda_max(H_B)",
    "A step size at which every batch contracts is one at which |x|^2 decreases on average.",
    trace_below_worst_batch,
    regions.semi_definite,
    kind="mean-square",
    formula=r"S_{tr} \le \max_B \lambda_{\max}(H_B)",
    assumptions=(DEFINITE, SCHEMES),
    proof="H_B^2 <= lambda_max(H_B) H_B.",
    reference="I3",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
FALLS = Claim(
    "S_ms falls with b",
    "In directions of positive mean curvature larger batches do not make the mean-square edge smaller.",
    falls_with_batch_size,
    regions.independent_batches,
    kind="mean-square",
    formula=r"S_{ms}(b + 1) \le S_{ms}(b)",
    assumptions=(ANY, SCHEMES),
    proof="D is affine in c2 with a slope that maps the cone into itself; C^-1 does, too; radii are monotone.",
    reference="I4",
    tolerance=TOLERANCE,
    defined=lambda point: regions.not_full_batch(point) and well_conditioned(point),
)
FULL = Claim(
    "b = n: S_ms = lambda_max",
    "In directions of positive mean curvature the mean-square edge of the full batch is that of gradient descent.",
    lambda point: (point.mean_square_sharpness, point.lambda_max, scale(point)),
    regions.full_batches,
    kind="mean-square",
    relation="==",
    formula=r"S_{ms}(n) = \lambda_{\max}(\bar H)",
    assumptions=(ANY, "Batches without replacement, of all samples."),
    proof="D(X) = Hbar X Hbar, whose quotient with C is at most lambda_max, attained at v_1 v_1'.",
    reference="I4",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
SAMPLES = Claim(
    "S_ms <= (1 - c2) lambda_max + c2 max lambda_max(H_i)",
    "S_ms lies below the average, by c2, of the sharpness of the full loss and that of the sharpest sample.",
    sample_bound,
    regions.semi_definite,
    kind="mean-square",
    formula=r"S_{ms} \le (1 - c_2)\lambda_{\max}(\bar H) + c_2\max_i\lambda_{\max}(H_i)",
    assumptions=(DEFINITE, SCHEMES, "Least squares: lambda_max(H_i) = |a_i|^2. Bernoulli: 1 in place of 1 - c2."),
    proof="Traces of D(X) = S_ms C(X), with tr(H_i X H_i) <= lambda_max(H_i) tr(H_i X).",
    reference="I5, for all semi-definite Hessians",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
CRITICAL = Claim(
    "S_ms <= BS_R on the critical mode",
    "On the mode that loses mean-square stability first, Batch Sharpness (ratio of means) has already crossed 2/eta.",
    on_critical_mode,
    regions.semi_definite,
    kind="mean-square",
    formula=r"S_{ms} \le \mathrm{tr}(E[H_B^3]X^*) / \mathrm{tr}(E[H_B^2]X^*)",
    assumptions=(DEFINITE, SCHEMES, "An interpolating minimum, with an error of covariance X*, the Perron matrix."),
    proof="Moments are log-convex batch by batch; Cauchy-Schwarz over batches; the trace of D(X*) = S_ms C(X*).",
    reference="I6",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
ALIGNMENT = Claim(
    "2 sqrt(c2 lambda_min(G^-1/2 M G^-1/2)) <= S_ms",
    "Noise whose loss is bounded from below in terms of the loss itself bounds S_ms from below.",
    alignment_bound,
    regions.independent_batches,
    kind="mean-square",
    formula=r"4c_2\lambda_{\min}(G^{-1/2}MG^{-1/2}) \le S_{ms}^2, \quad G = \bar H,\ M = \overline{H_iGH_i} - G^3",
    assumptions=(ANY, SCHEMES, "Bernoulli: M without - G^3."),
    proof="The expected loss after a step is at least (eta^2 / 2) c2 x'Mx: up to the edge it must not grow.",
    reference="E12, in the form that can be proven; Ma and Ying 2021, Wu and Su 2023",
    tolerance=TOLERANCE,
    defined=well_conditioned,
)
CLAIMS: tuple[Claim[Any], ...] = (
    LOWER, POWERS, MATRICES, TRACE, WORST, FALLS, FULL, SAMPLES, CRITICAL, ALIGNMENT,
)  # fmt: skip
