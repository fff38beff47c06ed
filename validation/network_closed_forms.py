"""Networks in torch against the closed forms of the same losses; writes network_closed_forms.md beside it.

Run with `python validation/network_closed_forms.py` (about five minutes on one core; needs torch). Least squares,
diagonal and linear networks are written below as torch modules from their definitions, in float64, and
* measured: every metric at three random points, in four samplings, against `sm.measure` of the closed form (eigenvalues
  against the dense Hessians of the closed form);
* trained: 500 steps of every law of sample weights, against `sm.simulate` of the closed form from the same draws.
The exit code is 1 if a deviation is above the tolerance beside it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import sgdmodels as sm
from sgdmodels.arguments import FloatArray
from sgdmodels.models import Model
from sgdmodels.networks import METRICS as NETWORK_METRICS
from sgdmodels.networks import Accuracy, Probe, losses, train
from sgdmodels.sampling import SCHEMES

SAMPLES, FEATURES, POINTS, STEPS, SEED = 6, 3, 3, 500, 20260
CLOSED, PATH = 1e-10, 1e-12  # of a metric, relative; of a path, relative to the largest parameter
SIZES = {"with_replacement": (1, 2, 3)}  # batches of which all can be enumerated on both sides
ALL_SIZES = (1, 2, 4, 6)
MEAN_OF_TOP = 1e-5  # the relative residual of each batch's eigenvalue in minibatch_lambda_max
EDGE = 1e-6  # the tolerance of the closed form's own pencil
GAUSS_NEWTON = "gauss_newton_"
SUMMARY = """Every metric at {points} random points of each loss and sampling ({schemes}), at b in {sizes} (with
replacement {few}); then paths of {steps} steps from the same draws, every tenth recorded. Losses are on {samples}
samples with {features} features, networks in float64. `lambda_max` is compared with the dense Hessian of the closed
form, at most the stated residual off; `mean_square_sharpness` and `minibatch_lambda_max` to the tolerance of the
iteration behind them; Gauss-Newton metrics with quadratics of the same Jacobians; all else to rounding. A path's
deviation is the largest of any parameter at any record over the largest parameter there."""


class Linear(nn.Module):
    """f = theta . x."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(FEATURES, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.theta


class Diagonal(nn.Module):
    """f = (u1 * ... * uD) . x, or (u^D - v^D) . x."""

    def __init__(self, depth: int, form: str) -> None:
        super().__init__()
        self.depth, self.form = depth, form
        count = depth if form == "product" else 2
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros(FEATURES, dtype=torch.float64)) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "product":
            weights = self.factors[0]
            for factor in list(self.factors)[1:]:
                weights = weights * factor
        else:
            weights = self.factors[0] ** self.depth - self.factors[1] ** self.depth
        return x @ weights


class TwoLayers(nn.Module):
    """f = w (v . x)."""

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.zeros(FEATURES, dtype=torch.float64))
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * (x @ self.v)


def diagonal(depth: int, form: str) -> tuple[Callable[..., Model], Callable[[], nn.Module]]:
    return (lambda x, y: sm.models.DiagonalNetwork(x, y, depth=depth, form=form)), (lambda: Diagonal(depth, form))


LOSSES: dict[str, tuple[Callable[..., Model], Callable[[], nn.Module]]] = {
    "least squares": (sm.models.LeastSquares, Linear),
    "u v": diagonal(2, "product"),
    "u1 u2 u3": diagonal(3, "product"),
    "u^2 - v^2": diagonal(2, "difference"),
    "u^3 - v^3": diagonal(3, "difference"),
    "linear network": (sm.models.LinearNetwork, TwoLayers),
}


