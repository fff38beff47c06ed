"""The table of docs/dynamics.md, made from what every dynamics declares: `python -m sgdmodels.declarations`."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from .dynamics import (
    GD,
    SDE,
    SGD,
    SVAG,
    CentralFlow,
    Declaration,
    Dynamics,
    EpochSDE,
    GradientFlow,
    HomogenizedSGD,
    ImplicitRegularizationFlow,
    LabelNoiseSGD,
    LevySDE,
    NoisyGD,
    OrnsteinUhlenbeck,
    PredictedDynamics,
    ReshufflingFlow,
    StochasticCentralFlow,
)

# Every public dynamics, with the arguments that change what it declares; steps and batch sizes do not.
ROWS: tuple[tuple[type[Dynamics], dict[str, Any]], ...] = (
    (SGD, {}),
    (SGD, {"sampling": "epoch"}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (LabelNoiseSGD, {"scale": 0.1}),
    (SVAG, {"ell": 4}),
    (GD, {}),
    (GD, {"momentum": 0.9}),
    (GD, {"momentum": 0.9, "nesterov": True}),
    (NoisyGD, {}),
    (NoisyGD, {"refresh": 30}),
    (NoisyGD, {"covariance": "diagonal"}),
    (NoisyGD, {"covariance": "isotropic"}),
    (NoisyGD, {"covariance": "constant", "scale": 0.1}),
    (SDE, {}),
    (SDE, {"substeps": 1}),
    (SDE, {"order": 2}),
    (EpochSDE, {}),
    (EpochSDE, {"substeps": 1}),
    (EpochSDE, {"order": 2}),
    (HomogenizedSGD, {}),
    (OrnsteinUhlenbeck, {}),
    (LevySDE, {"alpha": 1.8, "scale": 0.1}),
    (GradientFlow, {}),
    (ImplicitRegularizationFlow, {}),
    (ReshufflingFlow, {}),
    (CentralFlow, {}),
    (StochasticCentralFlow, {}),
    (PredictedDynamics, {}),
)

HEAD = r"""# The dynamics, and what theory says of them

Made by `python -m sgdmodels.declarations` from the `declaration` of each dynamics; a test keeps it so. `step_size` and
`batch_size` are left out of the names.

## Symbols

* $\theta$: parameters, $d$ of them. $L = \frac1n\sum_i l_i$: loss of $n$ samples, with gradients $g_i = \nabla l_i$ and
  Hessians $H_i$. $H$: mean Hessian; $\lambda_{\max}$: its top eigenvalue. $\Sigma$: covariance of the $g_i$.
* $\eta$: `step_size`; $b$: `batch_size`. $B$: a batch; $g_B$: its mean gradient, of covariance $c_2\Sigma$, where
  $c_2(b) = \frac{n-b}{b(n-1)}$ without replacement and $\frac1b$ with it.
* $S_{ms}(b)$: mean-square sharpness; on a fixed quadratic, second moments of SGD grow where it is above $2/\eta$.
* $W$: Brownian motion. Time runs in units of $\eta$: one step of SGD is $\eta$ of it, integrated in $m$ = `substeps`.
* $N$, $\varepsilon_i$, $\xi$, $\zeta$: normal numbers, fresh in every step, of variance one unless said.
* In one dimension: $a$, the mean of the $H_i$; $s^2 = c_2\mathrm{Var}_i(H_i)$, the variance of a batch's.
* Momentum: $\beta$, and velocity $v$. Label noise: $\sigma$ = `scale`, and labels $y_i$. Constant noise: $\sigma_0$ =
  `scale`.
* SVAG: two independent batches $B_1$, $B_2$ in each of $\ell$ = `ell` micro-steps per step of SGD.
* `EpochSDE`: $W^\circ$, Brownian bridges, one for each epoch of $K = \lfloor n/b \rfloor$ steps.
* `HomogenizedSGD`: $\hat H = \frac1n\sum_i\nabla f_i\nabla f_i^T$ for predictions $f_i$.
* `OrnsteinUhlenbeck`: $\ast$ marks values at the point $\theta^{\ast}$ of linearisation.
* `LevySDE`: $L^\alpha$, a motion with independent coordinates and $E e^{itL^\alpha_1} = e^{-\lvert t\rvert^\alpha}$;
  $\sigma$ = `scale`.
