r"""From m samples to the six moments of all n: unbiased, with the influence of every sample.

Products of three per-sample quantities have expectations by which indices coincide. With M any symmetric matrices,

.. math:: P_1 = \langle g_i^TM_ig_i\rangle,\ P_2 = \langle g_j^TM_ig_i\rangle,\ P_3 = \langle g_i^TM_jg_i\rangle,\
          P_4 = \langle g_i^TM_jg_k\rangle,\ Q_1 = \langle|g_i|^2\rangle,\ Q_2 = \langle g_i\cdot g_j\rangle

are means over *distinct* indices. Those over a subset drawn without replacement are unbiased for the population's, the
six moments T1..S2 (which let indices coincide) are not: they mix the distinct means with weights that depend on how
many samples there are. So moments of m samples are taken apart with m and put together with n; every batch expectation
is linear in them (`sgdmodels.metrics.moments`) and hence unbiased at any batch size, also above m.
Source: Hoeffding, Ann. Math. Stat. 19 (1948), for means over distinct indices and their projections.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arguments import FloatArray
from ...sampling import noise_coefficients


class Columns(NamedTuple):
    """What one sample contributes to the six moments; gbar, Mbar and w = mean M_j g_j are those of the subset."""

    own: FloatArray  # g_i' M_i g_i
    mixed: FloatArray  # gbar' M_i g_i
    slope: FloatArray  # g_i . w
    gradient: FloatArray  # g_i' Mbar g_i
    matrix: FloatArray  # mean_j g_j' M_i g_j
    along: FloatArray  # gbar' M_i gbar
    across: FloatArray  # g_i' Mbar gbar
    square: FloatArray  # |g_i|^2
    inner: FloatArray  # g_i . gbar


def plug_in(samples: int) -> FloatArray:
    """The matrix that takes (P1, P2, P3, P4, Q1, Q2) to (T1, T2, T3, T4, S1, S2) of `samples` samples.

    >>> plug_in(2)[:, 0].tolist()  # every moment holds its share of coinciding indices
    [1.0, 0.5, 0.5, 0.25, 0.0, 0.0]
    """
    n = samples
    matrix = np.zeros((6, 6))
    matrix[0, 0] = matrix[4, 4] = 1
    matrix[1, :2] = matrix[5, 4:] = 1 / n, (n - 1) / n
    matrix[2, [0, 2]] = 1 / n, (n - 1) / n
    matrix[3, :4] = np.array([1, 2 * (n - 1), n - 1, (n - 1) * (n - 2)]) / n**2
    return matrix


def rescaling(samples: int, population: int) -> FloatArray:
    """The matrix that takes the six moments of `samples` >= 3 samples to unbiased ones of the `population`.

    >>> bool((rescaling(5, 5) == np.eye(6)).all())
    True
    """
    if samples == population:
        return np.eye(6)
    return plug_in(population) @ np.linalg.inv(plug_in(samples))


def projection(samples: int) -> FloatArray:
    """The matrix (6, 9) that takes a sample's `Columns` to its influence on the distinct means, up to constants.

    The influence on a mean over distinct indices is the sum, over the places an index can stand in, of the mean with
    the sample in that place.

    >>> projection(7).sum(axis=1).round(12).tolist()  # equal samples: as many times the mean as there are indices
    [1.0, 2.0, 2.0, 3.0, 1.0, 2.0]
    """
    m = samples
    pairs, triples = m - 1, (m - 1) * (m - 2)
    where = {name: k for k, name in enumerate(Columns._fields)}
    rows: list[dict[str, float]] = [
        {"own": 1},
        {"mixed": m / pairs, "slope": m / pairs, "own": -2 / pairs},
        {"gradient": m / pairs, "matrix": m / pairs, "own": -2 / pairs},
        {"along": m**2 / triples, "across": 2 * m**2 / triples, "mixed": -4 * m / triples, "slope": -2 * m / triples,
         "gradient": -2 * m / triples, "matrix": -m / triples, "own": 6 / triples},
        {"square": 1},
        {"inner": 2 * m / pairs, "square": -2 / pairs},
    ]  # fmt: skip
    matrix = np.zeros((6, 9))
    for row, entries in zip(matrix, rows, strict=True):
        for name, value in entries.items():
            row[where[name]] = value
    return matrix


def expectation_weights(population: int, batch_size: int, sampling: str) -> FloatArray:
    """The matrix (3, 6) that takes the six moments to E|g_B|^2, E[g_B' M_B g_B] and E[g_B' Mbar g_B].

    >>> expectation_weights(9, 9, "without_replacement").tolist()  # the full batch: S2, T4, T4
    [[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]
    """
    noise = noise_coefficients(population, batch_size, sampling)
    c2, c3 = noise.c2, noise.c3
    if noise.raw:
        return np.array([[0, 0, 0, 0, c2, 1], [c3, 2 * c2, c2, 1, 0, 0], [0, 0, c2, 1, 0, 0]])
    return np.array(
        [
            [0, 0, 0, 0, c2, 1 - c2],
            [c3, 2 * (c2 - c3), c2 - c3, 1 - 3 * c2 + 2 * c3, 0, 0],
            [0, 0, c2, 1 - c2, 0, 0],
        ]
    )