def dynamics_at(eta: float, bottom: FloatArray | None = None) -> dict[str, sm.dynamics.Dynamics]:
    """Every kind of step that a network takes; `bottom`: where the Ornstein-Uhlenbeck process is linearised."""
    momenta = {"heavy ball": {"momentum": 0.5}, "Nesterov": {"momentum": 0.5, "nesterov": True}}
    return {
        "GD": sm.GD(eta),
        **{f"SGD, {scheme.replace('_', ' ')}": sm.SGD(eta, 3, sampling=scheme) for scheme in SCHEMES},
        **{f"SGD, {name}": sm.SGD(eta / 2, 3, **given) for name, given in momenta.items()},
        "SGD, schedules": sm.SGD([(0, eta), (177, eta / 2)], [(0, 2), (230, 5)]),
        "noisy GD, full": sm.NoisyGD(eta, 3),
        "noisy GD, full, stale": sm.NoisyGD(eta, 3, refresh=30),
        "noisy GD, diagonal": sm.NoisyGD(eta, 3, "diagonal"),
        "noisy GD, isotropic": sm.NoisyGD(eta, 3, "isotropic"),
        "noisy GD, constant": sm.NoisyGD(eta, 3, "constant", scale=0.1),
        "SDE": sm.SDE(eta, 3, substeps=4),
        "SDE of order 2": sm.SDE(eta, 3, order=2, substeps=4),
        "epoch SDE": sm.EpochSDE(eta, 3, substeps=4),
        "SVAG": sm.SVAG(eta, 3, ell=4),
        "label noise": sm.LabelNoiseSGD(eta, 3, scale=0.1),
        "Levy SDE": sm.LevySDE(eta, alpha=1.7, scale=0.001, substeps=4),
        "homogenized SGD": sm.HomogenizedSGD(eta, 3, substeps=4),
        "Ornstein-Uhlenbeck": sm.OrnsteinUhlenbeck(eta, 3, point=bottom, substeps=4),
        "gradient flow": sm.GradientFlow(eta, substeps=4),
        "implicit regularization flow": sm.ImplicitRegularizationFlow(eta, substeps=4),
        "reshuffling flow": sm.ReshufflingFlow(eta, 3, substeps=4),
    }  # fmt: skip


ONLY_FOR = {"homogenized SGD": ("least squares",)}  # it needs a loss of squared residuals that is linear in theta


def twins(name: str, rng: np.random.Generator) -> tuple[Model, Probe]:
    """A closed form and its network on the same random data."""
    x, y = rng.standard_normal((SAMPLES, FEATURES)), rng.standard_normal(SAMPLES)
    closed, net = LOSSES[name]
    accuracy = Accuracy(tolerance=1e-6, eigenvalue_batches=1024)  # so many batches are enumerated on both sides
    return closed(x, y), Probe(net(), losses.squared_error, x, y, accuracy=accuracy)


def linearised(model: Model, theta: FloatArray) -> Model:
    """Quadratics whose gradients at 0 are the loss's at theta, and whose Hessians are J_i J_i' = g_i g_i' / 2 l_i."""
    g, twice = model.sample_gradients(theta), 2 * model.sample_losses(theta)
    hessians = np.einsum("ni,nj->nij", g, g) / twice[:, None, None]
    return sm.models.Quadratics(hessians, -g * (twice / (g * g).sum(1))[:, None])


