r"""Whether a loss has second derivatives, and whether torch has them right, on a few samples.

.. math:: Hv \approx \frac{g(\theta + \epsilon v) - g(\theta - \epsilon v)}{2\epsilon}, \qquad u^THv = v^THu

Some operations differentiate twice without error and wrongly (torch's weight norm). Finite differences see it, on a
copy in float64. A kink between the two points (ReLU) spoils a difference, and a smaller step or another direction
misses it; a wrong derivative disagrees at all steps, along all directions. Networks that compute in fewer digits
whatever their dtype have no such differences and are held to the symmetry of H alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import InvalidArgument

SAMPLES = 2
CONVERSION = "ToCopyBackward0"  # torch's name of what `.float()` leaves in a graph
DIRECTIONS = 4
STEPS = (1e-6, 1e-8, 1e-4)  # relative to the size of each parameter tensor
DISAGREEMENT = 1e-4  # of a parameter tensor's entries of Hv; differences in float64 are right to 1e-8
NEGLIGIBLE = 1e-6  # of the largest such entries and slopes: below, only rounding is compared
SYMMETRIC, NEARLY_SYMMETRIC = 1e-5, 1e-2  # in float64, in fewer digits

Loss = Callable[[Tensor, Tensor], Tensor]
Tensors = list[Tensor]
ADVICE = (
    "torch.nn.utils.weight_norm and its parametrization are known for it: register a parametrization that computes "
    "g * v / v.norm() itself; give an autograd.Function a backward made of differentiable operations"
)


def listed(names: list[str]) -> str:
    """Up to five names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_derivatives(losses: Tensor, parameters: dict[str, Tensor]) -> None:
    """The loss depends on every parameter, by dense gradients, and differentiates twice."""
    if not losses.requires_grad:
        raise InvalidArgument("the loss depends on no parameter: it is detached, or computed outside torch")
    values = list(parameters.values())
    gradients = torch.autograd.grad(losses.sum(), values, create_graph=True, allow_unused=True)
    if unused := [name for name, g in zip(parameters, gradients, strict=True) if g is None]:
        raise InvalidArgument(
            f"the loss does not depend on parameters {listed(unused)}; remove them, or use them in forward"
        )
    if sparse := [name for name, g in zip(parameters, gradients, strict=True) if g.layout != torch.strided]:
        raise InvalidArgument(f"gradients of {listed(sparse)} are sparse; build the Embedding with sparse=False")
    curved = [gradient.sum() for gradient in gradients if gradient.requires_grad]
    if curved:  # else it is linear in every parameter
        _check_twice(torch.stack(curved).sum(), values)


def _check_twice(slope: Tensor, parameters: Tensors) -> None:
    """The sum of all derivatives can be differentiated in turn."""
    if _marked_once(slope):
        raise InvalidArgument(
            "the loss has no second derivatives: a backward pass is marked once_differentiable, and its "
            "curvature would count as zero; write it with differentiable operations"
        )
    try:
        torch.autograd.grad(slope, parameters, allow_unused=True)
    except (RuntimeError, NotImplementedError) as problem:
        raise InvalidArgument(
            f"the loss has no second derivatives: {problem}; write fused attention as matmul and softmax "
            "(torch.nn.attention.sdpa_kernel(SDPBackend.MATH)), and avoid fused recurrent layers"
        ) from problem


def _marked_once(value: Tensor) -> bool:
    """Whether the graph of `value` holds a node that refuses differentiation but is no parameter's ancestor.

    Such a node would raise if it were visited; gradients for given parameters pass it by without a word.
    """
    return any(node.name() == "torch::autograd::Error" for node in _nodes(value))


def _nodes(value: Tensor) -> Iterator[Any]:
    """The graph of `value`, each node once."""
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        yield node
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]


