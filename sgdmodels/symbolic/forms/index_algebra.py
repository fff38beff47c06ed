"""Sums over indices as one would write them: constants in front, like sums merged, brackets kept."""

from __future__ import annotations

from typing import Any

import sympy as sp

from ..indices import parts_of

n, d = sp.symbols("n d", positive=True)  # numbers of samples and of features


def tidy(e: Any) -> Any:
    """Sums with their constant factors in front, like sums merged and common factors taken out, inside out.

    >>> u, x, r, j, k = sp.IndexedBase("u"), sp.IndexedBase("x"), *sp.symbols("r j k")
    >>> tidy(sp.Sum(r * u[j] * x[j], (j, 0, d - 1)) + r * sp.Sum(x[j], (j, 0, d - 1)))
    r*Sum((u[j] + 1)*x[j], (j, 0, d - 1))
    """
    if isinstance(e, sp.Sum):
        indices = {limit[0] for limit in e.limits}
        body = tidy(e.function)
        if not body.has(sp.Sum) and any(power.exp.free_symbols for power in body.atoms(sp.Pow)):
            body = sp.factor(sp.powsimp(body))
        constant, varying = body.as_independent(*indices, as_Add=False)
        number, varying = varying.as_coeff_Mul()
        return number * constant * sp.Sum(varying, *e.limits)
    if isinstance(e, sp.Indexed) or not e.args:
        return e
    rebuilt = e.func(*map(tidy, e.args))
    return common_factors(_merged(rebuilt)) if rebuilt.is_Add else rebuilt


def common_factors(e: Any) -> Any:
    """`factor_terms`, kept from taking sums apart."""
    sums = {total: sp.Dummy(real=True) for total in parts_of(e) if isinstance(total, sp.Sum)}
    return sp.factor_terms(e.xreplace(sums)).xreplace({name: total for total, name in sums.items()})


def _merged(e: Any) -> Any:
    """A sum of terms with c * Sum(f) + c * Sum(g) as c * Sum(f + g)."""
    alike: dict[Any, Any] = {}
    for term in sp.Add.make_args(e):
        number, rest = term.as_coeff_Mul()
        sums = [f for f in sp.Mul.make_args(rest) if isinstance(f, sp.Sum)]
        key = (
            (sp.Mul(*[f for f in sp.Mul.make_args(rest) if f != sums[0]]), sums[0].limits)
            if len(sums) == 1
            else (rest, None)
        )
        alike[key] = alike.get(key, 0) + number * (sums[0].function if len(sums) == 1 else 1)
    terms = []
    for (constant, limits), body in alike.items():
        number, common = common_factors(body).as_coeff_Mul()
        terms.append(number * constant * (sp.Sum(common, *limits) if limits else common))
    return sp.Add(*terms)


def distributed(term: Any, sample: Any) -> list[Any]:
    """The terms of a product once brackets with the sample in them are multiplied out; powers of brackets stay."""
    factors = sp.Mul.make_args(term)
    bracket = next((f for f in factors if f.is_Add and sample in f.free_symbols), None)
    if bracket is None:
        return [term]
    rest = sp.Mul(*[f for f in factors if f != bracket])
    return [piece for part in bracket.args for piece in distributed(rest * part, sample)]


def average(term: Any, sample: Any) -> Any:
    """(1/n) sum of a term over the samples."""
    return sp.Sum(term, (sample, 0, n - 1)) / n if sample in term.free_symbols else term
