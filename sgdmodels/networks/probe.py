"""A network, a loss and data as a loss of sgdmodels: measured, stepped and scored by the same names as the closed
forms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..arguments import FloatArray, aligned, integer
from ..dataset import provenance
from ..errors import InvalidArgument
from ..measure import measure
from ..metrics import METRICS, Metric, Snapshots
from ..models import Model
from ..models.base import LossKernels
from .accuracy import Accuracy
from .checking.checks import check_mode, check_network
from .losses import squared_error
from .measurements import BUILT_IN, network_metrics
from .objectives.budget import MemoryBudget
from .objectives.dense_chain import DenseChain
from .objectives.module_objective import ModuleObjective
from .objectives.objective import Objective
from .point import Point
from .training.worker import Worker

if TYPE_CHECKING:
    import xarray as xr

DEAR = ("mean_square_sharpness", "minibatch_lambda_max")
LARGEST_TABLE = 2**27  # entries of the dense arrays that only small networks can have


class Probe(Model):
    r"""A `torch.nn.Module` with a per-sample loss and data, as a loss L(theta) over its flat parameter vector.

    .. math:: L(\theta) = \tfrac1n\textstyle\sum_i \ell(f(x_i; \theta), y_i)

    net: without dropout or batch statistics, all parameters trained. loss(outputs, targets): one value per sample, such
    as those of `sgdmodels.networks.losses`. inputs, targets: samples first, tensors or arrays; floating ones are
    brought to the network's dtype and device. theta is the concatenation of `net.named_parameters()`. memory: bytes
    that a piece of work may hold. compiled: let torch.compile fuse the gradients of ensembles. The network itself is
    never changed.

    Raises InvalidArgument, with the reason, for what cannot be measured: see `sgdmodels.networks.checking.checks`.

    >>> import torch
    >>> from sgdmodels.networks import Probe, losses
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(net.weight)
    >>> probe = Probe(net, losses.squared_error, torch.eye(2) * 2**0.5, torch.ones(2, 1))
    >>> point = probe.measure(batch_size=[1, 2], metrics=("lambda_max", "batch_sharpness"))
    >>> [round(float(v), 6) for v in (point.lambda_max, *point.batch_sharpness)]  # H = I; for one sample 2 e_i e_i'
    [1.0, 2.0, 1.0]
    """

    worker: ClassVar[Callable[..., Any] | None] = Worker

    def __init__(
        self,
        net: torch.nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        *,
        accuracy: Accuracy | None = None,
        memory: int = 2**30,
        compiled: bool = False,
    ) -> None:
        if not isinstance(accuracy, Accuracy | None):
            raise InvalidArgument(f"accuracy must be an Accuracy(...), got {accuracy!r}")
        if not isinstance(compiled, bool):
            raise InvalidArgument(f"compiled must be True or False, got {compiled!r}")
        first = next(net.parameters(), None) if isinstance(net, torch.nn.Module) else None
        x, y = (brought(name, value, first) for name, value in (("inputs", inputs), ("targets", targets)))
        check_network(net, loss, x, y)
        self.net, self.loss_function, self.inputs, self.targets = net, loss, x, y
        self.accuracy = Accuracy() if accuracy is None else accuracy
        budget = MemoryBudget(integer("memory", memory, 1))
        objective: Objective | None = DenseChain.of(net, loss, x, y, budget)
        if objective is None:
            objective = ModuleObjective(net, loss, x, y, budget, compiled=compiled)
        self.objective = objective
        self.samples, self.dim = objective.samples, objective.dim
        for name in ("subset", "curvature_samples"):
            wanted = getattr(self.accuracy, name)
            if wanted is not None:
                integer(name, wanted, 1, self.samples, "(the number of samples)")
        known = getattr(loss, "__module__", "") == squared_error.__module__  # two imports of it make two functions
        self.squared_error = (
            known and getattr(loss, "__name__", "") == squared_error.__name__ and self.samples == y.numel()
        )
        self.settings = {
            "network": type(net).__name__, "loss": getattr(loss, "__name__", type(loss).__name__),
            "dtype": str(objective.dtype).removeprefix("torch."), "device": device_name(objective.device),
            "torch_version": torch.__version__,
            "looped": looped(objective),
            "architecture": hashlib.sha256(repr(net).encode()).hexdigest()[:16],
        }  # fmt: skip

    def parameters(self) -> FloatArray:
        """The network's present parameters as one vector (d,)."""
        return parameters_of(self.net)

    def measure(
        self,
        batch_size: int | Sequence[int] = 1,
        *,
        sampling: str = "without_replacement",
        metrics: Sequence[str | Metric] | None = None,
        theta: ArrayLike | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Metrics at the network's present parameters (or at `theta`), as `sgdmodels.measure` has them.

        metrics: names of `sgdmodels.METRICS` and of `sgdmodels.networks.METRICS`, or Metric objects; without them all
        of the former but mean_square_sharpness and minibatch_lambda_max, which may take minutes. Each variable NAME
        comes with NAME_standard_error (0 where it is exact) and NAME_samples; Batch Sharpness with its 95 % interval,
        eigenvalues with their relative residual and whether they have converged.
        """
        chosen = [m.name for m in METRICS if m.name not in DEAR] if metrics is None else metrics
        point = self.parameters() if theta is None else theta
        return measure(self, point, batch_size, sampling=sampling, metrics=network_metrics(chosen), seed=seed)

    def eigenvalues(self, count: int, *, theta: ArrayLike | None = None, seed: int = 0) -> xr.Dataset:
        """The `count` largest eigenvalues of the mean Hessian, with relative residuals and whether they converged.

        >>> import torch
        >>> from sgdmodels.networks import Probe, losses
        >>> probe = Probe(torch.nn.Linear(2, 1, bias=False), losses.squared_error, torch.eye(2) * 2, torch.ones(2, 1))
        >>> probe.eigenvalues(2).eigenvalues.values.round(5).tolist()  # H = 2 I
        [2.0, 2.0]
        """
        import xarray as xr

        wanted = integer("count", count, 1, self.dim, "(the number of parameters)")
        self.check_ready()
        integer("seed", seed, 0, 2**64 - 1)
        point = self._point(self.parameters() if theta is None else theta)
        here = Point(self.objective, point, self.accuracy, (1,), "without_replacement", seed, 0, 0, {}, wanted)
        found = here.eigenpairs
        values, residuals = found.values.cpu().numpy(), found.residuals.cpu().numpy()
        scale = np.where(values == 0, 1.0, np.abs(values))
        variables = {
            "eigenvalues": ("rank", values, {"long_name": "largest eigenvalues of the Hessian", "units": "curvature"}),
            "eigenvalues_residual": ("rank", residuals / scale, {"long_name": "relative residual", "units": "1"}),
            "eigenvalues_converged": ("rank", found.converged.cpu().numpy(), {"long_name": "converged", "units": "1"}),
        }
        used = self.samples if here.curvature_samples is None else len(here.curvature_samples)
        attributes = {**provenance(self), "samples": used, "products": found.products, "seed": str(seed)}
        return xr.Dataset(variables, {"rank": ("rank", np.arange(1, wanted + 1))}, attributes)

    def check_ready(self) -> None:
        """Raise InvalidArgument if the network is no longer what it was: its mode, dtype or device has changed."""
        check_mode(self.net)
        now = next(self.net.parameters())
        if (now.dtype, now.device) != (self.objective.dtype, self.objective.device):
            raise InvalidArgument(
                f"the network is now {now.dtype} on {now.device}, but was {self.objective.dtype} on "
                f"{self.objective.device} when its Probe was made; make the Probe after net.to(...)"
            )

    def measured(self, metric: Metric, snapshots: Snapshots) -> Any:
        self.check_ready()
        return BUILT_IN[metric.name](snapshots) if metric in METRICS else metric.evaluate(snapshots)

    # The interface of a loss, in float64 numpy.

    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        return self._array(self.objective.sample_losses(self._point(theta)))

    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        self._check_table("sample_gradients", self.samples * self.dim)
        point, eye = self._point(theta), torch.arange(self.samples, device=self.objective.device)[:, None]
        ones = torch.ones(self.samples, 1, dtype=self.objective.dtype, device=self.objective.device)
        rows = [
            self.objective.gradients(point.expand(len(part), -1), part, ones[: len(part)])
            for part in torch.split(eye, 256)
        ]
        return self._array(torch.cat(rows))

    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        self._check_table("sample_hessians", self.samples * self.dim**2)
        basis = torch.eye(self.dim, dtype=self.objective.dtype, device=self.objective.device)
        return self._array(self.objective.projected(self._point(theta), basis))

    def weighted_gradient(self, theta: ArrayLike, index: ArrayLike, weight: ArrayLike) -> FloatArray:
        point = self._point(theta)
        numbers, values = self.check_weights(index, weight)
        if len(numbers) == 0:
            return np.zeros(self.dim)
        chosen = torch.from_numpy(numbers.astype(np.int64)).to(self.objective.device)
        return self._array(self.objective.gradient(point, chosen, torch.from_numpy(values).to(self._like)))

    def hessian(self, theta: ArrayLike) -> FloatArray:
        self._check_table("hessian", self.dim**2)
        product = self.objective.operator(self._point(theta))
        basis = torch.eye(self.dim, dtype=self.objective.dtype, device=self.objective.device)
        rows = torch.cat([product(part) for part in torch.split(basis, 64)])
        return self._array(0.5 * (rows + rows.T))

    def hvp(self, theta: ArrayLike, vector: ArrayLike) -> FloatArray:
        direction = torch.from_numpy(self.check_parameters("vector", vector)).to(self._like)
        return self._array(self.objective.operator(self._point(theta))(direction[None])[0])

    def workspace(self) -> FloatArray:
        return aligned((1, 8))

    @property
    def kernels(self) -> LossKernels:
        raise InvalidArgument(
            "a network has no compiled kernels: write the metric with objective, hvp or weighted_gradient of the Probe"
        )

    @property
    def data(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:  # type: ignore[override]
        """Inputs (n, .), targets, and two empty tables."""
        inputs = self.objective.inputs.reshape(self.samples, -1).double().cpu().numpy()
        return inputs, self.objective.targets.double().cpu().numpy().ravel(), np.zeros(1), np.zeros((1, 1))

    @property
    def _like(self) -> Tensor:
        return self.objective.inputs.new_empty(0, dtype=self.objective.dtype)

    def _point(self, theta: ArrayLike) -> Tensor:
        return torch.from_numpy(self.check_parameters("theta", theta)).to(self._like)

    def _array(self, tensor: Tensor) -> FloatArray:
        return tensor.detach().double().cpu().numpy()

    def _check_table(self, name: str, entries: int) -> None:
        if entries > LARGEST_TABLE:
            raise InvalidArgument(
                f"{name} of this network has {entries:.3g} entries (n = {self.samples}, d = {self.dim}), more than "
                f"{LARGEST_TABLE:.3g}; use products with the Hessian (hvp), or a smaller network"
            )


def parameters_of(net: torch.nn.Module) -> FloatArray:
    """The parameters of a network as one vector (d,)."""
    return torch.cat([p.detach().reshape(-1).double().cpu() for p in net.parameters()]).numpy()


def brought(name: str, value: Any, like: Tensor | None) -> Tensor:
    """A copy of `value` as a tensor on the network's device, in its dtype if it is a floating one."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise InvalidArgument(f"{name} must be a dense tensor, got layout {value.layout}; pass {name}.to_dense()")
        tensor = value.detach().clone()
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise InvalidArgument(f"{name} must hold numbers that torch knows, got dtype {value.dtype}")
        tensor = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))
    else:
        raise InvalidArgument(f"{name} must be a tensor or an array with samples first, got {type(value).__name__}")
    if like is None:
        return tensor
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)


def looped(objective: Objective) -> str:
    """Which kinds of work cannot be mapped over batches or vectors on this network, and are slower for it."""
    if not isinstance(objective, ModuleObjective):
        return "nothing"
    return ", ".join(kind for kind, mapped in objective.mapped.items() if not mapped) or "nothing"


def device_name(device: torch.device) -> str:
    """The device, and which GPU it is."""
    return f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
