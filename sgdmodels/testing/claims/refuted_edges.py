"""False: what edges of epochs and of almost every path are taken for. Found by computing them exactly in 1-D."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...models import LeastSquares
from ...theory import epoch_max_step_size, max_step_size, moment_max_step_size
from ..claim import Claim
from ..draws import batch_sizes, points
from ..point import Point
from .regions import not_full_batch, one_more_sample
from .rounding import well_conditioned

FOUR = "Least squares in one dimension, at most four samples that share a minimum."
ENTRIES = st.integers(0, 6).map(lambda k: k / 2)


def few_samples(sampling: str) -> SearchStrategy[Point]:
    """Up to four samples in one dimension, of curvatures x_i^2."""
    inputs = st.lists(ENTRIES, min_size=2, max_size=4).filter(any)
    losses = inputs.map(lambda x: LeastSquares([[value] for value in x], [0.0] * len(x)))
    return points(losses, lambda model: st.just([1.0]), batch_sizes, st.just(sampling))


def in_epochs() -> SearchStrategy[Point]:
    return few_samples("epoch")


def in_independent_batches() -> SearchStrategy[Point]:
    return few_samples("without_replacement")


def curvatures(point: Point) -> np.ndarray:
    return np.array(point.hessians[:, 0, 0])


def independent_edge(point: Point) -> float:
    return max_step_size(point.hessians, point.batch_size)


def shuffled_edge(point: Point) -> float:
    return epoch_max_step_size(point.hessians, point.batch_size).step_size


def path_edge(point: Point) -> float:
    """Where E log|1 - eta h_B| first vanishes, for independent batches."""
    return moment_max_step_size(curvatures(point), point.batch_size, 0, "without_replacement")


def descent_edge(point: Point) -> float:
    return 2 / float(curvatures(point).mean())


def larger_batch(point: Point) -> tuple[Any, ...]:
    return path_edge(point), path_edge(one_more_sample(point))


SHUFFLING_HELPS = Claim(
    "edge of independent batches <= edge of shuffled epochs",
    "Shuffling never lowers the mean-square edge.",
    lambda point: (independent_edge(point), shuffled_edge(point)),
    in_epochs,
    kind="mean-square",
    tolerance=1e-6,
    defined=well_conditioned,
    formula=r"\eta_{ms} \le \eta_{epoch}",
    assumptions=(FOUR,),
    reference="suggested by the example of C1.10; batches of one sample give none",
    counterexample=Point(
        LeastSquares([[0.0], [0.0], [0.5], [0.5]], [0.0] * 4), [1.0], batch_size=2, sampling="epoch"
    ),
)  # fmt: skip
SHUFFLING_BELOW_DESCENT = Claim(
    "edge of shuffled epochs <= 2 / lambda_max",
    "Shuffled epochs are never stable beyond the edge of gradient descent.",
    lambda point: (shuffled_edge(point), descent_edge(point)),
    in_epochs,
    kind="mean-square",
    tolerance=1e-6,
    defined=well_conditioned,
    formula=r"\eta_{epoch} \le 2/\lambda_{\max}(\bar H)",
    assumptions=(FOUR, "Steps of an epoch undo each other: two samples are stable to 1/h_1 + 1/h_2."),
    counterexample=Point(LeastSquares([[0.5], [1.0]], [0.0, 0.0]), [1.0], batch_size=1, sampling="epoch"),
)
PATHS_BELOW_DESCENT = Claim(
    "almost-sure edge <= 2 / lambda_max",
    "Noise never keeps paths stable beyond the edge of gradient descent.",
    lambda point: (path_edge(point), descent_edge(point)),
    in_independent_batches,
    kind="almost sure",
    defined=well_conditioned,
    formula=r"\inf\{\eta > 0: E\log|1 - \eta h_B| \ge 0\} \le 2/\lambda_{\max}(\bar H)",
    assumptions=(FOUR, "Independent batches without replacement."),
    counterexample=Point(LeastSquares([[0.5], [1.0]], [0.0, 0.0]), [1.0], batch_size=1),
)
PATHS_LIKE_LARGE_BATCHES = Claim(
    "almost-sure edge at b <= almost-sure edge at b + 1",
    "Larger batches do not make the almost-sure edge smaller.",
    larger_batch,
    in_independent_batches,
    kind="almost sure",
    defined=lambda point: well_conditioned(point) and not_full_batch(point),
    formula=r"\eta_{as}(b) \le \eta_{as}(b + 1)",
    assumptions=(FOUR, "Independent batches without replacement. Of the mean-square edge it is true."),
    counterexample=Point(LeastSquares([[0.5], [1.0]], [0.0, 0.0]), [1.0], batch_size=1),
)
CLAIMS: tuple[Claim[Point], ...] = (
    SHUFFLING_HELPS, SHUFFLING_BELOW_DESCENT, PATHS_BELOW_DESCENT, PATHS_LIKE_LARGE_BATCHES,
)  # fmt: skip
