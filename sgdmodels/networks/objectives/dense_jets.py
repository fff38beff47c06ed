r"""Second derivatives of a dense network's losses along directions, by jets that move forward through the layers.

Along theta + t V, with first derivatives z' and a' in t and all sums over layers,

.. math:: V^TH_iV = f'^T\ell''f' + \sum_l\left[2\,\delta_l\cdot V_la_{l-1}' + c_l\cdot z_l'^2\right],\qquad
          z_l' = V_la_{l-1} + v_l + W_la_{l-1}',\quad a_l' = \mathrm{act}'(z_l)z_l'

with :math:`c_l = (W_{l+1}^T\delta_{l+1})\,\mathrm{act}''(z_l)`: the backward pass already knows what second-order terms
do to the loss, so they are never propagated. The Gauss-Newton matrix keeps the first term alone.

Where the direction is a gradient, :math:`V_l = \sum_jw_j\delta_{l,j}a_{l-1,j}^T`, products with it are inner products
of activations, and neither a sample's gradient nor a batch's is formed. Where a batch is larger than a layer is wide,
forming the layer's part of V costs less: whichever takes fewer multiplications is done, layer by layer.
Source: the R-operator of Pearlmutter (1994).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dense_layers import DenseLayers, Matrices
from .output_losses import OutputLoss


@dataclass(frozen=True)
class State:
    """What second derivatives need of samples at one point, sample dimensions first, one entry a layer.

    inputs a_(l-1), deltas of the unweighted losses, slopes act'(z_l) and bends c_l; None where all are one, or zero.
    """

    inputs: list[Tensor]
    deltas: list[Tensor]
    slopes: list[Tensor | None]
    bends: list[Tensor | None]
    outputs: Tensor
    targets: Tensor


def rearranged(state: State, index: Tensor | None, *shape: int) -> State:
    """The states of samples `index`, or of all, with their dimension split into `shape`."""

    def of(tensor: Tensor) -> Tensor:
        rows = tensor if index is None else tensor.index_select(0, index.reshape(-1))
        return rows.reshape(*shape, *tensor.shape[1:])

    slopes, bends = ([None if t is None else of(t) for t in part] for part in (state.slopes, state.bends))
    inputs, deltas = ([of(t) for t in part] for part in (state.inputs, state.deltas))
    return State(inputs, deltas, slopes, bends, of(state.outputs), of(state.targets))


def state_of(layers: DenseLayers, matrices: Matrices, rule: OutputLoss, inputs: Tensor, targets: Tensor) -> State:
    """A forward and a backward pass of inputs (m, p)."""
    values, before = layers.forward(matrices, inputs)
    cotangent = rule.slope(values[-1], targets)
    deltas: list[Tensor] = []
    slopes: list[Tensor | None] = []
    bends: list[Tensor | None] = []
    for k in reversed(range(len(layers.layers))):
        act, z, a = layers.layers[k].activation, before[k], values[k + 1]
        slopes.append(None if act.straight else act.pull(torch.ones_like(z), z, a))
        bends.append(cotangent * act.bend(z, a) if act.curved else None)
        deltas.append(scaled(slopes[-1], cotangent))
        if k:
            cotangent = deltas[-1] @ matrices[k][0]
    return State(values[:-1], deltas[::-1], slopes[::-1], bends[::-1], values[-1], targets)


def scaled(slope: Tensor | None, z: Tensor) -> Tensor:
    """act'(z) z', or any other product with act'."""
    return z if slope is None else slope * z


def add_product(total: Tensor, rows: Tensor, weight: Tensor) -> None:
    """total += rows W' in place, whatever the leading dimensions; `total` is contiguous."""
    total.view(-1, weight.shape[0]).addmm_(rows.reshape(-1, weight.shape[1]), weight.t())


def batch_jets(
    layers: DenseLayers, matrices: Matrices, rule: OutputLoss, state: State, weight: Tensor, hessian: bool
) -> tuple[Tensor, Tensor]:
    """g_B' M_B g_B and |g_B|^2 of batches, for a state of samples (M, b) and their weights (M, b)."""
    size = weight.shape[1]
    curvature, square = torch.zeros_like(weight[:, 0]), torch.zeros_like(weight[:, 0])
    moved: Tensor | None = None  # a'
    for k, layer in enumerate(layers.layers):
        a, delta = state.inputs[k], weight.unsqueeze(-1) * state.deltas[k]
        products = 1 if moved is None or not hessian else 2
        by_grams = products * size * (layer.inputs + layer.outputs) <= (products + 1) * layer.inputs * layer.outputs
        if size == 1:
            z = delta * (a.square().sum(-1, keepdim=True) + layer.bias)
        elif by_grams:
            z = torch.bmm(torch.bmm(a, a.mT) + layer.bias, delta)
        else:
            block = torch.bmm(delta.mT, a)
            z = torch.bmm(a, block.mT)
            if layer.bias:
                z += delta.sum(1, keepdim=True)
        square += (z * delta).sum((1, 2))
        if moved is not None:
            if hessian and size == 1:
                curvature += 2 * ((a * moved).sum(-1) * delta.square().sum(-1)).sum(1)
            elif hessian and by_grams:
                curvature += 2 * (torch.bmm(a, moved.mT) * torch.bmm(delta, delta.mT)).sum((1, 2))
            elif hessian:
                curvature += 2 * (torch.bmm(delta.mT, moved) * block).sum((1, 2))
            add_product(z, moved, matrices[k][0])
        bend = state.bends[k]
        if hessian and bend is not None:
            curvature += (weight * (z * z).mul_(bend).sum(-1)).sum(1)
        moved = scaled(state.slopes[k], z)
    assert moved is not None
    curvature += (weight * (moved * rule.bent(state.outputs, state.targets, moved)).sum(-1)).sum(1)
    return curvature, square


