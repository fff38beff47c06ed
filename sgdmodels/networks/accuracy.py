"""How precisely a network is measured: samples, batches, probes, tolerances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arguments import integer, real


@dataclass(frozen=True)
class Accuracy:
    """What a measurement may spend; every value comes with its standard error and the number of samples behind it.

    subset: samples behind the per-sample moments, drawn afresh for each point (None: all, without sampling error).
    probes: products with the mean Hessian behind mean g_i' H g_i (None: exact up to 1024 samples, 64 beyond).
    curvature_samples: the fixed subset whose Hessian lambda_max and the trace belong to (None: all). tolerance: of the
    relative residual of eigenvalues. batches, eigenvalue_batches, trace_probes: the most that Batch Sharpness over
    batches, mini-batch lambda_max and the trace may draw. relative_error: stop these earlier, once the standard error
    of the very number reported is below this share of it.

    >>> Accuracy(relative_error=0.02).batches
    1000
    """

    subset: int | None = None
    probes: int | None = None
    curvature_samples: int | None = None
    tolerance: float = 1e-3
    batches: int = 1000
    relative_error: float | None = None
    trace_probes: int = 256
    eigenvalue_batches: int = 100

    def __post_init__(self) -> None:
        for name, low in (("subset", 3), ("probes", 2), ("curvature_samples", 1)):
            if getattr(self, name) is not None:
                self._set(name, integer(name, getattr(self, name), low))
        self._set("tolerance", real("tolerance", self.tolerance, open_low=True))
        self._set("batches", integer("batches", self.batches, 2))
        self._set("trace_probes", integer("trace_probes", self.trace_probes, 2))
        self._set("eigenvalue_batches", integer("eigenvalue_batches", self.eigenvalue_batches, 2))
        if self.relative_error is not None:
            self._set("relative_error", real("relative_error", self.relative_error, open_low=True))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
