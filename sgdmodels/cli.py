"""The command line: `sgdmodels demo`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .version import __version__

app = typer.Typer(
    help="Mathematical models of SGD against SGD itself, at the Edge of Stochastic Stability.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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
    """Shared options."""


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to save the figure; the suffix chooses png, pdf or svg.")
    ] = Path("edge_of_stochastic_stability.png"),
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: data sets, starts and batch orders.")] = 5,
    steps: Annotated[int, typer.Option(min=1000, help="SGD steps of each run.")] = 100_000,
) -> None:
    """Watch SGD settle at the Edge of Stochastic Stability on a linear network with 21 parameters.

    Prints a table of plateaus and saves a figure of Batch Sharpness and lambda_max, both times step_size / 2.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from .demo import BATCH_SIZES, edge_of_stochastic_stability

    suffixes = (".png", ".pdf", ".svg")
    if output.suffix.lower() not in suffixes or not output.resolve().parent.is_dir():
        typer.echo(f"--output must be in an existing folder and end in {', '.join(suffixes)}, got {output}", err=True)
        raise typer.Exit(2)
    started = time.perf_counter()
    result = None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling and running SGD", total=len(BATCH_SIZES) * seeds)
        for step in edge_of_stochastic_stability(seeds=range(seeds), steps=steps):
            if step is None:
                bar.update(task, advance=1, description="running SGD")
            else:
                result = step
    assert result is not None
    table = Table(
        title="Plateaus over the last 60 % of the steps, in units where the edge 2/eta is 1",
        caption="mean +- sd over seeds; predicted: lambda_max where S_ms = 2/eta",
    )
    for column in ("batch size", "eta BS/2", "eta lambda_max/2", "predicted", "diverged"):
        table.add_column(column, justify="right")
    for row in result.table():
        table.add_row(*row)
    Console().print(table)
    result.figure().savefig(output, dpi=200)
    typer.echo(f"Figure saved to {output} ({time.perf_counter() - started:.0f} s in all).")
