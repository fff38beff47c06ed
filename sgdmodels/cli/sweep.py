"""`sgdmodels sweep`: a grid of runs in a store that survives anything, and a look at how far it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidArgument, SweepFailed
from .options import document_argument, example_option, is_document, json_option, trust_option
from .outputs import as_word, print_json

if TYPE_CHECKING:
    from ..sweeps import Grid

KINDS = ("threads", "processes", "tcp://ADDRESS")
PATIENCE = "10s"  # for a scheduler to answer


def sweep(
    document: Annotated[
        Path | None,
        document_argument("GRID.toml", "What to run: see --example. None: go on with the grid that STORE holds."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Argument(metavar="STORE", show_default=False, help="The folder that keeps the results."),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="|".join(KINDS), help="Where cells are computed; an address is a Dask scheduler's.")
    ] = "threads",
    workers: Annotated[
        int | None, typer.Option(min=1, max=512, show_default="all processors", help="Cells at a time.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First read everything, and compute damaged cells anew.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be computed, and write nothing.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far STORE is, which cells failed, and who is at work.")
    ] = False,
    trust: Annotated[list[str] | None, trust_option()] = None,
    as_json: Annotated[bool, json_option()] = False,
    example: Annotated[bool, example_option("grid.toml")] = False,
) -> None:
    """Run every combination of step sizes, batch sizes, dynamics and seeds that a store does not hold yet.

    A sweep may be killed, run again, and shared by several processes and machines at any time: finished cells are kept,
    and the store ends up the same, bit for bit.

    \b
    Examples:
      sgdmodels sweep --example > grid.toml
      sgdmodels sweep grid.toml store --dry-run
      sgdmodels sweep grid.toml store --executor processes
      sgdmodels sweep store                               (go on)
      sgdmodels sweep --status store
      sgdmodels sweep store --executor tcp://10.0.0.1:8786
    Ctrl-C and SIGTERM keep finished cells; the same command goes on.
    """
    from ..sweeps import run_sweep
    from .sweep_status import show, standing

    document, store = _document_and_store(document, store)
    if status:
        _alone("--status", document=document is not None, repair=repair, dry_run=dry_run)
        _print(standing(store), as_json, show)
        return
    grid = _grid(document, store, trust)
    if dry_run:
        from .dry_run import planned, show_plan

        _print(planned(grid, store), as_json, show_plan)
        return
    started = time.perf_counter()
    failure, interrupted = None, False
    with _executor(executor) as where:
        try:
            swept = run_sweep(grid, store, where, True, workers=workers, repair=repair)
            interrupted = bool(swept.attrs["interrupted"])
        except SweepFailed as problem:
            failure = problem
    found = standing(store, over=True)
    seconds = time.perf_counter() - started
    _print({**found, "command": "sweep", "interrupted": interrupted, "seconds": seconds}, as_json, show)
    if failure is not None:
        raise failure
    if interrupted:
        raise KeyboardInterrupt(f"Interrupted; finished cells are kept: sgdmodels sweep {as_word(store)} goes on.")


def _document_and_store(first: Path | None, second: Path | None) -> tuple[Path | None, Path]:
    """Which argument is which: one alone is the store."""
    if first is None:
        raise InvalidArgument("sweep needs a store, the folder that keeps the results: sgdmodels sweep GRID.toml STORE")
    if second is not None:
        return first, second
    if is_document(first) and not first.is_dir():
        raise InvalidArgument(f"{first} is a document; name the store too: sgdmodels sweep {first} STORE")
    return None, first


def _grid(document: Path | None, store: Path, trust: list[str] | None) -> Grid:
    """The grid of a document, or that which a store holds."""
    from ..sweeps import grid_of
    from ..sweeps.store import Store
    from .request import request

    return Store(store).grid(tuple(trust or ())) if document is None else grid_of(request(document, {}, trust))


@contextlib.contextmanager
def _executor(name: str) -> Iterator[Any]:
    """What `run_sweep` knows as an executor."""
    if "://" not in name:
        from ..arguments import one_of

        yield one_of("--executor", name, KINDS[:2])
        return
    try:
        from distributed import Client
    except ImportError as problem:
        raise InvalidArgument(
            f"--executor {name} needs dask's scheduler ({problem}); pip install 'sgdmodels[cluster]'"
        ) from None
    try:
        client = Client(name, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except ValueError as problem:
        raise InvalidArgument(f"--executor must be {', '.join(KINDS)}, got {name}: {problem}") from None
    except OSError as problem:
        raise SweepFailed(f"no Dask scheduler answers at {name} ({problem}); start one with `dask scheduler`") from None
    with client:
        yield client


def _alone(option: str, **given: bool) -> None:
    """Refuse what does not go together with an option."""
    names = {"document": "the document", "repair": "--repair", "dry_run": "--dry-run"}
    for key, there in given.items():
        if there:
            raise InvalidArgument(f"{option} only looks at STORE; drop {names[key]}")


def _print(found: dict[str, Any], as_json: bool, show: Any) -> None:
    if as_json:
        print_json(found)
    else:
        show(found)
