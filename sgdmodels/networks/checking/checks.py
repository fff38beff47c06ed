"""Whether a network, its loss and its data can be measured; asked once, before any work.

The theory needs a mean of per-sample losses, each a deterministic function of one sample and of parameters that can all
move. What breaks this is refused with its reason. Types are checked first; then a few samples are run, which finds what
no list of types could.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from ...errors import InvalidArgument
from .second_derivatives import listed
from .trial import Loss, check_trial


def check_network(net: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
    """Raises InvalidArgument, with the reason and what to do, if `loss(net(inputs), targets)` cannot be measured.

    `inputs` and `targets` have n samples first; `loss` returns n values. The net, its gradients, buffers and mode, and
    torch's global random state come out as they went in (what a forward pass writes into other attributes of the net
    stays written). Rare randomness can be missed, as only a few samples are run.

    >>> check_network(nn.Linear(2, 1).half(), nn.MSELoss(), torch.ones(4, 2), torch.zeros(4, 1))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    sgdmodels.errors.InvalidArgument: parameters must be torch.float32 or torch.float64, got torch.float16: ...
    """
    check_parameters(net)
    check_mode(net)
    check_data(net, inputs, targets)
    check_trial(net, loss, inputs, targets)


def check_parameters(net: Any) -> None:
    """Parameters that exist, can move, are finite, and share one device and one dtype of enough digits."""
    if not isinstance(net, nn.Module):
        what = f"the class {net.__name__}; create an instance" if isinstance(net, type) else type(net).__name__
        raise InvalidArgument(f"net must be a torch.nn.Module, got {what}")
    parameters = dict(net.named_parameters())
    if not parameters:
        raise InvalidArgument("net has no parameters, so there is nothing to train")
    if lazy := [name for name, value in parameters.items() if is_lazy(value)]:
        raise InvalidArgument(f"parameters {listed(lazy)} have no shape yet; run the net once on a sample")
    if frozen := [name for name, value in parameters.items() if not value.requires_grad]:
        raise InvalidArgument(
            f"parameters {listed(frozen)} have requires_grad=False; call requires_grad_(True) on them, "
            "or make them buffers (register_buffer) if they are constants"
        )
    _one_kind("dtypes", {str(value.dtype): name for name, value in parameters.items()}, "net.to(torch.float64)")
    _one_kind("devices", {str(value.device): name for name, value in parameters.items()}, "net.to(device)")
    dtype = next(iter(parameters.values())).dtype
    if dtype not in (torch.float32, torch.float64):
        raise InvalidArgument(
            f"parameters must be torch.float32 or torch.float64, got {dtype}: fewer digits hide curvature, and complex "
            "parameters have another Hessian; use net.to(torch.float32)"
        )
    if infinite := [name for name, value in parameters.items() if not value.isfinite().all()]:
        raise InvalidArgument(f"parameters {listed(infinite)} hold NaN or infinite values: the training has diverged")


def _one_kind(what: str, example: dict[str, str], advice: str) -> None:
    if len(example) > 1:
        kinds = ", ".join(f"{kind} ({name})" for kind, name in example.items())
        raise InvalidArgument(f"parameters have different {what}: {kinds}; use {advice}")


def check_mode(net: nn.Module) -> None:
    """No module of `net` is in a mode that couples samples or is random; takes microseconds, so ask before each use.

    >>> check_mode(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    sgdmodels.errors.InvalidArgument: dropout is on in 1 (Dropout, p = 0.5): ...
    """
    if torch.is_inference_mode_enabled():
        raise InvalidArgument("torch.inference_mode is on, where nothing has derivatives; leave it, or use no_grad()")
    for name, module in net.named_modules():
        check_module(name or "the net itself", module)


def check_module(name: str, module: nn.Module) -> None:
    """A module whose mode makes samples depend on each other or on chance is refused."""
    if isinstance(module, _BatchNorm | _InstanceNorm):
        _check_norm(name, module)
    if module.training and (rate := dropout_rate(module)) > 0:
        raise InvalidArgument(
            f"dropout is on in {name} ({type(module).__name__}, p = {rate:g}): the loss is random; "
            "call net.eval() or set p = 0"
        )


def _check_norm(name: str, module: _BatchNorm | _InstanceNorm) -> None:
    """Statistics of the batch couple its samples; running statistics change with every forward pass."""
    kind = type(module).__name__
    if isinstance(module, _InstanceNorm):
        if module.training and module.track_running_stats:
            raise InvalidArgument(
                f"{name} ({kind}) updates running statistics in training mode; call net.eval(), or build it with "
                "track_running_stats=False"
            )
    elif module.training or module.running_mean is None:
        cure = "call net.eval(), or use" if module.running_mean is not None else "use"
        raise InvalidArgument(
            f"{name} ({kind}) normalises by statistics of the batch, so that the loss is no mean of per-sample losses; "
            f"{cure} GroupNorm or LayerNorm"
        )


def dropout_rate(module: nn.Module) -> float:
    """Probability with which `module` itself, not its children, drops something in training mode."""
    if isinstance(module, _DropoutNd):
        return module.p
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout
    if isinstance(module, nn.RNNBase) and module.num_layers > 1:
        return module.dropout
    return 0.0


def check_data(net: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """As many targets as inputs, at least one, all finite, on the parameters' device and of their dtype."""
    parameter = next(net.parameters())
    for name, data in (("inputs", inputs), ("targets", targets)):
        _check_tensor(name, data, parameter)
    if len(inputs) != len(targets):
        raise InvalidArgument(
            f"inputs and targets must have the same number of samples, got {len(inputs)} and {len(targets)} "
            f"(shapes {tuple(inputs.shape)} and {tuple(targets.shape)}); samples come first"
        )


def _check_tensor(name: str, data: Any, parameter: Tensor) -> None:
    if not isinstance(data, Tensor):
        raise InvalidArgument(f"{name} must be a torch tensor, got {type(data).__name__}; use torch.as_tensor({name})")
    if data.is_inference():
        raise InvalidArgument(f"{name} were made under torch.inference_mode; use {name}.clone() outside of it")
    if data.ndim == 0 or data.numel() == 0:
        raise InvalidArgument(f"{name} must have at least one sample, got shape {tuple(data.shape)}")
    if data.device != parameter.device:
        raise InvalidArgument(
            f'{name} are on {data.device} and the parameters on {parameter.device}; use {name}.to("{parameter.device}")'
        )
    if data.is_complex() or (data.is_floating_point() and data.dtype != parameter.dtype):
        raise InvalidArgument(
            f"{name} are {data.dtype} and the parameters {parameter.dtype}; use {name}.to({parameter.dtype}), "
            f"or net.to({data.dtype}) if that is float32 or float64"
        )
    if data.is_floating_point() and not data.isfinite().all():
        raise InvalidArgument(f"{name} must be finite; remove or impute samples with NaN or infinite values")
