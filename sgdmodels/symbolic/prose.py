r"""Docstrings as Markdown and as LaTeX: words, code between backquotes, and mathematics in text and in blocks.

Of reStructuredText only what this project uses is known: :math:`x`, ``.. math::`` with its continuation lines, and
single or double backquotes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

INLINE = re.compile(r":math:`([^`]+)`|``([^`]+)``|`([^`]+)`|\$([^$]+)\$")
BLOCK = ".. math::"


def blocks(docstring: str) -> Iterator[tuple[bool, str]]:
    r"""Whether it is an equation, and its text, of every paragraph.

    >>> list(blocks("The loss\n\n.. math:: x\n   + y\n\nends."))
    [(False, 'The loss'), (True, 'x + y'), (False, 'ends.')]
    """
    found: list[tuple[bool, list[str]]] = []
    parted = True
    for line in inspect.cleandoc(docstring).splitlines():
        if line.startswith(BLOCK):
            found.append((True, [line.removeprefix(BLOCK)]))
        elif line.startswith(" ") and found and found[-1][0]:
            found[-1][1].append(line)
        elif line and (parted or found[-1][0]):
            found.append((False, [line]))
        elif line:
            found[-1][1].append(line)
        parted = not line
    for equation, lines in found:
        yield equation, " ".join(" ".join(lines).split())


def markdown(docstring: str) -> str:
    r"""In Markdown, equations between double dollar signs.

    >>> markdown("A step :math:`\\eta` of `run`, a_b.")
    'A step $\\eta$ of `run`, a\\_b.'
    """
    shown = (
        f"$$\n{t}\n$$" if equation else _inline(t, markdown_words, "`{}`".format) for equation, t in blocks(docstring)
    )
    return "\n\n".join(shown)


def tex(docstring: str) -> str:
    r"""In LaTeX.

    >>> tex("A step :math:`\\eta` of `run_b`.")
    'A step $\\eta$ of \\texttt{run\\_b}.'
    """
    shown = (display(t) if equation else _inline(t, tex_words, typewriter) for equation, t in blocks(docstring))
    return "\n\n".join(shown)


def display(equation: str) -> str:
    """An equation on a line of its own, made smaller if the line is too short for it."""
    fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
    return rf"\begin{{equation*}}{fitted}{{$\displaystyle {equation}$}}\end{{equation*}}"


def markdown_words(text: str) -> str:
    """Plain words in Markdown: what would be emphasis, code or a table's border is not."""
    return re.sub(r"([\\*_|<>\[\]`$])", r"\\\1", text)


def tex_words(text: str) -> str:
    r"""Plain words in LaTeX; hyphens do not become dashes.

    >>> print(tex_words("--all a_b"))
    -{}-all a\_b
    """
    special = {
        "\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}",
        "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
    }  # fmt: skip
    words = "".join(special.get(c, "\\" + c if c in "_%#&{}$" else c) for c in text)
    return re.sub("-(?=-)", "-{}", words)


def typewriter(text: str) -> str:
    """Code in LaTeX."""
    return rf"\texttt{{{tex_words(text)}}}"


def _inline(text: str, words: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Words, with mathematics between dollar signs, and code."""
    out, at = [], 0
    for match in INLINE.finditer(text):
        mathematics = match[1] or match[4]
        shown = f"${mathematics}$" if mathematics else code(match[2] or match[3])
        out += [words(text[at : match.start()]), shown]
        at = match.end()
    return "".join([*out, words(text[at:])])