def pair_jets(
    layers: DenseLayers, matrices: Matrices, rule: OutputLoss, left: State, right: State, hessian: bool
) -> Tensor:
    """sum_j g_i' M_j g_i for samples i of `left` (I,) and j of `right` (J,), shape (I,)."""
    total = torch.zeros_like(left.outputs[:, 0])
    moved: Tensor | None = None  # a' of sample j along the gradient of sample i, (I, J, width)
    for k, layer in enumerate(layers.layers):
        a, delta = left.inputs[k], left.deltas[k]
        z = (a @ right.inputs[k].t() + layer.bias).unsqueeze(-1) * delta.unsqueeze(1)
        if moved is not None:
            if hessian:
                along = torch.bmm(moved, a.unsqueeze(-1)).squeeze(-1)
                total += 2 * (along * (delta @ right.deltas[k].t())).sum(1)
            add_product(z, moved, matrices[k][0])
        bend = right.bends[k]
        if hessian and bend is not None:
            total += z.square().view(len(z), -1) @ bend.reshape(-1)
        moved = scaled(right.slopes[k], z)
    assert moved is not None
    return total + (moved * rule.bent(right.outputs, right.targets, moved)).sum((1, 2))


def directional_jets(
    layers: DenseLayers, matrices: Matrices, rule: OutputLoss, state: State, direction: Matrices, hessian: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """g_i . u, u' M_i u and g_i' M_i u of samples (m,): jets along u and along each sample's own gradient."""
    slope, curvature = torch.zeros_like(state.outputs[:, 0]), torch.zeros_like(state.outputs[:, 0])
    mixed = torch.zeros_like(slope)
    along: Tensor | None = None  # a' along u
    own: Tensor | None = None  # a' along g_i
    for k, layer in enumerate(layers.layers):
        (block, shift), a, delta = direction[k], state.inputs[k], state.deltas[k]
        z = torch.nn.functional.linear(a, block, shift)
        z_own = delta * (a.square().sum(-1, keepdim=True) + layer.bias)
        slope += (delta * z).sum(-1)
        if along is not None and own is not None:
            if hessian:
                reach = delta @ block
                curvature += 2 * (reach * along).sum(-1)
                mixed += (reach * own).sum(-1) + delta.square().sum(-1) * (a * along).sum(-1)
            add_product(z, along, matrices[k][0])
            add_product(z_own, own, matrices[k][0])
        bend = state.bends[k]
        if hessian and bend is not None:
            curvature += (bend * z * z).sum(-1)
            mixed += (bend * z * z_own).sum(-1)
        along, own = scaled(state.slopes[k], z), scaled(state.slopes[k], z_own)
    assert along is not None
    assert own is not None
    bent = rule.bent(state.outputs, state.targets, along)
    return slope, curvature + (along * bent).sum(-1), mixed + (own * bent).sum(-1)


def projected_jets(
    layers: DenseLayers, matrices: Matrices, rule: OutputLoss, state: State, basis: Matrices, hessian: bool
) -> Tensor:
    """q_p' M_i q_q of samples (m,) for all pairs of k basis vectors, given as matrices (k, ...): shape (m, k, k)."""
    count = len(basis[0][0])
    forms = state.outputs.new_zeros((len(state.outputs), count, count))
    moved: Tensor | None = None  # a', (k, m, width)
    for k in range(len(layers.layers)):
        (block, shift), a = basis[k], state.inputs[k]
        z = torch.matmul(a, block.mT)
        if shift is not None:
            z += shift.unsqueeze(1)
        if moved is not None:
            if hessian:
                half = torch.einsum("pmi,qmi->mpq", torch.matmul(state.deltas[k], block), moved)
                forms += half + half.mT
            add_product(z, moved, matrices[k][0])
        bend = state.bends[k]
        if hessian and bend is not None:
            forms += torch.einsum("pmo,qmo->mpq", z * bend, z)
        moved = scaled(state.slopes[k], z)
    assert moved is not None
    forms += torch.einsum("pmo,qmo->mpq", rule.bent(state.outputs, state.targets, moved), moved)
    return 0.5 * (forms + forms.mT)
