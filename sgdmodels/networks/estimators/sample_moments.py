r"""The six moments of a network at one point, from all samples or from some, with their covariance.

T1, T2, T4, S1, S2 of `sgdmodels.metrics.moments` take two passes over single samples. T3 = mean g_i' Mbar g_i takes a
product with Mbar for every sample, or one for each of some random groups of samples (`probes`), and then carries the
variance of the groups' signs (`sgdmodels.networks.estimators.sample_groups`).

The sampling variance of m out of n samples is, to leading order, (1 - m/n) times that of the samples' influence
(`sgdmodels.networks.estimators.population_moments`). It is measured between the same groups: sums over a group need few
products, single samples one each. Hence (groups - 1) degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arguments import FloatArray, integer
from ...errors import InvalidArgument
from ..objectives.objective import Objective
from .population_moments import Columns, plug_in, projection, rescaling
from .sample_groups import (
    Groups,
    group_products,
    random_groups,
    sign_variance,
    signed_gradients,
    summed_gradients,
)

GROUPS = 32  # for the standard errors of a subset whose T3 is exact: good to 1 / sqrt(2 * 31) = 13 %


@dataclass(frozen=True)
class SampleMoments:
    """(T1, T2, T3, T4, S1, S2) of `population` samples, estimated without bias from `samples` of them.

    values (6,), covariance (6, 6): zero where all samples were used and no probes. `degrees_of_freedom` are the
    covariance's, for Student's t.
    """

    values: FloatArray
    covariance: FloatArray
    samples: int
    population: int
    degrees_of_freedom: float


class Singles(NamedTuple):
    """Per-sample numbers of two passes, each (samples,) in float64, and the mean gradient (d,)."""

    own: FloatArray
    square: FloatArray
    inner: FloatArray
    along: FloatArray
    mixed: FloatArray
    mean_gradient: Tensor


def sample_moments(
    objective: Objective, theta: Tensor, *, subset: Tensor | None = None, probes: int | None = None, seed: int = 0,
    replica: int = 0, step: int = 0,
) -> SampleMoments:  # fmt: skip
    """The six moments of all n samples at theta (d,), with their covariance.

    subset: sample numbers (m,), a random sample without replacement, 3 <= m <= n; the estimates are unbiased for the
    moments of all n, and may have a sign that those cannot have (S2 < 0) where m is too small to tell. probes: how many
    products with the mean matrix T3 may take, 2 or more; None, or as many as samples: exact. Standard errors are good
    to about 1 / sqrt(2 probes), so 16 to 64 are sensible. Signs are a pure function of (seed, replica, step).

    Raises InvalidArgument for a subset that repeats samples or has fewer than three, and for fewer than two probes.

    >>> from sgdmodels.networks.objectives.budget import MemoryBudget
    >>> from sgdmodels.networks.objectives.module_objective import ModuleObjective
    >>> net = torch.nn.Linear(1, 1, bias=False).double()
    >>> x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    >>> objective = ModuleObjective(net, lambda f, y: 0.5 * (f - y).square().sum(1), x, 0 * x, MemoryBudget(2**20))
    >>> moments = sample_moments(objective, torch.ones(1, dtype=torch.float64))  # g_i = M_i = x_i^2
    >>> moments.values.tolist()  # x^2, x^4, x^6 have means 2.5, 8.5, 32.5
    [32.5, 21.25, 21.25, 15.625, 8.5, 6.25]
    """
    n = objective.samples
    index = checked_subset(subset, objective)
    m = n if index is None else len(index)
    products = m if probes is None else min(m, integer("probes", probes, 2))
    key = tuple(integer(name, k, 0, 2**64 - 1) for name, k in (("seed", seed), ("replica", replica), ("step", step)))
    single = single_passes(objective, theta, index)
    values = np.array([single.own.mean(), single.mixed.mean(), np.nan, single.along.mean(),
                       single.square.mean(), single.inner.mean()])  # fmt: skip
    curved = float64(objective.gradient_curvatures(theta, index)) if products == m else None
    if curved is not None:
        values[2] = curved.mean()
        if m == n:
            return SampleMoments(values, np.zeros((6, 6)), m, n, np.inf)
    groups = random_groups(objective, index, products if curved is None else min(m, GROUPS), key)
    signed = signed_gradients(objective, theta, groups)
    if m == n:
        between = float64(signed @ objective.operator(theta)(signed).T)
        influence = np.zeros((6, 6))
    else:
        columns, between = group_columns(objective, theta, groups, signed, single, curved)
        influence = between_groups(columns, groups.sizes, m, n)
    covariance = (1 - m / n) * influence
    scale = rescaling(m, n)
    if curved is None:
        values[2] = np.trace(between) / m
        covariance += m / n * sign_variance(between, groups.sizes) / m**2 * np.outer(scale[:, 2], scale[:, 2])
    return SampleMoments(scale @ values, covariance, m, n, len(groups.sizes) - 1)


def checked_subset(subset: Tensor | None, objective: Objective) -> Tensor | None:
    """The subset as sample numbers on the objective's device; None where it is all samples."""
    if subset is None:
        return None
    index = torch.as_tensor(subset, device=objective.device)
    if index.ndim != 1 or index.dtype.is_floating_point or index.dtype == torch.bool:
        raise InvalidArgument(
            f"subset must be a list of sample numbers, got shape {tuple(index.shape)} of {index.dtype}"
        )
    n, distinct = objective.samples, torch.unique(index)
    if len(distinct) != len(index):
        raise InvalidArgument(
            f"subset must be drawn without replacement, got {len(index)} samples of which {len(distinct)} are distinct"
        )
    if len(index) and (int(distinct[0]) < 0 or int(distinct[-1]) >= n):
        raise InvalidArgument(f"subset must lie in 0..{n - 1}, got {int(distinct[0])}..{int(distinct[-1])}")
    if len(index) < min(3, n):
        raise InvalidArgument(
            f"subset must have 3 samples or more (moments have three indices), got {len(index)}; use all samples"
        )
    return None if len(index) == n else index.long()


