r"""Mean-square stability with momentum: heavy ball and Nesterov, exactly, without doubling the dimension.

In the eigenbasis of the mean Hessian a kick :math:`\epsilon` to the gradient along direction j moves :math:`x_j` by
:math:`\varphi_t(\lambda_j)\epsilon` t+1 steps later, the impulse response of the noiseless optimiser. With
:math:`x_{t+1} = px_t - qx_{t-1}`,

.. math:: \text{heavy ball: } p = 1+\beta-\eta\lambda,\; q = \beta, \qquad
          \text{Nesterov: } p = 1+\beta-\eta(1+\beta)\lambda,\; q = \beta(1-\eta\lambda),

and :math:`U_t` the solution with :math:`U_0 = 1, U_{-1} = 0`: :math:`\varphi_t = -\eta U_t` and
:math:`\varphi_t = -\eta[(1+\beta)U_t - \beta U_{t-1}]`. Gradient noise of covariance S per step then makes the second
moment :math:`X_{jk} = G_{jk}S_{jk}` of the parameters, and itself stems from X by :math:`S = c_2F(X)` (`pencil`):

.. math:: G_{jk} = \sum_{t\ge0} z^{-t-1}\varphi_t(\lambda_j)\varphi_t(\lambda_k), \qquad
          \text{second moments grow by } z \text{ a step where } c_2\,\rho(X\mapsto G\circ F(X)) = 1

and z exceeds the square of the noiseless factor. The edge is z = 1, where with :math:`x = \eta\lambda_j, y =
\eta\lambda_k`

.. math:: G_{jk} = \frac{\eta^2(1-\beta^2)}{\beta(x-y)^2 + (1-\beta)^2[(1+\beta)(x+y) - xy]} \quad\text{(heavy ball)}

and a ratio of polynomials for Nesterov (`symbolic.derive("momentum_responses")`). For heavy ball 1/G is affine in
:math:`1/\eta`: its edge is a linear eigenvalue problem. G is a positive definite kernel with positive entries, so the
map preserves the cone and is symmetric in :math:`X/\sqrt G`. In one dimension this is the formula of the reference. The
radius rises with the step size (heavy ball: G does, entry by entry and as a kernel; Nesterov: in all instances tested).
Source: Andreyev et al. 2026 in one dimension; Krein and Rutman 1948.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arguments import FloatArray, real
from ..errors import InvalidArgument
from .pencil import Pencil
from .perron import definite, radius_below_one, top_eigenpair

NEAR = 1e-12  # how close to the noiseless factor a growth factor is looked for
SMALLEST = 1e-60  # growth factor that is looked for where there is no noiseless one


@dataclass(frozen=True)
class Momentum:
    """Heavy ball or Nesterov in the notation of PyTorch: v <- beta v + g, no dampening."""

    beta: float
    nesterov: bool

    def recurrence(self, step_size: float, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """p and q of every mode."""
        if self.nesterov:
            return 1 + self.beta - step_size * (1 + self.beta) * values, self.beta * (1 - step_size * values)
        return 1 + self.beta - step_size * values, np.full_like(values, self.beta)

    def noiseless_edge(self, top: float) -> float:
        """The largest stable step size of full-batch gradient descent at curvature `top`."""
        return 2 * (1 + self.beta) / ((1 + 2 * self.beta if self.nesterov else 1) * top)

    def noiseless_factor(self, step_size: float, values: FloatArray) -> float:
        """The slowest decay of a mode without noise, per step."""
        return float(np.abs(roots(*self.recurrence(step_size, values))).max())

    def kernel(self, step_size: float, values: FloatArray, z: float = 1.0) -> FloatArray:
        """G (rank, rank)."""
        response = self.standing(step_size * values) if z == 1 else self.growing(step_size, values, 1 / z)
        return step_size**2 * response

    def standing(self, x: FloatArray) -> FloatArray:
        """G / step_size^2 for z = 1, without the cancellation of 1 - r r' for roots r of modulus close to 1."""
        beta, rest = self.beta, 1 - self.beta
        total, product, distance = x[:, None] + x, np.multiply.outer(x, x), np.subtract.outer(x, x) ** 2
        drift = rest**2 * (1 + beta) * total
        still = rest * (1 + beta)
        if not self.nesterov:
            response: FloatArray = still / (beta * distance + drift - rest**2 * product)
            return response
        late = beta * (1 + beta - beta**2)
        last = beta**2 * (1 + 2 * beta) * product
        mixed = beta * (3 * beta**2 - 1) * total + rest * (6 * rest**2 - 15 * rest + 8) - last
        ahead: FloatArray = (late * total + last + still) / (late * distance + drift + product * mixed)
        return ahead

    def growing(self, step_size: float, values: FloatArray, w: float) -> FloatArray:
        """G / step_size^2 for any z = 1 / w, from the roots of the recurrence."""
        p, q = self.recurrence(step_size, values)
        r = roots(p, q)
        poles = np.prod([1 - w * np.multiply.outer(a, b) for a in r for b in r], axis=0).real  # exact next to a pole
        both = 1 - w**2 * np.multiply.outer(q, q)  # over the poles: the generating function of U_t U_t'
        if self.nesterov:
            late = np.multiply.outer(q, p)  # and that of U_t U_(t-1)' + U_(t-1) U_t'
            cross = w * (p[:, None] + p) - w**2 * (late + late.T)
            both = ((1 + self.beta) ** 2 + w * self.beta**2) * both - self.beta * (1 + self.beta) * cross
        response: FloatArray = w * both / poles
        return response


