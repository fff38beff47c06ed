"""The closed forms as a document: Markdown (docs/closed_forms.md), LaTeX, or a PDF where pdflatex is installed.

`python -m sgdmodels.symbolic.page > docs/closed_forms.md` writes the page; a test keeps it so.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from ..errors import SgdmodelsError
from . import prose
from .closed_form import ClosedForm, latex
from .derive import CHAPTERS, LOSSES, contents, derive
from .forms import loss_quantities
from .forms.losses import FAMILIES

TITLE = "Closed forms"
INTRODUCTION = r"""
Every formula below is derived by computer algebra (sympy) when this page is made, and compared with an independent
numerical route by the tests. A formula with sums over samples or features is proven for small numbers of them (two
samples and two features for the built-in losses), and checked numerically for others. `sgdmodels derive NAME` prints a
formula or a topic, `--latex` as LaTeX, `--check` with its comparison; `sgdmodels.symbolic.derive(NAME)` returns objects
with `expression`, `latex()`, `text()`, `lambdify()` and `check()`.

$n$ samples, loss $L = \frac1n\sum_i l_i$, gradients $g_i$, Hessians $H_i$, means $\bar g$, $\bar H$; a batch $B$ of
$b$ samples with mean gradient $g_B$ and mean Hessian $H_B$; step size $\eta$, momentum $\beta$. Sums without limits
run over all values of their index. $c_2$, $c_3$: sampling coefficients, the first forms of the page. A named part of
a formula is shown where a topic first uses it, and again where it changes.
"""
HEADINGS = {  # of topics whose names would repeat that of the chapter, or are not written as words
    "diagonal_networks": "Curvature",
    "diagonal_batches": "Batches",
    "diagonal_invariants": "Invariants",
    "self_stabilisation": "The cubic model",
    "modified_sde": "Modified SDE",
    "two_parameter_models": "Two-parameter models",
}
TEX_HEAD = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{amsmath,amssymb,graphicx}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
\begin{document}
\title{Closed forms of \texttt{sgdmodels}}
\author{}
\date{}
\maketitle
"""
Book = Mapping[str, Mapping[str, tuple[ClosedForm, ...]]]
Shown = dict[str, str]  # a named part -> the equation last printed for it in a topic


class PdfLatexFailed(SgdmodelsError, RuntimeError):
    """pdflatex is missing or gave up on a document; the message says which, and where its log is."""


def book(names: Iterable[str] = ()) -> Book:
    """Chapter -> topic -> derived forms, of the given names or of everything."""
    wanted = {form.name for name in names for form in derive(name)}
    chosen = {
        chapter: {
            topic: tuple(derive(form)[0] for form in forms if not wanted or form in wanted)
            for topic, forms in topics.items()
        }
        for chapter, topics in contents().items()
    }
    kept = {chapter: {t: forms for t, forms in topics.items() if forms} for chapter, topics in chosen.items()}
    return {chapter: topics for chapter, topics in kept.items() if topics}


def markdown(chapters: Book) -> str:
    """The document as Markdown with LaTeX between dollar signs."""
    lines = [f"# {TITLE}", "", prose.markdown(INTRODUCTION), ""]
    for chapter, topics in chapters.items():
        lines.append(f"* **{chapter}**: " + ", ".join(f"[{_heading(t)}](#{_anchor(chapter, t)})" for t in topics))
    for chapter, topics in chapters.items():
        lines.append(f"\n## {chapter}")
        lines += ["", prose.markdown(_doc(loss_quantities))] if chapter == LOSSES else []
        for topic, forms in topics.items():
            lines.append(f'\n### <a id="{_anchor(chapter, topic)}"></a>{_heading(topic)}\n')
            lines.append(prose.markdown(_introduction(chapter, topic)))
            shown: Shown = {}
            lines += [_markdown_form(form, shown) for form in forms]
    return "\n".join(lines) + "\n"


