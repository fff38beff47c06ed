r"""Batch Sharpness along the steps that an optimizer takes, where these are not -eta g_B.

For a step -eta u_B the loss of its own batch changes, to second order and on quadratics exactly, by

.. math:: E[L_B(\theta - \eta u_B) - L_B(\theta)] = -\eta\,E[u_B^Tg_B] + \tfrac{\eta^2}2 E[u_B^TH_Bu_B]

which vanishes where E[u'H_B u] / E[u'g_B] = 2 / eta: the edge of every ratio here. The expectations are over batches,
the optimizer's state is the present one. Sources: arXiv 2604.14108 (momentum); Cohen et al. 2022, arXiv 2207.14484
(preconditioned sharpness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...arguments import FloatArray, integer, one_of
from ...batches import Batches, all_batches, number_of_batches
from ...dataset import BESIDE, provenance
from ...errors import InvalidArgument
from ...measure import checked_batch_sizes
from ...metrics import Snapshots
from ...metrics.batch_average import random_batches
from ...sampling import SCHEMES
from ..estimators.intervals import Estimate, mean_interval, ratio_interval
from ..estimators.lanczos import largest_eigenvalues
from ..point import Point
from ..probe import Probe
from .optimizer_steps import OptimizerSteps

if TYPE_CHECKING:
    import xarray as xr

BATCHES = 256
SMALLEST = 1e-12  # slopes below are skipped in the mean of ratios, as in the published code
PER_BATCH = {
    "step_sharpness": "E[u'H_B u] / E[u'g_B] for the optimizer's next step -eta u",
    "momentum_sharpness": "E[s'H_B s] / E[s'g_B] with s = beta v + g_B",
    "preconditioned_batch_sharpness": "E[u'H_B u] / E[u'g_B] with u = P^-1 g_B",
}
MEAN_RATIO = "momentum_sharpness_mean_ratio"
NOTHING = Estimate(*(np.asarray(np.nan) for _ in range(4)))


def optimizer_sharpness(
    probe: Probe,
    optimizer: torch.optim.Optimizer,
    batch_size: int | Sequence[int] = 1,
    *,
    sampling: str = "without_replacement",
    batches: int = BATCHES,
    seed: int = 0,
    step: int = 0,
    memory: dict[str, Any] | None = None,
) -> xr.Dataset:
    r"""How close the next step of `optimizer` is to its edge, at the present parameters and state (neither is changed).

    step_sharpness
        :math:`E[u_B^TH_Bu_B]/E[u_B^Tg_B]` for the step -eta u_B that the optimizer would take with g_B, edge 2/eta;
        plain SGD: Batch Sharpness. step_slope, step_curvature are its two expectations: with a negative slope the step
        climbs on average, and no ratio calls it stable.
    frozen_step_sharpness
        :math:`E[s^TH_Bs]/(-E[s^Tg_B])` as published, s = -eta w the step that the buffer w alone would make, without
        g_B; dimensionless, edge 2. As s is no function of B this is :math:`s^T\bar Hs/(-s^T\bar g)`: the same
        at every batch size, and computed exactly. Where there is momentum.
    momentum_sharpness
        :math:`E[s^TH_Bs]/E[s^Tg_B]` with s = beta v + g_B, and momentum_sharpness_mean_ratio, the published
        :math:`E[s^TH_Bs/s^Tg_B]` over \|s'g_B\| >= 1e-12: heavy-tailed, as s'g_B changes sign; edge 2/eta. SGD with
        momentum; the two steps agree without dampening, Nesterov and weight decay.
    preconditioned_batch_sharpness
        :math:`E[u^TH_Bu]/E[u^Tg_B]` with u = P^-1 g_B, edge 2/eta for such a step. RMSprop and Adam, whose momentum
        is left out: with it, full-batch Adam settles :math:`(1+\beta_1)/(1-\beta_1)` times as high.
    preconditioned_lambda_max
        largest eigenvalue of :math:`P^{-1/2}\bar HP^{-1/2}`, edge 2/eta for RMSprop, 2 (1 + mu)/eta with its momentum,
        :math:`2(1+\beta_1)/((1-\beta_1)\eta)` for Adam (38/eta at 0.9).

    NAME_scaled is NAME over its edge. Means over all batches where these are at most `batches`, else over that many
    random ones with Fieller's 95 % interval; they are a pure function of seed and step. NaN where the optimizer has no
    state yet, and where a number is not finite. `memory` keeps the eigenvector for a next call.

    Raises InvalidArgument: see `OptimizerSteps`.

    >>> import torch
    >>> from sgdmodels.networks import Probe, losses
    >>> net = torch.nn.Linear(1, 1, bias=False).double()
    >>> probe = Probe(net, losses.squared_error, torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1))  # H = 1, 4; g = H w
    >>> at = optimizer_sharpness(probe, torch.optim.SGD(net.parameters(), lr=0.5), [1, 2])
    >>> at.step_sharpness.values.round(12).tolist(), float(at.step_sharpness_scaled[1].round(12))  # 65/17; 2.5
    ([3.823529411765, 2.5], 0.625)
    """
    import xarray as xr

    if not isinstance(probe, Probe):
        raise InvalidArgument(f"probe must be a Probe of the network and its data, got {type(probe).__name__}")
    sizes = checked_batch_sizes(probe, batch_size)
    one_of("sampling", sampling, SCHEMES)
    draws = integer("batches", batches, 2)
    integer("seed", seed, 0, 2**64 - 1)
    integer("step", step, 0)
    steps = OptimizerSteps(optimizer, probe.net)
    snapshots = Snapshots(
        probe, probe.parameters()[None, None], np.zeros(1, dtype=np.int64), np.array([step]), sizes, sampling, seed
    )
    theta = torch.cat([part.values for part in steps.parts])
    point = Point(
        probe.objective, theta, probe.accuracy, sizes, sampling, seed, 0, step, {} if memory is None else memory
    )
    with np.errstate(all="ignore"):  # what diverges overflows on its way out: data, not a warning
        columns = [at_batch_size(point, steps, snapshots, b, draws) for b in sizes]
        found = {name: np.array([column[name] for column in columns], dtype=np.float64) for name in columns[0]}
        found |= {name: np.asarray(value) for name, value in of_mean_loss(point, steps).items()}
    variables: dict[str, Any] = {
        name: (("batch_size",)[: value.ndim], np.where(np.isfinite(value), value, np.nan), about(name, steps))
        for name, value in found.items()
    }
    for name in [name for name in variables if "edge" in about(name, steps)]:
        dims, value, words = variables[name]
        scaled = {"long_name": f"{words['long_name']}, over its edge", "units": "1"}
        variables[f"{name}_scaled"] = (dims, value / words["edge"], scaled)
    coordinates = {"batch_size": ("batch_size", list(sizes), {"long_name": "batch size"})}
    attributes = {
        **provenance(probe), "optimizer": steps.described(), "step_size": steps.step_size, "edge": steps.edge,
        "sampling": sampling, "seed": str(seed),
    }  # fmt: skip
    return xr.Dataset(variables, coordinates, attributes)


def at_batch_size(
    point: Point, steps: OptimizerSteps, snapshots: Snapshots, batch_size: int, draws: int
) -> dict[str, FloatArray]:
    """Every mean over batches of one size, with what belongs to it."""
    n = point.objective.samples
    if number_of_batches(n, batch_size, snapshots.sampling) <= draws:
        batches = all_batches(n, batch_size, snapshots.sampling)
    else:
        batches = random_batches(snapshots, 0, int(snapshots.steps[0]), batch_size, draws)
    terms = batch_terms(point, steps, batches)
    chance = batches.probability
    found = {name: ratio(*terms[name], chance) if name in terms else NOTHING for name in names_of(steps)}
    if "momentum_sharpness" in found:
        found[MEAN_RATIO] = mean_ratio(*terms["momentum_sharpness"], chance)
    numbers: dict[str, FloatArray] = {"batches": np.asarray(len(batches.count))}
    for name, estimate in found.items():
        numbers |= dict(zip(
            (name, f"{name}_standard_error", f"{name}_low", f"{name}_high"), estimate, strict=True
        ))  # fmt: skip
    for name, values in zip(("step_curvature", "step_slope"), terms["step_sharpness"], strict=True):
        estimate = mean(values, chance)
        numbers |= {name: estimate.value, f"{name}_standard_error": estimate.standard_error}
    return numbers


def names_of(steps: OptimizerSteps) -> list[str]:
    """Which ratios this optimizer has, whether its state is there yet or not."""
    names = ["step_sharpness"]
    if steps.preconditioned:
        names.append("preconditioned_batch_sharpness")
    elif steps.momentum > 0:
        names.append("momentum_sharpness")
    return names


def batch_terms(point: Point, steps: OptimizerSteps, batches: Batches) -> dict[str, tuple[FloatArray, FloatArray]]:
    """u'H_B u and u'g_B of every batch, each (batches,), by the name of the ratio whose direction u is."""
    objective, theta = point.objective, point.theta
    preconditioner = steps.preconditioner()
    rows: list[Tensor] = []
    names: list[str] = []
    for index, weight, count in zip(batches.index, batches.weight, batches.count, strict=True):
        used = max(1, int(count))  # an empty batch is one sample of weight zero
        chosen = torch.as_tensor(index[:used], device=objective.device).long()
        weights = torch.as_tensor(weight[:used] * (count > 0), dtype=objective.dtype, device=objective.device)
        g = objective.gradient(theta, chosen, weights)
        directions = {"step_sharpness": steps.step(g)}
        if preconditioner is not None:
            directions["preconditioned_batch_sharpness"] = g / preconditioner
        elif "momentum_sharpness" in names_of(steps):
            directions["momentum_sharpness"] = steps.heavy_ball(g)
        names = list(directions)
        u = torch.stack(list(directions.values()))
        images = objective.operator(theta, chosen, weights)(u).double()
        rows.append(torch.stack([(u.double() * images).sum(1), u.double() @ g.double()]))
    table = torch.stack(rows).detach().cpu().numpy()  # (batches, 2, directions)
    return {name: (table[:, 0, k], table[:, 1, k]) for k, name in enumerate(names)}


def ratio(numerators: FloatArray, denominators: FloatArray, chance: FloatArray | None) -> Estimate:
    """E u / E v, of either sign; NaN where E v is zero.

    >>> [float(x) for x in ratio(np.array([1.0, 3.0]), np.array([-1.0, -1.0]), np.array([0.5, 0.5]))]
    [-2.0, 0.0, -2.0, -2.0]
    """
    if chance is None:
        sign = -1.0 if denominators.mean() < 0 else 1.0  # Fieller's set does not change if both change sign
        return ratio_interval(sign * numerators, sign * denominators)
    bottom = chance @ denominators
    return exactly(chance @ numerators / bottom if bottom else np.nan)


def mean_ratio(numerators: FloatArray, denominators: FloatArray, chance: FloatArray | None) -> Estimate:
    """E[u / v | v not small]; NaN where all are."""
    usable = np.abs(denominators) >= SMALLEST
    if usable.sum() < (2 if chance is None else 1):
        return NOTHING
    return mean(numerators[usable] / denominators[usable], None if chance is None else chance[usable])


def mean(values: FloatArray, chance: FloatArray | None) -> Estimate:
    return mean_interval(values) if chance is None else exactly(np.average(values, weights=chance))


def exactly(value: Any) -> Estimate:
    number = np.asarray(value, dtype=np.float64)
    return Estimate(number, np.where(np.isfinite(number), 0.0, np.nan), number, number)


def of_mean_loss(point: Point, steps: OptimizerSteps) -> dict[str, float]:
    """What needs no batches: the frozen step's sharpness and the largest preconditioned eigenvalue."""
    found: dict[str, float] = {}
    if steps.momentum > 0:
        found["frozen_step_sharpness"] = frozen_step_sharpness(point, steps)
    if steps.preconditioned:
        found |= preconditioned_lambda_max(point, steps)
    return found


