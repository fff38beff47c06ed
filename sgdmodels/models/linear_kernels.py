"""The compiled half of `linear_predictor`: templates of the family, bound to one loss by `family_kernels`."""

from __future__ import annotations

from typing import Any

from numba import uint32

from ..kernels.compile import inline, rebind
from ..kernels.holes import (
    add_batch_gradient,
    bend,
    correlate,
    curve,
    fused_predict,
    offset,
    pick,
    point_loss,
    pull,
    push,
    slope,
    tilt,
    weights,
)
from .base import LossKernels
from .point_loss import SQUARED_ERROR, PointLoss


@inline
def no_offset(parts, constants):
    return 0.0


@inline
def no_tilt(constants, total, scale, out):
    """The gradient of a zero offset."""


@inline
def predict(x, w):
    """x . w"""
    total = 0.0
    for k in range(w.shape[0]):
        total += x[k] * w[k]
    return total


def mean_loss(parts, samples, inputs, targets, constants, work):
    """Template: (1/n) sum_i phi(w . x_i, y_i) + offset."""
    w = work[0, : inputs.shape[1]]
    weights(parts, constants, w)
    total = 0.0
    for i in range(samples):
        total += point_loss(predict(inputs[i], w), targets[i], constants)
    return total / samples + offset(parts, constants)


@inline
def by_index(index, m):
    """The sample that entry m names."""
    return uint32(index[m])


@inline
def in_order(index, m):
    """Sample m, whatever the index: where all take part in their order, looking it up would cost a quarter."""
    return m


def weighted_residuals(index, weight, count, inputs, targets, constants, w, z):
    """Template: z = sum_k weight_k r_(index_k) x_(index_k); four samples at a time, to read and write z less often."""
    d = w.shape[0]
    if count == 1:
        i = pick(index, 0)
        x = inputs[i]
        r = weight[0] * slope(predict(x, w), targets[i], constants)
        for k in range(d):
            z[k] = r * x[k]
        return
    for k in range(d):
        z[k] = 0.0
    quads = count - count % 4
    for m in range(0, quads, 4):
        i0, i1, i2, i3 = pick(index, m), pick(index, m + 1), pick(index, m + 2), pick(index, m + 3)
        x0, x1, x2, x3 = inputs[i0], inputs[i1], inputs[i2], inputs[i3]
        r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
        for k in range(d):
            r0 += x0[k] * w[k]
            r1 += x1[k] * w[k]
            r2 += x2[k] * w[k]
            r3 += x3[k] * w[k]
        r0 = weight[m] * slope(r0, targets[i0], constants)
        r1 = weight[m + 1] * slope(r1, targets[i1], constants)
        r2 = weight[m + 2] * slope(r2, targets[i2], constants)
        r3 = weight[m + 3] * slope(r3, targets[i3], constants)
        for k in range(d):
            z[k] += (r0 * x0[k] + r1 * x1[k]) + (r2 * x2[k] + r3 * x3[k])
    for m in range(quads, count):
        i = pick(index, m)
        x = inputs[i]
        r = weight[m] * slope(predict(x, w), targets[i], constants)
        for k in range(d):
            z[k] += r * x[k]


