"""Train a network by any dynamics, alone or as an ensemble that steps together, and measure it on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from ...dataset import record_dataset
from ...dynamics import Dynamics
from ...errors import InvalidArgument
from ...journey import Journey
from ...metrics import Metric
from ...simulate import Run
from ..measurements import network_metrics
from ..probe import Probe, parameters_of
from .worker import Worker

if TYPE_CHECKING:
    import xarray as xr


def train(
    net: torch.nn.Module,
    probe: Probe,
    dynamics: Dynamics | Sequence[Dynamics] | Mapping[str, Dynamics],
    steps: int,
    *,
    record_every: int = 100,
    metrics: Sequence[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
    batch_size: int | Sequence[int] | None = None,
    replicas: int | Iterable[int] = 1,
    seed: int = 0,
    init: ArrayLike | None = None,
    keep_params: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train `net` for `steps` steps of `dynamics` on the data of `probe` and record `metrics` every `record_every`
    steps.

    Starts at the parameters of `net`, or at `init`: (d,), or one row per replica. A single run leaves its last
    parameters in `net`; an ensemble (several replicas, or several dynamics: then with a dim `dynamics`) leaves `net`
    alone. Members that differ in seed, step size or batch size only share each batched gradient. Steps draw the same
    batches and noise as `sgdmodels.simulate` does with that seed; the returned Dataset is the same, too: `diverged_at`,
    NaN from then on.

    checkpoint, checkpoint_seconds, resume: a file that holds the state, as in `sgdmodels.simulate`; the run goes on
    from it to the same bits as an undisturbed one.

    >>> import torch
    >>> import sgdmodels as sm
    >>> from sgdmodels.networks import Probe, losses, train
    >>> net = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> probe = Probe(net, losses.squared_error, torch.ones(4, 1), torch.zeros(4, 1))  # L = w^2 / 2
    >>> run = train(net, probe, sm.GD(0.5), steps=3, record_every=1, metrics=("loss",))
    >>> run.loss.values[0].tolist(), net.weight.item()
    ([0.5, 0.125, 0.03125, 0.0078125], 0.125)
    """
    import xarray as xr

    if not isinstance(probe, Probe):
        raise InvalidArgument(f"probe must be a Probe of the network and its data, got {type(probe).__name__}")
    check_network_of(net, probe)
    single = isinstance(dynamics, Dynamics)
    everyone = {"": dynamics} if isinstance(dynamics, Dynamics) else chosen(dynamics)
    start = parameters_of(net) if init is None else init
    chosen_metrics = network_metrics(metrics)
    if batch_size is None and not single:
        plans = [d.plan(probe.samples) for d in everyone.values()]
        batch_size = sorted({int(b) for plan in plans for b in plan.batch_sizes})
    runs = [
        Run(
            probe, one, steps, start, replicas, record_every, chosen_metrics, batch_size, seed, keep_params, 1,
            progress,
        )
        for one in everyone.values()
    ]  # fmt: skip
    check_steps(runs)
    began = time.perf_counter()
    journey = Journey(runs, checkpoint, checkpoint_seconds, resume)
    done, interrupted = runs[0].travel(journey, [Worker(*runs)])
    taken = time.perf_counter() - began
    records = [record_dataset(run, done, interrupted, taken) for run in runs]
    if single:
        if len(runs[0].replicas) == 1 and runs[0].diverged_at[0] < 0:
            into_network(net, runs[0].theta[0])  # where the records end, also after Ctrl-C
        return records[0]
    joined = xr.concat(
        [one.reset_coords(["step_size", "training_batch_size"]) for one in records], "dynamics", join="exact",
        combine_attrs="drop_conflicts",
    )  # fmt: skip
    named = joined.assign_coords(dynamics=("dynamics", list(everyone), {"long_name": "dynamics"}))
    described = json.dumps({name: one.describe() for name, one in everyone.items()})
    return named.set_coords(["step_size", "training_batch_size"]).assign_attrs(dynamics=described)


def check_steps(runs: Sequence[Run]) -> None:
    """Every dynamics must take its steps in torch."""
    for run in runs:
        if run.plan.advance is not None or not run.plan.functions:
            raise InvalidArgument(
                f"{type(run.dynamics).__name__} needs dense Hessians and takes its steps outside ensembles; use "
                "sgdmodels.simulate(probe, ...) for a small network"
            )


def chosen(dynamics: Any) -> dict[str, Dynamics]:
    """Several dynamics by name; those of a sequence are named by the fields that they set."""
    if isinstance(dynamics, Mapping):
        pairs = list(dynamics.items())
    else:
        pairs = [(named(one), one) for one in dynamics] if isinstance(dynamics, Iterable) else []
    if not pairs or not all(isinstance(one, Dynamics) for _, one in pairs):
        raise InvalidArgument(
            f"dynamics must be one such as sm.SGD(...), a list of them or a mapping of names to them, got {dynamics!r}"
        )
    names = [str(name) for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidArgument(f"dynamics must differ or have distinct names in a mapping, got {names}")
    return dict(zip(names, (one for _, one in pairs), strict=True))


def named(dynamics: Any) -> str:
    """Class and fields without those that are left at their default."""
    if not isinstance(dynamics, Dynamics):
        return repr(dynamics)
    set_here = [
        f"{f.name}={getattr(dynamics, f.name)}" for f in fields(dynamics) if getattr(dynamics, f.name) != f.default
    ]
    return f"{type(dynamics).__name__}({', '.join(set_here)})"


def check_network_of(net: Any, probe: Probe) -> None:
    """`net` must be the network of the probe or a copy: the same parameters in the same order, the same losses."""
    if not isinstance(net, torch.nn.Module):
        raise InvalidArgument(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if net is probe.net:
        return
    mine, theirs = ([(k, tuple(p.shape)) for k, p in one.named_parameters()] for one in (net, probe.net))
    if mine != theirs:
        raise InvalidArgument(
            "net must be the network of the probe or a copy of it, with the same parameters in the same order; make a "
            f"Probe of this one, got {len(mine)} parameter tensors against {len(theirs)}"
        )
    few = slice(0, min(8, probe.samples))
    with torch.no_grad():
        own = probe.loss_function(net(probe.inputs[few]), probe.targets[few]).double().cpu().numpy()
    if not np.allclose(own, probe.sample_losses(parameters_of(net))[few], rtol=1e-4, atol=1e-6):
        raise InvalidArgument(
            "net has the parameters of the probe's network but not its outputs; make a Probe of this one"
        )


def into_network(net: torch.nn.Module, theta: np.ndarray) -> None:
    """Write a parameter vector into a network."""
    with torch.no_grad():
        start = 0
        for p in net.parameters():
            p.copy_(torch.from_numpy(theta[start : start + p.numel()]).view_as(p))
            start += p.numel()
