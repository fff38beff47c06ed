"""The role `checked`, which ties a formula to its function and its test, and the directive that shows those tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checks import on_pages, parsed, verified
from docutils import nodes
from docutils.parsers.rst.states import Inliner
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective


def checked(
    role: str, rawtext: str, text: str, line: int, inliner: Inliner, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """`function`, checked by `test`: two links. An error if either does not exist."""
    try:
        check = verified(parsed(text))
    except ValueError as wrong:
        message = inliner.reporter.error(str(wrong), line=line)
        return [nodes.problematic(rawtext, rawtext)], [message]
    short = check.name.removeprefix("sgdmodels.")
    function = addnodes.pending_xref(
        rawtext, nodes.literal("", f"sm.{short}" if not short.startswith("networks") else short),
        refdomain="py", reftype="obj", reftarget=check.name, refexplicit=True, refwarn=True,
    )  # fmt: skip
    test = addnodes.pending_xref(
        rawtext, nodes.inline("", check.test.removeprefix("test_").replace("_", " ")),
        refdomain="std", reftype="ref", reftarget=check.label, refexplicit=True, refwarn=True,
    )  # fmt: skip
    between = nodes.inline("", ", tested: ")
    return [nodes.inline("", "", function, between, test, classes=["checked"])], []


class CitedTests(SphinxDirective):
    """The source of every test that a page of the site names, under the label that the role links to."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        folder = Path(self.env.srcdir)
        current = ""
        for check in on_pages(folder):
            if check.file != current:
                current = check.file
                lines += [f"## {current}", ""]
            lines += [
                f"({check.label})=", f"### {check.test}", "",
                f"```{{literalinclude}} ../{check.file}", f":pyobject: {check.test}", "```", "",
            ]  # fmt: skip
        self.content = StringList(lines, source="tests named on the pages")
        return self.parse_content_to_nodes(allow_section_headings=True)


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The page of the tests is read again in every build: what it shows depends on all other pages."""
    return ["checks"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("env-get-outdated", outdated)
    app.add_role("checked", checked)
    app.add_directive("cited-tests", CitedTests)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
