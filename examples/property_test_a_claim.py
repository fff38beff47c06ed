"""
Attack a claim
==============

State a claim about SGD in ten lines and let hypothesis look for a counterexample; then test a claim that is true.

The figure shows why the first one fails: which samples carry the gradients decides what Batch Sharpness sees.

Run with ``python examples/property_test_a_claim.py [figure.png]``; takes ten seconds. Needs hypothesis.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import settings

import sgdmodels as sm
from sgdmodels.testing import Claim, least_squares, points

search = settings(max_examples=200, derandomize=True, database=None)  # the same search in every run

claim = Claim(
    "lambda_max <= BS",
    "Batch Sharpness is never below the sharpness of the full loss.",
    sides=lambda point: (point.lambda_max, point.batch_sharpness),
    region=lambda: points(least_squares(features=1)),
    defined=lambda point: point.gradients.any(axis=1).all(),
)
found = claim.attack(search, by=0.05)
print(f"{claim.statement}\nFALSE at {found}")
print(f"where lambda_max = {found.lambda_max:.4g} and BS = {found.batch_sharpness:.4g}\n")

claim = Claim(
    "lambda_max <= E lambda_max(H_B)",
    "The sharpness of batches is on average never below the sharpness of the full loss.",
    # the third is a size: below 1e-9 of it, a difference is rounding
    sides=lambda point: (point.lambda_max, point.minibatch_lambda_max, abs(point.hessians).max()),
    region=points,
)
survived = claim.test(search)
print(f"{claim.statement}\nSurvived {survived.points} points; smallest margin {survived.smallest_margin:.0e}.")

# Two samples in one dimension, a flat and a sharp one; the residual of the flat one grows from left to right.
residuals = np.geomspace(0.1, 10, 41)
sharpness = []
for r in residuals:
    model = sm.models.LeastSquares([[2.0], [1.0]], [1.0, r])
    sharpness.append(sm.measure(model, [0.0], metrics=("batch_sharpness",)).batch_sharpness.item())
figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(residuals, sharpness, label="Batch Sharpness, b = 1")
ax.axhline(2.5, color="C3", label=r"$\lambda_{\max}$")
ax.fill_between(residuals, sharpness, 2.5, where=np.less(sharpness, 2.5), alpha=0.2, label="the claim is false")
ax.set(xlabel="residual of the flat sample / of the sharp one", ylabel="curvature", xscale="log", ylim=(0, None))
ax.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "property_test_a_claim.png", dpi=150)
