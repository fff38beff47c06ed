"""`sgdmodels demo`: the Edge of Stochastic Stability in twenty seconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..arguments import integer
from ..errors import InvalidArgument
from .options import document_argument, example_option, json_option
from .outputs import FIGURES, check_file, console, print_json, written
from .progress_bar import progress_bar

KEYS = ("output", "seeds", "steps", "batch_sizes")
FIGURE = Path("edge_of_stochastic_stability.png")
LARGEST_BATCH = 100  # samples of the recipe


def demo(
    document: Annotated[
        Path | None, document_argument("DEMO.toml", "Says what options say; options win over it.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", show_default=str(FIGURE), help="The figure; its suffix chooses png, pdf or svg."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, show_default="5", help="Number of seeds: data sets, starts and batch orders.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1000, show_default="100000", help="SGD steps of each run.")] = None,
    as_json: Annotated[bool, json_option()] = False,
    example: Annotated[bool, example_option("demo.toml")] = False,
) -> None:
    """Watch SGD settle at the Edge of Stochastic Stability on a linear network with 21 parameters.

    Prints a table of plateaus and saves a figure of Batch Sharpness and lambda_max, both times step_size / 2.

    \b
    Examples:
      sgdmodels demo
      sgdmodels demo --seeds 2 --steps 20000 -o edge.pdf
    """
    from ..demo import BATCH_SIZES, SEEDS, STEPS, Demo, edge_of_stochastic_stability
    from .request import request

    asked = request(document, {"output": output, "seeds": seeds, "steps": steps}, only=KEYS)
    count = asked.checked(("seeds",), lambda name, value: integer(name, value, 1), len(SEEDS))
    length = asked.checked(("steps",), lambda name, value: integer(name, value, 1000), STEPS)
    sizes = asked.checked(("batch_sizes",), _batch_sizes, list(BATCH_SIZES))
    figure = asked.place("output") or FIGURE
    asked.check_place("output", lambda option: check_file(option, figure, FIGURES))
    started = time.perf_counter()
    result: Demo | None = None
    with progress_bar() as bar:
        task = bar.add_task("compiling and running SGD", total=len(sizes) * count)
        for step in edge_of_stochastic_stability(sizes, seeds=range(count), steps=length):
            if step is None:
                bar.update(task, advance=1, description="running SGD")
            else:
                result = step
    assert result is not None
    with written(figure) as half:
        result.figure().savefig(half, dpi=200)
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"command": "demo", "plateaus": result.plateaus(), "figure": figure, "seconds": seconds})
        return
    _show(result)
    typer.echo(f"Figure saved to {figure} ({seconds:.0f} s in all).")


def _batch_sizes(name: str, value: Any) -> list[int]:
    """Distinct batch sizes."""
    given = value if isinstance(value, list) else [value]
    sizes = [integer(name, one, 1, LARGEST_BATCH, "(the number of samples)") for one in given]
    if not sizes or len(set(sizes)) < len(sizes):
        raise InvalidArgument(f"{name} must be distinct numbers, got {value!r}")
    return sizes


def _show(result: Any) -> None:
    """The plateaus in the terminal."""
    from rich.table import Table

    table = Table(
        title="Plateaus over the last 60 % of the steps, in units where the edge 2/eta is 1",
        caption="mean +- sd over seeds; predicted: lambda_max where S_ms = 2/eta",
    )
    for column in ("batch size", "eta BS/2", "eta lambda_max/2", "predicted", "diverged"):
        table.add_column(column, justify="right")
    for row in result.table():
        table.add_row(*row)
    console().print(table)
