"""What was run, in words: the head of the page, and the part that all captions share."""

from __future__ import annotations

import inspect
import json
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import specs
from ..report import formula
from ..version import __version__
from .captions import Caption
from .levels import WINDOW, Levels
from .rows import Stored

DIGITS = 12  # of an identity, in captions
SHOWN = 5  # failures that the page names


@dataclass(frozen=True)
class Facts:
    """Words about a sweep; nothing of them depends on when or where the report is written."""

    stored: Stored
    levels: Levels
    title: str | None = None

    @property
    def identity(self) -> str:
        return self.stored.store.identity

    @property
    def command(self) -> str:
        """What writes this report again, from the folder that holds the store."""
        title = ["--title", self.title] if self.title else []
        return shlex.join(["sgdmodels", "report", self._word, *self._trust, *title])

    @property
    def _word(self) -> str:
        """The store as an argument, never taken for an option."""
        name = self.stored.name
        return f"./{name}" if name.startswith("-") else name

    @property
    def _trust(self) -> list[str]:
        return [word for name in self.stored.grid.trusted for word in ("--trust", name)]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What a command is for, and the command."""
        trusted = "".join(f"{_literal(name)}," for name in self.stored.grid.trusted)
        grid = f"sweeps.Store({_literal(self._word)}).grid({f'({trusted})' if trusted else ''})"
        lines = f'from sgdmodels import sweeps; sweeps.run_sweep({grid}, "another folder")'
        go_on = ["sgdmodels", "sweep", self._word, *self._trust]
        return [
            ("go on with this sweep, or see that it is whole", shlex.join(go_on)),
            ("make it anew", shlex.join(["python", "-c", lines])),
            ("write this report", self.command),
        ]

    @cached_property
    def loss(self) -> str:
        """The loss, and the recipe it comes from."""
        grid = self.stored.grid
        kind = type(self.stored.losses[0]).__name__
        if "recipe" not in grid.spec:
            return kind
        function = specs.build(grid.spec["recipe"], grid.arrays, grid.trusted)
        fixed = getattr(function, "keywords", {})  # functools.partial
        plain = inspect.signature(getattr(function, "func", function)).parameters
        changed = {k: v for k, v in fixed.items() if np.ndim(v) or v != plain[k].default}
        settings = ", ".join(f"{key}={_short(grid.spec['recipe'][key])}" for key in changed)
        recipe = grid.spec["recipe"]["use"].rpartition(".")[2]
        return f"{kind} of the recipe {recipe}" + (f" with {settings}" if settings else "")

    @property
    def own_losses(self) -> bool:
        """Whether every seed has a loss of its own."""
        return len(self.stored.losses) > 1 and len({id(loss) for loss in self.stored.losses}) > 1

    def rows(self) -> list[tuple[str, str]]:
        """The table at the head of the page."""
        grid, loss = self.stored.grid, self.stored.losses[0]
        began = self.stored.store.card["versions"]
        return [
            ("loss", self.loss),
            ("samples n, parameters d", f"{loss.samples}, {loss.dim}"),
            ("step sizes η", values(grid.step_size)),
            ("batch sizes b", values(grid.batch_size)),
            ("seeds", values(grid.seed) + (" (each is a loss and a start of its own)" if self.own_losses else "")),
            ("replicas of each cell", str(len(grid.replicas))),
            ("steps", f"{grid.steps}, recorded every {grid.record_every}"),
            ("metrics", ", ".join(m if isinstance(m, str) else str(m.get("use", m)) for m in grid.spec["metrics"])),
            ("identity of the grid", self.identity),
            ("computed with", ", ".join(f"{name} {version}" for name, version in began.items())),
            ("report by", f"sgdmodels {__version__}"),
        ]

    def dynamics(self) -> list[tuple[str, str, str, str]]:
        """Name, class with its arguments, and the equation and stability edge that it declares, as MathML."""
        shown = []
        for name, one in self.stored.grid.dynamics.items():
            node = self.stored.grid.spec["dynamics"][name]
            settings = ", ".join(f"{k}={_short(v)}" for k, v in node.items() if k not in ("use", "varied"))
            declared = one.declaration
            call = f"{node['use'].rpartition('.')[2]}({settings})"
            shown.append((name, call, formula(declared.equation), formula(declared.edge)))
        return shown

    @cached_property
    def distinct(self) -> np.ndarray:
        """Places (step_size, batch_size, dynamics) with runs of their own.

        Runs of a dynamics without a batch size stand at all batch sizes, and count at the first.
        """
        grid = self.stored.grid
        places = np.ones(grid.shape[:3], dtype=bool)
        places[:, 1:, np.array(grid.batchless)] = False
        return places

    @property
    def diverged_cells(self) -> int:
        """Cells of which a replica diverged."""
        return int(self.levels.broken[self.distinct].sum())

    def status(self) -> list[str]:
        """How much of the grid is there; a sentence for each thing that is not."""
        done, total = self.stored.cells_done, len(self.stored.grid)
        words = [f"{done} of {total} cells are computed."]
        failed = self.stored.failed
        if done < total:
            words.append("This report shows what is there. Missing: " + self._missing() + ".")
        if failed:
            named = "; ".join(f"{name}: {why}" for name, why in failed[:SHOWN])
            more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
            words.append(f"{len(failed)} cells failed when they were last tried (step size-batch size-dynamics-seed, "
                         f"each counted from 0): {named}{more}.")  # fmt: skip
        if self.diverged_cells:
            words.append(
                f"In {self.diverged_cells} of the {done} computed cells replicas diverged; they are left out of every "
                "number and counted in the figures."
            )
        return words

    def _missing(self) -> str:
        done = self.stored.store.finished()
        missing = Counter(cell.dynamics for cell in self.stored.grid.cells() if cell.name not in done)
        cells = Counter(cell.dynamics for cell in self.stored.grid.cells())
        return ", ".join(f"{n} of {cells[k]} cells of {self.stored.names[k]}" for k, n in sorted(missing.items()))

    def caption(self, first: Caption, kinds: Iterable[int], steps: Iterable[int] | None = None) -> Caption:
        """A caption that begins with `first` and states what was run, for the dynamics and step sizes shown."""
        grid, loss = self.stored.grid, self.stored.losses[0]
        rows = list(range(len(grid.step_size)) if steps is None else steps)
        shown = np.ix_(rows, range(len(grid.batch_size)), list(kinds))
        distinct = self.distinct[shown]
        lost, count = (int(array[shown][distinct].sum()) for array in (self.levels.lost, self.levels.count))
        whole = self.stored.whole[shown][distinct]  # (place, seed)
        missing = int((~whole).sum())
        seeds = f"{len(grid.seed)} seed" + ("s" if len(grid.seed) > 1 else "")
        tail = Caption.of(
            r"{loss}, $n$ = {n}, $d$ = {d}; {steps} steps, recorded every {every}; {seeds} ({which}){own} of "
            r"{replicas} replica{s}. {lost}{missing} Sweep {identity}, made by: {command}",
            loss=self.loss, n=loss.samples, d=loss.dim, steps=grid.steps, every=grid.record_every, seeds=seeds,
            which=values(grid.seed), own=", each with a loss and a start of its own," if self.own_losses else "",
            replicas=len(grid.replicas), s="s" if len(grid.replicas) > 1 else "",
            lost=f"{lost} of {count} runs diverged and are left out." if lost else "No run diverged.",
            missing=f" {missing} of {whole.size} cells are not computed yet." if missing else "",
            identity=self.identity[:DIGITS], command=self.command,
        )  # fmt: skip
        return first + tail

    @property
    def window(self) -> str:
        """Which steps a plateau is read from."""
        steps = self.stored.grid.steps
        return f"the last {100 * WINDOW:.0f} % of the steps (from {steps - int(WINDOW * steps)} on)"


def values(axis: Iterable[Any]) -> str:
    """An axis in words: all values, or the ends of many.

    >>> values([0.1, 0.2]), values(range(50))
    ('0.1, 0.2', '0, 1, 2, ..., 49 (50)')
    """
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in axis]
    return ", ".join(shown) if len(shown) <= 12 else f"{', '.join(shown[:3])}, ..., {shown[-1]} ({len(shown)})"


def _literal(text: str) -> str:
    """Text as Python and JSON write it."""
    return json.dumps(text, ensure_ascii=False)


def _short(value: Any) -> str:
    """An argument of a spec: arrays by their hash."""
    if isinstance(value, dict):
        return f"<{'x'.join(map(str, value['shape']))} array {value['sha256'][:8]}>" if "sha256" in value else "{...}"
    return f"{value:g}" if isinstance(value, float) else str(value)
