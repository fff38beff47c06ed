r"""What theory says of a sweep before it is run: plateaus where the curvature moves, edges where it stands still.

With :math:`\eta_{\max}(b)` the mean-square edge (`sgdmodels.theory.max_step_size`) of the Hessians :math:`a_ia_i^T`:

.. math:: H_i = s\,a_ia_i^T,\; s \text{ moving}: \quad \frac{\eta\lambda_{\max}}2 = \frac{\lambda_1(\hat H)\,
          \eta_{\max}(b)}2 \text{ at every } \eta, \qquad H_i \text{ constant}: \quad \text{divergence at } \eta >
          \eta_{\max}(b)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .. import specs
from ..arguments import FloatArray
from ..dynamics import GD, SDE, SGD, SVAG, Dynamics, LabelNoiseSGD, NoisyGD
from ..models import GatedQuadratic, LeastSquares, LinearNetwork, Model, Quadratics
from ..theory import batch_sharpness_factor, max_step_size
from .rows import Stored

MOVING, CONSTANT, UNKNOWN = "moving", "constant", "unknown"


@dataclass(frozen=True)
class Options:
    """A dynamics as its mean-square edge sees it; `full_batch`: its noise does not depend on the parameters."""

    sampling: str = "without_replacement"
    momentum: float = 0.0
    nesterov: bool = False
    ell: int = 1
    full_batch: bool = False

    @property
    def plain(self) -> bool:
        """Whether second moments are those of SGD without momentum."""
        return not self.momentum and self.ell == 1


def options_of(dynamics: Dynamics) -> Options | None:
    """What decides the edge of a dynamics; None where no closed form is known.

    Shuffled epochs count as independent batches. Euler's rule for the SDE with m substeps has the edge of SVAG(m).

    >>> import sgdmodels as sm
    >>> options_of(sm.SDE(0.1, 8, substeps=4)).ell, options_of(sm.LevySDE(0.1, alpha=1.8, scale=0.1))
    (4, None)
    """
    sampling = str(getattr(dynamics, "sampling", "without_replacement"))
    drawn = "without_replacement" if sampling == "epoch" else sampling
    if isinstance(dynamics, GD):
        return Options(momentum=dynamics.momentum, nesterov=dynamics.nesterov, full_batch=True)
    if isinstance(dynamics, SGD):
        return Options(drawn, dynamics.momentum, dynamics.nesterov)
    if isinstance(dynamics, LabelNoiseSGD):
        return Options(drawn)
    if isinstance(dynamics, SVAG):
        return Options(drawn, ell=dynamics.ell)
    if isinstance(dynamics, NoisyGD) and dynamics.covariance == "constant":
        return Options(full_batch=True)
    if isinstance(dynamics, NoisyGD) and dynamics.covariance == "full" and dynamics.refresh == 1:
        return Options(drawn)
    if isinstance(dynamics, SDE) and dynamics.order == 1 and dynamics.integrator == "euler":
        return Options(drawn, ell=dynamics.substeps)
    return None


class ClosedForms:
    """Closed forms of a sweep; medians over seeds where these bring losses of their own."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.options = [options_of(one) for one in stored.grid.dynamics.values()]

    @cached_property
    def kind(self) -> str:
        """Whether the curvature of the loss moves as a scalar, is constant, or has no closed form."""
        if self.directions[0] is not None:
            return MOVING
        return CONSTANT if isinstance(self.stored.losses[0], LeastSquares | Quadratics) else UNKNOWN

    @cached_property
    def directions(self) -> list[FloatArray | None]:
        """The a_i of each seed, where its recipe or its loss says that the curvature is a scalar times a_i a_i'."""
        return [self._directions(place, model) for place, model in enumerate(self.stored.losses)]

    def _directions(self, place: int, model: Model) -> FloatArray | None:
        if isinstance(model, LinearNetwork):
            return model.inputs
        if isinstance(model, GatedQuadratic):
            return model.directions
        grid = self.stored.grid
        if "recipe" not in grid.spec:
            return None
        node = grid.spec["recipe"]
        recipe = specs.build(node, grid.arrays, grid.trusted)
        made: Any = recipe() if "seed" in node else recipe(grid.seed[place])
        return getattr(made, "directions", None)

    def level(self, metric: str, kind: int, batch_size: int) -> float:
        """step_size * metric / 2 at the edge of the dynamics number `kind`; NaN where there is no closed form."""
        options = self.options[kind]
        if self.kind != MOVING or options is None:
            return np.nan
        if metric == "batch_sharpness" and (options.full_batch or not options.plain):
            return np.nan
        if metric == "mean_square_sharpness":
            return 1.0 if options.plain and not options.full_batch else np.nan
        values = [_level(metric, _Key(a), batch_size, options) for a in self.directions if a is not None]
        return float(np.median(values))

    def max_step_size(self, kind: int, batch_size: int) -> float:
        """Mean-square edge where Hessians are constant; NaN without a closed form, inf without an edge."""
        options = self.options[kind]
        if self.kind != CONSTANT or options is None:
            return np.nan
        losses = self.stored.losses
        return float(np.median([_max_step_size(_Key(hessians_of(loss)), batch_size, options) for loss in losses]))


def hessians_of(model: Model) -> FloatArray:
    """H_i (n, d, d), or a_i (n, d) for least squares."""
    theta = np.zeros(model.dim)
    directions = model.sample_directions(theta)
    return model.sample_hessians(theta) if directions is None else directions


class _Key:
    """An array as a key of a cache, by its content."""

    def __init__(self, array: FloatArray) -> None:
        self.array = array
        self._content = array.shape, array.tobytes()
        self._hash = hash(self._content)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._content == other._content


@lru_cache(maxsize=4096)
def _max_step_size(hessians: _Key, batch_size: int, options: Options) -> float:
    samples = len(hessians.array)
    return max_step_size(
        hessians.array, samples if options.full_batch else min(batch_size, samples),
        "without_replacement" if options.full_batch else options.sampling,
        momentum=options.momentum, nesterov=options.nesterov, ell=options.ell,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _level(metric: str, directions: _Key, batch_size: int, options: Options) -> float:
    if metric == "batch_sharpness":
        return batch_sharpness_factor(directions.array, batch_size, options.sampling)
    a = directions.array
    top = float(np.linalg.eigvalsh(a.T @ a / len(a))[-1])
    return top * _max_step_size(directions, batch_size, options) / 2
