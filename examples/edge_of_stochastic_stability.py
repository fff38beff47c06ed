"""
SGD at the edge
===============

SGD at the Edge of Stochastic Stability, in one file: run, table, figure. Batch Sharpness is held near 2 / eta at every
batch size; lambda_max is held lower the smaller the batch, where a closed form of the data says.

Run with ``python examples/edge_of_stochastic_stability.py [figure.png]``; takes a few seconds after compilation.
"""

import sys

import matplotlib.pyplot as plt

import sgdmodels as sm

BATCH_SIZES = (2, 4, 8, 32)
recipe = sm.recipes.slow_tail_network(seed=7)
n, eta = recipe.model.samples, recipe.step_size

runs = {}
for b in (*BATCH_SIZES, n):
    runs[b] = sm.simulate(recipe.model, sm.SGD(eta, batch_size=b), recipe.steps, recipe.init, replicas=4)

print(f"{'b':>4} {'eta BS/2':>9} {'eta lambda/2':>13} {'predicted':>10} {'diverged':>9}")
predicted = {b: sm.theory.edge_sharpness(recipe.directions, b) for b in runs}
for b, run in runs.items():
    bs, sharpness = sm.plot.plateau(run, "batch_sharpness").mean(), sm.plot.plateau(run, "lambda_max").mean()
    lost = int(run.diverged_at.notnull().sum())
    print(f"{b:4d} {bs:9.3f} {sharpness:13.3f} {predicted[b]:10.3f} {lost:9d}")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
sm.plot.stability(runs[4], left, smooth=25).set_title("b = 4")
sm.plot.sharpness_by_batch_size(runs, right, prediction=predicted)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "edge_of_stochastic_stability.png", dpi=200)