def measured(name: str, rng: np.random.Generator, worst: dict[str, tuple[float, float]]) -> None:
    """Deviations of every metric of one loss, with the tolerance of the one that comes closest to breaking it."""
    model, probe = twins(name, rng)
    network_names = [metric.name for metric in NETWORK_METRICS]
    for _, sampling in itertools.product(range(POINTS), SCHEMES):
        theta, sizes = rng.standard_normal(model.dim), list(SIZES.get(sampling, ALL_SIZES))
        flat = linearised(model, theta)
        names = [metric.name for metric in sm.METRICS]
        mine = probe.measure(sizes, sampling=sampling, metrics=[*names, *network_names], theta=theta)
        theirs = sm.measure(model, theta, sizes, sampling=sampling, metrics=names)
        bare = [n.removeprefix(GAUSS_NEWTON) for n in network_names if n.startswith(GAUSS_NEWTON)]
        of_flat = sm.measure(flat, np.zeros(model.dim), sizes, sampling=sampling, metrics=bare)
        for metric in mine.data_vars:
            if metric not in (*names, *network_names):
                continue
            plain = metric.removeprefix(GAUSS_NEWTON)
            truth = (of_flat if metric != plain else theirs)[plain.removesuffix("_by_batches")].values
            tolerance = {"mean_square_sharpness": EDGE, "minibatch_lambda_max": MEAN_OF_TOP}.get(plain, CLOSED)
            if plain == "lambda_max":
                loss, at = (flat, np.zeros(model.dim)) if metric != plain else (model, theta)
                truth = np.linalg.eigvalsh(loss.hessian(at))[-1]
                tolerance = max(CLOSED, float(mine[f"{metric}_residual"]))
            if (mine[f"{metric}_standard_error"] != 0).any():
                raise SystemExit(f"{metric} was not measured exactly")
            found = float(np.abs(mine[metric].values / truth - 1).max())
            before = worst.get(metric, (0.0, CLOSED))
            worst[metric] = max(before, (found, tolerance), key=lambda pair: pair[0] / pair[1])


def path_deviations(name: str, rng: np.random.Generator) -> dict[str, float]:
    """Of every dynamics, between the network and the closed form; NaN where the path itself diverged."""
    model, probe = twins(name, rng)
    theta = 0.7 * rng.standard_normal(model.dim)
    eta = 0.3 / float(np.linalg.eigvalsh(model.sample_hessians(theta)).max())
    descent = sm.simulate(model, sm.GD(eta), 20_000, theta, metrics=(), record_every=20_000, keep_params=True)
    found = {}
    for label, dynamics in dynamics_at(eta, descent.params.values[0, -1]).items():
        if name not in ONLY_FOR.get(label, (name,)):
            continue
        common = {"steps": STEPS, "record_every": 10, "metrics": (), "seed": SEED, "keep_params": True, "init": theta}
        closed = sm.simulate(model, dynamics, progress=False, **common).params.values[0]
        mine = train(probe.net, probe, dynamics, progress=False, **common).params.values[0]
        gap = np.abs(mine - closed).max(1) / np.abs(closed).max(1)
        found[label] = float(gap.max()) if np.isfinite(closed).all() else np.nan
    return found


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]] + [""]


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    worst: dict[str, tuple[float, float]] = {}
    for name in LOSSES:
        measured(name, rng, worst)
        print(f"measured: {name}", flush=True)
    verdict = {True: "yes", False: "**no**"}
    kept = [value <= tolerance for value, tolerance in worst.values()]
    metric_rows = [
        [metric, f"{value:.0e}", f"{tolerance:.0e}", verdict[value <= tolerance]]
        for metric, (value, tolerance) in worst.items()
    ]
    paths = {}
    for name in LOSSES:
        paths[name] = path_deviations(name, rng)
        print(f"trained: {name}", flush=True)
    path_rows = []
    for label in dynamics_at(1.0):
        values = [paths[name].get(label) for name in LOSSES]
        good = all(value is None or value <= PATH for value in values)  # not where it is NaN
        kept.append(good)
        cells = ["-" if value is None else f"{value:.0e}" for value in values]
        path_rows.append([label, *cells, f"{PATH:.0e}", verdict[good]])
    told = SUMMARY.format(
        points=POINTS, schemes=", ".join(s.replace("_", " ") for s in SCHEMES), sizes=ALL_SIZES,
        few=SIZES["with_replacement"], steps=STEPS, samples=SAMPLES, features=FEATURES,
    )  # fmt: skip
    lines = ["# Networks against closed forms", "", "Written by `network_closed_forms.py`.", "", told, ""]
    lines += ["## Metrics: worst relative deviation over losses, points, samplings and batch sizes", ""]
    lines += table(["metric", "worst", "tolerance", "met?"], metric_rows)
    lines += [f"## Paths: worst deviation over {STEPS} steps, relative to the largest parameter", ""]
    lines += table(["dynamics", *LOSSES, "tolerance", "met?"], path_rows)
    text = "\n".join(lines)
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
