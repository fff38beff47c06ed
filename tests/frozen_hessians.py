"""Hessians whose Lyapunov exponents are known, and their exponents."""

from __future__ import annotations

import math

import numpy as np

from .enumeration import all_batches, batch_sums

SCHEMES = ("without_replacement", "with_replacement", "bernoulli")
WITH_EPOCHS = (*SCHEMES, "epoch")
MOMENTA = ({}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True})


def random_hessians(seed: int, n: int = 5, d: int = 3, rank: int = 2) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((n, d, rank))
    return np.einsum("nij,nkj->nik", a, a)


def commuting(seed: int, n: int = 4, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures (n, d) and the Hessians that have them in one random basis."""
    rng = np.random.default_rng(seed)
    h = rng.exponential(size=(n, d)) * np.array([0.3, 1.0, 3.0])[:d]
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    matrices = (basis * h[:, None, :]) @ basis.T
    return h, (matrices + matrices.transpose(0, 2, 1)) / 2


def turned(curvatures: tuple[float, float], angles: int = 64) -> np.ndarray:
    """One Hessian turned to every angle: a step meets each direction at a uniform angle, whatever came before."""
    a = np.pi * np.arange(angles) / angles
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]).transpose(2, 0, 1)
    h = np.ascontiguousarray(turn @ np.diag(curvatures) @ turn.transpose(0, 2, 1))
    return (h + h.transpose(0, 2, 1)) / 2


def turned_exponents(curvatures: tuple[float, float], eta: float) -> tuple[float, float]:
    """(1/2) E log(s^2 cos^2 + r^2 sin^2) = log((|s| + |r|) / 2), and the rest of log|s r|."""
    s, r = (abs(1 - eta * c) for c in curvatures)
    return math.log((s + r) / 2), math.log(s * r) - math.log((s + r) / 2)


def mean_log(values: np.ndarray, b: int, sampling: str) -> float:
    """E log|1 - h_B| by enumeration; one batch of an epoch is one without replacement."""
    batches = all_batches(len(values), b, "without_replacement" if sampling == "epoch" else sampling)
    return float(
        sum(p * math.log(abs(1 - x)) for x, (_, p) in zip(batch_sums(values, b, batches), batches, strict=True))
    )


def mean_log_determinant(h: np.ndarray, b: int, sampling: str) -> float:
    batches = all_batches(len(h), b, "without_replacement" if sampling == "epoch" else sampling)
    steps = np.eye(h.shape[1]) - batch_sums(h, b, batches)
    return float(sum(p * np.linalg.slogdet(s)[1] for s, (_, p) in zip(steps, batches, strict=True)))