def add_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * (J' sum_k weight_k r_k x_k + (sum_k weight_k) grad o)."""
    d = inputs.shape[1]
    w, z = work[0, :d], work[1, :d]
    weights(parts, constants, w)
    correlate(index, weight, count, inputs, targets, constants, w, z)
    total = 0.0
    for k in range(count):
        total += weight[k]
    pull(parts, z, scale, constants, work[5], out)
    tilt(constants, total, scale, out)


def add_one_or_many(parts, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: for one sample two loops instead of four, w and z never touch memory."""
    if count == 1:
        x = inputs[index[0]]
        r = scale * weight[0] * slope(fused_predict(parts, x, constants), targets[index[0]], constants)
        pull(parts, x, r, constants, work[5], out)
        tilt(constants, weight[0], scale, out)
    else:
        add_batch_gradient(parts, index, weight, count, scale, inputs, targets, constants, work, out)


def add_hvp(parts, vector, index, weight, count, scale, inputs, targets, constants, work, out):
    """Template: out += scale * (J' sum_k weight_k phi''_k x_k (x_k . J v) + K(sum_k weight_k r_k x_k) v)."""
    d = inputs.shape[1]
    w, z, t, q = work[0, :d], work[1, :d], work[2, :d], work[3, :d]
    weights(parts, constants, w)
    push(parts, vector, constants, t)
    for k in range(d):
        z[k] = 0.0
        q[k] = 0.0
    for m in range(count):
        x, y = inputs[index[m]], targets[index[m]]
        p, a = 0.0, 0.0
        for k in range(d):
            p += x[k] * w[k]
            a += x[k] * t[k]
        r = weight[m] * slope(p, y, constants)
        a = weight[m] * bend(p, y, constants) * a
        for k in range(d):
            z[k] += a * x[k]
            q[k] += r * x[k]
    pull(parts, z, scale, constants, work[5], out)
    curve(parts, q, vector, scale, constants, out)


def begin_mean(parts, samples, inputs, targets, constants, second_moment, work):
    """Template: q = (1/n) sum_i r_i x_i, kept in row 4."""
    d = inputs.shape[1]
    w, q = work[0, :d], work[4, :d]
    weights(parts, constants, w)
    for k in range(d):
        q[k] = 0.0
    for i in range(samples):
        x = inputs[i]
        r = slope(predict(x, w), targets[i], constants) / samples
        for k in range(d):
            q[k] += r * x[k]


def add_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    """Template: out += J' (X'X/n) J v + K(q) v, for the squared error."""
    d = inputs.shape[1]
    z, t, q = work[1, :d], work[2, :d], work[4, :d]
    push(parts, vector, constants, t)
    for k in range(d):
        z[k] = 0.0
    if second_moment.shape[0] == d:
        add_product(second_moment, t, z)
    else:  # more dimensions than twice the samples: X'(X t) is cheaper, and X'X would not be kept
        for i in range(samples):
            x = inputs[i]
            a = predict(x, t) / samples
            for k in range(d):
                z[k] += a * x[k]
    pull(parts, z, 1.0, constants, work[5], out)
    curve(parts, q, vector, 1.0, constants, out)


def add_bent_mean_hvp(parts, vector, samples, inputs, targets, constants, second_moment, work, out):
    """Template: out += J' ((1/n) sum_i phi''_i x_i x_i') J v + K(q) v, for any loss of a prediction."""
    d = inputs.shape[1]
    z, t, w, q = work[1, :d], work[2, :d], work[3, :d], work[4, :d]
    weights(parts, constants, w)
    push(parts, vector, constants, t)
    for k in range(d):
        z[k] = 0.0
    for i in range(samples):
        x = inputs[i]
        p, a = 0.0, 0.0
        for k in range(d):
            p += x[k] * w[k]
            a += x[k] * t[k]
        a *= bend(p, targets[i], constants) / samples
        for k in range(d):
            z[k] += a * x[k]
    pull(parts, z, 1.0, constants, work[5], out)
    curve(parts, q, vector, 1.0, constants, out)


@inline
def add_product(matrix, vector, out):
    """out += matrix @ vector, four rows at a time: their sums run side by side in registers."""
    d = vector.shape[0]
    quads = d - d % 4
    for j in range(0, quads, 4):
        m0, m1, m2, m3 = matrix[j], matrix[j + 1], matrix[j + 2], matrix[j + 3]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for k in range(d):
            s0 += m0[k] * vector[k]
            s1 += m1[k] * vector[k]
            s2 += m2[k] * vector[k]
            s3 += m3[k] * vector[k]
        out[j] += s0
        out[j + 1] += s1
        out[j + 2] += s2
        out[j + 3] += s3
    for j in range(quads, d):
        out[j] += predict(matrix[j], vector)


def family_kernels(
    *,
    split: Any,
    weights: Any,
    pull: Any,
    push: Any,
    curve: Any,
    fused_predict: Any = None,
    offset: Any = no_offset,
    tilt: Any = no_tilt,
    point_loss: PointLoss = SQUARED_ERROR,
) -> LossKernels:
    """The kernels of one loss of the family. `pull` must be right also when it writes into its own `parts`.

    fused_predict: (parts, x, constants) -> w . x without storing w; given where batches of one should be fastest.
    """
    slope, bend = point_loss.slope, point_loss.bend
    in_batches = {
        chosen: inline(
            rebind(
                add_gradient, correlate=inline(rebind(weighted_residuals, pick=chosen, slope=slope)),
                weights=weights, pull=pull, tilt=tilt,
            )
        )
        for chosen in (by_index, in_order)
    }  # fmt: skip
    one_or_many = in_batches[by_index]
    if fused_predict is not None:
        one_or_many = inline(
            rebind(
                add_one_or_many, fused_predict=fused_predict, slope=slope, pull=pull, tilt=tilt,
                add_batch_gradient=in_batches[by_index],
            )
        )  # fmt: skip
    return LossKernels(
        split=split,
        mean_loss=inline(rebind(mean_loss, weights=weights, offset=offset, point_loss=point_loss.value)),
        add_gradient=one_or_many,
        add_in_order=in_batches[in_order],
        add_hvp=inline(rebind(add_hvp, weights=weights, push=push, pull=pull, curve=curve, slope=slope, bend=bend)),
        begin_mean=inline(rebind(begin_mean, weights=weights, slope=slope)),
        add_mean_hvp=inline(rebind(add_mean_hvp, push=push, pull=pull, curve=curve))
        if point_loss is SQUARED_ERROR
        else inline(rebind(add_bent_mean_hvp, push=push, pull=pull, curve=curve, weights=weights, bend=bend)),
    )
