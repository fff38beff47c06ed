"""A point at which a claim is tested: a loss, its parameters, how batches are drawn, and a step size.

Every quantity is computed when it is first asked for, exactly: by the metrics of `sgdmodels.measure`, and by
enumeration of all batches where a quantity has no closed form. Its `repr` is Python code that rebuilds the point,
unless the loss is of a class of the user's own.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import models
from ..arguments import FloatArray, integer, one_of, real
from ..batches import number_of_batches
from ..errors import InvalidArgument
from ..measure import checked_metrics, checked_model, evaluate
from ..metrics import Snapshots
from ..models import Model
from ..sampling import SCHEMES, NoiseCoefficients, noise_coefficients
from ..theory import mean_square_sharpness
from .batches import BatchTable, batch_table

SYMBOLIC = "sgdmodels.symbolic.model"  # imports sympy
LARGEST_NUMBER = {"batch_sharpness_mean_ratio": 4096, "minibatch_lambda_max": 512}  # of batches, for exact values


@dataclass(frozen=True, eq=False, repr=False)
class Point:
    """`model` at `theta` (d,), with batches of `batch_size` drawn by `sampling`, and perhaps a `step_size`.

    A quantity that does not exist at the point (a ratio 0/0 where all gradients vanish) is nan, as in `measure`.
    Raises InvalidArgument naming the argument.

    >>> import sgdmodels as sm
    >>> point = Point(sm.models.LeastSquares([[1.0, 0.0], [0.0, 3.0]], [1.0, 1.0]), [0, 0], batch_size=1)
    >>> point.batch_sharpness  # (1 + 81) / (1 + 9)
    8.2
    >>> point
    Point(sm.models.LeastSquares([[1.0, 0.0], [0.0, 3.0]], [1.0, 1.0]), [0.0, 0.0], batch_size=1)
    """

    model: Model
    theta: FloatArray
    batch_size: int
    sampling: str
    step_size: float | None

    def __init__(
        self,
        model: Model,
        theta: ArrayLike,
        batch_size: int,
        sampling: str = "without_replacement",
        step_size: float | None = None,
    ) -> None:
        checked_model(model)
        checked = model.check_parameters("theta", theta)
        model.check_point(checked)
        checked.flags.writeable = False
        size = integer("batch_size", batch_size, 1, model.samples, "(the number of samples)")
        scheme = one_of("sampling", sampling, SCHEMES)
        step = None if step_size is None else real("step_size", step_size, open_low=True)
        fields = {"model": model, "theta": checked, "batch_size": size, "sampling": scheme, "step_size": step}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def eta(self) -> float:
        """The step size; raises InvalidArgument at a point without one."""
        if self.step_size is None:
            raise InvalidArgument(
                "this point has no step size; draw points with step_sizes=..., or pass step_size= to Point"
            )
        return self.step_size

    @cached_property
    def gradients(self) -> FloatArray:
        """Per-sample gradients g_i, shape (n, d)."""
        return self.model.sample_gradients(self.theta)

    @cached_property
    def hessians(self) -> FloatArray:
        """Per-sample Hessians H_i, shape (n, d, d)."""
        return self.model.sample_hessians(self.theta)

    @cached_property
    def mean_gradient(self) -> FloatArray:
        """The full gradient, shape (d,)."""
        return np.asarray(self.gradients.mean(axis=0))

    @cached_property
    def mean_hessian(self) -> FloatArray:
        """The full Hessian, shape (d, d)."""
        return np.asarray(self.hessians.mean(axis=0))

    @cached_property
    def noise(self) -> NoiseCoefficients:
        """c2 and c3 of the batches."""
        return noise_coefficients(self.model.samples, self.batch_size, self.sampling)

    @cached_property
    def lambda_max(self) -> float:
        """Largest eigenvalue of the full Hessian."""
        return float(np.linalg.eigvalsh(self.mean_hessian)[-1])

    @cached_property
    def batch_sharpness(self) -> float:
        """Batch Sharpness as a ratio of expectations, E[g_B' H_B g_B] / E|g_B|^2."""
        return self._measured("batch_sharpness")

    @cached_property
    def batch_sharpness_mean_ratio(self) -> float:
        """Batch Sharpness as an expectation of ratios, E[g_B' H_B g_B / |g_B|^2], over all batches."""
        return self._measured("batch_sharpness_mean_ratio")

    @cached_property
    def ias(self) -> float:
        """Interaction-aware sharpness E[g_B' Hbar g_B] / E|g_B|^2."""
        return self._measured("ias")

    @cached_property
    def gni(self) -> float:
        """Gradient-noise interaction E[g_B' Hbar g_B] / |gbar|^2."""
        return self._measured("gni")

    @cached_property
    def minibatch_lambda_max(self) -> float:
        """E[lambda_max(H_B)] over all batches."""
        return self._measured("minibatch_lambda_max")

    @cached_property
    def mean_square_sharpness(self) -> float:
        """S_ms of the quadratic model frozen at the point; nan where the mean Hessian has no positive eigenvalue."""
        try:
            return mean_square_sharpness(self.hessians, self.batch_size, self.sampling)
        except InvalidArgument:  # all other arguments were checked when the point was made
            return float("nan")

    def batches(self) -> BatchTable:
        """All batches: weights (m, n), gradients (m, d), Hessians (m, d, d), probabilities (m,)."""
        return batch_table(self.gradients, self.hessians, self.batch_size, self.sampling)

    def __repr__(self) -> str:
        arguments = [model_code(self.model), repr(self.theta.tolist()), f"batch_size={self.batch_size}"]
        if self.sampling != "without_replacement":
            arguments.append(f'sampling="{self.sampling}"')
        if self.step_size is not None:
            arguments.append(f"step_size={self.step_size!r}")
        return f"Point({', '.join(arguments)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis prints, else field by field."""
        printer.text(repr(self))

    @cached_property
    def _snapshots(self) -> Snapshots:
        first = np.zeros(1, dtype=np.int64)
        return Snapshots(self.model, self.theta[None, None].copy(), first, first, (self.batch_size,), self.sampling, 0)

    def _measured(self, name: str) -> float:
        """The metric of this name, by enumeration where it has no closed form."""
        count = number_of_batches(self.model.samples, self.batch_size, self.sampling)
        if count > LARGEST_NUMBER.get(name, count):
            raise InvalidArgument(
                f"{name} has no closed form and {count} batches are too many to enumerate (at most "
                f"{LARGEST_NUMBER[name]}); use fewer samples"
            )
        _, values = next(evaluate(checked_metrics(name), self._snapshots))
        return float(values.ravel()[0])


def model_code(model: Model) -> str:
    """Python code that rebuilds `model`, with sgdmodels imported as sm.

    >>> import sgdmodels as sm
    >>> model_code(sm.models.ScalarProduct([1.0], [2.0], depth=3))
    'sm.models.ScalarProduct([1.0], [2.0], depth=3)'

    A loss of the user's own, also if it is derived from a built-in one, is shown as ``<module.Class: ...>``, which is
    no code: only its author knows how to call it.

    >>> class LeastSquares(sm.models.LeastSquares): ...
    >>> model_code(LeastSquares([[1.0]], [2.0])).startswith("<sgdmodels.testing.point.LeastSquares: ")
    True
    """
    definition = model.definition
    if type(model).__module__ == SYMBOLIC and definition is not None:
        keywords: dict[str, Any] = {"parameters": dict(definition.parameters)}
        keywords["data"] = {name: array.tolist() for name, array in definition.data.items()}
        keywords["predictor"], keywords["constants"] = definition.predictor, dict(definition.constants)
        written = [f"{name}={value!r}" for name, value in keywords.items() if value]
        return f"sm.SymbolicModel({definition.loss!r}, {', '.join(written)})"
    given = constructor_arguments(model)
    if given is None:
        return f"<{type(model).__module__}.{type(model).__qualname__}: {model!r}>"
    defaults = inspect.signature(type(model)).parameters
    shown = []
    for name, value in given.items():
        if defaults[name].default is inspect.Parameter.empty:
            shown.append(repr(value.tolist() if isinstance(value, np.ndarray) else value))
        elif value != defaults[name].default:
            shown.append(f"{name}={value!r}")
    return f"sm.models.{type(model).__name__}({', '.join(shown)})"


def constructor_arguments(model: Model) -> dict[str, Any] | None:
    """What to call the class of a built-in loss with to get `model` again; None for a loss of the user's own.

    >>> from sgdmodels.models import LeastSquares
    >>> sorted(constructor_arguments(LeastSquares([[1.0]], [2.0])))
    ['inputs', 'targets']
    """
    if type(model) is not getattr(models, type(model).__name__, None):
        return None
    arguments = {name: getattr(model, name) for name in inspect.signature(type(model)).parameters}
    if isinstance(model, models.ScalarProduct):
        arguments["inputs"] = arguments["inputs"][:, 0]
    return arguments
