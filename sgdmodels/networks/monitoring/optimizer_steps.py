r"""The step that a torch optimizer would take from its present state, as a function of the gradient, without taking it.

.. math:: \theta^+ = \theta - \eta\,u(g)

with the optimizer's own learning rate eta, and u everything else that it does: momentum, preconditioning, bias
correction, weight decay (coupled or decoupled), the sign of `maximize`.
Source: the update rules in the documentation of torch.optim; tests compare with `optimizer.step()` on a copy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, RMSprop

from ...errors import InvalidArgument

SUPPORTED = (SGD, RMSprop, Adam, AdamW)
Options = dict[str, Any]  # of a parameter group, or the state of a parameter


class Part(NamedTuple):
    """A parameter: its place in theta, its values, its group's options and its state, flattened."""

    place: slice
    values: Tensor
    options: Options
    state: Options


class OptimizerSteps:
    r"""What `optimizer` would do next to the parameters of `net`, in the order of `net.named_parameters()`.

    `step_size`, `momentum` (beta_1 for Adam), `sign` (-1 if it maximizes) and `preconditioned` say which optimizer it
    is. Groups may differ in all options but these: one eta is what sharpness is compared with. Raises InvalidArgument
    for other optimizers, for groups that differ in them, and for parameters that the optimizer does not have.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> steps = OptimizerSteps(SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True), net)
    >>> steps.step(torch.ones(1)).item()  # the first buffer is g itself: g + 0.9 g
    1.899999976158142
    """

    def __init__(self, optimizer: torch.optim.Optimizer, net: torch.nn.Module) -> None:
        if type(optimizer) not in SUPPORTED:
            names = ", ".join(kind.__name__ for kind in SUPPORTED)
            raise InvalidArgument(
                f"optimizer must be one of torch.optim.{{{names}}}, whose steps are known here, got "
                f"{type(optimizer).__name__}"
            )
        self.kind = type(optimizer)
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        if missing := [name for name, p in net.named_parameters() if id(p) not in groups]:
            raise InvalidArgument(
                f"optimizer must hold all parameters of the network that is measured, not a copy's; it lacks "
                f"{', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
            )
        used = list({id(group): group for p in net.parameters() for group in [groups[id(p)]]}.values())
        self.step_size = common("learning rates", [float(group["lr"]) for group in used])
        self.momentum = common("momenta", [float(momentum_of(group)) for group in used])
        self.sign = common("directions (maximize)", [-1.0 if group.get("maximize") else 1.0 for group in used])
        self.preconditioned = self.kind is not SGD
        self.parts, start = [], 0
        for p in net.parameters():
            options = dict(groups[id(p)])
            if self.kind is AdamW:
                options["decoupled_weight_decay"] = True  # some versions of torch know it by the class only
            state = {
                key: x.detach().reshape(-1) if isinstance(x, Tensor) and x.shape == p.shape else x
                for key, x in optimizer.state.get(p, {}).items()
            }
            self.parts.append(Part(slice(start, start + p.numel()), p.detach().reshape(-1), options, state))
            start += p.numel()

    @property
    def edge(self) -> float:
        """2 / eta; infinite where a warm-up starts at zero."""
        return 2 / self.step_size if self.step_size else math.inf

    def step(self, gradient: Tensor) -> Tensor:
        """u(g) for a gradient (d,), shape (d,); the state advances hypothetically, with this g."""
        rule = {SGD: sgd_step, RMSprop: rmsprop_step}.get(self.kind, adam_step)
        return torch.cat([rule(part, gradient[part.place]) for part in self.parts])

    def buffer(self) -> Tensor | None:
        """The optimizer's present direction w without any new gradient, (d,); None if it has no momentum or no state.

        The momentum buffer v of SGD and RMSprop, the bias-corrected m / (sqrt(v) + eps) of Adam.
        """
        return self._collected(frozen_direction) if self.momentum > 0 else None

    def heavy_ball(self, gradient: Tensor) -> Tensor:
        """beta v + g with the present buffer v of SGD, zero before the first step; -g if it maximizes."""
        buffer = self.buffer()
        return self.sign * gradient if buffer is None else self.momentum * buffer + self.sign * gradient

    def preconditioner(self) -> Tensor | None:
        r"""The diagonal P (d,) with steps :math:`-\eta P^{-1}`(momentum); None without one, or before the first step.

        RMSprop: sqrt(v) + eps. Adam: (1 - beta_1^t) (sqrt(v / (1 - beta_2^t)) + eps).
        """
        return self._collected(diagonal) if self.preconditioned else None

    def described(self) -> str:
        """Name and options, as JSON."""
        options = {k: v for k, v in self.parts[0].options.items() if isinstance(v, bool | int | float | tuple)}
        return json.dumps({"optimizer": self.kind.__name__, **options, "lr": self.step_size})

    def _collected(self, of_part: Callable[[Part], Tensor | None]) -> Tensor | None:
        pieces = [of_part(part) for part in self.parts]
        known = [piece for piece in pieces if piece is not None]
        return torch.cat(known) if len(known) == len(pieces) else None


