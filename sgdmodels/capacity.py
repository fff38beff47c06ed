"""What this machine can hold and do at once, and runs that ask for more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidArgument
from .kernels.step_loop import GROUP

if TYPE_CHECKING:
    from .simulate import Run

MEMORY_SHARE = 0.8


def check_memory(run: Run, keep_params: Any, replicas: int) -> None:
    """Refuse a run whose records would not fit before it starts."""
    numbers = sum(len(run.batch_sizes) if m.per_batch_size else 1 for m in run.metrics)
    each = numbers + (run.model.dim if keep_params else 0)
    records = (run.steps - run.first_step) // run.record_every + 2
    need = 8 * replicas * (records * each + 8 * run.model.dim)
    workers = min(-(-replicas // GROUP), 8 * available_cpus())
    weights = 12 * workers * min(GROUP, replicas) * run.plan.micro_steps * run.plan.width
    if weights > MEMORY_SHARE * physical_memory():
        raise InvalidArgument(
            f"one step of {type(run.dynamics).__name__} takes {run.plan.micro_steps} micro-steps with up to "
            f"{run.plan.width} sample weights each, {weights / 1e9:.3g} GB for {workers} workers, more than this "
            "machine's memory; lower substeps or ell, or the number of replicas"
        )
    if need > MEMORY_SHARE * physical_memory():
        raise InvalidArgument(
            f"steps={run.steps}, record_every={run.record_every} and {replicas} replicas give {records} records "
            f"each, {need / 1e9:.3g} GB in all, more than this machine's memory; raise record_every"
        )


def physical_memory() -> float:
    """Bytes, or inf where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return np.inf


def available_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