def frozen_step_sharpness(point: Point, steps: OptimizerSteps) -> float:
    """s' Hbar s / (-s' gbar) for s = -eta w; NaN without a buffer w."""
    buffer = steps.buffer()
    if buffer is None:
        return float("nan")
    curvature = buffer.double() @ point.objective.operator(point.theta)(buffer[None])[0].double()
    slope = buffer.double() @ point.objective.gradient(point.theta).double()
    return float(steps.step_size * curvature / slope) if slope else float("nan")


def preconditioned_lambda_max(point: Point, steps: OptimizerSteps) -> dict[str, float]:
    """The largest eigenvalue of P^-1/2 Hbar P^-1/2 (-Hbar if the loss is maximized), with its relative residual."""
    name, preconditioner = "preconditioned_lambda_max", steps.preconditioner()
    if preconditioner is None:
        return dict.fromkeys((name, f"{name}_residual", f"{name}_converged", f"{name}_products"), float("nan"))
    root, product = preconditioner.rsqrt(), point.product()
    start = point.warm.get(name)
    found = largest_eigenvalues(
        lambda vectors: steps.sign * root * product(root * vectors), point.objective.dim, start=start,
        tolerance=point.accuracy.tolerance, dtype=point.objective.dtype, device=point.objective.device,
        generator=point.generator(),
    )  # fmt: skip
    point.warm[name] = found.space
    value, residual = float(found.values[0]), float(found.residuals[0])
    return {
        name: value, f"{name}_residual": residual / abs(value) if value else residual,
        f"{name}_converged": float(found.converged[0]), f"{name}_products": float(found.products),
    }  # fmt: skip


