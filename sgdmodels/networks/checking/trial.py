"""A trial run on a few samples: finds randomness, coupled samples, unused parameters, and missing or wrong second
derivatives.

Parameters and buffers are copied, and the global random state is put back. Both runs use the same copy of the buffers,
so that a net that changes them in its forward pass is seen to change its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import InvalidArgument
from ..losses import cross_entropy, logistic
from .second_derivatives import check_derivatives, check_second_derivatives

SAMPLES = 8
# Two equal calls may differ by the order of sums (atomic additions on a GPU), so bitwise equality would refuse nets
# without randomness: 100 rounding errors of the largest output.
REPEATED = 100
# One sample and a batch run through different kernels, on GPUs with 10-bit factors (TF32). Statistics of a batch move
# outputs by far more than this share of the largest.
ALONE = {torch.float32: 1e-2, torch.float64: 1e-6}

Loss = Callable[[Tensor, Tensor], Tensor]
Forward = Callable[[Tensor], Tensor]


def check_trial(net: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
    """Raises InvalidArgument if a few samples show that `loss(net(inputs), targets)` cannot be measured."""
    chosen = torch.linspace(0, len(inputs) - 1, min(SAMPLES, len(inputs)), device=inputs.device).round().long()
    with _kept_random_state(inputs.device), torch.enable_grad():
        inputs, targets = inputs[chosen].detach(), targets[chosen].detach()
        parameters = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
        buffers = {name: value.clone() for name, value in net.named_buffers()}

        def forward(batch: Tensor) -> Tensor:
            return functional_call(net, (parameters, buffers), (batch,))

        outputs = _outputs(forward, inputs)
        _check_unwritten("net", "inputs", inputs)
        _check_labels(loss, outputs, targets)
        losses = _losses(loss, outputs, targets)
        _check_unwritten("loss", "targets", targets)
        _check_repeatable(forward, inputs, outputs)
        _check_separate_outputs(forward, inputs, outputs)
        _check_separate_losses(loss, outputs.detach(), targets, losses.detach())
        check_derivatives(losses, parameters)
        check_second_derivatives(net, loss, inputs, targets)


@contextmanager
def _kept_random_state(device: torch.device) -> Iterator[None]:
    """Puts back the random state of the CPU, and of the CUDA device if the net is on one."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _outputs(forward: Forward, inputs: Tensor) -> Tensor:
    """Finite outputs, samples first."""
    try:
        outputs = forward(inputs)
    except Exception as problem:
        hint = "; integers suit embeddings only, use inputs.float() for images" * (not inputs.is_floating_point())
        raise InvalidArgument(
            f"the net fails on inputs of shape {tuple(inputs.shape)} and {inputs.dtype}: {problem}{hint}"
        ) from problem
    if not isinstance(outputs, Tensor):
        raise InvalidArgument(
            f"the net must return one tensor, got {type(outputs).__name__}; wrap it in a module that picks the tensor"
        )
    if outputs.ndim == 0 or len(outputs) != len(inputs):
        raise InvalidArgument(
            f"the net must return one row per sample, got shape {tuple(outputs.shape)} for {len(inputs)} samples"
        )
    if outputs.dtype not in ALONE:
        raise InvalidArgument(f"the net returns {outputs.dtype}; turn off autocast, and return float32 or float64")
    if not outputs.isfinite().all():
        raise InvalidArgument("the net's outputs are not finite at these parameters: the training has diverged")
    return outputs


def _check_unwritten(who: str, what: str, data: Tensor) -> None:
    """By torch's count of writes: the second of two runs on data that the first one changed is no longer the same."""
    if data._version > 0:
        raise InvalidArgument(
            f"the {who} writes into its {what}, which changes your data with each call; use operations that return a "
            "new tensor (relu without inplace=True, clamp instead of clamp_), or begin with clone()"
        )


def _is(loss: Loss, ours: Loss) -> bool:
    """By name, as a module that is imported twice (by collectors of doctests, say) has two of each function."""
    return all(getattr(loss, key, None) == getattr(ours, key) for key in ("__module__", "__qualname__"))


