"""A network at one point: what several metrics need there, computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels.batches import without_replacement
from ..kernels.draw import draw_weights
from ..kernels.random import MEASUREMENT
from .accuracy import Accuracy
from .estimators.batch_estimates import BatchEstimates, batch_sharpness
from .estimators.lanczos import Eigenpairs, largest_eigenvalues
from .estimators.mean_square import MeanSquareSharpness, mean_square_sharpness
from .estimators.minibatch_lambda_max import MinibatchLambdaMax, minibatch_lambda_max
from .estimators.moment_ratios import MomentRatios, moment_ratios
from .estimators.sample_moments import sample_moments
from .estimators.trace import Trace, trace
from .objectives.objective import Objective

EXACT_UP_TO = 1024  # samples: beyond, a product for each of them is dear
PROBES = 64


class Point:
    """Parameters theta (d,) of one replica at one step, its objective, and how it is measured.

    `warm` keeps, by matrix and replica, the eigenvectors that the next point of the same replica starts from.
    """

    def __init__(
        self, objective: Objective, theta: Tensor, accuracy: Accuracy, batch_sizes: tuple[int, ...], sampling: str,
        seed: int, replica: int, step: int, warm: dict[str, Any], count: int = 1,
    ) -> None:  # fmt: skip
        self.objective, self.theta, self.accuracy = objective, theta, accuracy
        self.batch_sizes, self.sampling, self.warm, self.count = batch_sizes, sampling, warm, count
        self.key = {"seed": seed, "replica": replica, "step": step}

    def random_samples(self, count: int, seed: int, replica: int, step: int) -> Tensor:
        """Sample numbers drawn without replacement, a pure function of the three keys."""
        index, _, _ = draw_weights(
            without_replacement, count, self.objective.samples, count, 1, first=step, seed=seed, replica=replica,
            stream=MEASUREMENT,
        )  # fmt: skip
        return torch.from_numpy(index[0]).long().to(self.objective.device)

    @cached_property
    def subset(self) -> Tensor | None:
        """Samples behind the moments here; None for all."""
        wanted = self.accuracy.subset
        return None if wanted is None else self.random_samples(wanted, **self.key)

    @cached_property
    def curvature_samples(self) -> Tensor | None:
        """Samples whose mean Hessian is meant, the same at every point; None for all."""
        wanted = self.accuracy.curvature_samples
        return None if wanted is None else self.random_samples(wanted, self.key["seed"], 0, 0)

    @cached_property
    def ratios(self) -> MomentRatios:
        """Batch Sharpness, IAS and GNI from the six moments."""
        used = self.objective.samples if self.subset is None else len(self.subset)
        probes = self.accuracy.probes
        if probes is None and used > EXACT_UP_TO:
            probes = PROBES
        moments = sample_moments(self.objective, self.theta, subset=self.subset, probes=probes, **self.key)
        return moment_ratios(moments, self.batch_sizes, self.sampling)

    def by_batches(self, definition: str) -> BatchEstimates:
        """Batch Sharpness by Monte Carlo over batches."""
        found = batch_sharpness(
            self.objective, self.theta, self.batch_sizes, definitions=[definition], sampling=self.sampling,
            relative_error=self.accuracy.relative_error, batches=self.accuracy.batches, **self.key,
        )  # fmt: skip
        return found[definition]

    def product(self) -> Callable[[Tensor], Tensor]:
        """Products with the mean matrix of the curvature samples; not kept, since they hold the graph of a gradient."""
        return self.objective.operator(self.theta, self.curvature_samples)

    @cached_property
    def eigenpairs(self) -> Eigenpairs:
        """The largest eigenvalues, from those of the last point on."""
        name = f"{self.objective.matrix}, replica {self.key['replica']}"
        start = self.warm.get(name)  # an array where it comes from a file
        found = largest_eigenvalues(
            self.product(), self.objective.dim, min(self.count, self.objective.dim),
            start=None if start is None else torch.as_tensor(start).to(self.theta),
            tolerance=self.accuracy.tolerance, dtype=self.objective.dtype, device=self.objective.device,
            generator=self.generator(),
        )  # fmt: skip
        self.warm[name] = found.space
        return found

    @cached_property
    def mean_square(self) -> MeanSquareSharpness:
        """S_ms from below."""
        return mean_square_sharpness(
            self.objective, self.theta, self.batch_sizes, self.sampling, generator=self.generator()
        )

    def minibatch_lambda_max(self) -> list[MinibatchLambdaMax]:
        """At every batch size."""
        start, most = self.eigenpairs.space, self.accuracy.eigenvalue_batches
        return [
            minibatch_lambda_max(
                self.objective, self.theta, b, self.sampling, tolerance=self.accuracy.relative_error or 0.0,
                least=min(20, most), most=most, start=start, **self.key,
            )
            for b in self.batch_sizes
        ]  # fmt: skip

    @cached_property
    def trace(self) -> Trace:
        directions = self.eigenpairs.vectors if bool(self.eigenpairs.converged.all()) else None
        return trace(
            self.product(), self.objective.dim, tolerance=self.accuracy.relative_error or 0.01,
            least=min(16, self.accuracy.trace_probes), most=self.accuracy.trace_probes, directions=directions,
            dtype=self.objective.dtype, device=self.objective.device, generator=self.generator(),
        )  # fmt: skip

    def generator(self) -> torch.Generator:
        """Random probes, a pure function of seed, replica and step."""
        bits = np.random.SeedSequence([self.key["seed"], self.key["replica"], self.key["step"]]).generate_state(
            1, np.uint64
        )
        return torch.Generator(self.objective.device).manual_seed(int(bits[0] >> np.uint64(1)))

    def sampling_error_of_lambda_max(self) -> float:
        """Of the top eigenvalue of a subset, to first order: that of the mean of u'H_i u over its samples."""
        index = self.curvature_samples
        if index is None or len(index) == self.objective.samples:
            return 0.0
        along = self.objective.directional(self.theta, self.eigenpairs.vectors[0], index).curvature.double()
        share = 1 - len(index) / self.objective.samples
        return float(along.std() * (share / len(index)) ** 0.5)
