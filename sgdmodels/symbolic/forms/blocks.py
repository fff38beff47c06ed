r"""Eigenvalues of symmetric 2 x 2 matrices, in the arranged form in which the small models show them.

.. math:: \lambda_\pm = m \pm \sqrt{\rho}, \qquad m = \tfrac12\mathrm{tr}, \qquad \rho = m^2 - \det
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from ..closed_form import proven


def eigenvalue_pair(block: Any, center: Any, radius_squared: Any) -> Any:
    """Both eigenvalues of `block` (2 x 2, symmetric), the smaller first, once proven to be center -+ sqrt(...)."""
    half_trace = sp.trace(block) / 2
    middle = proven(half_trace, center)
    radius = sp.sqrt(proven(half_trace**2 - block.det(), radius_squared))
    return sp.Matrix([middle - radius, middle + radius])
