"""The figures of a report, each with a file name, a title and a caption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..figure_style import COLUMN
from .captions import Caption
from .closed_forms import CONSTANT, MOVING, ClosedForms
from .facts import Facts, values
from .phase_diagram import PhaseDiagram
from .plateau_panels import PlateauPanels
from .read import Found
from .trajectories import Trajectories

WORDS = {
    "batch_sharpness": "Batch Sharpness",
    "lambda_max": r"$\lambda_{\max}$",
    "mean_square_sharpness": r"$S_{ms}$",
}
TITLES = {
    "batch_sharpness": "Batch Sharpness", "lambda_max": "lambda_max", "mean_square_sharpness": "mean-square sharpness",
}  # fmt: skip
PANELS = 8  # of one phase diagram


@dataclass(frozen=True)
class Drawing:
    """A figure, and what is said of it."""

    name: str
    title: str
    caption: Caption
    figure: Figure

    @property
    def wide(self) -> bool:
        """Whether it takes both columns of a page."""
        return bool(self.figure.get_figwidth() > COLUMN)


def gallery(found: Found) -> Iterator[Drawing]:
    """All figures, drawn one at a time."""
    if not found.stored.cells_done:
        return
    levels, forms, facts, paths = found.levels, found.forms, found.facts, found.paths
    step_axis, size_axis, order = paths.step_axis, paths.size_axis, paths.order
    for metric in levels.metrics:
        parts = [order[k : k + PANELS] for k in range(0, len(order), PANELS)]
        for number, kinds in enumerate(parts, 1):
            diagram = PhaseDiagram(levels, forms, metric, kinds, step_axis, size_axis)
            part = f"_{number}" if len(parts) > 1 else ""
            title = f"Phase diagram of {TITLES[metric]}" + (f", part {number}" if part else "")
            yield Drawing(f"phase_{metric}{part}", title, phase_caption(facts, forms, metric, kinds), diagram.draw())
    if levels.metrics:
        panels = PlateauPanels(levels, forms, order, step_axis, size_axis)
        yield Drawing(
            "plateaus", "Plateaus against the batch size", plateau_caption(facts, forms, panels), panels.draw()
        )
    for metric in levels.metrics:
        yield Drawing(
            f"trajectories_{metric}", f"Trajectories of {TITLES[metric]}", path_caption(facts, metric, paths),
            paths.draw(metric),
        )  # fmt: skip


def phase_caption(facts: Facts, forms: ClosedForms, metric: str, kinds: list[int]) -> Caption:
    first = Caption.of(
        rf"Plateaus of {WORDS[metric]} over batch size $b$ and step size $\eta$, times $\eta/2$, so that $2/\eta$ is 1 "
        "(the line on the colour bar). Colour and number: median over seeds and surviving replicas, each the median "
        "over {window}.",
        window=facts.window,
    )
    return facts.caption(first + theory_caption(forms, metric, kinds), kinds)


def theory_caption(forms: ClosedForms, metric: str, kinds: list[int]) -> Caption:
    """What is drawn of theory, and where there is none."""
    names = forms.stored.names
    sizes = forms.stored.grid.batch_size
    if forms.kind == CONSTANT:
        known = [k for k in kinds if forms.options[k] is not None]
        told = Caption.of(
            r"The Hessians are constant; the line is the mean-square edge $\eta_{\max}(b)$ of each dynamics, above "
            "which second moments grow."
        )
    else:
        known = [k for k in kinds if any(forms.level(metric, k, b) > 0 for b in sizes)]
        told = Caption.of(
            r"Strip above each panel: closed form of the plateau, the same at every $\eta$: where the mean-square edge "
            r"holds a curvature that is a moving scalar times $a_ia_i^T$."
        )
    without = ", ".join(names[k] for k in kinds if k not in known)
    missing = Caption.of("No closed form is known for {without}.", without=without)
    if not known:
        why = "for this loss" if forms.kind not in (CONSTANT, MOVING) else "for these dynamics"
        return Caption.of("No closed form is known {why}, so none is drawn.", why=why)
    if any(getattr(one, "sampling", "") == "epoch" for one in forms.stored.grid.dynamics.values()):
        told = told + Caption.of("Shuffled epochs are given the edge of independent batches.")
    return told + missing if without else told


def plateau_caption(facts: Facts, forms: ClosedForms, panels: PlateauPanels) -> Caption:
    steps = [facts.stored.grid.step_size[k] for k in panels.steps]
    some = len(steps) < len(panels.step_axis.values)
    first = Caption.of(
        r"Plateaus times $\eta/2$ against the batch size at {all}step sizes $\eta$ = {steps}. Marks: median over seeds "
        r"and surviving replicas, each the median over {window}; bars: their 10th to 90th percentile; marks are moved "
        r"sideways so as not to hide each other. Dashed: $2/\eta$.",
        all="some " if some else "", steps=values(steps), window=facts.window,
    )  # fmt: skip
    if forms.kind == MOVING:
        first += Caption.of(
            r"Broad lines: closed forms, where the mean-square edge holds a curvature that is a moving scalar times "
            r"$a_ia_i^T$; one that several dynamics share has the colour of the first."
        )
    else:
        first += Caption.of("There is no closed form of the plateaus of this loss.")
    return facts.caption(first, panels.order, panels.steps)


def path_caption(facts: Facts, metric: str, paths: Trajectories) -> Caption:
    grid = facts.stored.grid
    first = Caption.of(
        rf"{WORDS[metric]} times $\eta/2$ against steps at step sizes {{steps}} (rows) and batch sizes {{sizes}} "
        r"(columns). Lines: running median over records of the median over seeds and surviving replicas; none where "
        r"more than half diverged. Dashed: $2/\eta$.",
        steps=values([grid.step_size[k] for k in reversed(paths.steps)]),
        sizes=values([grid.batch_size[k] for k in paths.sizes]),
    )  # fmt: skip
    return facts.caption(first, paths.order, paths.steps)
