"""Write the report of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, StoreError
from .rows import Stored


def write_report(
    store: Any, folder: Any = None, *, title: str | None = None, trusted: Iterable[str] = ()
) -> dict[str, Path]:
    """Write report.html, figures/*.pdf, captions.tex and table.csv of the sweep in `store`; gives their paths.

    folder: default STORE_report beside the store. trusted: as of `sgdmodels.Grid`. A sweep that is not finished gets a
    report of what is there. Equal stores give equal files. Only one row of the grid is in memory at a time.

    Raises StoreError if the store cannot be read (a damaged chunk is named with its cell) or the folder not written,
    InvalidArgument if `folder` is a file or lies in the store.

    >>> import pathlib, tempfile, sgdmodels as sm
    >>> grid = sm.Grid(sm.recipes.gated_quadratic, sm.SGD(0.4, 8), step_size=0.4, batch_size=8, steps=200)
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = sm.run_sweep(grid, pathlib.Path(place, "sweep"), progress=False)
    ...     sorted(write_report(pathlib.Path(place, "sweep")))[:4]
    ['captions', 'figures/phase_batch_sharpness', 'figures/phase_lambda_max', 'figures/plateaus']
    """
    if title is not None and not isinstance(title, str):
        raise InvalidArgument(f"title must be text, got {title!r}")
    stored = Stored(store, (trusted,) if isinstance(trusted, str) else tuple(trusted))
    source = stored.store.path.resolve()
    target = source.with_name(f"{source.name}_report") if folder is None else Path(folder)
    _check(target, source)
    return _written(stored, target, title)


def _check(target: Path, source: Path) -> None:
    """The report has a folder of its own."""
    if target.exists() and not target.is_dir():
        raise InvalidArgument(f"folder must be a folder, and {target} is a file; choose another one")
    if target.resolve() == source or source in target.resolve().parents:
        raise InvalidArgument(f"folder must lie outside of the store, got {target}; leave it out for {source}_report")


def _written(stored: Stored, target: Path, title: str | None) -> dict[str, Path]:
    """Read the sweep once, then draw and write one figure after the other."""
    import matplotlib.pyplot as plt

    from .files import captions, embedded, pdf
    from .gallery import gallery
    from .page import Shown, page
    from .read import read
    from .table import table

    found = read(stored, title)
    written: dict[str, Path] = {}
    shown: list[Shown] = []
    try:
        (target / "figures").mkdir(parents=True, exist_ok=True)
        for drawing in gallery(found):
            try:
                written[f"figures/{drawing.name}"] = pdf(drawing, found.facts, target / "figures")
                shown.append(Shown(drawing.name, drawing.title, drawing.caption, embedded(drawing), drawing.wide))
            finally:
                plt.close(drawing.figure)
        texts = {
            "captions": ("captions.tex", captions(shown, found.facts)),
            "table": ("table.csv", table(stored, found.levels, found.forms)),
            "page": ("report.html", page(found, shown)),
        }
        for key, (name, text) in texts.items():
            written[key] = target / name
            written[key].write_text(text, encoding="utf-8", newline="\n")
    except OSError as problem:
        raise StoreError(
            f"{target}: the report could not be written ({problem.strerror or problem}); choose another folder"
        ) from problem
    return written
