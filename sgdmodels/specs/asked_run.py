"""Documents for one run: what `sgdmodels.simulate` is to be called with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from ..arguments import FloatArray, integer
from ..dynamics import Dynamics
from ..models import Model
from .document import Document
from .subjects import LARGEST_SEED, boolean, dynamics_prototype, integers, metrics_of, subject_of

KEYS = (
    "model", "recipe", "init", "dynamics", "steps", "record_every", "replicas", "metrics", "batch_size", "seed",
    "keep_params",
)  # fmt: skip
METRICS = ("loss", "batch_sharpness", "lambda_max")


@dataclass(frozen=True, eq=False)
class Simulation:
    """A run that a document asks for."""

    model: Model
    dynamics: Dynamics
    steps: int
    init: FloatArray
    replicas: int | list[int]
    record_every: int
    metrics: list[Any]
    batch_size: int | list[int] | None
    seed: int
    keep_params: bool

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `sgdmodels.simulate`."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def simulation(document: Document, extra: Iterable[str] = ()) -> Simulation:
    """The run that a document describes. extra: further keys at its top that the caller reads.

    One table, [recipe] or [model], says what is run: a recipe brings its start, the steps to its plateau and a step
    size that [dynamics] may leave out; [model] may come with `init`. Raises SpecError with the line and the field.

    >>> import pathlib, tempfile, sgdmodels as sm
    >>> text = '''steps = 200
    ... [recipe]
    ... use = "slow_tail_network"
    ... [dynamics]
    ... use = "SGD"
    ... batch_size = 8
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.toml")
    ...     _ = path.write_text(text)
    ...     run = sm.simulate(**simulation(sm.specs.read(path)).arguments())
    >>> run.sizes["step"], float(run.step_size[0])
    (3, 0.4)
    """
    document.check_keys((*KEYS, *extra), ("dynamics",))
    seed = document.checked(("seed",), lambda name, value: integer(name, value, 0, LARGEST_SEED), 0)
    about = subject_of(document, seed)
    dynamics = dynamics_prototype(document, ("dynamics",), about.shared)
    steps = document.checked(("steps",), lambda name, value: integer(name, value, 0), about.steps)
    if steps is None:
        raise document.error("missing 'steps', the number of steps to run")
    return Simulation(
        model=about.model,
        dynamics=dynamics,
        steps=steps,
        init=about.init,
        replicas=document.checked(("replicas",), _replicas, 1),
        record_every=document.checked(("record_every",), lambda name, value: integer(name, value, 1), 100),
        metrics=metrics_of(document, METRICS),
        batch_size=document.checked(("batch_size",), integers(1, about.model.samples, "(the number of samples)")),
        seed=seed,
        keep_params=document.checked(("keep_params",), boolean, False),
    )


def _replicas(name: str, value: Any) -> Any:
    """A number of replicas, or the ids of some."""
    return integers(0 if isinstance(value, list) else 1)(name, value)
