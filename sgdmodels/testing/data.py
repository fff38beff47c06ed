"""Data sets for losses on inputs and targets, of every kind that breaks a careless formula."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..arguments import FloatArray
from .entries import LEVELS, Levels, Size, arrays, chosen, levels, places, values

KINDS = (
    "simple",
    "gaussian",
    "heavy_tailed",
    "collinear",
    "rank_deficient",
    "duplicated_rows",
    "equal_norms",
    "extreme_scales",
)
SAMPLES, FEATURES = 6, 4  # the most there are of each unless more are asked for
EXPONENTS = 8  # the largest, of the scales of rows or columns
Data = tuple[FloatArray, FloatArray]


@st.composite
def datasets(
    draw: st.DrawFn,
    samples: Size = None,
    features: Size = None,
    kinds: str | tuple[str, ...] | None = None,
    interpolating: bool | None = None,
) -> Data:
    """Strategy for (inputs (n, d), targets (n,)) with at most 6 samples and 4 features unless sizes are given.

    kinds, one or several: ``"simple"`` has small integers and rationals; ``"gaussian"``, ``"heavy_tailed"`` (Cauchy)
    quantiles; ``"collinear"`` rows on one line; ``"rank_deficient"`` a first column that depends on the others;
    ``"duplicated_rows"`` at least two equal rows (if n > 1); ``"equal_norms"`` rows of norm 1; ``"extreme_scales"``
    rows or columns scaled by powers of 2 or 10 up to 1e8 either way. interpolating: True for targets = inputs @ w,
    False for targets that no w fits, None for either. Shrinks to one zero. Raises InvalidArgument for an unknown kind.

    >>> import numpy as np
    >>> from hypothesis import find
    >>> inputs, targets = find(datasets(), lambda data: (data[0] != 0).any())
    >>> np.abs(inputs).tolist(), targets.tolist()
    ([[1.0]], [0.0])
    """
    rows, columns = draw(places("samples", samples, SAMPLES)), draw(places("features", features, FEATURES))
    known = chosen("kinds", kinds, KINDS)
    varied = draw(st.booleans())  # every other data set is simple, for an example that is simple at once stays so
    kind = draw(st.sampled_from(known)) if varied else known[0]
    box = max(SAMPLES, len(rows)), max(FEATURES, len(columns)) + 2  # one for the kind, of a target, of inputs
    table = draw(levels(box))[rows]
    law = kind if kind in ("gaussian", "heavy_tailed") else "simple"
    inputs = _inputs(draw, kind, np.ascontiguousarray(values(table[:, 2:], law)[:, columns]), table[:, 0])
    fitted = varied and draw(st.booleans()) if interpolating is None else interpolating
    if fitted:
        return inputs, inputs @ draw(arrays((box[1] - 2,)))[columns]
    targets = values(table[:, 1], law)
    if interpolating is False and (kind == "extreme_scales" or _fits(inputs, targets)):
        # the first input once more, with another target; alone, a zero that should be a one
        alone = len(inputs) == 1
        inputs[-1] = 0.0 if alone else inputs[0]
        targets[-1] = 1.0 if alone else targets[0] + 1
    return inputs, targets


def _inputs(draw: Any, kind: str, inputs: FloatArray, spare: Levels) -> FloatArray:
    """Inputs (n, d) made into a kind, with the help of one more number per row."""
    d = inputs.shape[1]
    if kind == "collinear":
        return np.outer(inputs[:, -1], draw(arrays((d,), box=(FEATURES,))))
    if kind == "rank_deficient":
        inputs[:, 0] = inputs[:, 1:] @ draw(arrays((d - 1,), box=(FEATURES,)))
    elif kind == "duplicated_rows":
        inputs[spare < 0] = inputs[0]
        inputs[-1] = inputs[0]
    elif kind == "equal_norms":
        inputs[~inputs.any(axis=1), -1] = 1.0
        inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    elif kind == "extreme_scales":
        base = draw(st.sampled_from((10.0, 2.0)))
        columns = draw(st.lists(st.integers(-EXPONENTS, EXPONENTS), min_size=d, max_size=d))
        by_rows = np.sign(spare) * np.ceil(np.abs(spare) * (EXPONENTS / LEVELS))
        inputs *= base ** (by_rows[:, None] if draw(st.booleans()) else np.array(columns, dtype=np.float64))
    return inputs


def _fits(inputs: FloatArray, targets: FloatArray) -> bool:
    """Whether some w fits the targets to rounding."""
    w = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    return bool(np.abs(inputs @ w - targets).max() <= 1e-6 * max(1.0, np.abs(targets).max()))