def single_passes(objective: Objective, theta: Tensor, index: Tensor | None) -> Singles:
    """Curvatures of single samples along their own gradient and along the mean."""
    each = torch.arange(objective.samples, device=objective.device) if index is None else index
    own = objective.batch_curvatures(theta, each[:, None])
    mean_gradient = objective.gradient(theta, index)
    along = objective.directional(theta, mean_gradient, index)
    return Singles(
        float64(own.curvature), float64(own.square), float64(along.slope), float64(along.curvature),
        float64(along.mixed), mean_gradient,
    )  # fmt: skip


def group_columns(
    objective: Objective, theta: Tensor, groups: Groups, signed: Tensor, single: Singles, curved: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """The `Columns` of influence, summed over each group, (groups, 9), and v_k' Mbar v_l between groups."""
    totals = summed_gradients(objective, theta, groups)
    products = group_products(objective, theta, groups, signed, single.mean_gradient)
    between = float64(products.between)
    place, present = groups.place.cpu().numpy(), groups.signs.abs().double().cpu().numpy()

    def over_groups(column: FloatArray) -> FloatArray:
        return (column[place] * present).sum(axis=1)

    columns = Columns(
        own=over_groups(single.own),
        mixed=over_groups(single.mixed),
        slope=float64(totals @ products.slope),
        gradient=np.diag(between) if curved is None else over_groups(curved),
        matrix=groups.sizes * float64(products.within) / groups.sizes.sum(),
        along=over_groups(single.along),
        across=float64(totals @ products.bent),
        square=over_groups(single.square),
        inner=over_groups(single.inner),
    )
    return np.stack(columns, axis=1), between


def between_groups(columns: FloatArray, sizes: FloatArray, samples: int, population: int) -> FloatArray:
    """Covariance (6, 6) of the population's moments, from the spread of `columns` (groups, 9) between random groups."""
    deviation = columns - np.outer(sizes / samples, columns.sum(axis=0))
    variance = deviation.T @ deviation / (sizes * (1 - sizes / samples)).sum()  # of one sample's influence
    jacobian = plug_in(population) @ projection(samples)
    return jacobian @ variance @ jacobian.T / samples


def float64(tensor: Tensor) -> FloatArray:
    """A tensor's numbers in double precision, for sums."""
    return tensor.detach().double().cpu().numpy()
