"""Arguments and options that several commands have."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import typer

SUFFIXES = (".toml", ".json")


def is_document(path: str | Path) -> bool:
    """Whether an argument names a document, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def complete_documents(incomplete: str) -> list[str]:
    """Documents that a path may go on to, in its folder and those one below; the shell completes other files."""
    folder, _, begin = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    found = []
    try:
        for entry in sorted(place.iterdir()):
            if not entry.name.startswith(begin) or entry.name.startswith("."):
                continue
            inside = sorted(entry.iterdir()) if entry.is_dir() else [entry]
            found += [file for file in inside if is_document(file) and file.is_file()]
    except OSError:  # a folder that may not be read has nothing to offer
        return []
    prefix = incomplete[: len(incomplete) - len(begin)]
    return [prefix + file.relative_to(place).as_posix() for file in found]


def document_argument(metavar: str, about: str) -> Any:
    """The argument of a command that is a document."""
    return typer.Argument(metavar=metavar, help=about, autocompletion=complete_documents, show_default=False)


def example_option(name: str) -> Any:
    """--example: print a document to begin with."""

    def show(asked: bool) -> None:
        if asked:
            typer.echo(example(name), nl=False)
            raise typer.Exit

    about = "Print a complete document with comments, and exit."
    return typer.Option("--example", callback=show, is_eager=True, help=about)


def example(name: str) -> str:
    """The document that `--example` prints."""
    return (resources.files(__package__) / "documents" / name).read_text(encoding="utf-8")


def trust_option() -> Any:
    """--trust: whose code a document may name."""
    about = "A package whose losses, dynamics, metrics and recipes the document may name; repeat for several."
    return typer.Option("--trust", metavar="PACKAGE", help=about, show_default=False)


def json_option() -> Any:
    """--json: for programs."""
    return typer.Option("--json", help="Print one JSON document on standard output, everything else on standard error.")
