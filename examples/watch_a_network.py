"""
A real network
==============

Where does a real network settle? Digits with half of the labels random, two batch sizes and full-batch descent.

Run with ``python examples/watch_a_network.py [figure.png]``; takes half a minute. Needs torch and scikit-learn.
"""

import sys

import matplotlib.pyplot as plt

import sgdmodels as sm
from sgdmodels.networks import train
from sgdmodels.networks.recipes import random_label_digits

recipe = random_label_digits(seed=7)
eta, n = recipe.step_size, recipe.probe.samples

# Members that differ in seed, step size or batch size only take their steps together.
dynamics = {"b = 8": sm.SGD(eta, 8), "b = 32": sm.SGD(eta, 32), "full batch": sm.GD(eta)}
runs = train(recipe.net, recipe.probe, dynamics, steps=8000, record_every=50, init=recipe.init)

print(f"{'':>10} {'eta BS/2':>9} {'eta lambda/2':>13} {'loss':>7}")
for name in dynamics:
    run = runs.sel(dynamics=name)
    bs, sharpness = (sm.plot.plateau(run, metric)[0] for metric in ("batch_sharpness", "lambda_max"))
    print(f"{name:>10} {bs:9.2f} {sharpness:13.2f} {float(run.loss[0, -1]):7.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for name, color in zip(dynamics, ("C0", "C2", "0.5"), strict=True):
    run = runs.sel(dynamics=name)
    for ax, metric in ((left, "batch_sharpness"), (right, "lambda_max")):
        sm.plot.curvature(run, metric, ax, label="_measured", color=color, linewidth=0.6, alpha=0.4)
        sm.plot.curvature(run, metric, ax, smooth=15, label=name, color=color)
left.set(title="Batch Sharpness", ylim=(0, 1.6))
right.set(title=r"$\lambda_{\max}$ of the full Hessian", ylabel="")
left.legend(frameon=False, loc="lower right")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "watch_a_network.png", dpi=200)
