r"""The quadratic model frozen at any point of any loss: its mean-square edge, and the type of oscillation there.

.. math:: l_i(\theta + x) \approx l_i(\theta) + g_i^Tx + \tfrac12x^TH_ix

Around a point with these Hessians second moments of SGD grow by the factor `radius` a step. Where a run hovers, the
oscillation is of *type 1* if the radius is below 1, a stationary wobble that the noise keeps up, and of *type 2* if it
is at least 1, an instability that only the rest of the loss holds. Directions without positive mean curvature are left
out (a loss with flat directions would be of type 2 everywhere); `lambda_min` says how negative the others are.
Source: the distinction is that of Andreyev and Beneventano 2024, its definition by the frozen model this project's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import FloatArray, real
from ..errors import InvalidArgument
from .edges import mean_square_edge
from .epochs import epoch_max_step_size, epoch_radius
from .pencil import NoPositiveCurvature, batch_noise, hessian_population, pencil
from .population import Population
from .second_moment import second_moment_radius

if TYPE_CHECKING:
    import xarray as xr

ROUNDING = 1e-9
NAMES = {
    "max_step_size": "mean-square edge of the frozen quadratic",
    "lower": "step size proven stable (epochs: two standard errors below the edge)",
    "upper": "step size proven unstable (epochs: two standard errors above the edge)",
    "lambda_max": "largest mean curvature",
    "lambda_min": "smallest mean curvature",
    "radius": "growth factor of second moments per step",
    "oscillation_type": "1: stationary wobble, 2: instability",
}


@dataclass(frozen=True)
class FrozenEdge:
    """The edge at a point. radius and oscillation_type (1 or 2) need a step_size, and are None without."""

    max_step_size: float
    lower: float
    upper: float
    lambda_max: float
    lambda_min: float
    step_size: float | None = None
    radius: float | None = None

    @property
    def oscillation_type(self) -> int | None:
        if self.radius is None or self.step_size is None:
            return None
        close = abs(self.radius - 1) < ROUNDING  # as at tiny step sizes: the edge tells
        stable = self.step_size < self.max_step_size if close else self.radius < 1
        return 1 if stable else 2


def frozen_hessians(model: Any, theta: ArrayLike) -> FloatArray:
    """H_i (n, d, d) of `model` at theta (d,), or a_i (n, d) where the loss knows that H_i = a_i a_i'."""
    directions: FloatArray | None = model.sample_directions(theta)
    hessians: FloatArray = model.sample_hessians(theta) if directions is None else directions
    return hessians


def frozen_system(model: Any, theta: ArrayLike) -> FloatArray:
    """Augmented matrices (n, d+1, d+1) of the quadratic model of `model` at theta (d,), in the displacement x.

    For `second_moment_map` and `stationary_moment`: z = (x, 1).

    >>> import sgdmodels as sm
    >>> frozen_system(sm.models.LeastSquares([[2.0]], [1.0]), [1.0]).tolist()  # H = 4, g = 2 (2 - 1)
    [[[4.0, 2.0], [0.0, 0.0]]]
    """
    hessians = model.sample_hessians(theta)
    system = np.zeros((len(hessians), hessians.shape[1] + 1, hessians.shape[1] + 1))
    system[:, :-1, :-1] = hessians
    system[:, :-1, -1] = model.sample_gradients(theta)
    return system


def edge(
    model: Any,
    theta: ArrayLike | xr.DataArray,
    batch_size: int,
    sampling: str = "without_replacement",
    *,
    step_size: float | xr.DataArray | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    ell: float = 1,
) -> FrozenEdge | xr.Dataset:
    """The mean-square edge of the quadratic model of any loss at any point, or along a run.

    theta: a vector (d,), which gives a `FrozenEdge`; or a stored run's ``run.params`` with dims (replica, step,
    parameter), which gives a Dataset of the same quantities over (replica, step), NaN where the run has diverged or no
    mean curvature is positive. With `step_size` (a number, or ``run.step_size``) the radius and the type of oscillation
    are added. Other arguments as of `max_step_size`. Raises InvalidArgument, at a single point also where no mean
    curvature is positive.

    >>> import sgdmodels as sm
    >>> model = sm.models.LeastSquares([[1.0], [2.0]], [0.0, 0.0])  # curvatures 1 and 4
    >>> point = edge(model, [3.0], batch_size=1, step_size=0.5)
    >>> round(point.max_step_size, 9), point.oscillation_type  # 2 E h / E h^2 = 5 / 8.5
    (0.588235294, 1)
    """
    options = {"momentum": momentum, "nesterov": nesterov, "ell": ell}
    dims = getattr(theta, "dims", ("parameter",))
    if dims == ("parameter",):
        eta = None if step_size is None else real("step_size", step_size, open_low=True)
        point = getattr(theta, "values", theta)
        return point_edge(frozen_hessians(model, point), batch_size, sampling, eta, options)
    return along(model, theta, batch_size, sampling, step_size, options)


