"""Slow and obviously right: every batch of a sampling scheme with its probability, and expectations over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np


def all_batches(n: int, b: int, sampling: str) -> list[tuple[tuple[int, ...], float]]:
    """(indices, probability) of every batch; with replacement, ordered draws."""
    if sampling == "with_replacement":
        return [(batch, n**-b) for batch in itertools.product(range(n), repeat=b)]
    if sampling == "bernoulli":
        q = b / n
        subsets = itertools.chain.from_iterable(itertools.combinations(range(n), k) for k in range(n + 1))
        return [(batch, q ** len(batch) * (1 - q) ** (n - len(batch))) for batch in subsets]
    subsets = list(itertools.combinations(range(n), b))
    return [(batch, 1 / len(subsets)) for batch in subsets]


def batch_sums(values: np.ndarray, b: int, batches: list[tuple[tuple[int, ...], float]]) -> np.ndarray:
    """(1/b) sum over each batch of per-sample `values`."""
    return np.array([values[list(batch)].sum(axis=0) / b for batch, _ in batches])


def expectations(g: np.ndarray, h: np.ndarray, b: int, sampling: str) -> dict[str, float]:
    """The curvature ratios of definition, by enumeration over all batches."""
    batches = all_batches(len(g), b, sampling)
    p = np.array([probability for _, probability in batches])
    gb, hb = batch_sums(g, b, batches), batch_sums(h, b, batches)
    mean_h = h.mean(axis=0)

    def mean(statistic: Callable[[np.ndarray, np.ndarray], float]) -> float:
        return float(sum(q * statistic(a, c) for q, a, c in zip(p, gb, hb, strict=True)))

    square = mean(lambda a, c: a @ a)
    interaction = mean(lambda a, c: a @ mean_h @ a)
    alive = np.array([a @ a > 0 for a in gb])
    ratios = np.array([a @ c @ a / (a @ a) if a @ a > 0 else 0.0 for a, c in zip(gb, hb, strict=True)])
    tops = np.array([np.linalg.eigvalsh(c)[-1] for c in hb])
    return {
        "batch_sharpness": mean(lambda a, c: a @ c @ a) / square,
        "ias": interaction / square,
        "gni": interaction / float(g.mean(axis=0) @ g.mean(axis=0)),
        "batch_sharpness_mean_ratio": float(np.average(ratios[alive], weights=p[alive])),
        "minibatch_lambda_max": float(np.average(tops, weights=p)),  # an empty batch has a Hessian of zero
    }