* Central flows: $X$, covariance of the oscillation about the mean path; $X^{\ast}$, the critical mode of the
  second-moment map, of trace one, and $\nu$, its strength; $\nabla^3L:X$ is
  $\sum_{jk}X_{jk}\,\partial_j\partial_k\nabla L$; `stride` steps are taken at once.
* `PredictedDynamics`: $x$, displacement along the top eigenvector $u$; $y$, sharpness beyond $2/\eta$. With $D$ the
  part of $\nabla\lambda_{\max}$ across $u$, $\alpha = -\nabla L\cdot D$ and $\beta = \lvert D\rvert^2$; $\sigma_u^2 =
  c_2u^T\Sigma u$ and $s^2 = c_2\mathrm{Var}_i(u^TH_iu)$.

## Columns

* *Equation*: one step ($\leftarrow$, or $+$ for the next value), or the differential equation that is integrated.
* *Weak order*: the largest $p$ such that expectations of smooth observables after a fixed time $\eta\cdot$steps differ
  by $O(\eta^p)$ from those of the dynamics in parentheses, at the same `substeps`. "none": they need not converge to
  each other; "no theory": nothing is claimed. SGD in parentheses draws its batches afresh in each step.
* *Preserves*: which moments of a step are those of that dynamics.
* *Stability edge*: where the second moment on a fixed quadratic (the mean, if it is deterministic) starts to grow. That
  of a differential equation is its own: integrated by Euler's rule it also needs $\eta\lambda_{\max} < 2m$. "none": no
  $\eta$ is too large. "built in": the equation contains the edge and does not predict it.
* *Cost*: of one step of SGD, in gradients (G) and Hessian-vector products (H) of one sample and in random numbers;
  $d^3$: dense linear algebra.
* *Heuristic* marks a proposal without a theorem that leads to it from SGD.

## Table

"""


def example(kind: type[Dynamics], arguments: dict[str, Any]) -> Dynamics:
    """An instance to ask for its declaration."""
    known = {"step_size": 0.1, "batch_size": 4}
    given = {f.name: known[f.name] for f in fields(kind) if f.name in known}
    return kind(**given, **arguments)


def table() -> str:
    """The page as Markdown.

    >>> table().splitlines()[0]
    '# The dynamics, and what theory says of them'
    """
    columns = ("Dynamics", "Equation", "Weak order", "Preserves", "Stability edge", "Cost", "Reference")
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for kind, arguments in ROWS:
        words = ", ".join(f'{name}="{v}"' if isinstance(v, str) else f"{name}={v}" for name, v in arguments.items())
        name = f"`{kind.__name__}({words})`" if words else f"`{kind.__name__}`"
        cells = row(name, example(kind, arguments).declaration)
        lines.append("| " + " | ".join(cells) + " |")
    return HEAD + "\n".join(lines) + "\n"


def row(name: str, d: Declaration) -> tuple[str, ...]:
    """The cells of one dynamics."""
    order = "no theory" if d.weak_order is None else f"{d.weak_order or 'none'} ({plain_name(d.relative_to)})"
    marked = name + (" *heuristic*" if d.heuristic else "")
    return marked, formula(d.equation), order, d.preserves, formula(d.edge), d.cost, d.reference


def plain_name(name: str) -> str:
    """A dynamics as code where it has arguments."""
    return f"`{name}`" if "(" in name else name


def formula(text: str) -> str:
    r"""LaTeX between dollar signs, without what Markdown would take for a cell's end or for emphasis.

    >>> formula(r"|\nabla L|^2 = H^*")
    '$\\lvert\\nabla L\\rvert^2 = H^{\\ast}$'
    """
    words = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if words:
        return words[1]
    return "$" + re.sub(r"\|([^|]*)\|", r"\\lvert\1\\rvert", text).replace("^*", r"^{\ast}") + "$"


if __name__ == "__main__":
    print(table(), end="")
