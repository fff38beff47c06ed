"""
Ask the theory, then check it
=============================

How large may the step size be? Several exact answers for the same data, one for each kind of stability and way to draw
batches; then runs on either side of the edges. Between the mean-square edge and the one of almost every path, means
explode and nearly every run converges all the same.

Run with ``python examples/ask_the_theory.py [figure.png]``; takes a few seconds.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import sgdmodels as sm

inputs = np.random.default_rng(1).standard_normal((20, 3))  # least squares: H_i = a_i a_i', one minimum for all samples
model = sm.models.LeastSquares(inputs, np.zeros(20))
sizes = [1, 2, 4, 10, 20]

curves = {
    "almost every path": [sm.theory.lyapunov_max_step_size(inputs, b, steps=500).step_size for b in sizes],
    "mean square": [sm.theory.max_step_size(inputs, b) for b in sizes],
    "mean square, momentum 0.9": [sm.theory.max_step_size(inputs, b, momentum=0.9) for b in sizes],
    "mean square, Gaussian limit": [
        sm.theory.gaussian_max_step_size(np.linalg.eigvalsh(inputs.T @ inputs / 20), b) for b in sizes
    ],
}
edge = sm.theory.mean_square_edge(inputs, batch_size=2)
print(f"b = 2: stable below {edge.step_size:.6f}, proven below {edge.lower:.6f}")
for name, value in sm.theory.criteria(inputs, 2, names=["lambda_max", "mean_square_sharpness", "worst_batch"]).items():
    print(f"{name:22} stable below {2 / value:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name, values in curves.items():
    left.plot(sizes, values, "o-", label=name, markersize=4)
left.axhline(sm.theory.max_step_size(inputs, 20), color="0.25", linewidth=0.8, linestyle="--", label="gradient descent")
left.set(xlabel="batch size", ylabel="largest stable step size", xscale="log", ylim=(0, None))
left.legend(frameon=False, fontsize=8)

almost = curves["almost every path"][sizes.index(2)]
between = (edge.step_size + almost) / 2
for name, eta in (("below both", 0.8 * edge.step_size), ("between", between), ("above both", 1.3 * almost)):
    run = sm.simulate(model, sm.SGD(eta, 2), 400, np.ones(3), replicas=200, record_every=4, metrics=("loss",))
    middle = run.loss.median("replica", skipna=True)
    right.plot(run.step, middle, label=f"{name}: {int(run.diverged_at.notnull().sum())} of 200 diverged")
right.set(
    xlabel="SGD step",
    ylabel="loss, median of the runs not yet diverged",
    yscale="log",
    title="b = 2",
    ylim=(1e-25, 1e15),
)
right.legend(frameon=False, fontsize=8)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "ask_the_theory.png", dpi=150)
