"""The site can be built: what its pages name exists. The build itself is a step of its own, see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sgdmodels as sm

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    page for kind in ("*.md", "*.rst") for page in DOCS.rglob(kind)
    if not {"_build", "gallery"} & set(page.relative_to(DOCS).parts)
)  # fmt: skip
TOCTREE = re.compile(r"```\{toctree\}\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^()\s#:]+\.(?:md|py|png|cff))(?:#[^()\s]*)?\)")
INCLUDE = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
DOCUMENTED = re.compile(r"^\.\. (currentmodule|automodule|py:data|auto\w+):: (\S+)$", re.MULTILINE)
PUBLIC_MODULES = (
    "sgdmodels", "sgdmodels.models", "sgdmodels.dynamics", "sgdmodels.metrics", "sgdmodels.predictions",
    "sgdmodels.theory", "sgdmodels.symbolic", "sgdmodels.testing", "sgdmodels.networks", "sgdmodels.networks.nets",
    "sgdmodels.networks.data", "sgdmodels.sweeps", "sgdmodels.specs", "sgdmodels.sweep_report",
)  # fmt: skip
SHOWN_AS_MODULES = {
    "sgdmodels.models",
    "sgdmodels.dynamics",
    "sgdmodels.theory",
    "sgdmodels.symbolic",
    "sgdmodels.testing",
    "sgdmodels.specs",
}

sys.path.insert(0, str(DOCS / "_ext"))
import checks  # noqa: E402
import gallery_plan  # noqa: E402


@pytest.mark.parametrize("check", checks.on_pages(DOCS), ids=lambda check: check.test)
def test_every_formula_has_its_function_and_its_test(check: checks.Check) -> None:
    assert checks.verified(check) == check


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sgdmodels.theory.max_step_size | tests/test_theory.py::test_nothing", "there is no test test_nothing"),
        ("sgdmodels.theory.max_step_size | tests/test_no_file.py::test_nothing", "there is no test test_nothing"),
        ("sgdmodels.theory.largest_step | tests/test_docs.py::test_pages_link_to_files_that_exist", "there is no sgdm"),
        ("sgdmodels.theory.max_step_size", "is not of the form"),
    ],
)
def test_a_formula_without_them_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        checks.verified(checks.parsed(text))


def test_labels_of_tests_are_distinct() -> None:
    labels = [check.label for check in checks.on_pages(DOCS)]
    assert len(labels) == len(set(labels)) > 60


def test_every_theory_page_with_a_formula_names_tests() -> None:
    for page in (DOCS / "theory").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert "$$" not in text or checks.ROLE.search(text), page


def entries(page: Path) -> list[Path]:
    """Pages in the toctrees of a page; the gallery's is made by the build."""
    lines = [line.strip() for tree in TOCTREE.findall(page.read_text(encoding="utf-8")) for line in tree.splitlines()]
    names = [line for line in lines if line and not line.startswith((":", "gallery/"))]
    found = [next(iter(sorted(page.parent.glob(f"{name}.*"))), page.parent / name) for name in names]
    assert all(path.is_file() for path in found), found
    return found


def test_every_page_is_in_one_toctree() -> None:
    listed = [DOCS / "index.md", *(entry for page in PAGES if page.suffix == ".md" for entry in entries(page))]
    assert sorted(listed) == PAGES


def origins(page: Path) -> list[Path]:
    """The files whose text a page shows."""
    return [page, *((page.parent / name).resolve() for name in INCLUDE.findall(page.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.suffix == ".md"], ids=lambda p: str(p.relative_to(DOCS))
)
def test_pages_link_to_files_that_exist(page: Path) -> None:
    for origin in origins(page):
        assert origin.is_file(), origin
        for target in LINK.findall(origin.read_text(encoding="utf-8")):
            assert (origin.parent / target).exists(), (origin, target)


def documented() -> dict[str, Any]:
    """By dotted name, what the API pages show."""
    shown: dict[str, Any] = {}
    for page in (DOCS / "api").glob("*.rst"):
        module: Any = None
        for directive, name in DOCUMENTED.findall(page.read_text(encoding="utf-8")):
            if directive == "currentmodule":
                module = import_module(name)
            elif directive == "automodule":
                whole = import_module(name)
                shown[name] = whole
                # Sphinx lists what is in the module, not what it imports when it is asked for it
                shown |= {f"{name}.{part}": vars(whole)[part] for part in public_names(whole) if part in vars(whole)}
            else:
                shown[f"{module.__name__}.{name}"] = getattr(module, name)
    return shown


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or what a module without one defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]


def test_every_public_name_is_on_an_api_page() -> None:
    shown = documented()
    objects = {id(thing) for thing in shown.values()}
    missing = [
        f"{name}.{part}" for name in PUBLIC_MODULES for part in import_module(name).__all__
        if f"{name}.{part}" not in shown | dict.fromkeys(SHOWN_AS_MODULES)
        and id(getattr(import_module(name), part)) not in objects
    ]  # fmt: skip
    assert not missing


def test_names_of_sweeps_are_where_their_page_says() -> None:
    shown = documented()
    names = (
        *("Grid", "run_sweep", "open_sweep", "simulate", "networks.train", "sweeps.Store", "sweeps.run_of"),
        *("sweeps.grid_of", "sweep_report.write_report", "specs.read", "specs.node", "specs.build", "specs.identity"),
        *(f"errors.{name}" for name in public_names(sm.errors)),
    )
    assert {"errors.SpecError", "errors.StoreConflict", "errors.StoreError", "errors.SweepFailed"} <= set(names)
    assert not [name for name in names if f"sgdmodels.{name}" not in shown]
    for name in ("simulate", "networks.train"):
        thing = shown[f"sgdmodels.{name}"]
        for argument in ("checkpoint", "resume"):
            assert argument in inspect.signature(thing).parameters
            assert re.search(rf"\b{argument}\b", thing.__doc__), (name, argument)


def test_public_things_say_what_they_are() -> None:
    for name, thing in documented().items():
        if callable(thing):
            assert (thing.__doc__ or "").strip(), name


def test_the_gallery_shows_every_example_and_each_has_a_title() -> None:
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert sorted(gallery_plan.ORDER) == [path.name for path in examples]
    for path in examples:
        lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        assert lines[1] == "=" * len(lines[0]), path
        assert lines[2] == "", path


def test_versions_agree() -> None:
    assert f"version: {sm.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_docstrings_keep_their_bars_and_stars() -> None:
    pytest.importorskip("sphinx")
    from docstrings import literal

    given = ["E|g|^2 is *exact* at X*", "* of a list", "`|a|` :math:`|b|`", ".. math::", "   |c|^*", "", ">>> a | b"]
    expected = [r"E\|g\|^2 is *exact* at X\*", "* of a list", *given[2:]]
    assert literal(given) == expected