def point_edge(
    hessians: FloatArray, batch_size: int, sampling: str, step_size: float | None, options: dict[str, Any]
) -> FrozenEdge:
    """The edge at given Hessians."""
    population = hessian_population(hessians)
    spectrum = np.linalg.eigvalsh(population.mean)
    if sampling == "epoch":
        edge, lower, upper, radius = epoch_edge(population, batch_size, step_size, options)
    else:
        found = mean_square_edge(hessians, batch_size, sampling, **options)
        edge, lower, upper = found.step_size, found.lower, found.upper
        radius = None
        if step_size is not None:
            radius = second_moment_radius(hessians, step_size, batch_size, sampling, **options)
    return FrozenEdge(edge, lower, upper, float(spectrum[-1]), float(spectrum[0]), step_size, radius)


def epoch_edge(
    population: Population, batch_size: int, step_size: float | None, options: dict[str, Any]
) -> tuple[float, float, float, float | None]:
    """Edge, two standard errors either side, and radius of shuffled epochs in directions of positive curvature."""
    if options["ell"] != 1:
        raise InvalidArgument(f"ell must be 1 with epochs, got ell={options['ell']}")
    system = pencil(population, batch_noise(population, batch_size, "epoch"))
    kept = system.scale * system.samples.stacked()
    momentum = {name: options[name] for name in ("momentum", "nesterov")}
    found = epoch_max_step_size(kept, batch_size, **momentum)
    radius = None if step_size is None else epoch_radius(kept, step_size, batch_size, **momentum)
    margin = 2 * found.standard_error
    return found.step_size, found.step_size - margin, found.step_size + margin, radius


def along(
    model: Any, theta: Any, batch_size: int, sampling: str, step_size: Any, options: dict[str, Any]
) -> xr.Dataset:
    """The edge at every stored point of a run."""
    import xarray as xr

    if theta.dims != ("replica", "step", "parameter"):
        raise InvalidArgument(
            f"theta must be a vector or have dims (replica, step, parameter), got {theta.dims}; pass run.params"
        )
    points = theta.values
    sizes = None if step_size is None else step_sizes(theta, step_size)
    names = tuple(NAMES) if step_size is not None else tuple(NAMES)[:-2]
    values = {name: np.full(points.shape[:2], np.nan) for name in names}
    for r, t in np.ndindex(points.shape[:2]):
        if not np.isfinite(points[r, t]).all():
            continue
        eta = None if sizes is None else real("step_size", sizes[r, t], open_low=True)
        with suppress(NoPositiveCurvature):
            found = point_edge(frozen_hessians(model, points[r, t]), batch_size, sampling, eta, options)
            for name in names:
                values[name][r, t] = getattr(found, name)
    variables = {name: (("replica", "step"), values[name], {"long_name": NAMES[name]}) for name in names}
    coords = {name: theta.coords[name] for name in ("replica", "step")}
    return xr.Dataset(variables, coords, attrs={"batch_size": batch_size, "sampling": sampling, **attributes(options)})


def step_sizes(theta: xr.DataArray, step_size: Any) -> FloatArray:
    """The step size at every point (replica, step)."""
    if not hasattr(step_size, "dims"):
        return np.full(theta.shape[:2], real("step_size", step_size, open_low=True))
    known = all(
        name in ("replica", "step") and np.array_equal(step_size.coords[name], theta.coords[name])
        for name in step_size.dims
    )
    if not known:
        raise InvalidArgument(
            f"step_size must be a number or have the steps of theta, got dims {dict(step_size.sizes)} for theta with "
            f"{dict(theta.sizes)}; pass run.step_size of the same run"
        )
    spread: FloatArray = step_size.broadcast_like(theta[..., 0]).transpose("replica", "step").values
    return spread


def attributes(options: dict[str, Any]) -> dict[str, Any]:
    """Options as a file keeps them: numbers."""
    return {name: int(value) if isinstance(value, bool | np.bool_) else value for name, value in options.items()}
