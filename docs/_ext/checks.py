"""Which function a formula belongs to and which test checks it: read from the pages, looked up without a run.

A page says ``{checked}`sgdmodels.theory.max_step_size | tests/test_theory_edges.py::test_any_name` ``. Nothing here
needs Sphinx: the role uses it when the site is built, and the tests use it to check all pages at once.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROLE = re.compile(r"\{checked\}`([^`]+)`")


@dataclass(frozen=True)
class Check:
    """A public object (by its path from `sgdmodels`), and the test that checks its formula."""

    name: str
    file: str
    test: str

    @property
    def label(self) -> str:
        """Where the site shows the test."""
        return f"{Path(self.file).stem}--{self.test}".replace("_", "-")


def parsed(text: str) -> Check:
    """The text of a role; raises ValueError that says what is wrong with it."""
    parts = re.fullmatch(r"\s*(sgdmodels[\w.]*)\s*\|\s*(tests/[\w/]+\.py)::(\w+)\s*", text)
    if not parts:
        raise ValueError(f"{text!r} is not of the form 'sgdmodels.name | tests/file.py::test_name'")
    return Check(*parts.groups())


def verified(check: Check) -> Check:
    """The check, once its function and its test exist; raises ValueError."""
    if check.test not in tests_of(check.file):
        raise ValueError(f"there is no test {check.test} in {check.file}")
    module, *path = "sgdmodels", *check.name.split(".")[1:]
    found = import_module(module)
    for depth, part in enumerate(path, 1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = import_module(".".join([module, *path[:depth]]))
            except ModuleNotFoundError:
                raise ValueError(f"there is no {check.name}") from None
    return check


@cache
def tests_of(file: str) -> frozenset[str]:
    """Names of the tests of a file, from its syntax tree; empty if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def on_pages(folder: Path) -> list[Check]:
    """All checks named on the pages of a folder, each test once, by file and test."""
    found = {
        (check.file, check.test): check
        for page in sorted(folder.rglob("*.md"))
        for text in ROLE.findall(page.read_text(encoding="utf-8"))
        for check in [parsed(text)]
    }
    return [found[key] for key in sorted(found)]
