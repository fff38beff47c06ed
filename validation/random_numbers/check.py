"""Statistical tests of sgdmodels/kernels/random.py, recorded in results.json and, for reading, in results.md.

Run from anywhere, with the package installed or on PYTHONPATH; needs gcc and dieharder.

    python check.py                                 everything (about 45 minutes)
    python check.py exact direct spacings short     some parts (about 18 minutes)
    python check.py long --orderings replicas       one battery on some orderings
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import direct
import numba
import numpy as np
import scipy
from numba import uint64, void
from numpy.typing import NDArray
from scipy import stats

from sgdmodels.kernels.batches import with_replacement
from sgdmodels.kernels.compile import kernel
from sgdmodels.kernels.random import BATCHES, random_bits, stream_keys

HERE = Path(__file__).resolve().parent
RECORD, REPORT = HERE / "results.json", HERE / "results.md"

ORDERINGS = {
    "consecutive": "one stream, counters 0, 1, 2, ...",
    "reversed": "the same, each 64 bits in reverse order",
    "replicas": "step t of replicas 0..255 in turn, counter 64 t",
    "seeds": "step t of seeds S..S+255 in turn, counter 64 t, replica 0",
    "stride": "one stream, counters 0, 100, 200, ...: b = 1 of n = 100",
    "streams": "step t of streams 0, 1, 2 in turn, counter 64 t",
    "control": "as replicas, but wrong on purpose: one key, so that replica r is replica 0 from r counters on",
}
CONTROL = "control"  # must fail: what it shows is that the batteries see overlapping replicas
OUTSIDE = 1e-3  # a p-value this near to 0 or 1 is listed, and its test repeated
HOPELESS = 1e-9  # a p-value this near to 0 or 1 fails at once
RETRY_SEEDS = (1000, 2000, 3000)
DIRECT_OUTSIDE = 1e-4

Statistic = tuple[str, float]  # name, p-value
Test = Callable[[Path, str, int], list[Statistic]]  # emit, ordering, seed


def outside(p: float, limit: float = OUTSIDE) -> bool:
    """Whether a p-value is nearer to 0 or 1 than the limit."""
    return not limit <= p <= 1 - limit


def build(folder: Path) -> Path:
    """Compile the C twin."""
    emit = folder / "emit"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", emit, HERE / "emit.c"], check=True)
    return emit


def dieharder(number: int, ntuple: int | None, emit: Path, ordering: str, seed: int) -> list[Statistic]:
    """One dieharder test (`-d number -n ntuple`) of one ordering; some give several statistics."""
    options = ["-d", str(number), *(() if ntuple is None else ("-n", str(ntuple)))]
    with subprocess.Popen([emit, ordering, str(seed)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        done = subprocess.run(
            ["dieharder", "-g", "200", *options], stdin=source.stdout, capture_output=True, text=True, check=True
        )
        source.stdout.close()
    fields = [[field.strip() for field in line.split("|")] for line in done.stdout.splitlines()]
    rows = [row for row in fields if len(row) == 6 and row[5] in ("PASSED", "WEAK", "FAILED")]
    assert rows, done.stdout
    return [(f"{row[0]} {row[1]} #{i}", float(row[4])) for i, row in enumerate(rows)]


def birthday_spacings(emit: Path, ordering: str, seed: int) -> list[Statistic]:
    """Equal spacings among 2^23 birthdays in a year of 2^64 days, on whole outputs: Poisson, 8 on average, 10 times."""
    birthdays, years = 2**23, 10
    equal = 0
    with subprocess.Popen([emit, ordering, str(seed)], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        for _ in range(years):
            days = np.frombuffer(source.stdout.read(8 * birthdays), np.uint64)
            spacings = np.sort(np.diff(np.sort(days)))
            equal += int(np.count_nonzero(spacings[1:] == spacings[:-1]))
        source.stdout.close()
    return [("birthday_spacings_64", float(stats.poisson.sf(equal - 1, years * birthdays**3 / 2**66)))]


SHORT: list[tuple[int, int | None]] = [
    *((number, None) for number in (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16, 100, 102)),
    *((200, bits) for bits in (4, 8)), (201, 5), (202, 5), *((203, lag) for lag in (0, 1)),
    *((number, None) for number in (204, 205, 206, 207, 208, 209)),
]  # fmt: skip
LONG: list[tuple[int, int | None]] = [
    *((number, None) for number in (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16, 17, 100, 101, 102)),
    *((200, bits) for bits in range(1, 13)), *((201, dimension) for dimension in range(2, 6)),
    *((202, length) for length in range(2, 6)), *((203, lag) for lag in range(17)),
    *((number, None) for number in (204, 205, 206, 207, 208, 209)),
]  # fmt: skip

BATTERIES: dict[str, tuple[list[Test], tuple[str, ...]]] = {
    "spacings": ([birthday_spacings], tuple(ORDERINGS)),
    "short": ([partial(dieharder, *test) for test in SHORT], tuple(ORDERINGS)),
    "long": ([partial(dieharder, *test) for test in LONG], ("replicas", "consecutive")),
}


def run_battery(name: str, emit: Path, ordering: str) -> dict[str, Any]:
    """All tests of a battery at seed 0; those with a p-value outside the limits again at other seeds."""
    begun = time.monotonic()
    rows: list[Statistic] = []
    retries: dict[str, list[float]] = {}
    for test in BATTERIES[name][0]:
        found = test(emit, ordering, 0)
        rows += found
        doubtful = [k for k, (_, p) in enumerate(found) if outside(p) and not outside(p, HOPELESS)]
        again = [test(emit, ordering, seed) for seed in RETRY_SEEDS] if doubtful else []
        retries |= {found[k][0]: [other[k][1] for other in again] for k in doubtful}
    failed = any(outside(p, HOPELESS) for _, p in rows) or any(outside(p) for ps in retries.values() for p in ps)
    return {
        **stamp(), "seconds": round(time.monotonic() - begun), "rows": rows, "retries": retries, "failed": failed,
    }  # fmt: skip


@kernel(void(uint64[:, ::1], uint64[::1]))
def numba_bits(rows, out):
    """The package's random bits of each row (seed, replica, stream, counter)."""
    for i in range(out.size):
        a, b = stream_keys(rows[i, 0], rows[i, 1], rows[i, 2])
        out[i] = random_bits(a, b, rows[i, 3])


