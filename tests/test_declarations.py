"""What each dynamics declares: complete, readable LaTeX, and printed in docs/dynamics.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from latex2mathml.converter import convert

import sgdmodels as sm
from sgdmodels import declarations
from sgdmodels.dynamics import Declaration, Dynamics

PAGE = Path(__file__).parent.parent / "docs" / "dynamics.md"
KNOWN = ("SGD", "GD", 'SGD(sampling="epoch")')
NAMES = [f"{kind.__name__} {arguments}" for kind, arguments in declarations.ROWS]
EVERYONE = [declarations.example(kind, arguments).declaration for kind, arguments in declarations.ROWS]


def formulas(text: str) -> list[str]:
    """What stands between dollar signs."""
    assert text.count("$") % 2 == 0, text
    return re.findall(r"\$([^$]*)\$", text)


def well_formed(latex: str) -> None:
    """Braces, brackets and \\left-\\right balance, and nothing is left over that a browser could not draw."""
    assert latex.strip() == latex != ""
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if mark == "{" else -1
        assert depth >= 0, latex
    assert depth == 0, latex
    assert latex.count("(") == latex.count(")"), latex
    assert latex.count(r"\left(") == latex.count(r"\right)"), latex
    assert "\\" not in convert(latex), latex  # an unknown command would be copied


@pytest.mark.parametrize("declaration", EVERYONE, ids=NAMES)
def test_declarations_are_complete(declaration: Declaration) -> None:
    for name in ("equation", "preserves", "edge", "cost", "reference", "relative_to"):
        value = getattr(declaration, name)
        assert isinstance(value, str)
        assert value.strip() == value != "", name
        assert not re.search(r"\b(eta|alpha|ell|lambda)\b(?![^$]*\$)", re.sub(r"\\[a-z]+", "", value)), value
    assert declaration.weak_order in (None, 0, 1, 2)
    assert declaration.relative_to in KNOWN
    assert re.search(r"\d{4}", declaration.reference)
    well_formed(declaration.equation)
    well_formed(declaration.edge)
    for text in (declaration.preserves, declaration.cost):
        for latex in formulas(text):
            well_formed(latex)


def test_every_public_dynamics_is_in_the_table() -> None:
    public = {c for c in vars(sm).values() if isinstance(c, type) and issubclass(c, Dynamics)}
    exported = {getattr(sm.dynamics, name) for name in sm.dynamics.__all__} - {Dynamics, Declaration, sm.dynamics.Plan}
    assert {kind for kind, _ in declarations.ROWS} == public == exported
    for kind in public:
        assert f"`{kind.__name__}" in PAGE.read_text(encoding="utf-8")


def test_arguments_that_change_a_declaration_have_rows_of_their_own() -> None:
    """No two rows are alike, but for SGD(momentum) where only the step differs."""
    rows = [declarations.row(kind.__name__, e) for (kind, _), e in zip(declarations.ROWS, EVERYONE, strict=True)]
    assert len(set(rows)) == len(rows)


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == declarations.table(), "run: python -m sgdmodels.declarations"


def test_the_page_is_a_table_that_markdown_readers_can_split() -> None:
    lines = declarations.table().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {8}  # also none within a formula
    assert len(rows) == 2 + len(declarations.ROWS)
    for latex in formulas(declarations.table()):
        well_formed(" ".join(latex.split()))
        assert "^*" not in latex


def test_python_dash_m_prints_it() -> None:
    command = [sys.executable, "-X", "utf8", "-m", "sgdmodels.declarations"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=PAGE.parent.parent)
    assert done.stdout.decode() == declarations.table()


@pytest.mark.parametrize(
    ("dynamics", "edge", "expected"),
    [
        (sm.GD(0.1), r"\lambda_{\max} = 2/\eta", 2 / 0.1),
        (sm.GD(0.1, 0.9), r"\lambda_{\max} = 2(1+\beta)/\eta", 2 * 1.9 / 0.1),
        (sm.GD(0.1, 0.9, True), r"\lambda_{\max} = 2(1+\beta)/(\eta(1+2\beta))", 2 * 1.9 / (0.1 * 2.8)),
    ],
    ids=["plain", "heavy ball", "Nesterov"],
)
def test_gradient_descent_diverges_beyond_its_declared_edge(dynamics: sm.GD, edge: str, expected: float) -> None:
    """A parabola whose curvature is 1 % below the edge, and one 1 % above."""
    assert dynamics.declaration.edge == edge
    for factor, grows in ((0.99, False), (1.01, True)):
        model = sm.models.LeastSquares([[(factor * expected) ** 0.5]], [0.0])
        run = sm.simulate(model, dynamics, 3000, [1.0], record_every=3000, metrics=("loss",))
        assert (not run.loss[0, -1] < 1e6) == grows
        assert (float(run.loss[0, -1]) < 1e-6) != grows


@pytest.mark.parametrize(
    ("dynamics", "edge", "step_size"),
    [
        (sm.SDE(0.1, 1), r"\eta = 2a/s^2", lambda a, s2: 2 * a / s2),
        (sm.SVAG(0.1, 1, ell=4), r"\eta = 2a/(a^2/\ell + s^2)", lambda a, s2: 2 * a / (a**2 / 4 + s2)),
        (sm.SDE(0.1, 1, order=2), r"\eta = 2a/(s^2 - a^2)", lambda a, s2: 2 * a / (s2 - a**2)),
    ],
    ids=["SDE", "SVAG", "SDE of order 2"],
)
def test_declared_edges_of_one_dimension(dynamics: Dynamics, edge: str, step_size: Callable[..., float]) -> None:
    """The factor of E theta^2 in a step of theta^2 / 2 with curvatures 0.5 and 3.5 is 1 at the edge.

    b = 1 of n = 2 samples: c2 = 1, s^2 = 1.5^2; the edge of order 2 needs s^2 > a^2, hence curvatures -0.1 and 0.5.
    """
    assert dynamics.declaration.edge.endswith(edge)
    second = "s^2 - a^2" in edge
    curvatures = np.array([-0.1, 0.5] if second else [0.5, 3.5])
    a, s2 = curvatures.mean(), curvatures.var()
    eta = step_size(a, s2)
    micro = getattr(dynamics, "ell", 10**6)  # micro-steps, or small steps of the SDE
    h = eta / micro
    factor = (1 - h * (a + eta * a**2 / 2 if second else a)) ** 2 + h**2 * micro * s2
    assert (factor - 1) / h == pytest.approx(0, abs=1e-4)
