"""Captions, written once and shown as text, as HTML with MathML, and as LaTeX."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from ..report import formula

PLAIN = {
    r"\lambda_{\max}": "λ_max", r"\eta_{\max}": "η_max", r"\eta": "η", r"\lambda_1": "λ_1", r"\beta": "β",
    r"\le": "≤", r"\times": "\N{MULTIPLICATION SIGN}", r"\,": " ", "S_{ms}": "S_ms", "{,}": ",",
}  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    r"""Words and formulas in turn.

    >>> caption = Caption.of(r"At $\eta$ = 0.1: {name}.", name="a_b <$>")
    >>> caption.plain, caption.latex
    ('At η = 0.1: a_b <$>.', 'At $\\eta$ = 0.1: a\\_b \\textless{}\\$\\textgreater{}.')
    """

    parts: tuple[tuple[bool, str], ...]

    @classmethod
    def of(cls, template: str, **texts: Any) -> Caption:
        """Formulas stand between dollar signs; {names} outside of them are filled in, letter for letter."""
        pieces = template.split("$")
        return cls(tuple((bool(k % 2), p if k % 2 else p.format(**texts)) for k, p in enumerate(pieces) if p))

    def __add__(self, other: Caption) -> Caption:
        return Caption((*self.parts, (False, " "), *other.parts))

    @property
    def plain(self) -> str:
        """Unicode text."""
        return "".join(_plain(text) if is_formula else text for is_formula, text in self.parts)

    @property
    def html(self) -> str:
        """Escaped, with MathML."""
        return "".join(formula(text) if is_formula else html.escape(text) for is_formula, text in self.parts)

    @property
    def latex(self) -> str:
        """The inside of a LaTeX caption."""
        return "".join(f"${text}$" if is_formula else latex_text(text) for is_formula, text in self.parts)


def latex_text(text: str) -> str:
    """Text as LaTeX prints it letter for letter."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def _plain(formula: str) -> str:
    for source, letters in PLAIN.items():
        formula = formula.replace(source, letters)
    return formula
