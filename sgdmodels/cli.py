"""The command line: `sgdmodels scorecard`, `sgdmodels demo`, `sgdmodels derive`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .version import __version__

if TYPE_CHECKING:
    from rich.table import Table

    from .scorecard import ScoreCard

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


@app.command()
def scorecard(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for scorecard.html, scorecard.md, the data and a figure.")
    ] = Path("scorecard"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Recipe C, fewer models, shorter runs: under a minute.")
    ] = False,
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", help="A, C or P; repeat for several. Default: all three.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of data, start and noise.")] = 0,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of every run.")] = 4,
) -> None:
    """Score mathematical models of SGD against SGD and the predictions of the Edge of Stochastic Stability.

    Runs recipes A, C and P with SGD and its models at several batch sizes from the same start, nudges every run at its
    end, and writes one page that says which model keeps which prediction.
    """
    from rich.console import Console
    from rich.progress import Progress

    from .report import markdown, write_html
    from .scorecard import ScoreCard
    from .survey import SETTINGS, survey

    names = tuple(dict.fromkeys(recipe)) if recipe else ("C",) if quick else tuple(SETTINGS)
    unknown = [name for name in names if name not in SETTINGS]
    if unknown:
        typer.echo(f"--recipe must be one of {', '.join(SETTINGS)}, got {', '.join(unknown)}", err=True)
        raise typer.Exit(2)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        typer.echo(f"--output must be a folder that can be written, got {output}: {problem}", err=True)
        raise typer.Exit(2) from None
    started = time.perf_counter()
    cards: list[ScoreCard] = []
    stopped = False
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {SETTINGS[name].title: bar.add_task(SETTINGS[name].title, total=None) for name in names}
        try:
            for step in survey(names, quick=quick, seed=seed, replicas=replicas):
                if isinstance(step, ScoreCard):
                    cards.append(step)
                    step.save(output / f"data_{names[len(cards) - 1]}")
                else:
                    bar.update(tasks[step[0]], completed=step[1], total=step[2])
        except KeyboardInterrupt:
            stopped = True
    if cards:
        write_html(output / "scorecard.html", cards)
        (output / "scorecard.md").write_text("\n".join(markdown(card) for card in cards), encoding="utf-8")
        cards[0].plot().savefig(output / "scorecard.png", dpi=200)
    for card in cards:
        Console().print(_summary(card))
    if stopped:
        typer.echo(f"Interrupted: {len(cards)} of {len(names)} recipes are in {output}.", err=True)
        raise typer.Exit(130)
    typer.echo(f"{output / 'scorecard.html'} is the page ({time.perf_counter() - started:.0f} s in all).")


@app.command()
def derive(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Forms, topics or losses; 'all'. None: list them.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX instead of plain text.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare each form with its independent route.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a document: .md, .tex, or .pdf (needs pdflatex).")
    ] = None,
    loss: Annotated[
        str | None, typer.Option("--loss", help="A loss of your own, in p and y or in any names; default (p - y)**2/2.")
    ] = None,
    predictor: Annotated[
        str | None, typer.Option("--predictor", help="What p is, such as 'sum(u\\[j]*v\\[j]*x\\[j], j)'.")
    ] = None,
    parameters: Annotated[str, typer.Option(help="Parameters of --loss and their shapes: 'u\\[d] w\\[K,d] a'.")] = "",
    data: Annotated[str, typer.Option(help="Data of one sample, likewise.")] = "x[d] y",
    constants: Annotated[str, typer.Option(help="Names of constants, likewise.")] = "",
) -> None:
    """Derive closed forms by computer algebra: of the theory, of the built-in losses, or of a loss of your own.

    Every form is proven anew. Formulas given here are read by a grammar of their own, never run as code.
    """
    from .symbolic.commands import CommandError, list_names, own_formula, show_forms, write_document

    try:
        if predictor is not None or loss is not None:
            if names or output or check:
                raise CommandError("--loss and --predictor derive a loss of your own; drop NAME, --output and --check")
            lines = own_formula(loss, predictor, parameters, data, constants, latex)
        elif output is not None:
            lines = write_document(names or ["all"], output, check)
        elif names:
            lines = show_forms(names, latex, check)
        else:
            lines = list_names()
        for line in lines:
            typer.echo(line)
    except CommandError as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None


def _summary(card: ScoreCard) -> Table:
    """Verdicts in the terminal: a row per dynamics, the predictions that hold of it and where it agrees with SGD."""
    from rich.table import Table

    table = Table(title=card.title, caption="counted over predictions and batch sizes that have an answer")
    for column in ("dynamics", "holds", "fails", "agrees with SGD", "differs from SGD", "diverged runs"):
        table.add_column(column, justify="left" if column == "dynamics" else "right")
    for name in card.table.dynamics.values:
        own = card.table.sel(dynamics=name)
        counts = [int((own.verdict == word).sum()) for word in ("holds", "fails")]
        counts += [int((own.agreement == word).sum()) for word in ("agrees", "differs")]
        table.add_row(str(name), *map(str, counts), str(int(own.diverged.sum())))
    return table
