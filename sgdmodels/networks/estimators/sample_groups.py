r"""Random groups of samples, with random signs e_i = +-1: sums over a group cost one product, not one a sample.

.. math:: v_k = \textstyle\sum_{i\in k}e_ig_i, \qquad E[v_k^TAv_k] = \sum_{i\in k}g_i^TAg_i, \qquad
          \mathrm{Var}(v_k^TAv_k) = 2\textstyle\sum_{i\ne j\in k}(g_i^TAg_j)^2

The groups are random, so products between two groups, :math:`E(v_k^TAv_l)^2 = \sum_{i\in k,j\in l}(g_i^TAg_j)^2`,
estimate that variance without bias and without another product. Source for the signs: Hutchinson, Commun. Stat. 19
(1990).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arguments import FloatArray
from ..objectives.objective import Objective


class Groups(NamedTuple):
    """A random partition of m samples; `signs` are 0 where a group is shorter than the longest."""

    place: Tensor  # (groups, width), positions among the m samples
    samples: Tensor  # (groups, width), the samples that stand there
    signs: Tensor  # (groups, width)
    sizes: FloatArray  # (groups,)


class GroupProducts(NamedTuple):
    """What products with the matrices M_k (means over group k) say of gradients; Mbar is the mean over all groups."""

    between: Tensor  # (groups, groups), v_k' Mbar v_l
    within: Tensor  # (groups,), sum_l v_l' M_k v_l
    bent: Tensor  # (d,), Mbar gbar
    slope: Tensor  # (d,), w = mean M_j g_j, from the signs


def random_groups(objective: Objective, index: Tensor | None, groups: int, key: tuple[int, ...]) -> Groups:
    """The samples in `index` (all without) in groups whose sizes differ by at most one, a pure function of `key`."""
    rng = np.random.default_rng(key)
    members = objective.samples if index is None else len(index)
    parts = np.array_split(rng.permutation(members), groups)
    place = np.zeros((groups, len(parts[0])), dtype=np.int64)
    signs = np.zeros(place.shape)
    for k, part in enumerate(parts):
        place[k, : len(part)] = part
        signs[k, : len(part)] = rng.choice([-1.0, 1.0], len(part))
    where = torch.as_tensor(place, device=objective.device)
    return Groups(
        where, where if index is None else index[where],
        torch.as_tensor(signs, dtype=objective.dtype, device=objective.device),
        np.array([len(part) for part in parts], dtype=np.float64),
    )  # fmt: skip


def signed_gradients(objective: Objective, theta: Tensor, groups: Groups) -> Tensor:
    """v_k of every group, shape (groups, d)."""
    return objective.gradients(theta.expand(len(groups.sizes), -1), groups.samples, groups.signs)


def summed_gradients(objective: Objective, theta: Tensor, groups: Groups) -> Tensor:
    """The sum of every group's gradients, shape (groups, d)."""
    return objective.gradients(theta.expand(len(groups.sizes), -1), groups.samples, groups.signs.abs())


def group_products(
    objective: Objective, theta: Tensor, groups: Groups, signed: Tensor, mean_gradient: Tensor
) -> GroupProducts:
    """Products with every group's matrix: as much work as groups + 2 products with the mean matrix."""
    members = groups.sizes.sum()
    vectors = torch.cat([signed, mean_gradient[None]])
    mean_product, slope = torch.zeros_like(vectors), torch.zeros_like(mean_gradient)
    within = []
    for v, index, signs, size in zip(signed, groups.samples, groups.signs, groups.sizes.astype(int), strict=True):
        held, weight = index[:size], signs[:size]
        products = objective.operator(theta, held)(vectors)
        within.append((signed * products[:-1]).sum())
        mean_product += products * (size / members)
        slope += objective.operator(theta, held, weight)(v[None])[0] / members
    return GroupProducts(signed @ mean_product[:-1].T, torch.stack(within), mean_product[-1], slope)


def sign_variance(between: FloatArray, sizes: FloatArray) -> float:
    """Variance that the signs leave in sum_k v_k' Mbar v_k, from the products between groups (groups, groups).

    >>> sign_variance(np.array([[5.0, 2.0], [2.0, 5.0]]), np.array([1.0, 1.0]))  # one sample a group: no signs matter
    0.0
    >>> sign_variance(np.ones((2, 2)), np.array([2.0, 2.0]))  # (g_i' M g_j)^2 = 1/4: 2 groups, 2 pairs each, twice
    2.0
    """
    apart = ~np.eye(len(sizes), dtype=bool)
    square = (between[apart] ** 2).sum() / np.outer(sizes, sizes)[apart].sum()
    return float(2 * square * (sizes * (sizes - 1)).sum())