def _check_labels(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Labels in the range of this package's classification losses."""
    if _is(loss, logistic) and outputs.shape == targets.shape and not (targets.abs() == 1).all():
        raise InvalidArgument(
            f"logistic needs labels -1 and 1, got {targets.min():g}..{targets.max():g}; use 2 * labels - 1"
        )
    if _is(loss, cross_entropy) and not targets.is_floating_point():
        classes, first, last = outputs.shape[-1], int(targets.min()), int(targets.max())
        if first < 0 or last >= classes:
            raise InvalidArgument(f"cross_entropy needs labels in 0..{classes - 1} (the outputs), got {first}..{last}")


def _losses(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """One finite value per sample."""
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    try:
        losses = loss(outputs, targets)
    except InvalidArgument:
        raise
    except Exception as problem:
        raise InvalidArgument(f"the loss fails on {shapes}, {targets.dtype}: {problem}") from problem
    if not isinstance(losses, Tensor) or losses.shape != (len(outputs),):
        got = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise InvalidArgument(
            f"the loss must return one value per sample, shape ({len(outputs)},), got {got} for {shapes}; "
            f"{_shape_advice(loss, losses, outputs, targets)}"
        )
    if not losses.isfinite().all():
        raise InvalidArgument("the loss is not finite at these parameters")
    return losses


def _shape_advice(loss: Loss, losses: object, outputs: Tensor, targets: Tensor) -> str:
    if getattr(loss, "reduction", None) in ("mean", "sum") or (isinstance(losses, Tensor) and losses.ndim == 0):
        return 'do not average over samples: build it with reduction="none"'
    if (outputs.ndim == targets.ndim and outputs.shape != targets.shape) or outputs.ndim != targets.ndim:
        return "outputs and targets broadcast against each other: give both one shape"
    return "sum over the outputs of a sample: .flatten(1).sum(1)"


def _far(difference: Tensor, size: Tensor, share: float) -> bool:
    return bool(difference.abs().max() > share * size.abs().max())


def _check_repeatable(forward: Forward, inputs: Tensor, outputs: Tensor) -> None:
    """The same inputs twice."""
    again = forward(inputs)
    if _far(again - outputs, outputs, REPEATED * torch.finfo(outputs.dtype).eps):
        raise InvalidArgument(
            "two forward passes on the same inputs differ: something is random (dropout called as a function, noise, "
            "random depth) or changes with each call (spectral norm, counters); call net.eval(), or remove it"
        )


def _check_separate_outputs(forward: Forward, inputs: Tensor, outputs: Tensor) -> None:
    """Each sample alone gives what it gives in the batch."""
    for i in range(len(inputs)):
        alone = _outputs(forward, inputs[i : i + 1])
        if alone.shape[1:] != outputs.shape[1:]:
            raise InvalidArgument(
                f"one sample alone gives outputs of shape {tuple(alone.shape)}, {len(inputs)} samples "
                f"{tuple(outputs.shape)}; avoid squeeze() without an axis in the net"
            )
        if _far(alone[0] - outputs[i], outputs, ALONE[outputs.dtype]):
            raise InvalidArgument(
                "samples of a batch influence each other: one alone gives other outputs; normalise each sample by "
                "itself (GroupNorm, LayerNorm) instead of over the batch"
            )


def _check_separate_losses(loss: Loss, outputs: Tensor, targets: Tensor, losses: Tensor) -> None:
    """The loss of a sample does not depend on the others; the outputs are the same, so little rounding is at work."""
    for i in range(len(outputs)):
        alone = loss(outputs[i : i + 1], targets[i : i + 1])
        rounding = REPEATED * torch.finfo(losses.dtype).eps
        if alone.shape != (1,) or _far(alone - losses[i], torch.stack([losses[i], outputs[i].abs().max()]), rounding):
            raise InvalidArgument(
                "the loss of one sample depends on the others in the batch: it divides by their number, or outputs of "
                f"shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)} broadcast against each other"
            )
