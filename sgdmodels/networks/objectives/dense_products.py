r"""Products with a dense network's Hessian or Gauss-Newton matrix: Pearlmutter's R-operator by hand.

The forward half is that of `dense_jets`; the backward half differentiates the backward pass,

.. math:: \delta_l' = \mathrm{act}'(z_l)\,(W_{l+1}^T\delta_{l+1}' + V_{l+1}^T\delta_{l+1}) + c_l\,z_l',\qquad
          (HV)_l = \sum_i w_i\,(\delta_{l,i}'a_{l-1,i}^T + \delta_{l,i}a_{l-1,i}'^T)

and the Gauss-Newton matrix keeps only what starts from :math:`\ell''f'`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dense_jets import State, add_product, scaled
from .dense_layers import DenseLayers, Matrices
from .output_losses import OutputLoss


def vector_products(
    layers: DenseLayers, matrices: Matrices, rule: OutputLoss, state: State, weight: Tensor, vectors: Tensor,
    hessian: bool,
) -> Tensor:  # fmt: skip
    """sum_i weight_i M_i v for vectors (k, d), shape (k, d); weight (m,)."""
    directions = layers.matrices(vectors)
    before: list[Tensor] = []  # z'
    values: list[Tensor] = []  # a_(l-1)', unused at the first layer, whose inputs do not move
    for k, ((block, shift), slope) in enumerate(zip(directions, state.slopes, strict=True)):
        z = torch.matmul(state.inputs[k], block.mT)
        if shift is not None:
            z += shift.unsqueeze(1)
        if k:
            add_product(z, values[k], matrices[k][0])
        else:
            values.append(z)
        before.append(z)
        values.append(scaled(slope, z))
    share = weight.unsqueeze(-1)
    cotangent = share * rule.bent(state.outputs, state.targets, values[-1])
    pieces: list[Tensor] = []
    for k in reversed(range(len(directions))):
        delta, bend = state.deltas[k] * share, state.bends[k]
        moved = scaled(state.slopes[k], cotangent)
        if hessian and bend is not None:
            moved = torch.addcmul(moved, bend * share, before[k])
        if layers.layers[k].bias:
            pieces.append(moved.sum(1))
        product = torch.matmul(moved.mT, state.inputs[k])
        if k:
            cotangent = torch.matmul(moved, matrices[k][0])
            if hessian:
                product += torch.matmul(delta.t(), values[k])
                cotangent += torch.matmul(delta, directions[k][0])
        pieces.append(product.flatten(1))
    return torch.cat(pieces[::-1], 1)


def gradient_products(layers: DenseLayers, matrices: Matrices, rule: OutputLoss, state: State) -> Tensor:
    """sum_i H_i g_i over the samples of a state, shape (d,): every sample along its own gradient."""
    before: list[Tensor] = []
    values: list[Tensor] = []
    for k, layer in enumerate(layers.layers):
        z = state.deltas[k] * (state.inputs[k].square().sum(-1, keepdim=True) + layer.bias)
        if k:
            add_product(z, values[k], matrices[k][0])
        else:
            values.append(z)
        before.append(z)
        values.append(scaled(state.slopes[k], z))
    cotangent = rule.bent(state.outputs, state.targets, values[-1])
    pieces: list[Tensor] = []
    for k in reversed(range(len(before))):
        delta, bend = state.deltas[k], state.bends[k]
        moved = scaled(state.slopes[k], cotangent)
        if bend is not None:
            moved = torch.addcmul(moved, bend, before[k])
        if layers.layers[k].bias:
            pieces.append(moved.sum(0))
        product = moved.t() @ state.inputs[k]
        if k:
            product += delta.t() @ values[k]
            cotangent = torch.addcmul(
                moved @ matrices[k][0], state.inputs[k], delta.square().sum(-1, keepdim=True)
            )  # V'delta of a sample's own gradient V = delta a'
        pieces.append(product.flatten())
    return torch.cat(pieces[::-1])
