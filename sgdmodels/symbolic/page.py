"""The closed forms as a document: Markdown (docs/closed_forms.md), LaTeX, or a PDF where pdflatex is installed.

`python -m sgdmodels.symbolic.page > docs/closed_forms.md` writes the page; a test keeps it so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import SgdmodelsError
from .closed_form import ClosedForm
from .derive import contents, derive

INTRODUCTION = """# Closed forms

Every formula below is derived and proven by computer algebra (sympy) when this page is made, and compared with an
independent numerical route by the tests. `sgdmodels derive NAME` prints one, `--latex` as LaTeX, `--check` with its
comparison; `sgdmodels.symbolic.derive(NAME)` returns it as an object with `expression`, `latex()`, `text()`,
`lambdify()` and `check()`.

$n$ samples, loss $L = \\frac1n\\sum_i l_i$, gradients $g_i$, Hessians $H_i$, means $\\bar g$, $\\bar H$; a batch $B$ of
$b$ samples with mean gradient $g_B$ and mean Hessian $H_B$; step size $\\eta$, momentum $\\beta$. Sums without limits
run over all values of their index. $c_2$, $c_3$: sampling coefficients, the first forms of the page.
"""
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
    lines = [INTRODUCTION]
    for chapter, topics in chapters.items():
        lines.append(f"* **{chapter}**: " + ", ".join(f"[{_words(t)}](#{_anchor(chapter, t)})" for t in topics))
    for chapter, topics in chapters.items():
        lines.append(f"\n## {chapter}")
        for topic, forms in topics.items():
            lines.append(f'\n### <a id="{_anchor(chapter, topic)}"></a>{_words(topic)}')
            lines += [_markdown_form(form) for form in forms]
    return "\n".join(lines) + "\n"


def _markdown_form(form: ClosedForm) -> str:
    equations = "\n\n".join(f"$$\n{equation}\n$$" for equation in form.equations())
    facts = [f"Assumes: {'; '.join(form.assumptions)}."] if form.assumptions else []
    facts += [f"Checked against: {form.route}, to {form.tolerance:.0e}.", f"Source: {form.reference}."]
    return f"\n**{_escaped(form.title)}** (`{form.name}`). {_escaped(form.statement)}\n\n{equations}\n\n" + _escaped(
        " ".join(facts)
    )


def tex(chapters: Book) -> str:
    """The document as LaTeX."""
    lines = [TEX_HEAD, _tex_text(INTRODUCTION.split("\n\n", 1)[1])]
    for chapter, topics in chapters.items():
        lines.append(rf"\section*{{{chapter}}}")
        for topic, forms in topics.items():
            lines.append(rf"\subsection*{{{_words(topic)}}}")
            lines += [_tex_form(form) for form in forms]
    return "\n".join([*lines, r"\end{document}", ""])


def _tex_form(form: ClosedForm) -> str:
    facts = [f"Assumes: {'; '.join(form.assumptions)}."] if form.assumptions else []
    facts += [f"Checked against: {form.route}, to {form.tolerance:.0e}.", f"Source: {form.reference}."]
    equations = "\n".join(
        rf"\begin{{equation*}}\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}"
        rf"{{$\displaystyle {equation}$}}\end{{equation*}}"
        for equation in form.equations()
    )
    title = rf"\textbf{{{_tex_text(form.title)}}} (\texttt{{{_tex_text(form.name)}}})."
    return f"\n{title} {_tex_text(form.statement)}\n{equations}\n{{\\small {_tex_text(' '.join(facts))}}}\n"


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


def _words(topic: str) -> str:
    return topic.replace("_", " ").capitalize()


def _anchor(chapter: str, topic: str) -> str:
    return f"{chapter}-{topic}".lower().replace(" ", "-").replace("_", "-")


def _escaped(text: str) -> str:
    """Plain words in Markdown: what would be emphasis, code or a table's border is not."""
    return re.sub(r"([\\*_|<>\[\]`$])", r"\\\1", text)


def _tex_text(text: str) -> str:
    """Plain words, with mathematics between dollar signs and code between backquotes, in LaTeX."""
    special = {
        "\\": r"\textbackslash{}",
        "^": r"\^{}",
        "~": r"\~{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
    pieces = re.split(r"(\$[^$]*\$|`[^`]*`)", text)
    out = []
    for piece in pieces:
        if piece.startswith("$"):
            out.append(piece)
            continue
        escaped = "".join(special.get(c, "\\" + c if c in "_%#&{}$" else c) for c in piece.strip("`"))
        out.append(rf"\texttt{{{escaped}}}" if piece.startswith("`") else escaped)
    return "".join(out)


if __name__ == "__main__":
    print(markdown(book()), end="")
