"""Claims about SGD on the curvature of its losses: those that can be proven, and false ones with counterexamples.

Each is a `Claim` with its statement, formula, kind of stability, assumptions and the region it is tested in. The
topics are modules; `PROVABLE` and `FALSE` are all of them. False claims are what intuition says, or what is true only
under an assumption that is easily forgotten; each has the simplest counterexample found.
"""

from typing import Any

from ..claim import Claim
from . import (
    crossings,
    curvatures,
    mean_square,
    models_of_sgd,
    one_step,
    refuted,
    refuted_edges,
    refuted_stability,
    stability,
    symmetries,
)

PROVABLE: tuple[Claim[Any], ...] = (
    *curvatures.CLAIMS,
    *mean_square.CLAIMS,
    *stability.CLAIMS,
    *one_step.CLAIMS,
    *crossings.CLAIMS,
    *models_of_sgd.CLAIMS,
    *symmetries.CLAIMS,
)
FALSE: tuple[Claim[Any], ...] = (*refuted.CLAIMS, *refuted_stability.CLAIMS, *refuted_edges.CLAIMS)

__all__ = ["FALSE", "PROVABLE"]
