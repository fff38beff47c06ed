"""`sgdmodels scorecard`: models of SGD against SGD, on the built-in recipes or on a document's loss."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidArgument
from .options import document_argument, example_option, json_option, trust_option
from .outputs import check_folder, console, print_json, writing
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from ..scorecard import ScoreCard

FOLDER = Path("scorecard")
Step = tuple[str, int, int]  # title, pieces done, pieces in all


def scorecard(
    document: Annotated[
        Path | None, document_argument("CARD.toml", "A loss, SGD and its models. None: recipes A, C and P.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            show_default=str(FOLDER),
            help="Folder for scorecard.html, scorecard.md, the data and a figure.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without a document: recipe C, fewer models, shorter runs: under a minute.")
    ] = False,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", show_default="all three", help="Without a document: A, C or P; repeat for several."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**64 - 1, show_default="0", help="Seed of data, start and noise.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, show_default="4", help="Replicas of every run.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, show_default="2", help="Dynamics at a time; the numbers are the same bits.")
    ] = None,
    trust: Annotated[list[str] | None, trust_option()] = None,
    as_json: Annotated[bool, json_option()] = False,
    example: Annotated[bool, example_option("card.toml")] = False,
) -> None:
    """Score mathematical models of SGD against SGD and the predictions of the Edge of Stochastic Stability.

    Runs SGD and its models at several batch sizes from the same start, nudges every run at its end, and writes one page
    that says which model keeps which prediction.

    \b
    Examples:
      sgdmodels scorecard --quick
      sgdmodels scorecard --recipe A --replicas 8
      sgdmodels scorecard --example > card.toml
      sgdmodels scorecard card.toml -o card --json > card.json
    Ctrl-C and SIGTERM keep the recipes that are finished.
    """
    from .request import request

    options = {"output": output, "seed": seed, "replicas": replicas}
    if document is None:
        names, steps = _survey(recipe, quick, seed or 0, replicas or 4, threads)
        folder = output or FOLDER
    else:
        if quick or recipe:
            raise InvalidArgument("--quick and --recipe belong to the built-in recipes; drop them, or the document")
        asked = request(document, options, trust, switches={"threads": "--threads"})
        names, steps = [""], _one(asked, threads)
        folder = asked.place("output") or FOLDER
        asked.check_place("output", lambda option: check_folder(option, folder))
    check_folder("--output", folder)
    started = time.perf_counter()
    cards, interrupted = _run(names, steps, folder)
    if as_json:
        found = [_findings(card) for card in cards]
        seconds = time.perf_counter() - started
        print_json({"command": "scorecard", "cards": found, "output": folder, "interrupted": interrupted,
                    "seconds": seconds})  # fmt: skip
    else:
        for card in cards:
            console().print(_table(card))
    if interrupted:
        raise KeyboardInterrupt(f"Interrupted: {len(cards)} of {len(names)} cards are finished{_where(cards, folder)}.")
    if not as_json:
        page = folder / "scorecard.html"
        typer.echo(f"{page} is the page ({time.perf_counter() - started:.0f} s in all).")


def _survey(
    recipe: list[str] | None, quick: bool, seed: int, replicas: int, threads: int | None
) -> tuple[list[str], Iterator[Step | ScoreCard]]:
    """Names of the built-in recipes asked for, and their cards."""
    from ..arguments import one_of
    from ..survey import SETTINGS, survey

    given = list(dict.fromkeys(recipe)) if recipe else ["C"] if quick else list(SETTINGS)
    names = [one_of("--recipe", name, SETTINGS) for name in given]
    return names, survey(tuple(names), quick=quick, seed=seed, replicas=replicas, threads=threads)


def _one(asked: Any, threads: int | None) -> Iterator[Step | ScoreCard]:
    """The card of a document; what is wrong with the document is said now."""
    from ..scorecard import ScoreCard, progressive_scorecard
    from ..specs import scorecard as card_of

    card = card_of(asked, extra=("output",))
    title = card.title or asked.path.stem

    def steps() -> Iterator[Step | ScoreCard]:
        try:
            for step in progressive_scorecard(**card.arguments(), threads=threads, progress=False):
                yield step if isinstance(step, ScoreCard) else (title, *step)
        except InvalidArgument as problem:
            raise asked.blame(problem) from problem

    return steps()


def _run(names: list[str], steps: Iterator[Step | ScoreCard], folder: Path) -> tuple[list[ScoreCard], bool]:
    """Make the cards and save each as it comes; also whether Ctrl-C came first."""
    from ..report import markdown, write_html
    from ..scorecard import ScoreCard

    cards: list[ScoreCard] = []
    tasks: dict[str, Any] = {}
    interrupted = False
    with progress_bar() as bar:
        try:
            for step in steps:
                if isinstance(step, ScoreCard):
                    cards.append(step)
                    with writing(folder):
                        folder.mkdir(parents=True, exist_ok=True)
                        step.save(folder / (f"data_{name}" if (name := names[len(cards) - 1]) else "data"))
                else:
                    title, done, total = step
                    if title not in tasks:
                        tasks[title] = bar.add_task(title, total=total)
                    bar.update(tasks[title], completed=done)
        except KeyboardInterrupt:
            interrupted = True
    if cards:
        with writing(folder):
            write_html(folder / "scorecard.html", cards)
            (folder / "scorecard.md").write_text("\n".join(markdown(card) for card in cards), encoding="utf-8")
            cards[0].plot().savefig(folder / "scorecard.png", dpi=200)
    return cards, interrupted


def _where(cards: list[ScoreCard], folder: Path) -> str:
    return f" and in {folder}" if cards else ""


def _findings(card: ScoreCard) -> dict[str, Any]:
    """A card as plain data, a row for each prediction, dynamics and batch size that it is about."""
    rows = []
    for prediction in card.predictions:
        for name in card.table.dynamics.values.tolist():
            for size in card.experiment.batch_sizes if prediction.per_batch_size else (0,):
                entry = card.table.sel(prediction=prediction.name, dynamics=name, batch_size=size)
                numbers = {key: float(entry[key]) for key in ("value", "low", "high")}
                texts = {key: str(entry[key].values) or None for key in ("verdict", "agreement", "reason")}
                rows.append(
                    {"prediction": prediction.name, "dynamics": name, "batch_size": size or None, **numbers, **texts}
                )
    return {
        "title": card.title, "reference": card.reference, "batch_sizes": card.experiment.batch_sizes,
        "steps": card.experiment.steps, "replicas": card.experiment.replicas, "seed": card.experiment.seed,
        "findings": rows,
    }  # fmt: skip


def _table(card: ScoreCard) -> Table:
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
