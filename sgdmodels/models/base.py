"""What a loss is: data, mathematics in numpy, and the same mathematics as device functions for the kernels."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import int32, int64, void
from numpy.typing import ArrayLike

from ..arguments import FloatArray, aligned, aligned_copy, float_array
from ..errors import InvalidArgument
from ..kernels.compile import Kernel, bind, inline, outlined
from ..kernels.holes import add_gradient, add_mean_hvp, begin_mean, split
from ..kernels.signatures import DATA, MATRIX, VECTOR, WORK_ROWS
from .definition import Definition


@inline
def whole(theta, inputs, constants):
    """Parameters that need no splitting."""
    return (theta,)


@dataclass(frozen=True)
class LossKernels:
    """A loss for compiled loops. `parts` is what `split` makes of a parameter vector (a tuple of views).

    ==================  ============================================================================
    split               (theta, inputs, constants) -> parts
    mean_loss           (parts, samples, inputs, targets, constants, work) -> float
    add_gradient        (parts, index, weight, count, scale, inputs, targets, constants, work, out):
                        out += scale * sum_k weight_k g_(index_k), correct also when out is parts
    add_hvp             (parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
                        out += scale * sum_k weight_k H_(index_k) vector
    begin_mean          (parts, samples, inputs, targets, constants, second_moment, work): what all
                        products with the mean Hessian at one point share, kept in the rows of work
    add_mean_hvp        (parts, vector, samples, inputs, targets, constants, second_moment, work, out):
                        out += (mean Hessian) vector
    add_in_order        add_gradient for index = 0, 1, ..., count - 1, if that can be faster; else None
    ==================  ============================================================================
    """

    split: Any
    mean_loss: Any
    add_gradient: Any
    add_hvp: Any
    begin_mean: Any
    add_mean_hvp: Any
    add_in_order: Any = None


def weighted_gradient(theta, index, weight, inputs, targets, constants, second_moment, work, out):
    """Template: out = sum_k weight_k g_(index_k)."""
    for k in range(out.shape[0]):
        out[k] = 0.0
    parts = split(theta, inputs, constants)
    target = split(out, inputs, constants)
    add_gradient(parts, index, weight, index.shape[0], 1.0, inputs, targets, constants, work, target)


def mean_hessian_product(theta, vector, samples, inputs, targets, constants, second_moment, work, out):
    """Template: out = (mean Hessian) vector."""
    for k in range(out.shape[0]):
        out[k] = 0.0
    parts = split(theta, inputs, constants)
    begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
    add_mean_hvp(
        parts, split(vector, inputs, constants), samples, inputs, targets, constants, second_moment, work,
        split(out, inputs, constants),
    )  # fmt: skip


def mean_hessian(theta, samples, inputs, targets, constants, second_moment, work, unit, out):
    """Template: the mean Hessian, row by row."""
    parts = split(theta, inputs, constants)
    begin_mean(parts, samples, inputs, targets, constants, second_moment, work)
    for j in range(out.shape[0]):
        for k in range(out.shape[0]):
            out[j, k] = 0.0
        unit[j] = 1.0
        add_mean_hvp(
            parts, split(unit, inputs, constants), samples, inputs, targets, constants, second_moment, work,
            split(out[j], inputs, constants),
        )  # fmt: skip
        unit[j] = 0.0


WEIGHTED_GRADIENT = void(VECTOR, int32[::1], VECTOR, *DATA, MATRIX, VECTOR)
MEAN_HESSIAN_PRODUCT = void(VECTOR, VECTOR, int64, *DATA, MATRIX, VECTOR)
MEAN_HESSIAN = void(VECTOR, int64, *DATA, MATRIX, VECTOR, MATRIX)


class Model(ABC):
    """A loss L(theta) = (1/n) sum_i l_i(theta) over n samples and d parameters.

    A subclass sets `samples`, `dim`, `data` and `settings`, and gives per-sample losses, gradients and Hessians as
    numpy formulas (the readable twin) and `kernels` (the fast one); one contract test compares the two for all.
    """

    samples: int
    dim: int
    data: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    settings: dict[str, Any]
    squared_error: bool = False  # l_i = (f_i - y_i)^2 / 2 and nothing else
    worker: ClassVar[Callable[..., Any] | None] = None  # steps the replicas of a loss that has no kernels

    @property
    @abstractmethod
    def kernels(self) -> LossKernels:
        """Device functions of this loss."""

    @abstractmethod
    def sample_losses(self, theta: ArrayLike) -> FloatArray:
        """l_i(theta), shape (n,)."""

    @abstractmethod
    def sample_gradients(self, theta: ArrayLike) -> FloatArray:
        """grad l_i(theta), shape (n, d)."""

    @abstractmethod
    def sample_hessians(self, theta: ArrayLike) -> FloatArray:
        """Hessians of l_i at theta, shape (n, d, d): memory n d^2, for small problems."""

    def sample_directions(self, theta: ArrayLike) -> FloatArray | None:
        """a_i (n, d) if every Hessian is a_i a_i', which large stability problems need; None if it is not."""
        self.check_parameters("theta", theta)
        return None

    def measured(self, metric: Any, snapshots: Any) -> Any:
        """What `metric` gives at `snapshots`; a loss without kernels has its own ways of measuring."""
        return metric.evaluate(snapshots)

    @property
    def definition(self) -> Definition | None:
        """The loss of one sample as text, from which `sgdmodels.symbolic` derives its formulas; None if not given."""
        return None

    def loss(self, theta: ArrayLike) -> float:
        """L(theta)."""
        return float(self.sample_losses(theta).mean())

    def gradient(self, theta: ArrayLike) -> FloatArray:
        """grad L(theta), shape (d,)."""
        samples = np.arange(self.samples)
        return self.weighted_gradient(theta, samples, np.full(self.samples, 1 / self.samples))

    def weighted_gradient(self, theta: ArrayLike, index: ArrayLike, weight: ArrayLike) -> FloatArray:
        """sum_k weight_k grad l_(index_k)(theta), shape (d,): the step of SGD, noisy GD, SVAG, ... up to -step_size."""
        point = self.check_parameters("theta", theta)
        chosen, weights = self.check_weights(index, weight)
        out = np.empty(self.dim)
        kernel = self._bound(weighted_gradient, WEIGHTED_GRADIENT, "split", "add_gradient")
        kernel(point, chosen.astype(np.int32), weights, *self.data, self.workspace(), out)
        return out

    def hessian(self, theta: ArrayLike) -> FloatArray:
        """Hessian of L at theta, shape (d, d), from d Hessian-vector products."""
        point = self.check_parameters("theta", theta)
        rows = np.empty((self.dim, self.dim))
        kernel = self._bound(mean_hessian, MEAN_HESSIAN, "split", "begin_mean", "add_mean_hvp")
        kernel(point, self.samples, *self.data, self.workspace(), np.zeros(self.dim), rows)
        return 0.5 * (rows + rows.T)

    def hvp(self, theta: ArrayLike, vector: ArrayLike) -> FloatArray:
        """(Hessian of L at theta) @ vector, shape (d,), without forming the Hessian."""
        point = self.check_parameters("theta", theta)
        direction = self.check_parameters("vector", vector)
        out = np.empty(self.dim)
        kernel = self._bound(mean_hessian_product, MEAN_HESSIAN_PRODUCT, "split", "begin_mean", "add_mean_hvp")
        kernel(point, direction, self.samples, *self.data, self.workspace(), out)
        return out

    def check_weights(self, index: ArrayLike, weight: ArrayLike) -> tuple[np.ndarray, FloatArray]:
        """Sample numbers and as many weights."""
        chosen = np.atleast_1d(np.asarray(index))
        if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
            raise InvalidArgument(f"index must be a vector of integers, got {chosen.dtype} of shape {chosen.shape}")
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.samples):
            raise InvalidArgument(
                f"index must lie in 0..{self.samples - 1} (the samples), got {chosen.min()}..{chosen.max()}"
            )
        return chosen, float_array("weight", weight, (len(chosen),))

    def check_parameters(self, name: str, value: ArrayLike) -> FloatArray:
        """`value` as a parameter vector of this loss."""
        return float_array(name, value, (self.dim,))

    def check_point(self, theta: ArrayLike) -> None:
        """Raise InvalidArgument if the loss is not differentiable at theta; built-in losses are so everywhere."""
        self.check_parameters("theta", theta)

    def workspace(self) -> FloatArray:
        """Scratch for one thread: rows of at least `dim` numbers, each on a cache line of its own."""
        longest = max(self.dim, self.data[0].shape[1])
        return aligned((WORK_ROWS, (longest + 7) // 8 * 8))

    def arguments(self) -> dict[str, Any]:
        """What this loss was made from: `type(self)(**self.arguments())` is the same loss once more.

        By default the constructor's parameters, read from attributes of the same names; a loss that keeps them
        otherwise overrides it. Raises InvalidArgument if an attribute is missing.
        """
        found = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise InvalidArgument(
                    f"{type(self).__name__} must take its arguments by name, but has {parameter}; name them in its "
                    "constructor, or override arguments()"
                )
            if not hasattr(self, name):
                raise InvalidArgument(
                    f"{type(self).__name__} must keep its argument {name} as an attribute of the same name; set "
                    f"self.{name} in its constructor, or override arguments()"
                )
            found[name] = getattr(self, name)
        return found

    def describe(self) -> dict[str, Any]:
        """What a run's provenance says of the loss."""
        return {"name": type(self).__name__, "samples": self.samples, "dim": self.dim, **self.settings}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in list(self.describe().items())[1:])})"

    def _bound(self, template: Callable[..., Any], signature: Any, *names: str) -> Kernel:
        """`template` with device functions of this loss that metrics use, too: compiled once for all of them."""
        return bind(template, signature, **{name: outlined(getattr(self.kernels, name)) for name in names})

    def _store(self, inputs: FloatArray, targets: FloatArray, constants: list[float], moment: FloatArray) -> None:
        self.data = (aligned_copy(inputs), aligned_copy(targets), np.array([*constants, 0.0]), aligned_copy(moment))
