"""
Is the SDE right?
=================

SGD, gradient descent with Gaussian noise of the same covariance, the SDE and SVAG from the same start: where does each
hold lambda_max? Dashed lines are exact: each model has a mean-square edge of its own, and settles just below it. At the
smaller batch they are close, since the noise makes the edge; at the larger one the step does, and continuous time has
no steps.

Run with ``python examples/compare_models.py [figure.png]``; takes some ten seconds.
"""

import sys

import matplotlib.pyplot as plt

import sgdmodels as sm

recipe = sm.recipes.gated_quadratic(seed=0)
eta, steps = 0.4, 60_000
hessians = recipe.directions[:, :, None] * recipe.directions[:, None, :]
top = sm.theory.mean_square_sharpness(recipe.directions, recipe.model.samples)  # lambda_max: the edge of the full batch

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for ax, b in zip(axes, (4, 16), strict=True):
    models = {
        "SGD": (sm.SGD(eta, b), 1),
        "noisy GD": (sm.NoisyGD(eta, b), 1),
        "SVAG, ell = 4": (sm.SVAG(eta, b, ell=4), 4),
        "SDE": (sm.SDE(eta, b, substeps=10), 10),  # Euler's rule with 10 substeps has the edge of SVAG(10)
    }
    for place, (name, (dynamics, ell)) in enumerate(models.items()):
        run = sm.simulate(
            recipe.model, dynamics, steps, recipe.init, replicas=4, record_every=200, metrics=("loss", "lambda_max")
        )
        edge = top / sm.theory.mean_square_sharpness(hessians, b, ell=ell)
        late = float(sm.plot.plateau(run, "lambda_max").mean())
        lost = int(run.diverged_at.notnull().sum())
        print(f"b = {b:2d}  {name:14} measured {late:.2f}  its edge {edge:.2f}  diverged {lost} of 4")
        sm.plot.curvature(run, "lambda_max", ax, smooth=9, label=name, color=f"C{place}")
        ax.axhline(edge, color=f"C{place}", linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_title(f"b = {b}")
axes[1].set(ylabel="", ylim=(0, None))
axes[0].legend(frameon=False, loc="upper left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "compare_models.png", dpi=150)
