"""Docstrings are plain text with formulas: what reStructuredText would take for markup in them is taken literally."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from inspect import cleandoc
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import TypeAliasForwardRef

MARKUP = re.compile(r"(:\w+:`[^`]*`|``.+?``|`[^`]*`)")


def literal(lines: list[str]) -> list[str]:
    """Lines with bars and lone stars escaped, but for directives, doctests and what stands in backticks."""
    out, block = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and line.lstrip().startswith(".. "):
            block = indent
        plain = block is None and not line.lstrip().startswith((">>>", "..."))
        out.append(
            "".join(part if i % 2 else escaped(part) for i, part in enumerate(MARKUP.split(line))) if plain else line
        )
    return out


def escaped(text: str) -> str:
    """Bars, and stars that open no emphasis.

    >>> escaped("E|g|^2 is *exact* at X*")
    'E\\\\|g\\\\|^2 is *exact* at X\\\\*'
    """
    text = re.sub(r"\|", r"\\|", text)
    bullet, text = (text[:2], text[2:]) if text.startswith("* ") else ("", text)
    kept = re.split(r"((?<![\w)])\*(?=\w)[^*]*(?<=\w)\*(?!\w))", text)
    return bullet + "".join(part if i % 2 else part.replace("*", r"\*") for i, part in enumerate(kept))


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = literal(lines)


class ModuleNotes(SphinxDirective):
    """What a module says of itself: the formulas that its functions share."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        import_module(self.arguments[0])
        module = sys.modules[self.arguments[0]]
        _, _, notes = cleandoc(module.__doc__ or "").partition("\n\n")
        self.content = StringList(literal(notes.splitlines()), source=self.arguments[0])
        return self.parse_content_to_nodes()


def plain_signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: Any, result: Any) -> Any:
    """Signatures that Python can read: a default made by a factory has no value to show."""
    return (arguments.replace("<factory>", "..."), result) if arguments else None


def setup(app: Sphinx) -> dict[str, bool]:
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # inside tuple[...] Sphinx shows the repr
    app.connect("autodoc-process-signature", plain_signature)
    app.add_directive("module-notes", ModuleNotes)
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
