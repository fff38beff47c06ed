r"""The zoo of stability criteria, E1 to E12, all in units of curvature: each says "stable" while it is below 2 / eta.

What a criterion says differs: *exact* (stable iff below), *necessary* (unstable if above), *sufficient* (stable if
below), *approximation*, or *diagnostic* (no statement on stability); and `of` what. Mean square means second moments of
SGD with independent batches around a minimum of the frozen quadratic model. Where everything is defined and the
Hessians are positive semi-definite,

.. math:: \lambda_{\max} \le \text{top-mode bound} \le S_{ms} \le \text{monotone bound} \le
          \max_B\lambda_{\max}(H_B), \qquad \text{trace bound},\ \text{alignment bound} \le S_{ms}.

Directions without positive mean curvature are left out of all but E1, E6, E7, E10 and E11.

A criterion is a function in `criterion_values` and an entry of `CRITERIA`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from ..arguments import float_array, integer, one_of
from ..errors import InvalidArgument
from ..sampling import SCHEMES
from . import criterion_values as values
from .criterion_values import Batches, Problem
from .pencil import batch_noise, hessian_population


@dataclass(frozen=True)
class Criterion:
    """A stability criterion: `symbol` and `formula` in LaTeX, and what being below 2 / eta means.

    The formula is the right-hand side, or, where it has one of its own, the equation that defines the symbol.
    """

    label: str
    name: str
    symbol: str
    formula: str
    meaning: str  # exact, necessary, sufficient, approximation, diagnostic
    of: str
    assumes: str
    cost: str
    reference: str
    evaluate: Callable[[Problem], float]
    simulated: bool = False


MEAN_SQUARE, PSD, ANY = "mean square", "Hessians positive semi-definite", "in directions of positive mean curvature"

CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        "E1", "lambda_max", r"\lambda_{\max}", r"\lambda_1(\bar H)", "exact", "the mean, and full-batch descent", "",
        "one eigenvalue", "Cohen et al. 2021", values.lambda_max,
    ),
    Criterion(
        "E2", "top_mode_bound", r"S_1", r"\lambda_1 + c_2\mathrm{Var}_i(v_1^\top H_iv_1)/\lambda_1", "necessary",
        MEAN_SQUARE, ANY, "one eigenvector, n products", "Rayleigh quotient of S_ms at v_1 v_1'", values.top_mode_bound,
    ),
    Criterion(
        "E3", "trace_bound", r"S_I", r"\mathrm{tr}E[H_B^2]/\mathrm{tr}\bar H", "necessary", MEAN_SQUARE, ANY,
        "n d for least squares", "Rayleigh quotient of S_ms at the identity", values.trace_bound,
    ),
    Criterion(
        "E4", "mean_square_sharpness", r"S_{ms}", r"\lambda_{\max}(C^{-1}D)", "exact", MEAN_SQUARE, ANY,
        "products: n d^2 for least squares, else n d^3", "Mulayoff and Michaeli 2024", values.mean_square,
    ),
    Criterion(
        "E5", "monotone_bound", r"S_{tr}", r"\lambda_{\max}(\bar H^{-1/2}E[H_B^2]\bar H^{-1/2})", "sufficient",
        "mean square (exact: it falls in every step)", ANY, "a pencil of d x d matrices", "Wu, Ma and E 2018",
        values.monotone_bound,
    ),
    Criterion(
        "E6", "worst_batch", r"S_{\max}", r"\max_B\lambda_{\max}(H_B)", "sufficient", "every path", PSD,
        "all batches; beyond 4096 a bound by the sharpest sample", "each step is a contraction", values.worst_batch,
    ),
    Criterion(
        "E7", "worst_sample_bound", r"S_7", r"(1-c_2)\lambda_1 + c_2\max_i\lambda_{\max}(H_i)", "sufficient",
        MEAN_SQUARE, PSD, "n d for least squares", "H_i X H_i' bounded by the sharpest sample",
        values.worst_sample_bound,
    ),
    Criterion(
        "E8", "high_dimensional", r"2/\eta_K", r"\textstyle\sum_k\frac{\eta_K\lambda_k}{b(2-\eta_K\lambda_k)} = 1",
        "approximation", MEAN_SQUARE, "least squares, fresh samples, high dimension", "the spectrum",
        "Paquette et al. 2021; Agarwala and Pennington 2024", values.high_dimensional,
    ),
    Criterion(
        "E9", "lyapunov", r"2/\eta_L", r"\lim\tfrac1tE\log\|\textstyle\prod_s(I-\eta_LH_{B_s})\| = 0", "exact",
        "almost every path", ANY, "a simulation of random products", "Furstenberg and Kesten 1960", values.lyapunov,
        simulated=True,
    ),
    Criterion(
        "E10", "minibatch_lambda_max", r"\text{MiniBS}", r"E_B[\lambda_{\max}(H_B)]", "diagnostic", "", "",
        "an eigenvalue of every batch", "Andreyev and Beneventano 2024, first version", values.minibatch_lambda_max,
    ),
    Criterion(
        "E11", "batch_sharpness", r"BS_R", r"E[g_B^\top H_Bg_B]/E|g_B|^2", "exact",
        "the batch's own loss in its own step, at this point", "quadratic losses, gradients given", "n products",
        "Andreyev and Beneventano 2024, appendix", values.batch_sharpness,
    ),
    Criterion(
        "E11", "batch_sharpness_mean_ratio", r"BS_E", r"E[g_B^\top H_Bg_B/|g_B|^2]", "diagnostic",
        "above (2 + epsilon) / eta the batch's gradients grow in their own step", "quadratic losses, gradients given",
        "all batches", "Andreyev and Beneventano 2024", values.batch_sharpness_mean_ratio,
    ),
    Criterion(
        "E12", "alignment_bound", r"S_\mu",
        r"2\sqrt{c_2\mu}\,\|\bar H\|_F,\ \mu\|\bar H\|_F^2 = \min_x\frac{\mathrm{tr}(\bar H\Sigma(x))}{x^\top\bar Hx}",
        "necessary", MEAN_SQUARE, ANY, "a pencil of d x d matrices", "Ma and Ying 2021; Wu and Su 2023, made exact",
        values.alignment_bound,
    ),
)  # fmt: skip


def criteria(
    hessians: ArrayLike,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    gradients: ArrayLike | None = None,
    names: Iterable[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Every criterion of the frozen quadratic with these `hessians`, by name, in units of curvature.

    `hessians` (n, d, d), or a_i (n, d) for a_i a_i'. `gradients` (n, d) at the point for Batch Sharpness, which is NaN
    without them; NaN also where a criterion's assumption fails. `names`: which ones; by default all but the simulated
    "lyapunov". Beyond 4096 batches, means over batches are over 1000 random ones, drawn by `seed`. ``"epoch"`` counts
    as ``"without_replacement"``. Raises InvalidArgument.

    >>> zoo = criteria([[[1.0]], [[3.0]]], batch_size=1)
    >>> names = ("lambda_max", "mean_square_sharpness", "worst_batch")
    >>> [round(zoo[name], 12) for name in names]  # E h, E h^2 / E h, max h
    [2.0, 2.5, 3.0]
    """
    known = {criterion.name: criterion for criterion in CRITERIA}
    if names is not None and (isinstance(names, str) or not isinstance(names, Iterable)):
        raise InvalidArgument(f"names must be a sequence of names, got {names!r}; pass ({names!r},)")
    chosen = (
        [c for c in CRITERIA if not c.simulated] if names is None else [known[one_of("names", n, known)] for n in names]
    )
    population = hessian_population(hessians)
    one_of("sampling", sampling, SCHEMES)
    scheme = "without_replacement" if sampling == "epoch" else sampling
    noise = batch_noise(population, batch_size, scheme)
    shape = (population.samples, population.mean.shape[0])
    slopes = None if gradients is None else float_array("gradients", gradients, shape)
    batches = Batches(population.samples, batch_size, scheme, integer("seed", seed, 0))
    problem = Problem(hessians, population, noise, batches, slopes)
    return {criterion.name: float(criterion.evaluate(problem)) for criterion in chosen}
