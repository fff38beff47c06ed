"""Watch a training loop of your own: three lines, any optimizer, any loader, the Dataset that every run gives."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ...arguments import integer, one_of
from ...dataset import provenance
from ...errors import InvalidArgument
from ...measure import checked_batch_sizes, evaluate
from ...metrics import Metric, Snapshots
from ...sampling import SCHEMES
from ...simulate import DIVERGENCE_FACTOR
from ..accuracy import Accuracy
from ..checking.checks import check_mode
from ..measurements import network_metrics
from ..probe import Probe
from .loader_samples import batch_size_of, loader_samples, samples_in
from .monitor_records import Record, records_dataset
from .optimizer_sharpness import optimizer_sharpness
from .optimizer_steps import OptimizerSteps, common
from .record_times import RecordTimes
from .training_hooks import TrainingHooks

if TYPE_CHECKING:
    import xarray as xr

WRAPPERS = {
    "DataParallel": "net.module", "DistributedDataParallel": "net.module", "OptimizedModule": "net._orig_mod",
    "FullyShardedDataParallel": "the net before it is sharded, on one device",
}  # fmt: skip


class Monitor(TrainingHooks):
    r"""Records metrics of the network of `probe` while a loop of yours trains it; nothing of the training changes.

    every: steps between records; or share: the most of the wall time that measuring may take, such as 0.05 (one record
    is made in any case). batch_size: of the training, and further ones to measure at; that of the loader or the first
    batch seen unless given, for the whole training. metrics, sampling: as in `Probe.measure`. seed: of the random
    batches and probes. optimizer_metrics: those of `optimizer_sharpness`, too. file: netCDF, written after each record.

    The step size on record is the optimizer's learning rate when `step` is called; parameter groups of several learning
    rates are refused, as eta * sharpness means nothing for them. The probe must hold the very network that is trained,
    not what wraps it: the inner module of torch.compile or DataParallel shares its parameters and is right. Parameters
    that are not finite, or outside \|theta\| <= 1e6 max(1, \|init\|), init being those when the monitor was made,
    give NaN and `diverged_at`; with a share of the time they are recorded once.

    Raises InvalidArgument for bad arguments, wrapped networks and, with its reason, for dropout or batch norm in
    training mode, both now and at each record.

    >>> import torch
    >>> from sgdmodels.networks import Probe, losses
    >>> net = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> x, y = torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)  # L = w^2 / 2
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    >>> monitor = Monitor(Probe(net, losses.squared_error, x, y), every=1, batch_size=2, metrics=("loss", "lambda_max"))
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     losses.squared_error(net(x), y).mean().backward()
    ...     optimizer.step()
    ...     recorded = monitor.step(optimizer)
    >>> run = monitor.dataset()
    >>> run.loss.values.tolist(), run.lambda_max.values.round(9).tolist(), run.step_size.values.tolist()
    ([[0.125, 0.03125]], [[1.0, 1.0]], [0.5, 0.5])
    """

    def __init__(
        self,
        probe: Probe,
        *,
        every: int | None = None,
        share: float | None = None,
        batch_size: int | Sequence[int] | None = None,
        metrics: Sequence[str | Metric] = ("loss", "batch_sharpness", "lambda_max"),
        sampling: str = "without_replacement",
        seed: int = 0,
        optimizer_metrics: bool = False,
        file: str | Path | None = None,
    ) -> None:
        if not isinstance(probe, Probe):
            raise InvalidArgument(
                f"probe must be a Probe of the network and its data, got {type(probe).__name__}; or use "
                "Monitor.from_loader(net, loss, loader)"
            )
        check_watchable(probe.net)
        self.probe, self.optimizer_metrics, self.times = probe, optimizer_metrics, RecordTimes(every, share)
        self.batch_sizes = () if batch_size is None else checked_batch_sizes(probe, batch_size)
        self.metrics = network_metrics(metrics)
        self.sampling, self.seed = one_of("sampling", sampling, SCHEMES), integer("seed", seed, 0, 2**64 - 1)
        self.file = None if file is None else Path(file)
        self.memory: dict[str, Any] = {}  # eigenvectors, from record to record
        self.records: list[Record] = []
        self.description = ""
        self._steps = 0
        init = probe.parameters()
        self.ball = DIVERGENCE_FACTOR * max(1.0, float(np.abs(init).max()))
        self._attributes = provenance(probe) | {"init_sha256": hashlib.sha256(init.tobytes()).hexdigest()}

    @classmethod
    def from_loader(
        cls,
        net: torch.nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        loader: DataLoader[Any],
        *,
        samples: int = 2048,
        accuracy: Accuracy | None = None,
        memory: int = 2**30,
        **options: Any,
    ) -> Monitor:
        """A monitor on `samples` random samples of the loader's dataset (drawn by `seed`), at the loader's batch size.

        The loss that is measured is the mean over these samples: with fewer than the dataset has, loss and lambda_max
        are those of the subset. loss(outputs, targets): one value per sample. options: those of Monitor.
        """
        check_watchable(net)
        inputs, targets = loader_samples(loader, samples, options.get("seed", 0))
        if options.get("batch_size") is None:
            options["batch_size"] = batch_size_of(loader)
        return cls(Probe(net, loss, inputs, targets, accuracy=accuracy, memory=memory), **options)

    def step(self, optimizer: torch.optim.Optimizer, batch: Any = None) -> bool:
        """Call after each `optimizer.step()`; measures if it is time to, and says whether it did.

        batch: what the step was made with, to learn the batch size from if it was not given.
        """
        return self.at_step(self._steps + 1, optimizer, batch)

    def at_step(self, count: int, optimizer: torch.optim.Optimizer, batch: Any = None) -> bool:
        """`count` optimizer steps have been made; measures if a record is due since the last call."""
        before, self._steps = self._steps, integer("count", count, 0)
        self.times.look()
        if not self.batch_sizes and batch is not None:
            self._learn_batch_size(batch)
        over = self.times.share is not None and bool(self.records) and not self.records[-1].inside
        return (
            self._steps > before and not over and self.times.due(before, self._steps) and self.record(optimizer, batch)
        )

    def record(self, optimizer: torch.optim.Optimizer, batch: Any = None) -> bool:
        """Measure now, whatever the time, unless this step is on record; before the loop, the start of the training."""
        if self.records and self.records[-1].step == self._steps:
            return False
        if not self.batch_sizes:
            self._learn_batch_size(batch)
        rate = self._checked_rate(optimizer)
        device = self.probe.objective.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the training's own work is not the monitor's cost
        start = self.times.look()
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),  # a metric of the user's may draw
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            values, about, inside = self._measured(optimizer)
        self.records.append(Record(self._steps, rate, values, about, inside, self.times.look() - start))
        if self.file is not None:
            self.save(self.file)
        self.times.costs.append(self.times.look() - start)  # with the writing
        return True

    def dataset(self) -> xr.Dataset:
        """The records so far, as `train` and `simulate` return them, and what they cost (`measurement_seconds`)."""
        times = self.times
        attributes = {
            **self._attributes, "dynamics": self.description, "sampling": self.sampling, "seed": str(self.seed),
            "steps": self._steps, "wall_time_s": times.wall,
            "measurement_share": times.spent / times.wall if times.wall else 0.0,
            **({"record_every": times.every} if times.every else {"share": times.share}),
        }  # fmt: skip
        return records_dataset(self.records, self.metrics, self.batch_sizes, attributes)

    def save(self, path: str | Path) -> None:
        """Write `dataset()` as netCDF; a file that is there is replaced at once, never left half written."""
        target = Path(path)
        part = target.with_name(f"{target.name}.part")
        self.dataset().to_netcdf(part, engine="scipy")
        os.replace(part, target)

    def summary(self) -> str:
        """What was recorded and what it cost, in one line."""
        if not self.records:
            return f"no record in {self._steps} steps"
        each, share = self.times.spent / len(self.records), self.times.spent / self.times.wall
        return (
            f"{len(self.records)} records in {self._steps} steps, {each:.3g} s each, {share:.1%} of the wall time"
            f"{'' if self.records[-1].inside else '; it has diverged'}"
        )

    def logged(self) -> dict[str, float]:
        """The metrics of the last record: curvatures times step_size / 2 at the first batch size as stability/NAME."""
        if not self.records:
            return {}
        last, shown = self.records[-1], {}
        for metric in self.metrics:
            value = float(np.ravel(last.values[metric.name])[0])
            curved = metric.units == "curvature"
            shown[f"stability/{metric.name}" if curved else metric.name] = (
                value * last.step_size / 2 if curved else value
            )
        return shown

    @property
    def steps(self) -> int:
        """Optimizer steps made so far."""
        return self._steps

    @property
    def knows_batch_size(self) -> bool:
        """Whether there is a batch size to measure at."""
        return bool(self.batch_sizes)

    def __repr__(self) -> str:
        name, dim, n = self.probe.settings["network"], self.probe.dim, self.probe.samples
        sizes = ", ".join(map(str, self.batch_sizes)) or "of the first batch"
        lines = [
            f"Monitor of {name} ({dim} parameters, {n} samples) {self.times}, batch size {sizes}",
            self.summary(),
            ", ".join(f"{name} = {value:.4g}" for name, value in self.logged().items()),
        ]
        return "\n".join(line for line in lines if line)

    def _measured(self, optimizer: Any) -> tuple[dict[str, Any], dict[str, Any], bool]:
        """Values by name, what they are called where no metric says so, and whether the parameters are in the ball."""
        theta = self.probe.parameters()
        inside = bool(np.abs(theta).max() <= self.ball)
        row = theta if inside else np.full_like(theta, np.nan)
        points = Snapshots(
            self.probe, row[None, None], np.zeros(1, dtype=np.int64), np.array([self._steps]), self.batch_sizes,
            self.sampling, self.seed, self.memory,
        )  # fmt: skip
        values = {name: array[0, 0] for name, array in evaluate(self.metrics, points)}
        if not (self.optimizer_metrics and inside):
            return values, {}, inside
        found = optimizer_sharpness(
            self.probe, optimizer, self.batch_sizes, sampling=self.sampling, seed=self.seed, step=self._steps,
            memory=self.memory,
        )  # fmt: skip
        self.description = found.attrs["optimizer"]
        names = {str(name): variable for name, variable in found.data_vars.items()}
        about = {name: {key: v.attrs[key] for key in ("long_name", "units")} for name, v in names.items()}
        return values | {name: v.values for name, v in names.items()}, about, inside

    def _learn_batch_size(self, batch: Any) -> None:
        size = samples_in(batch)
        if size is None:
            raise InvalidArgument("batch_size is not known: give it to Monitor, or the batch to monitor.step")
        self.batch_sizes = checked_batch_sizes(self.probe, size)

    def _checked_rate(self, optimizer: Any) -> float:
        """The learning rate in force, once it is known that all is as it was when the monitor was made."""
        check_unwrapped(self.probe.net)
        self.probe.check_ready()
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InvalidArgument(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}")
        if self.optimizer_metrics:
            OptimizerSteps(optimizer, self.probe.net)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not any(id(p) in held for p in self.probe.net.parameters()):
            raise InvalidArgument(
                "the optimizer trains no parameter of the probe's network; probe the net that it trains"
            )
        self.description = self.description or json.dumps({"optimizer": type(optimizer).__name__})
        return common("learning rates", [float(group["lr"]) for group in optimizer.param_groups])


def check_watchable(net: Any) -> None:
    """A module as it is, in a mode that can be measured."""
    check_unwrapped(net)
    check_mode(net)


def check_unwrapped(net: Any) -> None:
    """A module as it is, not what wraps it."""
    if not isinstance(net, torch.nn.Module):
        raise InvalidArgument(f"net must be a torch.nn.Module, got {type(net).__name__}")
    for name, module in net.named_modules():
        kind = type(module).__name__
        if kind in WRAPPERS:
            raise InvalidArgument(
                f"{name or 'the net'} is a {kind}; probe {WRAPPERS[kind]}, which has the same parameters"
            )
