"""The hooks of a Lightning callback, by their names and arguments alone: Lightning is not imported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ...errors import InvalidArgument


class TrainingHooks(ABC):
    """Records on the hooks that a trainer calls, and logs each record through the module's `log` where it has one.

    Curvatures are logged times step_size / 2, 1 at the edge, as stability/NAME; other metrics as they are. Lightning's
    own Trainer insists on its base class: ``class Watch(Monitor, lightning.pytorch.Callback): pass``.
    """

    @abstractmethod
    def record(self, optimizer: Any, batch: Any = None) -> bool:
        """Measure now; whether anything was recorded."""

    @abstractmethod
    def at_step(self, count: int, optimizer: Any, batch: Any = None) -> bool:
        """`count` optimizer steps have been made; whether that was recorded."""

    @abstractmethod
    def logged(self) -> dict[str, float]:
        """The last record as numbers to log."""

    @abstractmethod
    def summary(self) -> str:
        """What was recorded, in one line."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Optimizer steps made so far."""

    @property
    @abstractmethod
    def knows_batch_size(self) -> bool:
        """Whether there is a batch size to measure at."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the start of the training, if the batch size is known before the first batch."""
        if self.knows_batch_size:
            self.at_step(int(getattr(trainer, "global_step", 0)), only_optimizer(trainer))
            self.record(only_optimizer(trainer))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the steps that the optimizer made (`trainer.global_step` where there is one), record those due."""
        count = int(getattr(trainer, "global_step", self.steps + 1))
        if self.at_step(count, only_optimizer(trainer), batch) and hasattr(pl_module, "log"):
            for name, value in self.logged().items():
                pl_module.log(name, value)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Say what was recorded, where the trainer prints."""
        if hasattr(pl_module, "print"):
            pl_module.print(self.summary())


def only_optimizer(trainer: Any) -> Any:
    """The trainer's one optimizer."""
    optimizers = list(trainer.optimizers)
    if len(optimizers) != 1:
        raise InvalidArgument(
            f"the trainer must have one optimizer, got {len(optimizers)}; call monitor.step(optimizer) yourself"
        )
    return optimizers[0]
