"""`sgdmodels simulate`: one run of a model of SGD, from a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidArgument
from .options import document_argument, example_option, json_option, trust_option
from .outputs import FIGURES, check_file, print_json, written
from .run_summary import show, summary

if TYPE_CHECKING:
    from .request import Request

KEYS = ("output", "plot", "checkpoint")  # besides those of the run itself
DRAWN = ("batch_sharpness", "lambda_max")


def simulate(
    document: Annotated[Path, document_argument("RUN.toml", "The run: see --example.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", show_default=False, help="Save all records as netCDF: run.nc.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FIGURE", show_default=False, help="Draw Batch Sharpness and lambda_max, as .png, .pdf or .svg."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Keep where the run stands in FILE, once a minute; go on from there if it exists.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Go on from a checkpoint that must exist; --steps may then be another number.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, show_default="all processors", help="Threads; the numbers are the same bits.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, show_default=False, help="Instead of the document's.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**64 - 1, show_default=False, help="Instead of the document's.")
    ] = None,
    trust: Annotated[list[str] | None, trust_option()] = None,
    as_json: Annotated[bool, json_option()] = False,
    example: Annotated[bool, example_option("run.toml")] = False,
) -> None:
    """Run SGD, or a model of it, on a loss and measure it as it goes.

    Prints the last values and plateaus of all metrics, curvatures times step_size / 2, where the edge is 1.

    \b
    Examples:
      sgdmodels simulate --example > run.toml
      sgdmodels simulate run.toml -o run.nc --plot run.pdf
      sgdmodels simulate run.toml --steps 1000000 --checkpoint run.state.npz
    Ctrl-C and SIGTERM keep the records made so far.
    """
    from ..simulate import simulate as simulated
    from ..specs import simulation
    from .request import request

    options = {"output": output, "plot": plot, "checkpoint": checkpoint, "steps": steps, "seed": seed}
    asked = request(
        document, options, trust, switches={"resume": "--resume", "checkpoint": "--resume", "threads": "--threads"}
    )
    arguments = simulation(asked, extra=KEYS).arguments()
    places = {key: asked.place(key) for key in KEYS}
    asked.check_place("output", lambda option: check_file(option, places["output"], (".nc",)))
    asked.check_place("plot", lambda option: check_file(option, places["plot"], FIGURES))
    if places["plot"] is not None:
        _check_drawn(asked, arguments)
    try:
        run = simulated(**arguments, progress=True, threads=threads, checkpoint=places["checkpoint"], resume=resume)
    except InvalidArgument as problem:
        raise asked.blame(problem) from problem
    if places["output"] is not None:
        with written(places["output"]) as half:
            run.to_netcdf(half, engine="scipy")
    if places["plot"] is not None and run.sizes["step"]:
        _draw(run, places["plot"])
    found = summary(run)
    if as_json:
        print_json({"command": "simulate", **found, **places})
    else:
        show(found, [place for key in ("output", "plot") if (place := places[key]) is not None])
    if run.attrs["interrupted"]:
        raise KeyboardInterrupt(
            f"Interrupted at step {found['last_step']} of {found['steps']}; {_kept(places, resume)}."
        )


def _kept(places: dict[str, Path | None], resume: Path | None) -> str:
    """What an interrupted run leaves behind."""
    file = places["checkpoint"] or resume
    words = [f"the same command goes on from {file}"] if file is not None else []
    if places["output"] is not None:
        words.insert(0, f"the records so far are in {places['output']}")
    return " and ".join(words) or "nothing was saved (see --checkpoint)"


def _check_drawn(asked: Request, arguments: dict[str, Any]) -> None:
    """What the figure shows has to be recorded."""
    names = {getattr(metric, "name", metric) for metric in arguments["metrics"]}
    missing = [name for name in DRAWN if name not in names]
    if missing:
        raise asked.error(f"must hold {', '.join(missing)} for --plot", ("metrics",))
    training = {int(b) for b in arguments["dynamics"].plan(arguments["model"].samples).batch_sizes}
    measured = arguments["batch_size"]
    if measured is not None and training - set(measured if isinstance(measured, list) else [measured]):
        raise asked.error(f"must hold that of the dynamics, {sorted(training)}, for --plot", ("batch_size",))


def _draw(run: Any, path: Path) -> None:
    from matplotlib.figure import Figure

    from ..plot import stability

    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    stability(run, figure.subplots(), smooth=max(1, run.sizes["step"] // 100))
    with written(path) as half:
        figure.savefig(half, dpi=200)
