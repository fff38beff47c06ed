"""The table, the machine it came from, and benchmarks/README.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One line: a measurement, what it is set against, and the bound its ratio (or value) should keep."""

    task: str
    value: str
    reference: str
    ratio: str
    target: str
    met: str


def row(
    task: str, value: float, unit: str, reference: float | None, name: str, measured: float, form: str,
    sign: str = "", bound: float | None = None,
) -> Row:  # fmt: skip
    """A line whose `measured` number, written as `form`, should be `sign` ("<=" or ">=") `bound`."""
    known = name if reference is None else f"{reference:.1f} ({name})"
    if bound is None:
        target, met = "-", "-"
    else:
        target = f"{sign} {form.format(bound)}"
        met = "yes" if (measured <= bound if sign == "<=" else measured >= bound) else "**no**"
    return Row(task, f"{value:.3g} {unit}", known or "-", form.format(measured), target, met)


def spread(samples: Sequence[float]) -> float:
    """Half the interquartile range over the median."""
    ordered = sorted(samples)
    return (ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]) / (2 * median(ordered))


def table(rows: Sequence[Row]) -> str:
    head = ("task", "time", "reference, same unit", "ratio", "target", "met?")
    cells = [head, tuple("-" * len(h) for h in head)]
    cells += [(r.task, r.value, r.reference, r.ratio, r.target, r.met) for r in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def machine(with_jax: bool) -> str:
    """CPU, cores and versions."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    packages = ["numba", "llvmlite", "numpy", "xarray", *(["jax"] if with_jax else [])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{today}, {cpu}, {os.cpu_count()} cores, {gcc}, Python {platform.python_version()}, {versions}"


def write_readme(text: str, origin: str, noise: str) -> None:
    """benchmarks/README.md from notes.md, with the table and where it came from put in."""
    notes = (HERE / "notes.md").read_text()
    page = notes.replace("{table}", text).replace("{machine}", origin).replace("{noise}", noise)
    (HERE / "README.md").write_text(page)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
