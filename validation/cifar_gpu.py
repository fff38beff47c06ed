"""The edge of stochastic stability on real images: b = 8, 64, 256 and n on CIFAR-10, on whatever device there is.

    python validation/cifar_gpu.py images.npz                                             # meant for a GPU
    python validation/cifar_gpu.py images.npz --steps 200 --samples 256 --record-every 20  # tries it on a CPU

images.npz holds `images` (uint8) and `labels`; nothing in it is executed. The setting is the published one: perceptron
with two hidden layers of 512, ReLU, init scale 0.2, squared loss WITHOUT the 1/2 (Hessians are twice those of this
package's squared loss, so eta * sharpness is what compares), step size 0.01. Along the run: lambda_max on all samples,
Batch Sharpness as a ratio of means (six moments of all samples, 64 probes) and as a mean of ratios (batches, to 2 %).

All batch sizes step together while memory allows, else one after the other. OUTPUT.*.checkpoint.npz is written every
minute: the same command goes on where a killed job stopped. At the end OUTPUT.nc holds the runs, OUTPUT.md one table.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import sgdmodels as sm
from sgdmodels.networks import Accuracy, Probe, losses, nets, train
from sgdmodels.networks.data import images_from_npz
from sgdmodels.networks.data.cifar import PUBLISHED_SCALING
from sgdmodels.networks.objectives.budget import is_out_of_memory

BATCH_SIZES, HIDDEN, MOST_SAMPLES = (8, 64, 256), (512, 512), 8192
METRICS = ("loss", "lambda_max", "batch_sharpness", "batch_sharpness_mean_ratio")
SHOWN = {"lambda_max": "lambda_max", "batch_sharpness": "BS", "batch_sharpness_mean_ratio": "BS, mean of ratios"}
WINDOW = 0.6  # share of the steps, at the end, that plateaus are medians of
ACCURACY = Accuracy(tolerance=1e-3, probes=64, batches=1000, relative_error=0.02)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help=".npz with arrays images and labels")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--step-size", type=float, default=0.01)
    parser.add_argument("--samples", type=int, help=f"default: all, at most {MOST_SAMPLES}")
    parser.add_argument("--record-every", type=int, default=250, help="at most 500, for spikes to be told")
    parser.add_argument("--seed", type=int, default=0, help="of the subset, the weights and the batches")
    parser.add_argument("--output", type=Path, default=Path("cifar_gpu"), help="path without suffix")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--memory", type=float, default=4.0, help="GB that a piece of work may hold")
    return parser.parse_args()


def problem(options: argparse.Namespace) -> Probe:
    """The published network on standardised images, one-hot targets."""
    everything = images_from_npz(options.images)
    wanted = min(len(everything), MOST_SAMPLES) if options.samples is None else options.samples
    data = everything.subset(wanted, options.seed).standardised(*PUBLISHED_SCALING).flattened()
    sizes = [data.inputs.shape[1], *HIDDEN, data.classes]
    net = nets.mlp(
        sizes, "relu", seed=options.seed, init="kaiming", init_scale=0.2, dtype=getattr(torch, options.dtype),
        device=options.device,
    )  # fmt: skip
    return Probe(
        net, losses.squared_error_without_half, data.inputs, data.one_hot(), accuracy=ACCURACY,
        memory=int(options.memory * 2**30),
    )  # fmt: skip


def dynamics_of(probe: Probe, step_size: float) -> dict[str, sm.dynamics.Dynamics]:
    """SGD at every batch size below n, and GD."""
    sizes = [b for b in BATCH_SIZES if b < probe.samples]
    return {**{f"b={b}": sm.SGD(step_size, b) for b in sizes}, "b=n": sm.GD(step_size)}


def trained(probe: Probe, options: argparse.Namespace) -> tuple[dict[str, xr.Dataset], str]:
    """One Dataset for each batch size, measured at that batch size, and how they were run."""
    everyone = dynamics_of(probe, options.step_size)

    def some(members: Mapping[str, sm.dynamics.Dynamics], name: str) -> xr.Dataset:
        return train(
            probe.net, probe, members, options.steps, record_every=options.record_every, metrics=METRICS,
            seed=options.seed, init=start, checkpoint=options.output.with_suffix(f".{name}.checkpoint.npz"),
        )  # fmt: skip

    start = probe.parameters()
    try:
        together = some(everyone, "all")
        return {name: own(together.sel(dynamics=name)) for name in everyone}, "together"
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        print(f"out of memory ({problem}): one batch size after the other")
    alone = {name: own(some({name: one}, name).isel(dynamics=0)) for name, one in everyone.items()}
    return alone, "one after the other"


def own(run: xr.Dataset) -> xr.Dataset:
    """What was measured at the batch size of the run itself."""
    return run.sel(batch_size=int(run.training_batch_size.max()))


def row(name: str, run: xr.Dataset) -> list[str]:
    """Plateaus with their intervals, spikes and the last loss of one run."""
    late = run.step >= (1 - WINDOW) * float(run.step[-1])
    cells = [f"{run.batch_size.item()}{' = n' if name == 'b=n' else ''}"]
    for metric in SHOWN:
        values = (run[metric] * run.step_size / 2).transpose("replica", "step")[:, late.values]
        if np.isfinite(values).sum() < 3:
            cells.append("-")
            continue
        level = sm.detectors.plateau(values.step.values, values.values)
        drift = "" if level.exists else f", drifts by {level.slope_times_window:+.2f}"
        cells.append(f"{level.value:.3f} [{level.low:.3f}, {level.high:.3f}]{drift}")
    loss = run.loss.isel(replica=0)
    spikes = sm.detectors.catapults(run.step.values, loss.values)
    at = run.diverged_at.values.item()
    return [*cells, str(len(spikes)), f"{float(loss[-1]):.3g}", "-" if np.isnan(at) else f"{at:.0f}"]


def page(runs: dict[str, xr.Dataset], probe: Probe, options: argparse.Namespace, how: str, seconds: float) -> str:
    """The table and where it came from."""
    device = torch.device(options.device)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    header = ["b", *(f"eta {label} / 2" for label in SHOWN.values()), "spikes", "last loss", "diverged at"]
    rows = [row(name, run) for name, run in runs.items()]
    lines = ["# The edge of stochastic stability on images", ""]
    origin = (
        f"Written by `cifar_gpu.py` on {machine} ({device.type}), torch {torch.__version__}, {options.dtype}, "
        f"in {seconds:.0f} s (of the last start, if it was resumed); batch sizes {how}."
    )
    setting = (
        f"{probe.samples} samples of {options.images.name}, {probe.dim} parameters, squared loss without the 1/2, step "
        f"size {options.step_size}, {options.steps} steps, seed {options.seed}. Medians over the last {WINDOW:.0%} of "
        "steps, with 95 % block-bootstrap intervals of one run; 1 is the edge. Spikes: loss above 3 times the median "
        "of the 500 steps before, and back within 2000."
    )
    lines += [origin, "", setting, ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    return "\n".join([*lines, ""])


def main() -> None:
    options = arguments()
    if not 1 <= options.record_every <= 500:
        raise SystemExit("--record-every must be in 1..500: spikes are told from the median of the 500 steps before")
    began = time.perf_counter()
    probe = problem(options)
    print(f"{probe.samples} samples, {probe.dim} parameters, {options.device}, {options.dtype}", flush=True)
    runs, how = trained(probe, options)
    together = xr.concat(
        list(runs.values()), "dynamics", coords="different", compat="equals", join="exact",
        combine_attrs="drop_conflicts",
    )  # fmt: skip
    together.to_netcdf(options.output.with_suffix(".nc"), engine="scipy")
    text = page(runs, probe, options, how, time.perf_counter() - began)
    options.output.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