def check_second_derivatives(net: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
    """Raises InvalidArgument if products with the Hessian clearly differ from differences of gradients, or if the
    Hessian is clearly not symmetric.
    """
    inputs, targets = inputs[:SAMPLES], targets[:SAMPLES]
    names = [name for name, _ in net.named_parameters()]
    precise = _Slopes(net, loss, inputs, targets, torch.float64)
    if precise.whole:
        _check_differences(precise, names)
        _check_symmetry(precise, 1, SYMMETRIC)
    else:
        own = next(net.parameters()).dtype
        _check_symmetry(_Slopes(net, loss, inputs, targets, own), DIRECTIONS, NEARLY_SYMMETRIC)


class _Slopes:
    """Gradients at points near the parameters, and products with the Hessian there, on copies in one dtype."""

    def __init__(self, net: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, dtype: torch.dtype) -> None:
        def cast(value: Tensor) -> Tensor:
            return value.detach().to(dtype, copy=True) if value.is_floating_point() else value.detach().clone()

        self.net, self.loss, self.inputs, self.targets = net, loss, cast(inputs), cast(targets)
        self.point = {name: cast(value).requires_grad_() for name, value in net.named_parameters()}
        self.buffers = {name: cast(value) for name, value in net.named_buffers()}
        self.generator = torch.Generator(inputs.device).manual_seed(0)
        size = max(float(value.detach().square().mean().sqrt()) for value in self.point.values()) or 1.0
        self.sizes = [float(value.detach().square().mean().sqrt()) or size for value in self.point.values()]

    @property
    def whole(self) -> bool:
        """Whether the network can run in float64, without ever going to fewer digits."""
        try:
            value = self.value(list(self.point.values()))
        except Exception:  # whatever a net raises in a dtype that it was not given in
            return False
        return value.dtype == torch.float64 and all(node.name() != CONVERSION for node in _nodes(value))

    def value(self, point: Tensors) -> Tensor:
        named = dict(zip(self.point, point, strict=True))
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        outputs = functional_call(self.net, (named, buffers), (self.inputs.clone(),))
        return self.loss(outputs, self.targets).mean()

    def gradient(self, point: Tensors, again: bool = False) -> Tensors:
        return list(torch.autograd.grad(self.value(point), point, create_graph=again, materialize_grads=True))

    def products(self, *directions: Tensors) -> list[Tensors]:
        point = list(self.point.values())
        slopes = [(slope, i) for i, slope in enumerate(self.gradient(point, again=True)) if slope.requires_grad]
        if not slopes:
            return [[torch.zeros_like(value) for value in point] for _ in directions]
        free, places = zip(*slopes, strict=True)
        rows = [[direction[i] for i in places] for direction in directions]
        return [
            list(torch.autograd.grad(free, point, row, retain_graph=True, materialize_grads=True)) for row in rows
        ]  # fmt: skip

    def difference(self, direction: Tensors, step: float) -> Tensors:
        ahead, behind = (self.gradient(self._moved(direction, signed)) for signed in (step, -step))
        return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]

    def _moved(self, direction: Tensors, step: float) -> Tensors:
        pairs = zip(self.point.values(), direction, strict=True)
        return [(p + step * v).detach().requires_grad_() for p, v in pairs]

    def direction(self) -> Tensors:
        """Random, each tensor of its parameters' size."""
        return [
            size * torch.randn(value.shape, generator=self.generator, dtype=value.dtype, device=value.device)
            for size, value in zip(self.sizes, self.point.values(), strict=True)
        ]

    def lengths(self, tensors: Tensors) -> Tensor:
        """The length of each tensor in units of its parameters' size."""
        return torch.stack([size * t.norm() for size, t in zip(self.sizes, tensors, strict=True)]).detach()


def _check_differences(slopes: _Slopes, names: list[str]) -> None:
    """Of every parameter tensor some direction and step agree."""
    gradient = slopes.gradient(list(slopes.point.values()))
    (product,) = slopes.products(slopes.direction())
    # Coordinates that are held fixed (rows of padding) have no gradient, but others' gradients depend on their values.
    moving = [(g != 0) | (p != 0) for g, p in zip(gradient, product, strict=True)]
    least = torch.full((len(names),), torch.inf)
    for _ in range(DIRECTIONS):
        direction = [v * mask for v, mask in zip(slopes.direction(), moving, strict=True)]
        (product,) = slopes.products(direction)
        if not all(value.isfinite().all() for value in product):
            return  # NaN curvature is seen where it is measured
        for step in STEPS:
            difference = slopes.difference(direction, step)
            least = torch.minimum(least, _disagreement(slopes, product, difference, gradient).cpu())
            if bool((least <= DISAGREEMENT).all()):
                return
    wrong = [name for name, share in zip(names, least, strict=True) if share > DISAGREEMENT]
    raise InvalidArgument(
        f"torch gets second derivatives of this loss wrong: products with the Hessian differ from finite differences "
        f"of the gradient by {float(least.max()):.2g} of their size (parameters {listed(wrong)}); {ADVICE}"
    )


def _disagreement(slopes: _Slopes, product: Tensors, difference: Tensors, gradient: Tensors) -> Tensor:
    """|Hv - difference| of each parameter tensor, relative to the larger of both; infinite where it is not finite."""
    apart = slopes.lengths([p - d for p, d in zip(product, difference, strict=True)])
    sizes = torch.maximum(slopes.lengths(product), slopes.lengths(difference))
    floor = NEGLIGIBLE * torch.maximum(sizes.max(), slopes.lengths(gradient).max())
    relative = apart / torch.maximum(sizes, floor).clamp_min(torch.finfo(sizes.dtype).tiny)
    return relative.nan_to_num(torch.inf)


def _check_symmetry(slopes: _Slopes, pairs: int, tolerance: float) -> None:
    """u'Hv = v'Hu, up to rounding of the largest of their terms."""
    directions = [slopes.direction() for _ in range(2 * pairs)]
    images = slopes.products(*directions)
    squares = []
    for k in range(0, 2 * pairs, 2):
        left, right = _terms(directions[k], images[k + 1]), _terms(directions[k + 1], images[k])
        size = torch.maximum(left.norm(), right.norm()).clamp_min(torch.finfo(left.dtype).tiny)
        squares.append(((left.sum() - right.sum()) / size).square())
    apart = float(torch.stack(squares).mean().sqrt())
    if apart > tolerance:  # not so if NaN: that curvature is seen where it is measured
        raise InvalidArgument(
            f"torch gets second derivatives of this loss wrong: the Hessian is not symmetric, u'Hv and v'Hu differ by "
            f"{apart:.2g} of their size; {ADVICE}"
        )


def _terms(left: Tensors, right: Tensors) -> Tensor:
    return torch.cat([(a * b).detach().reshape(-1) for a, b in zip(left, right, strict=True)])
