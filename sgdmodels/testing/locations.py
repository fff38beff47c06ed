"""Parameters of a loss: at zero, anywhere, near minima, near saddles, far away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from ..arguments import FloatArray
from ..models import DiagonalNetwork, GatedQuadratic, LinearNetwork, Model, Quadratics
from ..models.linear_predictor import LinearPredictor
from .data import FEATURES
from .entries import arrays, chosen

PLACES = ("zero", "generic", "minimum", "saddle", "far")
FAR = 100.0
NEWTON_STEPS = 30
LONGEST = 2.0  # of a Newton step
DISTANCES = (0.0, 2.0**-30, 2.0**-20, 2.0**-10, 2.0**-4)  # from a minimum or saddle, in units of an entry


@st.composite
def parameters(draw: st.DrawFn, model: Model, where: str | Sequence[str] | None = None) -> FloatArray:
    """Strategy for parameters (d,) of `model`, at the places named, or at all of them.

    ``"zero"``; ``"generic"``, of order one; ``"minimum"`` and ``"saddle"``, there or a little beside it, in closed form
    where a loss has a known one (for a saddle: zero, where factors multiply), else from a generic point by damped
    Newton steps, downhill for a minimum, towards any stationary point for a saddle; ``"far"``, of order 100. A loss
    without a minimum (`SharpeningLeastSquares`) gives that of its squared error. Shrinks to zero.

    >>> from hypothesis import find
    >>> import sgdmodels as sm
    >>> model = sm.models.LeastSquares([[2.0]], [6.0])
    >>> find(parameters(model, "minimum"), lambda theta: theta.shape == (1,)).tolist()
    [3.0]
    """
    names = where if where is None or isinstance(where, str) else tuple(where)
    place = draw(st.sampled_from(chosen("where", names, PLACES)))
    if place == "zero":
        return np.zeros(model.dim)
    start = draw(arrays((model.dim,), draw(st.sampled_from(("simple", "gaussian"))), box=(FEATURES,)))
    if place == "generic":
        return start
    if place == "far":
        start[0] += 1.0 if start[0] >= 0 else -1.0
        return FAR * start
    imbalance = 2.0 ** draw(st.integers(-2, 2))
    base = _minimum(model, start, imbalance) if place == "minimum" else _saddle(model, start)
    return base + draw(st.sampled_from(DISTANCES)) * start


def _minimum(model: Model, start: FloatArray, imbalance: float) -> FloatArray:
    """A minimum in closed form; `imbalance` chooses one where factors may be traded for each other."""
    if isinstance(model, Quadratics):
        mean = model.hessians.mean(axis=0)
        if np.linalg.eigvalsh(mean)[0] >= 0:
            force = np.einsum("nij,nj->i", model.hessians, model.centers) / model.samples
            return np.linalg.lstsq(mean, force, rcond=None)[0]
    if isinstance(model, LinearPredictor):
        w: FloatArray = np.linalg.lstsq(model.inputs, model.targets, rcond=None)[0].astype(np.float64)
        if isinstance(model, LinearNetwork):
            return np.append(w / imbalance, imbalance)
        if isinstance(model, DiagonalNetwork):
            return _factors(model, w, imbalance)
        return w
    if isinstance(model, GatedQuadratic) and model.stiffness > 0:
        x = np.linalg.lstsq(model.directions, model.offsets, rcond=None)[0]
        square = float(np.mean((model.directions @ x - model.offsets) ** 2))
        gate = model.target - square / (2 * model.stiffness)
        if gate > 0:  # else x escapes
            return np.append(x, gate)
    return _newton(model, start, downhill=True)


def _factors(model: DiagonalNetwork, w: FloatArray, imbalance: float) -> FloatArray:
    """Factors whose product, or powers whose difference, is w."""
    root = np.abs(w) ** (1 / model.depth)
    if model.form == "difference":
        return np.concatenate([np.where(w > 0, root, 0.0), np.where(w < 0, root, 0.0)])
    factors = np.tile(root, (model.depth, 1))
    factors[0] *= np.sign(w) * imbalance
    factors[1] /= imbalance
    return factors.ravel()


def _saddle(model: Model, start: FloatArray) -> FloatArray:
    """Zero where factors multiply, the centre of indefinite quadratics, else a stationary point that Newton finds."""
    if isinstance(model, DiagonalNetwork | LinearNetwork):
        return np.zeros(model.dim)
    return _newton(model, start, downhill=False)


def _newton(model: Model, start: FloatArray, *, downhill: bool) -> FloatArray:
    """Newton steps of bounded length; with |H| in place of H they go downhill."""
    theta = start.copy()
    for _ in range(NEWTON_STEPS):
        gradient = model.sample_gradients(theta).mean(axis=0)
        values, vectors = np.linalg.eigh(model.sample_hessians(theta).mean(axis=0))
        scale = float(np.abs(values).max())
        keep = np.abs(values) > 1e-12 * scale
        if not keep.any():
            break
        curvatures = np.abs(values[keep]) if downhill else values[keep]
        step = vectors[:, keep] @ ((vectors[:, keep].T @ gradient) / curvatures)
        theta = theta - step * min(1.0, LONGEST / max(float(np.linalg.norm(step)), 1e-300))
    return theta