def about(name: str, steps: OptimizerSteps) -> dict[str, Any]:
    """long_name, units and, for what has one, its edge."""
    edge, mu = steps.edge, steps.momentum
    adaptive = (1 + mu) * edge, "2 (1 + momentum) / step_size"
    if "betas" in steps.parts[0].options:
        adaptive = (1 + mu) / (1 - mu) * edge, "2 (1 + beta_1) / ((1 - beta_1) step_size)"
    known = {
        **{key: (words, "curvature", edge, "2 / step_size") for key, words in PER_BATCH.items()},
        MEAN_RATIO: ("E[s'H_B s / s'g_B] with s = beta v + g_B", "curvature", edge, "2 / step_size"),
        "frozen_step_sharpness": ("E[s'H_B s] / -E[s'g_B], s the step of the buffer alone", "1", 2.0, "2"),
        "preconditioned_lambda_max": ("largest eigenvalue of P^-1/2 H P^-1/2", "curvature", *adaptive),
    }
    if name in known:
        words, units, where, formula = known[name]
        return {"long_name": words, "units": units, "edge": where, "edge_formula": formula}
    plain = {
        "batches": ("number of batches behind the means", "1"),
        "step_curvature": ("E[u'H_B u]", "loss / step_size^2"), "step_slope": ("E[u'g_B]", "loss / step_size"),
    }  # fmt: skip
    if name in plain:
        return dict(zip(("long_name", "units"), plain[name], strict=True))
    original = max((key for key in (*known, *plain) if name.startswith(f"{key}_")), key=len)
    words, units = BESIDE[name.removeprefix(f"{original}_")]
    whole = about(original, steps)
    return {"long_name": f"{words} of {whole['long_name']}", "units": units or whole["units"]}