def common(what: str, values: list[float]) -> float:
    """The one value that all groups have."""
    if len(set(values)) > 1:
        raise InvalidArgument(
            f"the optimizer's parameter groups have different {what} {sorted(set(values))}, so that there is no single "
            "step size or edge to compare a sharpness with; use one for all groups"
        )
    return values[0]


def momentum_of(options: Options) -> Any:
    return options["betas"][0] if "betas" in options else options["momentum"]


def descended(part: Part, gradient: Tensor) -> Tensor:
    """The gradient of what is minimised, with weight decay where that is part of the gradient."""
    g = -gradient if part.options.get("maximize", False) else gradient
    decay = part.options["weight_decay"]
    if decay == 0 or part.options.get("decoupled_weight_decay", False):
        return g
    return g + decay * part.values


def sgd_step(part: Part, gradient: Tensor) -> Tensor:
    g, options = descended(part, gradient), part.options
    beta, buffer = options["momentum"], part.state.get("momentum_buffer")
    if beta == 0:
        return g
    buffer = g if buffer is None else beta * buffer + (1 - options["dampening"]) * g
    return g + beta * buffer if options["nesterov"] else buffer


def rmsprop_step(part: Part, gradient: Tensor) -> Tensor:
    g, options, state = descended(part, gradient), part.options, part.state
    nothing = torch.zeros_like(g)
    alpha = options["alpha"]
    variance = alpha * state.get("square_avg", nothing) + (1 - alpha) * g * g
    if options["centered"]:
        variance = variance - (alpha * state.get("grad_avg", nothing) + (1 - alpha) * g) ** 2
    scaled = g / (variance.sqrt() + options["eps"])
    if options["momentum"] == 0:
        return scaled
    return options["momentum"] * state.get("momentum_buffer", nothing) + scaled


def adam_step(part: Part, gradient: Tensor) -> Tensor:
    g, options, state = descended(part, gradient), part.options, part.state
    nothing, step = torch.zeros_like(g), float(state.get("step", 0)) + 1
    first, second = map(float, options["betas"])
    mean = first * state.get("exp_avg", nothing) + (1 - first) * g
    square = second * state.get("exp_avg_sq", nothing) + (1 - second) * g * g
    if options["amsgrad"]:
        square = torch.maximum(state.get("max_exp_avg_sq", nothing), square)
    u = mean / (1 - first**step) / ((square / (1 - second**step)).sqrt() + options["eps"])
    return u + options["weight_decay"] * part.values if options.get("decoupled_weight_decay", False) else u


def frozen_direction(part: Part) -> Tensor | None:
    if "betas" not in part.options:
        return part.state.get("momentum_buffer")
    scale = diagonal(part)
    return None if scale is None else part.state["exp_avg"] / scale


def diagonal(part: Part) -> Tensor | None:
    options, state = part.options, part.state
    if "betas" not in options:
        if "square_avg" not in state:
            return None
        variance = state["square_avg"] - state["grad_avg"] ** 2 if options["centered"] else state["square_avg"]
        return variance.sqrt() + options["eps"]
    if "exp_avg_sq" not in state:
        return None
    first, second = map(float, options["betas"])
    step = float(state["step"])
    square = state["max_exp_avg_sq"] if options["amsgrad"] else state["exp_avg_sq"]
    return (1 - first**step) * ((square / (1 - second**step)).sqrt() + options["eps"])