@dataclass(frozen=True)
class MomentumMap:
    """X -> c_2 G o F(X) in the variables X / sqrt(G), in the units of a pencil with ell = 1."""

    pencil: Pencil
    momentum: Momentum

    def noise(self, x: FloatArray) -> FloatArray:
        """c_2 F(X)."""
        return self.pencil.noise.c2 * self.pencil.spread(x)

    def solve(self, step_size: float, z: float = 1.0, start: FloatArray | None = None) -> tuple[float, FloatArray]:
        """The radius, and the Perron vector as X (rank, rank)."""
        root = np.sqrt(self.momentum.kernel(step_size, self.pencil.values, z))
        seed = np.diag(1 / np.diag(root)) if start is None else start / root
        radius, y = top_eigenpair(lambda y: root * self.noise(root * y), seed)
        return radius, root * y

    def stable(self, step_size: float, x: FloatArray) -> bool:
        """Whether mean-square stability at `step_size` is proven; x is close to the Perron vector."""
        kernel = self.momentum.kernel(step_size, self.pencil.values)
        root = np.sqrt(kernel)

        def inside(y: FloatArray, rest: FloatArray) -> bool:
            return definite(root * y) and definite(rest / root)

        source = root * np.eye(len(root))
        return radius_below_one(lambda y: root * self.noise(root * y), source, x / root, inside)

    def residual(self, step_size: float, x: FloatArray) -> float:
        """How far x is from standing still, relative, in the variables of the symmetric problem."""
        if self.noiseless(step_size):
            return 0.0
        root = np.sqrt(self.momentum.kernel(step_size, self.pencil.values))
        return float(np.linalg.norm(root * self.noise(x) - x / root) / np.linalg.norm(x / root))

    def overshoot(self, step_size: float, x: FloatArray) -> float:
        """How far above `step_size` instability is proven: a Rayleigh quotient of x of at least 1."""
        margin = 1e-13
        while margin < 1 and not self.noiseless(step_size * (1 + margin)):
            root = np.sqrt(self.momentum.kernel(step_size * (1 + margin), self.pencil.values))
            y = x / root
            if np.vdot(y, root * self.noise(x)) >= np.vdot(y, y):
                return margin
            margin *= 10
        return margin

    def noiseless(self, step_size: float) -> bool:
        """Whether full-batch gradient descent is at its edge or beyond."""
        return step_size >= self.momentum.noiseless_edge(1.0) * (1 - 1e-13)

    def edge(self, tolerance: float) -> tuple[float, FloatArray]:
        """The step size where the radius is 1, to relative `tolerance`, and X there."""
        from scipy.optimize import brentq

        top = self.momentum.noiseless_edge(1.0)
        rank = len(self.pencil.values)
        noiseless = np.zeros((rank, rank))
        noiseless[-1, -1] = 1.0
        mode = noiseless
        if self.pencil.noise.c2 == 0:
            return top, noiseless

        def excess(inverse: float) -> float:  # nearly linear in the inverse step size
            nonlocal mode
            radius, x = self.solve(1 / inverse, start=mode + np.eye(rank) * np.trace(mode) / (10 * rank))
            mode = x / np.trace(x)
            return 1 / radius - 1 if radius > 0 else np.inf

        low = (1 + 1e-13) / top
        if excess(low) >= 0:  # no noise along the mode that the noiseless edge excites
            return top, noiseless
        high = 2 * low
        while excess(high) < 0:
            low, high = high, 2 * high
        inverse = brentq(excess, low, high, xtol=1e-300, rtol=max(1e-14, tolerance / 10))
        excess(inverse)
        return 1 / inverse, mode

    def growth_factor(self, step_size: float) -> float:
        """z: the factor by which second moments grow a step, in the units of the pencil."""
        from scipy.optimize import brentq

        floor = self.momentum.noiseless_factor(step_size, self.pencil.values) ** 2
        least = max(floor, SMALLEST)

        def excess(log_distance: float) -> float:
            radius = self.solve(step_size, least * (1 + math.exp(log_distance)))[0]
            return 1 / radius - 1 if radius > 0 else np.inf

        low = math.log(NEAR)
        if self.pencil.noise.c2 == 0 or excess(low) >= 0:
            return floor
        high = 1.0
        while excess(high) < 0:
            high += 2.0
        return least * (1 + math.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))


def roots(p: FloatArray, q: FloatArray) -> FloatArray:
    """Both roots of r^2 - p r + q, shape (2, rank), complex."""
    root = np.sqrt(p.astype(np.complex128) ** 2 - 4 * q)
    larger = (p + np.where(p >= 0, 1, -1) * root) / 2  # the smaller one from the product, without cancellation
    both: FloatArray = np.array([larger, q / np.where(larger == 0, 1, larger)])
    return both


def checked_momentum(momentum: float, nesterov: bool, ell: float = 1) -> Momentum | None:
    """Momentum as given, None if there is none; `ell` is checked."""
    beta = real("momentum", momentum, 0.0, 1.0)
    if not isinstance(nesterov, bool | np.bool_):
        raise InvalidArgument(f"nesterov must be True or False, got {nesterov!r}")
    if nesterov and beta == 0:
        raise InvalidArgument("nesterov=True needs momentum > 0, got momentum=0.0; set momentum or drop nesterov")
    if beta and ell != 1:
        raise InvalidArgument(
            f"ell must be 1 with momentum, got ell={ell:g} and momentum={beta}: SVAG and the SDE have none; drop one"
        )
    return Momentum(beta, bool(nesterov)) if beta else None
