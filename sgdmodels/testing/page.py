"""docs/stability.md, made from the criteria and the claims: `python -m sgdmodels.testing.page > docs/stability.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..theory import CRITERIA, Criterion
from .claim import Claim
from .claims import FALSE, PROVABLE

HEAD = r"""# Stability: what to compute, what is true, and what only sounds true

Made by `python -m sgdmodels.testing.page` from the objects that the package computes and tests with; a test keeps it
so. $n$ samples with gradients $g_i$ and Hessians $H_i$, means $\bar g$, $\bar H$; a batch $B$ of $b$ samples with mean
gradient $g_B$ and mean Hessian $H_B$; $c_2$, $c_3$: sampling coefficients ([closed forms](closed_forms.md)); step size
$\eta$, momentum $\beta$.

## Edges

| question | function |
|---|---|
| largest mean-square stable step size: any sampling scheme, heavy ball, Nesterov, SVAG, SDE | `theory.max_step_size` |
| the same with residual, bracket and critical mode; least squares to $n = d = 2000$ | `theory.mean_square_edge` |
| the same at any point of any loss, or along a run; wobble (type 1) or instability (type 2) | `theory.edge` |
| growth factor of second moments at a step size | `theory.second_moment_radius` |
| shuffled epochs, by the product over an epoch | `theory.epoch_max_step_size`, `theory.epoch_radius` |
| almost every path (Lyapunov exponents, with error bars) | `theory.lyapunov_exponents`, `theory.lyapunov_max_step_size` |
| $E\lvert x\rvert^p$ in one dimension, every $p$ from 0 to infinity | `theory.moment_max_step_size`, `theory.moment_radius` |
| high-dimensional limits and their error against the exact edge | `theory.high_dimensional_edges`, `theory.volterra_criterion` |
| second moments after a step, stationary moments, label noise | `theory.second_moment_map`, `theory.stationary_moment`, `theory.label_noise` |

Kinds of stability differ: just above the mean-square edge almost every path still converges, while rare ones carry the
mean. `testing.assert_stable` therefore asks for the kind, and never averages simulated paths.

## Criteria

`theory.criteria(hessians, batch_size)` gives all of them, in units of curvature: each says "stable" while it is below
$2/\eta$. What that means is in the third column; *necessary* criteria lie below the exact one, *sufficient* ones above.

"""  # noqa: E501 - a row of a table is a line

PROVEN = """
## Claims with a proof

Each is a `testing.Claim` in `testing.PROVABLE`, attacked by hypothesis over its whole region in every run of the tests.

"""

REFUTED = """
## False claims

Each sounds right, or has been written. Each is in `testing.FALSE` with the counterexample below: found by hypothesis,
made simple by its shrinking and where needed by hand (step sizes are rounded), and verified by a sum over all batches.

"""


def page() -> str:
    """The page as Markdown.

    >>> page().splitlines()[0]
    '# Stability: what to compute, what is true, and what only sounds true'
    """
    parts = [HEAD, table(CRITERIA), PROVEN, *map(proven, PROVABLE), REFUTED, *map(refuted, FALSE)]
    return "".join(parts)


def table(criteria: Iterable[Criterion]) -> str:
    lines = ["| | criterion | meaning | of | assumes | cost | source |", "|" + "---|" * 7]
    for c in criteria:
        what = f"`{c.name}` ${bars(c.symbol)} = {bars(c.formula)}$"
        if c.symbol.startswith("2/"):  # defined by a step size
            what = f"`{c.name}` ${bars(c.symbol)}$ where ${bars(c.formula)}$"
        lines.append(f"| {c.label} | {what} | {c.meaning} | {c.of} | {c.assumes} | {c.cost} | {c.reference} |")
    return "\n".join(lines) + "\n"


def bars(latex: str) -> str:
    """LaTeX for a cell of a Markdown table, which a bar would end."""
    return latex.replace(r"\|", r"\Vert ").replace("|", r"\vert ")


def heading(claim: Claim[Any]) -> str:
    formula = f"\n\n$${claim.formula}$$" if claim.formula else ""
    return f"**{claim.statement}** ({claim.kind}){formula}\n"


def proven(claim: Claim[Any]) -> str:
    assumptions = f"\n*Assumes:* {' '.join(claim.assumptions)}" if claim.assumptions else ""
    return f"{heading(claim)}{assumptions} *Proof:* {claim.proof} *Source:* {claim.reference}\n\n"


def refuted(claim: Claim[Any]) -> str:
    assumptions = f"\n*Assumes:* {' '.join(claim.assumptions)} " if claim.assumptions else "\n"
    code = f"```python\n{claim.counterexample!r}\n```"
    return f"{heading(claim)}{assumptions}*False at*\n\n{code}\n\n{why(claim)}"


def why(claim: Claim[Any]) -> str:
    """Both sides at the counterexample."""
    left, right, *_ = np.broadcast_arrays(*claim.sides(claim.counterexample))
    worst = int(np.argmin((right - left) if claim.relation == "<=" else -abs(right - left)))
    numbers = f"where the left side is {left.flat[worst]:.4g} and the right side {right.flat[worst]:.4g}."
    return f"{numbers} *Source of the claim:* {claim.reference}\n\n" if claim.reference else f"{numbers}\n\n"


if __name__ == "__main__":
    print(page(), end="")
