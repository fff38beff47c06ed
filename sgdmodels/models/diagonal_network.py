r"""Diagonal linear networks: f(x) = w . x with w built coordinate by coordinate, here of two factors:

.. math:: l_{i} = \tfrac{1}{2} \left(p_{i} - y_{i}\right)^{2}, \quad p_{i} = \sum_{j} u_{j} v_{j} x_{ij}

``form="product"``: :math:`w = u_1 \circ \dots \circ u_D`, theta = (u_1, ..., u_D) concatenated,

.. math:: J_k = \mathrm{diag}(\textstyle\prod_{m\ne k} u_m), \qquad K(z)_{kl} = \mathrm{diag}(z \circ
          \textstyle\prod_{m\ne k,l} u_m)\ (k\ne l),\ K(z)_{kk} = 0

``form="difference"``: :math:`w = u^D - v^D`, theta = (u, v),

.. math:: J = (D\,\mathrm{diag}\,u^{D-1}, -D\,\mathrm{diag}\,v^{D-1}), \qquad K(z) = D(D-1)\,\mathrm{diag}(z\circ
          u^{D-2}, -z\circ v^{D-2})

At an interpolating point the non-zero spectrum of the Hessian is that of :math:`\frac1n X J J^T X^T`. For D = 2 and the
product form every step of (S)GD with batch correlation q maps the imbalance exactly: :math:`u^2 - v^2 \mapsto (u^2 -
v^2)(1 - \eta^2 q^2)`. Sources: Woodworth et al. 2020; Even, Pesme, Gunasekar, Flammarion 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, integer, one_of
from ..kernels.compile import inline
from .base import LossKernels
from .definition import Definition
from .linear_kernels import family_kernels
from .linear_predictor import LinearPredictor


@inline
def split_pair(theta, inputs, constants):
    d = inputs.shape[1]
    return theta[:d], theta[d:]


# --- product of two factors, the hot case ---


@inline
def pair_weights(parts, constants, w):
    u, v = parts
    for k in range(w.shape[0]):
        w[k] = u[k] * v[k]


@inline
def pair_pull(parts, z, scale, constants, spare, out):
    u, v = parts
    out_u, out_v = out
    for k in range(z.shape[0]):
        g, a, b = scale * z[k], u[k], v[k]
        out_u[k] += g * b
        out_v[k] += g * a


@inline
def pair_push(parts, vector, constants, t):
    u, v = parts
    a, b = vector
    for k in range(t.shape[0]):
        t[k] = v[k] * a[k] + u[k] * b[k]


@inline
def pair_curve(parts, z, vector, scale, constants, out):
    a, b = vector
    out_u, out_v = out
    for k in range(z.shape[0]):
        g = scale * z[k]
        out_u[k] += g * b[k]
        out_v[k] += g * a[k]


@inline
def pair_predict(parts, x, constants):
    u, v = parts
    total = 0.0
    for k in range(x.shape[0]):
        total += x[k] * (u[k] * v[k])
    return total


# --- product of any number of factors; constants[0] is the depth, parts is one (depth, features) view ---


@inline
def split_factors(theta, inputs, constants):
    d = inputs.shape[1]
    return (theta.reshape((theta.shape[0] // d, d)),)


@inline
def factor_weights(parts, constants, w):
    (u,) = parts
    for k in range(w.shape[0]):
        product = 1.0
        for f in range(u.shape[0]):
            product *= u[f, k]
        w[k] = product


@inline
def product_without(u, k, skip, skip_too):
    product = 1.0
    for f in range(u.shape[0]):
        if f != skip and f != skip_too:
            product *= u[f, k]
    return product


@inline
def factor_pull(parts, z, scale, constants, spare, out):
    (u,) = parts
    (o,) = out
    depth = u.shape[0]
    for k in range(z.shape[0]):
        before = 1.0
        for f in range(depth):  # spare[f] = product of the other factors, complete before o (maybe u) changes
            spare[f] = before
            before *= u[f, k]
        after = 1.0
        for f in range(depth - 1, -1, -1):
            spare[f] *= after
            after *= u[f, k]
        for f in range(depth):
            o[f, k] += scale * z[k] * spare[f]


@inline
def factor_push(parts, vector, constants, t):
    (u,) = parts
    (v,) = vector
    for k in range(t.shape[0]):
        total = 0.0
        for f in range(u.shape[0]):
            total += product_without(u, k, f, f) * v[f, k]
        t[k] = total


@inline
def factor_curve(parts, z, vector, scale, constants, out):
    (u,) = parts
    (v,) = vector
    (o,) = out
    for k in range(z.shape[0]):
        for f in range(u.shape[0]):
            total = 0.0
            for m in range(u.shape[0]):
                if m != f:
                    total += product_without(u, k, f, m) * v[m, k]
            o[f, k] += scale * z[k] * total


# --- difference of powers; constants[0] is the depth ---


@inline
def power(base, exponent):
    result = 1.0
    for _ in range(exponent):
        result *= base
    return result


@inline
def power_weights(parts, constants, w):
    u, v = parts
    depth = int(constants[0])
    for k in range(w.shape[0]):
        w[k] = power(u[k], depth) - power(v[k], depth)


@inline
def power_pull(parts, z, scale, constants, spare, out):
    u, v = parts
    out_u, out_v = out
    depth = int(constants[0])
    for k in range(z.shape[0]):
        g = scale * depth * z[k]
        out_u[k] += g * power(u[k], depth - 1)
        out_v[k] -= g * power(v[k], depth - 1)


@inline
def power_push(parts, vector, constants, t):
    u, v = parts
    a, b = vector
    depth = int(constants[0])
    for k in range(t.shape[0]):
        t[k] = depth * (power(u[k], depth - 1) * a[k] - power(v[k], depth - 1) * b[k])


@inline
def power_curve(parts, z, vector, scale, constants, out):
    u, v = parts
    a, b = vector
    out_u, out_v = out
    depth = int(constants[0])
    for k in range(z.shape[0]):
        g = scale * depth * (depth - 1) * z[k]
        out_u[k] += g * power(u[k], depth - 2) * a[k]
        out_v[k] -= g * power(v[k], depth - 2) * b[k]


PRODUCT_OF_TWO = family_kernels(
    split=split_pair, weights=pair_weights, pull=pair_pull, push=pair_push, curve=pair_curve, fused_predict=pair_predict
)
PRODUCT = family_kernels(
    split=split_factors, weights=factor_weights, pull=factor_pull, push=factor_push, curve=factor_curve
)
DIFFERENCE = family_kernels(
    split=split_pair, weights=power_weights, pull=power_pull, push=power_push, curve=power_curve
)


class DiagonalNetwork(LinearPredictor):
    """A diagonal linear network of `depth` >= 2 on `inputs` (n, d) and `targets` (n,).

    theta has depth * d entries (product) or 2 d (difference).

    >>> import numpy as np, sgdmodels as sm
    >>> network = sm.models.DiagonalNetwork([[1.0, 2.0]], [3.0])
    >>> network.gradient(np.array([1.0, 1.0, 1.0, 2.0])).tolist()  # residual 2, w = (1, 2)
    [2.0, 8.0, 2.0, 4.0]
    """

    def __init__(self, inputs: ArrayLike, targets: ArrayLike, depth: int = 2, form: str = "product") -> None:
        super().__init__(inputs, targets)
        self.depth = integer("depth", depth, 2, 64)
        self.form = one_of("form", form, ("product", "difference"))
        self.dim = self.features * (self.depth if form == "product" else 2)
        self.settings = {"depth": self.depth, "form": self.form}
        self._store_family([float(self.depth)])

    @property
    def kernels(self) -> LossKernels:
        if self.form == "difference":
            return DIFFERENCE
        return PRODUCT_OF_TWO if self.depth == 2 else PRODUCT

    @property
    def definition(self) -> Definition:
        names = self.factor_names
        factors = [f"{name}[j]" for name in names]
        weight = "*".join(factors)
        if self.form == "difference":
            weight = f"({factors[0]}**{self.depth} - {factors[1]}**{self.depth})"
        return Definition(
            "(p - y)**2/2",
            dict.fromkeys(names, (self.features,)),
            {"x": self.inputs, "y": self.targets},
            predictor=f"sum({weight}*x[j], j)",
        )

    @property
    def factor_names(self) -> tuple[str, ...]:
        """What the definition calls the parts of theta: u and v where there are two, else u1, u2, ..."""
        if self.dim == 2 * self.features:
            return ("u", "v")
        return tuple(f"u{k}" for k in range(1, self.depth + 1))

    def weights(self, theta: ArrayLike) -> FloatArray:
        factors = np.reshape(theta, (-1, self.features))
        if self.form == "product":
            return np.prod(factors, axis=0)
        return factors[0] ** self.depth - factors[1] ** self.depth

    def jacobian(self, theta: ArrayLike) -> FloatArray:
        factors = np.reshape(theta, (-1, self.features))
        if self.form == "product":
            others = [np.prod(np.delete(factors, k, axis=0), axis=0) for k in range(self.depth)]
        else:
            others = [sign * self.depth * f ** (self.depth - 1) for sign, f in zip((1, -1), factors, strict=True)]
        return np.concatenate([np.diag(o) for o in others], axis=1)

    def curvature(self, theta: ArrayLike, z: ArrayLike) -> FloatArray:
        factors, d = np.reshape(theta, (-1, self.features)), self.features
        blocks = np.zeros((len(factors), d, len(factors), d))
        for k in range(len(factors)):
            if self.form == "difference":
                sign = 1 if k == 0 else -1
                blocks[k, :, k] = np.diag(sign * self.depth * (self.depth - 1) * factors[k] ** (self.depth - 2) * z)
                continue
            for m in range(len(factors)):
                if m != k:
                    blocks[k, :, m] = np.diag(z * np.prod(np.delete(factors, [k, m], axis=0), axis=0))
        return blocks.reshape(self.dim, self.dim)
