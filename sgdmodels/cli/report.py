"""`sgdmodels report`: a page and figures of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import json_option, trust_option
from .outputs import check_folder, print_json


def report(
    store: Annotated[Path, typer.Argument(metavar="STORE", show_default=False, help="The folder of a sweep.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", show_default="STORE_report", help="Folder of the page."),
    ] = None,
    title: Annotated[str | None, typer.Option(show_default=False, help="Heading of the page.")] = None,
    trust: Annotated[list[str] | None, trust_option()] = None,
    as_json: Annotated[bool, json_option()] = False,
) -> None:
    """Write one self-contained page and paper-ready figures of what a sweep has computed so far.

    \b
    Examples:
      sgdmodels report store
      sgdmodels report store -o paper --title "Step size against batch size"
    """
    from ..sweep_report import write_report

    if output is not None:
        check_folder("--output", output)
    files = write_report(store, output, title=title, trusted=trust or ())
    if as_json:
        print_json({"command": "report", "store": store, "files": files})
        return
    for name, path in files.items():
        typer.echo(f"{name}: {path}")
