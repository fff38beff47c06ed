"""What a stored run says of itself: the spec that made it, and its identity."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..dynamics import Dynamics
from ..errors import SpecError
from ..metrics import Metric
from ..models import Model
from .identity import identity
from .nodes import unchecked_node

if TYPE_CHECKING:
    from ..simulate import Run

_models: WeakKeyDictionary[Model, Any] = WeakKeyDictionary()  # losses never change


def run_attributes(run: Run, data_sha256: str) -> dict[str, str]:
    """`spec` (JSON) and `identity` of a run: equal for runs of equal losses, dynamics, starts, seeds and records.

    Arrays are named by their hash alone. What has no node, such as a network or a class of `__main__`, is named by its
    import path and what it says of itself; such a run has an identity, but nothing makes it again. Nodes are not
    checked by making the loss again, which would cost time at the end of a run; the hash of its data stands beside.
    """
    count = len(run.replicas)
    ids = run.replicas.tolist()
    if run.model not in _models:
        _models[run.model] = _described(run.model)
    spec = {
        "model": _models[run.model], "data_sha256": data_sha256, "dynamics": _described(run.dynamics),
        "steps": run.steps, "record_every": run.record_every, "replicas": count if ids == list(range(count)) else ids,
        "seed": run.seed, "metrics": [_described(metric) for metric in run.metrics],
        "batch_sizes": list(run.batch_sizes), "sampling": run.sampling, "init_sha256": run.init_sha256,
        "keep_params": run.keep_params, **({"first_step": run.first_step} if run.first_step else {}),
    }  # fmt: skip
    text = json.dumps(spec, default=str)
    return {"spec": text, "identity": identity(json.loads(text, parse_constant=str))}


def _described(thing: Model | Dynamics | Metric) -> Any:
    """The node of a thing, or what it says of itself where it has none."""
    try:
        return unchecked_node(thing, {})
    except SpecError:
        kind = thing.evaluate if isinstance(thing, Metric) else type(thing)
        path = f"{kind.__module__}.{getattr(kind, '__qualname__', '')}"
        return {"use": path, "describe": thing.name if isinstance(thing, Metric) else thing.describe()}
