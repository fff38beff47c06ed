"""The command line: `sgdmodels demo | simulate | scorecard | sweep | report | derive`, one file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from ..version import __version__
from .demo import demo
from .derive import derive
from .exits import Commands
from .report import report
from .scorecard import scorecard
from .simulate import simulate
from .sweep import sweep

app = typer.Typer(
    cls=Commands,
    help="Mathematical models of SGD against SGD itself, at the Edge of Stochastic Stability.",
    epilog=(
        "Every command explains itself: sgdmodels COMMAND --help. Those that take a document print one to begin with: "
        "sgdmodels COMMAND --example > my.toml. Exit codes: 0 done; 1 the work failed; 2 wrong usage or document, "
        "nothing was written; 130 Ctrl-C; 143 SIGTERM, both with what was finished kept."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help comes up faster, and can be searched
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mathematical models of SGD against SGD itself, at the Edge of Stochastic Stability."""


app.command(short_help="Watch SGD settle at the Edge of Stochastic Stability.")(demo)
app.command(short_help="Run SGD, or a model of it, from a document.")(simulate)
app.command(short_help="Score models of SGD against SGD: which predictions hold?")(scorecard)
app.command(short_help="Run a grid of runs in a store that survives anything.")(sweep)
app.command(short_help="Write a page and figures of a sweep.")(report)
app.command(short_help="Derive closed forms by computer algebra.")(derive)
