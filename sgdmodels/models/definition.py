"""The definition of a loss as text: what `sgdmodels.symbolic` derives formulas from and compares kernels with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arguments import FloatArray


@dataclass(frozen=True)
class Definition:
    """One sample's loss in index notation, in the grammar of `sgdmodels.symbolic.parse`, with the data it is for.

    loss: in the names of parameters, data and constants, and in p where `predictor` says what p is. parameters: name ->
    shape, in the order of theta. data: name -> array whose first axis is the samples; the formula writes x[j] for
    sample i's x[i, j]. constants: name -> value.
    """

    loss: str
    parameters: Mapping[str, tuple[int, ...]]
    data: Mapping[str, FloatArray]
    predictor: str | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
