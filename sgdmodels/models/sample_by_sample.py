r"""Losses given one sample at a time: the family for everything that is not linear in the data.

A loss of the family supplies `sample_loss`, `add_sample_gradient` (out += c g_i) and `add_sample_hvp` (out += c H_i v).
They may use work rows 0 and from 2 up as scratch; row 1 gathers the sum over a batch, since a step writes into the
parameters that it reads. constants[0] is the number of parameters.
"""

from __future__ import annotations

from typing import Any

from ..kernels.compile import inline, rebind
from ..kernels.holes import add_parts, add_sample_gradient, add_sample_hvp, sample_loss, split
from .base import LossKernels


def mean_loss(parts, samples, inputs, targets, constants, work):
    """Template: (1/n) sum_i l_i."""
    total = 0.0
    for i in range(samples):
        total += sample_loss(parts, i, inputs, targets, constants, work)
    return total / samples


def add_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * sum_k weight_k g_(index_k)."""
    gathered = work[1]
    for k in range(int(constants[0])):
        gathered[k] = 0.0
    target = split(gathered, inputs, constants)
    for m in range(count):
        add_sample_gradient(parts, scale * weight[m], index[m], inputs, targets, constants, work, target)
    add_parts(target, out)


def add_hvp(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * sum_k weight_k H_(index_k) vector."""
    for m in range(count):
        add_sample_hvp(parts, vector, scale * weight[m], index[m], inputs, targets, constants, work, out)


@inline
def begin_mean(parts, samples, inputs, targets, constants, second_moment, work):
    """Nothing is shared between two products."""


def add_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    """Template: out += (mean Hessian) vector."""
    for i in range(samples):
        add_sample_hvp(parts, vector, 1.0 / samples, i, inputs, targets, constants, work, out)


def sample_kernels(
    *, split: Any, sample_loss: Any, add_sample_gradient: Any, add_sample_hvp: Any, add_parts: Any
) -> LossKernels:
    """The kernels of one loss of the family. `add_parts` is (source, out): out += source, part by part."""
    return LossKernels(
        split=split,
        mean_loss=inline(rebind(mean_loss, sample_loss=sample_loss)),
        add_gradient=inline(
            rebind(add_gradient, split=split, add_sample_gradient=add_sample_gradient, add_parts=add_parts)
        ),
        add_hvp=inline(rebind(add_hvp, add_sample_hvp=add_sample_hvp)),
        begin_mean=begin_mean,
        add_mean_hvp=inline(rebind(add_mean_hvp, add_sample_hvp=add_sample_hvp)),
    )