@kernel(void(uint64[:, ::1], uint64[:, ::1]))
def numba_keys(rows, out):
    """The package's two keys of each row (seed, replica, stream)."""
    for i in range(out.shape[0]):
        out[i, 0], out[i, 1] = stream_keys(rows[i, 0], rows[i, 1], rows[i, 2])


def twin_bits(emit: Path, rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The C twin's random bits of each row."""
    done = subprocess.run([emit, "twin", "0"], input=rows.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint64)


def grid(*values: Any) -> NDArray[np.uint64]:
    """All combinations, a row each."""
    return np.stack(np.meshgrid(*(np.array(v, np.uint64) for v in values), indexing="ij"), -1).reshape(-1, len(values))


def run_exact(emit: Path) -> dict[str, Any]:
    """Equalities that must hold without exception."""
    rows = []
    edges = [0, 1, 2, 63, 255, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]
    for name, tuples in (
        ("uniform 64-bit", np.random.default_rng(1).integers(0, 2**64, (2**18, 4), np.uint64)),
        ("small", grid(range(32), range(32), range(3), range(64))),
        ("edge", grid(edges, edges, edges, edges)),
    ):
        out = np.empty(len(tuples), np.uint64)
        numba_bits(tuples, out)
        wrong = int(np.count_nonzero(out != twin_bits(emit, tuples)))
        rows.append((f"C twin equals numba: {name} inputs", f"{len(tuples)} values, {wrong} differ", wrong == 0))

    samples, batch, steps, first = 60, 7, 3000, 10**12
    index, _ = direct.draw(with_replacement, samples, batch, steps, replica=5, first=first)
    counters = (first + np.arange(steps)[:, None]) * samples + np.arange(batch)
    tuples = np.array([(direct.SEED, 5, BATCHES, counter) for counter in counters.ravel()], np.uint64)
    expected = [(int(bits) * samples) >> 64 for bits in twin_bits(emit, tuples)]
    wrong = int(np.count_nonzero(index[:, :batch].ravel() != expected))
    rows.append(
        ("draw k of step t is floor(bits(t n + k) n / 2^64), n = 60, steps from 1e12",
         f"{len(expected)} draws, {wrong} differ", wrong == 0)
    )  # fmt: skip

    keys = np.empty((64 * 65536 * 3, 2), np.uint64)
    numba_keys(grid(range(64), range(65536), range(3)), keys)
    distinct = [len(np.unique(keys[:, column])) for column in (0, 1)]
    rows.append(
        ("keys differ: seeds 0..63, replicas 0..65535, streams 0..2",
         f"{len(keys)} streams, {distinct[0]} first and {distinct[1]} second keys", min(distinct) == len(keys))
    )  # fmt: skip
    return {**stamp(), "rows": rows}


def run_direct() -> dict[str, Any]:
    """The tests of direct.py."""
    begun = time.monotonic()
    rows = list(direct.rows())
    return {**stamp(), "seconds": round(time.monotonic() - begun), "rows": rows}


def first_line(*command: str, containing: str = "") -> str:
    """The first line that a command prints with `containing` in it."""
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return next(line for line in text.splitlines() if containing in line).strip("# ")


def stamp() -> dict[str, str]:
    """When and with which versions a part was run."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, numba "
        f"{numba.__version__}, {first_line('gcc', '--version')}, "
        f"dieharder {first_line('dieharder', '-l', containing='version').split('version')[1].split()[0]}, "
        f"{platform.machine()}",
    }


def table(*columns: str) -> list[str]:
    """The head of a table; columns of numbers stand to the right."""
    rule = ("--:" if name in ("p", "statistics", "seconds") else "---" for name in columns)
    return ["", f"| {' | '.join(columns)} |", f"| {' | '.join(rule)} |"]


def report(record: dict[str, Any]) -> str:
    """results.md from all that is recorded."""
    batteries = {key: part for key, part in record.items() if "/" in key}
    lines = ["# Results", "", "Written by `check.py`; every p-value is in `results.json`.", ""]
    lines += [f"Versions: {versions}." for versions in sorted({part["versions"] for part in record.values()})]
    if batteries:
        lines += battery_report(batteries)
    if "exact" in record:
        lines += ["", f"## Exact ({record['exact']['date']})", *table("claim", "evidence", "verdict")]
        lines += [f"| {name} | {text} | {'holds' if ok else 'BROKEN'} |" for name, text, ok in record["exact"]["rows"]]
    if "direct" in record:
        part = record["direct"]
        alarm = 1 - (1 - 2 * DIRECT_OUTSIDE) ** len(part["rows"])
        lines += ["", f"## Direct ({part['date']}, {part['seconds']} seconds)", ""]
        lines.append(
            f"Fixed seed {direct.SEED}. Passed: p in [{DIRECT_OUTSIDE}, {1 - DIRECT_OUTSIDE}]; perfect random "
            f"numbers would fail one of the {len(part['rows'])} tests with probability {alarm:.2g}."
        )
        lines += table("test", "evidence", "p", "verdict")
        for name, text, p in part["rows"]:
            lines.append(f"| {name} | {text} | {p:.4f} | {'FAILED' if outside(p, DIRECT_OUTSIDE) else 'passed'} |")
    return "\n".join(lines) + "\n"


def battery_report(batteries: dict[str, Any]) -> list[str]:
    """The part of results.md on what was run on a stream of bits."""
    trusted = [(key.split("/")[1], part) for key, part in batteries.items() if not key.endswith(f"/{CONTROL}")]
    values = {(ordering, name): p for ordering, part in trusted for name, p in part["rows"]}.values()  # long has short
    lines = ["", "## Batteries", ""]
    lines.append(
        f"Listed: p-values outside [{OUTSIDE}, {1 - OUTSIDE}]; their tests were run again at seeds "
        f"{', '.join(map(str, RETRY_SEEDS))}. A battery fails if one of these is outside again, or if any p-value is "
        f"nearer than {HOPELESS} to 0 or 1. Of {len(values)} different statistics, the control's aside, "
        f"{sum(map(outside, values))} are outside; {2 * OUTSIDE * len(values):.1f} are expected by chance."
    )
    lines += table("ordering", "battery", "statistics", "outside", "other seeds", "verdict", "seconds", "date")
    for key, part in batteries.items():
        battery, ordering = key.split("/")
        doubtful = [(name, p) for name, p in part["rows"] if outside(p)]
        listed = "<br>".join(f"{name}: {p:.8f}" for name, p in doubtful) or "none"
        again = "<br>".join(", ".join(f"{p:.4f}" for p in part["retries"].get(name, [])) for name, _ in doubtful)
        verdict = "FAILED" if part["failed"] else "passed"
        if ordering == CONTROL:
            hopeless = sum(outside(p, HOPELESS) for _, p in part["rows"])
            listed, again = f"{len(doubtful)}, {hopeless} of them by less than {HOPELESS}", ""
            verdict = "failed, as it must" if part["failed"] else "PASSED, AND MUST NOT"
        lines.append(
            f"| {ordering} | {battery} | {len(part['rows'])} | {listed} | {again} | {verdict} | {part['seconds']} "
            f"| {part['date']} |"
        )
    return [*lines, "", "Orderings:", "", *(f"- {name}: {text}" for name, text in ORDERINGS.items())]


def sound(record: dict[str, Any]) -> bool:
    """Whether everything recorded passed."""
    return (
        all(ok for *_, ok in record.get("exact", {"rows": []})["rows"])
        and not any(outside(p, DIRECT_OUTSIDE) for *_, p in record.get("direct", {"rows": []})["rows"])
        and all(part["failed"] == key.endswith(f"/{CONTROL}") for key, part in record.items() if "failed" in part)
    )


def main() -> int:
    """Run the named parts, keep the record of the others, and report after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("exact", "direct", *BATTERIES)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--orderings", nargs="+", choices=ORDERINGS, help="instead of a battery's own choice")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        emit = build(Path(folder))
        work: dict[str, Callable[[], dict[str, Any]]] = {}
        for part in chosen.parts or parts:
            if part in BATTERIES:
                for ordering in chosen.orderings or BATTERIES[part][1]:
                    work[f"{part}/{ordering}"] = partial(run_battery, part, emit, ordering)
            else:
                work[part] = partial(run_exact, emit) if part == "exact" else run_direct
        for key, run in work.items():
            record[key] = run()
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
            REPORT.write_text(report(record))
            print(key, record[key].get("seconds", ""), flush=True)
    print("all passed" if sound(record) else f"SOMETHING FAILED: see {REPORT.name}")
    return 0 if sound(record) else 1


if __name__ == "__main__":
    raise SystemExit(main())