def _markdown_form(form: ClosedForm, shown: Shown) -> str:
    equations = "".join(f"$$\n{equation}\n$$\n\n" for equation in _equations(form, shown))
    head = f"**{prose.markdown_words(form.title)}** (`{form.name}`). {prose.markdown(form.statement)}"
    return f"\n{head}\n\n{equations}{prose.markdown(_facts(form))}"


def tex(chapters: Book) -> str:
    """The document as LaTeX."""
    lines = [TEX_HEAD, prose.tex(INTRODUCTION)]
    for chapter, topics in chapters.items():
        lines.append(rf"\section*{{{chapter}}}")
        lines += [prose.tex(_doc(loss_quantities))] if chapter == LOSSES else []
        for topic, forms in topics.items():
            lines.append(rf"\subsection*{{{_heading(topic)}}}")
            lines.append(prose.tex(_introduction(chapter, topic)))
            shown: Shown = {}
            lines += [_tex_form(form, shown) for form in forms]
    return "\n".join([*lines, r"\end{document}", ""])


def _tex_form(form: ClosedForm, shown: Shown) -> str:
    equations = "\n".join(map(prose.display, _equations(form, shown)))
    head = rf"\textbf{{{prose.tex_words(form.title)}}} ({prose.typewriter(form.name)}). {prose.tex(form.statement)}"
    return f"\n{head}\n{equations}\n{{\\small {prose.tex(_facts(form))}}}\n"


def _introduction(chapter: str, topic: str) -> str:
    """What defines a topic: the text of its module, or the losses it is about."""
    if chapter != LOSSES:
        return _doc(next(m for m in CHAPTERS[chapter] if m.__name__.endswith(f".{topic}")))
    parts = []
    for family in FAMILIES[topic]:
        rest = f" What is shown of {family.shown} holds for the other factors too." if family.shown else ""
        parts.append(f"Forms `{family.prefix}_...`: {family.words}.{rest}\n\n.. math:: {family.definition}")
    return "\n\n".join(parts)


def _doc(module: ModuleType) -> str:
    return module.__doc__ or ""


def _equations(form: ClosedForm, shown: Shown) -> Iterator[str]:
    """The equation, and those of its parts that have not been shown since their names meant something else."""
    first, *parts = form.equations()
    yield first
    for (symbol, _), part in zip(form.where, parts, strict=True):
        if shown.get(latex(symbol)) != part:
            shown[latex(symbol)] = part
            yield part


def _facts(form: ClosedForm) -> str:
    facts = [f"Assumes: {'; '.join(form.assumptions)}."] if form.assumptions else []
    return " ".join([*facts, f"Checked against: {form.route}, to {form.tolerance:.0e}.", f"Source: {form.reference}."])


def write(path: Path, chapters: Book) -> None:
    """The document as a file: .md, .tex, or .pdf (which needs pdflatex).

    Raises PdfLatexFailed before anything is written if there is no pdflatex.
    """
    if path.suffix == ".pdf":
        path.write_bytes(_pdf(tex(chapters)))
    else:
        path.write_text(tex(chapters) if path.suffix == ".tex" else markdown(chapters), encoding="utf-8")


def _pdf(source: str) -> bytes:
    program = shutil.which("pdflatex")
    if program is None:
        raise PdfLatexFailed("pdflatex is not installed; write a .tex or .md file instead, or install TeX Live")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "closed_forms.tex").write_text(source, encoding="utf-8")
        command = [program, "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "closed_forms.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        made = Path(folder) / "closed_forms.pdf"
        if done.returncode or not made.exists():
            raise PdfLatexFailed(f"pdflatex failed:\n{done.stdout[-1500:]}")
        return made.read_bytes()


def _heading(topic: str) -> str:
    return HEADINGS.get(topic, topic.replace("_", " ").capitalize())


def _anchor(chapter: str, topic: str) -> str:
    return f"{chapter}-{topic}".lower().replace(" ", "-").replace("_", "-")


if __name__ == "__main__":
    print(markdown(book()), end="")
