"""Proofs of formulas with sums over any number of entries, for small numbers of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from ..closed_form import proven


def proven_for_sizes(derived: Callable[[list[Any]], Any], shown: Any, entries: Any, count: Any) -> Any:
    """`shown`, a formula in entries[0], ..., entries[count - 1], once `derived` of so many symbols is equal to it.

    It is compared for two and for three entries.
    """
    for size in (2, 3):
        values = list(sp.symbols(f"z1:{size + 1}", positive=True))
        explicit = shown.subs(count, size).doit()
        proven(derived(values), explicit.subs([(entries[k], value) for k, value in enumerate(values)]))
    return shown
