"""A run in a few numbers: last values and plateaus of its metrics, curvatures in units where the edge is 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .outputs import console

if TYPE_CHECKING:
    import xarray as xr


def summary(run: xr.Dataset) -> dict[str, Any]:
    """The run as plain data.

    metrics: for each, and each batch size it was measured at, its last value and its plateau (the mean over the last
    60 % of the steps): mean and standard deviation over the replicas that did not diverge. Curvatures are multiplied by
    step_size / 2; `scaled` says so.
    """
    import json

    known = json.loads(run.attrs["metrics"])
    steps = run.step.values
    return {
        "identity": run.attrs["identity"], "dynamics": json.loads(run.attrs["dynamics"]),
        "steps": int(run.attrs["steps"]), "last_step": int(steps[-1]) if steps.size else None,
        "seed": int(run.attrs["seed"]), "replicas": run.replica.values, "diverged_at": run.diverged_at.values,
        "interrupted": bool(run.attrs["interrupted"]), "seconds": float(run.attrs["wall_time_s"]),
        "metrics": [row for name in known if name in run for row in _rows(run, name)] if steps.size else [],
    }  # fmt: skip


def _rows(run: xr.Dataset, name: str) -> list[dict[str, Any]]:
    """A metric, once for each batch size it was measured at."""
    from ..plot import PLATEAU

    values = run[name]
    scaled = values.attrs.get("units") == "curvature"
    if scaled:
        values = values * run.step_size / 2
    survivors = values.isel(replica=np.isnan(run.diverged_at.values))
    sizes = values.batch_size.values.tolist() if "batch_size" in values.dims else [None]
    rows = []
    for size in sizes:
        own = survivors if size is None else survivors.sel(batch_size=size)
        late = own.where(own.step >= (1 - PLATEAU) * float(own.step[-1]), drop=True)
        last, plateau = own.isel(step=-1).values, late.mean("step").values
        rows.append(
            {
                "name": name, "long_name": run[name].attrs.get("long_name", name), "batch_size": size, "scaled": scaled,
                "last": _mean(last), "last_sd": _deviation(last),
                "plateau": _mean(plateau), "plateau_sd": _deviation(plateau),
            }
        )  # fmt: skip
    return rows


def show(found: dict[str, Any], files: Sequence[Path]) -> None:
    """The summary in the terminal."""
    from rich.table import Table

    lost = int(np.sum(~np.isnan(found["diverged_at"])))
    table = Table(
        title=f"{found['dynamics']['name']}: step {found['last_step']} of {found['steps']}",
        caption="b: batch size; mean +- sd over replicas that did not diverge; plateau: last 60 % of the steps",
    )
    for column in ("metric", "b", "last", "plateau"):
        table.add_column(
            column, justify="left" if column == "metric" else "right", no_wrap=column == "metric", overflow="fold"
        )
    for row in found["metrics"]:
        name = f"eta {row['name']} / 2" if row["scaled"] else row["name"]
        size = "" if row["batch_size"] is None else str(row["batch_size"])
        table.add_row(name, size, *(_spread(row[kind], row[f"{kind}_sd"]) for kind in ("last", "plateau")))
    out = console()
    out.print(table)
    out.print(
        f"{lost} of {len(found['replicas'])} replicas diverged; identity {found['identity'][:12]}; "
        f"{found['seconds']:.1f} s.",
    )
    for file in files:
        out.print(f"Saved to {file}")


def _mean(values: np.ndarray) -> float | None:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else None


def _deviation(values: np.ndarray) -> float | None:
    kept = values[np.isfinite(values)]
    return float(kept.std(ddof=1)) if kept.size > 1 else None


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.4g}" + ("" if deviation is None else f" +- {deviation:.2g}")
