"""
A loss from a formula
=====================

A loss that is not in the package: a two-layer tanh network at the Edge of Stochastic Stability. Prints the gradient
for the paper, trains with three batch sizes and draws sharpness times step_size / 2: the smaller the batch, the lower
lambda_max is held, while Batch Sharpness stays near the edge.

Run with ``python examples/loss_from_a_formula.py [figure.png]``.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import sgdmodels as sm

STEP_SIZE, STEPS, HIDDEN = 0.4, 20_000, 8

rng = np.random.default_rng(0)
inputs = rng.standard_normal((64, 6))
network = sm.SymbolicModel(
    predictor="sum(a[k] * tanh(sum(w[k, j] * x[j], j)), k)",
    parameters={"a": HIDDEN, "w": (HIDDEN, 6)},
    data={"x": inputs, "y": np.sin(2 * inputs[:, 0]) + inputs[:, 1] * inputs[:, 2]},
)
print("dl_i/dw =", sm.symbolic.latex(network.derivative("w")))

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for b in (4, 16, 64):
    start = 0.3 * np.random.default_rng(1).standard_normal(network.dim)
    run = sm.simulate(network, sm.SGD(STEP_SIZE, b), STEPS, start, replicas=4, record_every=200)
    kept = run.isel(replica=run.diverged_at.isnull().values)
    print(f"b = {b}: {run.sizes['replica'] - kept.sizes['replica']} of {run.sizes['replica']} replicas diverged")
    for ax, name in zip(axes, ("batch_sharpness", "lambda_max"), strict=True):
        values = STEP_SIZE / 2 * kept[name].mean("replica").rolling(step=10).median()
        ax.plot(run.step, values.squeeze(), label=f"b = {b}")
for ax, title in zip(axes, ("Batch Sharpness", r"$\lambda_{\max}$"), strict=True):
    ax.axhline(1, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="SGD step", title=title)
axes[0].set_ylabel(r"$\eta\,/\,2\;\times$ sharpness")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "loss_from_a_formula.png", dpi=150)
