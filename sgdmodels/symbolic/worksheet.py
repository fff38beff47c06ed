"""A formula of one's own with its gradient and Hessian, entry by entry, for the paper."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import sympy as sp

from . import typeset
from .grammar import FormulaError
from .indices import derivative, partial
from .loss_formula import PREDICTION, LossFormula, Shape
from .smoothness import conditions
from .typeset import with_sample_index

DECLARED = re.compile(r"([A-Za-z]\w*)(?:\[([^\]]*)\])?$", re.ASCII)
PRIMES = (1000003, 1000033, 1000037, 1000039, 1000081, 1000099, 1000117, 1000121)  # lengths that nobody writes


def declared(text: str, sizes: dict[str, int]) -> dict[str, Shape]:
    """Arrays declared as "u[d] w[K, d] a": name -> shape. Each letter is one length, kept in `sizes`.

    >>> declared("u[d] w[K, d] a", {})
    {'u': (1000003,), 'w': (1000033, 1000003), 'a': ()}
    """
    shapes: dict[str, Shape] = {}
    for word in re.sub(r",\s+", ",", text.strip()).split():
        match = DECLARED.match(word)
        if not match:
            raise FormulaError(
                f"cannot read {word!r}; declare arrays as u[d] or w[K,d], numbers by their name, in a row"
            )
        letters = [letter.strip() for letter in match[2].split(",")] if match[2] is not None else []
        shape = []
        for letter in letters:
            if letter.isdigit() and 0 < int(letter) < PRIMES[0]:
                shape.append(int(letter))
            elif letter.isidentifier() and len(sizes) < len(PRIMES):
                shape.append(sizes.setdefault(letter, PRIMES[len(sizes)]))
            else:
                raise FormulaError(f"cannot read the length {letter!r} of {match[1]}; write a letter or a number")
        if match[1] in shapes:
            raise FormulaError(f"{match[1]} is declared twice")
        shapes[match[1]] = tuple(shape)
    return shapes


def worksheet(formula: LossFormula, latex: bool = False) -> Iterator[str]:
    """The loss, its gradient and its Hessian of sample i as lines of text or LaTeX, and where they do not exist."""
    write = typeset.latex if latex else typeset.text
    bound = {limit[0].name for s in formula.whole.atoms(sp.Sum) for limit in s.limits}
    candidates = (f"{x}{number}" for number in ("", *range(1, 9)) for x in "klmqrst")
    letters = [x for x in candidates if x not in bound and x not in formula.shapes]

    def shown(e: sp.Expr) -> str:
        return str(write(with_sample_index(e, [*formula.data, *(["p"] if formula.predictor is not None else [])])))

    def slope(e: sp.Expr, name: str, indices: tuple[sp.Symbol, ...]) -> sp.Expr:
        array = formula.array(name)
        own = derivative(e, array, *indices)
        if formula.predictor is None:
            return own
        return own + partial(e, PREDICTION) * derivative(formula.predictor, array, *indices)

    yield f"{'l_{i}' if latex else 'l_i'} = {shown(formula.loss)}"
    if formula.predictor is not None:
        yield f"{shown(PREDICTION)} = {shown(formula.predictor)}"
    places = {}
    names = list(formula.parameters)
    for name in names:
        rank = len(formula.parameters[name])
        places[name] = tuple(sp.Symbol(x, integer=True) for x in letters[:rank])
    for name in names:
        at = formula.array(name)[places[name]] if places[name] else formula.array(name)
        left = rf"\frac{{\partial l_{{i}}}}{{\partial {write(at)}}}" if latex else f"dl_i/d{write(at)}"
        yield f"{left} = {shown(slope(formula.loss, name, places[name]))}"
    for one, two in itertools.combinations_with_replacement(names, 2):
        first = places[one]
        second = tuple(sp.Symbol(x, integer=True) for x in letters[len(first) :][: len(formula.parameters[two])])
        a = formula.array(one)[first] if first else formula.array(one)
        b = formula.array(two)[second] if second else formula.array(two)
        left = (
            rf"\frac{{\partial^{{2}} l_{{i}}}}{{\partial {write(a)} \partial {write(b)}}}"
            if latex
            else f"d2l_i/d{write(a)}d{write(b)}"
        )
        yield f"{left} = {shown(slope(slope(formula.loss, one, first), two, second))}"
    for condition in conditions(formula.whole):
        yield f"% {condition}" if latex else f"note: {condition}"
